//! Where a status can live: whether the definition knows `status.runtime`, and
//! how a client finds out without writing anything.

use serde_json::{Value, json};

use crate::{
    JSON_PATCH, MERGE_PATCH, Reply, STATUS,
    api::{Api, Role},
    demo, merge_patch, send, server,
};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const UNKNOWN_RUNTIME: &str = r#"299 - "unknown field \"status.runtime\"""#;

/// `server`, with the definition from before `runtime`.
fn old_server() -> Api {
    let api = server();
    let old = Api::with_old_crd();
    old.create("default", "demo", demo(&api)["spec"].take());
    old.edit("default", "demo", |object| object["status"] = demo(&api)["status"].take());
    old
}

async fn patch_with(api: &Api, query: &str, patch: &Value) -> Reply {
    let headers = [("content-type", MERGE_PATCH), ("accept", METADATA)];
    send(api, Role::Least, "PATCH", &format!("{STATUS}?{query}"), &headers, patch).await
}

/// The question that a reporter asks before its first write.
async fn ask(api: &Api) -> Reply {
    patch_with(api, "dryRun=All&fieldValidation=Warn", &json!({"status": {"runtime": {}}})).await
}

#[tokio::test(start_paused = true)]
async fn dry_run_tells_whether_the_definition_knows_runtime_and_stores_nothing() {
    for (api, warning) in [(server(), None), (old_server(), Some(UNKNOWN_RUNTIME))] {
        let before = demo(&api);
        let reply = ask(&api).await;
        assert_eq!((reply.code, reply.header("warning")), (200, warning));
        assert_eq!(reply.json()["kind"], "PartialObjectMetadata");
        assert_eq!(reply.json()["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
        assert_eq!(demo(&api), before);
    }
}

#[tokio::test(start_paused = true)]
async fn dry_run_answers_for_an_object_that_nobody_has_reported_of() {
    for api in [Api::new(), Api::with_old_crd()] {
        api.create("default", "demo", json!({}));
        assert_eq!(ask(&api).await.code, 200);
        assert_eq!(demo(&api).get("status"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn old_definition_prunes_runtime_and_says_so_as_it_is_asked_to() {
    let patch = json!({"status": {"message": "new", "runtime": {"phase": "Ready"}}});
    for (validation, code, warning) in
        [("Warn", 200, Some(UNKNOWN_RUNTIME)), ("Ignore", 200, None), ("Strict", 422, None)]
    {
        let api = old_server();
        let reply = patch_with(&api, &format!("fieldValidation={validation}"), &patch).await;
        assert_eq!((reply.code, reply.header("warning")), (code, warning), "{validation}");
        let expected = if code == 200 { "new" } else { "fine" };
        assert_eq!(demo(&api)["status"], json!({"phase": "Ready", "message": expected}), "{validation}");
    }
    let refused = patch_with(&old_server(), "dryRun=All&fieldValidation=Strict", &patch).await;
    assert!(refused.message().ends_with("strict decoding error: unknown field \"status.runtime\""));
}

#[tokio::test(start_paused = true)]
async fn both_versions_know_runtime_or_neither() {
    let older = STATUS.replace("v1beta1", "v1alpha1");
    let patch = json!({"status": {"runtime": {"message": "kept"}}});
    for (api, kept) in [(server(), json!({"message": "kept"})), (old_server(), Value::Null)] {
        let reply = send(&api, Role::Least, "PATCH", &older, &[("content-type", MERGE_PATCH)], &patch).await;
        assert_eq!((reply.code, &demo(&api)["status"]["runtime"]), (200, &kept));
        assert_eq!(reply.json()["status"]["runtime"], kept);
    }
}

#[tokio::test(start_paused = true)]
async fn runtime_alone_gets_a_phase_at_the_top_level_and_none_of_its_own() {
    let api = Api::new();
    api.create("default", "demo", json!({}));
    merge_patch(&api, json!({"status": {"runtime": {"message": "new"}}})).await;
    assert_eq!(demo(&api)["status"], json!({"phase": "Pending", "runtime": {"message": "new"}}));
}

#[tokio::test(start_paused = true)]
async fn rules_hold_in_runtime_as_at_the_top_level() {
    let api = server();
    let before = demo(&api);
    for (runtime, reason, field) in [
        (json!(1), "FieldValueTypeInvalid", "status.runtime"),
        (json!({"phase": "Bogus"}), "FieldValueNotSupported", "status.runtime.phase"),
        (json!({"phase": ""}), "FieldValueNotSupported", "status.runtime.phase"),
        (json!({"conditions": [{}]}), "FieldValueRequired", "status.runtime.conditions[0].lastTransitionTime"),
        (
            json!({"discoveredBackends": [{"name": "a"}, {"name": "a"}]}),
            "FieldValueDuplicate",
            "status.runtime.discoveredBackends[1]",
        ),
    ] {
        let reply = merge_patch(&api, json!({"status": {"runtime": runtime}})).await;
        let cause = &reply.json()["details"]["causes"][0];
        assert_eq!(reply.code, 422, "{runtime}");
        assert_eq!((cause["reason"].as_str(), cause["field"].as_str()), (Some(reason), Some(field)), "{runtime}");
    }
    assert_eq!(demo(&api), before);
}

#[tokio::test(start_paused = true)]
async fn runtime_has_five_members_and_no_other() {
    let api = server();
    let known = json!({
        "phase": "Ready", "message": "", "conditions": [], "discoveredBackends": [], "backendCount": 0,
    });
    let mut runtime = known.clone();
    for (member, value) in
        [("observedGeneration", json!(1)), ("url", json!("http://demo")), ("oidcConfigHash", json!("x"))]
    {
        runtime[member] = value;
    }
    let reply = patch_with(&api, "", &json!({"status": {"runtime": runtime}})).await;
    let warnings: Vec<_> = reply.headers.get_all("warning").iter().collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "unknown field \"status.runtime.observedGeneration\"""#,
            r#"299 - "unknown field \"status.runtime.oidcConfigHash\"""#,
            r#"299 - "unknown field \"status.runtime.url\"""#,
        ]
    );
    assert_eq!(demo(&api)["status"]["runtime"], known);
}

#[tokio::test(start_paused = true)]
async fn dry_run_is_all_or_refused() {
    let api = server();
    let before = demo(&api);
    for (query, causes) in [
        ("dryRun=None", vec![r#"["None"]: supported values: "All""#]),
        ("dryRun=", vec![r#"[""]: supported values: "All""#]),
        ("dryRun=all", vec![r#"["all"]: supported values: "All""#]),
        ("dryRun=All&dryRun=None", vec![r#"["All","None"]: supported values: "All""#]),
        (
            "dryRun=x&fieldValidation=y",
            vec![r#"["x"]: supported values: "All""#, r#""y": supported values: "", "Ignore", "Strict", "Warn""#],
        ),
    ] {
        let reply = patch_with(&api, query, &json!({"status": {"message": "dry"}})).await;
        let status = reply.json();
        assert_eq!((reply.code, &status["reason"]), (422, &json!("Invalid")), "{query}");
        assert_eq!((&status["details"]["kind"], status["details"].get("name")), (&json!("PatchOptions"), None));
        let told = status["details"]["causes"].as_array().into_iter().flatten();
        let told: Vec<_> = told.filter_map(|cause| cause["message"].as_str()).collect();
        assert_eq!(told, causes.iter().map(|cause| format!("Unsupported value: {cause}")).collect::<Vec<_>>());
    }
    let one = patch_with(&api, "dryRun=None", &json!({})).await.message();
    assert_eq!(
        one,
        r#"PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["None"]: supported values: "All""#
    );
    assert_eq!(patch_with(&api, "dryRun=All&dryRun=All", &json!({"status": {"message": "dry"}})).await.code, 200);
    assert_eq!(demo(&api), before);

    let headers = [("content-type", "application/json")];
    let refused = send(&api, Role::Seed, "PUT", &format!("{STATUS}?dryRun=None"), &headers, &before).await;
    assert_eq!((refused.code, &refused.json()["details"]["kind"]), (422, &json!("UpdateOptions")));
}

#[tokio::test(start_paused = true)]
async fn dry_run_is_checked_like_a_write() {
    let api = server();
    let stale = json!({"metadata": {"resourceVersion": "1"}});
    assert_eq!(patch_with(&api, "dryRun=All", &stale).await.code, 409);
    assert_eq!(patch_with(&api, "dryRun=All", &json!({"status": {"phase": "Bogus"}})).await.code, 422);
    assert_eq!(patch_with(&Api::new(), "dryRun=All", &json!({})).await.code, 404);
    let headers = [("content-type", JSON_PATCH)];
    let unfit = json!([{"op": "remove", "path": "/status/url"}]);
    assert_eq!(send(&api, Role::Least, "PATCH", &format!("{STATUS}?dryRun=All"), &headers, &unfit).await.code, 422);
}

#[tokio::test(start_paused = true)]
async fn webhook_with_side_effects_lets_writes_pass_and_no_dry_run() {
    let api = server();
    api.set_webhook_with_side_effects(Some("status.example.com".to_owned()));
    let refused = ask(&api).await;
    assert_eq!((refused.code, &refused.json()["reason"]), (400, &json!("BadRequest")));
    assert_eq!(refused.message(), r#"admission webhook "status.example.com" does not support dry run"#);
    assert_eq!(merge_patch(&api, json!({"status": {"message": "written"}})).await.code, 200);
    assert_eq!(demo(&api)["status"]["message"], "written");
    api.set_webhook_with_side_effects(None);
    assert_eq!(ask(&api).await.code, 200);
}
