//! `events.k8s.io` beside the double of the API server: keeps the Events and a
//! record of the requests, and refuses what the real server refuses
//! (`pkg/apis/core/validation/events.go` of Kubernetes).

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{BoxError, ServiceExt as _, service_fn};

use crate::api::{AnswerBody, Api, Role};

const BASE: &str = "/apis/events.k8s.io/v1/namespaces/";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// How requests for Events fare.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    #[default]
    Fine,
    /// The role has these verbs.
    Verbs(&'static [&'static str]),
    NotServed,
    /// No answer ever comes.
    Hangs,
    Fails(u16),
    /// The namespace is being deleted.
    Terminating,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct SentEvent {
    pub verb: &'static str,
    pub event: Value,
    /// None while there is no answer.
    pub code: Option<u16>,
    pub at: Instant,
}

#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<EventState>>);

#[derive(Default)]
struct EventState {
    mood: Mood,
    stored: BTreeMap<String, Value>,
    sent: Vec<SentEvent>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, EventState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// In the order in which they were made.
    pub fn stored(&self) -> Vec<Value> {
        let mut stored: Vec<_> = self.state().stored.values().cloned().collect();
        let version = |event: &Value| event["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        stored.sort_by_key(|event| version(event).unwrap_or(0));
        stored
    }

    pub fn sent(&self) -> Vec<SentEvent> {
        self.state().sent.clone()
    }

    pub fn forget_sent(&self) {
        self.state().sent.clear();
    }

    /// As their time to live does.
    pub fn delete_all(&self) {
        self.state().stored.clear();
    }

    /// A client of both: Events here, all else at the double.
    pub fn client(&self, api: &Api, role: Role) -> kube::Client {
        let (events, others) = (self.clone(), api.service(role));
        let service = service_fn(move |request: Request<Body>| {
            if request.uri().path().starts_with("/apis/events.k8s.io") {
                events.clone().serve(request).boxed()
            } else {
                others.clone().oneshot(request).boxed()
            }
        });
        kube::Client::new(service, "default")
    }

    async fn serve(self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        if head.method == Method::GET {
            let (code, answer) = self.state().list();
            let body = Full::new(Bytes::from(answer.to_string())).map_err(|never| match never {}).boxed_unsync();
            return Ok(Response::builder().status(code).body(body)?);
        }
        let body: Value = serde_json::from_slice(&body)?;
        let verb = if head.method == Method::POST { "create" } else { "patch" };
        let entry = {
            let mut state = self.state();
            state.sent.push(SentEvent { verb, event: body.clone(), code: None, at: Instant::now() });
            state.sent.len() - 1
        };
        if matches!(self.state().mood, Mood::Hangs) {
            pending::<()>().await;
        }
        let content_type = head.headers.get("content-type").and_then(|value| value.to_str().ok());
        let (code, answer) = self.state().answer(&head.method, head.uri.path(), content_type, body);
        if let Some(sent) = self.state().sent.get_mut(entry) {
            sent.code = Some(code);
        }
        let text = match answer {
            Value::String(text) => text,
            answer => answer.to_string(),
        };
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        Ok(Response::builder().status(code).body(body)?)
    }
}

impl EventState {
    /// All Events, whatever the selector: there is one object.
    fn list(&self) -> (u16, Value) {
        match &self.mood {
            Mood::Fine => (200, json!({"kind": "EventList", "items": self.stored.values().collect::<Vec<_>>()})),
            Mood::Verbs(verbs) if verbs.contains(&"list") => {
                (200, json!({"kind": "EventList", "items": self.stored.values().collect::<Vec<_>>()}))
            }
            _ => failure(403, "Forbidden", "User \"least\" cannot list resource \"events\"", json!({"kind": "events"})),
        }
    }

    fn answer(&mut self, method: &Method, path: &str, content_type: Option<&str>, body: Value) -> (u16, Value) {
        let (namespace, name) = match path.strip_prefix(BASE).and_then(|path| path.split_once("/events")) {
            Some((namespace, name)) => (namespace.to_owned(), name.trim_start_matches('/').to_owned()),
            None => return (404, json!("404 page not found\n")),
        };
        let verb = if *method == Method::POST { "create" } else { "patch" };
        match &self.mood {
            Mood::Fine | Mood::Hangs => {}
            Mood::Verbs(verbs) if verbs.contains(&verb) => {}
            Mood::Verbs(_) => {
                let message = format!(
                    "events.events.k8s.io is forbidden: User \"least\" cannot {verb} resource \"events\" in API \
                     group \"events.k8s.io\" in the namespace {namespace:?}"
                );
                return failure(403, "Forbidden", &message, json!({"group": "events.k8s.io", "kind": "events"}));
            }
            Mood::NotServed => return (404, json!("404 page not found\n")),
            Mood::Fails(code) => return failure(*code, "", "it fails", json!({})),
            Mood::Terminating => {
                let cause = json!({"reason": "NamespaceTerminating", "field": "metadata.namespace"});
                let details = json!({"kind": "events", "causes": [cause]});
                return failure(403, "Forbidden", "unable to create new content in namespace", details);
            }
        }
        if *method == Method::POST { self.create(&namespace, body) } else { self.patch(&name, content_type, &body) }
    }

    fn create(&mut self, namespace: &str, mut event: Value) -> (u16, Value) {
        let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(fault) = fault(namespace, &name, &event) {
            return invalid(&fault);
        }
        if self.stored.contains_key(&name) {
            return failure(409, "AlreadyExists", "it exists already", json!({"kind": "events", "name": name}));
        }
        event["metadata"]["resourceVersion"] = json!(self.sent.len().to_string());
        self.stored.insert(name, event.clone());
        (201, event)
    }

    fn patch(&mut self, name: &str, content_type: Option<&str>, patch: &Value) -> (u16, Value) {
        if content_type != Some(MERGE_PATCH) {
            return failure(415, "UnsupportedMediaType", "of Events only merge patches are known here", json!({}));
        }
        let Some(old) = self.stored.get(name) else {
            let details = json!({"group": "events.k8s.io", "kind": "events", "name": name});
            return failure(404, "NotFound", &format!("events.events.k8s.io {name:?} not found"), details);
        };
        let mut new = old.clone();
        json_patch::merge(&mut new, patch);
        // Nothing but the series may change.
        for member in ["action", "reason", "note", "type", "eventTime", "regarding", "related", "reportingController"] {
            if old[member] != new[member] {
                return invalid(&format!("{member}: field is immutable"));
            }
        }
        if new["series"]["count"].as_i64().unwrap_or_default() < 2 {
            return invalid("series.count: should be at least 2");
        }
        self.stored.insert(name.to_owned(), new.clone());
        (200, new)
    }
}

fn fault(namespace: &str, name: &str, event: &Value) -> Option<String> {
    let text = |member: &str| event[member].as_str().unwrap_or_default();
    for member in ["reportingController", "reportingInstance", "action", "reason"] {
        if text(member).is_empty() {
            return Some(format!("{member}: Required value"));
        }
    }
    for (member, most) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("note", 1024)] {
        if text(member).len() > most {
            return Some(format!("{member}: can have at most {most} characters"));
        }
    }
    let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.len() > 253 || !name.chars().all(dns) {
        return Some("metadata.name: Invalid value".into());
    }
    if !["Normal", "Warning"].contains(&text("type")) {
        return Some("type: has invalid value".into());
    }
    if text("eventTime").is_empty() {
        return Some("eventTime: Required value".into());
    }
    if event["regarding"]["namespace"] != namespace {
        return Some("involvedObject.namespace: does not match event.namespace".into());
    }
    None
}

fn invalid(fault: &str) -> (u16, Value) {
    failure(422, "Invalid", fault, json!({"causes": [{"reason": "FieldValueInvalid", "message": fault}]}))
}

fn failure(code: u16, reason: &str, message: &str, details: Value) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "details": details, "code": code,
    });
    (code, status)
}
