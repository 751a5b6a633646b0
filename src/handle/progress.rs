//! What [`StatusHandle::watch`](crate::StatusHandle::watch) shows.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::error::Retry;
use crate::sink::{Location, WriteOutcome};
use crate::status::{Omitted, Status};

/// What has been reported, what is stored, and how the last read or write went.
///
/// ```
/// use vmcp_status::{NoOpSink, Phase, Reporter};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let (handle, reporter) = Reporter::builder(NoOpSink::silent()).start();
/// let mut progress = handle.watch();
/// assert!(handle.set_phase(Phase::Failed, "no backend answers"));
/// while progress.changed().await.is_ok() {
///     let progress = progress.borrow_and_update();
///     match progress.last.as_ref().map(|attempt| &attempt.result) {
///         Some(Err(error)) => eprintln!("not stored yet, {:?}: {}", error.retry, error.message),
///         Some(Ok(_)) => break,
///         None => {}
///     }
/// }
/// # drop(reporter);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// What has been reported, as the reporter would store it; `None` until something
    /// has been reported. It is at most one write interval old, times of checks aside.
    pub current: Option<Arc<Status>>,
    /// What the store holds, as far as the reporter knows; `None` until the reporter
    /// has read or written it.
    pub stored: Option<Arc<Status>>,
    /// Whether something reported is not stored yet.
    pub pending: bool,
    /// When the reporter received the oldest change that is not stored yet.
    pub pending_since: Option<Instant>,
    /// How the last read or write went.
    pub last: Option<Attempt>,
    /// Where in its store the status lives; `None` for a store with only one place.
    pub location: Option<Location>,
    /// What the size limit left out of `current`.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) omitted: Option<Omitted>,
}

/// How one read or write of the store went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// What it did, or why it failed. A read after which no write was needed counts as
    /// [`WriteOutcome::Unchanged`].
    pub result: Result<WriteOutcome, AttemptError>,
}

/// Why a read or write failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct AttemptError {
    /// When the reporter tries again.
    pub retry: Retry,
    /// What failed, on what, and what to do.
    pub message: String,
}
