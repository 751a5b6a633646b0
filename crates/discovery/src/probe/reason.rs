//! What a check can find, as a short list of fixed words, and how an error of
//! the connection becomes one of them.

use std::fmt;
use std::io;
use std::time::Duration;

use vmcp_status::error_causes;

use super::Health;
use super::revision::Revision;

/// Why a backend has the health it has.
///
/// What a finding says comes from here alone: no text of the server (save the
/// date of a revision), no address and no token can reach a status through it, and equal findings read equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Ready,
    /// Names the limit, not the time taken: a message that differs at every
    /// check would be a change at every check.
    Slow {
        limit: Duration,
    },
    AuthenticationRequired,
    AuthenticationFailed,
    /// Refused by something in between, for no credentials would help.
    AccessDenied,
    UnusableCredentials,
    UnusableAddress,
    NameResolutionFailed,
    ConnectionFailed,
    TlsUntrusted,
    TlsFailed,
    TimedOut,
    ServerError,
    /// Says when the server wants to be asked again, if it said so.
    RateLimited {
        retry_after: Option<Duration>,
    },
    NotFound,
    Redirected,
    NotMcp,
    TooLarge,
    HandshakeRefused,
    NoCommonRevision,
    /// The oldest revision that the server speaks. A date is the one word of a
    /// server that a message repeats.
    NewerRevision(Revision),
    SessionLost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "",
            Self::Slow { limit } => {
                return write!(f, "Slow response (over {} ms)", limit.as_millis());
            }
            Self::NewerRevision(oldest) => {
                return write!(f, "Speaks only newer MCP revisions (from {oldest})");
            }
            Self::AuthenticationRequired => "Authentication required",
            Self::AuthenticationFailed => "Authentication failed",
            Self::AccessDenied => "Access denied",
            Self::UnusableCredentials => "Credentials cannot be sent",
            Self::UnusableAddress => "Not an HTTP address",
            Self::NameResolutionFailed => "Name resolution failed",
            Self::ConnectionFailed => "Connection failed",
            Self::TlsUntrusted => "TLS verification failed",
            Self::TlsFailed => "TLS handshake failed",
            Self::TimedOut => "Health check timed out",
            Self::ServerError => "Server error",
            Self::RateLimited { .. } => "Rate limited",
            Self::NotFound => "Endpoint not found",
            Self::Redirected => "Redirected elsewhere",
            Self::NotMcp => "Not an MCP server",
            Self::TooLarge => "Response too large",
            Self::HandshakeRefused => "MCP handshake refused",
            Self::NoCommonRevision => "No common MCP revision",
            Self::SessionLost => "MCP session not kept",
        })
    }
}

impl Reason {
    pub(super) fn health(self) -> Health {
        match self {
            Self::Ready => Health::Ready,
            Self::Slow { .. } => Health::Degraded,
            Self::AuthenticationRequired => Health::Unauthenticated,
            Self::RateLimited { .. } => Health::RateLimited,
            _ => Health::Unavailable,
        }
    }

    /// When the server wants to be asked again.
    pub(super) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => retry_after,
            _ => None,
        }
    }

    /// Whether this failure leaves open which lifecycle the server speaks, so
    /// that what was learned about it still holds.
    pub(super) fn keeps_lifecycle(self) -> bool {
        matches!(
            self,
            Self::AuthenticationRequired
                | Self::AuthenticationFailed
                | Self::AccessDenied
                | Self::UnusableCredentials
                | Self::NameResolutionFailed
                | Self::ConnectionFailed
                | Self::TlsUntrusted
                | Self::TlsFailed
                | Self::ServerError
                | Self::RateLimited { .. }
        )
    }

    /// Names the failure of a request that got no (whole) answer.
    pub(super) fn from_transport(error: &reqwest::Error) -> Self {
        error_causes(error)
            .find_map(|cause| {
                if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                    return Some(match tls {
                        rustls::Error::InvalidCertificate(_) => Self::TlsUntrusted,
                        _ => Self::TlsFailed,
                    });
                }
                if cause.is::<NameResolution>() {
                    return Some(Self::NameResolutionFailed);
                }
                // An answer that is not HTTP at all, or whose head never ends.
                let http = cause.downcast_ref::<hyper::Error>()?;
                http.is_parse().then_some(Self::NotMcp)
            })
            .unwrap_or(Self::ConnectionFailed)
    }
}

/// A host name has no address. A type of its own, because the connector's own
/// error for this cannot be told from the others.
#[derive(Debug, thiserror::Error)]
#[error("no address for the host name")]
pub(super) struct NameResolution(#[source] pub(super) Option<io::Error>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_wrapped_in_io_errors_is_found() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(error_causes(&wrapped).any(|cause| cause.is::<rustls::Error>()));
    }

    #[test]
    fn slow_message_is_the_same_for_every_slow_answer() {
        let slow = Reason::Slow { limit: Duration::from_millis(1500) };
        assert_eq!(slow.to_string(), "Slow response (over 1500 ms)");
        assert_eq!(slow.health(), Health::Degraded);
    }

    #[test]
    fn ready_says_nothing() {
        assert_eq!(Reason::Ready.to_string(), "");
    }
}
