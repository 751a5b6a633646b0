//! Another writer that overwrites what was reported: named once it keeps at it.

use kube::api::{Api as KubeApi, DynamicObject, Patch, PatchParams};
use vmcp_status::StatusLocation;
use vmcp_status::custom_resource::{GROUP, KIND, PLURAL, VERSION};
use vmcp_status_testkit::logged::Logged;

use super::*;

const REFRESH: Duration = Duration::from_secs(30);
const WARNINGS: [&str; 2] = ["another writer keeps overwriting", "another process with the field manager of this one"];

/// Writes this status at the place as this field manager.
async fn overwrite(cluster: &Cluster, manager: &str, place: StatusLocation, status: Value) {
    let gvk = kube::api::GroupVersionKind::gvk(GROUP, VERSION, KIND);
    let resource = kube::api::ApiResource::from_gvk_with_plural(&gvk, PLURAL);
    let objects: KubeApi<DynamicObject> =
        KubeApi::namespaced_with(cluster.client(Role::Admin).await, NAMESPACE, &resource);
    let status = if place == StatusLocation::Runtime { json!({"runtime": status}) } else { status };
    let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    objects.patch_status(NAME, &params, &Patch::Merge(json!({"status": status}))).await.expect("it may write");
}

fn warnings(lines: &Logged) -> Vec<Value> {
    let is_told = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        WARNINGS.iter().any(|warning| message.starts_with(warning))
    };
    lines.at(tracing::Level::WARN).into_iter().filter(is_told).collect()
}

/// Overwrites the phase at three refreshes, and returns what was logged at each.
async fn three_refreshes(cluster: &Cluster, manager: &str, place: StatusLocation) -> Vec<Vec<Value>> {
    let lines = Logged::start();
    let sink = KubernetesSink::new(cluster.client(Role::Least).await, NAMESPACE, NAME).expect("good names");
    let (handle, reporter) =
        Reporter::builder(sink.location(place)).periodic_interval(Some(REFRESH)).write_interval(REFRESH / 30).start();
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    let mut told = Vec::new();
    for times in 1..=3 {
        overwrite(cluster, manager, place, json!({"phase": "Failed"})).await;
        tokio::time::sleep(REFRESH * 2).await;
        let location = handle.watch().borrow().location.clone().expect("there is a choice");
        assert_eq!(location.overwrites, times);
        assert_eq!(location.overwriter.is_some(), times == 3);
        told.push(warnings(&lines));
    }
    for _ in 0..10 {
        overwrite(cluster, manager, place, json!({"phase": "Failed"})).await;
        tokio::time::sleep(REFRESH * 2).await;
    }
    let later = warnings(&lines).len();
    assert!((3..=5).contains(&later), "at growing gaps: {later} lines in eleven minutes");
    reporter.shutdown().await;
    told
}

#[tokio::test(start_paused = true)]
async fn writer_that_overwrites_at_three_refreshes_is_named_with_the_fields() {
    for place in [StatusLocation::Runtime, StatusLocation::TopLevel] {
        let told = three_refreshes(&Cluster::double_of_today(), "other", place).await;
        let [none, none_yet, lines] = &told[..] else { panic!("{told:?}") };
        assert_eq!((none.len(), none_yet.len()), (0, 0), "once or twice is everyday: {told:?}");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["manager"], &line["fields"]), (&json!("other"), &json!("phase")), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn process_of_the_same_field_manager_is_named_as_another_process() {
    let told = three_refreshes(&Cluster::double_of_today(), "vmcp-status", StatusLocation::Runtime).await;
    let line = told[2].last().expect("a line");
    assert!(line["message"].as_str().is_some_and(|message| message.starts_with(WARNINGS[1])), "{line}");
}

#[tokio::test(start_paused = true)]
async fn condition_and_backend_that_others_add_beside_ours_are_told_apart() {
    let cluster = Cluster::double_of_today();
    let (handle, reporter) = reporter(cluster.client(Role::Least).await, |b| b.periodic_interval(Some(REFRESH)));
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    let condition = json!({"type": "Theirs", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let overwrites = async || {
        tokio::time::sleep(REFRESH * 2).await;
        handle.watch().borrow().location.clone().expect("there is a choice").overwrites
    };
    overwrite(&cluster, "other", StatusLocation::Runtime, json!({"conditions": [condition]})).await;
    assert_eq!(overwrites().await, 0, "a condition of its own");
    overwrite(&cluster, "other", StatusLocation::Runtime, json!({"discoveredBackends": [ready("a")]})).await;
    assert_eq!(overwrites().await, 1, "a backend is missing");
    reporter.shutdown().await;
}
