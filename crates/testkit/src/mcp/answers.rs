//! What servers answer with.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

pub(super) type McpResponse = Response<BoxBody<Bytes, Infallible>>;

pub(super) fn json_result(id: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

pub(super) fn json_error(id: &Value, code: i32, data: Value) -> Value {
    let error = json!({"code": code, "message": "secret-text", "data": data});
    json!({"jsonrpc": "2.0", "id": id, "error": error})
}

pub(super) fn respond<B>(status: StatusCode, content_type: Option<&str>, body: B) -> McpResponse
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
{
    let mut response = Response::builder().status(status);
    if let Some(content_type) = content_type {
        response = response.header(CONTENT_TYPE, content_type);
    }
    response.body(BoxBody::new(body)).expect("a response")
}

pub(super) fn text(status: StatusCode, text: &'static str) -> McpResponse {
    respond(status, Some("text/plain"), Full::from(text))
}

pub(super) fn json_answer(status: StatusCode, value: &Value) -> McpResponse {
    let body = Full::from(value.to_string());
    respond(status, Some("application/json"), body)
}

pub(super) fn redirect(address: &str) -> McpResponse {
    let answer = respond(StatusCode::TEMPORARY_REDIRECT, None, Full::default());
    with_header(answer, LOCATION.as_str(), address)
}

pub(super) fn with_header(mut answer: McpResponse, name: &'static str, value: &str) -> McpResponse {
    let value = value.parse().expect("a header value");
    answer.headers_mut().insert(name, value);
    answer
}

/// A body that repeats itself for ever, or never begins.
pub(super) struct Unending(pub(super) Option<&'static str>);

impl Body for Unending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0 {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(text.repeat(512)))))),
            None => Poll::Pending,
        }
    }
}
