//! Which replica leads and what to ask next: a pure state machine. It takes answers and
//! their times; it never looks at a clock, never waits and sends nothing, so that tests
//! check the promise of one leader without a runtime.
//!
//! The rules are those of Kubernetes' own components. The elector never trusts the
//! clocks of other replicas: a lease has run out when *we* have seen it unchanged for
//! its whole duration. A replica takes it with a write that the server refuses if
//! another replica was first. A leader stops earlier than others may take over, by its
//! own clock, counted from before it *sent* its last write.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::record::{LONGEST, Lease, SHORTEST};
use crate::kubernetes::api::RefusalStreak;

/// How soon to check for the rights again once they are found missing.
const RIGHTS_SOON: Duration = Duration::from_secs(5);
/// The gaps between these checks double up to this.
const RIGHTS_LATER: Duration = Duration::from_secs(60);
/// Attempts to release the lease in one `retry_period`, because the shutdown grace is
/// short.
const RELEASE_ATTEMPTS: u32 = 10;

/// The times of an election, all derived from the lease duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElectionTiming {
    /// Others wait this long before they take over.
    pub(super) duration: Duration,
    /// A leader leads for this long after it sent a renewal.
    pub(super) renew_deadline: Duration,
    /// A leader renews this often.
    pub(super) renew_interval: Duration,
    /// Others look this often; so does a leader whose renewal failed.
    pub(super) retry_period: Duration,
    /// A request that takes longer has failed.
    pub(super) request: Duration,
}

impl ElectionTiming {
    pub(super) fn of(duration: Duration) -> Self {
        let duration = duration.clamp(SHORTEST, LONGEST);
        ElectionTiming {
            duration,
            renew_deadline: duration * 2 / 3,
            renew_interval: duration / 5,
            retry_period: duration * 2 / 15,
            request: duration / 3,
        }
    }
}

/// The next step of the driver.
#[derive(Debug)]
pub(super) enum ElectionStep {
    /// Wait until this time.
    Wait(Instant),
    /// Send this request and pass the answer to [`LeaderElector::answered`].
    Ask(Ask),
    /// Stop: this replica does not hold the lease.
    Done,
}

#[derive(Debug)]
pub(super) enum Ask {
    Get,
    Create(Lease),
    /// The server refuses it unless the lease is unchanged since this replica saw it.
    Update(Lease),
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum LeaseAnswer {
    /// The lease as it is now.
    Lease(Lease),
    Missing,
    /// Another replica was first.
    Conflict,
    /// The right is missing, or the server does not serve Leases.
    Forbidden,
    /// The request failed, and may have written or not.
    Failed,
}

/// Which replica writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeadershipChange<'a> {
    /// Every replica writes, because no election is possible.
    Alone,
    Undecided,
    /// This replica writes, until this time.
    Leading(Instant),
    /// The replica of this identity writes.
    Standby(&'a str),
}

/// What is known about the current state of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseKnowledge {
    Nothing,
    Missing,
    /// The lease is as it was seen last.
    Observed,
}

#[derive(Debug)]
struct ObservedLease {
    lease: Lease,
    /// When this replica first saw this record.
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    verb: Verb,
    /// The time before the request was sent.
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Create,
    Update,
}

#[derive(Debug)]
pub(super) struct LeaderElector {
    name: String,
    identity: String,
    timing: ElectionTiming,
    jitter: fn(Duration) -> Duration,
    known: LeaseKnowledge,
    seen: Option<ObservedLease>,
    asked: Option<Asked>,
    next_at: Instant,
    /// The end of this replica's term.
    leads_until: Option<Instant>,
    /// A write of this replica may have taken effect, or may still do so.
    in_doubt: bool,
    conflicts: u32,
    /// Verbs that have worked once, so the role has them.
    granted: Vec<Verb>,
    /// Refusals of each verb in a row, in the order of [`Verb`].
    refusals: [RefusalStreak; 3],
    /// How often this replica has been refused since it is alone; none while there is
    /// an election.
    alone: Option<u32>,
    leaving: bool,
}

impl LeaderElector {
    /// Makes an elector for the lease of this name, with a unique identity.
    pub(super) fn new(
        name: String,
        identity: String,
        timing: ElectionTiming,
        jitter: fn(Duration) -> Duration,
        now: Instant,
    ) -> Self {
        LeaderElector {
            name,
            identity,
            timing,
            jitter,
            known: LeaseKnowledge::Nothing,
            seen: None,
            asked: None,
            next_at: now,
            leads_until: None,
            in_doubt: false,
            conflicts: 0,
            granted: Vec::new(),
            refusals: Default::default(),
            alone: None,
            leaving: false,
        }
    }

    /// Returns which replica writes at `now`.
    pub(super) fn leadership(&self, now: Instant) -> LeadershipChange<'_> {
        if self.alone.is_some() {
            return LeadershipChange::Alone;
        }
        if let Some(until) = self.leads_until.filter(|until| now < *until) {
            return LeadershipChange::Leading(until);
        }
        match &self.seen {
            Some(seen) if self.theirs_until().is_some_and(|until| now < until) => {
                LeadershipChange::Standby(seen.lease.holder())
            }
            _ => LeadershipChange::Undecided,
        }
    }

    /// Whether the server refuses a right, and may do so only because it has just
    /// started.
    pub(super) fn is_refused_for_now(&self) -> bool {
        self.refusals.iter().any(RefusalStreak::may_pass)
    }

    /// Whether this replica holds the lease, as far as is known.
    pub(super) fn holds(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.lease.holder() == self.identity)
    }

    /// Whether this replica may hold a lease that it has to release.
    pub(super) fn may_hold(&self) -> bool {
        self.holds() || self.in_doubt
    }

    /// Until when another replica holds the lease.
    fn theirs_until(&self) -> Option<Instant> {
        let seen = self.seen.as_ref()?;
        let theirs = !seen.lease.holder().is_empty() && seen.lease.holder() != self.identity;
        theirs.then(|| seen.since + seen.lease.duration(self.timing.duration))
    }

    /// Returns the next step at `now`. A request has to be answered before the next
    /// call.
    pub(super) fn next(&mut self, now: Instant, clock: DateTime<Utc>) -> ElectionStep {
        if self.leaving && !self.may_hold() {
            return ElectionStep::Done;
        }
        if now < self.next_at {
            return ElectionStep::Wait(self.next_change(now).map_or(self.next_at, |change| change.min(self.next_at)));
        }
        let (verb, ask) = match (self.known, &self.seen) {
            (LeaseKnowledge::Observed, Some(seen)) => (Verb::Update, Ask::Update(self.next_record(&seen.lease, clock))),
            (LeaseKnowledge::Missing, _) => {
                (Verb::Create, Ask::Create(self.next_record(&Lease::named(&self.name), clock)))
            }
            _ => (Verb::Get, Ask::Get),
        };
        self.asked = Some(Asked { verb, at: now });
        ElectionStep::Ask(ask)
    }

    fn next_record(&self, lease: &Lease, clock: DateTime<Utc>) -> Lease {
        if self.leaving { lease.released(clock) } else { lease.held_by(&self.identity, self.timing.duration, clock) }
    }

    /// When the leadership changes without a request.
    fn next_change(&self, now: Instant) -> Option<Instant> {
        [self.leads_until, self.theirs_until()].into_iter().flatten().filter(|at| now < *at).min()
    }

    /// Takes the answer to the last request, received at `now`.
    pub(super) fn answered(&mut self, now: Instant, answer: LeaseAnswer) {
        let Some(asked) = self.asked.take() else { return };
        let allowed = matches!(answer, LeaseAnswer::Lease(_))
            || (asked.verb == Verb::Get && matches!(answer, LeaseAnswer::Missing));
        if allowed && !self.granted.contains(&asked.verb) {
            self.granted.push(asked.verb);
        }
        // A conflict comes after the rights were checked.
        if allowed || matches!(answer, LeaseAnswer::Conflict) {
            self.refusals[asked.verb as usize].allowed();
        }
        match answer {
            LeaseAnswer::Lease(lease) => self.saw(now, asked, lease),
            // The namespace does not exist, or the server does not serve Leases.
            LeaseAnswer::Missing if asked.verb == Verb::Create => self.refused(now, asked),
            LeaseAnswer::Missing => self.missed(now),
            LeaseAnswer::Conflict => {
                self.in_doubt = false;
                self.known = LeaseKnowledge::Nothing;
                self.conflicts += 1;
                // Retry the first conflict immediately; back off if conflicts repeat.
                self.next_at = if self.conflicts == 1 { now } else { self.soon(now, asked) };
            }
            LeaseAnswer::Forbidden => self.refused(now, asked),
            LeaseAnswer::Failed => self.failed(now, asked),
        }
    }

    fn saw(&mut self, now: Instant, asked: Asked, lease: Lease) {
        let since = match &self.seen {
            Some(seen) if seen.lease.says_the_same_as(&lease) => seen.since,
            _ => now,
        };
        self.seen = Some(ObservedLease { lease, since });
        self.in_doubt = false;
        let theirs_until = self.theirs_until().filter(|until| now < *until);
        if let Some(until) = theirs_until {
            self.known = LeaseKnowledge::Nothing;
            self.leads_until = None;
            self.conflicts = 0;
            self.alone = None;
            self.next_at = (now + (self.jitter)(self.timing.retry_period)).min(until);
        } else if asked.verb == Verb::Get {
            self.known = LeaseKnowledge::Observed;
            self.next_at = now;
        } else if self.holds() {
            self.known = LeaseKnowledge::Observed;
            self.alone = None;
            self.conflicts = 0;
            self.leads_until = Some(asked.at + self.timing.renew_deadline).filter(|_| !self.leaving);
            self.next_at = asked.at + (self.jitter)(self.timing.renew_interval);
        } else {
            // The write succeeded, and yet another holder stands in the answer: an
            // admission webhook has changed it.
            self.known = LeaseKnowledge::Nothing;
            self.next_at = self.soon(now, asked);
        }
        if self.leaving {
            self.next_at = now;
        }
    }

    /// The lease does not exist. If it was deleted under its holder, the holder leads
    /// until its term is over.
    fn missed(&mut self, now: Instant) {
        self.known = LeaseKnowledge::Missing;
        self.in_doubt = false;
        self.next_at = self.theirs_until().map_or(now, |until| until.max(now));
        if self.leaving {
            self.seen = None;
        }
    }

    fn refused(&mut self, now: Instant, asked: Asked) {
        let lasts = self.refusals[asked.verb as usize].refused(now);
        if self.granted.contains(&asked.verb) {
            // The verb worked before, so this is a fault and not a missing right.
            return self.failed(now, asked);
        }
        self.known = LeaseKnowledge::Nothing;
        if lasts || self.alone.is_some() {
            let refusals = self.alone.map_or(0, |before| before + 1);
            self.alone = Some(refusals);
            self.leads_until = None;
        }
        self.next_at = self.look_again(now, asked);
        if self.leaving {
            self.seen = None;
            self.in_doubt = false;
        }
    }

    fn failed(&mut self, now: Instant, asked: Asked) {
        self.known = LeaseKnowledge::Nothing;
        self.in_doubt |= asked.verb != Verb::Get;
        self.next_at = self.look_again(now, asked);
    }

    fn look_again(&self, now: Instant, asked: Asked) -> Instant {
        let Some(refusals) = self.alone else { return self.soon(now, asked) };
        let gap = RIGHTS_SOON * 2_u32.saturating_pow(refusals.min(8));
        now + (self.jitter)(gap.min(RIGHTS_LATER))
    }

    fn soon(&self, now: Instant, asked: Asked) -> Instant {
        let pause = if self.leaving { self.timing.retry_period / RELEASE_ATTEMPTS } else { self.timing.retry_period };
        (asked.at + (self.jitter)(pause)).max(now)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Releases the lease, if this replica holds it, and leaves the election.
    pub(super) fn leave(&mut self, now: Instant) {
        if !self.leaving {
            self.leaving = true;
            self.leads_until = None;
            self.next_at = now;
            self.conflicts = 0;
            if self.known == LeaseKnowledge::Missing {
                self.seen = None;
            }
        }
    }
}
