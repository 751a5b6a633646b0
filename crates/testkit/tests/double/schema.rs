//! What the definition lets in.

use serde_json::{Value, json};

use crate::{
    MERGE_PATCH, STATUS,
    api::{Api, Role},
    demo, json_patch, merge_patch, send, server,
};

fn condition(field: &str, value: &Value) -> Value {
    let mut condition = json!({
        "type": "Ready", "status": "True", "reason": "ServerReady", "message": "ok",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    });
    condition[field] = value.clone();
    json!({"conditions": [condition]})
}

fn backend(field: &str, value: &Value) -> Value {
    json!({"discoveredBackends": [{"name": "a", field: value}]})
}

#[tokio::test(start_paused = true)]
async fn each_broken_rule_is_named_with_its_field() {
    let api = server();
    let before = demo(&api);
    let long = |length: usize| json!("x".repeat(length));
    for (status, reason, field) in [
        (json!({"phase": "Bogus"}), "FieldValueNotSupported", "status.phase"),
        (json!({"phase": ""}), "FieldValueNotSupported", "status.phase"),
        (json!({"message": 1}), "FieldValueTypeInvalid", "status.message"),
        (json!("x"), "FieldValueTypeInvalid", "status"),
        (json!({"backendCount": "two"}), "FieldValueTypeInvalid", "status.backendCount"),
        (json!({"backendCount": 1.5}), "FieldValueTypeInvalid", "status.backendCount"),
        (json!({"conditions": {}}), "FieldValueTypeInvalid", "status.conditions"),
        (json!({"conditions": [null]}), "FieldValueTypeInvalid", "status.conditions[0]"),
        (json!({"conditions": [{}]}), "FieldValueRequired", "status.conditions[0].lastTransitionTime"),
        (condition("status", &json!("Maybe")), "FieldValueNotSupported", "status.conditions[0].status"),
        (condition("type", &json!("not good")), "FieldValueInvalid", "status.conditions[0].type"),
        (condition("type", &json!("Example.com/Ready")), "FieldValueInvalid", "status.conditions[0].type"),
        (condition("type", &long(317)), "FieldValueTooLong", "status.conditions[0].type"),
        (condition("reason", &json!("")), "FieldValueInvalid", "status.conditions[0].reason"),
        (condition("reason", &json!("not good")), "FieldValueInvalid", "status.conditions[0].reason"),
        (condition("reason", &long(1025)), "FieldValueTooLong", "status.conditions[0].reason"),
        (condition("message", &long(32769)), "FieldValueTooLong", "status.conditions[0].message"),
        (condition("message", &Value::Null), "FieldValueRequired", "status.conditions[0].message"),
        (backend("status", &json!(1)), "FieldValueTypeInvalid", "status.discoveredBackends[0].status"),
        (
            backend("circuitBreakerState", &json!("ajar")),
            "FieldValueNotSupported",
            "status.discoveredBackends[0].circuitBreakerState",
        ),
        (
            json!({"discoveredBackends": [{"url": "http://x"}]}),
            "FieldValueRequired",
            "status.discoveredBackends[0].name",
        ),
    ] {
        let reply = merge_patch(&api, json!({"status": status})).await;
        assert_eq!((reply.code, reply.json()["reason"].as_str()), (422, Some("Invalid")), "{status}");
        let cause = &reply.json()["details"]["causes"][0];
        assert_eq!((cause["reason"].as_str(), cause["field"].as_str()), (Some(reason), Some(field)), "{status}");
        assert!(reply.message().starts_with("VirtualMCPServer.toolhive.stacklok.dev \"demo\" is invalid: "));
    }
    assert_eq!(demo(&api), before);
}

#[tokio::test(start_paused = true)]
async fn rules_that_could_not_be_checked_are_mentioned_last() {
    let api = server();
    for (status, fields) in [
        (json!({"phase": "Bogus"}), vec!["status.phase", "<nil>"]),
        (backend("name", &json!(1)), vec!["status.discoveredBackends[0].name", "<nil>"]),
        (condition("reason", &json!("not good")), vec!["status.conditions[0].reason"]),
        (json!({"discoveredBackends": [{"name": "a"}, {"name": "a"}]}), vec!["status.discoveredBackends[1]"]),
    ] {
        let causes = merge_patch(&api, json!({"status": status})).await.json()["details"]["causes"].take();
        let found: Vec<_> = causes.as_array().into_iter().flatten().map(|cause| cause["field"].clone()).collect();
        assert_eq!(found, fields, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_of_a_backend_is_any_word_and_a_count_any_number() {
    let api = server();
    for status in [backend("status", &json!("Ready")), json!({"backendCount": -1})] {
        assert_eq!(merge_patch(&api, json!({"status": status})).await.code, 200, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_needs_a_zone_and_may_have_fractions() {
    let api = server();
    for (time, code) in [
        ("2026-01-02T03:04:05Z", 200),
        ("2026-01-02t03:04:05.123456+02:00", 200),
        ("2026-01-02T03:04:05", 422),
        ("2026-01-02 03:04:05Z", 422),
        ("2026-01-02T03:04:05.Z", 422),
        ("2026-01-02T03:04:60Z", 422),
        ("2026-02-30T03:04:05Z", 422),
        ("yesterday", 422),
        ("", 422),
        ("ééééééééé2026", 422),
    ] {
        let reply = merge_patch(&api, json!({"status": condition("lastTransitionTime", &json!(time))})).await;
        assert_eq!(reply.code, code, "{time}: {}", reply.text);
        let reply = merge_patch(&api, json!({"status": backend("lastHealthCheck", &json!(time))})).await;
        assert_eq!(reply.code, code, "{time}: {}", reply.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_there_twice_is_a_duplicate() {
    let api = server();
    let one = condition("type", &json!("Ready"))["conditions"][0].clone();
    let backends = json!({"status": {"discoveredBackends": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}});
    merge_patch(&api, json!({"status": {"conditions": [one]}})).await;
    for (reply, field, key) in [
        (merge_patch(&api, backends).await, "status.discoveredBackends[2]", json!({"name": "a"})),
        (
            json_patch(&api, json!([{"op": "add", "path": "/status/conditions/-", "value": one}])).await,
            "status.conditions[1]",
            json!({"type": "Ready"}),
        ),
    ] {
        assert_eq!(reply.code, 422);
        assert_eq!(
            reply.json()["details"]["causes"],
            json!([{"reason": "FieldValueDuplicate", "message": format!("Duplicate value: {key}"), "field": field}])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn characters_are_counted_and_not_bytes() {
    let status = condition("message", &json!("é".repeat(32_768)));
    assert_eq!(merge_patch(&server(), json!({"status": status})).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_field_is_pruned_and_only_a_strict_request_refused() {
    let api = server();
    let patch = json!({"status": {"message": "new", "nonsense": 1, "discoveredBackends": [{"name": "a", "x": 1}]}});
    let with = async |validation: &str| {
        send(&api, Role::Least, "PATCH", &format!("{STATUS}{validation}"), &[("content-type", MERGE_PATCH)], &patch)
            .await
    };
    assert_eq!(with("?fieldValidation=Strict").await.code, 422);
    assert_eq!(demo(&api)["status"]["message"], "fine");
    let warned = with("").await;
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().collect();
    assert_eq!(
        warnings,
        [r#"299 - "unknown field \"status.discoveredBackends[0].x\"""#, r#"299 - "unknown field \"status.nonsense\"""#]
    );
    let pruned = json!({"phase": "Ready", "message": "new", "discoveredBackends": [{"name": "a"}]});
    assert_eq!((warned.code, &demo(&api)["status"]), (200, &pruned));
    assert_eq!(with("?fieldValidation=Ignore").await.header("warning"), None);
    assert_eq!(with("?fieldValidation=nonsense").await.code, 422);
}

#[tokio::test(start_paused = true)]
async fn an_older_definition_prunes_what_it_does_not_know() {
    let status = backend("mcpRevision", &json!("2025-11-25"));
    let known = server();
    merge_patch(&known, json!({"status": status})).await;
    assert_eq!(demo(&known)["status"]["discoveredBackends"], status["discoveredBackends"]);

    let older = Api::with_pruned_backend_field("mcpRevision");
    older.create("default", "demo", json!({}));
    assert_eq!(merge_patch(&older, json!({"status": status})).await.code, 200);
    assert_eq!(demo(&older)["status"]["discoveredBackends"], json!([{"name": "a"}]));
}

#[tokio::test(start_paused = true)]
async fn a_status_without_a_phase_is_pending() {
    let api = Api::new();
    api.create("default", "demo", json!({}));
    merge_patch(&api, json!({"status": {"message": "new"}})).await;
    assert_eq!(demo(&api)["status"]["phase"], "Pending");
    api.edit("default", "demo", |object| object["status"] = json!({"message": "newer"}));
    assert_eq!(demo(&api)["status"], json!({"message": "newer", "phase": "Pending"}));
}
