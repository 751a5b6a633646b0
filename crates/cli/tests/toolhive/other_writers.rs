//! Who else writes: ToolHive's own reporter, and a replica of ours.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's programs"]
async fn from_toolhives_reporter_to_ours_and_back_nothing_is_lost() {
    let (cluster, _operator) = toolhive().await;
    let backends = [backend("a", "ready"), backend("b", "ready")];
    let mut peer = cluster.peer("operator", NAME);
    assert!(peer.report(&status_of("Ready", &backends)).await.ok);
    until_seen(&cluster, &all_ready()).await;
    let recording = Recording::start(&cluster).await;

    drop(peer);
    let mut ours = Ours::start(&cluster, &[]);
    ours.both("ready", "ready").await;
    let by_us = |object: &Value| object["status"]["runtime"]["message"] == "2 of 2 backends routable";
    cluster.until_object(NAME, "reported by us", by_us).await;
    until_quiet(&recording).await;
    assert_eq!(recording.seen(), [all_ready()], "nothing was seen of the change");
    ours.backend("b", "unavailable").await;
    until_seen(&cluster, &one_down()).await;
    ours.end().await;

    let mut peer = cluster.peer("operator", NAME);
    assert!(peer.report(&status_of("Ready", &backends)).await.ok);
    until_seen(&cluster, &all_ready()).await;
    let by_peer = |object: &Value| object["status"]["runtime"]["message"] == "by the peer";
    cluster.until_object(NAME, "reported by the peer", by_peer).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's programs"]
async fn reporter_of_toolhive_that_goes_on_beside_ours_is_named_and_not_fought() {
    let (cluster, _operator) = toolhive().await;
    let mut ours = Ours::start(&cluster, &["--refresh", "5s"]);
    ours.both("ready", "unavailable").await;
    until_seen(&cluster, &one_down()).await;
    let mut peer = cluster.peer("operator", NAME);
    let theirs = status_of("Ready", &[backend("a", "ready"), backend("b", "ready")]);
    let mark = cluster.audit_mark();
    let mut told = Vec::new();
    for _ in 0..10 {
        assert!(peer.report(&theirs).await.ok);
        sleep(QUIET).await;
        told = ours.logged("another writer keeps overwriting what this process reports");
        if !told.is_empty() {
            break;
        }
    }
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("toolhive-reporter"), "by its name: {}", told[0]);
    // A refresh puts ours back; nothing else of ours answers the other.
    let requests = cluster.audit_since("operator", mark);
    let ours_in_it = requests.iter().filter(|entry| entry.verb == "patch" && entry.code == 200).count();
    assert!(ours_in_it <= 12, "{ours_in_it} writes of ours within ten refreshes");
    ours.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server and ToolHive's operator"]
async fn of_two_replicas_one_is_seen_and_the_other_takes_over() {
    let (cluster, _operator) = toolhive().await;
    let elect = ["--leader-elect", "--lease-duration", "3s"];
    let mut first = Ours::start_as(&cluster, "electing", &elect);
    first.both("ready", "ready").await;
    until_seen(&cluster, &all_ready()).await;
    let recording = Recording::start(&cluster).await;
    let mut second = Ours::start_as(&cluster, "electing", &elect);
    second.both("ready", "unavailable").await;
    until_quiet(&recording).await;
    assert_eq!(recording.seen(), [all_ready()], "the second waits");
    first.kill().await;
    until_seen(&cluster, &one_down()).await;
    assert_eq!(recording.seen(), [all_ready(), one_down()]);
    second.end().await;
}
