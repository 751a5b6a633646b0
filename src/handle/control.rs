//! The requests that callers send to the actor, beside updates.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::status::Status;

/// A request to the actor. It travels on a channel of its own, so that a full mailbox
/// does not hold it back.
pub(crate) enum Control {
    Flush { by: Instant, reply: oneshot::Sender<Result<(), FlushError>> },
    FirstRoundDone,
    Current { reply: oneshot::Sender<Arc<Status>> },
}

/// Why a flush ended before everything reported was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Time ran out. The reporter keeps trying.
    #[error("not stored in time{}; the reporter keeps trying", last.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    TimedOut {
        /// Why the last attempt failed, if one did.
        last: Option<String>,
    },
    /// The store refuses this content. The reporter tries again when the content
    /// changes.
    #[error("refused by the store: {0}")]
    Refused(String),
    /// Another replica leads. It stores what it sees itself.
    #[error("another replica leads: it stores what it sees itself")]
    Standby,
    /// The reporter has ended.
    #[error("the reporter has ended; what it stored is in the outcome of its shutdown")]
    Closed,
}
