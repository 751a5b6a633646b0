//! Whether ToolHive's operator has copied `status.runtime` to the top level.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

/// How long a reconcile of the operator takes at most, even on a busy cluster.
pub const RECONCILE: Duration = Duration::from_secs(5);

/// Whether the top level of this object's status lists the same backends in the
/// same states as `status.runtime`. Phase, message and count of the top level
/// are the operator's own and differ for good reasons.
///
/// ```
/// use serde_json::json;
/// use vmcp_status::api_server::is_followed;
///
/// let backends = json!([{"name": "weather", "status": "ready"}]);
/// let mut object = json!({"status": {"runtime": {"discoveredBackends": backends}}});
/// assert!(!is_followed(&object));
/// object["status"]["discoveredBackends"] = backends;
/// assert!(is_followed(&object));
/// ```
pub fn is_followed(object: &Value) -> bool {
    listed(object, "/status/discoveredBackends") == listed(object, "/status/runtime/discoveredBackends")
}

/// Names and states: the operator is free to sort its list.
fn listed<'a>(object: &'a Value, list: &str) -> BTreeSet<(&'a str, &'a str)> {
    let text = |item: &'a Value, member: &str| item.get(member).and_then(Value::as_str).unwrap_or_default();
    let list = object.pointer(list).and_then(Value::as_array);
    list.into_iter().flatten().map(|item| (text(item, "name"), text(item, "status"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(top: &Value, runtime: &Value) -> Value {
        json!({"status": {"discoveredBackends": top, "runtime": {"discoveredBackends": runtime}}})
    }

    #[test]
    fn top_level_with_the_same_names_and_states_follows() {
        let runtime = json!([{"name": "a", "status": "ready", "message": "new"}, {"name": "b", "status": "ready"}]);
        let same = json!([{"name": "b", "status": "ready"}, {"name": "a", "status": "ready"}]);
        assert!(is_followed(&object(&same, &runtime)));
        for other in [json!([]), json!([{"name": "a", "status": "ready"}]), json!(null)] {
            assert!(!is_followed(&object(&other, &runtime)), "{other}");
        }
        assert!(is_followed(&object(&json!(null), &json!([]))), "none here and none there");
    }
}
