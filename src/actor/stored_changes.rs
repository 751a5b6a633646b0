//! Tells the listeners what each write has changed, as soon as it is known that
//! the write was stored.

use std::sync::Arc;

use futures::future::join_all;

use crate::error::Retry;
use crate::leadership::LeadershipState;
use crate::listener::{StoredChange, StoredListener};
use crate::sink::WriteOutcome;
use crate::status::{Status, count_routable};

/// A status that the store holds, or that a write carries.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) status: Arc<Status>,
    /// Whether it lists every backend.
    pub(super) complete: bool,
}

pub(super) struct StoredChanges {
    listeners: Vec<Box<dyn StoredListener>>,
    /// What a reporter had stored, as last read or written.
    stored: Option<Content>,
    /// What a write carries whose outcome is not known yet.
    attempt: Option<Content>,
    /// This process leads, and has not stored or verified anything since it does.
    takes_over: bool,
}

impl StoredChanges {
    pub(super) fn new(listeners: Vec<Box<dyn StoredListener>>) -> Self {
        StoredChanges { listeners, stored: None, attempt: None, takes_over: false }
    }

    /// What is stored now. If it is what was written without an answer, then
    /// that write has succeeded. `exact`: nothing else was stored.
    pub(super) fn read(&mut self, stored: Option<&Arc<Status>>, exact: bool) {
        let attempt = self.attempt.take();
        if let Some((attempt, stored)) = attempt.zip(stored)
            && is_same(&attempt.status, stored)
        {
            self.tell(attempt);
        }
        let told_before = self.stored.is_some();
        self.stored = stored.filter(|status| told_before || status.is_reported()).map(|status| Content {
            // Of a list that was cut, only routable backends are missing unless
            // none routes.
            complete: exact && status.backend_count == count_routable(&status.discovered_backends),
            status: Arc::clone(status),
        });
    }

    pub(super) fn write_begins(&mut self, after: Content) {
        self.attempt = Some(after);
    }

    pub(super) fn write_done(&mut self, outcome: WriteOutcome) {
        if let Some(after) = self.attempt.take()
            && outcome == WriteOutcome::Written
        {
            self.tell(after);
        }
    }

    pub(super) fn write_failed(&mut self, retry: Retry) {
        // After a passing fault the next read tells whether it was stored.
        if retry != Retry::Transient {
            self.attempt = None;
        }
    }

    /// The store holds what this process reports.
    pub(super) fn succeeded(&mut self, stored: &Status) {
        if std::mem::take(&mut self.takes_over) {
            self.listeners.iter_mut().for_each(|listener| listener.took_over(stored));
        }
    }

    pub(super) fn leadership_changed(&mut self, state: LeadershipState) {
        self.takes_over = state == LeadershipState::Leading;
        self.listeners.iter_mut().for_each(|listener| listener.leadership_changed(state));
    }

    pub(super) async fn close(&mut self) {
        join_all(self.listeners.iter_mut().map(|listener| listener.close())).await;
    }

    fn tell(&mut self, after: Content) {
        let before = self.stored.replace(after.clone());
        let change = StoredChange {
            before: before.as_ref().map(|before| &*before.status),
            after: &after.status,
            complete: after.complete && before.as_ref().is_none_or(|before| before.complete),
        };
        self.listeners.iter_mut().for_each(|listener| listener.stored(change));
    }
}

/// Whether a store that holds the one was written the other. Conditions are left
/// out: a store may not take each of them.
fn is_same(written: &Status, stored: &Status) -> bool {
    let without_conditions = |status: &Status| Status { conditions: Vec::new(), ..status.clone() };
    without_conditions(written).eq_ignoring_times(&without_conditions(stored))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::status::DiscoveredBackend;

    type Told = (Option<usize>, usize, bool);

    fn listened() -> (StoredChanges, Receiver<Told>) {
        let (told, heard) = channel();
        let listener = move |change: StoredChange<'_>| {
            let before = change.before.map(|status| status.discovered_backends.len());
            told.send((before, change.after.discovered_backends.len(), change.complete)).expect("the test listens");
        };
        (StoredChanges::new(vec![Box::new(listener)]), heard)
    }

    fn of(backends: usize) -> Arc<Status> {
        Arc::new(Status::derived_from((0..backends).map(|i| DiscoveredBackend::named(i.to_string()))))
    }

    fn content(backends: usize) -> Content {
        Content { status: of(backends), complete: true }
    }

    fn heard(told: &Receiver<Told>) -> Vec<Told> {
        told.try_iter().collect()
    }

    #[test]
    fn each_stored_write_is_told_with_what_was_stored_before() {
        let (mut changes, told) = listened();
        changes.read(Some(&Arc::default()), true);
        for backends in [1, 2] {
            changes.write_begins(content(backends));
            changes.write_done(WriteOutcome::Written);
        }
        changes.write_begins(content(2));
        changes.write_done(WriteOutcome::Unchanged);
        assert_eq!(heard(&told), [(None, 1, true), (Some(1), 2, true)]);
    }

    #[test]
    fn write_without_an_answer_is_told_once_a_read_shows_it() {
        let (mut changes, told) = listened();
        changes.read(Some(&of(1)), true);
        changes.write_begins(content(2));
        changes.write_failed(Retry::Transient);
        changes.read(Some(&of(2)), true);
        changes.read(Some(&of(2)), true);
        assert_eq!(heard(&told), [(Some(1), 2, true)]);
        changes.write_begins(content(3));
        changes.write_failed(Retry::Transient);
        changes.read(Some(&of(2)), true);
        changes.write_begins(content(3));
        changes.write_failed(Retry::Conflict);
        changes.read(Some(&of(3)), true);
        assert_eq!(heard(&told), [], "another wrote it");
    }

    #[test]
    fn list_that_was_cut_or_not_read_in_full_is_not_complete() {
        let (mut changes, told) = listened();
        let cut = Arc::new(Status { backend_count: 7, ..Status::clone(&of(1)) });
        for (stored, exact) in [(&cut, true), (&of(1), false)] {
            changes.read(Some(stored), exact);
            changes.write_begins(content(2));
            changes.write_done(WriteOutcome::Written);
        }
        changes.write_begins(Content { complete: false, ..content(1) });
        changes.write_done(WriteOutcome::Written);
        changes.write_begins(content(2));
        changes.write_done(WriteOutcome::Written);
        let expected = [(Some(1), 2, false), (Some(1), 2, false), (Some(2), 1, false), (Some(1), 2, false)];
        assert_eq!(heard(&told), expected);
    }
}
