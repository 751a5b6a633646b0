//! A server that repeats what it was sent, credentials and all.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::answers::{McpResponse, json_answer, redirect, respond, with_header};

/// Where a server repeats what it was sent; in two headers it always does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Echo {
    /// In the body of an answer with this status.
    Status(u16),
    /// In message and data of a JSON-RPC error of this code.
    Error(i32),
    /// In what it says about itself in the old handshake, session id and
    /// revision included.
    Handshake,
    /// In an event stream without an answer.
    Events,
    /// In the address of a redirect (307) to this origin.
    Redirect(String),
}

impl Echo {
    pub(super) fn answer(&self, request: &Request<Full<Bytes>>, message: &Value) -> McpResponse {
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let heard = format!("{} {}", request.uri(), authorization.unwrap_or_default());
        let answer = match self {
            Echo::Status(code) => {
                let status = StatusCode::from_u16(*code).expect("an HTTP status");
                respond(status, Some("text/plain"), Full::from(heard.clone()))
            }
            Echo::Error(code) => {
                let error = json!({"code": code, "message": heard, "data": {"supported": [heard], "heard": heard}});
                json_answer(StatusCode::OK, &json!({"jsonrpc": "2.0", "id": message["id"], "error": error}))
            }
            Echo::Handshake => {
                let result = json!({
                    "protocolVersion": heard, "capabilities": {}, "instructions": heard,
                    "serverInfo": {"name": heard, "version": heard},
                });
                let answer =
                    json_answer(StatusCode::OK, &json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
                with_header(answer, "mcp-session-id", &heard)
            }
            Echo::Events => {
                let event = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": heard}});
                let body = format!("id: {heard}\n: {heard}\ndata: {event}\n\ndata: {heard}\n\n");
                respond(StatusCode::OK, Some("text/event-stream"), Full::from(body))
            }
            Echo::Redirect(origin) => {
                let authorization = authorization.unwrap_or_default().replace(' ', "-");
                redirect(&format!("{origin}{}#{authorization}", request.uri()))
            }
        };
        let challenge = format!("Bearer realm=\"{heard}\"");
        with_header(with_header(answer, "x-heard", &heard), WWW_AUTHENTICATE.as_str(), &challenge)
    }
}
