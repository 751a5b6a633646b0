//! On a real API server, which validates and stores Events.

use super::*;

use cluster::{RealCluster, client};
use kube::api::{Api as KubeApi, DynamicObject, ListParams};
use logged::Logged;
use tracing::Level;

async fn server() -> RealCluster {
    let server = cluster::start().await;
    server.create(NAME).await;
    server
}

fn events(server: &RealCluster) -> KubeApi<DynamicObject> {
    server.api("events.k8s.io/v1", "Event")
}

fn reporter(client: kube::Client) -> (StatusHandle, Reporter) {
    let builder = builder(client, EventOptions::default()).derive_phase(true);
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
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn changes_become_events_and_repeats_a_series_with_the_least_role() {
    let server = server().await;
    let api = events(&server);
    let object = server.object(NAME).await.expect("there");
    let uid = object["metadata"]["uid"].as_str().expect("a uid");
    let (handle, reporter) = reporter(client(&server, "events").await);
    assert!(handle.report(Status::derived_from(["a", "b"].map(|name| is(name, BackendStatus::Ready)))));
    assert!(handle.derive_phase());
    handle.flush().await.expect("stored");
    for _ in 0..2 {
        for status in [BackendStatus::Unavailable, BackendStatus::Ready] {
            assert!(handle.upsert_backend(is("a", status)));
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
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn role_without_the_verbs_reports_as_before_and_logs_one_line() {
    let logged = Logged::start();
    let server = server().await;
    let api = events(&server);
    let (handle, reporter) = reporter(client(&server, "least").await);
    // A refusal has to last before anything is concluded from it.
    let refused_for_long = async {
        while logged.lines(Level::INFO, "Event").is_empty() {
            for status in [BackendStatus::Unavailable, BackendStatus::Ready, BackendStatus::Degraded] {
                assert!(handle.upsert_backend(is("a", status)));
                handle.flush().await.expect("stored");
            }
            sleep(8 * SECOND).await;
        }
    };
    tokio::time::timeout(2 * MINUTE, refused_for_long).await.expect("it is logged");
    assert!(reporter.shutdown().await.is_complete());
    let object = server.object(NAME).await.expect("there");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(stored(&api, object["metadata"]["uid"].as_str().expect("a uid")).await, []);
    let lines = logged.lines(Level::INFO, "Event");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("create and patch on events in events.k8s.io"), "{lines:?}");
}

#[tokio::test]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn new_leader_finds_the_last_event_about_the_phase_and_sends_no_other() {
    let server = server().await;
    let uid = server.object(NAME).await.expect("there")["metadata"]["uid"].as_str().expect("a uid").to_owned();
    for _ in 0..2 {
        let (election, leadership) = vmcp_status::Leadership::new();
        election.lead_until(tokio::time::Instant::now() + MINUTE);
        let builder = builder(client(&server, "admin").await, EventOptions::default()).leadership(leadership);
        let (handle, reporter) = builder.derive_phase(true).start();
        assert!(handle.report(Status::derived_from([is("a", BackendStatus::Ready)])));
        handle.flush().await.expect("stored");
        assert!(reporter.shutdown().await.is_complete());
    }
    let told: Vec<_> =
        stored(&events(&server), &uid).await.into_iter().map(|(reason, count, _)| (reason, count)).collect();
    assert_eq!(told, [("ServerReady".to_owned(), 1), ("BackendAdded".to_owned(), 1)]);
}
