//! The status actor: one task that owns the latest status, takes updates, and
//! keeps the store equal to it.
//!
//! The loop asks the [`Schedule`] what to do and does it. A read or write in
//! flight and every wait are arms of one `select!`, so that it receives
//! whatever else goes on (law 4).

mod journal;
mod schedule;

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::journal::Journal;
use self::schedule::{Revision, Schedule, Step};
use crate::backoff::{BackoffPolicy, Pauses, jittered};
use crate::error::{Retry, SinkError};
use crate::handle::{Attempt, AttemptError, Control, FlushError, Progress};
use crate::mailbox::{Mailbox, Received};
use crate::metrics::{Counts, Metrics};
use crate::sink::{AnySink, Effect, Sink as _};
use crate::status::{Faults, Status, merge, trim, whole_seconds};
use crate::update::{Change, Delta, Picture, Update};

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
pub(crate) struct Remains {
    pub(crate) stored: Option<Arc<Status>>,
    /// What is not stored, and why.
    pub(crate) unstored: Option<(Arc<Status>, String)>,
    pub(crate) counts: Counts,
}

pub(crate) struct Actor {
    settings: Settings,
    channels: Channels,
    metrics: Arc<Metrics>,
    schedule: Schedule,
    pauses: Pauses,
    journal: Journal,
    picture: Picture,
    /// What the store holds, as last read or written.
    stored: Option<Arc<Status>>,
    /// Here while nothing is in flight; travels with the work.
    sink: Option<AnySink>,
    work: Option<BoxFuture<'static, Finished>>,
    flushes: Vec<Flush>,
    last_error: Option<String>,
    /// Updates not yet accounted for: taken since the last write began, and
    /// carried by the write in flight.
    waiting: u64,
    carried: u64,
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
    Wrote(Effect, Arc<Status>),
}

impl Actor {
    pub(crate) fn new(settings: Settings, channels: Channels, metrics: Arc<Metrics>, sink: AnySink) -> Self {
        Actor {
            schedule: Schedule::new(settings.write_interval),
            pauses: Pauses::new(&settings.backoff),
            journal: Journal::default(),
            picture: Picture::new(settings.derive),
            stored: None,
            sink: Some(sink),
            work: None,
            flushes: Vec::new(),
            last_error: None,
            waiting: 0,
            carried: 0,
            settings,
            channels,
            metrics,
        }
    }

    pub(crate) async fn run(mut self) -> Remains {
        loop {
            self.plan_refresh();
            match self.schedule.decide(Instant::now()) {
                Step::Read => self.begin_read(),
                Step::Write => self.begin_write(),
                Step::Wait(until) => self.wait(until).await,
                Step::Stop => return self.end(),
            }
            self.answer_flushes();
        }
    }

    /// Waits for the first of all that can happen. Receiving comes last, so
    /// that a flood of updates starves nothing else.
    async fn wait(&mut self, until: Option<Instant>) {
        let until = self.flushes.iter().map(|flush| flush.by).chain(until).min();
        let running = !self.schedule.is_stopping();
        select! {
            biased;
            () = self.channels.shutdown.cancelled(), if running => self.stop().await,
            finished = in_flight(&mut self.work) => self.finish(finished),
            () = at(until) => {}
            Some(control) = self.channels.control.recv() => self.obey(control),
            more = self.channels.mailbox.ready(), if running => {
                if more { self.receive() } else { self.stop().await }
            }
        }
    }

    fn receive(&mut self) {
        let mut folded = Folded::new(&self.settings);
        folded.apply(&mut self.picture, self.channels.mailbox.take());
        self.note(folded);
    }

    fn note(&mut self, folded: Folded) {
        let Folded { received, change, mut faults, now: _ } = folded;
        self.metrics.received.add(received);
        for fault in faults.drain() {
            self.metrics.mended.add(1);
            self.journal.mended(fault);
        }
        self.waiting += received;
        // The first update is news whatever it says: an empty list differs from
        // what an earlier process left behind.
        let first = received > 0 && self.schedule.newest() == 0;
        if change == Change::Content || first {
            self.schedule.changed();
        }
        if self.schedule.is_clean() {
            // Nothing but times: they ride along with the next write.
            self.metrics.equal.add(std::mem::take(&mut self.waiting));
        } else {
            self.progress(|progress| !std::mem::replace(&mut progress.pending, true));
        }
    }

    fn obey(&mut self, control: Control) {
        let Control::Flush { by, reply } = control;
        // What was sent before the flush is in the mailbox by now.
        let mut folded = Folded::new(&self.settings);
        self.channels.mailbox.drain(|received| folded.apply(&mut self.picture, received));
        self.note(folded);
        self.flushes.push(Flush { revision: self.schedule.newest(), by, reply });
        if !self.schedule.is_clean() {
            self.schedule.hurry(Instant::now(), by);
        }
    }

    /// Takes what was sent, accepts no more, and makes for the end.
    async fn stop(&mut self) {
        let mut folded = Folded::new(&self.settings);
        self.channels.mailbox.close();
        // Waits only for senders that are just now at it.
        while self.channels.mailbox.ready().await {
            folded.apply(&mut self.picture, self.channels.mailbox.take());
        }
        self.note(folded);
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

    fn begin_read(&mut self) {
        self.metrics.reads.add(1);
        self.schedule.begin(Instant::now(), false);
        self.start(|mut sink, limit| {
            Box::pin(async move {
                let result = guarded(limit, sink.read()).await.map(Done::Read);
                Finished { sink, result }
            })
        });
    }

    /// Writes the newest status, if it differs from what is stored.
    fn begin_write(&mut self) {
        let next = self.next_status();
        if let Some(stored) = &self.stored
            && (if self.schedule.is_refreshing() { next == **stored } else { next.same_but_for_times(stored) })
        {
            self.metrics.equal.add(std::mem::take(&mut self.waiting));
            self.schedule.verified();
            let stored = Arc::clone(stored);
            self.succeeded(Effect::Unchanged, stored);
            return;
        }
        self.metrics.attempts.add(1);
        self.schedule.begin(Instant::now(), true);
        self.carried = std::mem::take(&mut self.waiting);
        let next = Arc::new(next);
        self.start(|mut sink, limit| {
            Box::pin(async move {
                let result = guarded(limit, sink.write(&next)).await;
                Finished { sink, result: result.map(|effect| Done::Wrote(effect, next)) }
            })
        });
    }

    /// What the store shall hold: the picture, laid over what it holds now.
    fn next_status(&mut self) -> Status {
        let now = whole_seconds((self.settings.wall_clock)());
        let mut wanted = self.picture.render(now);
        if self.schedule.is_refreshing() {
            wanted.timestamp = Some(now);
        }
        let mut next = merge(self.stored.as_deref(), wanted, self.picture.owned(), now);
        let limit = self.sink.as_ref().and_then(AnySink::size_limit);
        let omitted = limit.and_then(|limit| trim(&mut next, limit, self.picture.owned()));
        self.metrics.trimmed.add(u64::from(omitted.is_some()));
        self.journal.trimmed(omitted);
        next
    }

    fn start(&mut self, work: impl FnOnce(AnySink, Duration) -> BoxFuture<'static, Finished>) {
        let sink = self.sink.take().expect("the schedule starts nothing while something is in flight");
        self.work = Some(work(sink, self.settings.write_timeout));
    }

    fn finish(&mut self, Finished { sink, result }: Finished) {
        self.sink = Some(sink);
        self.work = None;
        match result {
            Ok(Done::Read(stored)) => {
                self.schedule.read_done();
                self.stored = stored.map(Arc::new);
                let stored = self.stored.clone();
                self.progress(|progress| {
                    progress.stored = stored;
                    true
                });
            }
            Ok(Done::Wrote(effect, status)) => {
                self.schedule.write_done();
                self.account(effect);
                if self.schedule.is_clean() {
                    // What came meanwhile was nothing but times.
                    self.metrics.equal.add(std::mem::take(&mut self.waiting));
                }
                self.stored = Some(Arc::clone(&status));
                self.succeeded(effect, status);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Each update that the write carried is counted once.
    fn account(&mut self, effect: Effect) {
        let carried = std::mem::take(&mut self.carried);
        match effect {
            Effect::Written => {
                self.metrics.written.add(carried.min(1));
                self.metrics.merged.add(carried.saturating_sub(1));
            }
            Effect::Unchanged => self.metrics.equal.add(carried),
        }
    }

    fn succeeded(&mut self, effect: Effect, stored: Arc<Status>) {
        self.pauses.reset();
        self.last_error = None;
        self.journal.stored(Instant::now(), &stored);
        let pending = !self.schedule.is_clean();
        let last = Some(Attempt { at: (self.settings.wall_clock)(), result: Ok(effect) });
        self.progress(|progress| {
            *progress = Progress { stored: Some(stored), pending, last };
            true
        });
    }

    fn failed(&mut self, error: &SinkError) {
        let now = Instant::now();
        let pause = self.pauses.next(error.retry());
        match error.retry() {
            Retry::Conflict => self.metrics.conflicts.add(1),
            _ => self.metrics.failures.add(1),
        }
        self.waiting += std::mem::take(&mut self.carried);
        self.schedule.failed(now, error.retry(), pause);
        self.journal.failed(now, error, pause);
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
        let answered = self.flushes.extract_if(.., |flush| {
            self.schedule.is_settled(flush.revision) || self.schedule.is_refused() || now >= flush.by
        });
        for flush in answered {
            let answer = if self.schedule.is_settled(flush.revision) {
                Ok(())
            } else if self.schedule.is_refused() {
                Err(FlushError::Refused(why().unwrap_or_default()))
            } else {
                Err(FlushError::TimedOut { last: why() })
            };
            // Nobody may be waiting any more.
            let _ = flush.reply.send(answer);
        }
        self.schedule.set_deadline(now, self.flushes.iter().map(|flush| flush.by).min());
    }

    fn end(mut self) -> Remains {
        let unstored = (!self.schedule.is_clean()).then(|| {
            let why = self.last_error.take().unwrap_or_else(|| "the store did not answer in time".into());
            let now = (self.settings.wall_clock)();
            (Arc::new(merge(self.stored.as_deref(), self.picture.render(now), self.picture.owned(), now)), why)
        });
        Remains { stored: self.stored, unstored, counts: self.metrics.counts() }
    }
}

/// What came of applying received updates to the picture.
struct Folded {
    now: DateTime<Utc>,
    received: u64,
    change: Change,
    faults: Faults,
}

impl Folded {
    fn new(settings: &Settings) -> Self {
        Folded { now: (settings.wall_clock)(), received: 0, change: Change::Times, faults: Faults::default() }
    }

    fn apply(&mut self, picture: &mut Picture, Received { mut updates, delta }: Received<'_>) {
        // What a later snapshot replaces need not be built first.
        let replaced = updates.as_slice().iter().rposition(Update::is_snapshot).unwrap_or(0);
        if replaced > 0 {
            let mut newest = Delta::default();
            updates.by_ref().take(replaced + 1).for_each(|update| newest.push(update));
            self.received += newest.count();
            self.change = self.change.max(picture.absorb(newest, self.now, &mut self.faults));
        }
        for update in updates {
            self.received += 1;
            self.change = self.change.max(picture.apply(update, self.now, &mut self.faults));
        }
        if let Some(delta) = delta {
            self.received += delta.count();
            self.change = self.change.max(picture.absorb(delta, self.now, &mut self.faults));
        }
    }
}

/// Calls a sink under a time limit. A panic in it is a failure like others:
/// whoever waits for a flush or the shutdown is answered all the same.
async fn guarded<T>(limit: Duration, call: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
    match AssertUnwindSafe(timeout(limit, call)).catch_unwind().await {
        Ok(Ok(result)) => result,
        Ok(Err(_elapsed)) => {
            let message = format!("the store did not answer within {limit:?}: is it reachable?");
            Err(SinkError::new(Retry::Transient, message))
        }
        Err(_panic) => Err(SinkError::new(Retry::Transient, "the sink panicked: see the panic message above")),
    }
}

async fn in_flight(work: &mut Option<BoxFuture<'static, Finished>>) -> Finished {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
