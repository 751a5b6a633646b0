//! How often to log a fault that lasts (law 10).

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);

/// Allows the first log line at once, and further ones at growing gaps.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    next: Instant,
    gap: Duration,
}

impl LogThrottle {
    pub(crate) fn from(now: Instant) -> Self {
        LogThrottle { next: now, gap: FIRST }
    }

    /// Whether a line is due. If so, the next one is due after the next gap.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.gap;
            self.gap = (self.gap * 2).min(LONGEST);
        }
        due
    }
}
