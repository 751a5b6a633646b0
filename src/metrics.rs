//! Counters that the actor bumps and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // Each counter stands alone: no other memory hangs on it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
    pub(crate) conflicts: Counter,
    pub(crate) failures: Counter,
    pub(crate) mended: Counter,
    pub(crate) trimmed: Counter,
}

impl Metrics {
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            received: self.received.get(),
            written: self.written.get(),
            merged: self.merged.get(),
            equal: self.equal.get(),
            reads: self.reads.get(),
            attempts: self.attempts.get(),
            conflicts: self.conflicts.get(),
            failures: self.failures.get(),
            mended: self.mended.get(),
            trimmed: self.trimmed.get(),
        }
    }
}

/// What a reporter has done so far.
///
/// Every update received is accounted for once: it was the first of a write,
/// was merged into one, or said what was stored already. Once all is stored,
/// `received` is `written + merged + equal`, writes of a periodic refresh
/// aside, which carry no update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Updates taken from the mailbox.
    pub received: u64,
    /// Updates that were the first of a write that was stored.
    pub written: u64,
    /// Updates that went along with the first one.
    pub merged: u64,
    /// Updates that made no difference to what was stored.
    pub equal: u64,
    /// Reads tried.
    pub reads: u64,
    /// Writes tried.
    pub attempts: u64,
    /// Reads and writes that met a conflict.
    pub conflicts: u64,
    /// Reads and writes that failed otherwise.
    pub failures: u64,
    /// Faults of reported statuses that were mended.
    pub mended: u64,
    /// Writes that had to leave out backends for size.
    pub trimmed: u64,
}
