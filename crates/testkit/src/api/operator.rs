//! A stand-in for ToolHive's operator: what it does to one object at each
//! reconcile, and nothing that it does not.
//!
//! Today's (v0.47.0 and later) computes the top level of the status from
//! `status.runtime` and its pods, and sends what differs from the object it
//! has seen: a merge patch without a version, in which lists stand whole. An
//! old one knows no `runtime`, and puts back the whole status that it knows.
//!
//! A test either takes the steps itself (`reconcile`, or `observe` and then
//! `write`, with another writer's write in between), or lets the operator
//! `follow` the object, so that every write is answered by one.

mod decision;
mod go;
mod projection;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::{task::JoinHandle, time::sleep};

use self::projection::Reconcile;
use super::{
    Api, ApiState, crd, key,
    options::FieldValidation,
    patch::Patch,
    store::{self, Key},
    update::{Change, Update},
};

/// The name under which the operator's fields are managed.
const MANAGER: &str = "thv-operator";

/// What the operator finds when it looks for the pods of the vMCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// There are none: not yet, or scaled to zero.
    Absent,
    /// One is there, and not ready.
    NotReady,
    /// One is ready.
    Ready,
    /// One has failed for good.
    Failed,
}

/// What it finds when it looks for the group that the vMCP refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Ready,
    Missing,
}

/// The operator, as far as one object is concerned. Clones share what the
/// operator finds in the cluster.
#[derive(Clone)]
pub struct Operator {
    api: Api,
    key: Key,
    release: Release,
    surroundings: Arc<Mutex<Surroundings>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Release {
    /// Projects `runtime`.
    Today,
    /// Has never heard of `runtime`.
    BeforeRuntime,
}

#[derive(Clone, Copy)]
struct Surroundings {
    pods: Pods,
    group: Group,
}

/// What became of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// The object was as the operator wants it, or is gone.
    Unchanged,
    Written,
    /// The server answered with this code, and nothing was written.
    Refused(u16),
}

/// A write that the operator has decided on and not sent yet.
#[must_use = "the operator writes only when `write` is called"]
pub struct PendingWrite {
    api: Api,
    key: Key,
    body: WriteBody,
}

enum WriteBody {
    MergePatch(Value),
    Put(Value),
}

/// An operator at work. It stops when this is dropped.
#[must_use = "the operator stops when this is dropped"]
pub struct Following(JoinHandle<()>);

impl Api {
    /// Today's operator, for one object. It does nothing by itself until it is
    /// told to `follow`.
    pub fn operator(&self, namespace: &str, name: &str, pods: Pods) -> Operator {
        Operator::new(self, key(namespace, name), pods, Release::Today)
    }

    /// An operator from before `status.runtime`, which erases it.
    pub fn old_operator(&self, namespace: &str, name: &str, pods: Pods) -> Operator {
        Operator::new(self, key(namespace, name), pods, Release::BeforeRuntime)
    }
}

impl Operator {
    fn new(api: &Api, key: Key, pods: Pods, release: Release) -> Self {
        let surroundings = Arc::new(Mutex::new(Surroundings { pods, group: Group::Ready }));
        Operator { api: api.clone(), key, release, surroundings }
    }

    /// Other pods from now on. As with the real one, that alone starts no
    /// reconcile.
    pub fn set_pods(&self, pods: Pods) {
        self.surroundings.lock().unwrap_or_else(PoisonError::into_inner).pods = pods;
    }

    pub fn set_group(&self, group: Group) {
        self.surroundings.lock().unwrap_or_else(PoisonError::into_inner).group = group;
    }

    /// Looks at the object and answers it, with no other write in between.
    pub fn reconcile(&self) -> Reconciled {
        self.observe().map_or(Reconciled::Unchanged, PendingWrite::write)
    }

    /// The first half of a reconcile: what the operator is going to write to
    /// the object as it is now, if anything.
    pub fn observe(&self) -> Option<PendingWrite> {
        let Surroundings { pods, group } = *self.surroundings.lock().unwrap_or_else(PoisonError::into_inner);
        let body = self.api.with(|state| {
            let object = state.store.get(&self.key)?;
            let now = state.store.now();
            match self.release {
                Release::Today => {
                    let before = go::status(&object["status"]);
                    let after = Reconcile { object, pods, group, now }.status(before.clone());
                    difference(&before, &after).map(|status| WriteBody::MergePatch(json!({ "status": status })))
                }
                Release::BeforeRuntime => {
                    let mut before = go::status(&object["status"]);
                    before.remove(crd::RUNTIME);
                    let mut wanted = Value::clone(object);
                    wanted["status"] = Reconcile { object, pods, group, now }.status(before).into();
                    // Putting back what is there is no write.
                    (wanted != **object).then_some(WriteBody::Put(wanted))
                }
            }
        })?;
        Some(PendingWrite { api: self.api.clone(), key: self.key.clone(), body })
    }

    /// From now on each write to the object is answered by a reconcile, after
    /// `delay`; so is the object as it is now. Writes within the delay get one
    /// answer, and the operator's own get another only where it does not leave
    /// the object as it wants it. Needs a running tokio runtime, whose clock
    /// the delay goes by.
    pub fn follow(&self, delay: Duration) -> Following {
        let operator = self.clone();
        Following(tokio::spawn(async move { operator.run(delay).await }))
    }

    async fn run(self, delay: Duration) {
        let mut seen = None;
        loop {
            // Before the look at the object, so that no change is missed.
            let changed = self.api.changed();
            let version = self.version();
            if version == seen {
                changed.await;
                continue;
            }
            seen = version;
            sleep(delay).await;
            if let Some(Ok(written)) = self.observe().map(PendingWrite::send)
                && self.observe().is_none()
            {
                seen = Some(written);
            }
        }
    }

    fn version(&self) -> Option<String> {
        self.api.with(|state| state.store.get(&self.key).map(|object| resource_version(object)))
    }
}

impl PendingWrite {
    /// Sends it, whatever has become of the object since.
    pub fn write(self) -> Reconciled {
        let api = self.api.clone();
        api.with(|state| {
            let before = state.store.version();
            match self.send_to(state) {
                Err(code) => Reconciled::Refused(code),
                Ok(_) if state.store.version() == before => Reconciled::Unchanged,
                Ok(_) => Reconciled::Written,
            }
        })
    }

    /// The version of the object afterwards, or the code of the refusal.
    fn send(self) -> Result<String, u16> {
        let api = self.api.clone();
        api.with(|state| self.send_to(state))
    }

    /// The write goes the way of every status update, with all its checks;
    /// only the log of requests does not have it, for that is of the clients'.
    fn send_to(self, state: &mut ApiState) -> Result<String, u16> {
        let version = state.served(crd::STORAGE_VERSION).unwrap_or_default();
        let text;
        let change = match self.body {
            WriteBody::MergePatch(patch) => {
                text = patch.to_string().into_bytes();
                Change::Patch(Patch::Merge(&text))
            }
            WriteBody::Put(object) => Change::Put(object),
        };
        let update = Update {
            key: self.key,
            api_version: store::api_version(crd::STORAGE_VERSION),
            schema: version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default(),
            change,
            validation: FieldValidation::Warn,
            manager: MANAGER.to_owned(),
            dry_run: false,
        };
        match update.run(state) {
            Ok((object, _)) => Ok(resource_version(&object)),
            Err(refusal) => Err(refusal.code),
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn resource_version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

/// The merge patch that makes `after` of `before`, if they differ.
fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Option<Value> {
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    let patch: Map<_, _> = gone.chain(changed.map(|(name, value)| (name.clone(), value.clone()))).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}
