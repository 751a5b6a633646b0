//! Changes as they happen.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tower::Service;

use crate::{
    RESOURCE,
    api::{Api, Role},
    demo, merge_patch, server, version,
};

/// A watch from `version` on, as the events it brings.
async fn watch(api: &Api, query: &str) -> BoxStream<'static, Value> {
    let request = http::Request::get(format!("{RESOURCE}?watch=1&{query}")).body(Body::empty()).expect("a request");
    let response = api.service(Role::Admin).call(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let lines = response.into_body().into_data_stream();
    lines.map(|line| serde_json::from_slice(&line.expect("a line")).expect("JSON")).boxed()
}

fn told(event: &Value) -> (Option<&str>, u64) {
    (event["type"].as_str(), version(&event["object"]))
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_every_change_after_its_version_in_order() {
    let api = Api::new();
    api.create("default", "before", json!({}));
    let start = version(&api.object("default", "before").expect("it is there"));
    let mut events = watch(&api, &format!("resourceVersion={start}")).await;
    api.create("default", "demo", json!({}));
    api.create("other", "demo", json!({}));
    merge_patch(&api, json!({"status": {"phase": "Ready"}})).await;
    merge_patch(&api, json!({})).await;
    api.delete("default", "demo");
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(events.next().await.expect("an event"));
    }
    let kinds: Vec<_> = kinds.iter().map(told).collect();
    // The other namespace's object is told to nobody here, the empty patch is no change.
    assert_eq!(kinds, [(Some("ADDED"), start + 1), (Some("MODIFIED"), start + 3), (Some("DELETED"), start + 4)]);
    assert!(timeout(Duration::from_secs(3600), events.next()).await.is_err(), "nothing else happened");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_nowhere_begins_with_what_is_there() {
    let api = server();
    api.create("default", "another", json!({}));
    let mut events = watch(&api, "fieldSelector=metadata.name%3Ddemo").await;
    let now = version(&demo(&api));
    assert_eq!(told(&events.next().await.expect("an event")), (Some("ADDED"), now));
    let writer = api.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        writer.edit("default", "demo", |object| object["spec"]["a"] = json!(1));
    });
    let event = events.next().await.expect("an event");
    assert_eq!((event["type"].as_str(), &event["object"]), (Some("MODIFIED"), &demo(&api)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_is_gone() {
    let api = server();
    let old = version(&demo(&api));
    api.edit("default", "demo", |object| object["spec"]["a"] = json!(1));
    api.compact();
    let mut events = watch(&api, &format!("resourceVersion={old}")).await;
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_overtaken_by_many_changes_is_gone_too() {
    let api = server();
    let old = version(&demo(&api));
    for count in 0..200 {
        api.edit("default", "demo", |object| object["spec"]["count"] = json!(count));
    }
    let mut events = watch(&api, &format!("resourceVersion={old}")).await;
    assert_eq!(events.next().await.expect("an event")["object"]["code"], 410);
    let mut events = watch(&api, &format!("resourceVersion={}", old + 150)).await;
    assert_eq!(told(&events.next().await.expect("an event")), (Some("MODIFIED"), old + 151));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_after_the_time_it_asked_for() {
    let api = server();
    let start = Instant::now();
    let now = version(&demo(&api));
    let mut events = watch(&api, &format!("resourceVersion={now}&timeoutSeconds=290")).await;
    assert_eq!(events.next().await, None);
    assert_eq!(start.elapsed(), Duration::from_secs(290));
}
