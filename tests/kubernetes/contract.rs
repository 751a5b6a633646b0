//! What holds on every API server. Each test runs twice: on the double, and on
//! a real server where there is one.

use chrono::DateTime;
use vmcp_status::{Condition, ConditionStatus, FlushError, Retry, Sink as _, condition_type};

use super::*;

macro_rules! contract {
    ($($name:ident)*) => {
        mod double {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Cluster::double()).await;
            })*
        }

        mod real {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
            async fn $name() {
                super::$name(super::Cluster::real().await).await;
            })*
        }
    };
}

contract! {
    status_is_stored_under_each_of_the_three_roles
    first_write_of_an_object_without_status_makes_one
    only_our_fields_change_and_unknown_ones_stay
    conditions_keep_times_and_those_of_others_and_lose_left_overs
    foreign_write_to_other_fields_is_not_a_conflict
    conflict_in_our_place_is_merged_with_what_another_wrote
    two_that_add_the_same_backend_are_a_conflict_and_no_refusal
    backends_are_edited_removed_and_appended_in_place
    equal_status_writes_nothing
    restart_keeps_transition_times_and_writes_nothing_new
    recreated_object_gets_the_whole_status_again
    refresh_repairs_our_fields_only
    missing_rights_are_named
    generation_never_goes_back
    version_v1alpha1_can_be_written_too
    two_reporters_on_one_object_lose_nothing
}

async fn status_is_stored_under_each_of_the_three_roles(cluster: Cluster) {
    for (role, message) in [(Role::Seed, "seed"), (Role::Operator, "operator"), (Role::Least, "least")] {
        let (handle, reporter) = reporter(cluster.client(role).await, |b| b);
        assert!(handle.report(said(message)));
        handle.flush().await.expect("stored");
        let status = cluster.status().await;
        assert_eq!((&status["phase"], &status["message"]), (&json!("Ready"), &json!(message)));
        assert_eq!((names(&status), &status["backendCount"]), (vec!["a", "b"], &json!(2)));
        assert!(reporter.shutdown().await.is_complete());
    }
}

async fn first_write_of_an_object_without_status_makes_one(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    assert!(handle.report(said("first")));
    handle.flush().await.expect("stored");
    assert_eq!(cluster.status().await["message"], "first");
    let counts = handle.counts();
    assert_eq!((counts.attempts, counts.conflicts, counts.failures), (1, 0, 0));
}

async fn only_our_fields_change_and_unknown_ones_stay(cluster: Cluster) {
    cluster.merge_status(json!({"phase": "Pending", "url": "http://vmcp", "oidcConfigHash": "abc"})).await;
    let before = cluster.object().await;
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    let after = cluster.object().await;
    assert_eq!(after["status"]["url"], "http://vmcp");
    assert_eq!(after["status"]["oidcConfigHash"], "abc");
    assert_eq!(after["spec"], before["spec"]);
    for kept in ["uid", "generation", "labels", "annotations", "creationTimestamp"] {
        assert_eq!(after["metadata"][kept], before["metadata"][kept], "{kept}");
    }
    assert!(after["status"].get("timestamp").is_none(), "the CRD has no such field");
}

fn stored_condition(type_: &str, status: &str, since: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Why", "message": "m", "lastTransitionTime": since})
}

async fn conditions_keep_times_and_those_of_others_and_lose_left_overs(cluster: Cluster) {
    let auth = stored_condition(condition_type::AUTH_CONFIGURED, "True", "2020-01-01T00:00:00Z");
    cluster
        .merge_status(json!({"phase": "Ready", "conditions": [
            auth,
            stored_condition("Degraded", "True", "2020-01-01T00:00:00Z"),
            stored_condition("Ready", "True", "2020-01-01T00:00:00Z"),
        ]}))
        .await;
    let (handle, _reporter) = reporter(cluster.client(Role::Seed).await, |b| b);
    let ready = |holds: bool| Condition::unchecked("Ready", ConditionStatus::from(holds), "ServerReady", "ours");
    assert!(handle.report(Status { conditions: vec![ready(true)], ..said("x") }));
    handle.flush().await.expect("stored");
    let conditions = cluster.status().await["conditions"].clone();
    assert_eq!(conditions.as_array().map(Vec::len), Some(2), "{conditions}");
    assert_eq!(conditions[0], auth);
    assert_eq!(
        (&conditions[1]["message"], &conditions[1]["lastTransitionTime"]),
        (&json!("ours"), &json!("2020-01-01T00:00:00Z"))
    );
    assert!(handle.set_condition(ready(false)));
    handle.flush().await.expect("stored");
    let moved = cluster.status().await["conditions"][1]["lastTransitionTime"].clone();
    assert!(moved.as_str() > Some("2021"), "{moved}");
}

async fn foreign_write_to_other_fields_is_not_a_conflict(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Seed).await, |b| b);
    let theirs = stored_condition("Theirs", "True", "2020-01-01T00:00:00Z");
    // The server compares encoded text, in which these characters are escaped.
    let odd = "a&b <x> \u{2028}";
    assert!(handle.report(Status::from_backends([ready("a"), ready(odd)])));
    handle.flush().await.expect("stored");
    for round in 0..4 {
        cluster.merge_status(json!({"url": format!("http://{round}"), "conditions": [theirs]})).await;
        cluster.merge_metadata(json!({"annotations": {"theirs": round.to_string()}})).await;
        let status = if round % 2 == 0 { BackendStatus::Unavailable } else { BackendStatus::Ready };
        assert!(handle.upsert_backend(DiscoveredBackend { status, ..ready(odd) }));
        assert!(handle.set_phase(if round % 2 == 0 { Phase::Degraded } else { Phase::Ready }, "R&D <x>"));
        handle.flush().await.expect("stored");
    }
    let status = cluster.status().await;
    assert_eq!(
        (&status["url"], &status["conditions"], &status["discoveredBackends"][1]["status"]),
        (&json!("http://3"), &json!([theirs]), &json!("ready"))
    );
    let counts = handle.counts();
    assert_eq!((counts.reads, counts.attempts, counts.conflicts, counts.failures), (1, 5, 0, 0));
}

async fn conflict_in_our_place_is_merged_with_what_another_wrote(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Seed).await, |b| b);
    assert!(handle.report(Status { phase: Phase::Degraded, ..Status::from_backends([ready("a"), ready("b")]) }));
    handle.flush().await.expect("stored");
    for foreign in [
        json!({"phase": "Failed", "url": "http://theirs"}),
        json!({"discoveredBackends": [{"name": "b", "status": "ready"}]}),
        json!({"discoveredBackends": [{"name": "a", "status": "degraded"}, {"name": "b", "status": "ready"}]}),
        json!({"discoveredBackends": null}),
    ] {
        let before = handle.counts();
        cluster.merge_status(foreign.clone()).await;
        assert!(handle.set_phase(Phase::Ready, foreign.to_string()));
        assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("a") }));
        handle.flush().await.expect("stored");
        let status = cluster.status().await;
        assert_eq!((&status["url"], &status["message"]), (&json!("http://theirs"), &json!(foreign.to_string())));
        let backends = status["discoveredBackends"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<_> = backends.iter().map(|backend| (&backend["name"], &backend["status"])).collect();
        found.sort_by_key(|(name, _)| name.to_string());
        assert_eq!(found, [(&json!("a"), &json!("unavailable")), (&json!("b"), &json!("ready"))]);
        let counts = handle.counts();
        assert_eq!((counts.conflicts - before.conflicts, counts.failures), (1, 0), "{foreign}");
        assert!(handle.set_phase(Phase::Degraded, "next") && handle.upsert_backend(ready("a")));
        handle.flush().await.expect("stored");
    }
}

async fn two_that_add_the_same_backend_are_a_conflict_and_no_refusal(cluster: Cluster) {
    let (one, _one) = reporter(cluster.client(Role::Seed).await, |b| b);
    let (other, _other) = reporter(cluster.client(Role::Seed).await, |b| b);
    for (handle, name) in [(&one, "a"), (&other, "a")] {
        assert!(handle.report(Status::from_backends([ready(name)])));
        handle.flush().await.expect("stored");
    }
    assert!(one.upsert_backend(ready("new")));
    one.flush().await.expect("stored");
    assert!(other.upsert_backend(ready("new")));
    other.flush().await.expect("stored");
    assert_eq!(names(&cluster.status().await), ["a", "new"]);
    let counts = other.counts();
    assert_eq!((counts.conflicts, counts.failures), (1, 0));
}

async fn backends_are_edited_removed_and_appended_in_place(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    assert!(handle.report(Status::from_backends(["a", "b", "c", "d"].map(ready))));
    handle.flush().await.expect("stored");
    assert!(handle.remove_backend("b"));
    assert!(handle.upsert_backend(DiscoveredBackend {
        status: BackendStatus::Unavailable,
        message: "Connection failed".into(),
        auth_type: String::new(),
        ..ready("c")
    }));
    assert!(handle.upsert_backend(ready("aa")));
    handle.flush().await.expect("stored");
    let status = cluster.status().await;
    assert_eq!(names(&status), ["a", "c", "d", "aa"]);
    assert_eq!(
        status["discoveredBackends"][1],
        json!({"name": "c", "url": "http://c.default.svc:8080/mcp", "status": "unavailable", "message": "Connection failed"})
    );
    assert_eq!(status["backendCount"], 3);
    assert!(handle.report(said("none left").clone()));
    assert!(handle.report(Status { message: "none".into(), ..Status::default() }));
    handle.flush().await.expect("stored");
    assert_eq!(names(&cluster.status().await), Vec::<&str>::new());
}

async fn equal_status_writes_nothing(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    let at = |second| DiscoveredBackend { last_health_check: DateTime::from_timestamp(second, 0), ..ready("a") };
    assert!(handle.report(Status::from_backends([at(1_700_000_000)])));
    handle.flush().await.expect("stored");
    let version = cluster.object().await["metadata"]["resourceVersion"].clone();
    let requests = cluster.requests(Role::Least);
    assert!(handle.report(Status::from_backends([at(1_700_000_001)])));
    handle.flush().await.expect("verified");
    assert_eq!(cluster.object().await["metadata"]["resourceVersion"], version);
    assert_eq!(cluster.requests(Role::Least), requests, "nothing is asked either");
    assert_eq!(handle.counts().attempts, 1);
}

async fn restart_keeps_transition_times_and_writes_nothing_new(cluster: Cluster) {
    let mut versions = Vec::new();
    for _ in 0..2 {
        let (handle, reporter) = reporter(cluster.client(Role::Operator).await, |b| b.derive_phase(true));
        assert!(handle.upsert_backend(ready("a")));
        assert!(reporter.shutdown().await.is_complete());
        versions.push(cluster.object().await["metadata"]["resourceVersion"].clone());
    }
    assert_eq!(versions[0], versions[1]);
}

async fn recreated_object_gets_the_whole_status_again(cluster: Cluster) {
    let (handle, _reporter) =
        reporter(cluster.client(Role::Seed).await, |b| b.periodic_interval(Some(Duration::from_millis(300))));
    assert!(handle.report(said("here")));
    handle.flush().await.expect("stored");
    cluster.recreate().await;
    eventually(async || cluster.status().await["message"] == "here").await;
    let status = cluster.status().await;
    assert_eq!((names(&status), &status["phase"]), (vec!["a", "b"], &json!("Ready")));
}

async fn refresh_repairs_our_fields_only(cluster: Cluster) {
    let (handle, _reporter) =
        reporter(cluster.client(Role::Least).await, |b| b.periodic_interval(Some(Duration::from_millis(300))));
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    cluster.merge_status(json!({"message": "theirs", "phase": "Failed", "url": "http://theirs"})).await;
    eventually(async || cluster.status().await["message"] == "ours").await;
    let status = cluster.status().await;
    assert_eq!((&status["phase"], &status["url"]), (&json!("Ready"), &json!("http://theirs")));
}

async fn missing_rights_are_named(cluster: Cluster) {
    let mut sink = KubernetesSink::new(cluster.client(Role::None).await, NAMESPACE, NAME).expect("good names");
    let error = sink.read().await.expect_err("forbidden");
    assert_eq!(error.retry(), Retry::Blocked);
    assert!(error.to_string().contains("patch on virtualmcpservers/status"), "{error}");
    let missing = KubernetesSink::new(cluster.client(Role::Least).await, NAMESPACE, "nobody").expect("good names");
    let (handle, _reporter) = Reporter::builder(missing).shutdown_grace(Duration::from_millis(100)).start();
    assert!(handle.report(said("x")));
    let Err(FlushError::TimedOut { last: Some(why) }) = handle.flush().await else { panic!("it is not there") };
    assert!(why.contains("there is no such object"), "{why}");
}

async fn generation_never_goes_back(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    for (given, stored) in [(Some(3), 3), (None, 3), (Some(2), 3), (Some(4), 4)] {
        assert!(handle.report(Status { observed_generation: given, ..said(format!("{given:?}")) }));
        handle.flush().await.expect("stored");
        assert_eq!(cluster.status().await["observedGeneration"], stored);
    }
}

async fn version_v1alpha1_can_be_written_too(cluster: Cluster) {
    let sink = KubernetesSink::new(cluster.client(Role::Least).await, NAMESPACE, NAME).expect("good names");
    let sink = sink.group_version("toolhive.stacklok.dev", "v1alpha1").expect("good names");
    let (handle, _reporter) = Reporter::builder(sink).start();
    assert!(handle.report(said("old version")));
    handle.flush().await.expect("stored");
    assert_eq!(cluster.status().await["message"], "old version");
}

async fn two_reporters_on_one_object_lose_nothing(cluster: Cluster) {
    let fast = |b: ReporterBuilder| b.write_interval(Duration::from_millis(10));
    let (one, first) = reporter(cluster.client(Role::Seed).await, fast);
    let (two, second) = reporter(cluster.client(Role::Least).await, fast);
    for round in 0..10 {
        assert!(one.report(said(format!("one {round}"))));
        assert!(two.report(said(format!("two {round}"))));
        let (a, b) = tokio::join!(one.flush(), two.flush());
        a.expect("stored");
        b.expect("stored");
    }
    assert!(first.shutdown().await.is_complete() && second.shutdown().await.is_complete());
    let message = cluster.status().await["message"].clone();
    assert!(message == "one 9" || message == "two 9", "{message}");
}
