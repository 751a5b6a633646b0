//! Asks the API server, without ever writing: what changes nothing is a read,
//! and everything else is a dry run.

use std::error::Error;
use std::time::Duration;

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, WARNING};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;
use vmcp_status::custom_resource::{APP_NAME, PLURAL};

/// How long one answer may take: who asks is a person.
const PATIENCE: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";
/// An answer of metadata alone: the object may be large.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// Which object it is about. The names have been checked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// An answer. What is not JSON is null: it is not the API server's, and may
    /// repeat what was sent.
    Got {
        code: u16,
        /// The texts of the `Warning` headers (RFC 7234, 5.5).
        warnings: Vec<String>,
        body: Value,
    },
    /// None, and why.
    Nothing(String),
}

impl Answer {
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Answer::Got { code, .. } => Some(*code),
            Answer::Nothing(_) => None,
        }
    }

    /// What a success brought.
    pub(super) fn success(&self) -> Option<&Value> {
        match self {
            Answer::Got { code: 200..=299, body, .. } if body.is_object() => Some(body),
            _ => None,
        }
    }

    /// Whether the server says that it does not know this field, and would drop
    /// it.
    pub(super) fn warns_of(&self, field: &str) -> bool {
        // `299 - "unknown field \"status.runtime\""`
        let quoted = format!("unknown field \\\"{field}\\\"");
        matches!(self, Answer::Got { warnings, .. } if warnings.iter().any(|warning| warning.contains(&quoted)))
    }
}

/// All answers; those to questions that an earlier answer made pointless are
/// missing.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) version: Answer,
    pub(super) rest: Option<Rest>,
}

#[derive(Clone, Debug)]
pub(super) struct Rest {
    pub(super) discovery: Answer,
    pub(super) get_status: Answer,
    pub(super) get_object: Answer,
    pub(super) empty_patch: Answer,
    /// To a `status.runtime` with nothing in it.
    pub(super) runtime: Answer,
    /// Only for an object that was read.
    pub(super) write: Option<Answer>,
}

impl Rest {
    /// The object, by whichever way.
    pub(super) fn object(&self) -> Option<&Value> {
        [&self.get_status, &self.get_object, &self.empty_patch].into_iter().find_map(Answer::success)
    }
}

pub(super) async fn ask(client: &Client, target: &Target) -> Answers {
    let Target { group, version, namespace, name } = target;
    let object = format!("/apis/{group}/{version}/namespaces/{namespace}/{PLURAL}/{name}");
    let status = format!("{object}/status");
    let dry_run = format!("{status}?dryRun=All&fieldManager={APP_NAME}");

    let server_version = get(client, "/version").await;
    if matches!(server_version.code(), None | Some(401)) {
        return Answers { version: server_version, rest: None };
    }
    let discovery = format!("/apis/{group}");
    // Without being asked to warn, a CRD that lacks a field drops it silently.
    let warned = format!("{dry_run}&fieldValidation=Warn");
    let runtime = json!({"status": {"runtime": {}}});
    // At once, so that a server that falls silent is waited for only once.
    let (discovery, get_status, get_object, empty_patch, runtime) = tokio::join!(
        get(client, &discovery),
        get(client, &status),
        get(client, &object),
        patch(client, &dry_run, JSON, (MERGE_PATCH, json!({}))),
        patch(client, &warned, METADATA, (MERGE_PATCH, runtime)),
    );
    let mut rest = Rest { discovery, get_status, get_object, empty_patch, runtime, write: None };
    if let Some(change) = rest.object().and_then(harmless) {
        rest.write = Some(patch(client, &dry_run, JSON, (JSON_PATCH, change)).await);
    }
    Answers { version: server_version, rest: Some(rest) }
}

/// A patch in the form of the reporter's, which leaves the phase as it is.
fn harmless(object: &Value) -> Option<Value> {
    let version = object.pointer("/metadata/resourceVersion")?;
    let phase = object.pointer("/status/phase").cloned().unwrap_or_else(|| json!("Pending"));
    let change = match object.get("status") {
        Some(Value::Object(_)) => json!({"op": "add", "path": "/status/phase", "value": phase}),
        _ => json!({"op": "add", "path": "/status", "value": {"phase": phase}}),
    };
    Some(json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version}, change]))
}

async fn get(client: &Client, uri: &str) -> Answer {
    let request = Request::get(uri).header(ACCEPT, JSON).body(Body::empty());
    send(client, request).await
}

async fn patch(client: &Client, uri: &str, accept: &str, (kind, patch): (&str, Value)) -> Answer {
    let request = Request::patch(uri).header(ACCEPT, accept).header(CONTENT_TYPE, kind);
    send(client, request.body(Body::from(patch.to_string().into_bytes()))).await
}

async fn send(client: &Client, request: http::Result<Request<Body>>) -> Answer {
    let request = request.expect("checked names make a valid request");
    let answer = async {
        let (head, body) = client.send(request).await.map_err(|error| causes(&error))?.into_parts();
        let body = body.collect().await.map_err(|error| causes(&error))?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer::Got { code: head.status.as_u16(), warnings: warnings(&head.headers), body })
    };
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::Nothing(why),
        Err(_) => Answer::Nothing(format!("nothing within {} s", PATIENCE.as_secs())),
    }
}

fn warnings(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(WARNING).iter().filter_map(|value| value.to_str().ok().map(String::from)).collect()
}

/// An error with what is behind it, each once: some repeat their cause.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_of_a_field_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(
            WARNING,
            "299 - \"toolhive.stacklok.dev/v1alpha1 VirtualMCPServer is deprecated\"".parse().expect("a header"),
        );
        let answer = |headers: &HeaderMap| Answer::Got { code: 200, warnings: warnings(headers), body: json!({}) };
        assert!(!answer(&headers).warns_of("status.runtime"));
        headers.append(WARNING, r#"299 - "unknown field \"status.runtime\"""#.parse().expect("a header"));
        assert!(answer(&headers).warns_of("status.runtime"));
        assert!(!answer(&headers).warns_of("status.run"));
        assert!(!Answer::Nothing(String::new()).warns_of("status.runtime"));
    }

    #[test]
    fn the_write_is_conditional_and_keeps_the_phase() {
        let patch = |object: Value| harmless(&object).expect("it has a version");
        let metadata = json!({"resourceVersion": "7"});
        let kept = patch(json!({"metadata": metadata, "status": {"phase": "Failed"}}));
        assert_eq!(kept[0], json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}));
        assert_eq!(kept[1], json!({"op": "add", "path": "/status/phase", "value": "Failed"}));
        let none = patch(json!({"metadata": metadata}));
        assert_eq!(none[1], json!({"op": "add", "path": "/status", "value": {"phase": "Pending"}}));
        let no_phase = patch(json!({"metadata": metadata, "status": {}}));
        assert_eq!(no_phase[1], json!({"op": "add", "path": "/status/phase", "value": "Pending"}));
        assert_eq!(harmless(&json!({"kind": "Unknown"})), None);
    }
}
