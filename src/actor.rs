//! The status actor: one task that owns the latest status, takes updates, and
//! keeps the store equal to it.
//!
//! The loop asks the [`Schedule`] what to do and does it. A read or write in
//! flight and every wait are arms of one `select!`, so that it receives
//! whatever else goes on (law 4).

mod accounting;
mod applied;
mod call_guard;
mod schedule;
mod status_log;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::accounting::UpdateAccounting;
use self::applied::Applied;
use self::call_guard::CallGuard;
use self::schedule::{Revision, Schedule, Step};
use self::status_log::StatusLog;
use crate::backoff::{BackoffPolicy, Backoffs, at, jittered};
use crate::error::{Retry, SinkError};
use crate::handle::{Attempt, AttemptError, Control, FlushError, Progress};
use crate::leadership::{Leadership, LeadershipState};
use crate::mailbox::Mailbox;
use crate::metrics::{Counts, Metrics};
use crate::sink::{Advice, AnySink, Location, Sink as _, WriteOutcome};
use crate::status::{Omitted, SizeLimit, Status, merge, truncate, whole_seconds};
use crate::update::{Change, DesiredState};

/// A sink has at least this long to hand over.
const LEAST_TO_CLOSE: Duration = Duration::from_secs(1);

/// Where the time of day comes from; tokio's clock has none.
pub(crate) type WallClock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What the reporter's builder sets.
pub(crate) struct Settings {
    pub(crate) write_interval: Duration,
    pub(crate) periodic_interval: Option<Duration>,
    pub(crate) write_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) backoff: BackoffPolicy,
    pub(crate) derive: bool,
    pub(crate) start_window: Duration,
    pub(crate) wall_clock: WallClock,
}

/// The ends of the channels that the actor holds.
pub(crate) struct Channels {
    pub(crate) mailbox: Mailbox,
    pub(crate) control: mpsc::UnboundedReceiver<Control>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) shutdown: CancellationToken,
}

/// What the actor leaves behind.
pub(crate) struct ActorExit {
    pub(crate) stored: Option<Arc<Status>>,
    /// What is not stored, and why.
    pub(crate) unstored: Option<(Arc<Status>, String)>,
    /// What the first round had found when the process ended inside it.
    pub(crate) held_back: Option<Arc<Status>>,
    pub(crate) location: Option<Location>,
    pub(crate) leadership_state: LeadershipState,
    pub(crate) counts: Counts,
}

pub(crate) struct Actor {
    settings: Settings,
    channels: Channels,
    metrics: Arc<Metrics>,
    schedule: Schedule,
    backoffs: Backoffs,
    status_log: StatusLog,
    desired: DesiredState,
    /// What the store holds, as last read or written.
    stored: Option<Arc<Status>>,
    /// Here while nothing is in flight; travels with the work.
    sink: Option<AnySink>,
    work: Option<BoxFuture<'static, Finished>>,
    /// Ends the work in flight, so that the sink comes back.
    give_up: CancellationToken,
    /// What the sink takes, and what else it says of its store.
    limit: Option<SizeLimit>,
    advice: Advice,
    leadership: Option<Leadership>,
    /// As the schedule was told last.
    leadership_state: LeadershipState,
    flushes: Vec<Flush>,
    last_error: Option<String>,
    accounting: UpdateAccounting,
    /// When those who watch shall see what has changed, and when they last did.
    publish_at: Option<Instant>,
    published_at: Option<Instant>,
}

struct Flush {
    revision: Revision,
    by: Instant,
    reply: oneshot::Sender<Result<(), FlushError>>,
}

/// What a read or write in flight ends with.
struct Finished {
    sink: AnySink,
    result: Result<Done, SinkError>,
}

enum Done {
    Read(Option<Status>),
    Wrote(WriteOutcome, Arc<Status>),
}

impl Actor {
    pub(crate) fn new(settings: Settings, channels: Channels, metrics: Arc<Metrics>, sink: AnySink) -> Self {
        let mut schedule = Schedule::new(settings.write_interval);
        let mut desired = DesiredState::new(settings.derive);
        if !settings.start_window.is_zero() {
            schedule.hold(Instant::now() + settings.start_window);
            desired.hold();
        }
        Actor {
            schedule,
            backoffs: Backoffs::new(&settings.backoff),
            status_log: StatusLog::default(),
            desired,
            stored: None,
            limit: sink.size_limit(),
            advice: Advice::default(),
            leadership: sink.leadership(),
            leadership_state: LeadershipState::default(),
            sink: Some(sink),
            work: None,
            give_up: CancellationToken::new(),
            flushes: Vec::new(),
            last_error: None,
            accounting: UpdateAccounting::new(Arc::clone(&metrics)),
            publish_at: None,
            published_at: None,
            settings,
            channels,
            metrics,
        }
    }

    pub(crate) async fn run(mut self: Box<Self>) -> ActorExit {
        loop {
            self.plan_refresh();
            self.refresh_leadership();
            self.end_start_in_time();
            self.answer_flushes();
            match self.schedule.decide(Instant::now()) {
                Step::Read => self.begin_read(),
                Step::Write => self.begin_write(),
                Step::Wait(until) => self.wait(until).await,
                Step::Stop => return self.end().await,
            }
        }
    }

    /// Waits for the first of all that can happen. Receiving comes last, so
    /// that a flood of updates starves nothing else.
    async fn wait(&mut self, until: Option<Instant>) {
        self.publish_if_due();
        let until = self.flushes.iter().map(|flush| flush.by).chain(until).chain(self.publish_at).min();
        let running = !self.schedule.is_stopping();
        select! {
            biased;
            () = self.channels.shutdown.cancelled(), if running => self.stop().await,
            finished = in_flight(&mut self.work) => self.finish(finished),
            () = at(until) => {}
            () = leadership_changed(&mut self.leadership) => {}
            Some(control) = self.channels.control.recv() => self.handle_control(control),
            more = self.channels.mailbox.ready(), if running => {
                if more { self.receive() } else { self.stop().await }
            }
        }
    }

    /// The window for the first round is over, or a snapshot has closed it.
    fn end_start_in_time(&mut self) {
        let over = !self.schedule.is_held(Instant::now());
        if self.desired.is_held() && over {
            self.end_start();
        } else if !self.desired.is_held() {
            self.schedule.release();
        }
    }

    /// From now on what has been found is written, whatever has not been
    /// checked.
    fn end_start(&mut self) {
        let was_held = self.schedule.release();
        if self.desired.end_start() && (was_held || self.schedule.newest() > 0) {
            self.changed();
        }
    }

    fn receive(&mut self) {
        let mut applied = Applied::at((self.settings.wall_clock)());
        applied.apply(&mut self.desired, self.channels.mailbox.take());
        self.record_changes(applied);
    }

    fn record_changes(&mut self, applied: Applied) {
        let Applied { received, change, mut faults, .. } = applied;
        self.accounting.received(received);
        for fault in faults.drain() {
            self.metrics.repaired.add(1);
            self.status_log.repaired(fault);
        }
        // The first update is news whatever it says: an empty list differs from
        // what an earlier process left behind.
        let first = received > 0 && self.schedule.newest() == 0;
        if change == Change::Content || first {
            self.changed();
        }
        if self.schedule.is_clean() {
            // Nothing but times: they ride along with the next write.
            self.accounting.equal();
        } else {
            let since = self.accounting.pending_since();
            self.progress(|progress| {
                progress.pending_since = since;
                !std::mem::replace(&mut progress.pending, true)
            });
        }
    }

    fn changed(&mut self) {
        let now = Instant::now();
        self.schedule.changed();
        self.accounting.changed(now);
        let paced = self.published_at.map_or(now, |shown| shown + self.settings.write_interval);
        self.publish_at.get_or_insert(paced);
    }

    fn handle_control(&mut self, control: Control) {
        // What was sent before is in the mailbox by now.
        let mut applied = Applied::at((self.settings.wall_clock)());
        self.channels.mailbox.drain(|received| applied.apply(&mut self.desired, received));
        self.record_changes(applied);
        match control {
            Control::FirstRoundDone => self.end_start(),
            Control::Flush { by, reply } => {
                // Whoever wants everything stored wants this too.
                self.end_start();
                self.flushes.push(Flush { revision: self.schedule.newest(), by, reply });
                if !self.schedule.is_clean() {
                    self.schedule.expedite(Instant::now(), by);
                }
            }
            Control::Current { reply } => {
                let (current, omitted) = self.next_status();
                let current = Arc::new(current);
                self.publish_progress(&current, omitted);
                // Nobody may be waiting any more.
                let _ = reply.send(current);
            }
        }
    }

    /// Takes what was sent, accepts no more, and makes for the end.
    async fn stop(&mut self) {
        // What was asked for before the end counts: that the first round is done
        // decides whether there is anything to write.
        while let Ok(control) = self.channels.control.try_recv() {
            self.handle_control(control);
        }
        let mut applied = Applied::at((self.settings.wall_clock)());
        self.channels.mailbox.close();
        // Waits only for senders that are just now at it.
        while self.channels.mailbox.ready().await {
            applied.apply(&mut self.desired, self.channels.mailbox.take());
        }
        self.record_changes(applied);
        let now = Instant::now();
        self.schedule.stop(now, now + self.settings.shutdown_grace);
    }

    fn plan_refresh(&mut self) {
        if let Some(interval) = self.settings.periodic_interval
            && self.schedule.newest() > 0
            && !self.schedule.has_refresh()
        {
            self.schedule.refresh_at(Instant::now() + jittered(interval));
        }
    }

    fn refresh_leadership(&mut self) {
        let leadership_state = self.leadership.as_ref().map_or(LeadershipState::Alone, Leadership::leadership_state);
        let before = std::mem::replace(&mut self.leadership_state, leadership_state);
        if before != leadership_state {
            self.schedule.set_leadership_state(leadership_state);
            if before == LeadershipState::Standby {
                // While another led, nothing was late.
                self.accounting.forgive(Instant::now());
            }
            let since = self.accounting.pending_since();
            self.progress(|progress| {
                progress.pending_since = since;
                false
            });
        }
    }

    fn begin_read(&mut self) {
        self.metrics.reads.add(1);
        self.schedule.begin(Instant::now(), false);
        self.start(|mut sink, call_guard| {
            Box::pin(async move {
                let result = call_guard.guard(sink.read()).await.map(Done::Read);
                Finished { sink, result }
            })
        });
    }

    /// Writes the newest status, if it differs from what is stored.
    fn begin_write(&mut self) {
        let (next, omitted) = self.next_status();
        self.metrics.truncated.add(u64::from(omitted.is_some()));
        self.status_log.truncated(omitted);
        let next = Arc::new(next);
        self.publish_progress(&next, omitted);
        if let Some(stored) = self.stored.clone()
            && !self.advice.must_write
            && (if self.schedule.is_refreshing() { next == stored } else { next.eq_ignoring_times(&stored) })
        {
            self.metrics.saved.add(1);
            self.accounting.equal();
            self.schedule.verified();
            self.succeeded(WriteOutcome::Unchanged, stored);
            return;
        }
        self.metrics.attempts.add(1);
        self.schedule.begin(Instant::now(), true);
        self.accounting.carry();
        let metrics = Arc::clone(&self.metrics);
        self.start(|mut sink, call_guard| {
            Box::pin(async move {
                let began = Instant::now();
                let result = call_guard.guard(sink.write(&next)).await;
                metrics.write_seconds.observe(began.elapsed());
                Finished { sink, result: result.map(|effect| Done::Wrote(effect, next)) }
            })
        });
    }

    /// What the store shall hold: the desired state, laid over what it holds now; and
    /// what had to be left out.
    fn next_status(&mut self) -> (Status, Option<Omitted>) {
        let now = whole_seconds((self.settings.wall_clock)());
        let mut wanted = self.desired.build_status(self.stored.as_deref(), now);
        if self.schedule.is_refreshing() {
            wanted.timestamp = Some(now);
        }
        let mut next = merge(self.stored.as_deref(), wanted, self.desired.owned(), now);
        let omitted = self.limit.and_then(|limit| truncate(&mut next, limit, self.desired.owned()));
        (next, omitted)
    }

    fn publish_if_due(&mut self) {
        if self.publish_at.is_some_and(|at| at <= Instant::now()) {
            let (current, omitted) = self.next_status();
            self.publish_progress(&Arc::new(current), omitted);
        }
    }

    /// Shows those who watch what has been reported.
    fn publish_progress(&mut self, current: &Arc<Status>, omitted: Option<Omitted>) {
        self.publish_at = None;
        self.published_at = Some(Instant::now());
        self.status_log.shown(current);
        self.progress(|progress| {
            progress.current = Some(Arc::clone(current));
            progress.omitted = omitted;
            true
        });
    }

    fn start(&mut self, work: impl FnOnce(AnySink, CallGuard) -> BoxFuture<'static, Finished>) {
        let sink = self.sink.take().expect("the schedule starts nothing while something is in flight");
        // Nothing that a replica sends arrives after its time.
        let left = self.leadership.as_ref().map_or(Duration::MAX, Leadership::time_left);
        let call_guard = CallGuard { time: self.settings.write_timeout.min(left), give_up: self.give_up.clone() };
        self.work = Some(work(sink, call_guard));
    }

    fn finish(&mut self, Finished { sink, result }: Finished) {
        self.limit = sink.size_limit();
        self.advice = sink.advice();
        self.sink = Some(sink);
        self.work = None;
        match result {
            Ok(Done::Read(stored)) => {
                self.schedule.read_done();
                self.stored = stored.map(Arc::new);
                let first = !self.stored.as_ref().is_some_and(|stored| stored.is_reported());
                if first && !self.advice.no_early_pending {
                    self.schedule.announce();
                }
                let (stored, location) = (self.stored.clone(), self.advice.location.clone());
                self.progress(|progress| {
                    progress.stored = stored;
                    progress.location = location;
                    true
                });
            }
            Ok(Done::Wrote(effect, status)) => {
                self.schedule.write_done();
                self.metrics.results.for_outcome(effect).add(1);
                if effect == WriteOutcome::Written {
                    self.metrics.stored_at.set((self.settings.wall_clock)());
                }
                self.accounting.delivered(effect);
                if self.schedule.is_clean() {
                    // What came meanwhile was nothing but times.
                    self.accounting.equal();
                }
                self.stored = Some(Arc::clone(&status));
                self.succeeded(effect, status);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn succeeded(&mut self, effect: WriteOutcome, stored: Arc<Status>) {
        self.backoffs.reset();
        self.last_error = None;
        self.status_log.stored(Instant::now());
        let pending = !self.schedule.is_clean();
        let pending_since = self.accounting.pending_since();
        let at = (self.settings.wall_clock)();
        if let Some(pause) = self.advice.look_again.take() {
            self.schedule.look_at(Instant::now() + pause);
        }
        let location = self.advice.location.clone();
        self.progress(|progress| {
            progress.location = location;
            progress.stored = Some(stored);
            progress.pending = pending;
            progress.pending_since = pending_since;
            progress.last = Some(Attempt { at, result: Ok(effect) });
            true
        });
    }

    fn failed(&mut self, error: &SinkError) {
        let now = Instant::now();
        let pause = self.backoffs.next(error.retry());
        match error.retry() {
            Retry::Conflict => self.metrics.conflicts.add(1),
            _ => self.metrics.failures.add(1),
        }
        if self.schedule.is_writing() {
            self.metrics.results.for_failure(error.retry()).add(1);
        }
        self.accounting.brought_back();
        self.schedule.failed(now, error.retry(), pause);
        self.refresh_leadership();
        if !self.leadership_state.may_write() {
            // The end of a term is no fault of the store.
            StatusLog::cut_short(error);
            return;
        }
        self.status_log.failed(now, error, pause);
        let message = error.chain();
        self.last_error = Some(message.clone());
        let result = Err(AttemptError { retry: error.retry(), message });
        let last = Some(Attempt { at: (self.settings.wall_clock)(), result });
        self.progress(|progress| {
            progress.last = last;
            true
        });
    }

    fn progress(&self, change: impl FnOnce(&mut Progress) -> bool) {
        self.channels.progress.send_if_modified(change);
    }

    fn answer_flushes(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let now = Instant::now();
        let why = || self.last_error.clone();
        let standby = self.leadership_state == LeadershipState::Standby;
        let answered = self.flushes.extract_if(.., |flush| {
            self.schedule.is_settled(flush.revision) || self.schedule.is_refused() || standby || now >= flush.by
        });
        for flush in answered {
            let answer = if self.schedule.is_settled(flush.revision) {
                Ok(())
            } else if self.schedule.is_refused() {
                Err(FlushError::Refused(why().unwrap_or_default()))
            } else if standby {
                Err(FlushError::Standby)
            } else {
                Err(FlushError::TimedOut { last: why() })
            };
            // Nobody may be waiting any more.
            let _ = flush.reply.send(answer);
        }
        self.schedule.set_deadline(now, self.flushes.iter().map(|flush| flush.by).min());
    }

    async fn end(mut self: Box<Self>) -> ActorExit {
        self.close_sink().await;
        // What a replica on standby has seen is for the leader to store.
        let ours = !self.schedule.is_clean() && self.leadership_state != LeadershipState::Standby;
        let left = ours.then(|| {
            let now = (self.settings.wall_clock)();
            let wanted = self.desired.build_status(self.stored.as_deref(), now);
            Arc::new(merge(self.stored.as_deref(), wanted, self.desired.owned(), now))
        });
        let (unstored, held_back) = if self.desired.is_held() { (None, left) } else { (left, None) };
        let unstored = unstored.map(|status| {
            let why = self.last_error.take().unwrap_or_else(|| match self.leadership_state {
                LeadershipState::Undecided => "it was not decided in time which replica leads".into(),
                _ => "the store did not answer in time".into(),
            });
            (status, why)
        });
        ActorExit {
            stored: self.stored,
            unstored,
            held_back,
            location: self.advice.location,
            leadership_state: self.leadership_state,
            counts: self.metrics.counts(),
        }
    }

    async fn close_sink(&mut self) {
        self.give_up.cancel();
        if let Some(work) = self.work.take() {
            let Finished { sink, result } = work.await;
            self.sink = Some(sink);
            if let Err(error) = result
                && self.schedule.is_writing()
            {
                self.metrics.results.for_failure(error.retry()).add(1);
            }
        }
        if let Some(sink) = &mut self.sink {
            let grace = self.schedule.time_to_stop(Instant::now()).max(LEAST_TO_CLOSE);
            let call_guard = CallGuard { time: grace, give_up: CancellationToken::new() };
            let closing = async {
                sink.close().await;
                Ok(())
            };
            if let Err(error) = call_guard.guard(closing).await {
                status_log::not_closed(&error);
            }
        }
    }
}

async fn in_flight(work: &mut Option<BoxFuture<'static, Finished>>) -> Finished {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

/// Waits until somebody else leads than before.
async fn leadership_changed(leadership: &mut Option<Leadership>) {
    match leadership {
        Some(leadership) => leadership.changed().await,
        None => pending().await,
    }
}
