//! What the server says: objects, and the many ways to say no, in the words
//! of the real one.

use futures::stream::BoxStream;
use serde_json::{Value, json};

use super::{
    crd::{GROUP, KIND, PLURAL},
    schema::Cause,
};

/// What the real server speaks, and so says; the double speaks the first alone.
pub const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// An answer before it goes on the wire.
pub struct Answer {
    pub code: u16,
    pub headers: Vec<(&'static str, String)>,
    pub content: Content,
}

pub enum Content {
    Json(Value),
    Text(String),
    /// The lines of a watch, until one side has enough.
    Events(BoxStream<'static, String>),
}

impl Answer {
    pub fn json(code: u16, value: Value) -> Self {
        Answer { code, headers: Vec::new(), content: Content::Json(value) }
    }

    pub fn text(code: u16, text: impl Into<String>) -> Self {
        Answer { code, headers: Vec::new(), content: Content::Text(text.into()) }
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// As real servers do, seconds stand in the body of a `Status` too.
    pub fn with_retry_after(mut self, retry_after: Option<String>) -> Self {
        let Some(retry_after) = retry_after else { return self };
        if let (Content::Json(status), Ok(seconds)) = (&mut self.content, retry_after.parse::<u32>()) {
            status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        self.with_header("retry-after", retry_after)
    }
}

/// A `metav1.Status`. The real server leaves out a reason it does not know,
/// and details it does not have.
pub fn failure(code: u16, reason: &str, message: impl Into<String>, details: Option<Value>) -> Answer {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message.into(), "code": code,
    });
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    if let Some(details) = details {
        status["details"] = details;
    }
    Answer::json(code, status)
}

pub fn page_not_found() -> Answer {
    Answer::text(404, "404 page not found\n")
}

pub fn unauthorized() -> Answer {
    failure(401, "Unauthorized", "Unauthorized", None)
}

pub fn not_found(group: &str, resource: &str, name: &str) -> Answer {
    let details = json!({"name": name, "group": group, "kind": resource});
    failure(404, "NotFound", format!("{resource}.{group} {name:?} not found"), Some(details))
}

pub fn method_not_allowed(verb: &str) -> Answer {
    let message = format!("{verb} is not supported on resources of kind \"{PLURAL}.{GROUP}\"");
    failure(405, "MethodNotAllowed", message, Some(json!({"group": GROUP, "kind": PLURAL})))
}

pub fn bad_request(message: impl Into<String>) -> Answer {
    failure(400, "BadRequest", message, None)
}

pub fn unsupported_media_type(accepted: &[&str]) -> Answer {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    );
    failure(415, "UnsupportedMediaType", message, None)
}

pub fn not_acceptable() -> Answer {
    let message = format!("only the following media types are accepted: {}", MEDIA_TYPES.join(", "));
    failure(406, "NotAcceptable", message, None)
}

pub fn internal_error(message: impl Into<String>) -> Answer {
    failure(500, "", message, None)
}

pub fn too_large(message: &str) -> Answer {
    failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"), None)
}

/// Another writer was faster.
pub fn conflict(name: &str, why: &str) -> Answer {
    let message = format!("Operation cannot be fulfilled on {PLURAL}.{GROUP} {name:?}: {why}");
    failure(409, "Conflict", message, Some(json!({"name": name, "group": GROUP, "kind": PLURAL})))
}

/// A JSON Patch that does not fit the object: unlike content that the schema
/// refuses, nothing is named.
pub fn unfit_patch() -> Answer {
    failure(422, "Invalid", "the server rejected our request due to an error in our request", Some(json!({})))
}

/// The patched object is no longer one that can be read.
pub fn unreadable_patch(patched: &str, why: &str) -> Answer {
    let message = format!("Invalid value: {patched:?}: {why}");
    let causes = json!([{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]);
    failure(422, "Invalid", format!(" \"\" is invalid: patch: {message}"), Some(json!({"causes": causes})))
}

/// Content that the schema refuses, each broken rule named.
pub fn invalid(name: &str, causes: &[Cause]) -> Answer {
    refused(&format!("{KIND}.{GROUP}"), json!({"name": name, "group": GROUP, "kind": KIND}), name, causes)
}

/// Neither a patch nor a whole object may go without the version it is based on.
pub fn missing_resource_version(name: &str) -> Answer {
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: "Invalid value: 0: must be specified for an update".to_owned(),
        field: "metadata.resourceVersion".to_owned(),
    };
    refused(&format!("{PLURAL}.{GROUP}"), json!({"name": name, "group": GROUP, "kind": PLURAL}), name, &[cause])
}

/// Query parameters of a write with values that mean nothing.
pub fn invalid_options(kind: &str, causes: &[Cause]) -> Answer {
    refused(&format!("{kind}.meta.k8s.io"), json!({"group": "meta.k8s.io", "kind": kind}), "", causes)
}

/// A webhook that may have side effects sees no dry runs, so the server
/// refuses them.
pub fn no_dry_run(webhook: &str) -> Answer {
    bad_request(format!("admission webhook {webhook:?} does not support dry run"))
}

fn refused(kind: &str, mut details: Value, name: &str, causes: &[Cause]) -> Answer {
    let mut broken =
        causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect::<Vec<_>>().join(", ");
    if causes.len() > 1 {
        broken = format!("[{broken}]");
    }
    details["causes"] = causes
        .iter()
        .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
        .collect();
    failure(422, "Invalid", format!("{kind} {name:?} is invalid: {broken}"), Some(details))
}
