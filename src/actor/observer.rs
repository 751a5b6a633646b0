//! Logs, counts and publishes what the actor does, and tells the listeners what it
//! stores.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

use super::accounting::UpdateAccounting;
use super::backend_log::BackendLog;
use super::status_log::StatusLog;
use super::stored_changes::{Content, StoredChanges};
use crate::error::{Retry, SinkError};
use crate::handle::{Attempt, AttemptError, Progress};
use crate::leadership::LeadershipState;
use crate::listener::StoredListener;
use crate::metrics::{Counts, Metrics};
use crate::sink::{Advice, Location, WriteOutcome};
use crate::status::{Faults, Omitted, Status};

pub(super) struct Observer {
    metrics: Arc<Metrics>,
    accounting: UpdateAccounting,
    status_log: StatusLog,
    backend_log: BackendLog,
    progress: watch::Sender<Progress>,
    stored_changes: StoredChanges,
    last_error: Option<String>,
}

impl Observer {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        progress: watch::Sender<Progress>,
        listeners: Vec<Box<dyn StoredListener>>,
    ) -> Self {
        Observer {
            accounting: UpdateAccounting::new(Arc::clone(&metrics)),
            metrics,
            status_log: StatusLog::default(),
            backend_log: BackendLog::default(),
            progress,
            stored_changes: StoredChanges::new(listeners),
            last_error: None,
        }
    }

    /// Updates were received, and repaired where they had to be.
    pub(super) fn received(&mut self, updates: u64, mut faults: Faults) {
        self.accounting.received(updates);
        for fault in faults.drain() {
            self.metrics.repaired.add(1);
            self.status_log.repaired(fault);
        }
    }

    /// What was received differs from what was reported before.
    pub(super) fn changed(&mut self, now: Instant) {
        self.accounting.changed(now);
    }

    /// Not everything is stored.
    pub(super) fn pending(&mut self) {
        let since = self.accounting.pending_since();
        self.show(|progress| {
            progress.pending_since = since;
            !std::mem::replace(&mut progress.pending, true)
        });
    }

    /// What waits to be stored equals what is stored.
    pub(super) fn equal(&mut self) {
        self.accounting.equal();
    }

    pub(super) fn leadership_changed(&mut self, now: Instant, before: LeadershipState, after: LeadershipState) {
        if before == LeadershipState::Standby {
            // Until now it was for the other replica to store.
            self.accounting.forgive(now);
        }
        if !after.may_write() {
            self.status_log.quiet();
        }
        self.stored_changes.leadership_changed(after);
        let since = self.accounting.pending_since();
        self.show(|progress| {
            progress.pending_since = since;
            false
        });
    }

    /// Publishes what has been reported. `held`: the first round of checks is under
    /// way, and its unfinished findings are not a change of phase to be logged.
    pub(super) fn published(&mut self, current: &Arc<Status>, omitted: Option<Omitted>, held: bool) {
        if !held {
            self.status_log.shown(current);
            self.backend_log.shown(Instant::now(), current);
        }
        self.show(|progress| {
            progress.current = Some(Arc::clone(current));
            progress.omitted = omitted;
            true
        });
    }

    pub(super) fn read_begins(&mut self) {
        self.metrics.reads.add(1);
    }

    pub(super) fn read_done(&mut self, stored: Option<&Arc<Status>>, advice: &Advice) {
        self.status_log.begins_to_write(stored.filter(|status| status.is_reported()).map(|status| status.phase));
        self.stored_changes.read(stored, !advice.must_write);
        let location = advice.location.clone();
        self.show(|progress| {
            progress.stored = stored.cloned();
            progress.location = location;
            true
        });
    }

    /// A refresh has brought the times of what is stored up to date.
    pub(super) fn times_written(&mut self, at: DateTime<Utc>) {
        self.metrics.attempts.add(1);
        self.metrics.results.for_outcome(WriteOutcome::Written).add(1);
        self.metrics.stored_at.set(at);
    }

    /// The status that a write would carry is known.
    pub(super) fn write_planned(&mut self, omitted: Option<Omitted>) {
        self.metrics.truncated.add(u64::from(omitted.is_some()));
        self.status_log.truncated(omitted);
    }

    /// The store holds the same content already, so no write is needed.
    pub(super) fn write_saved(&mut self) {
        self.metrics.saved.add(1);
        self.accounting.equal();
    }

    pub(super) fn write_begins(&mut self, after: &Arc<Status>, omitted: Option<Omitted>) {
        self.metrics.attempts.add(1);
        self.accounting.carry();
        self.stored_changes.write_begins(Content { status: Arc::clone(after), complete: omitted.is_none() });
    }

    pub(super) fn write_ended(&mut self, took: Duration) {
        self.metrics.write_seconds.observe(took);
    }

    pub(super) fn write_done(&mut self, at: DateTime<Utc>, outcome: WriteOutcome) {
        self.metrics.results.for_outcome(outcome).add(1);
        if outcome == WriteOutcome::Written {
            self.metrics.stored_at.set(at);
        }
        self.accounting.delivered(outcome);
        self.stored_changes.write_done(outcome);
    }

    /// A read or a write was given up, at the end of the reporter.
    pub(super) fn write_given_up(&mut self, error: &SinkError) {
        self.metrics.results.for_failure(error.retry()).add(1);
    }

    /// What was to be stored is stored, or was stored already; `pending`: there
    /// is more by now.
    pub(super) fn succeeded(
        &mut self,
        (now, at): (Instant, DateTime<Utc>),
        outcome: WriteOutcome,
        stored: Arc<Status>,
        pending: bool,
        location: Option<Location>,
    ) {
        self.last_error = None;
        self.status_log.stored(now, outcome);
        self.stored_changes.succeeded(&stored);
        let pending_since = self.accounting.pending_since();
        self.show(|progress| {
            progress.location = location;
            progress.stored = Some(stored);
            progress.pending = pending;
            progress.pending_since = pending_since;
            progress.last = Some(Attempt { at, result: Ok(outcome) });
            true
        });
    }

    /// Counts a read or, if `writing`, a write that has failed. Whether it is worth
    /// a line is for [`faulted`](Self::faulted).
    pub(super) fn failed(&mut self, error: &SinkError, writing: bool) {
        match error.retry() {
            Retry::Conflict => self.metrics.conflicts.add(1),
            _ => self.metrics.failures.add(1),
        }
        if writing {
            self.metrics.results.for_failure(error.retry()).add(1);
        }
        self.stored_changes.write_failed(error.retry());
        self.accounting.brought_back();
    }

    /// The call that began at this time has had no answer for long.
    pub(super) fn slow(&mut self, now: Instant, began: Instant) {
        let since = self.accounting.pending_since().unwrap_or(began);
        self.status_log.slow(now, began, since);
    }

    /// The failure, after a call that `took` so long, was a fault, and the next try comes
    /// after `pause`.
    pub(super) fn faulted(
        &mut self,
        (now, at): (Instant, DateTime<Utc>),
        error: &SinkError,
        took: Duration,
        pause: Duration,
    ) {
        let since = self.accounting.pending_since().or_else(|| now.checked_sub(took)).unwrap_or(now);
        self.status_log.failed(now, error, since, pause);
        let message = error.chain();
        self.last_error = Some(message.clone());
        let result = Err(AttemptError { retry: error.retry(), message });
        self.show(|progress| {
            progress.last = Some(Attempt { at, result });
            true
        });
    }

    /// Why the last try failed; `None` where it did not.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        self.metrics.counts()
    }

    /// Lets the listeners send what is left.
    pub(super) async fn close(&mut self) {
        self.stored_changes.close().await;
    }

    fn show(&self, change: impl FnOnce(&mut Progress) -> bool) {
        self.progress.send_if_modified(change);
    }
}
