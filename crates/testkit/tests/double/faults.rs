//! What can go wrong, and that it goes wrong as told.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{
    MERGE_PATCH, STATUS,
    api::{Api, Fault, Role},
    demo, get, json_patch, merge_patch, send, server, try_send,
};

const SECOND: Duration = Duration::from_secs(1);

/// Whether an answer came, and whether the message was written.
async fn outcome(api: &Api) -> (bool, bool) {
    let patch = json!({"status": {"message": "written"}}).to_string();
    let answer = try_send(api, Role::Least, "PATCH", STATUS, &[("content-type", MERGE_PATCH)], patch);
    let answered = matches!(timeout(60 * SECOND, answer).await, Ok(Ok(_)));
    (answered, demo(api)["status"]["message"] == "written")
}

#[tokio::test(start_paused = true)]
async fn a_write_may_be_done_although_no_answer_came() {
    for (fault, expected) in [
        (None, (true, true)),
        (Some(Fault::ResetBefore), (false, false)),
        (Some(Fault::ResetAfterCommit), (false, true)),
        (Some(Fault::ResetAmidAnswer), (false, true)),
        (Some(Fault::Hang), (false, false)),
        (Some(Fault::HangAfterCommit), (false, true)),
        (Some(Fault::status(500)), (true, false)),
        (Some(Fault::JunkJson(200)), (true, false)),
        (Some(Fault::Unauthorized), (true, false)),
        (Some(Fault::Latency(SECOND)), (true, true)),
    ] {
        let api = server();
        fault.clone().into_iter().for_each(|fault| api.inject(fault));
        assert_eq!(outcome(&api).await, expected, "{fault:?}: answered, written");
        assert_eq!(get(&api, Role::Seed, STATUS).await.code, 200, "{fault:?} met more than one request");
    }
}

#[tokio::test(start_paused = true)]
async fn latency_passes_on_tokios_clock() {
    let api = server();
    api.inject(Fault::Latency(90 * SECOND));
    let start = Instant::now();
    merge_patch(&api, json!({})).await;
    assert_eq!(start.elapsed(), 90 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn faults_wait_in_line_for_the_requests_they_are_meant_for() {
    let api = server();
    api.inject(Fault::status(503).on("PATCH", "/demo/status").times(2));
    api.inject(Fault::status(429).on("PATCH", "/demo/status"));
    api.inject(Fault::status(404).on("PATCH", "/another"));
    assert_eq!(get(&api, Role::Seed, STATUS).await.code, 200);
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(merge_patch(&api, json!({})).await.code);
    }
    assert_eq!(codes, [503, 503, 429, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_fault_lasts_until_it_is_taken_back() {
    let api = server();
    api.always(Some(Fault::status(503)));
    api.inject(Fault::status(429));
    assert_eq!(merge_patch(&api, json!({})).await.code, 429);
    assert_eq!(merge_patch(&api, json!({})).await.code, 503);
    assert_eq!(merge_patch(&api, json!({})).await.code, 503);
    api.always(None);
    assert_eq!(merge_patch(&api, json!({})).await.code, 200);
    api.inject(Fault::Hang.times(9));
    api.clear_faults();
    assert_eq!(merge_patch(&api, json!({})).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn retry_after_comes_as_it_was_given() {
    let api = server();
    for value in ["7", "Fri, 02 Jan 2026 03:05:05 GMT", "soon"] {
        api.inject(Fault::status(503).retry_after(value));
        let status = merge_patch(&api, json!({})).await;
        assert_eq!((status.code, status.header("retry-after")), (503, Some(value)));
        assert_eq!(status.json()["details"]["retryAfterSeconds"].as_u64(), value.parse().ok());

        api.inject(Fault::too_many_requests(value));
        let text = merge_patch(&api, json!({})).await;
        assert_eq!((text.code, text.header("retry-after")), (429, Some(value)));
        assert_eq!(text.text, "Too many requests, please try again later.\n");
        assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_can_vanish_between_two_reads() {
    let api = server();
    api.inject(Fault::DeleteThenPass);
    assert_eq!(merge_patch(&api, json!({})).await.code, 200);
    assert_eq!(merge_patch(&api, json!({})).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn an_object_can_be_another_one_at_the_next_read() {
    let api = server();
    api.inject(Fault::RecreateThenPass);
    let before = merge_patch(&api, json!({})).await.json();
    let after = merge_patch(&api, json!({})).await.json();
    assert_eq!(before["spec"], after["spec"]);
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(after.get("status"), None);
}

#[tokio::test(start_paused = true)]
async fn somebody_can_write_between_a_read_and_a_write() {
    let api = server();
    let seen = demo(&api)["metadata"]["resourceVersion"].clone();
    api.inject(Fault::meanwhile(|api| {
        api.edit("default", "demo", |object| object["status"]["url"] = json!("http://demo"));
    }));
    let write = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": seen}]);
    assert_eq!(json_patch(&api, write).await.code, 409);
    assert_eq!(demo(&api)["status"]["url"], "http://demo");
}

#[tokio::test(start_paused = true)]
async fn kube_sees_each_refusal_as_it_sees_the_real_ones() {
    let api = server();
    for (fault, code, reason) in [
        (Fault::status(503), 503, "ServiceUnavailable"),
        (Fault::Unauthorized, 401, "Unauthorized"),
        (Fault::timeout(), 504, "Timeout"),
        (Fault::too_many_requests("1"), 429, "Failed to parse error data"),
        // What is JSON and no Status has not even a code.
        (Fault::JunkJson(502), 0, ""),
    ] {
        api.inject(fault.clone());
        let request = http::Request::patch(STATUS).header("content-type", MERGE_PATCH).body(b"{}".to_vec());
        let answer = api.client(Role::Least).request_text(request.expect("a request")).await;
        let Err(kube::Error::Api(status)) = answer else { panic!("{fault:?} was taken for an answer") };
        assert_eq!((status.code, status.reason.as_str()), (code, reason), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_has_every_request_and_what_became_of_it() {
    let api = server();
    api.inject(Fault::ResetAfterCommit.on("PUT", ""));
    let start = Instant::now();
    tokio::time::advance(SECOND).await;
    let headers = [("content-type", MERGE_PATCH), ("accept", "application/json"), ("authorization", "Bearer t")];
    let patch = json!({"status": {"message": "new"}});
    let managed = format!("{STATUS}?fieldManager=reporter");
    let reply = send(&api, Role::Least, "PATCH", &managed, &headers, &patch).await;
    let lost = try_send(&api, Role::Seed, "PUT", STATUS, &[], demo(&api).to_string()).await;
    assert!(lost.is_err());
    get(&api, Role::None, STATUS).await;

    let requests = api.requests();
    let methods: Vec<_> = requests.iter().map(|request| (request.method.as_str(), request.code)).collect();
    assert_eq!(methods, [("PATCH", Some(200)), ("PUT", None), ("GET", Some(403))]);
    let request = &requests[0];
    assert_eq!((request.path.as_str(), request.at), (managed.as_str(), start + SECOND));
    assert_eq!(request.content_type.as_deref(), Some(MERGE_PATCH));
    assert_eq!(request.accept.as_deref(), Some("application/json"));
    assert_eq!(request.authorization.as_deref(), Some("Bearer t"));
    assert_eq!((request.json(), request.bytes_up), (patch.clone(), patch.to_string().len()));
    assert_eq!(request.bytes_down, reply.text.len());

    api.clear_requests();
    assert!(api.requests().is_empty());
    get(&api, Role::Seed, STATUS).await;
    assert_eq!(api.requests().len(), 1);
    assert_eq!(api.requests()[0].code, Some(200));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_noted_for_its_own_request_alone() {
    let api = server();
    api.inject(Fault::Latency(SECOND));
    let slow = tokio::spawn({
        let api = api.clone();
        async move { get(&api, Role::None, STATUS).await.code }
    });
    tokio::task::yield_now().await;
    assert_eq!(api.requests().first().map(|request| request.code), Some(None), "it is under way");
    api.clear_requests();
    assert_eq!(get(&api, Role::Seed, STATUS).await.code, 200);
    assert_eq!(slow.await.expect("it is answered"), 403);
    assert_eq!(api.requests().iter().map(|request| request.code).collect::<Vec<_>>(), [Some(200)]);
}
