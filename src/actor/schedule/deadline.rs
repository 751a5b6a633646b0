//! A time by which everything has to be stored, and the last try before it.

use std::time::Duration;

use tokio::time::Instant;

/// The last try comes this part of the time before the deadline, so that it has
/// time to succeed.
const LAST_CHANCE_PART: u32 = 4;
const LAST_CHANCE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    at: Instant,
    last_chance: Instant,
    /// The last try has failed.
    spent: bool,
}

impl Deadline {
    pub(super) fn new(now: Instant, at: Instant) -> Self {
        let left = at.saturating_duration_since(now);
        let last_chance = at - (left / LAST_CHANCE_PART).min(LAST_CHANCE_MAX);
        Deadline { at, last_chance, spent: false }
    }

    pub(super) fn at(self) -> Instant {
        self.at
    }

    /// When to try whatever the pace and the back-off say; `None` once that has
    /// failed.
    pub(super) fn last_chance(self) -> Option<Instant> {
        (!self.spent).then_some(self.last_chance)
    }

    /// Whether a try that begins now is the last one.
    pub(super) fn is_near(self, now: Instant) -> bool {
        now >= self.last_chance
    }

    /// The last try has failed.
    pub(super) fn spend(&mut self) {
        self.spent = true;
    }
}
