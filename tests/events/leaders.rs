//! Events of replicas that elect a leader.

use tokio::time::Instant;
use vmcp_status::{Leadership, LeadershipSender};

use super::*;

/// A replica that has found this about its only backend, and the switch of its election.
fn replica(cluster: &Cluster, status: BackendStatus) -> (StatusHandle, Reporter, LeadershipSender) {
    let (election, leadership) = Leadership::new();
    let (handle, reporter) = cluster.start_with(|builder| builder.leadership(leadership));
    assert!(handle.report(Status::derived_from([is("a", status)])));
    assert!(handle.derive_phase());
    (handle, reporter, election)
}

fn lead(election: &LeadershipSender) {
    election.lead_until(Instant::now() + 60 * MINUTE);
}

/// The first leader tells of a backend that is up, and then stores that it is down while
/// its Events are lost; the second one finds `then`. Returns the Events of the second.
async fn after_lost_events(mood: Mood, then: BackendStatus, is_lost: bool) -> Vec<SentEvent> {
    let cluster = Cluster::new();
    let (handle, first, election) = replica(&cluster, BackendStatus::Ready);
    lead(&election);
    sleep(MINUTE).await;
    if is_lost {
        cluster.events.set(Mood::Fails(500));
    }
    assert!(handle.upsert_backend(is("a", BackendStatus::Unavailable)));
    sleep(MINUTE).await;
    election.stand_by();
    cluster.events.set(mood);
    cluster.events.forget_sent();
    let (_handle, second, election) = replica(&cluster, then);
    lead(&election);
    sleep(MINUTE).await;
    first.shutdown().await;
    second.shutdown().await;
    cluster.events.sent()
}

#[tokio::test(start_paused = true)]
async fn new_leader_tells_the_phase_if_the_last_event_told_another() {
    let sent = after_lost_events(Mood::Fine, BackendStatus::Unavailable, true).await;
    assert_eq!(reasons(&sent), ["ServerFailed"]);
    assert!(text(&sent[0].event, "note").ends_with(" (from the leader)"), "{}", sent[0].event);
    let sent = after_lost_events(Mood::Fine, BackendStatus::Unavailable, false).await;
    assert_eq!(reasons(&sent), [""; 0], "the first leader has told it");
    let sent = after_lost_events(Mood::Fine, BackendStatus::Ready, true).await;
    assert_eq!(reasons(&sent), ["ServerReady", "BackendRecovered"], "its own change says it");
}

#[tokio::test(start_paused = true)]
async fn new_leader_that_may_not_list_events_tells_the_phase() {
    let sent = after_lost_events(Mood::Verbs(&["create", "patch"]), BackendStatus::Unavailable, false).await;
    assert_eq!(reasons(&sent), ["ServerFailed"]);
}
