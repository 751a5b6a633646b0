//! The reporter: settings, start, shutdown and outcome.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::actor::{Actor, ActorExit, Candidacy, Channels, Observers, Settings, Spans, WallClock};
use crate::backoff::{BackoffPolicy, LONGEST};
use crate::handle::{Progress, StatusHandle};
use crate::leadership::{Election, LeadershipState};
use crate::listener::StoredListener;
use crate::mailbox::mailbox;
use crate::metrics::{Counts, Metrics};
use crate::sink::{AnySink, Location, Sink};
use crate::status::Status;

/// A running status actor, as its owner sees it: ends the actor and returns what
/// it stored. Callers that report hold a [`StatusHandle`].
///
/// ```
/// use vmcp_status::{NoOpSink, Phase, Reporter};
///
/// # let rt = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # rt.block_on(async {
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
/// assert!(handle.set_phase(Phase::Ready, "Server is ready"));
/// let outcome = reporter.shutdown().await;
/// assert!(outcome.is_complete());
/// assert_eq!(outcome.stored.as_ref().map(|status| status.phase), Some(Phase::Ready));
/// # });
/// ```
///
/// Dropping the reporter does not end the actor, which lives until its shutdown
/// token is cancelled or the last handle is dropped.
#[derive(Clone)]
pub struct Reporter {
    shutdown: CancellationToken,
    ended: Shared<BoxFuture<'static, Arc<Outcome>>>,
}

/// What a reporter stored, and what it could not store.
///
/// ```
/// use vmcp_status::{NoOpSink, Phase, Reporter};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
/// assert!(handle.set_phase(Phase::Ready, "up"));
/// let outcome = reporter.shutdown().await;
/// match &outcome.unstored {
///     None => assert_eq!(outcome.counts.received, 1),
///     Some(unstored) => eprintln!("not stored: {}", unstored.why),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// What the store holds, as far as the reporter knows.
    pub stored: Option<Arc<Status>>,
    /// What was reported and is not stored; `None` when everything is.
    pub unstored: Option<Unstored>,
    /// What the first round of checks had found when the reporter ended inside its
    /// start window. The reporter did not write it, so the store still holds what an
    /// earlier process stored.
    pub held_back: Option<Arc<Status>>,
    /// Where in its store the status lives and why; `None` for a store with only
    /// one place.
    pub location: Option<Location>,
    /// Whether this process was the one of several replicas that writes. On
    /// standby nothing counts as unstored, because the leader stores what it sees
    /// itself.
    pub leadership_state: LeadershipState,
    /// Counters of the reporter's work.
    pub counts: Counts,
}

/// The last report that could not be stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unstored {
    /// The status; `None` if it was lost with the actor's task.
    pub status: Option<Arc<Status>>,
    /// Why it could not be stored, for a person.
    pub why: String,
}

impl Outcome {
    /// Whether everything is stored that the reporter accepted and had to store. It
    /// does not have to store what it [held back](Self::held_back), nor anything on
    /// standby.
    pub fn is_complete(&self) -> bool {
        self.unstored.is_none()
    }
}

impl Reporter {
    /// Returns a builder for a reporter that writes to this sink, with default
    /// settings.
    pub fn builder(sink: impl Sink) -> ReporterBuilder {
        ReporterBuilder {
            sink: AnySink::new(sink),
            settings: Settings {
                write_interval: Duration::from_secs(1),
                periodic_interval: None,
                unelected_interval: None,
                write_timeout: Duration::from_secs(10),
                shutdown_grace: Duration::from_secs(5),
                backoff: BackoffPolicy::default(),
                derive: false,
                start_window: Duration::ZERO,
                start_jitter: Duration::ZERO,
                wall_clock: Arc::new(Utc::now),
            },
            mailbox_size: 256,
            shutdown: CancellationToken::new(),
            spans: None,
            candidacy: None,
            listeners: Vec::new(),
        }
    }

    /// Ends the reporter: writes everything sent before, within the
    /// [shutdown grace](ReporterBuilder::shutdown_grace), and returns the outcome.
    /// Every call, from any task, returns the same outcome.
    ///
    /// # Cancellation safety
    ///
    /// Once polled, the shutdown continues even if the future is dropped.
    pub async fn shutdown(&self) -> Arc<Outcome> {
        self.shutdown.cancel();
        self.ended().await
    }

    /// Waits until the reporter has ended, without ending it.
    ///
    /// # Cancellation safety
    ///
    /// Dropping the future changes nothing.
    pub async fn ended(&self) -> Arc<Outcome> {
        self.ended.clone().await
    }

    /// Returns the token that ends the reporter when it is cancelled.
    pub fn shutdown_token(&self) -> &CancellationToken {
        &self.shutdown
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("ended", &self.ended.peek().is_some()).finish_non_exhaustive()
    }
}

/// The settings of a reporter, and the parts that it works with. Times over a day
/// count as a day.
///
/// ```
/// use std::time::Duration;
///
/// use vmcp_status::{BackoffPolicy, NoOpSink, Reporter};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (handle, reporter) = Reporter::builder(NoOpSink::logging())
///     .write_interval(Duration::from_secs(2))
///     .periodic_interval(Some(Duration::from_secs(300)))
///     .shutdown_grace(Duration::from_secs(10))
///     .backoff(BackoffPolicy { max: Duration::from_secs(15), ..BackoffPolicy::default() })
///     .derive_phase(true)
///     .start();
/// # drop(handle);
/// # reporter.ended().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is started"]
pub struct ReporterBuilder {
    sink: AnySink,
    settings: Settings,
    mailbox_size: usize,
    shutdown: CancellationToken,
    spans: Option<Spans>,
    candidacy: Option<Candidacy>,
    listeners: Vec<Box<dyn StoredListener>>,
}

impl std::fmt::Debug for ReporterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReporterBuilder").field("mailbox_size", &self.mailbox_size).finish_non_exhaustive()
    }
}

impl ReporterBuilder {
    /// Writes at most once in this time (law 5). Default 1 s.
    pub fn write_interval(mut self, interval: Duration) -> Self {
        self.settings.write_interval = interval.min(LONGEST);
        self
    }

    /// Reads the store this often even if nothing changed, to repair what another
    /// writer overwrote and to bring times up to date (law 7). The interval has a
    /// jitter of a tenth either way. Off by default. Each refresh costs requests, so 30 s
    /// suit a state file and 5 minutes suit a cluster.
    pub fn periodic_interval(mut self, interval: Option<Duration>) -> Self {
        self.settings.periodic_interval = interval.map(|interval| interval.clamp(Duration::from_millis(1), LONGEST));
        self
    }

    /// Shortens the [periodic interval](Self::periodic_interval) to this one while no
    /// election is held ([`LeadershipState::Alone`](crate::LeadershipState::Alone)).
    ///
    /// For a reporter that takes part in an election: the renewals of the leader show
    /// that it is alive, so its refresh may be rare. Where the election is given up,
    /// such as for a missing right, the times in the status are the sign of life again.
    /// Without a periodic interval this has no effect.
    pub fn unelected_interval(mut self, interval: Option<Duration>) -> Self {
        self.settings.unelected_interval = interval.map(|interval| interval.clamp(Duration::from_millis(1), LONGEST));
        self
    }

    /// Gives up a single read or write after this time, and retries it later.
    /// Default 10 s.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.write_timeout = timeout.min(LONGEST);
        self
    }

    /// Limits how long a shutdown, or a [`flush`](StatusHandle::flush), may take.
    /// Default 5 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.settings.shutdown_grace = grace.min(LONGEST);
        self
    }

    /// Sets how the pauses between attempts grow.
    pub fn backoff(mut self, policy: BackoffPolicy) -> Self {
        self.settings.backoff = policy;
        self
    }

    /// Sets how many updates may wait in the mailbox before senders merge further
    /// ones. Default 256, at least 1.
    pub fn mailbox_size(mut self, updates: usize) -> Self {
        self.mailbox_size = updates.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Derives phase, message and conditions from the backends from the start:
    /// see [`StatusHandle::derive_phase`]. Off by default.
    pub fn derive_phase(mut self, derive: bool) -> Self {
        self.settings.derive = derive;
        self
    }

    /// Sets how long the first round of checks may take, counted from the start of
    /// the reporter. Until the round is [done](StatusHandle::first_round_done) or
    /// this time is over, the reporter writes nothing, so that a restart of a healthy
    /// gateway changes nothing in the store. The one exception is a store without a
    /// report: there the reporter writes [`Phase::Pending`](crate::Phase::Pending),
    /// unless the [sink](crate::Advice::no_early_pending) objects. Default zero: no
    /// window.
    ///
    /// A reporter that ends inside the window leaves the store as it was, and returns
    /// what it had found in [`Outcome::held_back`].
    pub fn start_window(mut self, window: Duration) -> Self {
        self.settings.start_window = window.min(LONGEST);
        self
    }

    /// Waits a random part of this time before the first read and write, so that
    /// ten thousand reporters that start in one moment, as after an outage of a
    /// data centre, do not all ask the store in that moment. A
    /// [`flush`](StatusHandle::flush) and the shutdown do not wait. Default zero.
    pub fn start_jitter(mut self, longest: Duration) -> Self {
        self.settings.start_jitter = longest.min(LONGEST);
        self
    }

    /// Ends the reporter when this token is cancelled. By default the reporter has a
    /// token of its own, see [`Reporter::shutdown_token`].
    ///
    /// ```
    /// use vmcp_status::tokio_util::sync::CancellationToken;
    /// use vmcp_status::{NoOpSink, Reporter};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// // The token of the whole gateway ends the reporter with everything else.
    /// let gateway = CancellationToken::new();
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).shutdown_token(gateway.child_token()).start();
    /// gateway.cancel();
    /// assert!(reporter.ended().await.is_complete());
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown_token(mut self, token: CancellationToken) -> Self {
        self.shutdown = token;
        self
    }

    /// Writes only while this process leads, of several replicas that report to one
    /// store. The replica that takes over writes what it has seen itself. This works
    /// with any sink, and the reporter sends nothing of a write after the end of the
    /// term.
    ///
    /// After its last write the reporter [releases](Election::release) the election. By
    /// default there is no election, and this process writes.
    ///
    /// ```no_run
    /// use vmcp_status::{FileSink, Leadership, Reporter};
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// // Another part of the process takes part in the election.
    /// let (election, leadership) = Leadership::new();
    /// let (handle, reporter) = Reporter::builder(FileSink::new("my-vmcp")?).leadership(leadership).start();
    /// election.stand_by();
    /// # Ok(())
    /// # }
    /// ```
    pub fn leadership(mut self, election: impl Election) -> Self {
        let leadership = election.leadership();
        self.candidacy = Some(Candidacy { leadership, release: Box::new(move || election.release().boxed()) });
        self
    }

    /// Calls this listener with what each write changes in the store. Each call of
    /// `on_stored` adds a listener; the reporter calls all of them.
    pub fn on_stored(mut self, listener: impl StoredListener) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Sets the span of the reporter's log lines. By default it is the span in which
    /// [`start`](Self::start) is called. The sinks of this crate make a span whose
    /// fields name the vMCP.
    ///
    /// ```no_run
    /// use vmcp_status::{FileSink, Reporter};
    ///
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let sink = FileSink::new("my-vmcp")?;
    /// let span = sink.span();
    /// let (handle, reporter) = Reporter::builder(sink).span(span).start();
    /// # Ok(())
    /// # }
    /// ```
    pub fn span(self, span: Span) -> Self {
        self.spans(move |_| span.clone())
    }

    /// Sets the spans of the reporter's log lines, one for each state of an
    /// [election](Self::leadership), so that each line can say whether this replica
    /// leads. The reporter asks for a span whenever the state changes.
    ///
    /// ```no_run
    /// use vmcp_status::{Leadership, NoOpSink, Reporter};
    ///
    /// # fn example(leadership: Leadership) {
    /// let span = |state: vmcp_status::LeadershipState| tracing::info_span!("gateway", role = state.role());
    /// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).leadership(leadership).spans(span).start();
    /// # }
    /// ```
    pub fn spans(mut self, spans: impl Fn(LeadershipState) -> Span + Send + 'static) -> Self {
        self.spans = Some(Box::new(spans));
        self
    }

    /// Sets the source of time stamps, for tests and simulations. Everything else
    /// runs on tokio's clock.
    pub fn wall_clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        let clock: WallClock = Arc::new(clock);
        self.settings.wall_clock = clock;
        self
    }

    /// Spawns the actor on the current tokio runtime, which needs its time
    /// driver.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn start(self) -> (StatusHandle, Reporter) {
        let ReporterBuilder { sink, settings, mailbox_size, shutdown, spans, candidacy, listeners } = self;
        let (updates, mailbox) = mailbox(mailbox_size);
        let (control, controls) = mpsc::unbounded_channel();
        let (progress, watched) = watch::channel(Progress::default());
        let metrics = Arc::new(Metrics::default());
        let leadership = candidacy.as_ref().map(|candidacy| candidacy.leadership.clone());
        let handle =
            StatusHandle::new(updates, control, watched, Arc::clone(&metrics), leadership, settings.shutdown_grace);
        let channels = Channels { mailbox, control: controls, shutdown: shutdown.clone() };
        let observers = Observers { progress, metrics: Arc::clone(&metrics), listeners };
        let actor = Box::new(Actor::new(settings, channels, sink, candidacy, observers));
        let spans = spans.unwrap_or_else(|| {
            let current = Span::current();
            Box::new(move |_| current.clone())
        });
        let task = tokio::spawn(actor.run(spans));
        let ended = async move {
            Arc::new(match task.await {
                Ok(exit) => Outcome::from(exit),
                Err(error) => Outcome {
                    unstored: Some(Unstored { status: None, why: format!("the reporter's task was lost: {error}") }),
                    counts: metrics.counts(),
                    ..Outcome::default()
                },
            })
        };
        (handle, Reporter { shutdown, ended: ended.boxed().shared() })
    }
}

impl From<ActorExit> for Outcome {
    fn from(ActorExit { stored, unstored, held_back, location, leadership_state, counts }: ActorExit) -> Self {
        let unstored = unstored.map(|(status, why)| Unstored { status: Some(status), why });
        Outcome { stored, unstored, held_back, location, leadership_state, counts }
    }
}
