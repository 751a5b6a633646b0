//! Reads JSON that others wrote: a value that the model cannot have costs itself, not
//! the backend that has it and not the whole status (law 12).

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fault::{Fault, Faults};
use super::{CircuitBreakerState, Condition, DiscoveredBackend, Status};

const CIRCUIT: &str = "circuitBreakerState";

impl Status {
    /// Reads a status from JSON. Leaves out each value that the model cannot have, such as
    /// a count below zero, and returns it as a fault.
    ///
    /// ```
    /// use vmcp_status::Status;
    ///
    /// let json = br#"{"discoveredBackends": [{"name": "weather", "status": "ready", "consecutiveFailures": -1}]}"#;
    /// let (status, faults) = Status::from_json(json)?;
    /// assert_eq!((status.discovered_backends[0].consecutive_failures, faults.iter().len()), (0, 1));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails when the text is not JSON, or not an object.
    pub fn from_json(json: &[u8]) -> Result<(Self, Faults), serde_json::Error> {
        read_json(json, status)
    }
}

/// Reads JSON, in which `clean` finds and removes odd values.
pub(crate) fn read_json<T: DeserializeOwned>(
    json: &[u8],
    clean: fn(&mut Value, &mut Faults),
) -> Result<(T, Faults), serde_json::Error> {
    // What is sound costs no more than this.
    let strict = serde_json::from_slice(json);
    // A circuit state that is not known is the one odd value that this takes.
    let is_certain = strict.is_ok() && !json.windows(CIRCUIT.len()).any(|window| window == CIRCUIT.as_bytes());
    let mut faults = Faults::default();
    if !is_certain && let Ok(mut value) = serde_json::from_slice(json) {
        clean(&mut value, &mut faults);
        if let Ok(read) = T::deserialize(value) {
            return Ok((read, faults));
        }
    }
    // Its error knows the place in the text.
    strict.map(|read| (read, Faults::default()))
}

/// Removes the odd values of a whole status.
pub(crate) fn status(status: &mut Value, faults: &mut Faults) {
    let Some(members) = status.as_object_mut() else { return };
    backends(members.get_mut("discoveredBackends"), faults);
    if let Some(Value::Array(conditions)) = members.get_mut("conditions") {
        conditions.retain_mut(|item| condition(item, faults));
    }
    drop_odd::<Status>(members, &Map::new(), "the status", faults);
}

/// Removes the odd values of a list of backends.
pub(crate) fn backends(list: Option<&mut Value>, faults: &mut Faults) {
    if let Some(Value::Array(backends)) = list {
        backends.retain_mut(|item| backend(item, faults));
    }
}

/// Removes the odd values of a backend. Returns whether it is one: not without its key.
pub(crate) fn backend(backend: &mut Value, faults: &mut Faults) -> bool {
    let has_key =
        |members: &&mut Map<String, Value>| matches!(members.get("name"), None | Some(Value::Null | Value::String(_)));
    let Some(members) = backend.as_object_mut().filter(has_key) else {
        faults.push(Fault::OddValue { field: "discoveredBackends".into(), subject: "the status".into() });
        return false;
    };
    let subject = format!("backend {:?}", members.get("name").and_then(Value::as_str).unwrap_or_default());
    drop_odd::<DiscoveredBackend>(members, &Map::new(), &subject, faults);
    let is_known = |text: &str| CircuitBreakerState::ALL.iter().any(|state| state.as_str().eq_ignore_ascii_case(text));
    if members.get(CIRCUIT).and_then(Value::as_str).is_some_and(|text| !text.is_empty() && !is_known(text)) {
        members.remove(CIRCUIT);
        faults.push(Fault::OddValue { field: CIRCUIT.into(), subject });
    }
    true
}

/// Removes the odd values of a condition. Returns whether it is one.
pub(crate) fn condition(condition: &mut Value, faults: &mut Faults) -> bool {
    let subject = format!("condition {:?}", condition["type"].as_str().unwrap_or_default());
    let status = Map::from_iter([("status".to_owned(), condition["status"].clone())]);
    let Some(members) =
        condition.as_object_mut().filter(|_| Condition::deserialize(Value::Object(status.clone())).is_ok())
    else {
        // A condition says nothing without its status.
        faults.push(Fault::OddValue { field: "status".into(), subject });
        return false;
    };
    drop_odd::<Condition>(members, &status, &subject, faults);
    true
}

/// Removes each member that the model cannot have. `required` are the members without
/// which there is no `T`.
fn drop_odd<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    required: &Map<String, Value>,
    subject: &str,
    faults: &mut Faults,
) {
    if T::deserialize(Value::Object(members.clone())).is_ok() {
        return;
    }
    members.retain(|field, value| {
        let mut alone = required.clone();
        alone.insert(field.clone(), value.clone());
        let fits = T::deserialize(Value::Object(alone)).is_ok();
        if !fits {
            faults.push(Fault::OddValue { field: field.clone(), subject: subject.to_owned() });
        }
        fits
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::Phase;
    use crate::update::Update;

    fn odd_backend() -> Value {
        json!({
            "name": "odd", "status": "ready", "url": 7, "circuitBreakerState": "weird", "consecutiveFailures": -1,
            "lastHealthCheck": "junk", "message": "kept", "mcpRevision": "2025-11-25",
        })
    }

    const ODD: [&str; 4] = ["circuitBreakerState", "consecutiveFailures", "lastHealthCheck", "url"];

    fn fields(faults: &Faults) -> Vec<&str> {
        let mut fields = Vec::new();
        for fault in faults.iter() {
            let Fault::OddValue { field, .. } = fault else { panic!("{fault:?}") };
            fields.push(field.as_str());
        }
        fields.sort_unstable();
        fields
    }

    #[test]
    fn odd_value_of_a_snapshot_costs_itself_and_is_a_fault() {
        let json = json!({
            "phase": "Degraded", "backendCount": "many", "observedGeneration": 1.5,
            "discoveredBackends": [odd_backend(), {"name": "sound", "status": "ready"}, {"name": 7}],
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Why", "lastTransitionTime": "junk"},
                {"type": "Mine", "status": "Perhaps"},
            ],
        });
        let (status, faults) = Status::from_json(json.to_string().as_bytes()).expect("a status");
        assert_eq!((status.phase, status.discovered_backends.len(), status.conditions.len()), (Phase::Degraded, 2, 1));
        let odd = status.backend("odd").expect("it is there");
        assert!(odd.is_routable() && odd.message == "kept" && odd.mcp_revision == "2025-11-25", "{odd:?}");
        assert_eq!((odd.url.as_str(), odd.circuit_breaker_state, odd.last_health_check), ("", None, None));
        let others = ["backendCount", "discoveredBackends", "lastTransitionTime", "observedGeneration", "status"];
        let mut expected = [ODD.as_slice(), &others].concat();
        expected.sort_unstable();
        assert_eq!(fields(&faults), expected);
    }

    #[test]
    fn odd_value_of_each_kind_of_update_costs_itself() {
        for update in [
            json!({"snapshot": {"discoveredBackends": [odd_backend()]}}),
            json!({"upsertBackend": odd_backend()}),
            json!({"upsertBackendOf": {"source": "s", "backend": odd_backend()}}),
            json!({"replaceBackends": {"source": "s", "backends": [odd_backend()]}}),
        ] {
            let (_, faults) = Update::from_json(update.to_string().as_bytes()).expect("an update");
            assert_eq!(fields(&faults), ODD, "{update}");
        }
        let condition = json!({"setCondition": {"type": "Mine", "status": "True", "observedGeneration": "x"}});
        let (update, faults) = Update::from_json(condition.to_string().as_bytes()).expect("an update");
        assert!(matches!(update, Update::SetCondition(condition) if condition.type_ == "Mine"));
        assert_eq!(fields(&faults), ["observedGeneration"]);
    }

    #[test]
    fn sound_text_has_no_faults_and_what_is_no_status_stays_an_error_with_its_place() {
        let sound = br#"{"discoveredBackends": [{"name": "a", "circuitBreakerState": "HALF-OPEN", "url": null}]}"#;
        let (status, faults) = Status::from_json(sound).expect("a status");
        assert!(faults.iter().len() == 0 && status.discovered_backends[0].circuit_breaker_state.is_some());
        for (text, column) in [("7", 1), ("{\"phase\": ", 10), ("[1]", 0)] {
            let error = Status::from_json(text.as_bytes()).expect_err("no status");
            assert!(error.column() >= column, "{text}: {error}");
        }
        let unknown = Update::from_json(br#"{"snapsot": {}}"#).expect_err("no update");
        assert!(unknown.to_string().contains("unknown variant") && unknown.column() > 0, "{unknown}");
        assert!(Update::from_json(br#"{"upsertBackend": {"name": 7}}"#).is_err());
        assert!(Update::from_json(br#"{"setCondition": {"type": "Mine", "status": "Perhaps"}}"#).is_err());
    }
}
