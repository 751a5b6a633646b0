//! What clients sent, and what they got.

use bytes::Bytes;
use http::{Method, header, request::Parts};
use serde_json::Value;
use tokio::time::Instant;

/// One request as it arrived, and its answer.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub content_type: Option<String>,
    pub accept: Option<String>,
    pub authorization: Option<String>,
    pub body: Bytes,
    pub bytes_up: usize,
    /// What went into the answer; of a watch nothing is counted.
    pub bytes_down: usize,
    /// None: the client never saw an answer, or does not see it yet.
    pub code: Option<u16>,
    pub at: Instant,
}

impl Request {
    /// The body as JSON, null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The requests since the log was last cleared.
#[derive(Default)]
pub struct Log {
    requests: Vec<Request>,
    cleared: usize,
}

impl Log {
    /// Notes a request; its answer is noted under the number returned.
    pub fn request(&mut self, head: &Parts, body: &Bytes) -> usize {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.requests.push(Request {
            method: head.method.clone(),
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            content_type: header(header::CONTENT_TYPE),
            accept: header(header::ACCEPT),
            authorization: header(header::AUTHORIZATION),
            body: body.clone(),
            bytes_up: body.len(),
            bytes_down: 0,
            code: None,
            at: Instant::now(),
        });
        self.cleared + self.requests.len() - 1
    }

    pub fn answer(&mut self, number: usize, code: u16, bytes_down: usize) {
        // The log may have been cleared while the request was under way.
        let request = number.checked_sub(self.cleared).and_then(|index| self.requests.get_mut(index));
        if let Some(request) = request {
            request.code = Some(code);
            request.bytes_down = bytes_down;
        }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.clone()
    }

    pub fn clear(&mut self) {
        self.cleared += self.requests.len();
        self.requests.clear();
    }
}
