//! Leases beside the double of the API server: a cluster for several replicas,
//! each with a client of its own, and one log of what they all sent.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceExt as _, service_fn};

use crate::api::{AnswerBody, Api, ApiService, Role};
use crate::served::Served;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const LEASES_OF_ALL: &str = "/apis/coordination.k8s.io/v1/leases";
/// What our elections label their Leases with.
const OUR_LABEL: (&str, &str) = ("app.kubernetes.io/name", "vmcp-status");

/// One request, in the order of arrival.
#[derive(Clone, Debug)]
pub struct SentRequest {
    pub who: &'static str,
    pub method: Method,
    pub path: String,
    pub body: Value,
    pub at: Instant,
    /// None: it was cut off, or is not answered yet.
    pub code: Option<u16>,
}

impl SentRequest {
    pub fn is_of_lease(&self) -> bool {
        self.path.starts_with(LEASES) || self.path == LEASES_OF_ALL
    }

    /// Whether it was a write of the status, not a read by an empty patch.
    pub fn writes_status(&self) -> bool {
        self.method == Method::PATCH && self.body.is_array()
    }

    /// Whether it has stored a status.
    pub fn stored_status(&self) -> bool {
        self.writes_status() && self.code == Some(200)
    }
}

#[derive(Default)]
struct LeaseState {
    leases: BTreeMap<String, Value>,
    version: u64,
    sent: Vec<SentRequest>,
    /// Whose requests get nowhere.
    cut_off: BTreeSet<&'static str>,
    /// How long it takes to connect.
    connecting: Duration,
    /// Verbs on leases that no role has.
    forbidden: BTreeSet<&'static str>,
    not_served: bool,
}

/// The double of the API server, and Leases. All clones are the same cluster.
#[derive(Clone)]
pub struct ElectionCluster {
    pub api: Api,
    state: Arc<Mutex<LeaseState>>,
}

impl ElectionCluster {
    pub fn of(api: Api) -> Self {
        ElectionCluster { api, state: Arc::default() }
    }

    /// What this replica reaches the cluster by.
    pub fn client(&self, who: &'static str) -> kube::Client {
        let replica = Replica { who, cluster: self.clone(), api: self.api.service(Role::Least) };
        kube::Client::new(service_fn(move |request| replica.clone().serve(request)), "default")
    }

    /// The cluster on a port, for programs of their own, that come with the rights
    /// of `role`.
    pub fn serve(&self, who: &'static str, role: Role) -> Served {
        let replica = Replica { who, cluster: self.clone(), api: self.api.service(role) };
        Served::with(service_fn(move |request| replica.clone().serve(request)))
    }

    pub fn lease(&self, name: &str) -> Value {
        self.state().leases.get(name).cloned().unwrap_or_default()
    }

    /// Who holds the lease; empty where none does.
    pub fn holder(&self, name: &str) -> String {
        self.lease(name)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// Another client's write.
    pub fn put_lease(&self, name: &str, spec: Value) {
        let labels = json!({OUR_LABEL.0: OUR_LABEL.1});
        let metadata = json!({"name": name, "namespace": "default", "labels": labels});
        self.state().store(name, json!({"metadata": metadata, "spec": spec}));
    }

    pub fn remove_lease(&self, name: &str) {
        self.state().leases.remove(name);
    }

    pub fn sent(&self) -> Vec<SentRequest> {
        self.state().sent.clone()
    }

    pub fn clear_sent(&self) {
        self.state().sent.clear();
    }

    /// Nothing that this replica sends arrives any more, or it does again.
    pub fn cut_off(&self, who: &'static str, off: bool) {
        let mut state = self.state();
        if off {
            state.cut_off.insert(who)
        } else {
            state.cut_off.remove(who)
        };
    }

    pub fn set_connecting(&self, time: Duration) {
        self.state().connecting = time;
    }

    /// Takes these verbs on leases from everybody.
    pub fn forbid(&self, verbs: &[&'static str]) {
        self.state().forbidden = verbs.iter().copied().collect();
    }

    pub fn serve_leases(&self, served: bool) {
        self.state().not_served = !served;
    }

    fn state(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseState {
    fn store(&mut self, name: &str, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.leases.insert(name.to_owned(), lease.clone());
        lease
    }

    /// All, or those with our label where the query selects by one.
    fn list(&self, query: &str) -> Value {
        let selects = query.contains("labelSelector=");
        let (label, value) = OUR_LABEL;
        let is_listed = |lease: &&Value| !selects || lease["metadata"]["labels"][label] == value;
        let items: Vec<_> = self.leases.values().filter(is_listed).collect();
        json!({"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {}, "items": items})
    }

    /// As the real server answers, in the order of its checks.
    fn serve(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        if self.not_served {
            return (404, json!("404 page not found"));
        }
        let name = path.strip_prefix(LEASES).unwrap_or_default().trim_start_matches('/');
        let verb = match *method {
            Method::GET if name.is_empty() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            _ => "other",
        };
        if self.forbidden.contains(verb) {
            let message =
                format!("leases.coordination.k8s.io is forbidden: User \"x\" cannot {verb} resource \"leases\"");
            return (403, failure(403, "Forbidden", &message));
        }
        if verb == "list" {
            return (200, self.list(query));
        }
        if verb != "get" && body["spec"]["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
            return (422, failure(422, "Invalid", "spec.leaseDurationSeconds: must be greater than 0"));
        }
        match (verb, self.leases.get(name)) {
            ("get", Some(lease)) => (200, lease.clone()),
            ("create", _) => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if self.leases.contains_key(&name) {
                    return (409, failure(409, "AlreadyExists", "it already exists"));
                }
                (201, self.store(&name, body.clone()))
            }
            ("update", Some(lease)) => {
                let (seen, version) = (&body["metadata"]["resourceVersion"], &lease["metadata"]["resourceVersion"]);
                match seen == version {
                    true => (200, self.store(name, body.clone())),
                    false if seen.is_null() => (422, failure(422, "Invalid", "must be specified for an update")),
                    false => (409, failure(409, "Conflict", "the object has been modified")),
                }
            }
            ("get" | "update", None) => (404, failure(404, "NotFound", "leases not found")),
            _ => (405, failure(405, "MethodNotAllowed", "not allowed")),
        }
    }
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code})
}

/// One replica's way to the cluster.
#[derive(Clone)]
struct Replica {
    who: &'static str,
    cluster: ElectionCluster,
    api: ApiService,
}

impl Replica {
    async fn serve(self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let connecting = self.cluster.state().connecting;
        if !connecting.is_zero() {
            sleep(connecting).await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let number = {
            let mut state = self.cluster.state();
            let sent = SentRequest {
                who: self.who,
                method: head.method.clone(),
                path: path.clone(),
                body: json.clone(),
                at: Instant::now(),
                code: None,
            };
            state.sent.push(sent);
            state.sent.len() - 1
        };
        if self.cluster.state().cut_off.contains(self.who) {
            return std::future::pending().await;
        }
        let response = if path.starts_with("/apis/coordination.k8s.io/") {
            let query = head.uri.query().unwrap_or_default();
            let (code, answer) = self.cluster.state().serve(&head.method, &path, query, &json);
            let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
            let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
            Response::builder().status(StatusCode::from_u16(code)?).body(body)?
        } else {
            let request = Request::from_parts(head, Body::from(body));
            self.api.oneshot(request).await?
        };
        if let Some(sent) = self.cluster.state().sent.get_mut(number) {
            sent.code = Some(response.status().as_u16());
        }
        Ok(response)
    }
}
