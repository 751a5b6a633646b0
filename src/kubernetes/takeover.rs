//! Whether the operator shows what the reporter wrote.
//!
//! Users see a status in `status.runtime` only after ToolHive's operator has copied it
//! to the top level. If the operator does not, every write of ours succeeds and users
//! see something else. This file looks for that in the objects that the sink reads
//! anyway.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::Instant;

use super::api::{RECONCILE, is_followed};
use crate::log_throttle::LogThrottle;

/// The status, in the form of managed fields.
pub(super) const STATUS: &str = "/f:status";
/// Maximum number of characters quoted of another writer's name.
const MAX_NAME: usize = 128;

/// What is known about the operator.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    unfollowed: Option<Lasting>,
}

/// A fault that lasts, and when to log it again.
#[derive(Debug)]
struct Lasting {
    since: DateTime<Utc>,
    began: Instant,
    log_throttle: LogThrottle,
}

impl Lasting {
    fn new(now: Instant) -> Self {
        Lasting { since: Utc::now(), began: now, log_throttle: LogThrottle::from(now) }
    }
}

impl Takeover {
    /// Takes an object that was read; `wrote_at` is when this process last wrote to it.
    pub(super) fn read(&mut self, object: &Value, wrote_at: Option<Instant>, now: Instant) {
        if is_followed(object) {
            if self.unfollowed.take().is_some() {
                tracing::info!("the operator shows status.runtime again");
            }
            return;
        }
        // The operator may be copying it at this moment.
        let busy = wrote_at.is_some_and(|at| now < at + RECONCILE);
        if busy {
            return;
        }
        let lasting = self.unfollowed.get_or_insert_with(|| Lasting::new(now));
        if lasting.log_throttle.is_due(now) {
            let lasting = humane(now - lasting.began);
            tracing::warn!(
                lasting,
                "what users see is not what was reported: ToolHive's operator has not copied status.runtime \
                 to the top level of the status; is it running?"
            );
        }
    }

    /// Returns since when users see something else.
    pub(super) fn unfollowed_since(&self) -> Option<DateTime<Utc>> {
        self.unfollowed.as_ref().map(|lasting| lasting.since)
    }
}

fn humane(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// Returns the field manager, other than `us`, that wrote last to this part of the
/// status, according to the object's managed fields.
pub(super) fn last_writer(object: &Value, part: &str, us: &str) -> Option<String> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, member: &str| entry.get(member).and_then(Value::as_str).map(String::from);
    let writers = entries
        .iter()
        .filter(|entry| entry.get("fieldsV1").is_some_and(|fields| fields.pointer(part).is_some()))
        .filter_map(|entry| Some((text(entry, "time")?, text(entry, "manager")?)))
        .filter(|(_, manager)| manager != us);
    // Times of one form sort as texts.
    let (_, manager) = writers.max()?;
    Some(manager.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(top: &Value, runtime: &Value) -> Value {
        json!({"status": {"discoveredBackends": top, "runtime": {"discoveredBackends": runtime}}})
    }

    #[tokio::test(start_paused = true)]
    async fn operator_has_time_to_copy_before_it_counts_as_behind() {
        let mut takeover = Takeover::default();
        let object = object(&json!([]), &json!([{"name": "a", "status": "ready"}]));
        let wrote = Instant::now();
        takeover.read(&object, Some(wrote), wrote + RECONCILE / 2);
        assert_eq!(takeover.unfollowed_since(), None);
        takeover.read(&object, Some(wrote), wrote + RECONCILE);
        assert!(takeover.unfollowed_since().is_some());
        takeover.read(&json!({}), Some(wrote), wrote + RECONCILE);
        assert_eq!(takeover.unfollowed_since(), None);
    }

    #[test]
    fn last_writer_is_the_newest_of_the_others() {
        let entry = |manager: &str, second: u8, fields: Value| {
            let time = format!("2026-11-24T10:00:{second:02}Z");
            json!({"manager": manager, "time": time, "subresource": "status", "fieldsV1": {"f:status": fields}})
        };
        let object = json!({"metadata": {"managedFields": [
            entry("vmcp", 5, json!({"f:runtime": {"f:phase": {}}})),
            entry("older", 1, json!({"f:runtime": {}})),
            entry("thv-operator", 7, json!({"f:phase": {}})),
            entry("us", 9, json!({"f:runtime": {}})),
        ]}});
        assert_eq!(last_writer(&object, "/f:status/f:runtime", "us").as_deref(), Some("vmcp"));
        assert_eq!(last_writer(&object, STATUS, "us").as_deref(), Some("thv-operator"));
        assert_eq!(last_writer(&json!({}), STATUS, "us"), None);
    }
}
