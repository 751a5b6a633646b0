//! Asks the API server, without ever writing: what changes nothing is a read,
//! and everything else is a dry run.

use std::error::Error;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long one answer may take: who asks is a person.
const PATIENCE: Duration = Duration::from_secs(5);
const DRY_RUN: &str = "?dryRun=All&fieldManager=vmcp-status";
const JSON: &str = "application/json";
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
    Got { code: u16, body: Value },
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
            Answer::Got { code: 200..=299, body } if body.is_object() => Some(body),
            _ => None,
        }
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
    let object = format!("/apis/{group}/{version}/namespaces/{namespace}/virtualmcpservers/{name}");
    let status = format!("{object}/status");
    let dry_run = format!("{status}{DRY_RUN}");

    let server_version = get(client, "/version").await;
    if matches!(server_version.code(), None | Some(401)) {
        return Answers { version: server_version, rest: None };
    }
    let discovery = format!("/apis/{group}");
    let empty_patch = send(client, Method::PATCH, &dry_run, Some((MERGE_PATCH, json!({}))));
    // At once, so that a server that falls silent is waited for only once.
    let (discovery, get_status, get_object, empty_patch) =
        tokio::join!(get(client, &discovery), get(client, &status), get(client, &object), empty_patch);
    let mut rest = Rest { discovery, get_status, get_object, empty_patch, write: None };
    if let Some(patch) = rest.object().and_then(harmless) {
        rest.write = Some(send(client, Method::PATCH, &dry_run, Some((JSON_PATCH, patch))).await);
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
    send(client, Method::GET, uri, None).await
}

async fn send(client: &Client, method: Method, uri: &str, patch: Option<(&str, Value)>) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, JSON);
    if let Some((kind, _)) = &patch {
        request = request.header(CONTENT_TYPE, *kind);
    }
    let body = patch.map(|(_, patch)| patch.to_string().into_bytes()).unwrap_or_default();
    let request = request.body(Body::from(body)).expect("checked names make a valid request");
    let answer = async {
        let (head, body) = client.send(request).await.map_err(|error| causes(&error))?.into_parts();
        let body = body.collect().await.map_err(|error| causes(&error))?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer::Got { code: head.status.as_u16(), body })
    };
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::Nothing(why),
        Err(_) => Answer::Nothing(format!("nothing within {} s", PATIENCE.as_secs())),
    }
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
