//! The operations of a JSON Patch, where the server departs from the RFC, and
//! what guards a write.

use serde_json::{Value, json};

use crate::{
    JSON_PATCH, STATUS,
    api::{Api, Fault, Role},
    demo, json_patch, merge_patch, server, try_send, version,
};

const UNFIT: &str = "the server rejected our request due to an error in our request";

/// A server with two backends in `runtime`, and a message that Go escapes.
async fn reported() -> Api {
    let api = server();
    let runtime = json!({
        "message": "a&b <x> \u{2028}\u{2029} é / \" \\ \t \u{7} \u{8} \u{7f} \u{1F600}", "backendCount": 2,
        "conditions": [],
        "discoveredBackends": [{"name": "a", "status": "ready", "consecutiveFailures": 3}, {"name": "b"}],
    });
    assert_eq!(merge_patch(&api, json!({"status": {"runtime": runtime}})).await.code, 200);
    api
}

/// Whether a patch, given as text, fits the object. None of these changes it
/// for the next one.
async fn fits(api: &Api, patch: &str) -> bool {
    let headers = [("content-type", JSON_PATCH)];
    let dry_run = format!("{STATUS}?dryRun=All");
    let reply = try_send(api, Role::Least, "PATCH", &dry_run, &headers, patch).await.expect("an answer");
    if reply.code != 200 {
        assert_eq!((reply.code, reply.message().as_str(), &reply.json()["details"]), (422, UNFIT, &json!({})));
    }
    reply.code == 200
}

async fn passes(api: &Api, path: &str, value: &str) -> bool {
    fits(api, &format!(r#"[{{"op": "test", "path": "/status/runtime{path}", "value": {value}}}]"#)).await
}

#[tokio::test(start_paused = true)]
async fn test_compares_with_the_text_as_go_encodes_it() {
    let api = reported().await;
    let tail = "\u{7f} \u{1F600}\"";
    for (value, expected) in [
        (format!(r#""a\u0026b \u003cx\u003e \u2028\u2029 é / \" \\ \t \u0007 \b {tail}"#), true),
        (format!(r#""a&b <x> \u2028\u2029 é / \" \\ \t \u0007 \b {tail}"#), false),
        (format!(r#""a\u0026b \u003Cx\u003E \u2028\u2029 é / \" \\ \t \u0007 \b {tail}"#), false),
        (format!("\"a\\u0026b \\u003cx\\u003e \u{2028}\u{2029} é / \\\" \\\\ \\t \\u0007 \\b {tail}"), false),
        (format!(r#""a\u0026b \u003cx\u003e \u2028\u2029 é / \" \\ \t \u0007 \u0008 {tail}"#), false),
        (format!(r#""a\u0026b \u003cx\u003e \u2028\u2029 \u00e9 / \" \\ \t \u0007 \b {tail}"#), false),
    ] {
        assert_eq!(passes(&api, "/message", &value).await, expected, "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn test_compares_values_member_by_member() {
    let api = reported().await;
    for (path, value, expected) in [
        ("/backendCount", "  2 ", true),
        ("/backendCount", "2.0", false),
        ("/backendCount", "2e0", false),
        ("/discoveredBackends/0", r#"{"status":"ready", "consecutiveFailures":3,"name":"a"}"#, true),
        ("/discoveredBackends/0", r#"{"status":"ready","name":"a"}"#, false),
        ("/discoveredBackends/0", r#"{"status":"ready","name":"a","consecutiveFailures":3,"url":null}"#, false),
        ("/discoveredBackends", r#"[{"name":"a","status":"ready","consecutiveFailures":3},{"name":"b"}]"#, true),
        ("/discoveredBackends", r#"[{"name":"b"},{"name":"a","status":"ready","consecutiveFailures":3}]"#, false),
        ("/conditions", " [ ] ", true),
        ("/conditions", "{}", false),
    ] {
        assert_eq!(passes(&api, path, value).await, expected, "{path} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn test_for_null_passes_for_an_absent_member_of_a_parent_that_is_there() {
    let api = reported().await;
    for (path, expected) in [
        ("/phase", true),
        ("/discoveredBackends/1/status", true),
        ("/a~1b", true),
        ("/backendCount", false),
        ("/conditions", false),
        ("/nope/phase", false),
        ("/backendCount/x", false),
        ("/discoveredBackends/2", false),
        ("/discoveredBackends/2/name", false),
        ("/discoveredBackends/-", false),
    ] {
        assert_eq!(passes(&api, path, "null").await, expected, "{path}");
    }
    assert!(!passes(&api, "/phase", r#""Ready""#).await);
    let without_value = |path: &str| format!(r#"[{{"op": "test", "path": "/status/runtime/{path}"}}]"#);
    assert!(fits(&api, &without_value("phase")).await);
    assert!(!fits(&api, &without_value("backendCount")).await);
}

#[tokio::test(start_paused = true)]
async fn index_may_have_a_sign_and_zeros_and_counts_from_the_end() {
    let api = reported().await;
    for index in ["1", "01", "+1", "-1"] {
        assert!(passes(&api, &format!("/discoveredBackends/{index}/name"), r#""b""#).await, "{index}");
    }
    for index in ["2", "-3", "x", "1.0", ""] {
        assert!(!passes(&api, &format!("/discoveredBackends/{index}/name"), r#""b""#).await, "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn operations_fit_as_far_as_their_parents_are_there() {
    let api = reported().await;
    for (operation, expected) in [
        (json!({"op": "replace", "path": "/status/runtime/phase", "value": "Ready"}), true),
        (json!({"op": "replace", "path": "/status/runtime/discoveredBackends/2", "value": {"name": "c"}}), false),
        (json!({"op": "add", "path": "/status/runtime/phase", "value": null}), true),
        (json!({"op": "add", "path": "/status/runtime/discoveredBackends/2", "value": {"name": "c"}}), true),
        (json!({"op": "add", "path": "/status/runtime/discoveredBackends/3", "value": {"name": "c"}}), false),
        (json!({"op": "add", "path": "/status/nope/x", "value": 1}), false),
        (json!({"op": "add", "path": "/status/url"}), true),
        (json!({"op": "remove", "path": "/status/runtime/discoveredBackends/-1"}), true),
        (json!({"op": "remove", "path": "/status/runtime/phase"}), false),
        (json!({"op": "remove", "path": ""}), false),
        (json!({"op": "copy", "from": "/status/phase", "path": "/status/url"}), true),
        (json!({"op": "copy", "from": "/status/oidcConfigHash", "path": "/status/url"}), true),
        (json!({"op": "move", "from": "/status/phase", "path": "/status/url"}), true),
        (json!({"op": "move", "from": "/status/oidcConfigHash", "path": "/status/url"}), false),
        (json!({"op": "test", "path": "", "value": null}), false),
        (json!({"op": "test", "path": "status", "value": null}), false),
    ] {
        assert_eq!(fits(&api, &json!([operation]).to_string()).await, expected, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn operations_see_the_document_as_patched_so_far() {
    let api = reported().await;
    let at = |path: &str| format!("/status/runtime/discoveredBackends/{path}");
    let patch = json!([
        {"op": "test", "path": at("0/name"), "value": "a"},
        {"op": "test", "path": at("1/name"), "value": "b"},
        {"op": "remove", "path": at("1")},
        {"op": "remove", "path": at("0")},
        {"op": "test", "path": at("0/name"), "value": "b"},
    ]);
    assert_eq!(json_patch(&api, patch.clone()).await.code, 422);
    let mut operations = patch.as_array().cloned().expect("a list");
    operations[4] = json!({"op": "add", "path": at("-"), "value": {"name": "c"}});
    assert_eq!(json_patch(&api, operations.into()).await.code, 200);
    assert_eq!(demo(&api)["status"]["runtime"]["discoveredBackends"], json!([{"name": "c"}]));
}

#[tokio::test(start_paused = true)]
async fn two_appends_of_one_name_are_a_duplicate() {
    let api = reported().await;
    let append = json!({"op": "add", "path": "/status/runtime/discoveredBackends/-", "value": {"name": "z"}});
    let causes = json_patch(&api, json!([append, append])).await.json()["details"]["causes"].take();
    assert_eq!(causes.as_array().map(Vec::len), Some(1));
    assert_eq!(causes[0]["reason"], "FieldValueDuplicate");
    assert_eq!(causes[0]["field"], "status.runtime.discoveredBackends[3]");
}

#[tokio::test(start_paused = true)]
async fn member_that_is_null_counts_as_absent() {
    let api = reported().await;
    let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    json_patch(
        &api,
        add("/status/runtime", json!({"phase": null, "discoveredBackends": [{"name": "a", "url": null}]})),
    )
    .await;
    assert_eq!(demo(&api)["status"]["runtime"], json!({"discoveredBackends": [{"name": "a"}]}));
    json_patch(&api, add("/status/phase", Value::Null)).await;
    assert_eq!(demo(&api)["status"]["phase"], "Pending");
    let item = json_patch(&api, add("/status/runtime", json!({"discoveredBackends": [null]}))).await;
    assert_eq!(item.json()["details"]["causes"][0]["field"], "status.runtime.discoveredBackends[0]");
    json_patch(&api, add("/status", Value::Null)).await;
    assert_eq!(demo(&api).get("status"), None);
}

#[tokio::test(start_paused = true)]
async fn patch_with_guards_alone_meets_the_newest_object_and_is_no_conflict() {
    let api = reported().await;
    let uid = demo(&api)["metadata"]["uid"].clone();
    let guarded = |old: &str, new: &str| {
        json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/status/runtime/discoveredBackends/0/name", "value": "a"},
            {"op": "test", "path": "/status/runtime/discoveredBackends/0/status", "value": old},
            {"op": "replace", "path": "/status/runtime/discoveredBackends/0/status", "value": new},
        ])
    };
    // Somebody writes another field while the patch is under way.
    api.inject(Fault::meanwhile(|api| {
        api.edit("default", "demo", |object| object["status"]["url"] = json!("http://x"));
    }));
    let before = version(&demo(&api));
    assert_eq!(json_patch(&api, guarded("ready", "unavailable")).await.code, 200);
    let after = demo(&api);
    assert_eq!((version(&after), after["status"]["url"].as_str()), (before + 2, Some("http://x")));
    assert_eq!(after["status"]["runtime"]["discoveredBackends"][0]["status"], "unavailable");

    let reply = json_patch(&api, guarded("ready", "degraded")).await;
    assert_eq!((reply.code, reply.message().as_str(), &reply.json()["details"]), (422, UNFIT, &json!({})));
    let foreign = json_patch(&api, json!([{"op": "test", "path": "/metadata/uid", "value": "0"}])).await;
    assert_eq!(foreign.code, 422);
    assert_eq!(demo(&api), after);
}
