//! What to do now: a pure state machine, which holds every time that the loop
//! waits for. It takes what happened and when; it never looks at a clock, never
//! waits and touches no store, so that tests drive every rule of pace, retry and
//! shutdown without a runtime.

mod deadline;
mod flushes;
mod refresh;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use self::deadline::Deadline;
use self::flushes::Flushes;
pub(super) use self::flushes::{FlushAnswer, FlushId};
use self::refresh::Refresh;
use crate::error::Retry;
use crate::leadership::LeadershipState;
use crate::sink::WriteOutcome;

/// Counts changes of the desired state. What is stored at one revision contains all
/// revisions before it.
type Revision = u64;

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Tell the caller of this flush how it ended.
    Answer(FlushId, FlushAnswer),
    /// The window for the first round of checks is over: write what is known.
    EndStart,
    /// Publish the newest status to the watchers of the reporter.
    Publish,
    /// Find out what is stored.
    Read,
    /// Compare the desired state with what is stored; where they differ, write.
    Write,
    /// Bring the times of what is stored up to date and find out what is stored
    /// then, in one request if the sink can.
    Refresh,
    /// Nothing, until something happens or this time comes.
    Wait(Option<Instant>),
    /// End: all is stored, or it cannot be stored in time.
    Stop,
}

#[derive(Debug)]
pub(super) struct Schedule {
    write_interval: Duration,
    /// The desired state's revision.
    newest: Revision,
    /// The newest revision that is known to be stored.
    settled: Revision,
    /// Whether it is known what is stored.
    known: bool,
    /// The revision that the store refused for good.
    refused: Option<Revision>,
    /// The read or write in flight.
    busy: Option<Busy>,
    /// A write before this would break the pace.
    paced_until: Option<Instant>,
    pause: Option<Pause>,
    refresh: Option<Refresh>,
    /// When to compare with the store though nothing changed.
    refresh_at: Option<Instant>,
    /// When to read again what a write has left behind, though nothing changed.
    look_at: Option<Instant>,
    /// The store is compared though nothing changed.
    verifying: Option<Verify>,
    /// Nothing is written before this time, the first round of checks not being
    /// done.
    held_until: Option<Instant>,
    /// One write passes the hold: the announcement that the process starts.
    announcing: bool,
    /// When to publish the newest status, and when that was last done: at most once
    /// in a write interval.
    publish_at: Option<Instant>,
    published_at: Option<Instant>,
    flushes: Flushes,
    /// A flush or shutdown has asked to skip pace and back-off, once.
    expedite: bool,
    /// The nearest deadline of a flush or the shutdown, and the last try before
    /// it.
    deadline: Option<Deadline>,
    stop_at: Option<Instant>,
    leadership_state: LeadershipState,
}

/// Why the store is compared though nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    /// To see whether what was written has stayed.
    Look,
    /// To bring times up to date too, once it is known what is stored.
    Refresh,
    /// The same, and the sink has not been asked for it yet.
    AskSink,
}

/// A call of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
    Refresh,
}

#[derive(Clone, Copy, Debug)]
struct Busy {
    /// What it carries.
    revision: Revision,
    call: Call,
    /// What the pace was before.
    paced_until: Option<Instant>,
    /// It uses up `expedite`.
    expedited: bool,
    /// It began as the last chance before the deadline.
    last_chance: bool,
}

/// Why not to try before a certain time.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// The store asked for it, so `expedite` does not cut it short.
    ordered: bool,
}

impl Schedule {
    pub(super) fn new(write_interval: Duration) -> Self {
        Schedule {
            write_interval,
            newest: 0,
            settled: 0,
            known: false,
            refused: None,
            busy: None,
            paced_until: None,
            pause: None,
            refresh: None,
            refresh_at: None,
            look_at: None,
            verifying: None,
            held_until: None,
            announcing: false,
            publish_at: None,
            published_at: None,
            flushes: Flushes::default(),
            expedite: false,
            deadline: None,
            stop_at: None,
            leadership_state: LeadershipState::default(),
        }
    }

    /// Compares with the store at this interval, once something was reported;
    /// each time with this jitter.
    pub(super) fn refresh_every(&mut self, interval: Duration, jitter: fn(Duration) -> Duration) {
        self.refresh = Some(Refresh::new(interval, jitter));
    }

    /// Compares at this interval, if it is shorter, while no election is held.
    pub(super) fn refresh_without_election_every(&mut self, interval: Duration) {
        self.refresh = self.refresh.map(|refresh| refresh.without_election(interval));
    }

    /// Starts nothing before this time, unless a flush or the shutdown asks for it.
    pub(super) fn delay(&mut self, until: Instant) {
        self.pause = Some(Pause { until, ordered: false });
    }

    /// Holds writes back until [`release`](Self::release); at this time at the
    /// latest the schedule asks for that.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// The first round of checks is done, or has had its time: writes may go.
    /// Whether they were held back.
    pub(super) fn release(&mut self) -> bool {
        self.announcing = false;
        self.held_until.take().is_some()
    }

    /// Whether writes are held back at `now`.
    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Lets the next write through although writes are held back.
    pub(super) fn announce(&mut self) {
        self.announcing = self.held_until.is_some();
    }

    /// Reads and compares at this time, or earlier if something else does.
    pub(super) fn look_at(&mut self, at: Instant) {
        self.look_at = Some(at);
    }

    /// Whether this process may write, among several replicas.
    pub(super) fn set_leadership_state(&mut self, leadership_state: LeadershipState) {
        let could = std::mem::replace(&mut self.leadership_state, leadership_state).may_write();
        if leadership_state.may_write() && !could && self.newest > 0 {
            // The earlier leader has written what it saw.
            self.known = false;
            self.pause = None;
            self.verifying = (!self.is_stopping()).then_some(Verify::Refresh);
        }
    }

    pub(super) fn leadership_state(&self) -> LeadershipState {
        self.leadership_state
    }

    /// What to do at `now`.
    pub(super) fn decide(&mut self, now: Instant) -> Step {
        if let Some((flush, answer)) = self.next_answer(now) {
            return Step::Answer(flush, answer);
        }
        if self.held_until.is_some_and(|until| now >= until) {
            return Step::EndStart;
        }
        self.plan_refresh(now);
        match self.store_step(now) {
            Step::Wait(_) if self.publish_at.is_some_and(|at| now >= at) => Step::Publish,
            Step::Wait(until) => {
                Step::Wait([until, self.publish_at, self.flushes.next_by()].into_iter().flatten().min())
            }
            step => step,
        }
    }

    /// What to do with the store.
    fn store_step(&mut self, now: Instant) -> Step {
        if self.stop_at.is_some_and(|at| now >= at) {
            return Step::Stop;
        }
        if self.busy.is_some() {
            return Step::Wait(self.stop_at);
        }
        let stopping = self.stop_at.is_some();
        if !self.leadership_state.may_write() {
            // The leader stores what it sees itself. While there is none yet, a
            // shutdown waits for the election only if it has something to store.
            let is_withheld = self.is_held(now) && !self.announcing;
            let nothing_to_store = self.leadership_state == LeadershipState::Standby || !self.has_work() || is_withheld;
            return if stopping && nothing_to_store { Step::Stop } else { Step::Wait(self.stop_at) };
        }
        if !stopping && self.refresh_at.is_some_and(|at| now >= at) {
            self.refresh_at = None;
            // What the store refused is not sent again for the clock's sake,
            // not even if it took the same once.
            if self.refused != Some(self.newest) {
                let only_times = self.known && self.is_clean();
                self.verifying = Some(if only_times { Verify::AskSink } else { Verify::Refresh });
                self.known = only_times;
            }
        }
        if !stopping && self.look_at.is_some_and(|at| now >= at) {
            self.look_at = None;
            if self.refused != Some(self.newest) && self.verifying.is_none() {
                self.verifying = Some(Verify::Look);
                self.known = false;
            }
        }
        if !self.has_work() {
            return if stopping { Step::Stop } else { Step::Wait(earlier(self.refresh_at, self.look_at)) };
        }
        if self.is_held(now) && !self.announcing {
            if stopping {
                // An unfinished first round is not the truth about the backends.
                return Step::Stop;
            }
            if self.known {
                return Step::Wait(self.held_until);
            }
        }
        match self.earliest() {
            Some(at) if now < at => Step::Wait(earlier(Some(at), self.stop_at)),
            _ if !self.known => Step::Read,
            _ if self.verifying == Some(Verify::AskSink) => Step::Refresh,
            _ => Step::Write,
        }
    }

    /// When the next try may be made; `None`: now.
    fn earliest(&self) -> Option<Instant> {
        let pause = self.pause.filter(|pause| pause.ordered || !self.expedite).map(|pause| pause.until);
        let pace = self.paced_until.filter(|_| !self.expedite);
        let earliest = later(pause, pace);
        let last_chance = self.deadline.and_then(|deadline| deadline.last_chance());
        earliest.map(|at| last_chance.map_or(at, |last_chance| at.min(last_chance)))
    }

    fn has_work(&self) -> bool {
        self.verifying.is_some() || (self.newest != self.settled && self.refused != Some(self.newest))
    }

    /// The desired state has changed.
    pub(super) fn changed(&mut self) {
        self.newest += 1;
    }

    /// Whether the desired state has ever changed.
    pub(super) fn has_begun(&self) -> bool {
        self.newest > 0
    }

    /// The newest status is to be shown, at most once in a write interval.
    pub(super) fn publish_soon(&mut self, now: Instant) {
        let paced = self.published_at.map_or(now, |published| published + self.write_interval);
        self.publish_at.get_or_insert(paced);
    }

    /// The newest status has been shown.
    pub(super) fn published(&mut self, now: Instant) {
        self.publish_at = None;
        self.published_at = Some(now);
    }

    /// Whether the newest revision was refused for good.
    fn is_refused(&self) -> bool {
        self.refused == Some(self.newest) && self.newest != self.settled
    }

    /// Whether everything is stored.
    pub(super) fn is_clean(&self) -> bool {
        self.settled == self.newest
    }

    /// Whether times count as changes in this comparison.
    pub(super) fn is_refreshing(&self) -> bool {
        matches!(self.verifying, Some(Verify::Refresh | Verify::AskSink))
    }

    /// A caller waits until everything that was reported is stored, and no
    /// longer than until `by`; [`Step::Answer`] has the answer. Skips pace and
    /// back-off once.
    pub(super) fn flush(&mut self, now: Instant, by: Instant) -> FlushId {
        let flush = self.flushes.push(self.newest, by);
        if !self.is_clean() {
            self.expedite = true;
            self.update_deadline(now);
        }
        flush
    }

    /// A flush whose wait is over.
    fn next_answer(&mut self, now: Instant) -> Option<(FlushId, FlushAnswer)> {
        let (settled, refused) = (self.settled, self.is_refused());
        let standby = self.leadership_state == LeadershipState::Standby;
        let answer = self.flushes.take(|flush| {
            if flush.revision <= settled {
                Some(FlushAnswer::Stored)
            } else if refused {
                Some(FlushAnswer::Refused)
            } else if standby {
                Some(FlushAnswer::Standby)
            } else {
                (now >= flush.by).then_some(FlushAnswer::TimedOut)
            }
        })?;
        self.update_deadline(now);
        Some(answer)
    }

    /// Takes the nearest deadline of all flushes and the shutdown.
    fn update_deadline(&mut self, now: Instant) {
        let by = earlier(self.flushes.next_by(), self.stop_at);
        if by != self.deadline.map(Deadline::at) {
            self.deadline = by.map(|at| Deadline::new(now, at));
        }
    }

    /// Nothing more will be reported: store what is there by this time, then
    /// end.
    pub(super) fn stop(&mut self, now: Instant, by: Instant) {
        if self.stop_at.is_none() {
            self.stop_at = Some(by);
            // A process that ends repairs nothing that others overwrote.
            self.verifying = None;
            self.expedite = true;
            self.update_deadline(now);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    fn plan_refresh(&mut self, now: Instant) {
        let is_wanted = self.has_begun() && !self.is_refreshing();
        if let Some(refresh) = self.refresh.as_mut().filter(|_| is_wanted) {
            self.refresh_at = Some(refresh.plan(self.refresh_at, now, self.leadership_state));
        }
    }

    /// A call of the sink begins, with the newest revision.
    pub(super) fn begin(&mut self, now: Instant, call: Call) {
        self.busy = Some(Busy {
            revision: self.newest,
            call,
            paced_until: self.paced_until,
            // One that comes while this is in flight is for the next try.
            expedited: std::mem::take(&mut self.expedite),
            last_chance: self.deadline.is_some_and(|deadline| deadline.is_near(now)),
        });
        self.pause = None;
        if call != Call::Read {
            self.paced_until = Some(now + self.write_interval);
        }
    }

    /// Whether a write is in flight.
    pub(super) fn is_writing(&self) -> bool {
        self.busy.is_some_and(|busy| busy.call == Call::Write)
    }

    /// How long is left until the end has to come.
    pub(super) fn time_to_stop(&self, now: Instant) -> Duration {
        self.stop_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// The read has ended well: it is known what is stored.
    pub(super) fn read_done(&mut self) {
        // The write that follows is the same try.
        self.expedite |= self.busy.take().is_some_and(|busy| busy.expedited);
        self.known = true;
        if self.verifying == Some(Verify::AskSink) {
            // A refresh has failed, and now it takes a read and a write.
            self.verifying = Some(Verify::Refresh);
        }
    }

    /// The refresh has ended well: it is known what is stored, with times that
    /// are up to date unless the sink has done nothing about them.
    pub(super) fn refresh_done(&mut self, outcome: Option<WriteOutcome>) {
        if let Some(busy) = self.busy.take() {
            self.expedite |= busy.expedited;
            if outcome != Some(WriteOutcome::Written) {
                self.paced_until = busy.paced_until;
            }
        }
        self.known = true;
        self.verifying = Some(if outcome.is_some() { Verify::Look } else { Verify::Refresh });
    }

    /// The newest revision turned out to be stored already.
    pub(super) fn verified(&mut self) {
        self.settle(self.newest);
    }

    /// The write has ended well: what it carried is stored.
    pub(super) fn write_done(&mut self) {
        if let Some(Busy { revision, .. }) = self.busy.take() {
            self.settle(revision);
        }
    }

    fn settle(&mut self, revision: Revision) {
        self.settled = revision;
        self.verifying = None;
        self.announcing = false;
        self.refused = None;
        if self.is_clean() {
            self.expedite = false;
        }
    }

    /// The read or write has failed, and the next try is to come after `pause`.
    pub(super) fn failed(&mut self, now: Instant, retry: Retry, pause: Duration) {
        let busy = self.busy.take();
        if retry.leaves_doubt() {
            self.known = false;
        }
        match retry {
            Retry::Refused => {
                self.refused = busy.map(|busy| busy.revision);
                self.verifying = None;
            }
            // Nothing was written, so the retry does not break the pace.
            Retry::Conflict | Retry::TooLarge => self.paced_until = None,
            Retry::After(_) | Retry::Transient | Retry::Unreachable | Retry::Blocked => {}
        }
        if let Some(deadline) = &mut self.deadline
            && busy.is_some_and(|busy| busy.last_chance)
        {
            deadline.spend();
        }
        self.pause = Some(Pause { until: now + pause, ordered: matches!(retry, Retry::After(_)) });
    }
}

fn later(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.max(b)
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
