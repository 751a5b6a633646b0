//! How often a lasting fault is worth a line in the log (law 10).

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// The first time at once, then at growing gaps.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    next: Instant,
    gap: Duration,
}

impl LogThrottle {
    pub(crate) fn from(now: Instant) -> Self {
        LogThrottle { next: now, gap: FIRST }
    }

    /// Whether a line is due. If so, it is taken as written.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.gap;
            self.gap = (self.gap * 2).min(LONGEST);
        }
        due
    }
}
