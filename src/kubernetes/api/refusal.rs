//! What it means that the API server refused a request. Pure.

use serde::Deserialize;
use serde_json::Value;

/// How many characters of a server's words are repeated.
const MAX_WORDS: usize = 512;
/// How kube marks an error whose body is not a `metav1.Status`, see
/// `handle_api_errors` of its client.
const NOT_A_STATUS: &str = "Failed to parse error data";
/// The member `status` of a `metav1.Status` that is not a success.
const FAILURE: &str = "Failure";

/// A response that is not a success: its code, and what its `metav1.Status`
/// says.
///
/// Made from an [`ApiResponse`](super::ApiResponse), or from the error of a
/// [`kube::Client`]:
///
/// ```
/// use vmcp_status::api_server::{Refusal, RefusalKind};
/// use vmcp_status::kube::core::Status;
///
/// let status = Status::failure("User \"a\" cannot get resource", "Forbidden").with_code(403);
/// assert_eq!(Refusal::from(&status).kind(), RefusalKind::MissingRight);
/// ```
#[derive(Clone, Debug)]
pub struct Refusal {
    code: u16,
    message: String,
    details: Details,
    /// Whether the message is the server's own. What is not JSON comes from a
    /// proxy, which may repeat what it was sent.
    is_status: bool,
    /// Whether the body says that it is the `metav1.Status` of a failure.
    is_failure: bool,
}

/// What a [`Refusal`] means, whatever was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The server does not know the credentials, or they have expired.
    Unauthorized,
    /// The role lacks a right.
    MissingRight,
    /// An admission webhook or policy denied a request that the role allows.
    Denied,
    /// The namespace is being deleted, and takes no new objects.
    NamespaceTerminating,
    /// The namespace does not exist.
    NamespaceNotFound,
    /// The resource is there, but no object of this name.
    ObjectNotFound,
    /// The server does not serve this resource, or not in this version.
    NotServed,
    /// Another writer was first: the object has changed, or is there already.
    Conflict,
    /// The object or the request is too large for the server.
    TooLarge,
    /// A JSON Patch does not fit the object as it is now: a path is not there, a
    /// test fails, or an item that it adds is there already.
    PatchMismatch,
    /// A webhook that does not support dry runs refused one.
    DryRunUnsupported,
    /// The server does not take this content.
    Invalid,
    /// The server is busy and asks for a pause.
    TooManyRequests,
    /// The server has a problem of its own, or a proxy before it has: so too a 400 that
    /// is not a `metav1.Status`.
    ServerError,
    /// An API server does not respond like this: a proxy may be in between.
    Unexpected,
}

impl RefusalKind {
    /// Whether the server knows who asks and does not allow it, for whichever
    /// reason.
    pub fn is_forbidden(self) -> bool {
        matches!(self, RefusalKind::MissingRight | RefusalKind::Denied | RefusalKind::NamespaceTerminating)
    }

    /// Whether something that the path names is not there.
    pub fn is_not_found(self) -> bool {
        matches!(self, RefusalKind::NamespaceNotFound | RefusalKind::ObjectNotFound | RefusalKind::NotServed)
    }
}

/// The parts of `metav1.Status` that matter here. Every member may be missing,
/// so that an odd one costs no more than itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StatusBody {
    status: Option<Value>,
    message: String,
    details: Option<Details>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    kind: Option<String>,
    name: Option<String>,
    causes: Option<Vec<Value>>,
}

impl Refusal {
    pub(super) fn from_body(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(StatusBody { status, message, details }) => Refusal {
                code,
                message,
                details: details.unwrap_or_default(),
                is_status: true,
                is_failure: status.is_some_and(|status| status == FAILURE),
            },
            Err(_) => {
                let message = String::from_utf8_lossy(body).trim().to_owned();
                Refusal { code, message, details: Details::default(), is_status: false, is_failure: false }
            }
        }
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What the server says; empty where the words are not the API server's.
    pub fn message(&self) -> &str {
        if self.is_status { &self.message } else { "" }
    }

    /// What the server answered, in its own words, on one line and bounded.
    pub fn summary(&self) -> String {
        let words = printable(self.message());
        let separator = if words.is_empty() { "" } else { ": " };
        format!("the API server answered {}{separator}{words}", self.code)
    }

    /// What it means.
    pub fn kind(&self) -> RefusalKind {
        match self.code {
            // A webhook chooses its own code, 400 where it chooses none.
            400..=428 if self.is_denial() => RefusalKind::Denied,
            401 => RefusalKind::Unauthorized,
            403 => self.forbidden(),
            404 => self.not_found(),
            409 => RefusalKind::Conflict,
            413 => RefusalKind::TooLarge,
            429 => RefusalKind::TooManyRequests,
            400 if self.is_about_dry_runs() => RefusalKind::DryRunUnsupported,
            400 if !self.is_failure => RefusalKind::ServerError,
            422 if self.is_mismatch() => RefusalKind::PatchMismatch,
            400 | 422 => RefusalKind::Invalid,
            500 if self.is_limit_of_storage() => RefusalKind::TooLarge,
            408 | 500..=599 => RefusalKind::ServerError,
            _ => RefusalKind::Unexpected,
        }
    }

    fn forbidden(&self) -> RefusalKind {
        let is_terminating = |cause: &Value| cause["reason"] == "NamespaceTerminating";
        if self.causes().iter().any(is_terminating) {
            return RefusalKind::NamespaceTerminating;
        }
        RefusalKind::MissingRight
    }

    fn not_found(&self) -> RefusalKind {
        match (self.details.kind.as_deref(), self.details.name.as_deref()) {
            (_, None | Some("")) => RefusalKind::NotServed,
            (Some("namespaces"), Some(_)) => RefusalKind::NamespaceNotFound,
            (_, Some(_)) => RefusalKind::ObjectNotFound,
        }
    }

    /// `admission webhook "w" does not support dry run`, in one spelling or
    /// another.
    fn is_about_dry_runs(&self) -> bool {
        self.message().to_lowercase().replace(' ', "").contains("dryrun")
    }

    /// etcd has two limits, and the server passes on what etcd says of each.
    fn is_limit_of_storage(&self) -> bool {
        ["request is too large", "ResourceExhausted"].iter().any(|sign| self.message.contains(sign))
    }

    /// Refused like bad content, but without a cause; or because another writer
    /// has added the same item.
    fn is_mismatch(&self) -> bool {
        self.causes().iter().all(is_duplicate)
    }

    /// `admission webhook "w" denied the request: it cannot be` or
    /// `ValidatingAdmissionPolicy 'p' with binding 'b' denied request: …`, and not
    /// `User "a" cannot patch resource "r": access denied by policy`.
    fn is_denial(&self) -> bool {
        self.message().split_once(" denied ").is_some_and(|(by, _)| !by.contains(" cannot "))
    }

    /// Returns the items of the list at this path that are refused: the index of each
    /// and why, in the words of the server.
    pub(in crate::kubernetes) fn refused_items(&self, list: &str) -> Vec<(usize, String)> {
        // `status.discoveredBackends[3].url`
        let index = |field: &str| field.strip_prefix(list)?.strip_prefix('[')?.split(']').next()?.parse().ok();
        let item = |cause: &Value| {
            let why = cause["message"].as_str().unwrap_or_default();
            Some((index(cause["field"].as_str()?)?, printable(why)))
        };
        self.causes().iter().filter(|cause| !is_duplicate(cause)).filter_map(item).collect()
    }

    fn causes(&self) -> &[Value] {
        self.details.causes.as_deref().unwrap_or_default()
    }
}

/// Puts a server's words on one line and bounds them.
fn printable(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

fn is_duplicate(cause: &Value) -> bool {
    cause["reason"] == "FieldValueDuplicate"
}

impl From<&kube::core::Status> for Refusal {
    fn from(status: &kube::core::Status) -> Self {
        let details = status.details.as_ref().map(|details| Details {
            kind: Some(details.kind.clone()),
            name: Some(details.name.clone()),
            causes: Some(details.causes.iter().map(|cause| serde_json::json!({"reason": cause.reason})).collect()),
        });
        Refusal {
            code: status.code,
            message: status.message.clone(),
            details: details.unwrap_or_default(),
            is_status: status.reason != NOT_A_STATUS,
            is_failure: status.is_failure() && status.reason != NOT_A_STATUS,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(code: u16, body: &Value) -> RefusalKind {
        let kind = Refusal::from_body(code, body.to_string().as_bytes()).kind();
        let mut body = body.clone();
        body["code"] = code.into();
        if let Ok(status) = serde_json::from_value::<kube::core::Status>(body) {
            assert_eq!(Refusal::from(&status).kind(), kind, "kube's error means the same");
        }
        kind
    }

    #[test]
    fn each_refusal_means_the_same_from_a_response_and_from_kube() {
        use RefusalKind as Kind;
        let said = |message: &str| json!({"message": message});
        for (code, body, expected) in [
            (302, json!({}), Kind::Unexpected),
            (400, json!({}), Kind::ServerError),
            (400, json!({"status": "Failure", "reason": "BadRequest"}), Kind::Invalid),
            (400, said("admission webhook \"w\" denied the request without explanation"), Kind::Denied),
            (401, said("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: who?"), Kind::Denied),
            (400, said("admission webhook \"w\" does not support dry run"), Kind::DryRunUnsupported),
            (401, json!({}), Kind::Unauthorized),
            (403, json!({}), Kind::MissingRight),
            (403, said("User \"a\" cannot patch resource"), Kind::MissingRight),
            (403, said("User \"a\" cannot patch resource \"r\": access denied by policy"), Kind::MissingRight),
            (403, said("admission webhook \"w\" denied the request: you cannot do that"), Kind::Denied),
            (409, said("admission webhook \"w\" denied the request: there is one"), Kind::Denied),
            (422, said("admission webhook \"w\" denied the request: it cannot be"), Kind::Denied),
            (
                422,
                said("\"demo\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: you cannot"),
                Kind::Denied,
            ),
            (429, said("admission webhook \"w\" denied the request: busy"), Kind::TooManyRequests),
            (403, json!({"details": {"causes": [{"reason": "NamespaceTerminating"}]}}), Kind::NamespaceTerminating),
            (404, json!({}), Kind::NotServed),
            (404, json!({"details": {"kind": "events", "name": ""}}), Kind::NotServed),
            (404, json!({"details": {"kind": "events", "name": "e"}}), Kind::ObjectNotFound),
            (404, json!({"details": {"kind": "namespaces", "name": "n"}}), Kind::NamespaceNotFound),
            (405, json!({}), Kind::Unexpected),
            (408, json!({}), Kind::ServerError),
            (409, json!({}), Kind::Conflict),
            (413, json!({}), Kind::TooLarge),
            (422, json!({"details": {}}), Kind::PatchMismatch),
            (422, json!({"details": {"causes": [{"reason": "FieldValueInvalid"}]}}), Kind::Invalid),
            (429, json!({}), Kind::TooManyRequests),
            (500, json!({}), Kind::ServerError),
            (500, said("etcdserver: request is too large"), Kind::TooLarge),
            (500, said("rpc error: code = ResourceExhausted desc = x"), Kind::TooLarge),
            (503, json!({}), Kind::ServerError),
            (600, json!({}), Kind::Unexpected),
        ] {
            assert_eq!(kind(code, &body), expected, "{code} {body}");
        }
    }

    #[test]
    fn text_of_a_proxy_is_neither_repeated_nor_trusted_to_distinguish_rights() {
        let page = "a proxy denied the request of token";
        let status = kube::core::Status::failure(page, NOT_A_STATUS).with_code(403);
        for refusal in [Refusal::from_body(403, page.as_bytes()), Refusal::from(&status)] {
            assert_eq!((refusal.message(), refusal.kind()), ("", RefusalKind::MissingRight));
        }
    }
}
