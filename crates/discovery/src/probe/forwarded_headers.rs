//! Headers that a gateway adds to each request to a backend, and that a check adds
//! as well.

use std::fmt;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

/// Headers that cannot be forwarded, in lower case: those of HTTP itself, those by
/// which a proxy vouches for a client (both as in ToolHive), and those that a check
/// sets as MCP asks.
const RESERVED: [&str; 27] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Headers to add to each request of a check. `Debug` shows their names alone.
///
/// ```
/// use vmcp_status_discovery::probe::ForwardedHeaders;
///
/// let mut headers = ForwardedHeaders::default();
/// headers.insert("X-Tenant", "blue")?;
/// assert!(headers.insert("Host", "elsewhere").is_err());
/// # Ok::<(), vmcp_status_discovery::probe::ForwardedHeaderError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ForwardedHeaders(HeaderMap);

/// Why a header cannot be forwarded. No value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardedHeaderError {
    /// HTTP allows no such name.
    #[error("not the name of a header")]
    Name,
    /// HTTP allows no such value.
    #[error("not the value of a header; use visible characters")]
    Value,
    /// HTTP or MCP sets this header itself.
    #[error("set by HTTP or MCP itself")]
    Reserved,
}

impl ForwardedHeaders {
    /// Adds a header; one of the same name, in whatever case, is replaced.
    ///
    /// # Errors
    ///
    /// When the header cannot be sent; then nothing has changed.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), ForwardedHeaderError> {
        let name = HeaderName::try_from(name).map_err(|_| ForwardedHeaderError::Name)?;
        if RESERVED.contains(&name.as_str()) {
            return Err(ForwardedHeaderError::Reserved);
        }
        let mut value = HeaderValue::try_from(value).map_err(|_| ForwardedHeaderError::Value)?;
        value.set_sensitive(true);
        self.0.insert(name, value);
        Ok(())
    }

    /// Whether credentials are among them.
    pub(super) fn authorize(&self) -> bool {
        self.0.contains_key(AUTHORIZATION)
    }

    pub(super) fn to_map(&self) -> HeaderMap {
        self.0.clone()
    }
}

impl fmt::Debug for ForwardedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys().map(HeaderName::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_of_http_and_mcp_and_those_that_cannot_be_sent_are_refused() {
        use ForwardedHeaderError::{Name, Reserved, Value};
        let mut headers = ForwardedHeaders::default();
        for (name, value, refused) in [
            ("Host", "elsewhere", Reserved),
            ("CONTENT-type", "text/html", Reserved),
            ("Accept", "*/*", Reserved),
            ("Mcp-Session-Id", "stolen", Reserved),
            ("MCP-Protocol-Version", "2024-11-05", Reserved),
            ("Content-Length", "7", Reserved),
            ("Transfer-Encoding", "chunked", Reserved),
            ("X-Forwarded-For", "10.0.0.1", Reserved),
            ("", "a", Name),
            ("X Y", "a", Name),
            ("X-Über", "a", Name),
            ("X-Lines", "one\r\nHost: two", Value),
            ("X-Zero", "\0", Value),
        ] {
            assert_eq!(headers.insert(name, value), Err(refused), "{name}");
        }
        assert_eq!(headers, ForwardedHeaders::default());
    }

    #[test]
    fn values_are_not_shown() {
        let mut headers = ForwardedHeaders::default();
        headers.insert("X-Api-Key", "hunter2").expect("a header");
        headers.insert("Authorization", "Bearer hunter2").expect("a header");
        assert_eq!(format!("{headers:?} {:?}", headers.0).matches("hunter2").count(), 0);
        assert_eq!(format!("{headers:?}"), r#"["x-api-key", "authorization"]"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

        #[test]
        fn any_header_is_taken_or_refused(name in "\\PC{0,8}|[A-Za-z-]{1,8}", value in "(\\PC|[\r\n\0]){0,8}") {
            let _ = ForwardedHeaders::default().insert(&name, &value);
        }
    }
}
