//! The callers that wait until everything is stored.

use tokio::time::Instant;

use super::Revision;

/// Which flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::actor) struct FlushId(u64);

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actor) enum FlushAnswer {
    Stored,
    /// The store will not take the newest revision.
    Refused,
    /// Another replica leads.
    Standby,
    TimedOut,
}

#[derive(Debug)]
pub(super) struct Flush {
    id: FlushId,
    /// What has to be stored.
    pub(super) revision: Revision,
    /// How long the caller waits.
    pub(super) by: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Flushes {
    next: u64,
    waiting: Vec<Flush>,
}

impl Flushes {
    pub(super) fn push(&mut self, revision: Revision, by: Instant) -> FlushId {
        let id = FlushId(self.next);
        self.next += 1;
        self.waiting.push(Flush { id, revision, by });
        id
    }

    /// The nearest time at which a caller stops waiting.
    pub(super) fn next_by(&self) -> Option<Instant> {
        self.waiting.iter().map(|flush| flush.by).min()
    }

    /// Takes out the first flush for which there is an answer.
    pub(super) fn take(&mut self, answer: impl Fn(&Flush) -> Option<FlushAnswer>) -> Option<(FlushId, FlushAnswer)> {
        let (index, answer) =
            self.waiting.iter().enumerate().find_map(|(index, flush)| Some((index, answer(flush)?)))?;
        Some((self.waiting.remove(index).id, answer))
    }
}
