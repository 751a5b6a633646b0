//! What comes from outside, as it comes: any bytes, any JSON, and above all
//! what is almost right.

// Its users here take a part of it each.
#[allow(dead_code)]
use vmcp_status_testkit::api::crd;
#[allow(dead_code)]
use vmcp_status_testkit::api::schema;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use vmcp_status::{FileSink, NoOpSink, Reporter, Sink, StateFile, StateFileError, Status, Update};

/// One of these, or anything else of its kind.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => prop::sample::select(words).prop_map(Value::from),
        1 => ".{0,6}".prop_map(Value::from),
        1 => leaf(),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(u64::MAX)),
        ".{0,6}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!("x".repeat(40_000))),
    ]
}

fn time() -> impl Strategy<Value = Value> {
    text(&[
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.678901234+05:30",
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.5Z",
        "2015-06-30T18:59:60-05:00",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00+01:00",
        "0000-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "2026-01-02 03:04:05Z",
    ])
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![3 => (0u32..9).prop_map(Value::from), 1 => any::<u32>().prop_map(Value::from), 1 => leaf()]
}

/// An object with any of these members.
fn object(members: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, weight, value)| {
            let value = prop::option::weighted(f64::from(weight) / 10.0, value);
            value.prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

fn backend() -> BoxedStrategy<Value> {
    object(vec![
        ("name", 9, text(&["a", "b", "c", "a\u{0}", "ä/b~1", ""]).boxed()),
        ("url", 4, text(&["http://a/mcp", "http://me:pw@a/?k#f", "me@a", "\\\\a@b"]).boxed()),
        ("status", 7, text(&["ready", "READY", "unavailable", "newer"]).boxed()),
        ("authType", 2, text(&["oauth2"]).boxed()),
        ("authConfigRef", 2, text(&["ref"]).boxed()),
        ("lastHealthCheck", 4, time().boxed()),
        ("message", 3, text(&["Connection failed"]).boxed()),
        ("circuitBreakerState", 2, text(&["open", "half-open", "ajar"]).boxed()),
        ("circuitLastChanged", 2, time().boxed()),
        ("consecutiveFailures", 3, number().boxed()),
        ("mcpRevision", 2, text(&["2025-11-25"]).boxed()),
        ("newMember", 1, leaf().boxed()),
    ])
}

fn condition() -> BoxedStrategy<Value> {
    object(vec![
        ("type", 9, text(&["Ready", "Mine", "a.b/C", "not a type", "-", ""]).boxed()),
        ("status", 9, text(&["True", "False", "Unknown", "true"]).boxed()),
        ("reason", 7, text(&["Why", "no word", "", "trailing:", "…"]).boxed()),
        ("message", 5, text(&["because"]).boxed()),
        ("lastTransitionTime", 4, time().boxed()),
        ("observedGeneration", 2, number().boxed()),
    ])
}

fn status() -> BoxedStrategy<Value> {
    object(vec![
        ("phase", 6, text(&["Ready", "failed", "Newer"]).boxed()),
        ("message", 5, text(&["fine"]).boxed()),
        ("conditions", 6, list(condition()).boxed()),
        ("discoveredBackends", 8, list(backend()).boxed()),
        ("backendCount", 2, number().boxed()),
        ("observedGeneration", 3, number().boxed()),
        ("timestamp", 3, time().boxed()),
        ("url", 1, leaf().boxed()),
    ])
}

fn list(item: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
    prop_oneof![9 => vec(item, 0..4).prop_map(Value::from), 1 => leaf()]
}

fn update() -> impl Strategy<Value = Value> {
    let one = |kind: &'static str, value: BoxedStrategy<Value>| value.prop_map(move |value| json!({ kind: value }));
    let source = || text(&["s", "t", ""]).boxed();
    prop_oneof![
        2 => one("snapshot", status()),
        3 => one("upsertBackend", backend()),
        2 => one("upsertBackendOf", object(vec![("source", 9, source()), ("backend", 9, backend())])),
        1 => one("removeBackend", text(&["a", "b"]).boxed()),
        2 => one("replaceBackends", object(vec![("source", 9, source()), ("backends", 9, list(backend()).boxed())])),
        3 => one("setCondition", condition()),
        1 => one("removeCondition", text(&["Ready", "Mine"]).boxed()),
        2 => one("setPhase", object(vec![("phase", 9, text(&["Ready"]).boxed()), ("message", 5, text(&["m"]).boxed())])),
        1 => Just(json!({"derivePhase": {}})),
        1 => one("setObservedGeneration", number().boxed()),
        1 => leaf(),
    ]
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// What is stored after these updates.
async fn stored_by(sink: impl Sink, updates: Vec<Update>) -> Status {
    let (handle, reporter) = Reporter::builder(sink).start();
    for update in updates {
        assert!(handle.send(update));
    }
    let outcome = reporter.shutdown().await;
    assert!(outcome.is_complete(), "{outcome:?}");
    outcome.stored.as_deref().cloned().unwrap_or_default()
}

/// That the API server would take it.
fn check(status: &Status) -> Result<(), TestCaseError> {
    prop_assert_eq!(status.validate(), Ok(()));
    let definition = crd::definition();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status");
    let value = serde_json::to_value(status).expect("it is JSON");
    let causes = schema::validate(schema.expect("it is there"), &value, "status");
    let causes: Vec<_> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    prop_assert!(causes.is_empty(), "{causes:?}: {value}");
    // And that it says so again when it is read.
    prop_assert_eq!(&serde_json::from_value::<Status>(value).expect("a status"), status);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn any_accepted_updates_make_a_status_that_a_store_takes(updates in vec(update(), 1..8)) {
        let accepted: Vec<Update> = updates.into_iter().filter_map(|json| serde_json::from_value(json).ok()).collect();
        let count = accepted.len();
        let status = block_on(stored_by(NoOpSink::silent(), accepted));
        check(&status).map_err(|error| TestCaseError::fail(format!("{error} after {count} updates")))?;
    }
}

/// Bytes that are a state file, or almost.
fn state_file() -> impl Strategy<Value = Vec<u8>> {
    let writer = object(vec![
        ("pid", 9, number().boxed()),
        ("time", 8, time().boxed()),
        ("refreshSeconds", 5, number().boxed()),
    ]);
    let whole = object(vec![
        ("apiVersion", 9, text(&["toolhive.stacklok.dev/v1beta1"]).boxed()),
        ("kind", 9, text(&["VirtualMCPServer"]).boxed()),
        ("metadata", 9, object(vec![("name", 9, text(&["a"]).boxed())])),
        ("status", 9, prop_oneof![9 => status(), 1 => leaf()].boxed()),
        ("writer", 9, writer),
    ]);
    prop_oneof![
        8 => (whole, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(whole, cut, is_cut)| {
            let mut bytes = whole.to_string().into_bytes();
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        }),
        1 => vec(any::<u8>(), 0..100),
    ]
}

proptest! {
    // Each case waits for the disk.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn any_state_file_is_read_or_refused_and_then_replaced(
        bytes in state_file(),
        updates in vec(update(), 0..4),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = StateFile::path(dir.path(), "a").expect("a name");
        std::fs::write(&path, &bytes).expect("written");
        let before = StateFile::load(&path);
        prop_assert!(matches!(before, Ok(_) | Err(StateFileError::Malformed { .. })), "{before:?}");

        let updates = updates.into_iter().filter_map(|json| serde_json::from_value(json).ok());
        let updates = [Update::DerivePhase {}].into_iter().chain(updates).collect();
        let sink = FileSink::in_dir(dir.path(), "a").expect("a name");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let stored = runtime.block_on(stored_by(sink, updates));
        let after = StateFile::load(&path).expect("a state");
        prop_assert_eq!(&after.status, &stored);
    }
}
