//! The status as it is after a way through the operator's Go structs: empty
//! members are gone, and times are UTC in whole seconds.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

/// Members that hold a time, wherever they stand.
const TIMES: [&str; 3] = ["circuitLastChanged", "lastHealthCheck", "lastTransitionTime"];
/// Members that are kept though they are empty.
const KEPT: [&str; 6] = ["lastTransitionTime", "message", "name", "reason", "status", "type"];

pub fn status(status: &Value) -> Map<String, Value> {
    let mut status = status.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(runtime)) = status.get_mut("runtime") {
        reported(runtime);
    }
    reported(&mut status);
    status
}

/// Encodes the members that the top level and `runtime` have in common.
pub fn reported(status: &mut Map<String, Value>) {
    for (list, kept) in [("conditions", KEPT.as_slice()), ("discoveredBackends", &["name"])] {
        for item in status.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(item) = item {
                item.retain(|name, value| kept.contains(&name.as_str()) || !is_zero(value));
                TIMES.iter().filter_map(|time| item.get_mut(*time).map(whole_seconds)).for_each(drop);
            }
        }
    }
    status.retain(|name, value| name == "runtime" || !is_zero(value));
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

fn whole_seconds(time: &mut Value) {
    let parsed = time.as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let parsed = parsed.and_then(|time| Timestamp::from_second(time.as_second()).ok());
    *time = parsed.map_or(Value::Null, |time| time.to_string().into());
}
