//! The status actor: one task that owns the latest status, takes updates, and
//! keeps the store equal to it.
//!
//! The loop asks the [`Schedule`] what to do and does it. A read or write in
//! flight and every wait are arms of one `select!`, so that it receives
//! whatever else goes on (law 4).

mod accounting;
mod applied;
mod backend_log;
mod call_guard;
mod observer;
mod parts;
mod refused_backends;
mod schedule;
mod status_log;
mod store;
mod stored_changes;

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use self::applied::Applied;
use self::observer::Observer;
pub(crate) use self::parts::{ActorExit, Candidacy, Channels, Observers, Settings, Spans, WallClock};
use self::refused_backends::RefusedBackends;
use self::schedule::{Call, FlushAnswer, FlushId, Schedule, Step};
use self::store::{Attempted, Done, Finished, Store};
use crate::backoff::{Backoffs, at, jittered, up_to};
use crate::error::{Retry, SinkError};
use crate::handle::{Control, FlushError};
use crate::leadership::{Leadership, LeadershipState};
use crate::sink::{AnySink, Refreshed, WriteOutcome};
use crate::status::{Omitted, Status, merge, truncate, whole_seconds};
use crate::update::{Change, DesiredState};

/// The election and the listeners have at least this long at the end.
const LEAST_TO_CLOSE: Duration = Duration::from_secs(1);

pub(crate) struct Actor {
    settings: Settings,
    channels: Channels,
    desired: DesiredState,
    refused_backends: RefusedBackends,
    schedule: Schedule,
    backoffs: Backoffs,
    store: Store,
    candidacy: Option<Candidacy>,
    /// To the callers of the flushes that the schedule knows.
    replies: HashMap<FlushId, oneshot::Sender<Result<(), FlushError>>>,
    observer: Observer,
}

impl Actor {
    pub(crate) fn new(
        settings: Settings,
        channels: Channels,
        sink: AnySink,
        candidacy: Option<Candidacy>,
        observers: Observers,
    ) -> Self {
        let mut schedule = Schedule::new(settings.write_interval);
        if let Some(interval) = settings.periodic_interval {
            schedule.refresh_every(interval, jittered);
        }
        if let Some(interval) = settings.unelected_interval {
            schedule.refresh_without_election_every(interval);
        }
        if !settings.start_jitter.is_zero() {
            schedule.delay(Instant::now() + up_to(settings.start_jitter));
        }
        let mut desired = DesiredState::new(settings.derive);
        if !settings.start_window.is_zero() {
            schedule.hold(Instant::now() + settings.start_window);
            desired.hold();
        }
        let Observers { progress, metrics, listeners } = observers;
        Actor {
            desired,
            refused_backends: RefusedBackends::default(),
            schedule,
            backoffs: Backoffs::new(&settings.backoff),
            store: Store::new(sink, settings.write_timeout),
            candidacy,
            replies: HashMap::new(),
            observer: Observer::new(metrics, progress, listeners),
            settings,
            channels,
        }
    }

    /// Runs until the end; each line of its log is in the span for the present state
    /// of the leadership.
    pub(crate) async fn run(mut self: Box<Self>, spans: Spans) -> ActorExit {
        let mut state = self.schedule.leadership_state();
        let mut span = spans(state);
        loop {
            span.in_scope(|| self.refresh_leadership());
            if self.schedule.leadership_state() != state {
                state = self.schedule.leadership_state();
                span = spans(state);
            }
            match self.schedule.decide(Instant::now()) {
                Step::Wait(until) => self.wait(until).instrument(span.clone()).await,
                Step::Stop => return self.end().instrument(span).await,
                step => span.in_scope(|| self.carry_out(step)),
            }
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Answer(flush, answer) => self.answer(flush, answer),
            Step::EndStart => self.end_start(),
            Step::Publish => self.publish(),
            Step::Read => self.begin_read(),
            Step::Write => self.begin_write(),
            Step::Refresh => self.begin_refresh(),
            Step::Wait(_) | Step::Stop => {}
        }
    }

    /// Waits for the first of all that can happen. Receiving comes last, so
    /// that a flood of updates starves nothing else.
    async fn wait(&mut self, until: Option<Instant>) {
        let running = !self.schedule.is_stopping();
        let slow_at = self.store.slow_at();
        select! {
            biased;
            () = self.channels.shutdown.cancelled(), if running => self.stop().await,
            finished = self.store.finished() => self.finish(finished),
            () = at(until) => {}
            () = at(slow_at) => self.say_slow(),
            () = leadership_changed(&mut self.candidacy) => {}
            Some(control) = self.channels.control.recv() => self.handle_control(control),
            more = self.channels.mailbox.ready(), if running => {
                if more { self.receive() } else { self.stop().await }
            }
        }
    }

    /// The call in flight has had no answer for long.
    fn say_slow(&mut self) {
        if let Some(began) = self.store.take_slow() {
            self.observer.slow(Instant::now(), began);
        }
    }

    /// Ends the first round of checks: from now on findings are written, even
    /// while some backends have not been checked.
    fn end_start(&mut self) {
        let was_held = self.schedule.release();
        if self.desired.end_start() && (was_held || self.schedule.has_begun()) {
            self.changed();
        }
    }

    fn receive(&mut self) {
        let mut applied = Applied::at((self.settings.wall_clock)());
        applied.apply(&mut self.desired, self.channels.mailbox.take());
        self.record_changes(applied);
    }

    fn record_changes(&mut self, applied: Applied) {
        let Applied { received, change, faults, .. } = applied;
        self.observer.received(received, faults);
        if !self.desired.is_held() {
            // A snapshot is the whole: it ends the start.
            self.schedule.release();
        }
        // The first update is a change whatever it says: an empty list differs
        // from what an earlier process left behind.
        let first = received > 0 && !self.schedule.has_begun();
        if change == Change::Content || first {
            self.changed();
        }
        if self.schedule.is_clean() {
            // Nothing but times: they ride along with the next write.
            self.observer.equal();
        } else {
            self.observer.pending();
        }
    }

    fn changed(&mut self) {
        let now = Instant::now();
        self.schedule.changed();
        self.schedule.publish_soon(now);
        self.observer.changed(now);
    }

    fn handle_control(&mut self, control: Control) {
        // What was sent before is in the mailbox by now.
        let mut applied = Applied::at((self.settings.wall_clock)());
        self.channels.mailbox.drain(|received| applied.apply(&mut self.desired, received));
        self.record_changes(applied);
        match control {
            Control::FirstRoundDone => self.end_start(),
            Control::Flush { by, reply } => {
                // Everything includes what the start holds back.
                self.end_start();
                let flush = self.schedule.flush(Instant::now(), by);
                self.replies.insert(flush, reply);
            }
            Control::Current { reply } => {
                let (current, omitted) = self.next_status();
                let current = Arc::new(current);
                self.show(&current, omitted);
                // The caller may have stopped waiting.
                let _ = reply.send(current);
            }
        }
    }

    fn answer(&mut self, flush: FlushId, answer: FlushAnswer) {
        let last = self.observer.last_error();
        let answer = match answer {
            FlushAnswer::Stored => Ok(()),
            FlushAnswer::Refused => Err(FlushError::Refused(last.unwrap_or_default())),
            FlushAnswer::Standby => Err(FlushError::Standby),
            FlushAnswer::TimedOut => Err(FlushError::TimedOut { last }),
        };
        if let Some(reply) = self.replies.remove(&flush) {
            // The caller may have stopped waiting.
            let _ = reply.send(answer);
        }
    }

    /// Drains the mailbox, closes it, and lets the schedule end.
    async fn stop(&mut self) {
        // A `FirstRoundDone` that was sent before the end decides whether there is
        // anything to write.
        while let Ok(control) = self.channels.control.try_recv() {
            self.handle_control(control);
        }
        let mut applied = Applied::at((self.settings.wall_clock)());
        self.channels.mailbox.close();
        // Waits only for senders that are in the middle of a send.
        while self.channels.mailbox.ready().await {
            applied.apply(&mut self.desired, self.channels.mailbox.take());
        }
        self.record_changes(applied);
        let now = Instant::now();
        self.schedule.stop(now, now + self.settings.shutdown_grace);
    }

    fn leadership(&self) -> Option<Leadership> {
        self.candidacy.as_ref().map(|candidacy| candidacy.leadership.clone())
    }

    fn refresh_leadership(&mut self) {
        let state = self.candidacy.as_ref().map(|candidacy| candidacy.leadership.leadership_state());
        let state = state.unwrap_or(LeadershipState::Alone);
        let before = self.schedule.leadership_state();
        if before != state {
            self.schedule.set_leadership_state(state);
            self.observer.leadership_changed(Instant::now(), before, state);
        }
    }

    fn begin_read(&mut self) {
        self.observer.read_begins();
        self.schedule.begin(Instant::now(), Call::Read);
        self.store.read(self.leadership());
    }

    /// Writes the newest status, if it differs from what is stored.
    fn begin_write(&mut self) {
        let (next, omitted) = self.next_status();
        self.observer.write_planned(omitted);
        let next = Arc::new(next);
        self.show(&next, omitted);
        if let Some(stored) = self.store.content.clone()
            && !self.store.advice.must_write
            && (if self.schedule.is_refreshing() { next == stored } else { next.eq_ignoring_times(&stored) })
        {
            self.observer.write_saved();
            self.schedule.verified();
            self.succeeded(WriteOutcome::Unchanged, stored);
            return;
        }
        self.observer.write_begins(&next, omitted);
        self.schedule.begin(Instant::now(), Call::Write);
        self.store.write(self.leadership(), next);
    }

    /// Brings times up to date and finds out what is stored.
    fn begin_refresh(&mut self) {
        if self.store.advice.must_write {
            return self.begin_read();
        }
        let (next, omitted) = self.next_status();
        let next = Arc::new(next);
        self.show(&next, omitted);
        self.observer.read_begins();
        self.schedule.begin(Instant::now(), Call::Refresh);
        self.store.refresh(self.leadership(), next);
    }

    /// The desired state merged with what the store holds now, and what did not
    /// fit.
    fn next_status(&mut self) -> (Status, Option<Omitted>) {
        let now = whole_seconds((self.settings.wall_clock)());
        let stored = self.store.content.as_deref();
        let mut wanted = self.desired.build_status(stored, now);
        if self.schedule.is_refreshing() {
            wanted.timestamp = Some(now);
        }
        self.refused_backends.leave_out(&mut wanted);
        let mut next = merge(stored, wanted, self.desired.owned(), now);
        let omitted = self.store.limit.and_then(|limit| truncate(&mut next, limit, self.desired.owned()));
        (next, omitted)
    }

    fn publish(&mut self) {
        let (current, omitted) = self.next_status();
        self.show(&Arc::new(current), omitted);
    }

    fn show(&mut self, current: &Arc<Status>, omitted: Option<Omitted>) {
        self.schedule.published(Instant::now());
        self.observer.published(current, omitted, self.desired.is_held());
    }

    fn finish(&mut self, Finished { took, result }: Finished) {
        if self.schedule.is_writing() {
            self.observer.write_ended(took);
        }
        match result {
            Ok(Done::Read(stored)) => {
                self.schedule.read_done();
                self.store.content = stored.map(Arc::new);
                let stored = self.store.content.as_ref();
                let first = !stored.is_some_and(|stored| stored.is_reported());
                self.observer.read_done(stored, &self.store.advice);
                if first && !self.store.advice.no_early_pending {
                    self.schedule.announce();
                }
            }
            Ok(Done::Refreshed(Refreshed { stored, outcome })) => {
                self.schedule.refresh_done(outcome);
                self.store.content = stored.map(Arc::new);
                self.observer.read_done(self.store.content.as_ref(), &self.store.advice);
                if outcome == Some(WriteOutcome::Written) {
                    self.observer.times_written((self.settings.wall_clock)());
                }
            }
            Ok(Done::Wrote(outcome, status)) => {
                self.schedule.write_done();
                self.observer.write_done((self.settings.wall_clock)(), outcome);
                if self.schedule.is_clean() {
                    // What came meanwhile was nothing but times.
                    self.observer.equal();
                }
                self.store.content = Some(Arc::clone(&status));
                self.succeeded(outcome, status);
            }
            Err(error) => self.failed(error, took),
        }
    }

    fn succeeded(&mut self, outcome: WriteOutcome, stored: Arc<Status>) {
        self.backoffs.reset();
        let now = Instant::now();
        if let Some(pause) = self.store.advice.look_again.take() {
            self.schedule.look_at(now + pause);
        }
        let pending = !self.schedule.is_clean();
        let location = self.store.advice.location.clone();
        self.observer.succeeded((now, (self.settings.wall_clock)()), outcome, stored, pending, location);
    }

    fn failed(&mut self, error: SinkError, took: Duration) {
        let now = Instant::now();
        let attempted = self.store.attempted.take();
        // Counts what the store said, whatever is made of it below.
        self.observer.failed(&error, self.schedule.is_writing());
        if let Some(attempted) = &attempted
            && self.leaves_refused_backends_out(&error, &attempted.status)
        {
            // What comes next is smaller, and nothing has to be waited for.
            self.schedule.failed(now, Retry::TooLarge, self.backoffs.next(Retry::TooLarge));
            return;
        }
        let error = &self.refused_if_smallest(error, attempted);
        let pause = self.backoffs.next(error.retry());
        self.schedule.failed(now, error.retry(), pause);
        self.refresh_leadership();
        if self.schedule.leadership_state().may_write() {
            self.observer.faulted((now, (self.settings.wall_clock)()), error, took, pause);
        } else {
            // The term ended; the store is not at fault.
            status_log::cut_short(error);
        }
    }

    /// Leaves out, from now on, the backends that the store has named in its refusal.
    /// Returns whether that makes a difference.
    fn leaves_refused_backends_out(&mut self, error: &SinkError, attempted: &Status) -> bool {
        if error.refused_backends().is_empty() {
            return false;
        }
        let now = whole_seconds((self.settings.wall_clock)());
        let wanted = self.desired.build_status(self.store.content.as_deref(), now);
        let faults = self.refused_backends.add(error.refused_backends(), attempted, &wanted);
        let is_news = faults.iter().len() > 0;
        self.observer.received(0, faults);
        is_news
    }

    /// Turns "too large" into a refusal for good where nothing smaller can be made.
    fn refused_if_smallest(&mut self, error: SinkError, attempted: Option<Attempted>) -> SinkError {
        let Some(attempted) = attempted.filter(|_| error.retry() == Retry::TooLarge) else { return error };
        let (next, _) = self.next_status();
        if !attempted.is_smallest(&next, self.store.limit) {
            return error;
        }
        SinkError::new(Retry::Refused, "the store does not take even the smallest status").caused_by(error)
    }

    async fn end(mut self: Box<Self>) -> ActorExit {
        self.close().await;
        // The leader stores what it sees itself, so nothing of a standby is missing.
        let leadership_state = self.schedule.leadership_state();
        let ours = !self.schedule.is_clean() && leadership_state != LeadershipState::Standby;
        let left = ours.then(|| {
            let now = (self.settings.wall_clock)();
            let stored = self.store.content.as_deref();
            let wanted = self.desired.build_status(stored, now);
            Arc::new(merge(stored, wanted, self.desired.owned(), now))
        });
        let (unstored, held_back) = if self.desired.is_held() { (None, left) } else { (left, None) };
        let unstored = unstored.map(|status| {
            let why = self.observer.last_error().unwrap_or_else(|| match leadership_state {
                LeadershipState::Undecided => "it was not decided in time which replica leads".into(),
                _ => "the store did not answer in time".into(),
            });
            (status, why)
        });
        ActorExit {
            stored: self.store.content,
            unstored,
            held_back,
            location: self.store.advice.location,
            leadership_state,
            counts: self.observer.counts(),
        }
    }

    /// Ends the call in flight, and only then hands the leadership over.
    async fn close(&mut self) {
        if let Some(Finished { result: Err(error), .. }) = self.store.give_up().await
            && self.schedule.is_writing()
        {
            self.observer.write_given_up(&error);
        }
        let release = self.candidacy.take().map(|candidacy| (candidacy.release)());
        let closing = async {
            let release = async {
                if let Some(release) = release {
                    release.await;
                }
            };
            tokio::join!(release, self.observer.close());
        };
        let grace = self.schedule.time_to_stop(Instant::now()).max(LEAST_TO_CLOSE);
        if timeout(grace, closing).await.is_err() {
            status_log::not_closed(grace);
        }
    }
}

/// Waits until the state of the leadership changes.
async fn leadership_changed(candidacy: &mut Option<Candidacy>) {
    match candidacy {
        Some(candidacy) => candidacy.leadership.changed().await,
        None => pending().await,
    }
}
