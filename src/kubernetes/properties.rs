//! Whatever the object holds, the patch to what we want fits it, brings it
//! there, and touches nothing else.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::json_patch::Patch;
use super::location::Home;
use super::observed::{ObservedObject, PatchOptions, PatchPlan, Times};
use crate::status::{
    BackendStatus, CircuitBreakerState, Condition, ConditionStatus, DiscoveredBackend, OwnedTypes, Phase, Status, merge,
};

const OPTIONS: PatchOptions<'static> = PatchOptions { pruned: &[], remove: None, times: Times::Left };

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
        select(vec!["Ready", "ready", "True", "a", "b", "~/", "2026-01-02T03:04:05Z", "1"]).prop_map(Value::from),
    ]
}

fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => select(vec![
            "metadata", "resourceVersion", "managedFields", "status", "phase", "message", "conditions",
            "discoveredBackends", "backendCount", "observedGeneration", "name", "type", "reason", "url",
        ]).prop_map(String::from),
        1 => ".{0,3}",
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((member(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object with some of these members, and perhaps one that is not ours.
fn object(members: Vec<(&'static str, f64, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, weight, value)| {
            let value = prop_oneof![19 => value, 1 => leaf()];
            prop::option::weighted(weight, value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    let foreign = prop::option::weighted(0.3, leaf().prop_map(|value| ("theirs/~1".to_owned(), value)));
    (members, foreign)
        .prop_map(|(members, foreign)| Value::Object(Map::from_iter(members.into_iter().flatten().chain(foreign))))
        .boxed()
}

fn text(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(words).prop_map(Value::from).boxed()
}

fn stored_condition() -> BoxedStrategy<Value> {
    object(vec![
        ("type", 0.95, text(&["Ready", "Degraded", "Theirs", "Mine", ""])),
        ("status", 0.95, text(&["True", "False", "Maybe"])),
        ("reason", 0.9, text(&["Why", ""])),
        ("message", 0.9, text(&["because", ""])),
        ("lastTransitionTime", 0.9, text(&["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z", "yesterday"])),
        ("observedGeneration", 0.3, text(&["x"])),
    ])
}

fn stored_backend() -> BoxedStrategy<Value> {
    object(vec![
        ("name", 0.95, text(&["a", "b", "c", "d", ""])),
        ("status", 0.9, text(&["ready", "READY", "unavailable", "newer"])),
        ("url", 0.5, text(&["http://a", ""])),
        ("message", 0.5, text(&["Connection failed", ""])),
        ("lastHealthCheck", 0.8, text(&["2026-01-02T03:04:05Z", "today"])),
        ("circuitBreakerState", 0.3, text(&["open", "ajar"])),
        ("consecutiveFailures", 0.3, (0..3i64).prop_map(Value::from).boxed()),
    ])
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    vec(item, 0..5).prop_map(Value::from).boxed()
}

fn home() -> impl Strategy<Value = Home> {
    select(vec![Home::TopLevel, Home::Runtime])
}

/// The object with its status moved to this home, in which others have their
/// say at the top level.
fn moved(mut object: Value, home: Home) -> Value {
    if home == Home::Runtime
        && let Some(status) = object.get_mut("status")
    {
        let backends = json!([{"name": "theirs", "status": "ready"}]);
        *status =
            json!({"runtime": status.take(), "phase": "Pending", "url": "http://x", "discoveredBackends": backends});
    }
    object
}

/// What a home without a generation of its own cannot tell.
fn told_in(home: Home, status: Status) -> Status {
    let observed_generation = status.observed_generation.filter(|_| home.has_generation());
    Status { observed_generation, ..status }
}

fn stored() -> impl Strategy<Value = Value> {
    let status = object(vec![
        ("phase", 0.9, text(&["Ready", "Failed", "Newer", "ready"])),
        ("message", 0.8, text(&["fine", ""])),
        ("conditions", 0.9, list(stored_condition())),
        ("discoveredBackends", 0.9, list(stored_backend())),
        ("backendCount", 0.8, (-1..3i64).prop_map(Value::from).boxed()),
        ("observedGeneration", 0.5, (0..3i64).prop_map(Value::from).boxed()),
        ("url", 0.5, text(&["http://gateway"])),
    ]);
    object(vec![("spec", 0.5, leaf().boxed()), ("status", 0.9, status)]).prop_map(|mut object| {
        object["metadata"] = json!({"resourceVersion": "7", "labels": {"a": "b"}});
        object
    })
}

fn time() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    prop::option::of((0..3i64).prop_map(|second| DateTime::from_timestamp(second, 0).expect("in range")))
}

fn backend(name: &str) -> impl Strategy<Value = Arc<DiscoveredBackend>> {
    let name = name.to_owned();
    let texts = (select(vec!["", "http://a", "http://b"]), select(vec!["", "Connection failed"]));
    let circuit = prop::option::of(select(vec![CircuitBreakerState::Open, CircuitBreakerState::Closed]));
    (select(&BackendStatus::ALL[..]), texts, 0..3u32, circuit, time()).prop_map(
        move |(status, (url, message), consecutive_failures, circuit_breaker_state, last_health_check)| {
            Arc::new(DiscoveredBackend {
                status,
                url: url.to_owned(),
                message: message.to_owned(),
                consecutive_failures,
                circuit_breaker_state,
                last_health_check,
                ..DiscoveredBackend::named(name.clone())
            })
        },
    )
}

/// What a reporter would want, before it has looked at the store: sorted, each
/// name once.
fn wanted() -> impl Strategy<Value = Status> {
    let backends = ["a", "b", "c", "e"].map(|name| prop::option::of(backend(name)));
    let condition = |type_: &'static str| {
        prop::option::of((any::<bool>(), select(vec!["Why", "Because"])).prop_map(move |(holds, reason)| Condition {
            last_transition_time: Some(DateTime::UNIX_EPOCH),
            ..Condition::unchecked(type_, ConditionStatus::from(holds), reason, "")
        }))
    };
    let conditions = ["Degraded", "Mine", "Ready"].map(condition);
    (select(&Phase::ALL[..]), select(vec!["", "fine", "bad"]), conditions, backends, prop::option::of(0..4i64))
        .prop_map(|(phase, message, conditions, backends, observed_generation)| Status {
            phase,
            message: message.to_owned(),
            conditions: conditions.into_iter().flatten().collect(),
            observed_generation,
            ..Status::from_backends(backends.into_iter().flatten())
        })
}

/// What the actor would ask the sink to write.
fn merged(seen: &ObservedObject, wanted: Status) -> Status {
    let mut owned = OwnedTypes::default();
    owned.add("Mine");
    merge(seen.status().as_ref(), wanted, &owned, DateTime::UNIX_EPOCH)
}

/// The object after the patch, as the API server would have it: there a test for
/// null passes where nothing is.
fn patched(object: &Value, patch: &Patch) -> Result<Value, TestCaseError> {
    let (tests, edits): (Vec<_>, Vec<_>) = patch.operations().cloned().partition(|one| one["op"] == "test");
    for test in &tests {
        let found = test["path"].as_str().and_then(|path| object.pointer(path));
        prop_assert_eq!(found.unwrap_or(&Value::Null), &test["value"], "{} of {}", test, object);
    }
    let edits: json_patch::Patch =
        serde_json::from_value(edits.into()).map_err(|error| TestCaseError::fail(format!("{error}: {patch:?}")))?;
    let mut object = object.clone();
    json_patch::patch(&mut object, &edits)
        .map_err(|error| TestCaseError::fail(format!("{error}: {patch:?} of {object}")))?;
    Ok(object)
}

/// The order of the store is kept, and one that the model could not say has its
/// place in it.
fn sorted(mut status: Status) -> Status {
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status.discovered_backends.sort_by(|a, b| a.name.cmp(&b.name));
    status
}

/// Whether a list names an item twice, as lists that are maps never do.
fn has_doubles(object: &Value) -> bool {
    [("conditions", "type"), ("discoveredBackends", "name")].into_iter().any(|(list, key)| {
        let items = object["status"][list].as_array().into_iter().flatten();
        let mut seen = HashSet::new();
        items.into_iter().any(|item| !seen.insert(item[key].as_str().unwrap_or_default()))
    })
}

/// What is not ours: all but our members of the status, and of the items of
/// lists that stay, all but the model's.
fn theirs(object: &Value, kept: &Status, home: Home) -> Value {
    let mut object = object.clone();
    let mut foreign = Vec::new();
    if let Some(Value::Object(status)) = object.pointer_mut(home.pointer()) {
        for (list, key) in [("conditions", "type"), ("discoveredBackends", "name")] {
            let is_kept = |name: &str| match list {
                // What becomes of one that is dropped is a matter of the home.
                "conditions" => kept.condition(name).is_some() || !home.removes(name),
                _ => kept.backend(name).is_some(),
            };
            for item in status.get(list).and_then(Value::as_array).into_iter().flatten() {
                let name = item.get(key).and_then(Value::as_str).unwrap_or_default();
                if let Some(member) = item.get("theirs/~1").filter(|_| is_kept(name)) {
                    foreign.push(json!([list, name, member]));
                }
            }
        }
        for ours in ["phase", "message", "conditions", "discoveredBackends", "backendCount"] {
            status.remove(ours);
        }
        if home.has_generation() {
            status.remove("observedGeneration");
        }
    } else {
        // Made by the patch, with what is around it.
        for parent in home.parents() {
            if !object.pointer(parent).is_some_and(Value::is_object) {
                let (around, name) = parent.rsplit_once('/').expect("a pointer");
                object.pointer_mut(around).expect("made before")[name] = json!({});
            }
        }
    }
    foreign.sort_by_key(Value::to_string);
    json!([object, foreign])
}

#[test]
fn more_backends_than_a_patch_has_operations_are_one_list_whatever_is_stored() {
    let many = || Status::from_backends((0..9_500).map(|i| DiscoveredBackend::named(format!("b{i}"))));
    for stored in [json!({}), json!({"discoveredBackends": []}), json!({"discoveredBackends": [{"name": "a"}]})] {
        let object = json!({"metadata": {"resourceVersion": "7", "uid": "u"}, "status": stored});
        let seen = ObservedObject::from_object(&object, Home::TopLevel).expect("it has a version");
        let plan = seen.patch_to(&merged(&seen, many()), OPTIONS).expect("there is something to send");
        assert!(plan.patch.len() <= 20, "{} operations for {stored}", plan.patch.len());
        let patched = patched(&object, &plan.patch).expect("it fits");
        assert_eq!(patched["status"]["discoveredBackends"].as_array().map(Vec::len), Some(9_500));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_object_is_read_or_not_and_a_patch_of_it_fits(
        object in any_json(), is_object in any::<bool>(), wanted in wanted(), home in home(),
    ) {
        let object = if is_object { json!({"metadata": {"resourceVersion": "7"}, "status": object}) } else { object };
        if let Some(seen) = ObservedObject::from_object(&object, home)
            && let Some(PatchPlan { patch, .. }) = seen.patch_to(&merged(&seen, wanted), OPTIONS)
        {
            patched(&object, &patch)?;
        }
    }

    #[test]
    fn a_patch_brings_the_object_to_what_is_wanted(object in stored(), said in wanted(), home in home()) {
        let object = moved(object, home);
        let seen = ObservedObject::from_object(&object, home).expect("it has a version");
        let wanted = merged(&seen, said.clone());
        let Some(PatchPlan { patch, after, .. }) = seen.patch_to(&wanted, OPTIONS) else {
            prop_assert_eq!(seen.status().map(|seen| told_in(home, seen)), Some(told_in(home, wanted)));
            return Ok(());
        };
        let object = patched(&object, &patch)?;
        let found = ObservedObject::from_object(&object, home).and_then(|seen| seen.status()).expect("it has a status");
        prop_assert_eq!(after.status(), Some(found.clone()), "what is remembered is there: {}", object);
        prop_assert!(
            sorted(told_in(home, found.clone())).eq_ignoring_times(&sorted(told_in(home, wanted.clone()))),
            "{found:?}\n{wanted:?}\n{:?}", patch
        );
        // And there is nothing left to say but times.
        prop_assert!(told_in(home, merged(&after, said)).eq_ignoring_times(&told_in(home, found)));
    }

    #[test]
    fn a_patch_touches_nothing_of_others(
        object in stored().prop_filter("each key once", |object| !has_doubles(object)),
        wanted in wanted(), home in home(),
    ) {
        let object = moved(object, home);
        let seen = ObservedObject::from_object(&object, home).expect("it has a version");
        let wanted = merged(&seen, wanted);
        if let Some(PatchPlan { patch, .. }) = seen.patch_to(&wanted, OPTIONS) {
            let after = patched(&object, &patch)?;
            prop_assert_eq!(theirs(&after, &wanted, home), theirs(&object, &wanted, home), "{:?}", patch);
        }
    }
}
