//! Who leads and what to ask next: a pure state machine. It is told what was
//! answered and when; it never looks at a clock, never waits and sends nothing,
//! so that the promise of one leader can be tested without a runtime.
//!
//! The rules are those of Kubernetes' own components. Clocks of others are
//! never looked at: a lease has run out when *we* have seen it unchanged for as
//! long as it says it is held. It is taken with a write that the server refuses
//! if somebody else was first. A leader stops earlier than others may take
//! over, by its own clock, counted from before it *sent* what it last wrote.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::record::{LONGEST, Lease, SHORTEST};

/// How soon to look whether the rights are there by now.
const WITHOUT_RIGHTS: Duration = Duration::from_secs(60);
/// Tries of a hand-over in one usual pause between looks: there is little time.
const HURRY: u32 = 10;

/// The times of an election, all of them parts of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElectionTiming {
    /// Others wait this long before they take over.
    pub(super) duration: Duration,
    /// A leader leads for this long after a renewal.
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

/// What to do.
#[derive(Debug)]
pub(super) enum ElectionStep {
    /// Nothing before this.
    Wait(Instant),
    /// Send this and tell the answer.
    Ask(Ask),
    /// Nothing any more: the lease is not ours.
    Done,
}

#[derive(Debug)]
pub(super) enum Ask {
    Get,
    Create(Lease),
    /// Refused unless the lease is as it was seen.
    Update(Lease),
}

/// What came back.
#[derive(Debug)]
pub(super) enum LeaseAnswer {
    /// The lease as it is now.
    Lease(Lease),
    Missing,
    /// Somebody else was first.
    Conflict,
    /// The right is missing, or Leases are not served.
    Forbidden,
    /// Whether something was written is not known.
    Failed,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeadershipChange<'a> {
    /// Whoever likes: there can be no election.
    Alone,
    Undecided,
    /// We do, until then.
    Leading(Instant),
    /// The one of this name.
    Standby(&'a str),
}

/// What is known about the lease as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseKnowledge {
    Nothing,
    Missing,
    /// It is as it was seen last.
    Observed,
}

#[derive(Debug)]
struct ObservedLease {
    lease: Lease,
    /// When we first saw it say what it says.
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    verb: Verb,
    /// Before it was sent.
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
    /// The end of our term.
    leads_until: Option<Instant>,
    /// A write of ours may have been done, or be done yet.
    in_doubt: bool,
    conflicts: u32,
    /// Verbs that have worked once, and so are not missing from the role.
    granted: Vec<Verb>,
    alone: bool,
    leaving: bool,
}

impl LeaderElector {
    /// For the lease of this name, with an identity that nobody else has.
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
            alone: false,
            leaving: false,
        }
    }

    /// Who writes at `now`.
    pub(super) fn verdict(&self, now: Instant) -> LeadershipChange<'_> {
        if self.alone {
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

    /// Whether the lease is ours as far as is known.
    pub(super) fn holds(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.lease.holder() == self.identity)
    }

    /// Whether there may be something to hand over.
    pub(super) fn may_hold(&self) -> bool {
        self.holds() || self.in_doubt
    }

    /// Until when somebody else holds the lease.
    fn theirs_until(&self) -> Option<Instant> {
        let seen = self.seen.as_ref()?;
        let theirs = !seen.lease.holder().is_empty() && seen.lease.holder() != self.identity;
        theirs.then(|| seen.since + seen.lease.duration(self.timing.duration))
    }

    /// What to do at `now`. What is asked has to be answered before the next
    /// call.
    pub(super) fn next(&mut self, now: Instant, clock: DateTime<Utc>) -> ElectionStep {
        if self.leaving && !self.may_hold() {
            return ElectionStep::Done;
        }
        if now < self.next_at {
            return ElectionStep::Wait(self.news_at(now).map_or(self.next_at, |news| news.min(self.next_at)));
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

    /// When the verdict changes by itself.
    fn news_at(&self, now: Instant) -> Option<Instant> {
        [self.leads_until, self.theirs_until()].into_iter().flatten().filter(|at| now < *at).min()
    }

    /// What was asked was answered, at `now`.
    pub(super) fn answered(&mut self, now: Instant, answer: LeaseAnswer) {
        let Some(asked) = self.asked.take() else { return };
        let allowed = matches!(answer, LeaseAnswer::Lease(_))
            || (asked.verb == Verb::Get && matches!(answer, LeaseAnswer::Missing));
        if allowed && !self.granted.contains(&asked.verb) {
            self.granted.push(asked.verb);
        }
        match answer {
            LeaseAnswer::Lease(lease) => self.saw(now, asked, lease),
            // Not there at all, or the kind is not served.
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
            self.alone = false;
            self.next_at = (now + (self.jitter)(self.timing.retry_period)).min(until);
        } else if asked.verb == Verb::Get {
            self.known = LeaseKnowledge::Observed;
            self.next_at = now;
        } else if self.holds() {
            self.known = LeaseKnowledge::Observed;
            self.alone = false;
            self.conflicts = 0;
            self.leads_until = Some(asked.at + self.timing.renew_deadline).filter(|_| !self.leaving);
            self.next_at = asked.at + (self.jitter)(self.timing.renew_interval);
        } else {
            // Written, and yet not ours: somebody on the way has changed it.
            self.known = LeaseKnowledge::Nothing;
            self.next_at = self.soon(now, asked);
        }
        if self.leaving {
            self.next_at = now;
        }
    }

    /// There is no lease. Somebody may have deleted it under its holder, who
    /// leads until its time is over.
    fn missed(&mut self, now: Instant) {
        self.known = LeaseKnowledge::Missing;
        self.in_doubt = false;
        self.next_at = self.theirs_until().map_or(now, |until| until.max(now));
        if self.leaving {
            self.seen = None;
        }
    }

    fn refused(&mut self, now: Instant, asked: Asked) {
        if self.granted.contains(&asked.verb) {
            // It is a fault, not a role that lacks the verb.
            return self.failed(now, asked);
        }
        self.known = LeaseKnowledge::Nothing;
        self.alone = true;
        self.leads_until = None;
        self.next_at = now + (self.jitter)(WITHOUT_RIGHTS);
        if self.leaving {
            self.seen = None;
            self.in_doubt = false;
        }
    }

    fn failed(&mut self, now: Instant, asked: Asked) {
        self.known = LeaseKnowledge::Nothing;
        self.in_doubt |= asked.verb != Verb::Get;
        self.next_at = if self.alone { now + (self.jitter)(WITHOUT_RIGHTS) } else { self.soon(now, asked) };
    }

    fn soon(&self, now: Instant, asked: Asked) -> Instant {
        let pause = if self.leaving { self.timing.retry_period / HURRY } else { self.timing.retry_period };
        (asked.at + (self.jitter)(pause)).max(now)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Hands the lease over, if it is ours, and stands no more.
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
