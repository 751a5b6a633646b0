//! How often the store is compared though nothing changed.

use std::time::Duration;

use tokio::time::Instant;

use crate::leadership::LeadershipState;

/// The periodic refresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refresh {
    interval: Duration,
    /// The interval while no election is held.
    without_election: Duration,
    jitter: fn(Duration) -> Duration,
    /// The interval by which the next one was planned.
    planned_by: Duration,
}

impl Refresh {
    pub(super) fn new(interval: Duration, jitter: fn(Duration) -> Duration) -> Self {
        Refresh { interval, without_election: interval, jitter, planned_by: interval }
    }

    pub(super) fn without_election(self, interval: Duration) -> Self {
        Refresh { without_election: interval.min(self.interval), ..self }
    }

    /// Returns when the next one is due, given what was planned before.
    ///
    /// An election that was given up takes the sign of life with it, and so brings
    /// forward what was planned.
    pub(super) fn plan(&mut self, planned: Option<Instant>, now: Instant, state: LeadershipState) -> Instant {
        let interval = if state == LeadershipState::Alone { self.without_election } else { self.interval };
        match planned {
            Some(at) if interval >= self.planned_by => at,
            _ => {
                self.planned_by = interval;
                let due = now + (self.jitter)(interval);
                planned.map_or(due, |at| at.min(due))
            }
        }
    }
}
