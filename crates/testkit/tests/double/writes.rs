//! What a write to the status does, and what it does not.

use serde_json::{Value, json};

use crate::{
    MERGE_PATCH, STATUS,
    api::{Api, Limits, Role},
    demo, json_patch, merge_patch, put, send, server, version,
};

const MODIFIED: &str = "Operation cannot be fulfilled on virtualmcpservers.toolhive.stacklok.dev \"demo\": the object \
                        has been modified; please apply your changes to the latest version and try again";
const UNFIT: &str = "the server rejected our request due to an error in our request";

#[tokio::test(start_paused = true)]
async fn a_new_object_has_what_the_server_gives_it() {
    let object = Api::new().create("default", "demo", json!({"a": 1}));
    let metadata = &object["metadata"];
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(metadata["managedFields"][0]["fieldsV1"], json!({"f:spec": {".": {}, "f:a": {}}}));
    assert!(metadata["uid"].is_string() && metadata["resourceVersion"].is_string());
    assert_eq!(object.get("status"), None);
}

#[tokio::test(start_paused = true)]
async fn an_object_made_again_has_another_uid_and_no_status() {
    let api = server();
    let before = demo(&api);
    api.delete("default", "demo");
    assert_eq!(api.object("default", "demo"), None);
    let after = api.create("default", "demo", before["spec"].clone());
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert!(version(&after) > version(&before));
    assert_eq!(after.get("status"), None);
}

#[tokio::test(start_paused = true)]
async fn an_edit_counts_the_generation_only_when_the_spec_changes() {
    let api = server();
    let before = demo(&api);
    api.edit("default", "demo", |object| object["status"]["url"] = json!("http://demo"));
    let touched = demo(&api);
    assert_eq!((version(&touched), &touched["metadata"]["generation"]), (version(&before) + 1, &json!(1)));
    api.edit("default", "demo", |object| object["spec"]["groupRef"]["name"] = json!("other"));
    let changed = demo(&api);
    assert_eq!((version(&changed), &changed["metadata"]["generation"]), (version(&before) + 2, &json!(2)));
    api.edit("default", "demo", |_| ());
    assert_eq!(demo(&api), changed, "no change, no write");
}

#[tokio::test(start_paused = true)]
async fn a_status_patch_changes_the_status_and_the_version_alone() {
    let api = server();
    let before = demo(&api);
    let reply = merge_patch(
        &api,
        json!({
            "metadata": {"labels": {"a": "b"}, "finalizers": ["x.example.com/y"], "generation": 7},
            "spec": {"groupRef": {"name": "evil"}},
            "status": {"message": "changed"},
        }),
    )
    .await;
    let after = demo(&api);
    assert_eq!((reply.code, reply.json()), (200, after.clone()));
    let mut expected = before.clone();
    expected["status"]["message"] = json!("changed");
    expected["metadata"]["resourceVersion"] = json!((version(&before) + 1).to_string());
    expected["metadata"]["managedFields"] = after["metadata"]["managedFields"].clone();
    assert_eq!(after, expected);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_changes_nothing_is_a_read() {
    let api = server();
    let before = demo(&api);
    for patch in [json!({}), json!({"status": {"phase": "Ready"}}), json!({"metadata": {"labels": {"a": "b"}}})] {
        let reply = merge_patch(&api, patch.clone()).await;
        assert_eq!((reply.code, reply.json()), (200, before.clone()), "{patch}");
    }
    for operations in [json!([]), json!([{"op": "test", "path": "/status/phase", "value": "Ready"}])] {
        let reply = json_patch(&api, operations.clone()).await;
        assert_eq!((reply.code, reply.json()), (200, before.clone()), "{operations}");
    }
    assert_eq!(put(&api, before.clone()).await.json(), before);
    assert_eq!(demo(&api), before);
}

#[tokio::test(start_paused = true)]
async fn a_null_removes_and_a_list_replaces_the_whole_list() {
    let api = server();
    merge_patch(&api, json!({"status": {"discoveredBackends": [{"name": "a"}, {"name": "b"}]}})).await;
    merge_patch(&api, json!({"status": {"discoveredBackends": [{"name": "c", "url": null}], "message": null}})).await;
    assert_eq!(demo(&api)["status"], json!({"phase": "Ready", "discoveredBackends": [{"name": "c"}]}));
    merge_patch(&api, json!({"status": null})).await;
    assert_eq!(demo(&api).get("status"), None);
}

#[tokio::test(start_paused = true)]
async fn a_patch_with_a_stale_version_conflicts_and_with_the_current_one_passes() {
    let api = server();
    let seen = demo(&api)["metadata"]["resourceVersion"].clone();
    let operations = json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": seen},
        {"op": "add", "path": "/status/phase", "value": "Degraded"},
    ]);
    assert_eq!(json_patch(&api, operations.clone()).await.code, 200);
    let after = demo(&api);
    assert_eq!(after["status"]["phase"], "Degraded");

    let stale = json!({"metadata": {"resourceVersion": seen}, "status": {"phase": "Failed"}});
    for reply in [json_patch(&api, operations).await, merge_patch(&api, stale).await] {
        assert_eq!((reply.code, reply.message().as_str()), (409, MODIFIED));
        assert_eq!(reply.json()["reason"], "Conflict");
    }
    assert_eq!(demo(&api), after);
}

#[tokio::test(start_paused = true)]
async fn a_missing_version_is_invalid_and_no_conflict() {
    let api = server();
    let mut object = demo(&api);
    object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("resourceVersion"));
    let replies = [
        put(&api, object).await,
        json_patch(&api, json!([{"op": "remove", "path": "/metadata/resourceVersion"}])).await,
        merge_patch(&api, json!({"metadata": {"resourceVersion": null}})).await,
        merge_patch(&api, json!({"metadata": {"resourceVersion": "0"}})).await,
    ];
    for reply in replies {
        assert_eq!((reply.code, reply.json()["reason"].as_str()), (422, Some("Invalid")));
        assert_eq!(reply.json()["details"]["causes"][0]["field"], "metadata.resourceVersion");
    }
    let junk = merge_patch(&api, json!({"metadata": {"resourceVersion": "abc"}})).await;
    assert_eq!((junk.code, junk.message().as_str()), (500, "strconv.ParseUint: parsing \"abc\": invalid syntax"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_uid_guards_a_put_but_no_patch() {
    let api = server();
    let patched = merge_patch(&api, json!({"metadata": {"uid": "0"}, "status": {"phase": "Failed"}})).await;
    assert_eq!((patched.code, &demo(&api)["status"]["phase"]), (200, &json!("Failed")));
    assert_ne!(demo(&api)["metadata"]["uid"], "0");

    let mut object = demo(&api);
    object["metadata"]["uid"] = json!("0");
    object["status"]["phase"] = json!("Ready");
    let reply = put(&api, object).await;
    assert_eq!((reply.code, reply.json()["reason"].as_str()), (409, Some("Conflict")));
    assert!(reply.message().contains("Precondition failed: UID in precondition: 0, UID in object meta: "));

    let tested = json_patch(&api, json!([{"op": "test", "path": "/metadata/uid", "value": "0"}])).await;
    assert_eq!(tested.code, 422);
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_that_does_not_fit_is_refused_without_details() {
    let api = server();
    let before = demo(&api);
    for operation in [
        json!({"op": "replace", "path": "/status/conditions/0/status", "value": "x"}),
        json!({"op": "remove", "path": "/status/url"}),
        json!({"op": "test", "path": "/status/phase", "value": "Failed"}),
        json!({"op": "add", "path": "/status/conditions/0", "value": {}}),
        json!({"op": "add", "path": "/status/discoveredBackends/-", "value": {"name": "a"}}),
    ] {
        let reply = json_patch(&api, json!([{"op": "add", "path": "/status/message", "value": "x"}, operation])).await;
        assert_eq!((reply.code, reply.message().as_str()), (422, UNFIT), "{operation}");
        assert_eq!((&reply.json()["reason"], &reply.json()["details"]), (&json!("Invalid"), &json!({})));
    }
    assert_eq!(demo(&api), before, "no operation is kept when one fails");
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_is_none_is_a_bad_request() {
    let api = server();
    for reply in [
        merge_patch(&api, json!([])).await,
        merge_patch(&api, Value::Null).await,
        json_patch(&api, json!({})).await,
        json_patch(&api, json!([{"op": "frobnicate", "path": "/status/phase"}])).await,
        json_patch(&api, json!([{"op": "add", "value": 1}])).await,
    ] {
        assert_eq!((reply.code, reply.json()["reason"].as_str()), (400, Some("BadRequest")), "{}", reply.text);
    }
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(send(&api, Role::Least, "PATCH", STATUS, &strategic, &json!({})).await.code, 415);
}

#[tokio::test(start_paused = true)]
async fn add_replaces_a_member_that_is_there() {
    let api = server();
    let reply = json_patch(&api, json!([{"op": "add", "path": "/status/phase", "value": "Failed"}])).await;
    assert_eq!((reply.code, &demo(&api)["status"]["phase"]), (200, &json!("Failed")));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_change_and_does_not_write_it() {
    let api = server();
    let before = demo(&api);
    let headers = [("content-type", MERGE_PATCH)];
    let patch = json!({"status": {"message": "dry"}});
    let reply = send(&api, Role::Least, "PATCH", &format!("{STATUS}?dryRun=All"), &headers, &patch).await;
    assert_eq!((reply.code, &reply.json()["status"]["message"]), (200, &json!("dry")));
    assert_eq!(demo(&api), before);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_not_found_in_two_ways() {
    let missing = merge_patch(&Api::new(), json!({})).await;
    assert_eq!((missing.code, missing.json()["reason"].as_str()), (404, Some("NotFound")));
    assert_eq!(missing.message(), "virtualmcpservers.toolhive.stacklok.dev \"demo\" not found");
    let undefined = merge_patch(&Api::without_crd(), json!({})).await;
    assert_eq!((undefined.code, undefined.text.as_str()), (404, "404 page not found\n"));
}

#[tokio::test(start_paused = true)]
async fn a_field_belongs_to_whom_changed_it_last() {
    let api = server();
    let headers = [("content-type", MERGE_PATCH), ("user-agent", "kube-client/1")];
    let backends = json!({"message": "fine", "discoveredBackends": [{"name": "a", "status": "ready"}]});
    send(&api, Role::Least, "PATCH", STATUS, &headers, &json!({"status": backends})).await;
    let patch = json!({"status": {"message": "mine"}});
    send(&api, Role::Least, "PATCH", &format!("{STATUS}?fieldManager=reporter"), &headers, &patch).await;
    let owned = |manager: &str| {
        let object = demo(&api);
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let entry = entries.into_iter().find(|entry| entry["manager"] == manager && entry["subresource"] == "status");
        entry.map(|mut entry| entry["fieldsV1"]["f:status"].take())
    };
    let backend = json!({".": {}, "f:name": {}, "f:status": {}});
    assert_eq!(owned("operator"), Some(json!({".": {}, "f:phase": {}})));
    assert_eq!(owned("kube-client"), Some(json!({"f:discoveredBackends": {".": {}, "k:{\"name\":\"a\"}": backend}})));
    assert_eq!(owned("reporter"), Some(json!({"f:message": {}})));
    send(&api, Role::Least, "PATCH", STATUS, &headers, &json!({"status": {"discoveredBackends": null}})).await;
    assert_eq!(owned("kube-client"), None);
}

fn backends(count: usize) -> Value {
    (0..count)
        .map(|index| {
            json!({
                "name": format!("backend-{index:05}"), "url": "http://backend.default.svc:8080/mcp", "status": "ready",
                "authType": "unauthenticated", "lastHealthCheck": "2026-01-02T03:04:05Z", "message": "",
            })
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn managed_fields_cost_about_158_bytes_for_each_backend() {
    let api = server();
    let size = |api: &Api| demo(api)["metadata"]["managedFields"].to_string().len();
    let before = size(&api);
    merge_patch(&api, json!({"status": {"discoveredBackends": backends(1_000)}})).await;
    let each = (size(&api) - before) / 1_000;
    assert!((120..=180).contains(&each), "{each} bytes");
}

#[tokio::test(start_paused = true)]
async fn too_large_shows_in_four_ways() {
    let api = server();
    api.set_limits(Limits { object: 4_000, message: 6_000, body: 8_000, operations: 2 });
    let message = async |length: usize| {
        let reply = merge_patch(&api, json!({"status": {"message": "x".repeat(length)}})).await;
        (reply.code, reply.message())
    };
    assert_eq!(message(2_000).await.0, 200);
    assert_eq!(message(4_000).await, (500, "etcdserver: request is too large".to_owned()));
    let (code, why) = message(6_000).await;
    assert_eq!(code, 500);
    assert!(why.starts_with("rpc error: code = ResourceExhausted desc = trying to send message larger than max ("));
    assert_eq!(message(8_000).await, (413, "Request entity too large: limit is 8000".to_owned()));

    let test = json!({"op": "test", "path": "/status/phase", "value": "Ready"});
    assert_eq!(json_patch(&api, json!([test, test])).await.code, 200);
    let reply = json_patch(&api, json!([test, test, test])).await;
    assert_eq!((reply.code, reply.json()["reason"].as_str()), (413, Some("RequestEntityTooLarge")));
}

#[tokio::test(start_paused = true)]
async fn managed_fields_count_towards_the_size_of_the_object() {
    let api = server();
    let status = json!({"discoveredBackends": backends(100)});
    let room = status.to_string().len() + 2_000;
    api.set_limits(Limits { object: room, ..Limits::default() });
    assert_eq!(merge_patch(&api, json!({"status": status})).await.code, 500);
    api.set_limits(Limits { object: room + 180 * 100, ..Limits::default() });
    assert_eq!(merge_patch(&api, json!({"status": status})).await.code, 200);
}
