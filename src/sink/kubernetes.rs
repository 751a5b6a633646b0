//! `VirtualMCPServer.status` on a Kubernetes API server.
//!
//! Reads once, then sends what differs as one JSON Patch on `/status` that is
//! conditional on the version last seen.

mod answer;
mod connect;
mod crd;
mod diff;
#[cfg(feature = "events")]
mod events;
mod lease;
mod name;
#[cfg(test)]
mod properties;
mod seen;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tracing::Span;

use self::answer::{Answer, Doing};
use self::diff::Patch;
use self::lease::Election;
use self::seen::Seen;
use super::{Effect, Sink};
use crate::error::{Retry, SinkError};
use crate::leadership::Leadership;
use crate::status::{SizeLimit, Status};

pub use connect::{ConnectError, connect};
pub use crd::crd;
#[cfg(feature = "events")]
pub use events::EventOptions;
pub use lease::ElectionOptions;
pub use name::{NameError, check_name};

const PLURAL: &str = "virtualmcpservers";
const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// An answer without the object: a small table whose metadata has the version.
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1, application/json";

/// What the whole object may have, managed fields included: etcd refuses what
/// is over about 1.5 MiB.
const BUDGET: usize = 1 << 20;
/// No object comes near this. What answers with more is no API server.
const MAX_ANSWER: usize = 16 << 20;
/// A budget below this leaves no room for anything.
const LEAST_BUDGET: usize = 8 << 10;
/// Managed fields for one backend, its name aside, which counts once more.
const MANAGED_PER_BACKEND: usize = 256;
/// A patch that does not fit although the version does is explained by a fresh
/// read. One that never fits must not be tried for ever at full speed.
const QUICK_MISFITS: u32 = 3;

/// Keeps the status of one `VirtualMCPServer` in a cluster.
///
/// # Guarantees
///
/// * Writes `status.phase`, `message`, `conditions`, `discoveredBackends`,
///   `backendCount` and `observedGeneration`, and nothing else. What others put
///   into the object stays, unknown members of our own list items included.
/// * Never overwrites what it has not seen: each write is refused by the server
///   if the object has changed since, and is then merged anew.
/// * One changed backend of a thousand is one request of less than 1 KB.
///
/// Times of checks that changed along with something else go with it as far as
/// they fit into 1 KB; the rest comes with the periodic refresh.
///
/// # Required rights
///
/// One of these three roles; which one is found out and remembered. RBAC.md
/// has the manifests.
///
/// | resource | verbs |
/// |---|---|
/// | `virtualmcpservers/status` | `patch` (the least) |
/// | `virtualmcpservers/status` | `get`, `patch` |
/// | `virtualmcpservers` and `virtualmcpservers/status` | `get` and `patch` |
///
/// With Events, also `create` and `patch` on `events` of the group
/// `events.k8s.io`; without these rights there are none.
/// With an [election](Self::with_election) also `get`, `create` and `update` on
/// `leases` of `coordination.k8s.io`.
///
/// # Caveats
///
/// An object that was deleted and has come back is noticed at the next change
/// or periodic refresh, whichever comes first: set a `periodic_interval`.
pub struct KubernetesSink {
    client: Client,
    object: ObjectPath,
    field_manager: String,
    /// The way of reading that worked last.
    way: Option<Way>,
    seen: Option<Seen>,
    /// Members of a backend that the CRD does not know and the server drops.
    pruned: Vec<&'static str>,
    budget: usize,
    misfits: u32,
    #[cfg(feature = "events")]
    events: Option<events::Events>,
    election: Option<Election>,
}

/// Where the object is.
#[derive(Clone, Debug)]
struct ObjectPath {
    group: String,
    version: String,
    namespace: String,
    name: String,
}

impl ObjectPath {
    fn uri(&self, subresource: &str, query: &str) -> String {
        let ObjectPath { group, version, namespace, name } = self;
        format!("/apis/{group}/{version}/namespaces/{namespace}/{PLURAL}/{name}{subresource}{query}")
    }
}

/// How the object can be read, the cheapest right first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// GET of `/status`.
    Status,
    /// GET of the object.
    Object,
    /// An empty patch of `/status`, which changes nothing and answers with the
    /// object.
    EmptyPatch,
}

impl Way {
    const ALL: [Way; 3] = [Way::Status, Way::Object, Way::EmptyPatch];
}

impl KubernetesSink {
    /// The group of ToolHive's CRDs.
    pub const GROUP: &str = "toolhive.stacklok.dev";
    /// The version in which they are stored.
    pub const VERSION: &str = "v1beta1";
    /// The name under which the server remembers who set a field.
    pub const FIELD_MANAGER: &str = "vmcp-status";

    /// Writes to the object of this name with a client of the caller's.
    ///
    /// The client must not repeat requests by itself, as kube's does unless
    /// `Config::default_retry` is off: a repeated one carries an old status.
    /// [`connect`] makes a client that is right.
    ///
    /// # Errors
    ///
    /// When namespace or name cannot be that of an object.
    pub fn new(client: Client, namespace: &str, name: &str) -> Result<Self, NameError> {
        let object = ObjectPath {
            group: Self::GROUP.into(),
            version: Self::VERSION.into(),
            namespace: check_name("namespace", namespace)?,
            name: check_name("name", name)?,
        };
        Ok(KubernetesSink {
            client,
            object,
            field_manager: Self::FIELD_MANAGER.into(),
            way: None,
            seen: None,
            pruned: Vec::new(),
            budget: BUDGET,
            misfits: 0,
            #[cfg(feature = "events")]
            events: None,
            election: None,
        })
    }

    /// Writes only while this process leads, of all that share a Lease. Whoever
    /// takes over writes what it has seen itself.
    ///
    /// The election begins when the reporter starts, on its tokio runtime. At
    /// shutdown the Lease is handed over after the last write; a sink that is
    /// dropped without that lets it run out. Without the rights on Leases, or
    /// on a server that has none, there is no election and every replica
    /// writes; the log says so once, and rights that come later are noticed
    /// within about a minute.
    ///
    /// # Errors
    ///
    /// When the Lease's name cannot be that of an object.
    pub fn with_election(mut self, options: ElectionOptions) -> Result<Self, NameError> {
        let ObjectPath { namespace, name, .. } = &self.object;
        self.election = Some(Election::new(self.client.clone(), namespace, name, options)?);
        Ok(self)
    }

    /// Another group or version.
    ///
    /// # Errors
    ///
    /// When either is no name.
    pub fn group_version(mut self, group: &str, version: &str) -> Result<Self, NameError> {
        self.object.group = check_name("group", group)?;
        self.object.version = check_name("version", version)?;
        Ok(self)
    }

    /// Another field manager.
    ///
    /// # Errors
    ///
    /// When it is no name.
    pub fn field_manager(mut self, manager: &str) -> Result<Self, NameError> {
        self.field_manager = check_name("field manager", manager)?;
        Ok(self)
    }

    /// Tells as Kubernetes Events what its writes change: the phase, and
    /// backends that come, go, fail or recover. `kubectl describe` shows them.
    ///
    /// They are best effort, and no write waits for one: repeats are merged
    /// into one Event, a backend that flaps is told of ten times and then once
    /// in five minutes, and what the API server does not take is dropped. Where
    /// the role does not allow them, that is logged once and there are none.
    #[cfg(feature = "events")]
    #[must_use]
    pub fn with_events(mut self, options: EventOptions) -> Self {
        self.events = Some(events::Events::new(self.client.clone(), options));
        self
    }

    async fn send(
        &self,
        doing: Doing,
        method: Method,
        uri: String,
        accept: &str,
        patch: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, SinkError> {
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT, accept);
        if let Some((kind, _)) = &patch {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = patch.map(|(_, body)| body).unwrap_or_default();
        let request = request.body(Body::from(body)).expect("checked names make a valid request");
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            let message = format!("cannot {doing} {}: no answer from the API server, is it reachable?", self.display());
            SinkError::new(Retry::Transient, message).caused_by(error)
        };
        let sent = match doing {
            Doing::Read(_) => self.client.send(request).await,
            Doing::Write => self.while_leading(self.client.send(request)).await?,
        };
        let (head, body) = sent.map_err(|error| failed(error.into()))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(failed)?.to_bytes();
        Ok(Answer::new(head.status, &head.headers, body))
    }

    /// Goes on only while this process may write. That is looked at right
    /// before the request and each time it could go on: the process may have
    /// been stopped while it connected.
    async fn while_leading<T>(&self, request: impl Future<Output = T>) -> Result<T, SinkError> {
        let leadership = self.leadership();
        let mut request = pin!(request);
        poll_fn(|cx| {
            if leadership.as_ref().is_none_or(|leadership| leadership.standing().may_write()) {
                return request.as_mut().poll(cx).map(Ok);
            }
            let message = format!("writing {} given up: this replica does not lead any more", self.display());
            Poll::Ready(Err(SinkError::new(Retry::Conflict, message)))
        })
        .await
    }

    async fn read_by(&self, way: Way) -> Result<Answer, SinkError> {
        let doing = Doing::Read(way);
        match way {
            Way::Status => self.send(doing, Method::GET, self.object.uri("/status", ""), JSON, None).await,
            Way::Object => self.send(doing, Method::GET, self.object.uri("", ""), JSON, None).await,
            Way::EmptyPatch => {
                let uri = self.object.uri("/status", &self.query(false));
                self.send(doing, Method::PATCH, uri, JSON, Some((MERGE_PATCH, b"{}".to_vec()))).await
            }
        }
    }

    fn query(&self, no_object: bool) -> String {
        let table = if no_object { "&includeObject=None" } else { "" };
        format!("?fieldManager={}{table}", self.field_manager)
    }

    /// Tries the way that worked last, then the others while rights are missing.
    async fn read_object(&mut self) -> Result<Value, SinkError> {
        let remembered = self.way;
        let others = Way::ALL.into_iter().filter(|way| Some(*way) != remembered);
        for way in remembered.into_iter().chain(others) {
            let answer = self.read_by(way).await?;
            if !answer.is_forbidden() {
                let object = answer.into_object(Doing::Read(way), &self.display())?;
                self.way = Some(way);
                return Ok(object);
            }
        }
        self.way = None;
        let message = format!(
            "not allowed to read {}: give the service account the verb patch on {PLURAL}/status, see RBAC.md",
            self.display()
        );
        Err(SinkError::new(Retry::Blocked, message))
    }

    async fn send_patch(&mut self, patch: &Patch) -> Result<String, SinkError> {
        let body = serde_json::to_vec(&patch.operations).expect("JSON values serialise");
        let uri = self.object.uri("/status", &self.query(true));
        let answer = self.send(Doing::Write, Method::PATCH, uri, TABLE, Some((JSON_PATCH, body))).await?;
        if answer.is_misfit() {
            self.misfits += 1;
            let retry = if self.misfits <= QUICK_MISFITS { Retry::Conflict } else { Retry::Transient };
            return Err(SinkError::new(retry, format!("{} is not as it was read, reading it again", self.display())));
        }
        if answer.is_too_large() {
            self.budget = (self.budget / 2).max(LEAST_BUDGET);
        }
        let object = answer.into_object(Doing::Write, &self.display())?;
        self.misfits = 0;
        match object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
            Some(version) => Ok(version.to_owned()),
            None => Err(SinkError::new(
                Retry::Transient,
                format!("the answer to a write of {} has no version", self.display()),
            )),
        }
    }

    fn display(&self) -> String {
        let ObjectPath { group, namespace, name, .. } = &self.object;
        format!("{PLURAL}.{group} {namespace}/{name}")
    }
}

impl std::fmt::Debug for KubernetesSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesSink").field("object", &self.object).field("way", &self.way).finish_non_exhaustive()
    }
}

impl Sink for KubernetesSink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        let before = self.seen.take();
        let object = self.read_object().await?;
        let seen = Seen::of_object(&object).ok_or_else(|| {
            SinkError::new(Retry::Transient, format!("{} was answered without a version", self.display()))
        })?;
        if let Some(before) = before {
            for member in seen.dropped_since(&before) {
                if !self.pruned.contains(&member) {
                    tracing::warn!(
                        member,
                        "the CRD does not know this member of a backend, it is left out: update the CRD"
                    );
                    self.pruned.push(member);
                }
            }
        }
        let status = seen.status();
        #[cfg(feature = "events")]
        if let Some(events) = &mut self.events {
            events.read(status.as_ref());
        }
        self.seen = Some(seen);
        Ok(status)
    }

    async fn write(&mut self, status: &Status) -> Result<Effect, SinkError> {
        let Some(seen) = &self.seen else {
            return Err(SinkError::new(Retry::Conflict, format!("{} has not been read", self.display())));
        };
        let Some((patch, after)) = seen.patch_to(status, &self.pruned) else {
            return Ok(Effect::Unchanged);
        };
        #[cfg(feature = "events")]
        if let (leadership, Some(events)) = (Sink::leadership(self), &mut self.events) {
            events.writing(&self.object, seen, status, leadership);
        }
        // Whatever comes of it, only an answer tells what is stored then.
        let version = self.send_patch(&patch).await;
        self.seen = match &version {
            Ok(version) => Some(after.at_version(version.clone())),
            Err(error) if error.retry().leaves_doubt() => None,
            Err(_) => self.seen.take(),
        };
        #[cfg(feature = "events")]
        if let Some(events) = &mut self.events {
            events.wrote(version.as_ref().err());
        }
        version.map(|_| Effect::Written)
    }

    fn size_limit(&self) -> Option<SizeLimit> {
        let others = self.seen.as_ref().map_or(0, Seen::bytes_of_others);
        let bytes = self.budget.saturating_sub(others).max(LEAST_BUDGET);
        Some(SizeLimit { bytes, per_backend: MANAGED_PER_BACKEND })
    }

    fn leadership(&self) -> Option<Leadership> {
        self.election.as_ref().map(|election| election.leadership(|| self.span()).clone())
    }

    fn span(&self) -> Span {
        let ObjectPath { namespace, name, .. } = &self.object;
        // At the highest level, so that a filter for warnings keeps its fields.
        tracing::error_span!("vmcp", vmcp = name, namespace)
    }

    async fn close(&mut self) {
        let Self { election, .. } = self;
        let hand_over = async {
            if let Some(election) = election {
                election.hand_over().await;
            }
        };
        #[cfg(feature = "events")]
        let hand_over = futures::future::join(hand_over, async {
            if let Some(events) = &mut self.events {
                events.close().await;
            }
        });
        hand_over.await;
    }
}

/// The first operation of a patch: refuse it unless the object is as it was
/// seen.
fn only_at(version: &str) -> Value {
    json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version})
}
