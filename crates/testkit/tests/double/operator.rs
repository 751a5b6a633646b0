//! The stand-in for ToolHive's operator: the table that the genuine one keeps
//! to, and how each of the two releases writes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    api::{Api, Limits, Operator, Pods, Reconciled},
    demo, merge_patch,
    projection::{self, Object, REPORTED_AT, top_level},
    version,
};

const DELAY: Duration = Duration::from_millis(20);
const DEMO: Object<'_> = Object { namespace: "default", name: "demo", group: "g", generation: 1 };

/// A server with the object `demo`, which nobody has reported of yet.
fn cluster() -> Api {
    let api = Api::new();
    api.create("default", "demo", json!({"groupRef": {"name": "g"}}));
    api
}

fn operator(api: &Api, pods: Pods) -> Operator {
    api.operator("default", "demo", pods)
}

fn old_operator(api: &Api, pods: Pods) -> Operator {
    api.old_operator("default", "demo", pods)
}

async fn report(api: &Api, runtime: &Value) {
    assert_eq!(merge_patch(api, json!({"status": {"runtime": runtime}})).await.code, 200);
}

fn backends(status: &str) -> Value {
    json!({"discoveredBackends": [{"name": "a", "status": status}]})
}

fn condition(status: &Value, kind: &str) -> Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn operator_makes_of_each_report_what_the_table_says() {
    let scenarios = projection::scenarios();
    assert!(!scenarios.is_empty());
    for scenario in scenarios {
        let api = cluster();
        let operator = operator(&api, Pods::Absent);
        for (index, step) in scenario.steps.iter().enumerate() {
            let at = format!("{}, step {index}: {}", scenario.name, step.why);
            operator.set_pods(step.pods);
            operator.set_group(step.group);
            // As a whole: a merge would keep what the step does not name.
            report(&api, &Value::Null).await;
            report(&api, &step.runtime.clone().unwrap_or_default()).await;
            operator.reconcile();
            let status = demo(&api)["status"].take();
            assert_eq!(top_level(&status), step.expected(DEMO), "{at}");
            assert_eq!(status.get("runtime"), step.runtime.as_ref(), "{at}: the operator never touches it");
            assert_eq!(operator.reconcile(), Reconciled::Unchanged, "{at}: its own write is answered by none");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn condition_is_copied_with_the_operators_time_and_generation() {
    let api = cluster();
    api.edit("default", "demo", |object| object["spec"]["replicas"] = json!(1));
    let operator = operator(&api, Pods::Ready);
    let mut times = Vec::new();
    for (answer, message) in [("True", "first"), ("True", "second"), ("False", "third")] {
        sleep(Duration::from_secs(10)).await;
        let degraded = json!({
            "type": "Degraded", "status": answer, "reason": "BackendsDegraded", "message": message,
            "lastTransitionTime": REPORTED_AT, "observedGeneration": 1,
        });
        report(&api, &json!({"conditions": [degraded]})).await;
        operator.reconcile();
        let shown = condition(&demo(&api)["status"], "Degraded");
        assert_eq!((shown["message"].as_str(), &shown["observedGeneration"]), (Some(message), &json!(2)));
        times.push(shown["lastTransitionTime"].clone());
    }
    assert_eq!(times, ["2026-01-02T03:04:15Z", "2026-01-02T03:04:15Z", "2026-01-02T03:04:35Z"]);
}

#[tokio::test(start_paused = true)]
async fn report_that_differs_in_a_fraction_of_a_second_is_not_answered() {
    let api = cluster();
    let operator = operator(&api, Pods::Ready);
    let checked = |time: &str| json!({"discoveredBackends": [{"name": "a", "lastHealthCheck": time}]});
    report(&api, &checked("2026-01-02T03:04:05Z")).await;
    assert_eq!(operator.reconcile(), Reconciled::Written);
    report(&api, &checked("2026-01-02T03:04:05.5Z")).await;
    assert_eq!(operator.reconcile(), Reconciled::Unchanged);
    report(&api, &checked("2026-01-02T03:04:06Z")).await;
    assert_eq!(operator.reconcile(), Reconciled::Written);
}

#[tokio::test(start_paused = true)]
async fn write_from_a_stale_look_is_no_conflict_and_replaces_whole_lists() {
    let api = cluster();
    let operator = operator(&api, Pods::Ready);
    report(&api, &backends("ready")).await;
    let late = operator.observe().expect("the top level has nothing yet");
    let foreign = json!({
        "type": "Foreign", "status": "True", "reason": "Because", "message": "", "lastTransitionTime": REPORTED_AT,
    });
    merge_patch(&api, json!({"status": {"conditions": [foreign], "oidcConfigHash": "x"}})).await;
    report(&api, &backends("unavailable")).await;

    assert_eq!(late.write(), Reconciled::Written);
    let status = demo(&api)["status"].take();
    assert_eq!(condition(&status, "Foreign"), Value::Null, "the list is replaced as a whole");
    assert_eq!(status["oidcConfigHash"], "x", "what it does not change it does not send");
    assert_eq!((&status["phase"], &status["runtime"]), (&json!("Ready"), &backends("unavailable")));
    assert_eq!(operator.reconcile(), Reconciled::Written);
    assert_eq!(demo(&api)["status"]["phase"], "Degraded");
}

#[tokio::test(start_paused = true)]
async fn operator_that_follows_answers_each_report_by_one_write() {
    let api = cluster();
    let _following = operator(&api, Pods::Ready).follow(DELAY);
    sleep(2 * DELAY).await;
    assert_eq!(demo(&api)["status"]["phase"], "Ready", "it answers what is there when it starts");
    for status in ["ready", "unavailable", "ready"] {
        let before = version(&demo(&api));
        report(&api, &backends(status)).await;
        sleep(DELAY / 2).await;
        assert_eq!(version(&demo(&api)), before + 1, "not before its time");
        sleep(DELAY).await;
        assert_eq!(demo(&api)["status"]["discoveredBackends"], backends(status)["discoveredBackends"]);
        assert_eq!(version(&demo(&api)), before + 2, "the report, and its answer");
    }
    let before = demo(&api);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(demo(&api), before, "it does not answer itself");
}

#[tokio::test(start_paused = true)]
async fn reports_within_the_delay_get_one_answer_to_the_newest() {
    let api = cluster();
    let operator = operator(&api, Pods::Ready);
    report(&api, &backends("unknown")).await;
    operator.reconcile();
    let before = version(&demo(&api));
    let following = operator.follow(DELAY);
    for status in ["degraded", "unavailable", "ready"] {
        report(&api, &backends(status)).await;
    }
    sleep(2 * DELAY).await;
    let after = demo(&api);
    assert_eq!((version(&after), &after["status"]["phase"]), (before + 4, &json!("Ready")));

    drop(following);
    report(&api, &backends("unavailable")).await;
    sleep(10 * DELAY).await;
    assert_eq!(demo(&api)["status"]["phase"], "Ready", "nobody follows any more");
}

#[tokio::test(start_paused = true)]
async fn pods_alone_start_no_reconcile() {
    let api = cluster();
    let operator = operator(&api, Pods::NotReady);
    let _following = operator.follow(DELAY);
    sleep(2 * DELAY).await;
    operator.set_pods(Pods::Ready);
    sleep(100 * DELAY).await;
    assert_eq!(demo(&api)["status"]["phase"], "Pending");
    report(&api, &backends("ready")).await;
    sleep(2 * DELAY).await;
    assert_eq!(demo(&api)["status"]["phase"], "Ready");
}

#[tokio::test(start_paused = true)]
async fn operators_write_is_no_request_of_a_client_and_bears_its_name() {
    let api = cluster();
    report(&api, &backends("ready")).await;
    api.clear_requests();
    operator(&api, Pods::Ready).reconcile();
    assert_eq!(api.requests().len(), 0);
    let entries = demo(&api)["metadata"]["managedFields"].take();
    let entry = entries.as_array().and_then(|entries| entries.iter().find(|entry| entry["manager"] == "thv-operator"));
    let fields = &entry.expect("the operator has written")["fieldsV1"]["f:status"];
    assert!(fields.get("f:discoveredBackends").is_some() && fields.get("f:runtime").is_none(), "{fields}");
}

#[tokio::test(start_paused = true)]
async fn copy_that_makes_the_object_too_large_is_refused_and_the_top_level_freezes() {
    let api = cluster();
    let operator = operator(&api, Pods::Ready);
    report(&api, &backends("ready")).await;
    operator.reconcile();
    let before = demo(&api)["status"].take();
    let many: Value = (0..100).map(|index| json!({"name": format!("b{index}"), "status": "unavailable"})).collect();
    report(&api, &json!({"discoveredBackends": many})).await;
    api.set_limits(Limits { object: demo(&api).to_string().len() + 2_000, ..Limits::default() });
    assert_eq!(operator.reconcile(), Reconciled::Refused(500));
    assert_eq!(top_level(&demo(&api)["status"]), top_level(&before));
}

#[tokio::test(start_paused = true)]
async fn type_that_the_operator_removes_by_its_name_comes_and_goes_without_end() {
    let api = cluster();
    let operator = operator(&api, Pods::Ready);
    for kind in ["IdentitySynthesized", "DiscoveredAuthConfig-a", "DefaultAuthConfig"] {
        let reported = json!({
            "type": kind, "status": "True", "reason": "Because", "message": "", "lastTransitionTime": REPORTED_AT,
        });
        report(&api, &json!({"conditions": [reported]})).await;
        for there in [true, false, true, false] {
            assert_eq!(operator.reconcile(), Reconciled::Written, "{kind}");
            assert_eq!(condition(&demo(&api)["status"], kind).is_object(), there, "{kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn operator_has_nothing_to_do_for_an_object_that_is_gone() {
    let api = cluster();
    let operator = operator(&api, Pods::Ready);
    let late = operator.observe().expect("the object has no status yet");
    api.delete("default", "demo");
    assert_eq!(operator.reconcile(), Reconciled::Unchanged);
    assert_eq!(late.write(), Reconciled::Refused(404));
}

#[tokio::test(start_paused = true)]
async fn on_an_old_definition_the_top_level_is_read_and_answered() {
    let api = Api::with_old_crd();
    api.create("default", "demo", json!({"groupRef": {"name": "g"}}));
    let operator = operator(&api, Pods::Ready);
    let mut report = backends("unavailable");
    report["phase"] = json!("Failed");
    report["backendCount"] = json!(5);
    merge_patch(&api, json!({"status": report})).await;
    assert_eq!(operator.reconcile(), Reconciled::Written);
    let status = demo(&api)["status"].take();
    assert_eq!((&status["phase"], &status["backendCount"]), (&json!("Degraded"), &json!(5)));
    assert_eq!(condition(&status, "Ready")["reason"], "BackendsUnavailable");
}

#[tokio::test(start_paused = true)]
async fn old_operator_erases_runtime_in_answer_to_each_write_of_it() {
    let api = cluster();
    let _following = old_operator(&api, Pods::Ready).follow(DELAY);
    sleep(2 * DELAY).await;
    for _ in 0..3 {
        report(&api, &backends("ready")).await;
        assert!(demo(&api)["status"]["runtime"].is_object());
        sleep(2 * DELAY).await;
        let status = demo(&api)["status"].take();
        assert_eq!(status.get("runtime"), None);
        assert_eq!((&status["phase"], status.get("discoveredBackends")), (&json!("Ready"), None));
    }
}

#[tokio::test(start_paused = true)]
async fn old_operator_decides_from_the_top_level_and_conflicts_when_it_is_late() {
    let api = cluster();
    let operator = old_operator(&api, Pods::Ready);
    let mut reported = backends("unavailable");
    reported["phase"] = json!("Failed");
    merge_patch(&api, json!({"status": reported})).await;
    let late = operator.observe().expect("the operator has a verdict of its own");
    merge_patch(&api, json!({"status": {"message": "faster"}})).await;
    assert_eq!(late.write(), Reconciled::Refused(409));
    assert_eq!(demo(&api)["status"]["phase"], "Failed");

    assert_eq!(operator.reconcile(), Reconciled::Written);
    let status = demo(&api)["status"].take();
    assert_eq!(
        (&status["phase"], condition(&status, "Ready")["reason"].as_str()),
        (&json!("Degraded"), Some("BackendsUnavailable"))
    );
    assert_eq!(status["discoveredBackends"], reported["discoveredBackends"], "those it leaves to the vMCP");
    assert_eq!(operator.reconcile(), Reconciled::Unchanged);
}
