//! A double of the Kubernetes API server, for tests that need its answers but
//! no cluster.
//!
//! It serves `virtualmcpservers` as a custom resource with a status
//! subresource, and is meant to be as strict as the real server: the same
//! checks in the same order, the same codes, reasons, causes and messages
//! (compared with Kubernetes 1.36). What it does not do is in its callers'
//! interest: no admission, no server-side apply, no YAML, no protobuf.
//!
//! | file | concern |
//! |---|---|
//! | `service` | HTTP in and out, faults, the log |
//! | `server` | the way of a request: who, may he, what, and back |
//! | `rbac`, `request_info` | roles, and what a request is about |
//! | `update`, `options`, `schema` | a status update: checked, pruned, validated |
//! | `patch`, `operations`, `raw` | what patches make of a document |
//! | `operator` | ToolHive's operator, which answers reports at the top level |
//! | `store`, `managed_fields` | objects, versions, ownership of fields |
//! | `accept`, `answer`, `discovery`, `crd` | what is sent back, and what is served |
//! | `watch` | changes as they happen |
//!
//! All waiting is on tokio's clock, so tests run in paused time.

#![allow(dead_code, unused_imports, reason = "compiled into several test binaries, each of which uses a part")]

mod accept;
mod answer;
pub mod crd;
mod discovery;
mod fault;
mod log;
mod managed_fields;
mod operations;
mod operator;
mod options;
mod patch;
mod raw;
mod rbac;
mod request_info;
pub mod schema;
mod server;
mod service;
mod store;
mod update;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{Notify, futures::OwnedNotified};

use self::{
    answer::Answer,
    fault::Faults,
    log::Log,
    store::{Key, ObjectStore},
};
pub use self::{
    fault::{Fault, Injection},
    log::Request,
    operator::{Following, Group, Operator, PendingWrite, Pods, Reconciled},
    rbac::Role,
    service::{AnswerBody, ApiService},
};

/// An API server in memory. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Api {
    state: Arc<Mutex<ApiState>>,
    changed: Arc<Notify>,
}

/// How large things may be, by default as large as with etcd's own defaults.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of an object, managed fields included, that etcd takes.
    pub object: usize,
    /// Bytes of an object that are sent to etcd at all.
    pub message: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Operations of one JSON Patch.
    pub operations: usize,
}

struct ApiState {
    /// The definition of the resource, none while there is none.
    crd: Option<Value>,
    store: ObjectStore,
    limits: Limits,
    token: Option<String>,
    /// A webhook that is asked about each write, and may have side effects.
    webhook: Option<String>,
    faults: Faults,
    log: Log,
}

impl Api {
    /// A server that serves `virtualmcpservers` of `toolhive.stacklok.dev`,
    /// `v1beta1` and `v1alpha1`, as today's ToolHive defines them (with
    /// `status.runtime`), and has no object yet.
    pub fn new() -> Self {
        let state = ApiState {
            crd: Some(crd::definition()),
            store: ObjectStore::new(),
            limits: Limits::default(),
            token: None,
            webhook: None,
            faults: Faults::default(),
            log: Log::default(),
        };
        Api { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// A server whose definition is from before September 2026: the same, but
    /// without `status.runtime`.
    pub fn with_old_crd() -> Self {
        let api = Api::new();
        api.edit_crd(crd::forget_runtime);
        api
    }

    /// A server on which the resource has not been defined.
    pub fn without_crd() -> Self {
        let api = Api::new();
        api.with(|state| state.crd = None);
        api
    }

    /// A server whose definition is older than this field of a backend, and
    /// than `status.runtime`.
    pub fn with_pruned_backend_field(field: &str) -> Self {
        let api = Api::with_old_crd();
        api.edit_crd(|crd| {
            for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
                let backend =
                    "/schema/openAPIV3Schema/properties/status/properties/discoveredBackends/items/properties";
                let properties = version.pointer_mut(backend).and_then(Value::as_object_mut);
                properties.and_then(|properties| properties.remove(field)).expect("the definition knows the field");
            }
        });
        api
    }

    /// A client with the rights of `role`. Needs a running tokio runtime.
    pub fn client(&self, role: Role) -> kube::Client {
        kube::Client::new(self.service(role), "default")
    }

    /// What is under such a client, for callers that put layers around it.
    pub fn service(&self, role: Role) -> ApiService {
        service::service(self.clone(), role)
    }

    /// Makes an object, as an administrator would, and returns it.
    pub fn create(&self, namespace: &str, name: &str, spec: Value) -> Value {
        self.with(|state| Value::clone(&state.store.create(key(namespace, name), spec)))
    }

    /// The object as it is now, managed fields and all.
    pub fn object(&self, namespace: &str, name: &str) -> Option<Value> {
        self.with(|state| state.store.get(&key(namespace, name)).map(|object| Value::clone(object)))
    }

    /// Another client's write, with all rights and without any check, though
    /// unknown fields are pruned and defaults filled in. A change of the spec
    /// is a new generation, and no change at all is no write. `change` must
    /// not call the server, which waits for it.
    pub fn edit(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.with(|state| state.edit(key(namespace, name), change));
    }

    pub fn delete(&self, namespace: &str, name: &str) {
        let deleted = self.with(|state| state.store.delete(&key(namespace, name)));
        assert!(deleted.is_some(), "there is no {name} in {namespace} to delete");
    }

    /// Changes what is served, and what objects may hold; where nothing was
    /// defined, the definition is there from now on.
    pub fn edit_crd(&self, change: impl FnOnce(&mut Value)) {
        self.with(|state| change(state.crd.get_or_insert_with(crd::definition)));
    }

    /// ToolHive is updated: from now on its definition is today's.
    pub fn update_crd(&self) {
        self.edit_crd(|crd| *crd = crd::definition());
    }

    /// From now on every request must carry `Authorization: Bearer <token>`;
    /// with none given, who asks is not asked.
    pub fn set_token(&self, token: Option<String>) {
        self.with(|state| state.token = token);
    }

    /// From now on a webhook of this name is asked about each write. It lets
    /// all of them pass, but it may have side effects, so that the server
    /// refuses dry runs.
    pub fn set_webhook_with_side_effects(&self, name: Option<String>) {
        self.with(|state| state.webhook = name);
    }

    pub fn set_limits(&self, limits: Limits) {
        self.with(|state| state.limits = limits);
    }

    /// Lets something go wrong: for the next request, or for those that the
    /// injection names. Faults wait in line; a request meets at most one.
    pub fn inject(&self, fault: impl Into<Injection>) {
        self.with(|state| state.faults.push(fault.into()));
    }

    /// What goes wrong with every request that no injected fault meets.
    pub fn always(&self, fault: Option<Fault>) {
        self.with(|state| state.faults.always = fault);
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Forgets the past: a watch from any version before now is too old.
    pub fn compact(&self) {
        self.with(|state| state.store.compact());
    }

    /// All requests that arrived, in order, refused ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.with(|state| state.log.requests())
    }

    pub fn clear_requests(&self) {
        self.with(|state| state.log.clear());
    }

    /// Does something with the state, at once for everybody else.
    fn with<T>(&self, act: impl FnOnce(&mut ApiState) -> T) -> T {
        // A failed assertion of a test inside of `edit` is no reason to hide it
        // behind a second panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.store.version();
        let done = act(&mut state);
        if state.store.version() != before {
            self.changed.notify_waiters();
        }
        done
    }

    /// Completes when an object has changed after this call.
    fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }
}

impl Default for Api {
    fn default() -> Self {
        Api::new()
    }
}

impl ApiState {
    /// The version of the definition with this name, if it is served.
    fn served(&self, name: &str) -> Option<Value> {
        let versions = discovery::served_versions(self.crd.as_ref());
        versions.into_iter().find(|version| version["name"] == name).cloned()
    }

    fn edit(&mut self, key: Key, change: impl FnOnce(&mut Value)) {
        let old = self.store.get(&key).cloned().unwrap_or_else(|| panic!("there is no {} in {}", key.1, key.0));
        let mut new = Value::clone(&old);
        change(&mut new);
        let schema = self.served(crd::STORAGE_VERSION).unwrap_or_default();
        let schema = &schema["schema"]["openAPIV3Schema"];
        for (field, subresource) in [("spec", None), ("status", Some("status"))] {
            if let Some(value) = new.get_mut(field) {
                schema::prune(&schema["properties"][field], value, field, &mut Vec::new());
                schema::default(&schema["properties"][field], value);
            }
            let (old, new_value) = (old.get(field), new.get(field).cloned());
            if old != new_value.as_ref() {
                let api_version = store::api_version(crd::STORAGE_VERSION);
                let writer = self.store.writer("operator", &api_version, subresource);
                let schema = &schema["properties"][field];
                writer.record(&mut new["metadata"], field, schema, old, new_value.as_ref());
            }
        }
        if *old == new {
            return;
        }
        if old["spec"] != new["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            new["metadata"]["generation"] = json!(generation + 1);
        }
        self.store.replace(key, new);
    }
}

impl Limits {
    /// Refuses an object that etcd would not take.
    fn check_object(&self, object: &Value) -> Result<(), Answer> {
        let size = object.to_string().len();
        if size > self.message {
            let most = self.message;
            return Err(answer::internal_error(format!(
                "rpc error: code = ResourceExhausted desc = trying to send message larger than max ({size} vs. {most})"
            )));
        }
        if size > self.object {
            return Err(answer::internal_error("etcdserver: request is too large"));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { object: 1_572_864, message: 2_097_152, body: 3_145_728, operations: 10_000 }
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}
