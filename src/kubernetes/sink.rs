//! `VirtualMCPServer.status` on a Kubernetes API server.
//!
//! Reads once, then sends what differs as one JSON Patch on `/status` that is
//! conditional on what it replaces.

use std::collections::HashSet;
use std::sync::Arc;

use kube::Client;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Span;

use super::api::{FieldManager, ObjectPath, Refusal, RefusalKind};
use super::budget::Budget;
use super::identity::ObjectIdentity;
use super::json_patch::Patch;
use super::location::{Home, Locator, RuntimeSupport, StatusLocation};
use super::name::{NameError, check_name};
use super::object_client::{Answer, ObjectClient, RUNTIME_FIELD};
use super::observed::{ObservedObject, PatchOptions, PatchPlan, Times};
use super::operation::Operation;
use super::overwrites::{Overwrites, overwriter};
use super::takeover::{self, Takeover, last_writer};
use super::write_history::WriteHistory;
use crate::custom_resource::APP_NAME;
use crate::error::{Retry, SinkError};
use crate::leadership::LeadershipState;
use crate::sink::{Advice, Location, Refreshed, Sink, WriteOutcome};
use crate::status::{Fault, SizeLimit, Status, json_bytes};

/// Different odd values that are remembered as said.
const MAX_SAID: usize = 1000;

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
/// * Never overwrites what it has not seen: the server refuses a write if what it
///   replaces has changed since, and the write is then merged anew. What others
///   do to the rest of the object, such as the operator's own fields, is not a
///   conflict.
/// * One changed backend of a thousand is one request of less than 1.5 KB.
///
/// Times and counts of checks of other backends come with the periodic refresh,
/// which is one request unless another writer has changed our fields since.
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
    client: ObjectClient,
    identity: ObjectIdentity,
    /// What the object held when it was last read or written; `None` while that
    /// is not known.
    seen: Option<Arc<ObservedObject>>,
    /// Members of a backend that the CRD does not know and the server drops.
    pruned: Vec<&'static str>,
    /// Odd values of the stored status that the log has.
    said: HashSet<Fault>,
    budget: Budget,
    locator: Locator,
    takeover: Takeover,
    overwrites: Overwrites,
    history: WriteHistory,
    removal: RuntimeRemoval,
}

/// The `runtime` that has to go, once, where the top level was chosen by hand.
#[derive(Debug, Default, PartialEq, Eq)]
enum RuntimeRemoval {
    #[default]
    NotNeeded,
    Due,
    Done,
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
            identity: ObjectIdentity::of(&object),
            client: ObjectClient::new(client, object, APP_NAME),
            seen: None,
            pruned: Vec::new(),
            said: HashSet::new(),
            budget: Budget::default(),
            locator: Locator::new(StatusLocation::default()),
            takeover: Takeover::default(),
            overwrites: Overwrites::default(),
            history: WriteHistory::default(),
            removal: RuntimeRemoval::default(),
        })
    }

    /// Another group or version than those of
    /// [`custom_resource`](crate::custom_resource).
    ///
    /// # Errors
    ///
    /// When either is not a name.
    pub fn group_version(mut self, group: &str, version: &str) -> Result<Self, NameError> {
        self.client.object = self.client.object.group_version(group, version)?;
        self.identity = ObjectIdentity::of(&self.client.object);
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
    /// When it is not a name.
    pub fn field_manager(mut self, manager: &str) -> Result<Self, NameError> {
        self.client.field_manager = check_name("field manager", manager)?;
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
        self.client.object.span(None)
    }

    /// Spans whose fields name the object and say whether this process leads, for
    /// [`ReporterBuilder::spans`](crate::ReporterBuilder::spans).
    pub fn spans(&self) -> impl Fn(LeadershipState) -> Span + Send + use<> {
        let object = self.client.object.clone();
        move |state| object.span(state.role())
    }

    /// Takes in what the server has answered: in which home the status lives,
    /// what it holds, who else writes and who does not read.
    async fn observe(&mut self, object: &Value, before: Option<&ObservedObject>) -> Result<Option<Status>, SinkError> {
        self.locate(object).await?;
        let seen = ObservedObject::from_object(object, self.locator.home()).ok_or_else(|| {
            SinkError::new(Retry::Transient, format!("{} was answered without a version", self.client))
        })?;
        self.watch_others(object, &seen);
        if self.removal != RuntimeRemoval::Done {
            let is_due = self.locator.setting() == StatusLocation::TopLevel && has_runtime(object);
            self.removal = if is_due { RuntimeRemoval::Due } else { RuntimeRemoval::NotNeeded };
        }
        for member in before.map(|before| seen.dropped_since(before)).unwrap_or_default() {
            if !self.pruned.contains(&member) {
                tracing::warn!(
                    member,
                    "the CRD does not know this member of a backend, it is left out: update the CRD"
                );
                self.pruned.push(member);
            }
        }
        for fault in seen.odd_values() {
            if self.said.len() < MAX_SAID && self.said.insert(fault.clone()) {
                tracing::warn!("stored status: {fault}");
            }
        }
        self.identity.set_uid(seen.uid());
        let status = seen.status();
        self.seen = Some(Arc::new(seen));
        Ok(status)
    }

    /// Finds out, if it has to be, in which home the status lives.
    async fn locate(&mut self, object: &Value) -> Result<(), SinkError> {
        let runtime_seen = has_runtime(object);
        if self.locator.has_to_ask(runtime_seen, Instant::now()) {
            let answer = self.client.ask_for_runtime().await?;
            self.locator.answered(answer, Instant::now());
        }
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
        if self.history.left().is_some_and(|left| left.uid() != uid) {
            self.history.object_replaced();
            self.locator.object_replaced();
        }
        let writer = last_writer(object, takeover::STATUS, &self.client.field_manager);
        self.locator.observed(runtime_seen, writer.as_deref(), Instant::now());
        self.log_location();
        Ok(())
    }

    fn log_location(&mut self) {
        if let Some(Location { place, reason, .. }) = self.locator.take_news() {
            tracing::info!(place, reason, "the status lives here");
        }
    }

    /// Looks in what was read for other writers of our fields, and for an operator
    /// that does not read them.
    fn watch_others(&mut self, object: &Value, seen: &ObservedObject) {
        let now = Instant::now();
        let home = self.locator.home();
        if home == Home::Runtime {
            self.takeover.read(object, self.history.said_at(), now);
        }
        let Some(left) = self.history.left() else { return };
        let fields = seen.overwritten_since(left);
        if fields.is_empty() {
            self.overwrites.intact(now);
        } else if self.history.overwritten() {
            let us = &self.client.field_manager;
            let managers = FieldManager::of(object, home.pointer());
            self.overwrites.found(overwriter(managers, fields, us), us, now);
        }
    }

    /// Sends what differs from what is stored; `None` where nothing does. What
    /// is stored after it is in `seen`.
    async fn send_changes(
        &mut self,
        seen: &Arc<ObservedObject>,
        status: &Status,
        times: Times,
        answer: Answer,
    ) -> Result<Option<Value>, SinkError> {
        let allowed = without_operators_conditions(status, self.locator.home());
        let status = allowed.as_ref().unwrap_or(status);
        let remove = (self.removal == RuntimeRemoval::Due).then_some(Home::Runtime);
        let options = PatchOptions { pruned: &self.pruned, remove, times };
        let Some(PatchPlan { patch, after, is_news }) = seen.patch_to(status, options) else { return Ok(None) };
        // Whatever comes of it, only an answer tells what is stored then.
        self.seen = None;
        let sent = self.send_patch(seen, &patch, &after, status, answer).await;
        match &sent {
            Ok((_, version)) => {
                self.seen = Some(Arc::new(after.at_version(version.clone())));
                self.stored(is_news);
            }
            Err(error) if !error.retry().leaves_doubt() => self.seen = Some(Arc::clone(seen)),
            Err(_) => {}
        }
        sent.map(|(object, _)| Some(object))
    }

    /// What the server answers to the patch, and the version of the object after
    /// it.
    async fn send_patch(
        &mut self,
        seen: &ObservedObject,
        patch: &Patch,
        after: &ObservedObject,
        status: &Status,
        answer: Answer,
    ) -> Result<(Value, String), SinkError> {
        self.history.sending(Instant::now());
        let response = self.client.patch(patch.to_body(), answer).await.inspect_err(|error| {
            if error.retry() == Retry::Unreachable {
                // Nothing was sent, so nothing can arrive late.
                self.history.answered();
            }
        })?;
        let refused = response.refusal().map(Refusal::kind);
        if refused != Some(RefusalKind::ServerError) {
            self.history.answered();
        }
        let now = Instant::now();
        match refused {
            Some(RefusalKind::PatchMismatch) if self.history.mismatch_lasts(seen.version(), patch.to_body()) => {
                let said = response.refusal().map(Refusal::summary).unwrap_or_default();
                let message =
                    format!("{} is as it was read, and yet the server refuses the change: {said}", self.client);
                return Err(SinkError::new(Retry::Refused, message));
            }
            Some(RefusalKind::PatchMismatch) => {
                let message = format!("{} is not as it was read, reading it again", self.client);
                return Err(SinkError::new(Retry::Conflict, message));
            }
            Some(RefusalKind::TooLarge) if !self.budget.refuse(json_bytes(status), now) => {
                let message = format!("{} does not even take the smallest status", self.client);
                return Err(SinkError::new(Retry::Refused, message));
            }
            None if response.warns_of(RUNTIME_FIELD) => return Err(self.runtime_was_dropped()),
            _ => {}
        }
        let object = Operation::Write.object_of(&response, &self.client.to_string()).map_err(|error| {
            let refusal = response.refusal().filter(|refusal| refusal.kind() == RefusalKind::Invalid);
            error.refusing_backends(refusal.map(|refusal| after.refused_backends(refusal)).unwrap_or_default())
        })?;
        self.history.fitted();
        if self.budget.is_tight() {
            self.budget.took(json_bytes(status), now);
        }
        let Some(version) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(String::from)
        else {
            let message = format!("the answer to a write of {} has no version", self.client);
            return Err(SinkError::new(Retry::Transient, message));
        };
        Ok((object, version))
    }

    /// The server has stored a write, which said something new or only brought
    /// times up to date.
    fn stored(&mut self, is_news: bool) {
        let now = Instant::now();
        self.locator.wrote(now);
        self.log_location();
        self.history.stored(self.seen.clone(), is_news, self.locator.take_look(), now);
        if self.removal == RuntimeRemoval::Due {
            self.removal = RuntimeRemoval::Done;
            tracing::warn!(
                "status.runtime was removed, since the operator would overwrite from it what is reported to the top \
                 level, the status location that was chosen"
            );
        }
    }

    /// The server took a write to `runtime` and kept nothing of it.
    fn runtime_was_dropped(&mut self) -> SinkError {
        self.locator.answered(RuntimeSupport::Unknown, Instant::now());
        self.log_location();
        if self.locator.home() == Home::TopLevel {
            let message = format!("{} has no status.runtime, writing to the top level", self.client);
            return SinkError::new(Retry::Conflict, message);
        }
        let message = format!(
            "cannot write {}: its CRD has no status.runtime, update ToolHive's CRDs or choose another status location",
            self.client
        );
        SinkError::new(Retry::Blocked, message)
    }
}

impl std::fmt::Debug for KubernetesSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesSink").field("object", &self.client.object).finish_non_exhaustive()
    }
}

impl Sink for KubernetesSink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        let before = self.seen.take();
        self.history.reading(Instant::now());
        let object = self.client.read().await?;
        self.observe(&object, before.as_deref()).await
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        if self.locator.home() == Home::TopLevel && self.locator.has_to_ask(false, Instant::now()) {
            let answer = self.client.ask_for_runtime().await?;
            self.locator.answered(answer, Instant::now());
            self.log_location();
            if self.locator.home() != Home::TopLevel {
                self.seen = None;
            }
        }
        let Some(seen) = self.seen.clone() else {
            return Err(SinkError::new(Retry::Conflict, format!("{} is to be read first", self.client)));
        };
        let sent = self.send_changes(&seen, status, Times::Left, Answer::Version).await?;
        Ok(if sent.is_some() { WriteOutcome::Written } else { WriteOutcome::Unchanged })
    }

    /// Where times have moved, the answer to the patch that brings them up to
    /// date is what is verified; else it is a read.
    async fn refresh(&mut self, status: &Status) -> Result<Refreshed, SinkError> {
        // A look that a write asks for is still to come after this.
        self.history.reading(Instant::now());
        if let Some(seen) = self.seen.clone()
            && let Some(object) = self.send_changes(&seen, status, Times::All, Answer::Object).await?
        {
            let before = self.seen.take();
            let stored = self.observe(&object, before.as_deref()).await?;
            return Ok(Refreshed { stored, outcome: Some(WriteOutcome::Written) });
        }
        Ok(Refreshed { stored: self.read().await?, outcome: Some(WriteOutcome::Unchanged) })
    }

    fn size_limit(&self) -> Option<SizeLimit> {
        let others = self.seen.as_ref().map_or(0, |seen| seen.bytes_of_others());
        let bytes = self.budget.bytes(self.locator.home(), others, Instant::now());
        Some(SizeLimit { bytes, per_backend: 0 })
    }

    fn advice(&self) -> Advice {
        Advice {
            must_write: self.removal == RuntimeRemoval::Due || self.seen.as_ref().is_some_and(|seen| !seen.is_exact()),
            no_early_pending: !self.locator.may_announce(),
            look_again: self.history.look_again(Instant::now()),
            location: Some(Location {
                unfollowed_since: self.takeover.unfollowed_since(),
                overwrites: self.overwrites.times(),
                overwriter: self.overwrites.overwriter(Instant::now()).cloned(),
                ..self.locator.location()
            }),
        }
    }
}

fn has_runtime(object: &Value) -> bool {
    object.pointer(Home::Runtime.pointer()).is_some()
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
