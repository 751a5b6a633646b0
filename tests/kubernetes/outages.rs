//! Faults on a real API server and its etcd.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::sleep;

use super::*;

const LONG: Duration = Duration::from_secs(90);

async fn server() -> RealCluster {
    let server = cluster::start().await;
    server.create(NAME).await;
    server
}

fn patient(builder: ReporterBuilder) -> ReporterBuilder {
    let backoff = vmcp_status::BackoffPolicy { max: Duration::from_secs(2), ..vmcp_status::BackoffPolicy::default() };
    let backoff = vmcp_status::BackoffPolicy { blocked_max: Duration::from_secs(2), ..backoff };
    builder
        .backoff(backoff)
        .write_interval(Duration::from_millis(100))
        .write_timeout(Duration::from_secs(2))
        .periodic_interval(Some(Duration::from_secs(2)))
}

/// Reports as fast as a gateway with many backends might, until `end` is sent.
fn storm(handle: StatusHandle) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<u32>) {
    let (end, mut ended) = tokio::sync::oneshot::channel();
    let storm = tokio::spawn(async move {
        let mut last = 0;
        while ended.try_recv().is_err() {
            last += 1;
            assert!(handle.report(said(last.to_string())));
            sleep(Duration::from_millis(5)).await;
        }
        last
    });
    (end, storm)
}

async fn stored_equals_last_reported(server: &RealCluster, handle: &StatusHandle, last: u32) {
    handle.flush_within(LONG).await.expect("stored after the fault");
    let object = server.object(NAME).await.expect("there");
    assert_eq!(object["status"]["message"], last.to_string());
    assert_eq!(names(&object["status"]), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn api_server_and_etcd_that_are_killed_in_a_storm_lose_nothing() {
    let mut server = server().await;
    server.merge_status(NAME, &json!({"url": "http://theirs"})).await;
    let (handle, reporter) = reporter(client(&server, "least").await, patient);
    let (end, storm) = storm(handle.clone());
    let written = async |least: u64| eventually(async || handle.counts().written > least).await;
    written(3).await;
    server.kill_server().await;
    let failures = handle.counts().failures;
    eventually(async || handle.counts().failures > failures).await;
    server.restart_server().await;
    written(handle.counts().written + 2).await;
    server.kill_etcd().await;
    let failures = handle.counts().failures;
    eventually(async || handle.counts().failures > failures).await;
    server.start_etcd();
    written(handle.counts().written + 2).await;
    end.send(()).expect("the storm goes on");
    let last = storm.await.expect("no panic");
    stored_equals_last_reported(&server, &handle, last).await;
    let object = server.object(NAME).await.expect("there");
    assert_eq!(object["status"]["url"], "http://theirs");
    assert!(reporter.shutdown().await.is_complete());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn competing_writer_keeps_its_fields_and_so_do_we() {
    let server = server().await;
    let (handle, _reporter) = reporter(client(&server, "least").await, patient);
    let (end, storm) = storm(handle.clone());
    for i in 0..50 {
        let condition = json!({
            "type": "AuthConfigured", "status": "True", "reason": "Why", "message": i.to_string(),
            "lastTransitionTime": "2020-01-01T00:00:00Z",
        });
        // As its operator does: what it has read, with its own parts changed.
        let object = server.object(NAME).await.expect("there");
        let others = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let others = others.into_iter().filter(|c| c["type"] != "AuthConfigured");
        let conditions: Vec<_> = others.chain([condition]).collect();
        server.merge_status(NAME, &json!({"url": format!("http://{i}"), "conditions": conditions})).await;
        server.merge(NAME, &json!({"metadata": {"annotations": {"round": i.to_string()}}})).await;
        sleep(Duration::from_millis(100)).await;
    }
    end.send(()).expect("the storm goes on");
    let last = storm.await.expect("no panic");
    stored_equals_last_reported(&server, &handle, last).await;
    let object = server.object(NAME).await.expect("there");
    assert_eq!(object["status"]["url"], "http://49");
    assert_eq!(object["status"]["conditions"][0]["message"], "49");
    assert_eq!(object["metadata"]["annotations"]["round"], "49");
    assert_eq!(handle.counts().conflicts, 0, "neither is in the other's way");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn object_deleted_and_made_again_in_a_storm_has_the_whole_status() {
    let server = server().await;
    let (handle, _reporter) = reporter(client(&server, "seed").await, patient);
    let (end, storm) = storm(handle.clone());
    for _ in 0..3 {
        let written = handle.counts().written;
        eventually(async || handle.counts().written > written).await;
        server.delete(NAME).await;
        let failures = handle.counts().failures;
        eventually(async || handle.counts().failures > failures).await;
        server.create(NAME).await;
    }
    end.send(()).expect("the storm goes on");
    let last = storm.await.expect("no panic");
    stored_equals_last_reported(&server, &handle, last).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn token_that_expires_and_is_rotated_on_disk_is_picked_up() {
    let server = server().await;
    let (handle, _reporter) = reporter(client(&server, "least").await, patient);
    assert!(handle.report(said("before")));
    handle.flush().await.expect("stored");
    server.expire_tokens("least").await;
    assert!(handle.report(said("after")));
    eventually(async || handle.counts().failures > 0).await;
    server.rotate_token("least").await;
    // The client reads the file again within a minute.
    handle.flush_within(LONG).await.expect("stored");
    assert_eq!(server.object(NAME).await.expect("there")["status"]["message"], "after");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn eight_reporters_on_one_object_give_no_report_up_within_a_minute() {
    let server = server().await;
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (handle, reporter) = reporter(client(&server, "seed").await, |b| b);
        tasks.push(tokio::spawn(async move {
            for i in 0..60 {
                assert!(handle.report(said(format!("{task}: {i}"))));
                handle.flush_within(LONG).await.expect("no report is given up");
                sleep(Duration::from_secs(1)).await;
            }
            reporter.shutdown().await
        }));
    }
    let (mut written, mut conflicts) = (0, 0);
    for task in tasks {
        let outcome = task.await.expect("no panic");
        assert!(outcome.is_complete(), "{outcome:?}");
        written += outcome.counts.written;
        conflicts += outcome.counts.conflicts;
    }
    println!("8 reporters for a minute: 480 reports, {written} writes, {conflicts} conflicts, none given up");
    assert_eq!(written, 480, "each was another status and was stored");
    let requests = server.audit("seed");
    let writes = |code| requests.iter().filter(|it| it.writes_status() && it.code == code).count();
    assert_eq!(
        (writes(200), writes(409) + writes(422)),
        (480, usize::try_from(conflicts).expect("it fits")),
        "the server says so too"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn real_429_is_waited_out_and_the_newest_is_stored() {
    let server = server().await;
    let (handle, _reporter) = reporter(client(&server, "least").await, patient);
    let rejection = server.reject("least").await;
    let mut last = 0;
    while handle.counts().failures < 3 {
        last += 1;
        assert!(handle.report(said(last.to_string())));
        sleep(Duration::from_millis(200)).await;
    }
    let shown = handle.watch().borrow().last.clone().and_then(|attempt| attempt.result.err());
    let shown = shown.expect("it is refused").to_string();
    assert!(shown.contains("answered 429"), "{shown}");
    drop(rejection);
    stored_equals_last_reported(&server, &handle, last).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn denial_of_a_policy_is_quoted_in_both_its_forms() {
    let server = server().await;
    for denial in [Denial::Invalid, Denial::Forbidden] {
        let allowed = "!has(object.status) || !has(object.status.message) || object.status.message != 'bad'";
        server.deny("least", denial, allowed, "not this word").await;
        let (handle, _reporter) = reporter(client(&server, "least").await, patient);
        assert!(handle.report(said("bad")));
        let refused = handle.flush().await.expect_err("it is denied").to_string();
        assert!(refused.contains("denied request: not this word"), "{refused}");
        assert!(handle.report(said("good")));
        handle.flush_within(LONG).await.expect("other words pass");
        assert_eq!(server.object(NAME).await.expect("there")["status"]["message"], "good");
        server.allow("least").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn write_that_is_held_up_on_its_way_and_arrives_after_newer_ones_is_repaired() {
    let server = server().await;
    let proxy = server.proxy().await;
    let client = proxy.client(&server, "least").await;
    let (handle, _reporter) = reporter(client, |b| b.write_timeout(Duration::from_secs(2)));
    let stored =
        async || server.object(NAME).await.expect("there")["status"]["discoveredBackends"][0]["status"].clone();
    assert!(handle.report(Status::from_backends([ready("a")])));
    handle.flush_within(LONG).await.expect("stored");
    let first = AtomicBool::new(true);
    let mut hold = proxy.hold(move |request| {
        request.uri.path().ends_with("/status") && request.method == "PATCH" && first.swap(false, Ordering::Relaxed)
    });
    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("a") }));
    hold.has_held(1).await;
    handle.flush_within(LONG).await.expect("written by the next try");
    assert!(handle.upsert_backend(ready("a")));
    handle.flush_within(LONG).await.expect("stored");
    assert_eq!(stored().await, "ready");
    sleep(Duration::from_secs(30)).await;
    drop(hold);
    eventually(async || stored().await == "unavailable").await;
    println!("the late write has arrived");
    eventually(async || stored().await == "ready").await;
}
