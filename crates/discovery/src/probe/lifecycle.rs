//! What is remembered of a backend from one check to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;

use super::revision::Revision;

/// What is known of the way a backend wants to be talked to.
///
/// Keep one for each backend and hand it to every check of it, starting with
/// the default. Without it the next check asks again what an earlier one has found
/// out already, which some old servers do not survive.
///
/// Clones share whether the backend can end sessions.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    pub(super) way: Way,
    /// The backend agreed on the newest revision with the handshake, and was
    /// asked for discovery in vain.
    pub(super) refuses_discovery: bool,
    pub(super) deletes: DeleteMemory,
}

/// The way to ask a backend that has worked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// None yet: the next check finds out.
    #[default]
    Unknown,
    /// Discovery, in this revision: 2026-07-28 or later.
    Discovery(Revision),
    /// The handshake of revisions 2025-03-26 to 2025-11-25.
    Handshake,
    /// The handshake through the event stream of revision 2024-11-05.
    EventStream,
}

impl Lifecycle {
    /// The way that worked last.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Whether sessions are left to their time-out, because the backend has
    /// answered a `DELETE` with a server error, or broken down after its first.
    pub fn leaves_sessions(&self) -> bool {
        self.deletes.do_harm()
    }

    /// Makes the next check find out how to ask.
    pub(super) fn forget_way(&mut self) {
        // A backend that once answered discovery is not harmed by it.
        if matches!(self.way, Way::Discovery(_)) {
            self.refuses_discovery = false;
        }
        self.way = Way::Unknown;
    }
}

impl From<Way> for Lifecycle {
    /// A backend of which only this is known.
    fn from(way: Way) -> Self {
        Self { way, ..Self::default() }
    }
}

/// What ending a session does to a backend. Shared with sessions that end in
/// the background, after their check.
#[derive(Debug, Clone, Default)]
pub(super) struct DeleteMemory(Arc<Mutex<Deletes>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Deletes {
    /// No `DELETE` has been answered yet.
    #[default]
    Untried,
    /// The first has been, and the next check shows how the backend has taken it:
    /// some old servers agree to end a session, and answer nothing any more.
    Accepted,
    /// A check after it has succeeded, so that no later failure is its doing.
    Harmless,
    Harmful,
}

impl DeleteMemory {
    pub(super) fn do_harm(&self) -> bool {
        *self.lock() == Deletes::Harmful
    }

    /// A `DELETE` was answered with this.
    pub(super) fn answered(&self, status: StatusCode) {
        let mut deletes = self.lock();
        *deletes = match *deletes {
            _ if status.is_server_error() => Deletes::Harmful,
            Deletes::Untried => Deletes::Accepted,
            known => known,
        };
    }

    /// A check has found the backend well, before it ends its own session.
    pub(super) fn found_well(&self) {
        self.settle(Deletes::Harmless);
    }

    /// A check has found that the backend answers with server errors.
    pub(super) fn found_broken(&self) {
        self.settle(Deletes::Harmful);
    }

    fn settle(&self, verdict: Deletes) {
        let mut deletes = self.lock();
        if *deletes == Deletes::Accepted {
            *deletes = verdict;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Deletes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
