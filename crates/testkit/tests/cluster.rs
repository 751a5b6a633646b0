//! The cluster itself: users, rights, refusals and the audit log are what a real
//! control plane has.

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use vmcp_status_testkit::cluster::{Definitions, Denial, NAMESPACE, RealCluster};

const NAME: &str = "demo";

/// A definition of a `VirtualMCPServer` that takes any spec and status.
fn open_definition() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "virtualmcpservers.toolhive.stacklok.dev"},
        "spec": {
            "group": "toolhive.stacklok.dev", "scope": "Namespaced",
            "names": {"kind": "VirtualMCPServer", "plural": "virtualmcpservers", "singular": "virtualmcpserver"},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}

async fn cluster() -> RealCluster {
    let cluster = RealCluster::start_with(Definitions::Given(vec![open_definition()])).await;
    cluster.create(NAME).await;
    cluster
}

fn status_path() -> String {
    format!("/apis/toolhive.stacklok.dev/v1beta1/namespaces/{NAMESPACE}/virtualmcpservers/{NAME}/status")
}

async fn patch(client: &Client, message: &str) -> Result<Value, kube::Error> {
    let request = http::Request::patch(status_path()).header("content-type", "application/merge-patch+json");
    let body = json!({"status": {"message": message}}).to_string().into_bytes();
    client.request(request.body(body).expect("it is well formed")).await
}

/// Status code and the whole answer.
fn refused(answer: Result<Value, kube::Error>) -> (u16, Value) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, serde_json::to_value(status).expect("it serialises")),
        answer => panic!("it is not refused: {answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn user_may_do_what_its_role_says_and_nothing_else() {
    let cluster = cluster().await;
    let (least, nobody) = (cluster.client("least").await, cluster.client("nobody").await);
    patch(&least, "by least").await.expect("it may");
    let (code, answer) = refused(patch(&nobody, "by nobody").await);
    let message = answer["message"].as_str().expect("there is a message");
    assert_eq!(code, 403);
    let words = r#"User "system:serviceaccount:default:nobody" cannot patch resource "virtualmcpservers/status""#;
    assert!(message.contains(words), "{message}");

    let rule = json!([{"verbs": ["patch"], "apiGroups": ["toolhive.stacklok.dev"], "resources": ["virtualmcpservers/status"]}]);
    cluster.grant("nobody", rule).await;
    patch(&nobody, "by nobody").await.expect("it may now");
    cluster.grant("nobody", json!([])).await;
    assert_eq!(refused(patch(&nobody, "no more").await).0, 403);
    assert_eq!(cluster.object(NAME).await.expect("it is there")["status"]["message"], "by nobody");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn audit_log_counts_the_requests_of_a_user_exactly() {
    let cluster = cluster().await;
    let least = cluster.client("least").await;
    let mark = cluster.audit_mark();
    for count in 0..20 {
        patch(&least, &count.to_string()).await.expect("it may");
        assert_eq!(cluster.audit_since("least", mark).len(), count + 1, "an answered request is in the log");
    }
    assert_eq!(
        refused(least.request(http::Request::get(status_path()).body(vec![]).expect("well formed")).await).0,
        403
    );
    let entries = cluster.audit("least");
    assert_eq!(entries.len(), 21, "{entries:#?}");
    let told: Vec<_> = entries.iter().map(|entry| (&*entry.verb, &*entry.subresource, entry.code)).collect();
    assert_eq!((told[0], told[20]), (("patch", "status", 200), ("get", "status", 403)));
    assert!(entries[..20].iter().all(|entry| entry.writes_status() && entry.name == NAME));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn token_that_is_rotated_is_another_one_and_those_of_a_replaced_account_are_refused() {
    let cluster = cluster().await;
    let read = || std::fs::read_to_string(cluster.token_file("least")).expect("there is a token");
    let (first, old) = (read(), cluster.client("least").await);
    cluster.rotate_token("least").await;
    assert_ne!(read(), first);
    patch(&old, "by the first token").await.expect("it is still valid");
    patch(&cluster.client("least").await, "by the second token").await.expect("it is valid");

    cluster.expire_tokens("least").await;
    assert_eq!(refused(patch(&old, "by an old token").await).0, 401);
    cluster.rotate_token("least").await;
    patch(&cluster.client("least").await, "by the third token").await.expect("the rights go by name");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn policy_denies_in_both_forms_and_names_itself() {
    let cluster = cluster().await;
    let least = cluster.client("least").await;
    for (denial, code, reason) in [(Denial::Invalid, 422, "Invalid"), (Denial::Forbidden, 403, "Forbidden")] {
        cluster.deny("least", denial, "object.status.message != 'bad'", "not this word").await;
        patch(&least, "good").await.expect("the policy lets it pass");
        let (refused_with, answer) = refused(patch(&least, "bad").await);
        assert_eq!((refused_with, &answer["reason"]), (code, &json!(reason)), "{answer}");
        let cause = answer["details"]["causes"][0]["message"].as_str().unwrap_or_default();
        let words = "ValidatingAdmissionPolicy 'deny-least' with binding 'deny-least' denied request: not this word";
        assert!(cause.contains(words), "{answer}");
        cluster.allow("least").await;
        patch(&least, "bad").await.expect("the policy is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn rejected_user_gets_a_plain_429_with_retry_after_and_others_do_not() {
    let cluster = cluster().await;
    let (least, seed) = (cluster.client("least").await, cluster.client("seed").await);
    let rejection = cluster.reject("least").await;
    let mark = cluster.audit_mark();
    for _ in 0..20 {
        let request = http::Request::patch(status_path()).header("content-type", "application/merge-patch+json");
        let answer =
            least.send(request.body(Body::from(b"{}".to_vec())).expect("well formed")).await.expect("an answer");
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(answer.headers()["content-type"].to_str().is_ok_and(|it| it.starts_with("text/plain")), "{answer:?}");
        patch(&seed, "by another").await.expect("it is not rejected");
    }
    assert!(cluster.audit_since("least", mark).iter().all(|entry| entry.code == 429));
    drop(rejection);
    let passes = async { while patch(&least, "again").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), passes).await.expect("the rejection ends");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn server_and_etcd_come_back_with_what_they_had() {
    let mut cluster = cluster().await;
    let least = cluster.client("least").await;
    cluster.kill_server().await;
    assert!(patch(&least, "to nobody").await.is_err());
    cluster.restart_server().await;
    patch(&least, "after a restart").await.expect("token and rights are the same");
    cluster.kill_etcd().await;
    cluster.start_etcd();
    let passes = async { while patch(&least, "with etcd").await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), passes).await.expect("it goes on");
    assert_eq!(cluster.object(NAME).await.expect("it is there")["status"]["message"], "with etcd");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/README.md"]
async fn proxy_counts_requests_and_bytes_and_holds_back_what_it_is_told() {
    let cluster = cluster().await;
    let proxy = cluster.proxy().await;
    let client = proxy.client(&cluster, "least").await;
    let mark = cluster.audit_mark();
    let answer = patch(&client, "by way of the proxy").await.expect("it may");
    let traffic = proxy.take_traffic();
    assert_eq!(cluster.audit_since("least", mark).len(), 1);
    assert_eq!(traffic.requests, 1);
    assert_eq!(traffic.body_up, json!({"status": {"message": "by way of the proxy"}}).to_string().len() as u64);
    assert!(traffic.up > traffic.body_up && traffic.down > traffic.body_down, "{traffic:?}");
    assert!(traffic.body_down >= answer.to_string().len() as u64, "{traffic:?}");

    let mut hold = proxy.hold(|request| request.method == http::Method::PATCH);
    let write = tokio::spawn(async move { patch(&client, "held back").await });
    hold.has_held(1).await;
    let message = async || cluster.object(NAME).await.expect("it is there")["status"]["message"].clone();
    // Another connection, by way of the same proxy, is not held.
    let operator = proxy.client(&cluster, "operator").await;
    let path = status_path();
    let get = http::Request::get(path.trim_end_matches("/status")).body(Vec::new()).expect("it is well formed");
    let seen: Value = operator.request(get).await.expect("it may");
    assert_eq!(seen["status"]["message"], "by way of the proxy");
    assert!(!write.is_finished());
    drop(hold);
    write.await.expect("no panic").expect("it goes on");
    assert_eq!(message().await, "held back");
}
