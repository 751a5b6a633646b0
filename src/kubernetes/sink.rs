//! `VirtualMCPServer.status` on a Kubernetes API server.
//!
//! Reads once, then sends what differs as one JSON Patch on `/status` that is
//! conditional on the version last seen.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Span;

use super::api::{ApiRequest, ApiResponse, JSON_PATCH, MERGE_PATCH, METADATA, ObjectPath, Refusal, RefusalKind, TABLE};
use super::budget::Budget;
use super::diff::Patch;
use super::identity::ObjectIdentity;
use super::location::{self, StatusLocation};
use super::location::{Home, Locator};
use super::name::{NameError, check_name};
use super::observed::ObservedObject;
use super::operation::{Operation, ReadStrategy};
use super::takeover;
use super::takeover::{Takeover, last_writer};
use crate::custom_resource::{APP_NAME, PLURAL, STATUS_SUBRESOURCE};
use crate::error::{Retry, SinkError};
use crate::sink::{Advice, Location, Sink, WriteOutcome};
use crate::status::{SizeLimit, Status, json_bytes};

/// How a server calls the field when it warns that its CRD does not have it.
const RUNTIME_FIELD: &str = "status.runtime";
/// A patch that does not fit although the version does is explained by a fresh
/// read. One that never fits must not be tried for ever at full speed.
const QUICK_MISMATCHES: u32 = 3;

/// Keeps the status of one `VirtualMCPServer` in a cluster.
///
/// # Guarantees
///
/// * Writes `phase`, `message`, `conditions`, `discoveredBackends` and
///   `backendCount` in `status.runtime`, from which ToolHive's operator computes
///   the top level of the status; or, on clusters older than that, the same and
///   `observedGeneration` at the top level itself: see [`StatusLocation`].
///   Nothing else. What others put into the object stays, unknown members of our
///   own list items included.
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
/// # Caveats
///
/// An object that was deleted and has come back is noticed at the next change
/// or periodic refresh, whichever comes first: set a `periodic_interval`.
pub struct KubernetesSink {
    client: Client,
    object: ObjectPath,
    field_manager: String,
    /// The way of reading that worked last.
    way: Option<ReadStrategy>,
    seen: Option<Arc<ObservedObject>>,
    /// Members of a backend that the CRD does not know and the server drops.
    pruned: Vec<&'static str>,
    budget: Budget,
    patch_mismatches: u32,
    locator: Locator,
    takeover: Takeover,
    /// What this process has left in the object, and when.
    left: Option<(Instant, Arc<ObservedObject>)>,
    /// A `runtime` is to be removed, since the top level was chosen by hand.
    runtime_to_remove: bool,
    removed_runtime: bool,
    look_again: Option<Duration>,
    identity: ObjectIdentity,
}

impl KubernetesSink {
    /// Writes to the object of this name with a client of the caller's.
    ///
    /// The client must not repeat requests by itself, as kube's does unless
    /// `Config::default_retry` is off: a repeated one carries an old status.
    /// [`connect`](crate::connect()) makes a client that is right.
    ///
    /// ```no_run
    /// use vmcp_status::{KubernetesSink, Reporter, connect};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = connect(None, None).await?;
    /// let sink = KubernetesSink::new(client, "my-namespace", "my-vmcp")?;
    /// let (handle, reporter) = Reporter::builder(sink).start();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When namespace or name cannot be that of an object.
    pub fn new(client: Client, namespace: &str, name: &str) -> Result<Self, NameError> {
        let object = ObjectPath::new(namespace, name)?;
        Ok(KubernetesSink {
            client,
            identity: ObjectIdentity::of(&object),
            object,
            field_manager: APP_NAME.into(),
            way: None,
            seen: None,
            pruned: Vec::new(),
            budget: Budget::default(),
            patch_mismatches: 0,
            locator: Locator::new(StatusLocation::default()),
            takeover: Takeover::default(),
            left: None,
            runtime_to_remove: false,
            removed_runtime: false,
            look_again: None,
        })
    }

    /// Another group or version than those of
    /// [`custom_resource`](crate::custom_resource).
    ///
    /// # Errors
    ///
    /// When either is no name.
    pub fn group_version(mut self, group: &str, version: &str) -> Result<Self, NameError> {
        self.object = self.object.group_version(group, version)?;
        self.identity = ObjectIdentity::of(&self.object);
        Ok(self)
    }

    /// Where in the object the status is written.
    ///
    /// ```no_run
    /// use vmcp_status::{KubernetesSink, StatusLocation, connect};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let sink = KubernetesSink::new(connect(None, None).await?, "my-namespace", "my-vmcp")?
    ///     .location(StatusLocation::Runtime);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn location(mut self, location: StatusLocation) -> Self {
        self.locator = Locator::new(location);
        self
    }

    /// Another field manager than [`APP_NAME`].
    ///
    /// # Errors
    ///
    /// When it is no name.
    pub fn field_manager(mut self, manager: &str) -> Result<Self, NameError> {
        self.field_manager = check_name("field manager", manager)?;
        Ok(self)
    }

    /// Which object this is; its uid is known once it has been read. For
    /// [Events](crate::KubernetesEvents::new) about it.
    pub fn identity(&self) -> ObjectIdentity {
        self.identity.clone()
    }

    /// A span whose fields name the object, for
    /// [`ReporterBuilder::span`](crate::ReporterBuilder::span).
    pub fn span(&self) -> Span {
        self.object.span()
    }

    /// The status actor bounds the time of each read and write.
    async fn send(&self, doing: Operation, request: ApiRequest) -> Result<ApiResponse, SinkError> {
        request.send(&self.client, None).await.map_err(|error| {
            let message = format!("cannot {doing} {}: no answer from the API server, is it reachable?", self.display());
            SinkError::new(Retry::Transient, message).caused_by(error)
        })
    }

    async fn read_by(&self, way: ReadStrategy) -> Result<ApiResponse, SinkError> {
        let request = match way {
            ReadStrategy::Status => ApiRequest::get(self.object.uri("/status", "")),
            ReadStrategy::Object => ApiRequest::get(self.object.uri("", "")),
            ReadStrategy::EmptyPatch => {
                ApiRequest::patch(self.object.uri("/status", &self.query("")), MERGE_PATCH, b"{}".to_vec())
            }
        };
        self.send(Operation::Read(way), request).await
    }

    fn query(&self, more: &str) -> String {
        format!("?fieldManager={}{more}", self.field_manager)
    }

    /// Asks the server whether its CRD has `status.runtime`, by a patch that is
    /// not carried out: it needs no other right than the one to write.
    async fn ask_for_runtime(&self) -> Result<location::RuntimeSupport, SinkError> {
        let uri = self.object.uri("/status", &self.query("&dryRun=All&fieldValidation=Warn"));
        let question = br#"{"status":{"runtime":{}}}"#.to_vec();
        let request = ApiRequest::patch(uri, MERGE_PATCH, question).accept(METADATA);
        let answer = self.send(Operation::Ask, request).await?;
        let Some(refusal) = answer.refusal() else {
            let is_dropped = answer.warns_of(RUNTIME_FIELD);
            return Ok(if is_dropped { location::RuntimeSupport::Unknown } else { location::RuntimeSupport::Known });
        };
        match refusal.kind() {
            // A webhook that does not support dry runs, or a policy.
            RefusalKind::DryRunUnsupported | RefusalKind::Invalid | RefusalKind::PatchMismatch => {
                Ok(location::RuntimeSupport::Refused(refusal.summary()))
            }
            kind if kind.is_forbidden() => Ok(location::RuntimeSupport::Refused(refusal.summary())),
            _ => Operation::Ask.object_of(&answer, &self.display()).map(|_| location::RuntimeSupport::Known),
        }
    }

    /// Finds out, if it has to be, in which home the status lives.
    async fn locate(&mut self, object: &Value) -> Result<(), SinkError> {
        let runtime_seen = object.pointer(Home::Runtime.pointer()).is_some();
        if self.locator.has_to_ask(runtime_seen, Instant::now()) {
            let answer = self.ask_for_runtime().await?;
            self.locator.answered(answer, Instant::now());
        }
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        if self.left.as_ref().is_some_and(|(_, left)| left.uid() != uid) {
            self.left = None;
            self.locator.object_replaced();
        }
        let writer = last_writer(object, takeover::STATUS, &self.field_manager);
        self.locator.observed(runtime_seen, writer.as_deref(), Instant::now());
        self.say_where();
        Ok(())
    }

    fn say_where(&mut self) {
        if let Some(Location { place, reason, .. }) = self.locator.take_news() {
            tracing::info!(place, reason, "the status lives here");
        }
    }

    /// Looks in what was read for others who write here, and for readers who do
    /// not look here.
    fn watch_others(&mut self, object: &Value, seen: &ObservedObject) {
        let now = Instant::now();
        if self.locator.home() == Home::TopLevel {
            // The operator's own words are at the top level too.
            return;
        }
        let wrote_at = self.left.as_ref().map(|(at, _)| *at);
        self.takeover.read(object, wrote_at, now);
        if self.left.as_ref().is_some_and(|(_, left)| seen.is_there() && seen.says_other_than(left)) {
            let writer = last_writer(object, takeover::RUNTIME, &self.field_manager);
            self.takeover.overwritten(writer.as_deref(), now);
        }
    }

    /// Tries the way that worked last, then the others while rights are missing.
    async fn read_object(&mut self) -> Result<Value, SinkError> {
        let remembered = self.way;
        let others = ReadStrategy::ALL.into_iter().filter(|way| Some(*way) != remembered);
        for way in remembered.into_iter().chain(others) {
            let answer = self.read_by(way).await?;
            if !answer.refusal().is_some_and(|refusal| refusal.kind().is_forbidden()) {
                let object = Operation::Read(way).object_of(&answer, &self.display())?;
                self.way = Some(way);
                return Ok(object);
            }
        }
        self.way = None;
        let message = format!(
            "not allowed to read {}: give the service account the verb patch on {STATUS_SUBRESOURCE}, see RBAC.md",
            self.display()
        );
        Err(SinkError::new(Retry::Blocked, message))
    }

    /// A write was taken.
    fn stored(&mut self) {
        let now = Instant::now();
        self.locator.wrote(now);
        self.say_where();
        self.look_again = self.locator.take_look();
        self.left = self.seen.clone().map(|seen| (now, seen));
        if std::mem::take(&mut self.runtime_to_remove) {
            self.removed_runtime = true;
            tracing::warn!(
                "status.runtime was removed, since the operator would overwrite from it what is reported to the top \
                 level, the status location that was chosen"
            );
        }
    }

    async fn send_patch(&mut self, patch: &Patch, status: &Status) -> Result<String, SinkError> {
        let body = serde_json::to_vec(&patch.operations).expect("JSON values serialise");
        // A CRD without `runtime` drops it without a word, unless it is asked
        // to warn.
        let uri = self.object.uri("/status", &self.query("&fieldValidation=Warn&includeObject=None"));
        let answer = self.send(Operation::Write, ApiRequest::patch(uri, JSON_PATCH, body).accept(TABLE)).await?;
        let refused = answer.refusal().map(Refusal::kind);
        if refused == Some(RefusalKind::PatchMismatch) {
            self.patch_mismatches += 1;
            let retry = if self.patch_mismatches <= QUICK_MISMATCHES { Retry::Conflict } else { Retry::Transient };
            return Err(SinkError::new(retry, format!("{} is not as it was read, reading it again", self.display())));
        }
        let now = Instant::now();
        if refused == Some(RefusalKind::TooLarge) && !self.budget.refuse(json_bytes(status), now) {
            let message = format!("{} does not even take the smallest status", self.display());
            return Err(SinkError::new(Retry::Refused, message));
        }
        if refused.is_none() && answer.warns_of(RUNTIME_FIELD) {
            return Err(self.runtime_was_dropped());
        }
        let object = Operation::Write.object_of(&answer, &self.display())?;
        self.patch_mismatches = 0;
        if self.budget.is_tight() {
            self.budget.took(json_bytes(status), now);
        }
        match object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
            Some(version) => Ok(version.to_owned()),
            None => Err(SinkError::new(
                Retry::Transient,
                format!("the answer to a write of {} has no version", self.display()),
            )),
        }
    }

    /// The server took a write to `runtime` and kept nothing of it.
    fn runtime_was_dropped(&mut self) -> SinkError {
        self.locator.answered(location::RuntimeSupport::Unknown, Instant::now());
        self.say_where();
        if self.locator.home() == Home::TopLevel {
            let message = format!("{} has no status.runtime, writing to the top level", self.display());
            return SinkError::new(Retry::Conflict, message);
        }
        let message = format!(
            "cannot write {}: its CRD has no status.runtime, update ToolHive's CRDs or choose another status location",
            self.display()
        );
        SinkError::new(Retry::Blocked, message)
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
        // What it was asked for has been done with this.
        self.look_again = None;
        let object = self.read_object().await?;
        self.locate(&object).await?;
        let home = self.locator.home();
        let seen = ObservedObject::from_object(&object, home).ok_or_else(|| {
            SinkError::new(Retry::Transient, format!("{} was answered without a version", self.display()))
        })?;
        self.watch_others(&object, &seen);
        self.runtime_to_remove = self.locator.setting() == StatusLocation::TopLevel
            && !self.removed_runtime
            && object.pointer(Home::Runtime.pointer()).is_some();
        for member in before.map(|before| seen.dropped_since(&before)).unwrap_or_default() {
            if !self.pruned.contains(&member) {
                tracing::warn!(
                    member,
                    "the CRD does not know this member of a backend, it is left out: update the CRD"
                );
                self.pruned.push(member);
            }
        }
        let status = seen.status();
        self.identity.set_uid(seen.uid());
        self.seen = Some(Arc::new(seen));
        Ok(status)
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        if self.locator.home() == Home::TopLevel && self.locator.has_to_ask(false, Instant::now()) {
            let answer = self.ask_for_runtime().await?;
            self.locator.answered(answer, Instant::now());
            self.say_where();
            if self.locator.home() != Home::TopLevel {
                self.seen = None;
            }
        }
        let Some(seen) = &self.seen else {
            return Err(SinkError::new(Retry::Conflict, format!("{} is to be read first", self.display())));
        };
        let allowed = without_operators_conditions(status, self.locator.home());
        let status = allowed.as_ref().unwrap_or(status);
        let remove = self.runtime_to_remove.then_some(Home::Runtime);
        let Some((patch, after)) = seen.patch_to(status, &self.pruned, remove) else {
            return Ok(WriteOutcome::Unchanged);
        };
        // Whatever comes of it, only an answer tells what is stored then.
        let version = self.send_patch(&patch, status).await;
        self.seen = match &version {
            Ok(version) => Some(Arc::new(after.at_version(version.clone()))),
            Err(error) if error.retry().leaves_doubt() => None,
            Err(_) => self.seen.take(),
        };
        version?;
        self.stored();
        Ok(WriteOutcome::Written)
    }

    fn size_limit(&self) -> Option<SizeLimit> {
        let others = self.seen.as_ref().map_or(0, |seen| seen.bytes_of_others());
        let bytes = self.budget.bytes(self.locator.home(), others, Instant::now());
        Some(SizeLimit { bytes, per_backend: 0 })
    }

    fn advice(&self) -> Advice {
        Advice {
            must_write: self.runtime_to_remove || self.seen.as_ref().is_some_and(|seen| !seen.is_exact()),
            no_early_pending: !self.locator.may_announce(),
            look_again: self.look_again,
            location: Some(Location { unfollowed_since: self.takeover.unfollowed_since(), ..self.locator.location() }),
        }
    }
}

/// The status without conditions that the operator would fight over; `None`
/// where there are none of them.
fn without_operators_conditions(status: &Status, home: Home) -> Option<Status> {
    if !status.conditions.iter().any(|condition| home.forbids(&condition.type_)) {
        return None;
    }
    let mut status = status.clone();
    status.conditions.retain(|condition| {
        let forbidden = home.forbids(&condition.type_);
        if forbidden {
            let type_ = condition.type_.as_str();
            tracing::debug!(type_, "conditions of this type are the operator's own and are left out of status.runtime");
        }
        !forbidden
    });
    Some(status)
}
