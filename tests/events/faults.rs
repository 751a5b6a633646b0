//! What goes wrong with Events touches nothing else.

use super::*;

use api::Fault;
use logged::Logged;
use tokio::time::Instant;
use tracing::Level;

use BackendStatus::{Ready, Unavailable};

async fn flap(handle: &StatusHandle, name: &str) {
    for status in [Unavailable, Ready] {
        assert!(handle.upsert_backend(is(name, status)));
        settle(handle).await;
    }
}

/// A refusal that has not lasted yet says nothing about rights. A new backend each time
/// makes new Events, which no limit holds back.
async fn refused_for_long(handle: &StatusHandle) {
    for i in 0..4 {
        assert!(handle.upsert_backend(is(format!("new{i}"), Ready)));
        settle(handle).await;
        sleep(Duration::from_secs(11)).await;
    }
}

async fn off_and_tried_again(mood: Mood, why: &str) {
    let logged = Logged::start();
    let cluster = Cluster::new();
    cluster.events.set(mood);
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    refused_for_long(&handle).await;
    cluster.events.forget_sent();
    let begin = Instant::now();
    while begin.elapsed() < MINUTE * 9 {
        flap(&handle, "a").await;
    }
    assert_eq!(cluster.events.sent().len(), 0, "not while they are off");
    while begin.elapsed() < MINUTE * 31 {
        flap(&handle, "a").await;
        sleep(MINUTE).await;
    }
    let sent = cluster.events.sent().len();
    assert!((2..=3).contains(&sent), "one in ten minutes: {sent}");
    let lines = logged.lines(Level::INFO, "Event");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let subject = [r#""vmcp":"demo""#, r#""namespace":"default""#];
    for word in [why, "create and patch on events in events.k8s.io", "RBAC.md"].iter().chain(&subject) {
        assert!(lines[0].contains(*word), "{word}: {}", lines[0]);
    }
    assert_eq!(cluster.status()["phase"], "Ready", "reports go on");

    cluster.events.set(Mood::Fine);
    sleep(MINUTE * 10).await;
    cluster.events.forget_sent();
    assert!(handle.upsert_backend(is("b", Unavailable)));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded", "BackendFailed"]);
}

#[tokio::test(start_paused = true)]
async fn role_without_the_verbs_sends_none_after_one_line_and_sends_them_once_granted() {
    off_and_tried_again(Mood::Verbs(&[]), "the role does not allow them").await;
}

#[tokio::test(start_paused = true)]
async fn server_without_the_events_api_gets_no_requests_after_one_line() {
    off_and_tried_again(Mood::NotServed, "the API server does not serve them").await;
}

#[tokio::test(start_paused = true)]
async fn role_that_may_only_create_is_logged() {
    let logged = Logged::start();
    let cluster = Cluster::new();
    cluster.events.set(Mood::Verbs(&["create"]));
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    for _ in 0..8 {
        flap(&handle, "a").await;
        sleep(Duration::from_secs(15)).await;
    }
    let codes: Vec<_> = cluster.events.sent().iter().map(|sent| sent.code).collect();
    assert_eq!(codes.last(), Some(&Some(403)));
    assert_eq!(logged.lines(Level::INFO, "Event").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn server_that_refuses_everyone_for_a_moment_turns_nothing_off() {
    let logged = Logged::start();
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    for _ in 0..3 {
        cluster.events.set(Mood::Verbs(&[]));
        flap(&handle, "a").await;
        cluster.events.set(Mood::Fine);
        flap(&handle, "a").await;
        sleep(MINUTE * 4).await;
    }
    cluster.events.forget_sent();
    assert!(handle.upsert_backend(is("b", Unavailable)));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded", "BackendFailed"]);
    assert_eq!(logged.lines(Level::INFO, "Event"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_are_neither_repeated_nor_logged_and_turn_nothing_off() {
    let logged = Logged::start();
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    for mood in [Mood::Fails(500), Mood::Fails(429), Mood::Fails(401), Mood::Fails(422), Mood::Terminating] {
        cluster.events.forget_sent();
        cluster.events.set(mood);
        flap(&handle, "a").await;
        assert!(cluster.events.sent().len() <= 4, "once each");
        sleep(MINUTE * 60).await;
    }
    assert_eq!(logged.lines(Level::INFO, "Event"), Vec::<String>::new());
    cluster.events.set(Mood::Fine);
    cluster.events.forget_sent();
    assert!(handle.upsert_backend(is("b", Unavailable)));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded", "BackendFailed"]);
}

#[tokio::test(start_paused = true)]
async fn write_never_waits_for_an_event_and_what_does_not_fit_into_the_queue_is_dropped() {
    let logged = Logged::start();
    let cluster = Cluster::new();
    cluster.events.set(Mood::Hangs);
    let (handle, _reporter) = cluster.start_with(|builder| builder.write_interval(Duration::from_millis(10)));
    let begin = Instant::now();
    for i in 0..150 {
        assert!(handle.upsert_backend(is(format!("b{i}"), Ready)));
        handle.flush().await.expect("stored");
    }
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
    assert_eq!(cluster.events.sent().len(), 1, "one at a time");
    let lines = logged.lines(Level::DEBUG, "Event");
    assert!(lines.iter().any(|line| line.contains("\"dropped\":") && line.contains("slow to take")), "{lines:?}");
    // Each request is given up after five seconds.
    sleep(Duration::from_millis(5100)).await;
    assert_eq!(cluster.events.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn event_that_has_expired_is_created_again() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    assert!(handle.upsert_backend(is("a", Unavailable)));
    settle(&handle).await;
    assert!(handle.upsert_backend(is("a", Ready)));
    settle(&handle).await;
    cluster.events.delete_all();
    assert!(handle.upsert_backend(is("a", Unavailable)));
    settle(&handle).await;
    assert_eq!(
        cluster.told(),
        ["ServerDegraded 1 of 2 backends routable, 1 unavailable", "BackendFailed a is unavailable"]
    );
}

#[tokio::test(start_paused = true)]
async fn stored_write_without_an_answer_makes_one_event() {
    for fault in [Fault::HangAfterCommit, Fault::ResetAfterCommit, Fault::ResetAmidAnswer] {
        let cluster = Cluster::new();
        let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
        cluster.api.inject(fault);
        assert!(handle.upsert_backend(is("a", Unavailable)));
        sleep(MINUTE).await;
        settle(&handle).await;
        assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded", "BackendFailed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn write_that_was_not_stored_makes_an_event_once_it_is() {
    for fault in [Fault::Hang, Fault::ResetBefore, Fault::status(503), Fault::status(409)] {
        let cluster = Cluster::new();
        let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
        cluster.api.inject(fault);
        assert!(handle.upsert_backend(is("a", Unavailable)));
        sleep(MINUTE).await;
        settle(&handle).await;
        assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded", "BackendFailed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn change_reported_by_another_replica_makes_no_second_event() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    let theirs = Status::derived_from([is("a", Unavailable), is("b", Ready)]);
    let theirs = serde_json::to_value(theirs).expect("serialises");
    cluster.api.edit(NAMESPACE, NAME, |object| {
        for member in ["phase", "message", "backendCount", "discoveredBackends"] {
            object["status"][member] = theirs[member].clone();
        }
    });
    assert!(handle.upsert_backend(is("a", Unavailable)));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn recreated_object_is_regarded_by_its_new_uid() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a"]).await;
    cluster.api.delete(NAMESPACE, NAME);
    let uid = cluster.api.create(NAMESPACE, NAME, json!({}))["metadata"]["uid"].clone();
    assert!(handle.upsert_backend(is("b", Ready)));
    settle(&handle).await;
    let sent = cluster.events.sent();
    assert_eq!(reasons(&sent), ["ServerReady", "BackendAdded"]);
    assert!(sent.iter().all(|sent| sent.event["regarding"]["uid"] == uid && sent.verb == "create"));
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_queued_events_within_its_grace() {
    let cluster = Cluster::new();
    let (handle, reporter) = cluster.with_ready(&["a", "b"]).await;
    assert!(handle.upsert_backend(is("a", Unavailable)));
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded", "BackendFailed"]);

    let cluster = Cluster::new();
    let (handle, reporter) = cluster.with_ready(&["a", "b"]).await;
    cluster.events.set(Mood::Hangs);
    assert!(handle.upsert_backend(is("a", Unavailable)));
    let begin = Instant::now();
    assert!(reporter.shutdown().await.is_complete());
    assert!(begin.elapsed() <= Duration::from_secs(6), "{:?}", begin.elapsed());
    let sent = cluster.events.sent().len();
    sleep(MINUTE).await;
    assert_eq!(cluster.events.sent().len(), sent, "nothing comes afterwards");
}
