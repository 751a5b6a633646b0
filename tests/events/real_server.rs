//! On a real API server. A whole one serves Events with their validation. The
//! one of `tests/apiserver` serves no built-in API: there a custom resource
//! stands in, which has the paths, the verbs and the storage of the real one
//! but not its validation (that is on the double).

use super::*;

use kube::api::{Api as KubeApi, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use logged::Logged;
use real::RealServer;
use tracing::Level;

/// With the columns of kubectl.
const CRD: &str = include_str!("crd.json");

async fn server() -> RealServer {
    let server = RealServer::start().await;
    server.create(NAME).await;
    serve_events(server.client("admin").await).await;
    server
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn events(admin: kube::Client) -> KubeApi<DynamicObject> {
    KubeApi::namespaced_with(admin, NAMESPACE, &resource("events.k8s.io", "v1", "Event"))
}

/// Defines the resource where it is not built in, and waits until it is served.
async fn serve_events(admin: kube::Client) {
    let events = events(admin.clone());
    if events.list(&ListParams::default()).await.is_ok() {
        return;
    }
    let crds: KubeApi<DynamicObject> =
        KubeApi::all_with(admin, &resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let crd: Value = serde_json::from_str(CRD).expect("JSON");
    let apply = Patch::Apply(&crd);
    crds.patch("events.events.k8s.io", &PatchParams::apply("test").force(), &apply).await.expect("applied");
    eventually(async || events.list(&ListParams::default()).await.is_ok()).await;
}

async fn eventually(wanted: impl AsyncFn() -> bool) {
    let look = async {
        while !wanted().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(MINUTE, look).await.expect("it comes about");
}

fn reporter(client: kube::Client) -> (StatusHandle, Reporter) {
    let sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names");
    let builder = Reporter::builder(sink.with_events(EventOptions::default())).derive_phase(true);
    builder.write_interval(Duration::from_millis(10)).start()
}

/// Of our object, in the order in which they were made: reason, series, the
/// whole.
async fn stored(api: &KubeApi<DynamicObject>, uid: &str) -> Vec<(String, i64, Value)> {
    let events = api.list(&ListParams::default()).await.expect("listed").items;
    let events = events.into_iter().map(|event| serde_json::to_value(event).expect("serialises"));
    let mut events: Vec<_> = events.filter(|event| event["regarding"]["uid"] == uid).collect();
    events.sort_by_key(|event| text(event, "eventTime").to_owned());
    let count = |event: &Value| event["series"]["count"].as_i64().unwrap_or(1);
    events.into_iter().map(|event| (text(&event, "reason").to_owned(), count(&event), event)).collect()
}

#[tokio::test]
#[ignore = "needs a real API server, see tests/apiserver/README.md"]
async fn changes_are_stored_as_events_and_repeats_as_a_series_by_a_role_that_may_no_more() {
    let server = server().await;
    let api = events(server.client("admin").await);
    let object = server.object(NAME).await.expect("there");
    let uid = object["metadata"]["uid"].as_str().expect("a uid");
    let (handle, reporter) = reporter(server.client("events").await);
    handle.report(Status::derived_from(["a", "b"].map(|name| is(name, BackendStatus::Ready))));
    handle.derive_phase();
    handle.flush().await.expect("stored");
    for _ in 0..2 {
        for status in [BackendStatus::Unavailable, BackendStatus::Ready] {
            handle.upsert_backend(is("a", status));
            handle.flush().await.expect("stored");
        }
    }
    assert!(reporter.shutdown().await.is_complete());
    let events = stored(&api, uid).await;
    let told: Vec<_> = events.iter().map(|(reason, count, _)| (reason.as_str(), *count)).collect();
    assert_eq!(
        told,
        [("ServerReady", 3), ("BackendAdded", 1), ("ServerDegraded", 2), ("BackendFailed", 2), ("BackendRecovered", 2)]
    );
    let failed = &events[3].2;
    assert_eq!(text(failed, "note"), "a is unavailable");
    assert_eq!(failed["regarding"]["fieldPath"], "status.discoveredBackends{a}");
    assert!(!text(failed, "reportingInstance").is_empty());
}

#[tokio::test]
#[ignore = "needs a real API server, see tests/apiserver/README.md"]
async fn role_without_the_verbs_reports_as_ever_and_logs_one_line() {
    let logged = Logged::start();
    let server = server().await;
    let api = events(server.client("admin").await);
    let (handle, reporter) = reporter(server.client("least").await);
    for status in [BackendStatus::Unavailable, BackendStatus::Ready, BackendStatus::Degraded] {
        handle.upsert_backend(is("a", status));
        handle.flush().await.expect("stored");
    }
    assert!(reporter.shutdown().await.is_complete());
    let object = server.object(NAME).await.expect("there");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(stored(&api, object["metadata"]["uid"].as_str().expect("a uid")).await, []);
    let lines = logged.lines(Level::INFO, "Event");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("create and patch on events in events.k8s.io"), "{lines:?}");
}
