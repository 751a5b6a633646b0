//! In which of its two homes a reporter would write, and whether ToolHive's
//! operator follows there. Pure.

use chrono::{DateTime, Utc};
use vmcp_status::StatusLocation;
use vmcp_status::api_server::RefusalKind;

use super::finding::{Finding, described, patch_status};
use super::probe::Rest;
use crate::homes::{runtime, unfollowed};

const RUNTIME: &str = "status.runtime";
const TOP_LEVEL: &str = "the top level of the status";

/// What is known of `status.runtime`.
enum Known {
    /// It can be written, and why that is known.
    Yes(&'static str),
    /// The CRD does not have it.
    No,
    /// Why nothing is known.
    Untold(String),
}

impl Known {
    fn of(rest: &Rest) -> Self {
        if rest.object().and_then(runtime).is_some() {
            return Known::Yes("the object has one");
        }
        match rest.runtime.outcome() {
            Some(Err(RefusalKind::MissingRight)) => Known::Untold(format!("without {}", patch_status())),
            Some(Ok(_)) if rest.runtime.warns_of(RUNTIME) => Known::No,
            Some(Ok(body)) if body.is_object() => Known::Yes("the CRD has it"),
            _ => Known::Untold(described(&rest.runtime)),
        }
    }
}

pub(super) fn location(setting: StatusLocation, rest: &Rest) -> Finding {
    const QUESTION: &str = "location";
    const BY_HAND: &str = "chosen by hand";
    match (setting, Known::of(rest)) {
        (StatusLocation::TopLevel, _) => match rest.object() {
            None => Finding::warn(
                QUESTION,
                format!(
                    "{TOP_LEVEL}, {BY_HAND}; no object was read, so that it is not \
                known whether a {RUNTIME} is in the way"
                ),
            ),
            Some(object) if runtime(object).is_some() => {
                let found = format!("{TOP_LEVEL}, {BY_HAND}: a reporter would remove the {RUNTIME} that is there");
                Finding::warn(QUESTION, found)
                    .advise("if a vMCP writes it, the two work against each other: leave --status-location at auto")
            }
            Some(_) => Finding::ok(QUESTION, format!("{TOP_LEVEL}, {BY_HAND}")),
        },
        (StatusLocation::Runtime, Known::Yes(_)) => Finding::ok(QUESTION, format!("{RUNTIME}, {BY_HAND}")),
        (StatusLocation::Runtime, Known::No) => Finding::fail(
            QUESTION,
            format!("{RUNTIME}, {BY_HAND}: the CRD does not have it, and drops what is written"),
        )
        .advise("update ToolHive's CRDs, or leave --status-location at auto"),
        (StatusLocation::Runtime, Known::Untold(why)) => {
            Finding::warn(QUESTION, format!("{RUNTIME}, {BY_HAND}; whether the CRD has it cannot be told: {why}"))
        }
        (_, Known::Yes(why)) => Finding::ok(QUESTION, format!("{RUNTIME}: {why}")),
        (_, Known::No) => Finding::ok(QUESTION, format!("{TOP_LEVEL}: the CRD has no {RUNTIME}")),
        (_, Known::Untold(why)) => Finding::warn(QUESTION, format!("cannot be told: {why}"))
            .advise("a reporter finds out with its first write, and logs where the status lives"),
    }
}

/// Whether users see what is reported in `runtime`; `None` where there is none.
pub(super) fn operator(rest: &Rest, now: DateTime<Utc>) -> Option<Finding> {
    const QUESTION: &str = "operator";
    let object = rest.object()?;
    runtime(object)?;
    Some(match unfollowed(object) {
        None => Finding::ok(QUESTION, format!("shows the backends that {RUNTIME} lists")),
        Some(report) if !report.is_lasting(now) => {
            Finding::ok(QUESTION, format!("has a few seconds to copy what was reported {}", report.report(now)))
        }
        Some(report) => {
            Finding::warn(QUESTION, format!("reported {}; not taken over by the operator", report.report(now)))
                .advise("users see something else: is ToolHive's operator running, in v0.47.0 or later?")
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vmcp_status::api_server::ApiResponse;

    use super::super::finding::Verdict::{self, Fail, Ok, Warn};
    use super::super::probe::Answer;
    use super::super::probe::tests::got;
    use super::*;

    fn dropped() -> Answer {
        let response = http::Response::builder()
            .header(http::header::WARNING, r#"299 - "unknown field \"status.runtime\"""#)
            .body(json!({"kind": "PartialObjectMetadata"}).to_string().into());
        ApiResponse::from(response.expect("a response")).into()
    }

    fn kept() -> Answer {
        got(200, json!({"kind": "PartialObjectMetadata"}))
    }

    /// An object with this status, and the answer to the question for `runtime`.
    fn rest(status: Value, runtime: Answer) -> Rest {
        let object = || got(200, json!({"metadata": {}, "status": status.clone()}));
        Rest {
            discovery: kept(),
            get_status: object(),
            get_object: object(),
            empty_patch: object(),
            runtime,
            write: None,
        }
    }

    #[track_caller]
    fn assert_location(setting: StatusLocation, rest: &Rest, verdict: Verdict, words: &str) {
        let finding = location(setting, rest);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(words), "{words}: {finding:?}");
    }

    #[test]
    fn auto_goes_where_the_object_or_the_crd_says() {
        let auto = |status, answer, verdict, words| {
            assert_location(StatusLocation::Auto, &rest(status, answer), verdict, words);
        };
        auto(json!({}), kept(), Ok, "status.runtime: the CRD has it");
        auto(json!({}), dropped(), Ok, "top level of the status: the CRD has no status.runtime");
        let refused = || got(400, json!({"message": "admission webhook \"w\" does not support dry run"}));
        auto(json!({}), refused(), Warn, "does not support dry run");
        auto(json!({"runtime": {}}), refused(), Ok, "status.runtime: the object has one");
        auto(json!({}), Answer::Nothing("nothing within 5 s".into()), Warn, "nothing within 5 s");
    }

    #[test]
    fn missing_right_and_page_of_a_proxy_tell_nothing_of_the_crd() {
        let forbidden = got(403, json!({"message": "User \"a\" cannot patch resource"}));
        assert_location(StatusLocation::Auto, &rest(json!({}), forbidden), Warn, &patch_status());
        assert_location(StatusLocation::Auto, &rest(json!({}), got(200, json!("<html>"))), Warn, "cannot be told");
    }

    #[test]
    fn runtime_by_hand_needs_a_crd_that_has_it() {
        let by_hand = |answer, verdict, words| {
            assert_location(StatusLocation::Runtime, &rest(json!({}), answer), verdict, words);
        };
        by_hand(kept(), Ok, "chosen by hand");
        by_hand(dropped(), Fail, "drops what is written");
        by_hand(got(500, json!({})), Warn, "cannot be told");
    }

    #[test]
    fn top_level_by_hand_warns_of_a_runtime_that_it_would_remove() {
        let by_hand = |rest: &Rest, verdict, words| assert_location(StatusLocation::TopLevel, rest, verdict, words);
        by_hand(&rest(json!({}), kept()), Ok, "the top level");
        by_hand(&rest(json!({"runtime": {"phase": "Ready"}}), kept()), Warn, "would remove");
        let [get_status, get_object, empty_patch] = [(); 3].map(|()| got(404, json!({})));
        by_hand(&Rest { get_status, get_object, empty_patch, ..rest(json!({}), kept()) }, Warn, "no object was read");
    }

    #[test]
    fn operator_is_judged_by_what_it_shows_of_runtime() {
        let now = DateTime::parse_from_rfc3339("2026-11-24T10:00:00Z").expect("a time").to_utc();
        let found = |top_level: Value, checked: &str| {
            let backend = json!({"name": "a", "status": "ready", "lastHealthCheck": checked});
            let runtime = json!({"phase": "Ready", "backendCount": 1, "discoveredBackends": [backend]});
            operator(&rest(json!({"discoveredBackends": top_level, "runtime": runtime}), kept()), now)
                .map(|finding| (finding.verdict, finding.found))
                .expect("there is a runtime")
        };
        let (verdict, _) = found(json!([{"name": "a", "status": "ready"}]), "2026-11-24T09:00:00Z");
        assert_eq!(verdict, Ok);
        let (verdict, words) = found(json!([]), "2026-11-24T09:56:00Z");
        assert_eq!(verdict, Warn);
        assert_eq!(words, "reported 4m ago: Ready, 1 routable, 1 listed; not taken over by the operator");
        let (verdict, words) = found(json!([]), "2026-11-24T09:59:58Z");
        assert_eq!((verdict, words.contains("reported 2s ago")), (Ok, true), "{words}");
        assert!(operator(&rest(json!({}), kept()), now).is_none(), "there is nothing to follow");
    }
}
