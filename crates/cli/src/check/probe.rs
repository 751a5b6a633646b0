//! Asks the API server, without ever writing: what changes nothing is a read,
//! and everything else is a dry run.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use vmcp_status::api_server::{
    ApiRequest, ApiResponse, JSON_PATCH, MERGE_PATCH, METADATA, ObjectPath, Refusal, RefusalKind, RequestError,
};
use vmcp_status::custom_resource::APP_NAME;
use vmcp_status::error_chain;

/// How long one answer may take: who asks is a person.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// An answer. A body that is not JSON is null: it is not the API server's,
    /// and may repeat what was sent.
    Got { response: ApiResponse, body: Value },
    /// None, and why.
    Nothing(String),
}

impl From<ApiResponse> for Answer {
    fn from(response: ApiResponse) -> Self {
        let body = response.json().unwrap_or_default();
        Answer::Got { response, body }
    }
}

impl Answer {
    /// The body of a success, or why the server refused; `None` without an
    /// answer.
    pub(super) fn outcome(&self) -> Option<Result<&Value, RefusalKind>> {
        match self {
            Answer::Got { response, body } => Some(response.refusal().map_or(Ok(body), |refusal| Err(refusal.kind()))),
            Answer::Nothing(_) => None,
        }
    }

    /// What a success brought.
    pub(super) fn success(&self) -> Option<&Value> {
        self.outcome()?.ok().filter(|body| body.is_object())
    }

    /// Why the server refused, if it did.
    pub(super) fn refused(&self) -> Option<RefusalKind> {
        self.outcome()?.err()
    }

    /// Whether something that was asked for is not there.
    pub(super) fn is_not_found(&self) -> bool {
        self.refused().is_some_and(RefusalKind::is_not_found)
    }

    /// The server's words, or why there are none.
    pub(super) fn message(&self) -> &str {
        match self {
            Answer::Got { response, .. } => response.refusal().map_or("", Refusal::message),
            Answer::Nothing(why) => why,
        }
    }

    /// Whether the server says that it does not know this field, and would drop
    /// it.
    pub(super) fn warns_of(&self, field: &str) -> bool {
        matches!(self, Answer::Got { response, .. } if response.warns_of(field))
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

pub(super) async fn ask(client: &Client, target: &ObjectPath) -> Answers {
    let server_version = send(client, ApiRequest::get("/version")).await;
    if matches!(server_version.outcome(), None | Some(Err(RefusalKind::Unauthorized))) {
        return Answers { version: server_version, rest: None };
    }
    let discovery = format!("/apis/{}", target.group());
    let dry_run = target.uri("/status", &format!("?dryRun=All&fieldManager={APP_NAME}"));
    // Without being asked to warn, a CRD that lacks a field drops it silently.
    let warned = format!("{dry_run}&fieldValidation=Warn");
    let runtime = json!({"status": {"runtime": {}}});
    // At once, so that a server that falls silent is waited for only once.
    let (discovery, get_status, get_object, empty_patch, runtime) = tokio::join!(
        send(client, ApiRequest::get(discovery)),
        send(client, ApiRequest::get(target.uri("/status", ""))),
        send(client, ApiRequest::get(target.uri("", ""))),
        send(client, patch(&dry_run, MERGE_PATCH, &json!({}))),
        send(client, patch(&warned, MERGE_PATCH, &runtime).accept(METADATA)),
    );
    let mut rest = Rest { discovery, get_status, get_object, empty_patch, runtime, write: None };
    if let Some(change) = rest.object().and_then(harmless) {
        rest.write = Some(send(client, patch(&dry_run, JSON_PATCH, &change)).await);
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

fn patch(uri: &str, media_type: &'static str, patch: &Value) -> ApiRequest {
    ApiRequest::patch(uri, media_type, patch.to_string().into_bytes())
}

async fn send(client: &Client, request: ApiRequest) -> Answer {
    match request.send(client, Some(PATIENCE)).await {
        Ok(response) => response.into(),
        Err(RequestError::TimedOut(within)) => Answer::Nothing(format!("nothing within {} s", within.as_secs())),
        Err(error) => Answer::Nothing(error_chain(&error)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer with this code and body.
    pub(in crate::check) fn got(code: u16, body: Value) -> Answer {
        let response = http::Response::builder().status(code).body(body.to_string().into());
        ApiResponse::from(response.expect("a response")).into()
    }

    #[test]
    fn silence_warns_of_nothing() {
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
