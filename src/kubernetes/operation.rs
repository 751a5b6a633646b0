//! The requests of the sink to the API server, and how it reacts to a refusal.

use std::fmt;

use serde_json::Value;

use super::api::{ApiResponse, Refusal, RefusalKind};
use crate::custom_resource::{PLURAL, STATUS_SUBRESOURCE};
use crate::error::{Retry, SinkError};

/// How the object can be read, the cheapest right first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadStrategy {
    /// GET of `/status`.
    Status,
    /// GET of the object.
    Object,
    /// An empty patch of `/status`, which changes nothing and answers with the
    /// object.
    EmptyPatch,
}

impl ReadStrategy {
    pub(super) const ALL: [ReadStrategy; 3] = [ReadStrategy::Status, ReadStrategy::Object, ReadStrategy::EmptyPatch];
}

/// A request of the sink.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Read(ReadStrategy),
    /// Asks by a dry run whether the server knows a field.
    Ask,
    Write,
}

impl Operation {
    /// Returns the verb and the resource that the role needs.
    fn right(self) -> String {
        match self {
            Operation::Read(ReadStrategy::Status) => format!("get on {STATUS_SUBRESOURCE}"),
            Operation::Read(ReadStrategy::Object) => format!("get on {PLURAL}"),
            Operation::Read(ReadStrategy::EmptyPatch) | Operation::Ask | Operation::Write => {
                format!("patch on {STATUS_SUBRESOURCE}")
            }
        }
    }

    /// Returns the object in a success, or an error that says what to do. `what` names
    /// the object.
    pub(super) fn object_of(self, response: &ApiResponse, what: &str) -> Result<Value, SinkError> {
        let Some(refusal) = response.refusal() else {
            return response.json().map_err(|error| {
                let message = format!("the answer to a {self} of {what} is not JSON: is it an API server?");
                SinkError::new(Retry::Transient, message).caused_by(error)
            });
        };
        let passing = response.retry_after().map_or(Retry::Transient, Retry::After);
        let (retry, advice) = self.advice(refusal, passing);
        Err(SinkError::new(retry, format!("cannot {self} {what}: {advice} ({})", refusal.summary())))
    }

    fn advice(self, refusal: &Refusal, passing: Retry) -> (Retry, String) {
        let is_write = matches!(self, Operation::Write);
        match refusal.kind() {
            RefusalKind::TooLarge if is_write => {
                (Retry::TooLarge, "the status is too large, fewer backends will be listed".into())
            }
            RefusalKind::Conflict => (Retry::Conflict, "another client wrote in between, trying again".into()),
            RefusalKind::TooManyRequests => (passing, "the API server is busy, trying again later".into()),
            RefusalKind::Unauthorized => (
                Retry::Blocked,
                "the credentials are not accepted: has the token expired, does the service account exist?".into(),
            ),
            RefusalKind::Denied => (
                // What is forbidden now may be allowed later, on whichever grounds; what is
                // invalid stays so.
                if is_write && refusal.code() != 403 { Retry::Refused } else { Retry::Blocked },
                "an admission webhook or policy denied it, whose owner can allow it".into(),
            ),
            RefusalKind::NamespaceTerminating => (Retry::Blocked, "the namespace is being deleted".into()),
            RefusalKind::MissingRight => (
                Retry::Blocked,
                format!("the role lacks the verb {}: grant it to the service account, see RBAC.md", self.right()),
            ),
            RefusalKind::NamespaceNotFound | RefusalKind::ObjectNotFound | RefusalKind::NotServed => (
                Retry::Blocked,
                "there is no such object, or the CRD is not served in this version: create it, the reporter looks again"
                    .into(),
            ),
            RefusalKind::Invalid | RefusalKind::PatchMismatch | RefusalKind::DryRunUnsupported if is_write => {
                (Retry::Refused, "the API server refuses the content; the reporter sends it again once it changes".into())
            }
            RefusalKind::ServerError => (passing, "the API server has a problem, trying again".into()),
            RefusalKind::TooLarge
            | RefusalKind::Invalid
            | RefusalKind::PatchMismatch
            | RefusalKind::DryRunUnsupported
            | RefusalKind::Unexpected => {
                (Retry::Blocked, "an API server does not answer like this: is a proxy in between?".into())
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

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;
    use http::{HeaderValue, Response};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::api::fixtures::retry_after;
    use super::*;
    use crate::backoff::{BackoffPolicy, Backoffs, LONGEST};

    fn response(code: u16, retry_after: Option<&str>, body: Vec<u8>) -> ApiResponse {
        let mut response = Response::builder().status(code);
        if let Some(value) = retry_after.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()) {
            response = response.header(RETRY_AFTER, value);
        }
        response.body(body.into()).expect("a response").into()
    }

    fn answer(code: u16, body: &str) -> ApiResponse {
        response(code, None, body.as_bytes().to_vec())
    }

    fn retry(answer: ApiResponse) -> Retry {
        Operation::Write.object_of(&answer, "it").expect_err("no success").retry()
    }

    #[test]
    fn each_refusal_has_its_kind_of_retry() {
        let status = |message: &str| format!(r#"{{"kind":"Status","message":"{message}"}}"#);
        for (code, body, kind) in [
            (400, "<html>", Retry::Transient),
            (400, r#"{"status":"Failure"}"#, Retry::Refused),
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
    fn forbidden_names_the_missing_verb_and_the_document() {
        let error = Operation::Write.object_of(&answer(403, "{}"), "it").expect_err("forbidden");
        assert!(error.to_string().contains("patch on virtualmcpservers/status"), "{error}");
        assert!(error.to_string().contains("RBAC.md"), "{error}");
    }

    #[test]
    fn denial_is_repeated_and_not_taken_for_a_missing_right() {
        let denied = r#"{"message":"admission webhook \"w\" denied the request: you cannot"}"#;
        for (code, write, read) in [
            (403, Retry::Blocked, Retry::Blocked),
            (400, Retry::Refused, Retry::Blocked),
            (409, Retry::Refused, Retry::Blocked),
            (422, Retry::Refused, Retry::Blocked),
        ] {
            for (operation, retry) in [(Operation::Write, write), (Operation::Read(ReadStrategy::EmptyPatch), read)] {
                let error = operation.object_of(&answer(code, denied), "it").expect_err("denied");
                assert_eq!(error.retry(), retry, "{code} {operation:?}");
                let message = error.to_string();
                assert!(message.contains("you cannot") && !message.contains("RBAC.md"), "{message}");
            }
        }
    }

    #[test]
    fn read_that_is_refused_for_its_content_is_tried_again() {
        for code in [400, 413, 422] {
            let failure = answer(code, r#"{"status":"Failure"}"#);
            let error = Operation::Read(ReadStrategy::Status).object_of(&failure, "it").expect_err("no success");
            assert_eq!(error.retry(), Retry::Blocked, "{code}");
        }
    }

    #[test]
    fn two_meanings_of_422_are_distinguished() {
        let mismatch = r#"{"message":"the server rejected our request due to an error in our request","details":{}}"#;
        let kind = |body| answer(422, body).refusal().map(Refusal::kind);
        assert_eq!(kind(mismatch), Some(RefusalKind::PatchMismatch));
        assert_eq!(kind(r#"{"details":{"causes":[{"reason":"FieldValueInvalid"}]}}"#), Some(RefusalKind::Invalid));
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
        fn any_refusal_becomes_a_short_message(
            code in 300u16..600, body in error_body(), header in retry_after(),
        ) {
            let answer = response(code, Some(&header), body);
            let error = Operation::Write.object_of(&answer, "it").expect_err("no success");
            let message = error.chain();
            prop_assert!(message.chars().count() <= 512 + 256 && !message.contains(char::is_control), "{message}");
            let pause = Backoffs::new(&BackoffPolicy::default()).next(error.retry());
            prop_assert!(pause <= LONGEST, "{pause:?}");
        }

        #[test]
        fn any_success_is_an_object_or_a_transient_error(body in error_body()) {
            let answer = response(200, None, body);
            if let Err(error) = Operation::Write.object_of(&answer, "it") {
                prop_assert_eq!(error.retry(), Retry::Transient);
                prop_assert!(error.chain().chars().count() <= 256);
            }
        }
    }
}
