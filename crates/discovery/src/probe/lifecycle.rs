//! What is remembered of a backend from one check to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// How the messages of a backend travel, where its configuration says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Streamable HTTP, since revision 2025-03-26.
    StreamableHttp,
    /// HTTP+SSE, the transport of revision 2024-11-05.
    EventStream,
}

impl Lifecycle {
    /// The way that worked last.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Whether sessions are left to their time-out, because the backend has
    /// answered the end of one with a server error.
    pub fn leaves_sessions(&self) -> bool {
        self.deletes.have_failed()
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

/// Whether a backend has failed to end a session. Shared with sessions that
/// end in the background, after their check.
#[derive(Debug, Clone, Default)]
pub(super) struct DeleteMemory(Arc<AtomicBool>);

impl DeleteMemory {
    pub(super) fn have_failed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn note_failure(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
