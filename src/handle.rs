//! The handles that callers hold.

mod control;
mod progress;
mod view;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::leadership::{Leadership, LeadershipState};
use crate::mailbox;
use crate::metrics::{Counts, Metrics};
use crate::status::{Condition, DiscoveredBackend, Phase, Status};
use crate::update::Update;

pub(crate) use self::control::Control;
pub use self::control::FlushError;
pub use self::progress::{Attempt, AttemptError, Progress};
pub(crate) use self::view::View;

/// Reports to one reporter. Clone it into every task that reports; a clone costs one
/// atomic increment.
///
/// Every reporting method is a plain function that never waits and costs the same for
/// 3 backends and for 3,000 (law 1). If the mailbox is full, the caller merges its
/// update and frees what that replaces. The method returns whether the reporter
/// accepted the update: `false` means that the reporter has ended and does not store
/// it. An accepted update is not lost (law 2), and updates sent through one handle
/// apply in the order sent (law 3).
///
/// A discovery task that runs until the reporter ends needs no other signal:
///
/// ```
/// use std::time::Duration;
/// use vmcp_status::{DiscoveredBackend, SourceHandle};
///
/// async fn discover(workloads: SourceHandle) {
///     while workloads.replace_backends(list_workloads().await) {
///         tokio::time::sleep(Duration::from_secs(10)).await;
///     }
/// }
/// # async fn list_workloads() -> Vec<DiscoveredBackend> { Vec::new() }
/// ```
///
/// A caller that reports once and forgets writes `let _ = handle.report(status);`.
///
/// After the last handle is dropped, the reporter stores what it has and ends.
#[derive(Clone)]
pub struct StatusHandle(Arc<Inner>);

struct Inner {
    updates: mailbox::Sender,
    view: View,
    flush_timeout: Duration,
}

impl StatusHandle {
    pub(crate) fn new(
        updates: mailbox::Sender,
        control: mpsc::UnboundedSender<Control>,
        progress: watch::Receiver<Progress>,
        metrics: Arc<Metrics>,
        leadership: Option<Leadership>,
        flush_timeout: Duration,
    ) -> Self {
        let view = View { mailbox: updates.gauge(), control, progress, metrics, leadership };
        StatusHandle(Arc::new(Inner { updates, view, flush_timeout }))
    }

    /// Reports a whole status: replaces everything reported before.
    ///
    /// ```
    /// use vmcp_status::{BackendStatus, DiscoveredBackend, NoOpSink, Reporter, Status};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// let weather = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("weather") };
    /// assert!(handle.report(Status::derived_from([weather])));
    /// let outcome = reporter.shutdown().await;
    /// let stored = outcome.stored.as_ref().expect("something was reported");
    /// assert_eq!(stored.message, "1 of 1 backend routable");
    ///
    /// assert!(!handle.report(Status::default()), "the reporter has ended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn report(&self, status: Status) -> bool {
        self.send(Update::Snapshot(Box::new(status)))
    }

    /// Adds a backend, or replaces the one of the same name.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn upsert_backend(&self, backend: impl Into<Arc<DiscoveredBackend>>) -> bool {
        self.send(Update::UpsertBackend(backend.into()))
    }

    /// Removes the backend of this name.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn remove_backend(&self, name: impl Into<String>) -> bool {
        self.send(Update::RemoveBackend(name.into()))
    }

    /// Adds a condition, or replaces the one of the same type.
    ///
    /// ```
    /// use vmcp_status::{Condition, ConditionStatus, NoOpSink, Reporter, condition_type};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// let auth = Condition::new(condition_type::AUTH_CONFIGURED, ConditionStatus::True, "IncomingAuthValid", "")?;
    /// assert!(handle.set_condition(auth));
    /// let outcome = reporter.shutdown().await;
    /// let stored = outcome.stored.as_ref().expect("something was reported");
    /// let auth = stored.condition(condition_type::AUTH_CONFIGURED).expect("it was set");
    /// assert!(auth.last_transition_time.is_some(), "the reporter fills it in");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn set_condition(&self, condition: Condition) -> bool {
        self.send(Update::SetCondition(condition))
    }

    /// Removes the condition of this type, if this process has reported it.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn remove_condition(&self, type_: impl Into<String>) -> bool {
        self.send(Update::RemoveCondition(type_.into()))
    }

    /// Sets phase and message, and no longer derives them.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn set_phase(&self, phase: Phase, message: impl Into<String>) -> bool {
        self.send(Update::SetPhase { phase, message: message.into() })
    }

    /// Derives phase, message and conditions from the backends from now on, until the
    /// next [`set_phase`](Self::set_phase) or [`report`](Self::report).
    ///
    /// ```
    /// use vmcp_status::{BackendStatus, DiscoveredBackend, NoOpSink, Phase, Reporter};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// assert!(handle.set_phase(Phase::Pending, "Starting"));
    /// let weather = DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("weather") };
    /// assert!(handle.upsert_backend(weather) && handle.derive_phase());
    /// let outcome = reporter.shutdown().await;
    /// let stored = outcome.stored.as_ref().expect("something was reported");
    /// assert_eq!(stored.phase, Phase::Ready);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn derive_phase(&self) -> bool {
        self.send(Update::DerivePhase {})
    }

    /// Sets the generation of the spec that the process has loaded.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn set_observed_generation(&self, generation: i64) -> bool {
        self.send(Update::SetObservedGeneration(generation))
    }

    /// Tells the reporter that every backend known now has been checked once. It ends
    /// the [`start_window`](crate::ReporterBuilder::start_window): the reporter writes
    /// everything sent before, and an unchecked backend no longer keeps the finding
    /// that an earlier process has stored. A [`flush`](Self::flush) and a
    /// [`report`](Self::report) end the window too.
    ///
    /// Returns `false` once the reporter has ended.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use vmcp_status::{DiscoveredBackend, NoOpSink, Reporter};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent())
    ///     .derive_phase(true)
    ///     .start_window(Duration::from_secs(22))
    ///     .start();
    /// assert!(handle.upsert_backend(DiscoveredBackend::named("weather")));
    /// // … each backend has been checked once:
    /// handle.first_round_done();
    /// handle.flush().await?;
    /// # assert!(reporter.shutdown().await.held_back.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first_round_done(&self) -> bool {
        self.0.view.control.send(Control::FirstRoundDone).is_ok()
    }

    /// Sends an update of any kind.
    ///
    /// ```
    /// use vmcp_status::{NoOpSink, Phase, Reporter, Update};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// let update: Update = serde_json::from_str(r#"{"setPhase":{"phase":"Ready","message":"up"}}"#)?;
    /// assert!(handle.send(update));
    /// let outcome = reporter.shutdown().await;
    /// let stored = outcome.stored.as_ref().expect("something was reported");
    /// assert_eq!(stored.phase, Phase::Ready);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn send(&self, update: Update) -> bool {
        self.0.updates.send(update)
    }

    /// Returns a handle for a task that knows only the backends of one source.
    pub fn source(&self, source: impl Into<Arc<str>>) -> SourceHandle {
        SourceHandle { handle: self.clone(), source: source.into() }
    }

    /// Waits until everything sent before is stored, or known to equal what is stored;
    /// at most for the reporter's shutdown grace (default 5 s). The write does not
    /// wait for the write interval, nor for a running back-off.
    ///
    /// ```
    /// use vmcp_status::{FlushError, NoOpSink, Phase, Reporter};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// assert!(handle.set_phase(Phase::Ready, "up"));
    /// handle.flush().await?;
    ///
    /// reporter.shutdown().await;
    /// assert_eq!(handle.flush().await, Err(FlushError::Closed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails when time ran out, when the store refuses the content for good, when
    /// another replica leads, or when the reporter has ended.
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future loses only the answer.
    pub async fn flush(&self) -> Result<(), FlushError> {
        self.flush_within(self.0.flush_timeout).await
    }

    /// Like [`flush`](Self::flush), with a time-out of your own.
    ///
    /// # Errors
    ///
    /// Fails like [`flush`](Self::flush).
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future loses only the answer.
    pub async fn flush_within(&self, timeout: Duration) -> Result<(), FlushError> {
        let (reply, answer) = oneshot::channel();
        let by = Instant::now() + timeout.min(crate::backoff::LONGEST);
        self.0.view.control.send(Control::Flush { by, reply }).map_err(|_| FlushError::Closed)?;
        answer.await.unwrap_or(Err(FlushError::Closed))
    }

    /// Returns the newest status, everything sent before included, as the reporter
    /// would store it now; `None` once the reporter has ended.
    ///
    /// An answer also proves that the reporter's loop turns, because it answers
    /// whatever the store does.
    ///
    /// ```
    /// use vmcp_status::{NoOpSink, Phase, Reporter};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// assert!(handle.set_phase(Phase::Ready, "up"));
    /// let status = handle.current().await.expect("the reporter runs");
    /// assert_eq!(status.phase, Phase::Ready);
    /// # drop(reporter);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future loses only the answer.
    pub async fn current(&self) -> Option<Arc<Status>> {
        self.0.view.current().await
    }

    /// Whether this process is the one of several replicas that writes.
    pub fn leadership_state(&self) -> LeadershipState {
        self.0.view.leadership_state()
    }

    /// Returns a receiver of what is reported, what is stored and how the last read or
    /// write went. The receiver does not keep the reporter alive.
    ///
    /// ```
    /// use vmcp_status::{NoOpSink, Phase, Reporter};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
    /// let mut progress = handle.watch();
    /// assert!(handle.set_phase(Phase::Ready, "up"));
    /// let seen = progress.wait_for(|progress| progress.stored.is_some() && !progress.pending).await?.clone();
    /// assert_eq!(seen.stored.map(|status| status.phase), Some(Phase::Ready));
    /// # drop(reporter);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.0.view.progress.clone()
    }

    /// Returns the counters of the reporter's work so far.
    pub fn counts(&self) -> Counts {
        self.0.view.metrics.counts()
    }

    /// Returns how many updates wait in the mailbox.
    pub fn mailbox_depth(&self) -> usize {
        self.0.view.mailbox.depth()
    }

    /// Returns a view of the reporter, which does not keep it alive.
    #[cfg(feature = "metrics")]
    pub(crate) fn view(&self) -> View {
        self.0.view.clone()
    }
}

impl std::fmt::Debug for StatusHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusHandle").field("mailbox_depth", &self.mailbox_depth()).finish_non_exhaustive()
    }
}

/// A handle for one discovery task. The backends that it reports belong to its source,
/// and replacing its list leaves the backends of other sources alone.
///
/// ```
/// use vmcp_status::{DiscoveredBackend, NoOpSink, Reporter};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
/// let (group, config) = (handle.source("group"), handle.source("config"));
/// assert!(group.replace_backends(["files", "search"].map(DiscoveredBackend::named)));
/// assert!(config.replace_backends(["mail"].map(DiscoveredBackend::named)));
/// assert!(group.replace_backends(["files"].map(DiscoveredBackend::named)));
/// let outcome = reporter.shutdown().await;
/// let stored = outcome.stored.as_ref().expect("something was reported");
/// let names: Vec<_> = stored.discovered_backends.iter().map(|backend| backend.name.as_str()).collect();
/// assert_eq!(names, ["files", "mail"], "search is gone, and mail belongs to another source");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SourceHandle {
    handle: StatusHandle,
    source: Arc<str>,
}

impl SourceHandle {
    /// Replaces all backends of this source, and removes those no longer listed.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn replace_backends<B: Into<Arc<DiscoveredBackend>>>(&self, backends: impl IntoIterator<Item = B>) -> bool {
        self.handle.send(Update::ReplaceBackends {
            source: Arc::clone(&self.source),
            backends: backends.into_iter().map(Into::into).collect(),
        })
    }

    /// Adds a backend, or replaces the one of the same name; it belongs to this
    /// source from now on.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn upsert_backend(&self, backend: impl Into<Arc<DiscoveredBackend>>) -> bool {
        self.handle.send(Update::UpsertBackendOf { source: Arc::clone(&self.source), backend: backend.into() })
    }

    /// Removes the backend of this name.
    #[must_use = "`false` means that the reporter has ended: this will not be stored"]
    pub fn remove_backend(&self, name: impl Into<String>) -> bool {
        self.handle.remove_backend(name)
    }

    /// Returns the handle without a source.
    pub fn unbound(&self) -> &StatusHandle {
        &self.handle
    }

    /// Returns the name of the source.
    pub fn source(&self) -> &str {
        &self.source
    }
}
