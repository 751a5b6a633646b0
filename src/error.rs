//! What the failure of a sink means for the next attempt, and the text of an
//! error with its causes.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;
use std::{io, iter};

type Source = Box<dyn Error + Send + Sync>;

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
    /// Another client wrote in between. Nothing was stored; the reporter reads and
    /// tries again soon.
    Conflict,
    /// The store asked for this pause. Nothing was stored.
    After(Duration),
    /// A fault that passes: a time-out, a broken connection, an error of the server
    /// itself, a full disk. The status may have been stored or not.
    Transient,
    /// No connection to the store could be made, so nothing was sent. A try costs the
    /// store nothing then, so the reporter tries again sooner than after other faults.
    Unreachable,
    /// A person has to act first: rights are missing, or the object does not exist.
    /// The reporter tries again slowly, up to a minute apart.
    Blocked,
    /// The store refuses this content for good. The reporter does not try again until
    /// the content changes.
    Refused,
    /// The status is too large for the store. The reporter tries again at once,
    /// within what [`Sink::size_limit`](crate::Sink::size_limit) now returns; a sink
    /// that returns this error has to lower its limit.
    TooLarge,
}

impl Retry {
    /// Whether the store may now hold something other than what was read or written
    /// last.
    pub(crate) fn leaves_doubt(self) -> bool {
        match self {
            Retry::Conflict | Retry::Transient | Retry::Blocked => true,
            Retry::After(_) | Retry::Unreachable | Retry::Refused | Retry::TooLarge => false,
        }
    }
}

/// Why a sink could not read or write. The message says what failed, on what,
/// and what to do; the source is the cause.
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
    refused_backends: Vec<(String, String)>,
}

impl SinkError {
    /// Makes an error without a cause.
    pub fn new(retry: Retry, message: impl Into<Cow<'static, str>>) -> Self {
        SinkError { retry, message: message.into(), source: None, refused_backends: Vec::new() }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the names of the backends that the store refused, each with the reason, where
    /// they are why it refused the status. The reporter leaves them out until they change,
    /// logs each once, and writes the others.
    #[must_use]
    pub fn refusing_backends(mut self, names_and_reasons: impl IntoIterator<Item = (String, String)>) -> Self {
        self.refused_backends.extend(names_and_reasons);
        self
    }

    /// Returns the backends that the store refused, each with the reason.
    pub fn refused_backends(&self) -> &[(String, String)] {
        &self.refused_backends
    }

    /// Returns when, and with what, to try again.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Returns the message and every cause behind it, in one line; see
    /// [`error_chain`].
    pub fn chain(&self) -> String {
        error_chain(self)
    }
}

/// An error, then its cause, the cause of that, and so on.
///
/// [`io::Error::source`](Error::source) skips the very error that an
/// [`io::Error`] wraps, which is where TLS and name resolution hide their
/// verdict, so this visits wrapped errors too.
pub fn error_causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |current| {
        let current: &'a (dyn Error + 'static) = *current;
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        }
    })
}

/// An error and every cause behind it, in one line: for a log, or for a person.
///
/// Some errors repeat their cause in their own text, so what the line already
/// says is not added again.
///
/// ```
/// use std::io::{Error, ErrorKind};
///
/// let cause = Error::new(ErrorKind::ConnectionReset, "connection reset");
/// assert_eq!(vmcp_status::error_chain(&cause), "connection reset");
/// ```
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for text in error_causes(error).map(ToString::to_string) {
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("request failed: {0}")]
    struct Repeating(#[source] SinkError);

    fn refused() -> SinkError {
        SinkError::new(Retry::Transient, "tcp connect error").caused_by(io::Error::other("connection refused"))
    }

    #[test]
    fn chain_of_an_error_without_a_cause_is_its_own_text() {
        assert_eq!(error_chain(&SinkError::new(Retry::Blocked, "no such object")), "no such object");
    }

    #[test]
    fn chain_names_every_cause_up_to_the_innermost() {
        let error = SinkError::new(Retry::Transient, "cannot write").caused_by(refused());
        assert_eq!(error_chain(&error), "cannot write: tcp connect error: connection refused");
    }

    #[test]
    fn chain_of_an_error_that_repeats_its_cause_names_it_once() {
        assert_eq!(error_chain(&Repeating(refused())), "request failed: tcp connect error: connection refused");
    }

    #[test]
    fn chain_of_an_io_error_names_what_it_wraps_once_and_the_cause_of_that() {
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, refused()));
        assert_eq!(error_chain(&wrapped), "tcp connect error: connection refused");
        assert!(error_causes(&wrapped).any(|cause| cause.is::<SinkError>()));
    }
}
