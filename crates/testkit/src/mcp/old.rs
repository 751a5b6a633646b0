//! A server from before revision 2026-07-28, by hand: strict, and with every
//! way to refuse what it does not know.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::answers::{McpResponse, json_answer, json_error, json_result, respond, text, with_header};
use super::{McpState, Refusal, lock};

const SESSION_ID: &str = "mcp-session-id";

/// A server of an older revision that takes the rules seriously.
pub(super) struct OldServer {
    pub(super) revision: String,
    pub(super) refusal: Refusal,
    pub(super) has_sessions: bool,
}

impl Default for OldServer {
    fn default() -> Self {
        Self { revision: "2025-11-25".to_owned(), refusal: Refusal::MethodNotFound, has_sessions: true }
    }
}

impl OldServer {
    pub(super) async fn answer(
        &self,
        state: &McpState,
        request: &Request<Full<Bytes>>,
        message: &Value,
    ) -> McpResponse {
        match (request.method().as_str(), message["method"].as_str()) {
            ("POST", Some("initialize")) => self.initialize(state, &message["id"]),
            ("POST", Some("ping")) if self.knows(state, request) => {
                json_answer(StatusCode::OK, &json_result(&message["id"], json!({})))
            }
            ("POST", Some("notifications/initialized")) if self.knows(state, request) => {
                respond(StatusCode::ACCEPTED, None, Full::default())
            }
            ("DELETE", None) if self.has_sessions && self.knows(state, request) => {
                lock(&state.sessions).remove(&session_of(request));
                state.changes.send_replace(());
                respond(StatusCode::NO_CONTENT, None, Full::default())
            }
            ("POST", Some("ping" | "notifications/initialized")) | ("DELETE", None) => {
                text(StatusCode::NOT_FOUND, "session not found")
            }
            _ => self.refuse(&message["id"]).await,
        }
    }

    fn initialize(&self, state: &McpState, id: &Value) -> McpResponse {
        let initialized = json!({
            "protocolVersion": self.revision,
            "capabilities": {},
            "serverInfo": {"name": "secret-text", "version": "1"},
        });
        let answer = json_answer(StatusCode::OK, &json_result(id, initialized));
        if !self.has_sessions {
            return answer;
        }
        let session = state.next_session.fetch_add(1, Ordering::Relaxed);
        let session = format!("session-{session}");
        lock(&state.sessions).insert(session.clone());
        with_header(answer, SESSION_ID, &session)
    }

    fn knows(&self, state: &McpState, request: &Request<Full<Bytes>>) -> bool {
        !self.has_sessions || lock(&state.sessions).contains(&session_of(request))
    }

    async fn refuse(&self, id: &Value) -> McpResponse {
        match self.refusal {
            Refusal::BadRequest => text(StatusCode::BAD_REQUEST, "secret-text"),
            Refusal::NotFound => text(StatusCode::NOT_FOUND, "secret-text"),
            Refusal::MethodNotFound => json_answer(StatusCode::OK, &json_error(id, -32601, Value::Null)),
            Refusal::MissingSession => {
                json_answer(StatusCode::BAD_REQUEST, &json_error(&json!("server-error"), -32600, Value::Null))
            }
            Refusal::Crash => text(StatusCode::INTERNAL_SERVER_ERROR, "secret-text"),
            Refusal::Accepted => respond(StatusCode::ACCEPTED, None, Full::default()),
            Refusal::Silence => std::future::pending().await,
        }
    }
}

fn session_of(request: &Request<Full<Bytes>>) -> String {
    let session = request.headers().get(SESSION_ID);
    let session = session.and_then(|session| session.to_str().ok());
    session.unwrap_or_default().to_owned()
}
