//! The store that a reporter writes to.

mod dyn_sink;
pub(crate) mod file;
pub(crate) mod noop;

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::SinkError;
use crate::status::{SizeLimit, Status};

pub use dyn_sink::AnySink;

/// A store for a status. Implement it to report to a store of your own.
///
/// The reporter calls one method at a time, never two at once. It decides what
/// to write and when; the sink carries it out. Every call runs under the
/// reporter's `write_timeout`, after which its future is dropped.
///
/// # Guarantees the reporter gives
///
/// * The reporter calls [`read`](Sink::read) before the first
///   [`write`](Sink::write), and again after a failure that leaves in doubt what
///   the store holds.
/// * The status passed to [`write`](Sink::write) already contains what has to stay
///   of what was read: conditions of other writers, the order of the lists, the
///   times of transitions.
/// * The reporter does not write a status that equals the stored one in all but
///   times.
/// * With an [election](crate::ReporterBuilder::leadership), a call continues only
///   while this process leads: the reporter does not poll a future of the sink after
///   the end of its term.
///
/// # Cancellation safety
///
/// A future that is dropped half-way may have stored its status or not, but must
/// not store it *later*, because the reporter may write a newer one next.
///
/// ```
/// use vmcp_status::{WriteOutcome, Sink, SinkError, Status};
///
/// /// Keeps the status in memory.
/// #[derive(Default)]
/// struct Memory(Option<Status>);
///
/// impl Sink for Memory {
///     async fn read(&mut self) -> Result<Option<Status>, SinkError> {
///         Ok(self.0.clone())
///     }
///     async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
///         self.0 = Some(status.clone());
///         Ok(WriteOutcome::Written)
///     }
/// }
/// ```
pub trait Sink: Send + 'static {
    /// Returns what the store holds now; `None` if it holds nothing.
    ///
    /// # Errors
    ///
    /// The error says when to try again: see [`Retry`](crate::Retry).
    fn read(&mut self) -> impl Future<Output = Result<Option<Status>, SinkError>> + Send;

    /// Stores the status.
    ///
    /// # Errors
    ///
    /// The error says when, and with what, to try again: see
    /// [`Retry`](crate::Retry).
    fn write(&mut self, status: &Status) -> impl Future<Output = Result<WriteOutcome, SinkError>> + Send;

    /// Carries out the periodic refresh: brings the stored times up to date where they
    /// have moved, and returns what the store then holds. `status` equals what was last
    /// read or written, in all but times and counts of checks.
    ///
    /// Override it for a store that can do both in one request. The default is a
    /// [`read`](Sink::read), after which the reporter writes if the status differs.
    ///
    /// # Errors
    ///
    /// The error says when, and with what, to try again: see
    /// [`Retry`](crate::Retry).
    fn refresh(&mut self, status: &Status) -> impl Future<Output = Result<Refreshed, SinkError>> + Send {
        let _ = status;
        async { Ok(Refreshed { stored: self.read().await?, outcome: None }) }
    }

    /// Returns how large a status may be; `None` (the default) for no limit. The
    /// reporter truncates a larger status before it writes.
    fn size_limit(&self) -> Option<SizeLimit> {
        None
    }

    /// Returns what the reporter should know about the store beside its content. The
    /// reporter asks after each read or write.
    fn advice(&self) -> Advice {
        Advice::default()
    }
}

/// The result of a [`refresh`](Sink::refresh).
#[derive(Clone, Debug, PartialEq)]
pub struct Refreshed {
    /// What the store holds now; `None` if it holds nothing.
    pub stored: Option<Status>,
    /// What the refresh did to bring the stored times up to date; `None` if it only
    /// read, so that they may be old.
    pub outcome: Option<WriteOutcome>,
}

/// What a sink tells the reporter about its store, beside the content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// Write even if the status read equals the reported one, because a write would
    /// leave something else behind than what was read.
    pub must_write: bool,
    /// Do not write [`Phase::Pending`](crate::Phase::Pending) before the first round
    /// of checks is done, even if the store holds no report.
    pub no_early_pending: bool,
    /// Read again after this time and compare, even if nothing changed, because what
    /// was written may not stay.
    pub look_again: Option<Duration>,
    /// Where in the store the status lives; `None` for a store with only one place.
    pub location: Option<Location>,
}

/// Where in its store a status lives, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// The place, as the store names it, such as `status.runtime`.
    pub place: &'static str,
    /// Why the status lives there, in a few words.
    pub reason: String,
    /// Since when the readers of the status have seen something other than what is
    /// stored there; `None` while they see it, or while that is not known.
    pub unfollowed_since: Option<DateTime<Utc>>,
    /// How many times another writer has overwritten what this process had stored.
    pub overwrites: u64,
    /// Who keeps overwriting it: three times within ten minutes, or at three looks in
    /// a row; `None` otherwise.
    pub overwriter: Option<Overwriter>,
}

/// Another writer of what this process stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overwriter {
    /// How the store names it; `None` if the store does not know.
    pub manager: Option<String>,
    /// The fields that it has overwritten, such as `phase` or `conditions[Ready]`.
    pub fields: Vec<String>,
}

impl Overwriter {
    /// Makes a writer of this name that has overwritten these fields.
    pub fn new(manager: impl Into<String>, fields: Vec<String>) -> Self {
        Overwriter { manager: Some(manager.into()), fields }
    }

    /// The fields without the names of their items, each once: a small set.
    #[cfg(feature = "metrics")]
    pub(crate) fn kinds_of_fields(&self) -> String {
        let mut kinds: Vec<_> = self.fields.iter().filter_map(|field| field.split('[').next()).collect();
        kinds.dedup();
        kinds.join(",")
    }
}

impl Location {
    /// Makes a location that its readers follow.
    pub fn new(place: &'static str, reason: impl Into<String>) -> Self {
        Location { place, reason: reason.into(), unfollowed_since: None, overwrites: 0, overwriter: None }
    }
}

/// What a successful write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// The status was stored.
    Written,
    /// The store held the same already; nothing was sent.
    Unchanged,
}
