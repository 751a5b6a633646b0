//! The name of a revision of MCP.

use std::fmt;
use std::str::FromStr;

use rmcp::model::ProtocolVersion;

/// A revision of MCP, which is named by a date such as `2025-11-25`.
///
/// Revisions compare by age. A server's word for one can be shown as it is once
/// it parses, because a date holds no secret.
///
/// ```
/// use vmcp_status_discovery::probe::Revision;
///
/// let revision: Revision = "2025-11-25".parse()?;
/// assert!(revision < "2026-07-28".parse()?);
/// assert!("latest".parse::<Revision>().is_err());
/// # Ok::<(), vmcp_status_discovery::probe::RevisionError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision([u8; 10]);

/// The text is not a date such as `2025-11-25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a revision of MCP; write a date such as 2025-11-25")]
#[non_exhaustive]
pub struct RevisionError;

impl Revision {
    /// The only revision whose transport is HTTP+SSE.
    pub(super) const EVENT_STREAM: Self = Self(*b"2024-11-05");
    /// The newest revision with the handshake.
    pub(super) const HANDSHAKE: Self = Self(*b"2025-11-25");
    /// The first revision with discovery, and the newest that we know.
    pub(super) const DISCOVERY: Self = Self(*b"2026-07-28");

    /// The revision that a server names, if what it names is one.
    pub(super) fn named(version: &ProtocolVersion) -> Option<Self> {
        version.as_str().parse().ok()
    }

    /// As the messages of the SDK hold it.
    pub(super) fn version(self) -> ProtocolVersion {
        // The SDK has no constructor for revisions that it does not know.
        serde_json::from_value(self.to_string().into()).unwrap_or_default()
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 10] = text.as_bytes().try_into().map_err(|_| RevisionError)?;
        let is_date = bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        if is_date { Ok(Self(bytes)) } else { Err(RevisionError) }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_in_a_message_is_named_as_it_was_given() {
        for revision in ["2024-11-05", "2025-11-25", "2099-01-01"] {
            let parsed: Revision = revision.parse().expect("a date");
            assert_eq!(parsed.version().as_str(), revision);
            assert_eq!(Revision::named(&parsed.version()), Some(parsed));
        }
    }
}
