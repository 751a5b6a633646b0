//! What can go wrong between a client and a server, on demand.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Api,
    answer::{self, Answer},
};

/// What happens to a request instead of, before or after being served.
#[derive(Clone)]
pub enum Fault {
    /// It is served, but only after this time.
    Latency(Duration),
    /// No answer ever comes; nothing is written.
    Hang,
    /// What it asks for is done, but no answer ever comes.
    HangAfterCommit,
    /// No answer ever comes, and what it asks for is done after this time, though
    /// the client has given up by then.
    CommitLate(Duration),
    /// The connection breaks; nothing is written.
    ResetBefore,
    /// What it asks for is done, then the connection breaks.
    ResetAfterCommit,
    /// What it asks for is done, then the connection breaks amid the answer.
    ResetAmidAnswer,
    /// A `metav1.Status`, with a `Retry-After` header or without.
    Status { code: u16, reason: String, message: String, retry_after: Option<String> },
    /// An answer that is no JSON, as a proxy or the server's outer layers give.
    PlainText { code: u16, body: String, retry_after: Option<String> },
    /// The credentials are not known.
    Unauthorized,
    /// JSON that is neither an object nor a `Status`.
    JunkJson(u16),
    /// It is served, then another client deletes the object it named.
    DeleteThenPass,
    /// It is served, then another client deletes the object it named and makes one
    /// of the same name and spec: with another uid, and without a status.
    RecreateThenPass,
    /// This happens to the server just before it is served.
    Meanwhile(Arc<dyn Fn(&Api) + Send + Sync>),
}

impl Fault {
    /// A `metav1.Status` with the reason that belongs to its code.
    pub fn status(code: u16) -> Self {
        let (reason, message) = match code {
            400 => ("BadRequest", "the server could not understand the request"),
            403 => ("Forbidden", "forbidden"),
            404 => ("NotFound", "the server could not find the requested resource"),
            409 => (
                "Conflict",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
            413 => ("RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
            422 => ("Invalid", "the server rejected our request due to an error in our request"),
            429 => ("TooManyRequests", "storage is (re)initializing"),
            500 => ("InternalError", "Internal error occurred: etcdserver: leader changed"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => {
                ("Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded")
            }
            _ => ("", "something went wrong"),
        };
        Fault::Status { code, reason: reason.to_owned(), message: message.to_owned(), retry_after: None }
    }

    /// The 429 of a server whose queue is full: in plain text.
    pub fn too_many_requests(retry_after: &str) -> Self {
        Fault::PlainText {
            code: 429,
            body: "Too many requests, please try again later.\n".to_owned(),
            retry_after: Some(retry_after.to_owned()),
        }
    }

    /// The 504 of a request that took longer than the server allows: in plain
    /// text, though it reads like a `Status`.
    pub fn timeout() -> Self {
        Fault::PlainText {
            code: 504,
            body: "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"Timeout: request did not complete within the \
                   allotted timeout\",\"reason\":\"Timeout\",\"details\":{},\"code\":504}\n"
                .to_owned(),
            retry_after: None,
        }
    }

    pub fn meanwhile(act: impl Fn(&Api) + Send + Sync + 'static) -> Self {
        Fault::Meanwhile(Arc::new(act))
    }

    /// With a `Retry-After` header: seconds, an HTTP date, or junk.
    #[must_use]
    pub fn retry_after(mut self, value: &str) -> Self {
        match &mut self {
            Fault::Status { retry_after, .. } | Fault::PlainText { retry_after, .. } => {
                *retry_after = Some(value.to_owned());
            }
            other => panic!("{other:?} has no headers"),
        }
        self
    }

    /// Only requests with this method, and with `path` in their path or query.
    pub fn on(self, method: &str, path: &str) -> Injection {
        Injection { method: Some(method.to_owned()), path: path.to_owned(), ..self.into() }
    }

    /// The next so many requests, not only the next one.
    pub fn times(self, times: usize) -> Injection {
        Injection::from(self).times(times)
    }

    /// The answer, of a fault that answers by itself.
    pub(super) fn answer(&self) -> Option<Answer> {
        match self {
            Fault::Status { code, reason, message, retry_after } => {
                Some(answer::failure(*code, reason, message, None).with_retry_after(retry_after.clone()))
            }
            Fault::PlainText { code, body, retry_after } => {
                Some(Answer::text(*code, body).with_retry_after(retry_after.clone()))
            }
            Fault::Unauthorized => Some(answer::unauthorized()),
            Fault::JunkJson(code) => Some(Answer::json(*code, serde_json::json!({"junk": [1, 2, 3]}))),
            _ => None,
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Latency(time) => write!(f, "Latency({time:?})"),
            Fault::Hang => f.write_str("Hang"),
            Fault::CommitLate(after) => write!(f, "CommitLate({after:?})"),
            Fault::HangAfterCommit => f.write_str("HangAfterCommit"),
            Fault::ResetBefore => f.write_str("ResetBefore"),
            Fault::ResetAfterCommit => f.write_str("ResetAfterCommit"),
            Fault::ResetAmidAnswer => f.write_str("ResetAmidAnswer"),
            Fault::Status { code, .. } => write!(f, "Status({code})"),
            Fault::PlainText { code, .. } => write!(f, "PlainText({code})"),
            Fault::Unauthorized => f.write_str("Unauthorized"),
            Fault::JunkJson(code) => write!(f, "JunkJson({code})"),
            Fault::DeleteThenPass => f.write_str("DeleteThenPass"),
            Fault::RecreateThenPass => f.write_str("RecreateThenPass"),
            Fault::Meanwhile(_) => f.write_str("Meanwhile"),
        }
    }
}

/// A fault, and which requests it meets: the next one, if nothing else is said.
#[derive(Clone, Debug)]
pub struct Injection {
    fault: Fault,
    method: Option<String>,
    path: String,
    times: usize,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Injection { fault, method: None, path: String::new(), times: 1 }
    }
}

impl Injection {
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Injection { times, ..self }
    }
}

/// The faults that wait for their requests, first come, first served.
#[derive(Default)]
pub(super) struct Faults {
    queue: Vec<Injection>,
    pub always: Option<Fault>,
}

impl Faults {
    pub fn push(&mut self, injection: Injection) {
        self.queue.push(injection);
    }

    /// The fault that this request meets, if any.
    pub fn next(&mut self, method: &str, path_and_query: &str) -> Option<Fault> {
        let position = self.queue.iter().position(|injection| {
            injection.times > 0
                && injection.method.as_ref().is_none_or(|wanted| wanted == method)
                && path_and_query.contains(&injection.path)
        });
        let Some(position) = position else { return self.always.clone() };
        let injection = &mut self.queue[position];
        injection.times -= 1;
        let fault = injection.fault.clone();
        if injection.times == 0 {
            self.queue.remove(position);
        }
        Some(fault)
    }

    pub fn clear(&mut self) {
        *self = Faults::default();
    }
}
