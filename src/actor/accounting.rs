//! Where every update goes: each one received is counted once more, as the
//! first of a write, as merged into one, or as saying nothing new.

use std::sync::Arc;

use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::sink::WriteOutcome;

#[derive(Debug)]
pub(super) struct UpdateAccounting {
    metrics: Arc<Metrics>,
    /// Taken since the last write began.
    waiting: Load,
    /// On its way with the write in flight.
    carried: Load,
}

/// Updates on their way to the store.
#[derive(Debug, Default)]
struct Load {
    updates: u64,
    /// When the first of them came that said something new.
    since: Option<Instant>,
}

impl UpdateAccounting {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        UpdateAccounting { metrics, waiting: Load::default(), carried: Load::default() }
    }

    pub(super) fn received(&mut self, updates: u64) {
        self.metrics.received.add(updates);
        self.waiting.updates += updates;
    }

    /// An update that was received changes the content.
    pub(super) fn changed(&mut self, now: Instant) {
        self.waiting.since.get_or_insert(now);
    }

    /// The updates that wait change nothing that is not stored.
    pub(super) fn equal(&mut self) {
        self.metrics.equal.add(std::mem::take(&mut self.waiting).updates);
    }

    /// A write begins and carries what waits.
    pub(super) fn carry(&mut self) {
        self.carried = std::mem::take(&mut self.waiting);
    }

    /// The write has ended well.
    pub(super) fn delivered(&mut self, effect: WriteOutcome) {
        let Load { updates, .. } = std::mem::take(&mut self.carried);
        match effect {
            WriteOutcome::Written => {
                self.metrics.written.add(updates.min(1));
                self.metrics.merged.add(updates.saturating_sub(1));
            }
            WriteOutcome::Unchanged => self.metrics.equal.add(updates),
        }
    }

    /// The write has failed: the next one carries it all.
    pub(super) fn brought_back(&mut self) {
        let Load { updates, since } = std::mem::take(&mut self.carried);
        self.waiting.updates += updates;
        self.waiting.since = since.or(self.waiting.since);
    }

    /// Counts the age of pending updates from now on.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.waiting.since = self.waiting.since.map(|_| now);
    }

    /// Since when something has been reported that is not stored.
    pub(super) fn pending_since(&self) -> Option<Instant> {
        self.carried.since.or(self.waiting.since)
    }
}
