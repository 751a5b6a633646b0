//! A server of revision 2024-11-05, by hand: HTTP+SSE, one client at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::answers::{McpResponse, json_result, respond, text};
use super::lock;

#[derive(Default)]
pub(super) struct EventStreamServer {
    stream: Mutex<Option<UnboundedSender<String>>>,
}

impl EventStreamServer {
    /// `address` is where the stream says that messages go.
    pub(super) fn answer(&self, address: &str, request: &Request<Full<Bytes>>, message: &Value) -> McpResponse {
        match (request.method().as_str(), request.uri().path()) {
            ("GET", "/mcp") => {
                let (send, come) = unbounded_channel();
                let _ = send.send(format!("event: endpoint\ndata: {address}\n\n"));
                *lock(&self.stream) = Some(send);
                respond(StatusCode::OK, Some("text/event-stream"), Events(come))
            }
            ("POST", "/messages") => {
                let result = match message["method"].as_str() {
                    Some("initialize") => json!({
                        "protocolVersion": "2024-11-05",
                        "capabilities": {},
                        "serverInfo": {"name": "secret-text", "version": "1"},
                    }),
                    _ => json!({}),
                };
                if let Some(stream) = lock(&self.stream).as_ref().filter(|_| message["id"].is_number()) {
                    let answer = json_result(&message["id"], result);
                    let _ = stream.send(format!("event: message\ndata: {answer}\n\n"));
                }
                text(StatusCode::ACCEPTED, "Accepted")
            }
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        }
    }
}

struct Events(UnboundedReceiver<String>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(Bytes::from(event)))))
    }
}
