//! Answers that are the same whatever is asked: refusals, and what is not an MCP
//! server.

use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use super::Behaviour;
use super::answers::{McpResponse, Unending, json_answer, redirect, respond, text, with_header};

pub(super) fn answer(behaviour: &Behaviour) -> Option<McpResponse> {
    Some(match behaviour {
        Behaviour::Redirect(address) => redirect(address),
        Behaviour::Unauthorized => text(StatusCode::UNAUTHORIZED, "no"),
        Behaviour::Forbidden => text(StatusCode::FORBIDDEN, "no"),
        Behaviour::ForbiddenWithChallenge => {
            with_header(text(StatusCode::FORBIDDEN, "no"), WWW_AUTHENTICATE.as_str(), "Bearer")
        }
        Behaviour::RateLimited(pause) => {
            with_header(text(StatusCode::TOO_MANY_REQUESTS, "no"), RETRY_AFTER.as_str(), pause)
        }
        Behaviour::ServerError => text(StatusCode::INTERNAL_SERVER_ERROR, "oh no"),
        Behaviour::Status(code) => {
            let status = StatusCode::from_u16(*code).expect("an HTTP status");
            respond(status, None, Full::default())
        }
        Behaviour::Html => respond(
            StatusCode::OK,
            Some("text/html; charset=utf-8"),
            Full::from("<!doctype html><title>Welcome</title><p>secret-text"),
        ),
        Behaviour::Junk => json_answer(StatusCode::OK, &json!({"secret-text": [1, 2, 3]})),
        Behaviour::Endless => {
            let body = Unending(Some("[[[[[[[[[[[[[[[["));
            respond(StatusCode::OK, Some("application/json"), body)
        }
        Behaviour::EndlessEvents => {
            let body = Unending(Some("data: {\"secret-text\":1}\n\n"));
            respond(StatusCode::OK, Some("text/event-stream"), body)
        }
        Behaviour::SilentEvents => respond(StatusCode::OK, Some("text/event-stream"), Unending(None)),
        _ => return None,
    })
}
