//! Which home is lived in, whatever was there before.

use tokio::time::Instant;

use super::*;

/// Where the object has what we reported.
async fn until_reported_at_top(cluster: &RealCluster) {
    let wanted =
        |object: &Value| Seen::of(object).backends == one_down().backends && object["status"]["runtime"].is_null();
    cluster.until_object(NAME, "reported at the top level", wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn first_status_is_seen_within_a_second_whatever_was_there_before() {
    let (cluster, _operator) = toolhive().await;
    let old = json!([backend("gone", "ready")]);
    let before: [(&str, Value); 4] = [
        ("nothing", json!({"runtime": null})),
        (
            "a runtime of ToolHive's vMCP",
            json!({"runtime": {"phase": "Ready", "discoveredBackends": old, "backendCount": 1}}),
        ),
        ("a top level of an older vMCP", json!({"runtime": null, "discoveredBackends": old, "backendCount": 1})),
        ("an empty runtime", json!({"runtime": {}})),
    ];
    for (what, status) in before {
        cluster.merge_status(NAME, &json!({"runtime": null})).await;
        cluster.merge_status(NAME, &status).await;
        cluster.reconciled(NAME).await;
        let mut ours = Ours::start(&cluster, &[]);
        ours.both("ready", "unavailable").await;
        let stored = |object: &Value| object["status"]["runtime"]["discoveredBackends"][1]["status"] == "unavailable";
        cluster.until_object(NAME, "stored", stored).await;
        let begun = Instant::now();
        until_seen(&cluster, &one_down()).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
        assert!(ours.logged("the status lives here").iter().any(|line| line.contains("status.runtime")), "{what}");
        ours.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server"]
async fn old_definition_means_the_top_level_and_its_update_the_runtime() {
    let mut old = RealCluster::toolhive_vmcp_definition();
    for version in old["spec"]["versions"].as_array_mut().expect("a list") {
        let status = version.pointer_mut("/schema/openAPIV3Schema/properties/status/properties").expect("a status");
        status.as_object_mut().expect("an object").remove("runtime").expect("today's has it");
    }
    let cluster = RealCluster::start(old).await;
    cluster.create(NAME).await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "unavailable").await;
    until_reported_at_top(&cluster).await;
    assert!(ours.logged("the CRD has no status.runtime").len() == 1);
    ours.end().await;
    cluster.define(vec![RealCluster::toolhive_vmcp_definition()]).await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "ready").await;
    let moved = |object: &Value| object["status"]["runtime"]["phase"] == "Ready";
    cluster.until_object(NAME, "reported in runtime", moved).await;
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server"]
async fn operator_that_erases_runtime_is_not_fought() {
    // A new definition beside an operator from before September 2026: it updates
    // the whole status from a structure that does not know `runtime`.
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    cluster.create(NAME).await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "unavailable").await;
    let recording = Recording::start(&cluster).await;
    let erase = async {
        loop {
            let has_runtime = |object: &Value| !object["status"]["runtime"].is_null();
            cluster.until_object(NAME, "with a runtime", has_runtime).await;
            cluster.merge_status(NAME, &json!({"runtime": null, "url": "http://demo"})).await;
        }
    };
    tokio::select! {
        () = erase => {}
        () = until_reported_at_top(&cluster) => {}
    }
    until_quiet(&recording).await;
    let told = ours.logged("has erased status.runtime");
    assert_eq!(told.len(), 1, "{told:#?}");
    let with_runtime = recording.states().iter().filter(|object| !object["status"]["runtime"].is_null()).count();
    assert!(with_runtime <= 4, "{with_runtime}");
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn upgrade_from_a_reporter_at_the_top_level_loses_nothing() {
    let (cluster, _operator) = toolhive().await;
    // As the version before this one wrote, which knew one home only.
    let mut before = Ours::start(&cluster, &["--status-location", "top-level"]);
    before.both("ready", "unavailable").await;
    let there = |object: &Value| Seen::of(object).backends == one_down().backends;
    cluster.until_object(NAME, "reported at the top level", there).await;
    before.end().await;
    let recording = Recording::start(&cluster).await;
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "unavailable").await;
    until_seen(&cluster, &one_down()).await;
    until_quiet(&recording).await;
    let lists = recording.aspect(|seen| seen.backends.clone());
    assert_eq!(lists, [one_down().backends], "the backends never went");
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn top_level_chosen_by_hand_removes_a_runtime_and_says_so() {
    let (cluster, _operator) = toolhive().await;
    cluster
        .merge_status(NAME, &json!({"runtime": {"phase": "Ready", "discoveredBackends": [backend("gone", "ready")]}}))
        .await;
    cluster.reconciled(NAME).await;
    let mut ours = Ours::start(&cluster, &["--status-location", "top-level"]);
    ours.both("ready", "unavailable").await;
    until_reported_at_top(&cluster).await;
    let told = ours.logged("status.runtime was removed");
    assert_eq!(told.len(), 1, "{told:#?}");
    let recording = Recording::start(&cluster).await;
    until_quiet(&recording).await;
    assert_eq!(Seen::of(&cluster.object(NAME).await.expect("it is there")).backends, one_down().backends);
    ours.end().await;
}
