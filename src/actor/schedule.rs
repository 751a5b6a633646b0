//! What to do now: a pure state machine. It is told what happened and when; it
//! never looks at a clock, never waits and touches no store, so that every
//! rule of pace, retry and shutdown can be tested without a runtime.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Retry;
use crate::leadership::LeadershipState;

/// Counts changes of the desired state. What is stored at one revision contains all
/// revisions before it.
pub(super) type Revision = u64;

/// The last try before a deadline is made this part of the grace before it, so
/// that it has time to succeed.
const LAST_CHANCE_PART: u32 = 4;
const LAST_CHANCE_MAX: Duration = Duration::from_secs(1);

/// What the loop shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Find out what is stored.
    Read,
    /// Compare the desired state with what is stored; where they differ, write.
    Write,
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
    /// When to compare with the store though nothing changed.
    refresh_at: Option<Instant>,
    /// When to read again what a write has left behind, though nothing changed.
    look_at: Option<Instant>,
    /// The store is compared though nothing changed.
    verifying: Option<Verify>,
    /// Nothing is written before this time, the first round of checks not being
    /// done.
    held_until: Option<Instant>,
    /// One write is let through all the same: it says that the process starts.
    announcing: bool,
    /// A flush or shutdown has asked to skip pace and back-off, once.
    expedite: bool,
    /// The nearest time by which somebody wants everything stored, and the last
    /// chance before it.
    deadline: Option<Deadline>,
    stop_at: Option<Instant>,
    leadership_state: LeadershipState,
}

/// Why the store is compared though nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    /// To see whether a write has stayed.
    Look,
    /// To bring times up to date too.
    Refresh,
}

#[derive(Clone, Copy, Debug)]
struct Busy {
    /// What it carries.
    revision: Revision,
    writes: bool,
    /// It uses up a hurry.
    expedited: bool,
    /// It began as the last chance before the deadline.
    last_chance: bool,
}

/// Why not to try before a certain time.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// The store asked for it: a hurry does not cut it short.
    ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline {
    at: Instant,
    last_chance: Instant,
    /// The last chance has been taken.
    spent: bool,
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
            refresh_at: None,
            look_at: None,
            verifying: None,
            held_until: None,
            announcing: false,
            expedite: false,
            deadline: None,
            stop_at: None,
            leadership_state: LeadershipState::default(),
        }
    }

    /// Holds writes back until [`release`](Self::release), and no longer than
    /// until this time.
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
    pub(super) fn is_held(&self, now: Instant) -> bool {
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
            // Whoever led before has written what it saw.
            self.known = false;
            self.pause = None;
            self.verifying = (!self.is_stopping()).then_some(Verify::Refresh);
        }
    }

    /// What to do at `now`.
    pub(super) fn decide(&mut self, now: Instant) -> Step {
        if self.stop_at.is_some_and(|at| now >= at) {
            return Step::Stop;
        }
        if self.busy.is_some() {
            return Step::Wait(self.stop_at);
        }
        let stopping = self.stop_at.is_some();
        if !self.leadership_state.may_write() {
            // The one that leads stores what it sees itself. Until it is decided
            // who that is, only what is to be stored is worth a wait.
            let is_withheld = self.is_held(now) && !self.announcing;
            let nothing_to_store = self.leadership_state == LeadershipState::Standby || !self.has_work() || is_withheld;
            return if stopping && nothing_to_store { Step::Stop } else { Step::Wait(self.stop_at) };
        }
        if !stopping && self.refresh_at.is_some_and(|at| now >= at) {
            self.refresh_at = None;
            // What the store refused is not sent again for the clock's sake,
            // not even if it took the same once.
            if self.refused != Some(self.newest) {
                self.verifying = Some(Verify::Refresh);
                self.known = false;
            }
        }
        if !stopping && self.look_at.is_some_and(|at| now >= at) {
            self.look_at = None;
            if self.refused != Some(self.newest) {
                self.verifying = self.verifying.or(Some(Verify::Look));
                self.known = false;
            }
        }
        if !self.has_work() {
            return if stopping { Step::Stop } else { Step::Wait(earlier(self.refresh_at, self.look_at)) };
        }
        if self.is_held(now) && !self.announcing {
            if stopping {
                // What it began to find out nobody may take for the truth.
                return Step::Stop;
            }
            if self.known {
                return Step::Wait(self.held_until);
            }
        }
        match self.earliest() {
            Some(at) if now < at => Step::Wait(earlier(Some(at), self.stop_at)),
            _ if self.known => Step::Write,
            _ => Step::Read,
        }
    }

    /// When the next try may be made; `None`: now.
    fn earliest(&self) -> Option<Instant> {
        let pause = self.pause.filter(|pause| pause.ordered || !self.expedite).map(|pause| pause.until);
        let pace = self.paced_until.filter(|_| !self.expedite);
        let earliest = later(pause, pace);
        match self.deadline {
            Some(deadline) if !deadline.spent => earliest.map(|at| at.min(deadline.last_chance)),
            _ => earliest,
        }
    }

    fn has_work(&self) -> bool {
        self.verifying.is_some() || (self.newest != self.settled && self.refused != Some(self.newest))
    }

    /// The desired state has changed.
    pub(super) fn changed(&mut self) {
        self.newest += 1;
    }

    pub(super) fn newest(&self) -> Revision {
        self.newest
    }

    /// Whether everything up to this revision is stored.
    pub(super) fn is_settled(&self, revision: Revision) -> bool {
        self.settled >= revision
    }

    /// Whether the newest revision was refused for good.
    pub(super) fn is_refused(&self) -> bool {
        self.refused == Some(self.newest) && self.newest != self.settled
    }

    /// Whether everything is stored.
    pub(super) fn is_clean(&self) -> bool {
        self.settled == self.newest
    }

    /// Whether times count as changes in this comparison.
    pub(super) fn is_refreshing(&self) -> bool {
        self.verifying == Some(Verify::Refresh)
    }

    /// Somebody wants everything stored by this time: skips pace and back-off
    /// once.
    pub(super) fn expedite(&mut self, now: Instant, by: Instant) {
        self.expedite = true;
        self.set_deadline(now, Some(by));
    }

    /// The nearest deadline has changed.
    pub(super) fn set_deadline(&mut self, now: Instant, by: Option<Instant>) {
        let by = earlier(by, self.stop_at);
        if by != self.deadline.map(|deadline| deadline.at) {
            self.deadline = by.map(|at| {
                let left = at.saturating_duration_since(now);
                let last_chance = at - (left / LAST_CHANCE_PART).min(LAST_CHANCE_MAX);
                Deadline { at, last_chance, spent: false }
            });
        }
    }

    /// Nothing more will be reported: store what is there by this time, then
    /// end.
    pub(super) fn stop(&mut self, now: Instant, by: Instant) {
        if self.stop_at.is_none() {
            self.stop_at = Some(by);
            // What somebody else overwrote is no longer our business.
            self.verifying = None;
            self.expedite(now, by);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// A refresh is due at this time.
    pub(super) fn refresh_at(&mut self, at: Instant) {
        self.refresh_at = Some(at);
    }

    pub(super) fn has_refresh(&self) -> bool {
        self.refresh_at.is_some() || self.is_refreshing()
    }

    /// A read or a write of the newest revision begins.
    pub(super) fn begin(&mut self, now: Instant, writes: bool) {
        self.busy = Some(Busy {
            revision: self.newest,
            writes,
            // One that comes while this is in flight is for the next try.
            expedited: std::mem::take(&mut self.expedite),
            last_chance: self.deadline.is_some_and(|deadline| now >= deadline.last_chance),
        });
        self.pause = None;
        if writes {
            self.paced_until = Some(now + self.write_interval);
        }
    }

    /// Whether a write is in flight.
    pub(super) fn is_writing(&self) -> bool {
        self.busy.is_some_and(|busy| busy.writes)
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
            // Nothing was written: the pace has nothing to say about the retry.
            Retry::Conflict | Retry::TooLarge => self.paced_until = None,
            Retry::After(_) | Retry::Transient | Retry::Blocked => {}
        }
        if let Some(deadline) = &mut self.deadline
            && busy.is_some_and(|busy| busy.last_chance)
        {
            deadline.spent = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A schedule whose picture and store agree, with its first write at `t0`.
    fn settled() -> (Schedule, Instant) {
        let t0 = Instant::now();
        let mut schedule = Schedule::new(INTERVAL);
        schedule.changed();
        assert_eq!(schedule.decide(t0), Step::Read);
        schedule.begin(t0, false);
        schedule.read_done();
        write(&mut schedule, t0);
        (schedule, t0)
    }

    fn write(schedule: &mut Schedule, now: Instant) {
        assert_eq!(schedule.decide(now), Step::Write);
        schedule.begin(now, true);
        schedule.write_done();
    }

    fn fail(schedule: &mut Schedule, now: Instant, retry: Retry, pause: Duration) {
        let step = schedule.decide(now);
        assert!(matches!(step, Step::Read | Step::Write), "{step:?}");
        schedule.begin(now, step == Step::Write);
        schedule.failed(now, retry, pause);
    }

    #[test]
    fn nothing_to_say_waits_for_ever() {
        let mut fresh = Schedule::new(INTERVAL);
        assert_eq!(fresh.decide(Instant::now()), Step::Wait(None));
        let (mut schedule, t0) = settled();
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(None));
    }

    #[test]
    fn first_change_after_a_quiet_time_is_written_at_once_and_the_next_waits_for_the_interval() {
        let (mut schedule, t0) = settled();
        let quiet = t0 + INTERVAL * 5;
        schedule.changed();
        write(&mut schedule, quiet);
        schedule.changed();
        assert_eq!(schedule.decide(quiet + ms(1)), Step::Wait(Some(quiet + INTERVAL)));
        assert_eq!(schedule.decide(quiet + INTERVAL), Step::Write);
    }

    #[test]
    fn write_in_flight_waits_without_a_timer() {
        let (mut schedule, t0) = settled();
        schedule.changed();
        let later = t0 + INTERVAL;
        schedule.begin(later, true);
        schedule.changed();
        assert_eq!(schedule.decide(later + INTERVAL), Step::Wait(None));
        schedule.write_done();
        assert!(!schedule.is_clean(), "what came during the write is still to be written");
    }

    #[test]
    fn conflict_reads_again_after_its_pause_whatever_the_pace() {
        let (mut schedule, t0) = settled();
        let now = t0 + INTERVAL;
        schedule.changed();
        fail(&mut schedule, now, Retry::Conflict, ms(20));
        assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(20))));
        assert_eq!(schedule.decide(now + ms(20)), Step::Read);
        schedule.begin(now + ms(20), false);
        schedule.read_done();
        assert_eq!(schedule.decide(now + ms(20)), Step::Write);
    }

    #[test]
    fn passing_fault_reads_again_after_back_off_and_pace() {
        let (mut schedule, t0) = settled();
        let now = t0 + INTERVAL;
        schedule.changed();
        fail(&mut schedule, now, Retry::Transient, ms(300));
        assert_eq!(schedule.decide(now), Step::Wait(Some(now + INTERVAL)));
        assert_eq!(schedule.decide(now + INTERVAL), Step::Read, "it is in doubt what is stored");
    }

    #[test]
    fn refused_content_is_not_repeated_until_it_changes() {
        let (mut schedule, t0) = settled();
        let now = t0 + INTERVAL;
        schedule.changed();
        fail(&mut schedule, now, Retry::Refused, Duration::ZERO);
        schedule.refresh_at(now + INTERVAL);
        assert!(schedule.is_refused());
        assert_eq!(schedule.decide(now + INTERVAL * 9), Step::Wait(None));
        schedule.changed();
        assert_eq!(schedule.decide(now + INTERVAL * 9), Step::Write);
    }

    #[test]
    fn content_that_a_refresh_finds_refused_is_not_repeated_by_the_next() {
        let (mut schedule, t0) = settled();
        schedule.refresh_at(t0 + INTERVAL);
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Read);
        schedule.begin(t0 + INTERVAL, false);
        schedule.read_done();
        fail(&mut schedule, t0 + INTERVAL, Retry::Refused, Duration::ZERO);
        schedule.refresh_at(t0 + INTERVAL * 2);
        assert_eq!(schedule.decide(t0 + INTERVAL * 2), Step::Wait(None));
        schedule.changed();
        assert_eq!(schedule.decide(t0 + INTERVAL * 2), Step::Write);
    }

    #[test]
    fn refresh_reads_and_compares_though_nothing_changed() {
        let (mut schedule, t0) = settled();
        let due = t0 + ms(30_000);
        schedule.refresh_at(due);
        assert_eq!(schedule.decide(t0), Step::Wait(Some(due)));
        assert_eq!(schedule.decide(due), Step::Read);
        schedule.begin(due, false);
        schedule.read_done();
        assert!(schedule.is_refreshing());
        assert_eq!(schedule.decide(due), Step::Write);
        schedule.verified();
        assert_eq!(schedule.decide(due), Step::Wait(None));
    }

    #[test]
    fn hurry_skips_pace_and_back_off_once() {
        let (mut schedule, t0) = settled();
        let by = t0 + ms(5000);
        schedule.changed();
        schedule.expedite(t0, by);
        assert_eq!(schedule.decide(t0), Step::Write, "the pace is skipped");
        fail(&mut schedule, t0, Retry::Transient, ms(2000));
        assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + ms(2000))), "but only once");
        schedule.expedite(t0, by);
        assert_eq!(schedule.decide(t0), Step::Read, "the back-off is skipped");
    }

    #[test]
    fn hurry_during_a_write_is_not_used_up_by_that_write() {
        let (mut schedule, t0) = settled();
        let now = t0 + INTERVAL;
        schedule.changed();
        schedule.begin(now, true);
        schedule.expedite(now, now + ms(5000));
        schedule.failed(now, Retry::Transient, ms(2000));
        assert_eq!(schedule.decide(now), Step::Read);
    }

    #[test]
    fn hurry_during_a_hurried_write_is_for_the_next_try() {
        let (mut schedule, t0) = settled();
        let by = t0 + ms(5000);
        schedule.changed();
        schedule.expedite(t0, by);
        schedule.begin(t0, true);
        schedule.changed();
        schedule.expedite(t0, by);
        schedule.failed(t0, Retry::Transient, ms(2000));
        assert_eq!(schedule.decide(t0), Step::Read);
    }

    #[test]
    fn hurry_is_used_up_by_its_write_though_more_came_meanwhile() {
        let (mut schedule, t0) = settled();
        schedule.changed();
        schedule.expedite(t0, t0 + ms(5000));
        schedule.begin(t0, true);
        schedule.changed();
        schedule.write_done();
        schedule.set_deadline(t0, None);
        assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL)));
    }

    #[test]
    fn hurry_covers_the_read_and_its_write() {
        let (mut schedule, t0) = settled();
        schedule.changed();
        fail(&mut schedule, t0 + INTERVAL, Retry::Transient, ms(20));
        let now = t0 + INTERVAL + ms(10);
        schedule.expedite(now, now + ms(5000));
        assert_eq!(schedule.decide(now), Step::Read);
        schedule.begin(now, false);
        schedule.read_done();
        assert_eq!(schedule.decide(now), Step::Write, "the pace is skipped too");
    }

    #[test]
    fn pause_that_the_store_asked_for_is_kept_until_just_before_the_deadline() {
        let (mut schedule, t0) = settled();
        let now = t0 + INTERVAL;
        schedule.changed();
        fail(&mut schedule, now, Retry::After(ms(60_000)), ms(60_000));
        schedule.stop(now, now + ms(5000));
        assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(4000))));
        assert_eq!(schedule.decide(now + ms(4000)), Step::Write);
        fail(&mut schedule, now + ms(4000), Retry::After(ms(60_000)), ms(60_000));
        assert_eq!(schedule.decide(now + ms(4000)), Step::Wait(Some(now + ms(5000))), "it was the last chance");
        assert_eq!(schedule.decide(now + ms(5000)), Step::Stop);
    }

    #[test]
    fn stop_ends_at_once_when_all_is_stored_or_refused() {
        let (mut schedule, t0) = settled();
        schedule.stop(t0, t0 + ms(5000));
        assert_eq!(schedule.decide(t0), Step::Stop);

        let (mut schedule, t0) = settled();
        schedule.changed();
        fail(&mut schedule, t0 + INTERVAL, Retry::Refused, Duration::ZERO);
        schedule.stop(t0 + INTERVAL, t0 + ms(9000));
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Stop);
    }

    #[test]
    fn stop_during_a_hanging_write_ends_at_the_deadline() {
        let (mut schedule, t0) = settled();
        schedule.changed();
        let now = t0 + INTERVAL;
        schedule.begin(now, true);
        schedule.stop(now, now + ms(5000));
        assert_eq!(schedule.decide(now), Step::Wait(Some(now + ms(5000))));
        assert_eq!(schedule.decide(now + ms(5000)), Step::Stop);
    }

    /// A schedule that holds writes back for ten intervals, with one change.
    fn held() -> (Schedule, Instant) {
        let t0 = Instant::now();
        let mut schedule = Schedule::new(INTERVAL);
        schedule.hold(t0 + INTERVAL * 10);
        schedule.changed();
        assert_eq!(schedule.decide(t0), Step::Read, "what is stored is found out meanwhile");
        schedule.begin(t0, false);
        schedule.read_done();
        (schedule, t0)
    }

    #[test]
    fn hold_writes_nothing_until_it_is_released_or_over() {
        let (mut schedule, t0) = held();
        assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL * 10)));
        schedule.changed();
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(t0 + INTERVAL * 10)));
        assert!(schedule.release());
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Write);

        let (mut schedule, t0) = held();
        assert_eq!(schedule.decide(t0 + INTERVAL * 10), Step::Write);
    }

    #[test]
    fn hold_lets_one_announcement_through() {
        let (mut schedule, t0) = held();
        schedule.announce();
        write(&mut schedule, t0);
        schedule.changed();
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(t0 + INTERVAL * 10)));
    }

    #[test]
    fn hold_ends_at_once_when_told_to_stop() {
        let (mut schedule, t0) = held();
        schedule.stop(t0, t0 + INTERVAL);
        assert_eq!(schedule.decide(t0), Step::Stop);
        assert!(!schedule.is_clean(), "what was held back is not stored");
    }

    #[test]
    fn look_reads_and_compares_once() {
        let (mut schedule, t0) = settled();
        schedule.look_at(t0 + INTERVAL * 10);
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Wait(Some(t0 + INTERVAL * 10)));
        let now = t0 + INTERVAL * 10;
        assert_eq!(schedule.decide(now), Step::Read);
        schedule.begin(now, false);
        schedule.read_done();
        assert_eq!(schedule.decide(now), Step::Write);
        assert!(!schedule.is_refreshing(), "times are no difference");
        schedule.verified();
        assert_eq!(schedule.decide(now), Step::Wait(None));
    }

    #[test]
    fn standby_starts_nothing_and_ends_at_once_when_told_to() {
        let (mut schedule, t0) = settled();
        schedule.set_leadership_state(LeadershipState::Standby);
        schedule.refresh_at(t0);
        schedule.changed();
        assert_eq!(schedule.decide(t0 + INTERVAL * 9), Step::Wait(None));
        schedule.stop(t0, t0 + INTERVAL);
        assert_eq!(schedule.decide(t0), Step::Stop);
    }

    #[test]
    fn undecided_starts_nothing_and_ends_when_its_time_is_over() {
        let (mut schedule, t0) = settled();
        schedule.set_leadership_state(LeadershipState::Undecided);
        schedule.changed();
        schedule.stop(t0, t0 + INTERVAL);
        assert_eq!(schedule.decide(t0), Step::Wait(Some(t0 + INTERVAL)));
        assert_eq!(schedule.decide(t0 + INTERVAL), Step::Stop);
    }

    #[test]
    fn undecided_ends_at_once_where_nothing_is_to_be_stored() {
        let nothing_said = Schedule::new(INTERVAL);
        let (all_stored, _) = settled();
        let (mut refused, t0) = settled();
        refused.changed();
        fail(&mut refused, t0 + INTERVAL, Retry::Refused, INTERVAL);
        let mut held = Schedule::new(INTERVAL);
        held.hold(t0 + INTERVAL * 100);
        held.changed();
        for mut schedule in [nothing_said, all_stored, refused, held] {
            schedule.set_leadership_state(LeadershipState::Undecided);
            let now = t0 + INTERVAL * 2;
            schedule.stop(now, now + INTERVAL * 5);
            assert_eq!(schedule.decide(now), Step::Stop, "{schedule:?}");
        }
    }

    #[test]
    fn winner_reads_and_compares_though_nothing_changed_and_whatever_the_pause() {
        let (mut schedule, t0) = settled();
        schedule.changed();
        fail(&mut schedule, t0 + INTERVAL, Retry::Blocked, ms(60_000));
        schedule.set_leadership_state(LeadershipState::Standby);
        let now = t0 + INTERVAL * 2;
        schedule.set_leadership_state(LeadershipState::Leading);
        assert_eq!(schedule.decide(now), Step::Read);
        schedule.begin(now, false);
        schedule.read_done();
        assert!(schedule.is_refreshing());
        write(&mut schedule, now);
        assert_eq!(schedule.decide(now), Step::Wait(None));
    }
}
