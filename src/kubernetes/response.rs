//! What an answer of the API server means.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{RETRY_AFTER, WARNING};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::api::ReadStrategy;
use crate::custom_resource::{PLURAL, STATUS_SUBRESOURCE};
use crate::error::{Retry, SinkError};

/// How much of a server's words is repeated.
const MAX_WORDS: usize = 512;

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Read(ReadStrategy),
    /// Whether the server knows a field, by a write that is not carried out.
    Ask,
    Write,
}

impl Operation {
    /// The verb and the resource that the role has to have.
    fn right(self) -> String {
        match self {
            Operation::Read(ReadStrategy::Status) => format!("get on {STATUS_SUBRESOURCE}"),
            Operation::Read(ReadStrategy::Object) => format!("get on {PLURAL}"),
            Operation::Read(ReadStrategy::EmptyPatch) | Operation::Ask | Operation::Write => {
                format!("patch on {STATUS_SUBRESOURCE}")
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Read(_) | Operation::Ask => "read",
            Operation::Write => "write",
        })
    }
}

#[derive(Debug)]
pub(super) struct ApiResponse {
    code: StatusCode,
    retry_after: Option<Duration>,
    /// The texts of the `Warning` headers (RFC 7234, 5.5).
    warnings: Vec<String>,
    body: Bytes,
    /// The body of a refusal, where it is a `metav1.Status`.
    refusal: Refusal,
}

/// The part of `metav1.Status` that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    details: Option<Details>,
    /// Whether the body is no JSON. Such words are not the API server's, and
    /// are not repeated: a proxy may say what it was sent.
    #[serde(skip)]
    is_raw: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Option<Vec<Value>>,
}

impl ApiResponse {
    pub(super) fn new(code: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let retry_after =
            headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| pause(text, Utc::now()));
        let warnings = headers.get_all(WARNING).iter().filter_map(|value| value.to_str().ok().map(String::from));
        let refusal = if code.is_success() { Refusal::default() } else { Refusal::of(&body) };
        ApiResponse { code, retry_after, warnings: warnings.collect(), body, refusal }
    }

    pub(super) fn code(&self) -> StatusCode {
        self.code
    }

    /// Whether the server says that it does not know this field, and has
    /// dropped it.
    pub(super) fn warns_of(&self, field: &str) -> bool {
        // `299 - "unknown field \"status.runtime\""`
        let quoted = format!("unknown field \\\"{field}\\\"");
        self.warnings.iter().any(|warning| warning.contains(&quoted))
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What the server answered, in its own words.
    pub(super) fn said(&self) -> String {
        format!("the API server answered {}{}", self.code.as_u16(), self.refusal.words())
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.code == StatusCode::FORBIDDEN
    }

    /// A JSON Patch whose paths are not there: refused like bad content, but
    /// without a cause.
    pub(super) fn is_patch_mismatch(&self) -> bool {
        self.code == StatusCode::UNPROCESSABLE_ENTITY && !self.refusal.has_causes()
    }

    /// Too large for the server, in one of its three ways of saying so.
    pub(super) fn is_too_large(&self) -> bool {
        self.code == StatusCode::PAYLOAD_TOO_LARGE
            || (self.code == StatusCode::INTERNAL_SERVER_ERROR
                && ["request is too large", "ResourceExhausted"].iter().any(|sign| self.refusal.message.contains(sign)))
    }

    /// The object of a success; what to do about everything else.
    pub(super) fn into_object(self, doing: Operation, what: &str) -> Result<Value, SinkError> {
        if self.code.is_success() {
            return serde_json::from_slice(&self.body).map_err(|error| {
                let message = format!("the answer to a {doing} of {what} is not JSON: is it an API server?");
                SinkError::new(Retry::Transient, message).caused_by(error)
            });
        }
        let (retry, advice) = self.advice(doing);
        Err(SinkError::new(retry, format!("cannot {doing} {what}: {advice} ({})", self.said())))
    }

    fn advice(&self, doing: Operation) -> (Retry, String) {
        let passing = self.retry_after.map_or(Retry::Transient, Retry::After);
        match self.code {
            _ if self.is_too_large() => {
                (Retry::TooLarge, "the status is too large, fewer backends will be listed".into())
            }
            StatusCode::CONFLICT => (Retry::Conflict, "somebody else wrote in between, trying again".into()),
            StatusCode::TOO_MANY_REQUESTS => (passing, "the API server is busy, trying again later".into()),
            StatusCode::UNAUTHORIZED => (
                Retry::Blocked,
                "the credentials are not accepted: has the token expired, does the service account exist?".into(),
            ),
            StatusCode::FORBIDDEN => (
                Retry::Blocked,
                format!("the role lacks the verb {}: grant it to the service account, see RBAC.md", doing.right()),
            ),
            StatusCode::NOT_FOUND => (
                Retry::Blocked,
                "there is no such object, or the CRD is not served in this version: create it, it is looked for again"
                    .into(),
            ),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                (Retry::Refused, "the content is refused; it is not sent again until it changes".into())
            }
            code if code.is_server_error() || code == StatusCode::REQUEST_TIMEOUT => {
                (passing, "the API server has a problem, trying again".into())
            }
            _ => (Retry::Blocked, "this is no answer that an API server gives: is a proxy in between?".into()),
        }
    }
}

impl Refusal {
    fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Refusal {
            message: String::from_utf8_lossy(body).trim().to_owned(),
            details: None,
            is_raw: true,
        })
    }

    fn has_causes(&self) -> bool {
        self.details.as_ref().and_then(|details| details.causes.as_ref()).is_some_and(|causes| !causes.is_empty())
    }

    fn words(&self) -> String {
        let message = if self.is_raw { "" } else { self.message.as_str() };
        let mut words: String = message.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        if !words.is_empty() {
            words.insert_str(0, ": ");
        }
        words
    }
}

/// `Retry-After`: seconds, or an HTTP date (RFC 9110, 10.2.3). Anything else is
/// nothing.
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
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::backoff::{BackoffPolicy, Backoffs, LONGEST};

    fn answer(code: u16, body: &str) -> ApiResponse {
        let code = StatusCode::from_u16(code).expect("a code");
        ApiResponse::new(code, &HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()))
    }

    fn retry(answer: ApiResponse) -> Retry {
        answer.into_object(Operation::Write, "it").expect_err("no success").retry()
    }

    #[test]
    fn each_refusal_has_its_kind_of_retry() {
        let status = |message: &str| format!(r#"{{"kind":"Status","message":"{message}"}}"#);
        for (code, body, kind) in [
            (409, "", Retry::Conflict),
            (429, "Too many requests, please try again later.\n", Retry::Transient),
            (401, "{}", Retry::Blocked),
            (403, "", Retry::Blocked),
            (404, "404 page not found", Retry::Blocked),
            (413, "", Retry::TooLarge),
            (422, r#"{"details":{"causes":[{"field":"status.phase"}]}}"#, Retry::Refused),
            (500, "", Retry::Transient),
            (500, &status("etcdserver: request is too large"), Retry::TooLarge),
            (500, &status("rpc error: code = ResourceExhausted desc = x"), Retry::TooLarge),
            (503, "<html>", Retry::Transient),
            (302, "", Retry::Blocked),
        ] {
            assert_eq!(retry(answer(code, body)), kind, "{code} {body}");
        }
    }

    #[test]
    fn forbidden_names_the_missing_verb_and_where_to_read_on() {
        let error = answer(403, "{}").into_object(Operation::Write, "it").expect_err("forbidden");
        assert!(error.to_string().contains("patch on virtualmcpservers/status"), "{error}");
        assert!(error.to_string().contains("RBAC.md"), "{error}");
    }

    #[test]
    fn two_meanings_of_422_are_told_apart() {
        let misfit = r#"{"message":"the server rejected our request due to an error in our request","details":{}}"#;
        assert!(answer(422, misfit).is_patch_mismatch());
        assert!(!answer(422, r#"{"details":{"causes":[{"reason":"FieldValueInvalid"}]}}"#).is_patch_mismatch());
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_junk_is_nothing() {
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
    fn in_a_header(text: &str) -> HeaderMap {
        let value = http::HeaderValue::from_bytes(text.as_bytes());
        value.into_iter().map(|value| (RETRY_AFTER, value)).collect()
    }

    fn retry_after() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,20}",
            "[+-]?[0-9]{1,25}(\\.[0-9]+)?",
            "((Sun|Mon|Foo), )?[0-9]{1,2} (Jan|Feb|Nov|Foo) [0-9]{1,5} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] (GMT|UT|[+-][0-9]{4}|[A-Z])",
        ]
    }

    fn error_body() -> impl Strategy<Value = Vec<u8>> {
        let details = prop::sample::select(vec!["null", "{}", "[]", "7", r#"{"causes":null}"#, r#"{"causes":[7]}"#]);
        prop_oneof![
            vec(any::<u8>(), 0..100),
            (".{0,9}", details).prop_map(|(text, details)| {
                let text = serde_json::to_string(&text.repeat(300)).expect("a text");
                format!(r#"{{"kind":"Status","message":{text},"details":{details}}}"#).into_bytes()
            }),
            Just(b"<p>&#8238;\xe2\x80\xae</p>".repeat(10_000)),
            Just(b"[".repeat(100_000)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn whatever_a_server_refuses_with_is_told_in_few_words(
            code in 300u16..600, body in error_body(), header in retry_after(),
        ) {
            let code = StatusCode::from_u16(code).expect("a code");
            let answer = ApiResponse::new(code, &in_a_header(&header), body.into());
            let error = answer.into_object(Operation::Write, "it").expect_err("no success");
            let message = error.chain();
            prop_assert!(message.chars().count() <= MAX_WORDS + 256 && !message.contains(char::is_control), "{message}");
            let pause = Backoffs::new(&BackoffPolicy::default()).next(error.retry());
            prop_assert!(pause <= LONGEST, "{pause:?}");
        }

        #[test]
        fn whatever_comes_as_a_success_is_an_object_or_a_passing_fault(body in error_body()) {
            let answer = ApiResponse::new(StatusCode::OK, &HeaderMap::new(), body.into());
            if let Err(error) = answer.into_object(Operation::Write, "it") {
                prop_assert_eq!(error.retry(), Retry::Transient);
                prop_assert!(error.chain().chars().count() <= 256);
            }
        }

        #[test]
        fn any_retry_after_is_a_pause_or_nothing(text in retry_after(), now in any::<i32>()) {
            let now = DateTime::from_timestamp(now.into(), 0).expect("in range");
            if let Some(asked) = pause(&text, now) {
                prop_assert!(Backoffs::new(&BackoffPolicy::default()).next(Retry::After(asked)) <= LONGEST);
            }
        }
    }
}
