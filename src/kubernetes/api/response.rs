//! The responses of the API server.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{DATE, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use serde_json::Value;

use super::refusal::Refusal;

/// A whole response of the API server.
///
/// [`ApiRequest::send`](super::ApiRequest::send) returns it. A test can make it from a
/// response of the crate `http`, version 1.
///
/// ```
/// use vmcp_status::api_server::{ApiResponse, RefusalKind};
///
/// let response = http::Response::builder().status(404).body("404 page not found".into())?;
/// let response = ApiResponse::from(response);
/// let refusal = response.refusal().expect("404 is not a success");
/// assert_eq!(refusal.kind(), RefusalKind::NotServed);
/// assert_eq!(refusal.summary(), "the API server answered 404");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ApiResponse {
    code: StatusCode,
    retry_after: Option<Duration>,
    /// The texts of the `Warning` headers (RFC 7234, 5.5).
    warnings: Vec<String>,
    body: Bytes,
    /// `None` for a success.
    refusal: Option<Refusal>,
}

impl From<Response<Bytes>> for ApiResponse {
    fn from(response: Response<Bytes>) -> Self {
        let (code, headers) = (response.status(), response.headers());
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // The clocks of the two machines may differ, and a date is the server's.
        let sent_at = header(DATE).and_then(|text| DateTime::parse_from_rfc2822(text).ok());
        let sent_at = sent_at.map_or_else(Utc::now, |date| date.with_timezone(&Utc));
        let retry_after = header(RETRY_AFTER).and_then(|text| pause(text, sent_at));
        let warnings = headers.get_all(WARNING).iter().filter_map(|value| value.to_str().ok().map(String::from));
        let warnings = warnings.collect();
        let body = response.into_body();
        let refusal = (!code.is_success()).then(|| Refusal::from_body(code.as_u16(), &body));
        ApiResponse { code, retry_after, warnings, body, refusal }
    }
}

impl ApiResponse {
    /// Returns the HTTP status code.
    pub fn code(&self) -> u16 {
        self.code.as_u16()
    }

    /// Returns what the server refused, and what that means; `None` for a success.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Returns the pause that the server asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the server warns that it does not know this field, such as
    /// `status.runtime`, and has dropped it. It warns only of a request with
    /// `fieldValidation=Warn`.
    pub fn warns_of(&self, field: &str) -> bool {
        // `299 - "unknown field \"status.runtime\""`
        let quoted = format!("unknown field \\\"{field}\\\"");
        self.warnings.iter().any(|warning| warning.contains(&quoted))
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    ///
    /// Fails when the body is not JSON. Then the response is not the API server's own,
    /// and may repeat what was sent, so do not log it.
    pub fn json(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3). Returns `None` for
/// anything else.
fn pause(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(at.with_timezone(&Utc).signed_duration_since(now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::fixtures::retry_after;
    use super::*;
    use crate::backoff::{BackoffPolicy, Backoffs, LONGEST};
    use crate::error::Retry;

    #[test]
    fn retry_after_reads_as_seconds_or_date_and_junk_as_none() {
        let now = DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date").with_timezone(&Utc);
        let seconds = |text| pause(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for junk in ["", "soon", "-1", "1.5", "99999999999999999999999", "\u{7f}"] {
            assert_eq!(seconds(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn date_of_retry_after_counts_from_the_date_of_the_server() {
        // This machine's clock is decades ahead of the server's.
        let response = Response::builder()
            .header(DATE, "Sun, 06 Nov 1994 08:49:37 GMT")
            .header(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:47 GMT");
        let response = ApiResponse::from(response.status(429).body(Bytes::new()).expect("a response"));
        assert_eq!(response.retry_after(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn warning_of_a_field_is_found_among_others() {
        let mut response = Response::new(Bytes::new());
        let mut warn = |text: &str| {
            response.headers_mut().append(WARNING, HeaderValue::from_str(text).expect("a header"));
            ApiResponse::from(response.clone())
        };
        let deprecated = warn("299 - \"toolhive.stacklok.dev/v1alpha1 VirtualMCPServer is deprecated\"");
        assert!(!deprecated.warns_of("status.runtime"));
        let unknown = warn(r#"299 - "unknown field \"status.runtime\"""#);
        assert!(unknown.warns_of("status.runtime"));
        assert!(!unknown.warns_of("status.run"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn any_retry_after_is_a_pause_or_nothing(text in retry_after(), now in any::<i32>()) {
            let now = DateTime::from_timestamp(now.into(), 0).expect("in range");
            if let Some(asked) = pause(&text, now) {
                prop_assert!(Backoffs::new(&BackoffPolicy::default()).next(Retry::After(asked)) <= LONGEST);
            }
        }
    }
}
