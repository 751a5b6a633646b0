//! Who writes the status that a reporter would write. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use vmcp_status::StatusLocation;
use vmcp_status::api_server::{FieldManager, listed_fields};

use super::finding::Finding;
use crate::format::age;
use crate::homes::runtime;

/// Writers of the same time: a reporter warns of one that overwrites its fields three
/// times within this time.
const TOGETHER: TimeDelta = TimeDelta::minutes(10);

/// Whether one writer has written of late, or several; `None` where the object does
/// not say.
pub(super) fn writers(setting: StatusLocation, object: &Value, now: DateTime<Utc>) -> Option<Finding> {
    const QUESTION: &str = "writers";
    let is_runtime = setting != StatusLocation::TopLevel && runtime(object).is_some();
    let place = if is_runtime { "/status/runtime" } else { "/status" };
    let mut managers = FieldManager::of(object, place);
    managers.sort_by_key(|manager| std::cmp::Reverse(manager.at));
    let newest = managers.first()?;
    let is_of_late = |manager: &&FieldManager| manager.at.is_some_and(|at| now - at <= TOGETHER);
    let of_late: Vec<_> = managers.iter().filter(is_of_late).map(|manager| described(manager, now)).collect();
    Some(if of_late.len() > 1 {
        Finding::warn(QUESTION, format!("several within ten minutes: {}", of_late.join("; ")))
            .advise("if they all go on, each overwrites the others: end all but one, or let replicas elect a leader")
    } else {
        Finding::ok(QUESTION, format!("the last was {}", described(newest, now)))
    })
}

/// Who it is, when it last wrote, and what.
fn described(manager: &FieldManager, now: DateTime<Utc>) -> String {
    let when = if manager.at.is_some() { format!("{} ago", age(manager.at, now)) } else { "at an unknown time".into() };
    format!("{} {when} ({})", manager.name, listed_fields(&manager.fields))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Verdict;
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    fn entry(manager: &str, seconds_ago: i64, runtime: Value) -> Value {
        let time = (now() - TimeDelta::seconds(seconds_ago)).to_rfc3339();
        json!({"manager": manager, "time": time, "fieldsV1": {"f:status": {"f:runtime": runtime}}})
    }

    fn found(setting: StatusLocation, entries: &[Value]) -> Option<Finding> {
        let object = json!({"metadata": {"managedFields": entries}, "status": {"runtime": {"phase": "Ready"}}});
        writers(setting, &object, now())
    }

    #[test]
    fn writers_of_the_same_time_are_named_with_their_fields() {
        let ready = json!({"f:conditions": {"k:{\"type\":\"Ready\"}": {"f:status": {}}}});
        let both = [entry("gateway", 5, ready), entry("vmcp-status", 2, json!({"f:phase": {}}))];
        let finding = found(StatusLocation::Auto, &both).expect("the object says so");
        assert_eq!(finding.verdict, Verdict::Warn);
        let expected = "several within ten minutes: vmcp-status 2s ago (phase); gateway 5s ago (conditions[Ready])";
        assert_eq!(finding.found, expected);
    }

    #[test]
    fn writer_of_long_ago_does_not_count_as_another() {
        let entries =
            [entry("gateway", 601, json!({"f:message": {}})), entry("vmcp-status", 2, json!({"f:phase": {}}))];
        let finding = found(StatusLocation::Auto, &entries).expect("the object says so");
        assert_eq!((finding.verdict, finding.found.as_str()), (Verdict::Ok, "the last was vmcp-status 2s ago (phase)"));
    }

    #[test]
    fn object_that_names_no_writer_of_the_place_makes_no_line() {
        assert!(found(StatusLocation::Auto, &[]).is_none());
        let elsewhere = [entry("gateway", 1, json!({"f:phase": {}}))];
        assert!(found(StatusLocation::TopLevel, &elsewhere).is_none());
    }
}
