//! What the failure of a sink means for the next try.

use std::borrow::Cow;
use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// When, and with what, to try again after a failure (law 10).
///
/// ```
/// use std::io::ErrorKind;
///
/// use vmcp_status::Retry;
///
/// /// What a failure of the file system means.
/// fn retry(error: &std::io::Error) -> Retry {
///     match error.kind() {
///         ErrorKind::PermissionDenied | ErrorKind::NotFound => Retry::Blocked,
///         _ => Retry::Transient,
///     }
/// }
/// assert_eq!(retry(&ErrorKind::StorageFull.into()), Retry::Transient);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// Somebody else wrote in between. Nothing was stored; read again and try
    /// again soon.
    Conflict,
    /// The store asked for this pause. Nothing was stored.
    After(Duration),
    /// A passing fault: a time-out, a broken connection, a server's own error,
    /// a full disk. Whether something was stored is not known.
    Transient,
    /// Somebody has to act first: rights are missing, or the object is not
    /// there. Try again slowly, up to a minute apart.
    Blocked,
    /// The store will not take this content, ever. Not tried again until the
    /// content changes.
    Refused,
    /// The store will not take as much as this. Tried again at once with what
    /// [`Sink::size_limit`](crate::Sink::size_limit) now says; a sink that
    /// reports this has to lower its limit.
    TooLarge,
}

impl Retry {
    /// Whether the store may hold something else than before the failure.
    pub(crate) fn leaves_doubt(self) -> bool {
        match self {
            Retry::Conflict | Retry::Transient | Retry::Blocked => true,
            Retry::After(_) | Retry::Refused | Retry::TooLarge => false,
        }
    }
}

/// Why a sink could not read or write. The message says what failed, on what,
/// and what to do; the cause is kept as the source.
///
/// ```
/// use vmcp_status::{Retry, SinkError};
///
/// let cause = std::io::Error::other("connection reset");
/// let error = SinkError::new(Retry::Transient, "cannot write to the store").caused_by(cause);
/// assert_eq!(error.retry(), Retry::Transient);
/// assert_eq!(error.chain(), "cannot write to the store: connection reset");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    retry: Retry,
    message: Cow<'static, str>,
    source: Option<Source>,
}

impl SinkError {
    /// An error without a cause of its own.
    pub fn new(retry: Retry, message: impl Into<Cow<'static, str>>) -> Self {
        SinkError { retry, message: message.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// The message and every cause behind it, in one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}
