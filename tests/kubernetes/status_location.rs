//! In which of its two homes the status is written: on the double, and where
//! the server decides, on a real one too.

use tokio::time::{Instant, sleep};
use vmcp_status::{Condition, ConditionStatus, StatusLocation};

use super::api::Pods;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

macro_rules! contract {
    ($($name:ident)*) => {
        mod double {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Cluster::double_of_today()).await;
            })*
        }

        mod real {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
            async fn $name() {
                super::$name(super::Cluster::real_of_today().await).await;
            })*
        }
    };
}

contract! {
    runtime_is_the_home_of_todays_crd_with_the_right_to_patch_alone
    fields_of_others_in_runtime_stay
    writes_of_others_beside_runtime_are_not_a_conflict
    condition_that_is_dropped_becomes_unknown_and_comes_back
    transition_time_of_a_condition_that_is_dropped_and_comes_back_never_goes_back
    generation_goes_into_the_conditions
    restart_in_runtime_writes_nothing_new
    findings_at_the_top_level_are_taken_over_and_foreign_conditions_are_not
    conditions_of_the_operator_are_left_out
}

fn placed(client: kube::Client, location: StatusLocation) -> ReporterBuilder {
    let sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names").location(location);
    Reporter::builder(sink)
}

async fn runtime_is_the_home_of_todays_crd_with_the_right_to_patch_alone(cluster: Cluster) {
    let (handle, reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    let status = cluster.status().await;
    assert_eq!((&status["runtime"]["message"], names(&status["runtime"])), (&json!("ours"), vec!["a", "b"]));
    assert_eq!(status["runtime"]["backendCount"], 2);
    assert!(status["message"].is_null() && status["discoveredBackends"].is_null(), "{status}");
    let outcome = reporter.shutdown().await;
    let location = outcome.location.as_ref().expect("there is a choice");
    assert_eq!((location.place, location.reason.as_str()), ("status.runtime", "the CRD has status.runtime"));
}

async fn fields_of_others_in_runtime_stay(cluster: Cluster) {
    let foreign = json!({"type": "Theirs", "status": "True", "reason": "Why", "message": "m",
                         "lastTransitionTime": "2020-01-01T00:00:00Z"});
    cluster.merge_status(json!({"url": "http://x", "runtime": {"conditions": [foreign]}})).await;
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    assert!(handle.report(Status::derived_from([ready("a")])));
    handle.flush().await.expect("stored");
    let status = cluster.status().await;
    assert_eq!(status["runtime"]["conditions"][0], foreign);
    assert_eq!((&status["url"], &status["runtime"]["phase"]), (&json!("http://x"), &json!("Ready")));
}

async fn writes_of_others_beside_runtime_are_not_a_conflict(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b.derive_phase(true));
    assert!(handle.upsert_backend(ready("a")) && handle.upsert_backend(ready("b")));
    handle.flush().await.expect("stored");
    let before = handle.counts();
    for round in 0..4 {
        let (phase, status) =
            if round % 2 == 0 { ("Degraded", BackendStatus::Unavailable) } else { ("Ready", BackendStatus::Ready) };
        assert!(handle.upsert_backend(DiscoveredBackend { status, ..ready("b") }));
        handle.flush().await.expect("stored");
        // As the operator answers: what users see, hashes, its own conditions.
        let projected = cluster.status().await["runtime"]["discoveredBackends"].clone();
        let theirs = json!({"type": "DeploymentReady", "status": "True", "reason": "Why", "message": round.to_string(),
                            "lastTransitionTime": "2020-01-01T00:00:00Z"});
        cluster
            .merge_status(json!({
                "phase": phase, "message": "the operator's", "url": "http://x", "discoveredBackends": projected,
                "conditions": [theirs],
            }))
            .await;
        cluster.merge_metadata(json!({"annotations": {"round": round.to_string()}})).await;
    }
    let counts = handle.counts();
    assert_eq!((counts.attempts - before.attempts, counts.conflicts), (4, 0), "one request a change");
    assert_eq!(counts.reads, before.reads);
    let status = cluster.status().await;
    assert_eq!((&status["message"], &status["runtime"]["phase"]), (&json!("the operator's"), &json!("Ready")));
}

async fn condition_that_is_dropped_becomes_unknown_and_comes_back(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    let mine = || Condition::unchecked("Mine", ConditionStatus::True, "Because", "so it is");
    let degraded = || Condition::unchecked("Degraded", ConditionStatus::True, "Because", "");
    assert!(handle.report(Status { conditions: vec![mine(), degraded()], ..said("x") }));
    handle.flush().await.expect("stored");
    assert!(handle.remove_condition("Mine"));
    assert!(handle.remove_condition("Degraded"));
    handle.flush().await.expect("stored");
    let conditions = cluster.status().await["runtime"]["conditions"].clone();
    assert_eq!(conditions.as_array().map(Vec::len), Some(1), "one of ours that the operator lets go: {conditions}");
    assert_eq!(
        (&conditions[0]["type"], &conditions[0]["status"], &conditions[0]["reason"]),
        (&json!("Mine"), &json!("Unknown"), &json!("NotReported"))
    );
    let version = cluster.object().await["metadata"]["resourceVersion"].clone();
    assert!(handle.report(said("x")));
    handle.flush().await.expect("nothing new");
    assert_eq!(cluster.object().await["metadata"]["resourceVersion"], version, "said once");
    assert!(handle.set_condition(mine()));
    handle.flush().await.expect("stored");
    assert_eq!(cluster.status().await["runtime"]["conditions"][0]["status"], "True");
}

async fn transition_time_of_a_condition_that_is_dropped_and_comes_back_never_goes_back(cluster: Cluster) {
    // Stored while the clock was far ahead.
    let later = "2199-01-02T03:04:05Z";
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    let mine = |time: &str| Condition {
        last_transition_time: Some(time.parse().expect("a time")),
        ..Condition::unchecked("Mine", ConditionStatus::True, "Because", "so it is")
    };
    let stored = async || {
        handle.flush().await.expect("stored");
        let condition = cluster.status().await["runtime"]["conditions"][0].clone();
        (condition["status"].clone(), condition["lastTransitionTime"].clone())
    };
    let _ = handle.report(Status { conditions: vec![mine(later)], ..said("x") });
    assert_eq!(stored().await, (json!("True"), json!(later)));
    let _ = handle.remove_condition("Mine");
    assert_eq!(stored().await, (json!("Unknown"), json!(later)));
    let _ = handle.set_condition(mine("2026-01-02T03:04:05Z"));
    assert_eq!(stored().await, (json!("True"), json!(later)));
}

async fn generation_goes_into_the_conditions(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    assert!(handle.report(Status { observed_generation: Some(7), ..Status::derived_from([ready("a")]) }));
    handle.flush().await.expect("stored");
    let status = cluster.status().await;
    for condition in status["runtime"]["conditions"].as_array().expect("a list") {
        assert_eq!(condition["observedGeneration"], 7, "{condition}");
    }
    assert!(status["runtime"]["observedGeneration"].is_null() && status["observedGeneration"].is_null(), "{status}");
}

async fn restart_in_runtime_writes_nothing_new(cluster: Cluster) {
    for _ in 0..3 {
        let before = cluster.object().await["metadata"]["resourceVersion"].clone();
        let (handle, reporter) = reporter(cluster.client(Role::Least).await, |b| b.derive_phase(true));
        assert!(handle.upsert_backend(ready("a")));
        assert!(handle.set_observed_generation(3));
        handle.flush().await.expect("stored");
        let written = reporter.shutdown().await.counts.written;
        let after = cluster.object().await["metadata"]["resourceVersion"].clone();
        assert_eq!(before == after, written == 0);
        if !before.is_null() && cluster.status().await["runtime"]["phase"] == "Ready" && written == 0 {
            return;
        }
    }
    panic!("each start has written");
}

async fn findings_at_the_top_level_are_taken_over_and_foreign_conditions_are_not(cluster: Cluster) {
    let since = "2020-01-01T00:00:00Z";
    let condition = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": "Why", "message": "",
                                         "lastTransitionTime": since, "observedGeneration": 9})
    };
    cluster
        .merge_status(json!({
            "phase": "Ready", "backendCount": 1,
            "conditions": [condition("AuthConfigured"), condition("Ready")],
            "discoveredBackends": [{"name": "a", "status": "ready", "mcpRevision": "2025-11-25"}],
        }))
        .await;
    let window = Duration::from_secs(5);
    let (handle, _reporter) =
        reporter(cluster.client(Role::Least).await, |b| b.derive_phase(true).start_window(window));
    assert!(handle.upsert_backend(DiscoveredBackend::named("a")));
    let adopted = async || {
        let current = handle.current().await.expect("it lives");
        current.backend("a").is_some_and(|backend| backend.mcp_revision == "2025-11-25")
    };
    eventually(adopted).await;
    assert!(handle.upsert_backend(ready("a")));
    handle.first_round_done();
    handle.flush().await.expect("stored");
    let status = cluster.status().await;
    let conditions = status["runtime"]["conditions"].as_array().expect("a list");
    assert!(conditions.iter().all(|condition| condition["type"] != "AuthConfigured"), "{status}");
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("it is derived");
    assert_eq!((&ready["lastTransitionTime"], &ready["observedGeneration"]), (&json!(since), &Value::Null));
}

async fn conditions_of_the_operator_are_left_out(cluster: Cluster) {
    let (handle, _reporter) = reporter(cluster.client(Role::Least).await, |b| b);
    let of = |type_: &str| Condition::unchecked(type_, ConditionStatus::True, "Because", "");
    assert!(handle.report(Status { conditions: vec![of("IdentitySynthesized"), of("Mine")], ..said("x") }));
    handle.flush().await.expect("stored");
    let conditions = cluster.status().await["runtime"]["conditions"].clone();
    assert_eq!(conditions.as_array().map(Vec::len), Some(1), "{conditions}");
    assert_eq!(conditions[0]["type"], "Mine");
}

/// The double as today's ToolHive defines it.
fn today() -> Api {
    match Cluster::double_of_today() {
        Cluster::Double(api) => api,
        Cluster::Real(_) => unreachable!("it is a double"),
    }
}

fn message_in<'a>(status: &'a Value, home: &str) -> &'a str {
    let status = if home.is_empty() { status } else { &status[home] };
    status["message"].as_str().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn server_that_refuses_dry_runs_is_asked_by_the_first_write() {
    for (api, home) in [(today(), "runtime"), (double(), "")] {
        api.set_webhook_with_side_effects(Some("nosy.example.com".into()));
        let (handle, reporter) = reporter(api.client(Role::Least), |b| b);
        assert!(handle.report(said("ours")));
        handle.flush().await.expect("stored");
        assert_eq!(message_in(&status(&api), home), "ours");
        let outcome = reporter.shutdown().await;
        let place = outcome.location.as_ref().expect("there is a choice").place;
        assert_eq!(place, if home.is_empty() { "status" } else { "status.runtime" });
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_home_gets_no_early_pending() {
    let api = double();
    api.set_webhook_with_side_effects(Some("nosy.example.com".into()));
    let (handle, _reporter) = reporter(api.client(Role::Least), |b| b.derive_phase(true).start_window(MINUTE));
    assert!(handle.upsert_backend(DiscoveredBackend::named("a")));
    sleep(MINUTE / 2).await;
    assert!(status(&api)["message"].is_null(), "{}", status(&api));
    sleep(MINUTE).await;
    assert_eq!(status(&api)["phase"], "Pending", "it has had its time");
}

#[tokio::test(start_paused = true)]
async fn pending_is_announced_at_the_top_level_and_not_in_runtime() {
    for (api, phase) in [(today(), Value::Null), (double(), json!("Pending"))] {
        let (handle, _reporter) = reporter(api.client(Role::Least), |b| b.derive_phase(true).start_window(MINUTE));
        assert!(handle.upsert_backend(DiscoveredBackend::named("a")));
        sleep(Duration::from_secs(5)).await;
        let message = status(&api)["message"].clone();
        assert_eq!(message.is_null(), phase.is_null(), "{}", status(&api));
        assert!(status(&api)["runtime"].is_null());
    }
}

#[tokio::test(start_paused = true)]
async fn top_level_is_left_within_an_hour_of_an_update_of_the_definition() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Least), |b| b);
    assert!(handle.report(said("one")));
    handle.flush().await.expect("stored");
    assert_eq!(message_in(&status(&api), ""), "one");
    api.update_crd();
    sleep(HOUR / 2).await;
    assert!(handle.report(said("two")));
    handle.flush().await.expect("stored");
    assert_eq!(message_in(&status(&api), ""), "two", "not asked again yet");
    sleep(HOUR).await;
    assert!(handle.report(said("three")));
    handle.flush().await.expect("stored");
    assert_eq!(message_in(&status(&api), "runtime"), "three");
}

#[tokio::test(start_paused = true)]
async fn runtime_that_shows_up_moves_the_reporter_there_at_once() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Least), |b| b.periodic_interval(Some(MINUTE)));
    assert!(handle.report(said("one")));
    handle.flush().await.expect("stored");
    api.update_crd();
    api.edit(NAMESPACE, NAME, |object| object["status"]["runtime"] = json!({"phase": "Failed"}));
    sleep(MINUTE * 2).await;
    assert_eq!(message_in(&status(&api), "runtime"), "one");
}

#[tokio::test(start_paused = true)]
async fn old_operator_that_erases_runtime_is_left_alone_for_an_hour() {
    let api = today();
    let operator = api.old_operator(NAMESPACE, NAME, Pods::Ready);
    let following = operator.follow(Duration::from_millis(50));
    let (handle, _reporter) = reporter(api.client(Role::Least), |b| b);
    assert!(handle.report(said("ours")));
    sleep(MINUTE).await;
    let now = status(&api);
    assert!(now["runtime"].is_null() && names(&now) == ["a", "b"], "{now}");
    // Two that were erased, and no third.
    api.clear_requests();
    for change in 0..10 {
        assert!(handle.report(said(format!("change {change}"))));
        sleep(Duration::from_secs(30)).await;
        assert!(status(&api)["runtime"].is_null());
    }
    drop(following);
    // The operator is a new one now.
    sleep(HOUR).await;
    assert!(handle.report(said("after the update")));
    handle.flush().await.expect("stored");
    assert_eq!(message_in(&status(&api), "runtime"), "after the update");
}

#[tokio::test(start_paused = true)]
async fn runtime_that_was_erased_once_is_restored_by_a_look_without_any_change() {
    let api = today();
    let (handle, _reporter) = reporter(api.client(Role::Least), |b| b);
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    api.edit(NAMESPACE, NAME, |object| drop(object["status"].as_object_mut().map(|status| status.remove("runtime"))));
    sleep(Duration::from_secs(11)).await;
    assert_eq!(message_in(&status(&api), "runtime"), "ours");
    api.clear_requests();
    sleep(HOUR).await;
    assert_eq!(api.requests().len(), 1, "it is looked once more whether that has stayed, and then not again");
}

#[tokio::test(start_paused = true)]
async fn runtime_chosen_by_hand_on_an_old_definition_says_what_is_wrong() {
    let api = double();
    let (handle, _reporter) = placed(api.client(Role::Least), StatusLocation::Runtime).start();
    assert!(handle.report(said("ours")));
    let error = handle.flush().await.expect_err("nothing is kept").to_string();
    assert!(error.contains("its CRD has no status.runtime"), "{error}");
    assert!(status(&api)["message"].is_null());
}

#[tokio::test(start_paused = true)]
async fn top_level_chosen_by_hand_removes_a_runtime_once_and_does_not_fight() {
    let api = today();
    let runtime = json!({"phase": "Ready", "message": "of an earlier process"});
    api.edit(NAMESPACE, NAME, |object| object["status"]["runtime"] = runtime.clone());
    let (handle, _reporter) = placed(api.client(Role::Least), StatusLocation::TopLevel).start();
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    let now = status(&api);
    assert!(now["runtime"].is_null() && message_in(&now, "") == "ours", "{now}");
    api.edit(NAMESPACE, NAME, |object| object["status"]["runtime"] = runtime.clone());
    assert!(handle.report(said("again")));
    handle.flush().await.expect("stored");
    let now = status(&api);
    assert!(now["runtime"] == runtime && message_in(&now, "") == "again", "{now}");
}

#[tokio::test(start_paused = true)]
async fn operator_that_answers_each_report_shows_it_and_is_not_answered() {
    let api = today();
    let operator = api.operator(NAMESPACE, NAME, Pods::Ready);
    let _following = operator.follow(Duration::from_millis(50));
    let (handle, _reporter) = reporter(api.client(Role::Least), |b| b.derive_phase(true));
    for change in 0..10 {
        let state = if change % 2 == 0 { BackendStatus::Ready } else { BackendStatus::Unavailable };
        assert!(handle.upsert_backend(DiscoveredBackend { status: state, ..ready("a") }));
        sleep(MINUTE).await;
        let now = status(&api);
        assert_eq!(now["discoveredBackends"][0]["status"], state.as_str());
        assert_eq!(now["phase"], if change % 2 == 0 { "Ready" } else { "Degraded" });
    }
    api.clear_requests();
    sleep(HOUR).await;
    assert_eq!(api.requests().len(), 0, "nothing to say, nothing sent");
}

#[tokio::test(start_paused = true)]
async fn refused_sizes_are_searched_for_and_grow_again() {
    let api = double();
    let limits = super::api::Limits { object: 60_000, ..super::api::Limits::default() };
    api.set_limits(limits);
    let (handle, _reporter) = placed(api.client(Role::Least), StatusLocation::TopLevel).start();
    let all = || Status::from_backends((0..1000).map(|i| ready(format!("b{i:04}"))));
    assert!(handle.report(all()));
    handle.flush().await.expect("stored in part");
    let listed = || names(&status(&api)).len();
    let first = listed();
    assert!((20..900).contains(&first), "{first}");
    // The server has been given more room.
    api.set_limits(super::api::Limits::default());
    let begun = Instant::now();
    let mut change = 0;
    while listed() < 1000 {
        assert!(begun.elapsed() < HOUR * 2, "{} of 1000 listed after {:?}", listed(), begun.elapsed());
        sleep(MINUTE * 10).await;
        change += 1;
        assert!(handle.report(Status { message: format!("change {change}"), ..all() }));
        handle.flush().await.expect("stored");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_rights_are_named_though_the_question_is_refused_first() {
    let api = today();
    let (handle, _reporter) = reporter(api.client(Role::None), |b| b);
    assert!(handle.report(said("ours")));
    let error = handle.flush().await.expect_err("there are no rights").to_string();
    assert!(error.contains("RBAC.md"), "{error}");
}
