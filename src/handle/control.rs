//! What callers ask the actor for, beside updates.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::status::Status;

/// What reaches the actor beside updates, on a channel of its own: a full
/// mailbox does not hold it back.
pub(crate) enum Control {
    Flush { by: Instant, reply: oneshot::Sender<Result<(), FlushError>> },
    FirstRoundDone,
    Current { reply: oneshot::Sender<Arc<Status>> },
}

/// Why not everything reported is known to be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Time ran out. The reporter goes on trying.
    #[error("not stored in time{}; it is still being tried", last.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    TimedOut {
        /// Why the last try failed, if one did.
        last: Option<String>,
    },
    /// The store will not take this content; it is tried again when the
    /// content changes.
    #[error("refused by the store: {0}")]
    Refused(String),
    /// Another replica leads, and stores what it sees itself.
    #[error("another replica leads: it stores what it sees itself")]
    Standby,
    /// The reporter has ended.
    #[error("the reporter has ended; what it stored is in the outcome of its shutdown")]
    Closed,
}
