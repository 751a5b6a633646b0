//! ToolHive's genuine operator and reporter.

use serde_json::{Value, json};
use vmcp_status_testkit::cluster::{Definitions, RealCluster};

const NAME: &str = "demo";

fn backend(name: &str, status: &str) -> Value {
    json!({"name": name, "url": format!("http://{name}:8080/mcp"), "status": status})
}

async fn runtime(cluster: &RealCluster, backends: Value) {
    let status = json!({"runtime": {"phase": "Ready", "message": "of the runtime", "discoveredBackends": backends}});
    cluster.merge_status(NAME, &status).await;
    cluster.reconciled(NAME).await;
}

async fn shown(cluster: &RealCluster) -> (Value, Value) {
    let status = cluster.object(NAME).await.expect("it is there")["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|it| it["type"] == "Ready").unwrap_or_default();
    (status["phase"].clone(), ready["reason"].clone())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator, see crates/testkit/cluster/README.md"]
async fn operator_projects_the_runtime_as_its_pods_and_backends_say() {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    let mut operator = cluster.operator().await;
    cluster.create_managed(NAME).await;
    let is_ready = |object: &Value| object["status"]["phase"] == "Ready";
    cluster.until_object(NAME, "ready", is_ready).await;
    assert_eq!(shown(&cluster).await, (json!("Ready"), json!("DeploymentReady")));

    runtime(&cluster, json!([backend("a", "ready"), backend("b", "unavailable")])).await;
    assert_eq!(shown(&cluster).await, (json!("Degraded"), json!("BackendsDegraded")));
    let status = cluster.object(NAME).await.expect("it is there")["status"].clone();
    assert_eq!((&status["backendCount"], &status["discoveredBackends"][1]["name"]), (&json!(1), &json!("b")));

    runtime(&cluster, json!([backend("a", "unavailable")])).await;
    assert_eq!(shown(&cluster).await, (json!("Degraded"), json!("BackendsUnavailable")));

    cluster.set_pod_ready(NAME, false).await;
    cluster.reconciled(NAME).await;
    assert_eq!(shown(&cluster).await, (json!("Pending"), json!("DeploymentNotReady")));

    operator.stop().await;
    cluster.set_pod_ready(NAME, true).await;
    operator.start().await;
    runtime(&cluster, json!([backend("a", "ready")])).await;
    assert_eq!(shown(&cluster).await, (json!("Ready"), json!("DeploymentReady")));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator, see crates/testkit/cluster/README.md"]
async fn vmcp_that_is_deleted_and_made_again_is_taken_up_by_the_operator() {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    let _operator = cluster.operator().await;
    let is_ready = |object: &Value| object["status"]["phase"] == "Ready";
    for _ in 0..2 {
        cluster.create_managed(NAME).await;
        cluster.until_object(NAME, "ready", is_ready).await;
        cluster.delete(NAME).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's reporter, see crates/testkit/cluster/README.md"]
async fn peer_reports_to_the_runtime_and_says_when_it_may_not() {
    let cluster = RealCluster::start_with(Definitions::ToolHive).await;
    cluster.create(NAME).await;
    let mut peer = cluster.peer("operator", NAME);
    // The first report also asks which resources there are.
    assert!(peer.report(&json!({"phase": "Pending", "message": "the first"})).await.ok);
    let mark = cluster.audit_mark();
    let answer = peer.report(&json!({"phase": "Ready", "message": "by the peer"})).await;
    assert!(answer.ok && answer.millis > 0.0, "{answer:?}");
    let requests = cluster.audit_since("operator", mark);
    assert_eq!(requests.iter().map(|entry| &*entry.verb).collect::<Vec<_>>(), ["get", "update"]);
    assert_eq!(cluster.object(NAME).await.expect("it is there")["status"]["runtime"]["message"], "by the peer");

    let answer = cluster.peer("nobody", NAME).report(&json!({"phase": "Ready"})).await;
    assert!(!answer.ok && answer.error.contains("forbidden"), "{answer:?}");
}
