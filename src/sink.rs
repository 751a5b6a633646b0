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

/// A place where a status is stored. Implement it to report to a store of your
/// own.
///
/// The reporter calls one method at a time, never two at once. It decides what
/// to write and when; the sink carries it out. Every call runs under the
/// reporter's `write_timeout`, after which its future is dropped.
///
/// # Guarantees the reporter gives
///
/// * [`read`](Sink::read) comes before the first [`write`](Sink::write), and
///   again after a failure that leaves in doubt what is stored.
/// * What [`write`](Sink::write) is given already contains what has to stay of
///   what was read: conditions that are not ours, the order of the lists, the
///   times of transitions.
/// * A status equal to the stored one is not written, times aside.
/// * With an [election](crate::ReporterBuilder::leadership), a call goes on only
///   while this process leads: the reporter polls no future of the sink after
///   its term.
///
/// # Cancellation safety
///
/// A future that is dropped half-way may have stored its status or not, but
/// must not store it *later*: a newer one may follow.
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
    /// What is stored now; `None` where nothing is.
    ///
    /// # Errors
    ///
    /// Says when to try again: see [`Retry`](crate::Retry).
    fn read(&mut self) -> impl Future<Output = Result<Option<Status>, SinkError>> + Send;

    /// Stores the status.
    ///
    /// # Errors
    ///
    /// Says when to try again: see [`Retry`](crate::Retry).
    fn write(&mut self, status: &Status) -> impl Future<Output = Result<WriteOutcome, SinkError>> + Send;

    /// Brings the times of what is stored up to date where they have moved, and
    /// finds out what is stored then: the periodic refresh. `status` says the
    /// same as what was last read or written, times and counts of checks aside.
    ///
    /// A store that can do both in one request overrides it. By default it is a
    /// [`read`](Sink::read), and the reporter writes where that differs.
    ///
    /// # Errors
    ///
    /// Says when to try again: see [`Retry`](crate::Retry).
    fn refresh(&mut self, status: &Status) -> impl Future<Output = Result<Refreshed, SinkError>> + Send {
        let _ = status;
        async { Ok(Refreshed { stored: self.read().await?, outcome: None }) }
    }

    /// How much the store takes; `None` (the default) where there is no limit.
    /// A larger status is trimmed before it is written.
    fn size_limit(&self) -> Option<SizeLimit> {
        None
    }

    /// What the reporter should know of the store beside its content. Asked
    /// after each read and each write that has succeeded.
    fn advice(&self) -> Advice {
        Advice::default()
    }
}

/// What a [`refresh`](Sink::refresh) has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Refreshed {
    /// What is stored now; `None` where nothing is.
    pub stored: Option<Status>,
    /// What was done about the times of what is stored, which are up to date
    /// now; `None` where nothing was done.
    pub outcome: Option<WriteOutcome>,
}

/// What a sink tells the reporter beside what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// What was read is not, or not in full, what a write would leave behind:
    /// write even if the status read equals the reported one.
    pub must_write: bool,
    /// A first start, one that finds no report in the store, is not announced
    /// with [`Phase::Pending`](crate::Phase::Pending) before the first round of
    /// checks is done.
    pub no_early_pending: bool,
    /// Read again after this time and compare, although nothing changed: the
    /// store has given reason to doubt that what was written stays.
    pub look_again: Option<Duration>,
    /// Where in the store the status lives, for a store that has a choice.
    pub location: Option<Location>,
}

/// Where in its store a status lives, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// The place, in the words of the store, such as `status.runtime`.
    pub place: &'static str,
    /// Why there, in a few words.
    pub reason: String,
    /// Since when what is stored there has not reached the readers it is meant
    /// for; `None` while it has, or while that is not known.
    pub unfollowed_since: Option<DateTime<Utc>>,
}

impl Location {
    /// A place that its readers follow.
    pub fn new(place: &'static str, reason: impl Into<String>) -> Self {
        Location { place, reason: reason.into(), unfollowed_since: None }
    }
}

/// What a successful write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOutcome {
    /// The status was stored.
    Written,
    /// What is stored said the same already; nothing was sent.
    Unchanged,
}
