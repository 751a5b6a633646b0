//! Counters that the actor keeps and handles read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::Retry;
use crate::sink::WriteOutcome;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// A reader that sees this addition also sees all earlier ones to other counters.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Release);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A time of day, in milliseconds; 0 while there is none.
#[derive(Debug, Default)]
pub(crate) struct Moment(AtomicI64);

impl Moment {
    pub(crate) fn set(&self, at: DateTime<Utc>) {
        self.0.store(at.timestamp_millis(), Ordering::Relaxed);
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn get(&self) -> Option<DateTime<Utc>> {
        let millis = self.0.load(Ordering::Relaxed);
        DateTime::from_timestamp_millis(millis).filter(|_| millis != 0)
    }
}

/// How long calls took, in buckets; empty without the feature `metrics`.
#[derive(Debug)]
#[cfg_attr(not(feature = "metrics"), derive(Default))]
pub(crate) struct Durations(#[cfg(feature = "metrics")] prometheus_client::metrics::histogram::Histogram);

/// Bounds in seconds, from a state file on a laptop to a server at its limit.
#[cfg(feature = "metrics")]
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[cfg(feature = "metrics")]
impl Default for Durations {
    fn default() -> Self {
        Durations(prometheus_client::metrics::histogram::Histogram::new(BUCKETS))
    }
}

impl Durations {
    #[cfg_attr(not(feature = "metrics"), allow(clippy::unused_self))]
    pub(crate) fn observe(&self, took: Duration) {
        #[cfg(feature = "metrics")]
        self.0.observe(took.as_secs_f64());
        #[cfg(not(feature = "metrics"))]
        let _ = took;
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn histogram(&self) -> &prometheus_client::metrics::histogram::Histogram {
        &self.0
    }
}

/// Writes by how they ended. The sum counts every write that was tried.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) stored: Counter,
    pub(crate) unchanged: Counter,
    pub(crate) conflict: Counter,
    pub(crate) throttled: Counter,
    pub(crate) transient: Counter,
    pub(crate) blocked: Counter,
    pub(crate) refused: Counter,
    pub(crate) too_large: Counter,
}

impl Results {
    /// Returns each count with its name.
    #[cfg(feature = "metrics")]
    pub(crate) fn by_name(&self) -> [(&'static str, u64); 8] {
        [
            ("stored", self.stored.get()),
            ("unchanged", self.unchanged.get()),
            ("conflict", self.conflict.get()),
            ("throttled", self.throttled.get()),
            ("transient", self.transient.get()),
            ("blocked", self.blocked.get()),
            ("refused", self.refused.get()),
            ("too_large", self.too_large.get()),
        ]
    }

    pub(crate) fn for_outcome(&self, outcome: WriteOutcome) -> &Counter {
        match outcome {
            WriteOutcome::Written => &self.stored,
            WriteOutcome::Unchanged => &self.unchanged,
        }
    }

    pub(crate) fn for_failure(&self, retry: Retry) -> &Counter {
        match retry {
            Retry::Conflict => &self.conflict,
            Retry::After(_) => &self.throttled,
            Retry::Transient | Retry::Unreachable => &self.transient,
            Retry::Blocked => &self.blocked,
            Retry::Refused => &self.refused,
            Retry::TooLarge => &self.too_large,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) received: Counter,
    pub(crate) written: Counter,
    pub(crate) merged: Counter,
    pub(crate) equal: Counter,
    pub(crate) reads: Counter,
    pub(crate) attempts: Counter,
    pub(crate) results: Results,
    pub(crate) saved: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) failures: Counter,
    pub(crate) repaired: Counter,
    pub(crate) truncated: Counter,
    pub(crate) write_seconds: Durations,
    pub(crate) stored_at: Moment,
}

impl Metrics {
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            // Read before `received`, so that a reader never sees more updates
            // accounted for than received.
            written: self.written.get(),
            merged: self.merged.get(),
            equal: self.equal.get(),
            received: self.received.get(),
            reads: self.reads.get(),
            attempts: self.attempts.get(),
            saved: self.saved.get(),
            conflicts: self.conflicts.get(),
            failures: self.failures.get(),
            repaired: self.repaired.get(),
            truncated: self.truncated.get(),
        }
    }

    /// Whether the reporter ever stored a status, or found it stored already.
    #[cfg(feature = "http")]
    pub(crate) fn has_stored(&self) -> bool {
        [&self.results.stored, &self.results.unchanged, &self.saved].into_iter().any(|counter| counter.get() > 0)
    }
}

/// What a reporter has done so far.
///
/// Every update received counts once more: as the first of a write, as merged into
/// one, or as equal to what was stored. Once all is stored, `received` is `written +
/// merged + equal`. A write of a periodic refresh carries no update and adds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Updates taken from the mailbox.
    pub received: u64,
    /// Updates that were the first of a write that was stored.
    pub written: u64,
    /// Updates merged into a write that another update had begun.
    pub merged: u64,
    /// Updates that made no difference to what was stored.
    pub equal: u64,
    /// Reads tried.
    pub reads: u64,
    /// Writes tried.
    pub attempts: u64,
    /// Writes that were due and not needed, because the store held the same.
    pub saved: u64,
    /// Reads and writes that met a conflict.
    pub conflicts: u64,
    /// Reads and writes that failed for another reason.
    pub failures: u64,
    /// Faults of reported statuses that were repaired.
    pub repaired: u64,
    /// Writes that left out backends because of the size limit.
    pub truncated: u64,
}
