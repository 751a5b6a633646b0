//! The two homes of a status in one object, compared. Pure.
//!
//! Users see the top level of `status`. Where the vMCP reports to
//! `status.runtime`, ToolHive's operator copies from there what users see, and
//! while it does not, they see something else than was reported.

use chrono::{DateTime, Utc};
use serde::Deserialize as _;
use serde_json::Value;
use vmcp_status::Status;
use vmcp_status::api_server::{RECONCILE, is_followed};

use super::format::{age, counts};

/// A report in `runtime` that the top level does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfollowed {
    /// When it was written; `None` where nothing in the object tells.
    pub(crate) since: Option<DateTime<Utc>>,
    /// What it says, such as `Degraded, 2 routable, 3 listed`; empty where it cannot
    /// be read.
    pub(crate) summary: String,
}

impl Unfollowed {
    /// From when on it is the operator that is late: until then it may be at
    /// work.
    pub(crate) fn lasting_from(&self) -> Option<DateTime<Utc>> {
        self.since.map(|since| since + RECONCILE)
    }

    /// Whether the operator has had the time for a reconcile.
    pub(crate) fn is_lasting(&self, now: DateTime<Utc>) -> bool {
        self.lasting_from().is_none_or(|from| from <= now)
    }

    /// When it was reported and what it says.
    pub(crate) fn report(&self, now: DateTime<Utc>) -> String {
        let when =
            if self.since.is_some() { format!("{} ago", age(self.since, now)) } else { "at an unknown time".into() };
        if self.summary.is_empty() { when } else { format!("{when}: {}", self.summary) }
    }
}

/// The `runtime` of an object, if the object has one.
pub(crate) fn runtime(object: &Value) -> Option<&Value> {
    object.pointer("/status/runtime").filter(|runtime| runtime.is_object())
}

/// What `runtime` says, if the top level lists other backends or the same ones
/// in other states. Phase, message and count of the top level are the
/// operator's own and differ for good reasons.
pub(crate) fn unfollowed(object: &Value) -> Option<Unfollowed> {
    let runtime = runtime(object)?;
    if is_followed(object) {
        return None;
    }
    let since = written_at(object).or_else(|| last_check(runtime));
    Some(Unfollowed { since, summary: Status::deserialize(runtime).map(|status| summary(&status)).unwrap_or_default() })
}

fn listed(home: &Value) -> impl Iterator<Item = &Value> {
    home["discoveredBackends"].as_array().into_iter().flatten()
}

/// When `runtime` was last written, as the server has noted it.
fn written_at(object: &Value) -> Option<DateTime<Utc>> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let of_runtime = |entry: &&Value| entry.pointer("/fieldsV1/f:status/f:runtime").is_some();
    entries.iter().filter(of_runtime).filter_map(|entry| time(&entry["time"])).max()
}

/// When the newest of its findings was made. A server stops to keep managed
/// fields for objects that are very large.
fn last_check(runtime: &Value) -> Option<DateTime<Utc>> {
    listed(runtime).filter_map(|backend| time(&backend["lastHealthCheck"])).max()
}

/// When the newest check in either home was made. The top level may lag behind
/// `runtime`.
pub(crate) fn newest_check(object: &Value) -> Option<DateTime<Utc>> {
    object.get("status").into_iter().chain(runtime(object)).filter_map(last_check).max()
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.to_utc())
}

fn summary(status: &Status) -> String {
    format!("{}, {}", status.phase, counts(status))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use chrono::TimeDelta;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    fn ago(seconds: i64) -> String {
        (now() - TimeDelta::seconds(seconds)).to_rfc3339()
    }

    fn object(top_level: &Value, runtime: &Value) -> Value {
        let mut object = json!({"metadata": {}, "status": top_level});
        object["status"]["runtime"] = runtime.clone();
        object
    }

    /// Three backends, of which one is down.
    fn reported() -> Value {
        json!({
            "phase": "Degraded", "message": "1 is down", "backendCount": 2,
            "discoveredBackends": [
                {"name": "a", "status": "ready", "lastHealthCheck": ago(250)},
                {"name": "b", "status": "unavailable", "lastHealthCheck": ago(240)},
                {"name": "c", "status": "unauthenticated"},
            ],
        })
    }

    #[test]
    fn top_level_with_the_same_backends_is_followed_whatever_else_it_says() {
        let top_level = json!({
            "phase": "Ready", "message": "the operator's own", "backendCount": 7, "url": "http://x",
            "discoveredBackends": [
                {"name": "c", "status": "unauthenticated", "message": "copied"},
                {"name": "b", "status": "unavailable"},
                {"name": "a", "status": "ready"},
            ],
        });
        assert_eq!(unfollowed(&object(&top_level, &reported())), None);
        assert_eq!(unfollowed(&object(&json!({}), &json!({"phase": "Ready", "discoveredBackends": []}))), None);
    }

    #[test]
    fn object_without_runtime_has_nothing_to_follow() {
        for status in
            [json!(null), json!({}), reported(), json!({"runtime": null, "discoveredBackends": [{"name": "a"}]})]
        {
            assert_eq!(unfollowed(&json!({"status": status})), None, "{status}");
        }
        assert_eq!(unfollowed(&json!({})), None);
    }

    #[test]
    fn missing_added_or_changed_backend_is_unfollowed() {
        let others = [
            json!([]),
            json!([{"name": "a", "status": "ready"}, {"name": "b", "status": "unavailable"}]),
            json!([{"name": "a", "status": "ready"}, {"name": "b", "status": "ready"}, {"name": "c", "status": "unauthenticated"}]),
            json!([
                {"name": "a", "status": "ready"}, {"name": "b", "status": "unavailable"},
                {"name": "c", "status": "unauthenticated"}, {"name": "d", "status": "ready"},
            ]),
        ];
        for other in others {
            let found = unfollowed(&object(&json!({"discoveredBackends": other}), &reported()));
            assert_eq!(
                found.map(|found| found.report(now())).as_deref(),
                Some("4m ago: Degraded, 2 routable, 3 listed")
            );
        }
    }

    #[test]
    fn age_is_that_of_the_newest_write_to_runtime_else_of_the_newest_check() {
        let entry = |seconds, fields: Value| json!({"time": ago(seconds), "fieldsV1": {"f:status": fields}});
        let mut object = object(&json!({}), &reported());
        let since =
            |object: &Value| unfollowed(object).expect("nothing follows").since.map(|at| (now() - at).num_seconds());
        assert_eq!(since(&object), Some(240));
        object["metadata"]["managedFields"] = json!([
            entry(90, json!({"f:runtime": {"f:phase": {}}})),
            entry(60, json!({"f:runtime": {}})),
            entry(1, json!({"f:phase": {}})),
        ]);
        assert_eq!(since(&object), Some(60), "the last one wrote the top level");
        object["metadata"]["managedFields"] = json!([entry(1, json!({"f:phase": {}}))]);
        assert_eq!(since(&object), Some(240));
    }

    #[test]
    fn operator_has_the_time_of_a_reconcile_before_it_is_late() {
        let of = |since| Unfollowed { since, summary: String::new() };
        assert!(!of(Some(now() - TimeDelta::seconds(4))).is_lasting(now()));
        assert!(of(Some(now() - TimeDelta::seconds(5))).is_lasting(now()));
        assert!(of(None).is_lasting(now()), "there is nothing to wait for");
    }

    #[test]
    fn report_says_what_can_be_told() {
        let mut runtime = json!({"discoveredBackends": [{"name": "a", "status": "ready"}]});
        let report = |runtime: &Value| unfollowed(&object(&json!({}), runtime)).map(|found| found.report(now()));
        assert_eq!(report(&runtime).as_deref(), Some("at an unknown time: Pending, 0 routable, 1 listed"));
        runtime["backendCount"] = json!(3);
        runtime["message"] = json!("fine (4 of 5 backends not listed: too large)");
        assert_eq!(report(&runtime).as_deref(), Some("at an unknown time: Pending, 3 routable, 1 listed"));
        runtime["conditions"] = json!(7);
        assert_eq!(report(&runtime).as_deref(), Some("at an unknown time"));
    }

    #[test]
    fn newest_check_is_found_in_either_home() {
        let check =
            |seconds| json!({"discoveredBackends": [{"name": "a", "lastHealthCheck": ago(seconds)}, {"name": "b"}]});
        let newest = |object: &Value| newest_check(object).map(|at| (now() - at).num_seconds());
        assert_eq!(newest(&object(&check(60), &check(240))), Some(60));
        assert_eq!(newest(&object(&check(240), &check(60))), Some(60));
        assert_eq!(newest(&json!({"status": check(240)})), Some(240));
        for none in [json!({}), json!({"status": null}), json!({"status": {"discoveredBackends": [{"name": "a"}]}})] {
            assert_eq!(newest(&none), None, "{none}");
        }
    }
}
