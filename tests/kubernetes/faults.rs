//! What can go wrong, on the double, in paused time.

use std::sync::Arc;

use api::Fault;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use vmcp_status::{Retry, Sink as _};
use vmcp_status_testkit::logged::Logged;

use super::*;

/// Requests since the log was cleared, without their query.
pub(super) fn requests(api: &Api) -> Vec<String> {
    let line = |request: &api::Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let path = path.rsplit(NAME).next().unwrap_or_default();
        format!("{} {path}", request.method)
    };
    api.requests().iter().map(line).collect()
}

pub(super) fn thousand() -> Status {
    Status::from_backends((0..1000).map(|i| ready(format!("backend-{i:04}"))))
}

#[tokio::test(start_paused = true)]
async fn reading_tries_the_ways_once_and_remembers_the_one_that_works() {
    for (role, reads) in [
        (Role::Seed, vec!["GET /status"]),
        (Role::Operator, vec!["GET /status", "GET "]),
        (Role::Least, vec!["GET /status", "GET ", "PATCH /status"]),
    ] {
        let api = double();
        let (handle, _reporter) = reporter(api.client(role), |b| b.periodic_interval(Some(Duration::from_secs(30))));
        assert!(handle.report(said("x")));
        handle.flush().await.expect("stored");
        let (question, write) = ("PATCH /status", "PATCH /status");
        assert_eq!(requests(&api), [reads.as_slice(), &[question, write]].concat(), "{role:?}");
        api.clear_requests();
        sleep(Duration::from_secs(40)).await;
        assert_eq!(requests(&api), reads[reads.len() - 1..], "the refresh reads once, by the way that works");
    }
}

/// What is printed here is quoted where costs are claimed.
#[tokio::test(start_paused = true)]
async fn costs_are_one_small_request_for_each_change() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
    let cost = |what: &str| {
        let requests = api.requests();
        let up: usize = requests.iter().map(|r| r.bytes_up).sum();
        let down: usize = requests.iter().map(|r| r.bytes_down).sum();
        println!("{what}: {} requests, {up} bytes up, {down} bytes down", requests.len());
        api.clear_requests();
        (requests.len(), up, down)
    };
    assert!(handle.report(thousand()));
    handle.flush().await.expect("stored");
    let (count, ..) = cost("first write of 1,000 backends");
    assert_eq!(count, 3, "a read, the question where the status lives, and a write");

    assert!(handle.report(thousand()));
    handle.flush().await.expect("verified");
    assert_eq!(cost("no change"), (0, 0, 0));

    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("backend-0500") }));
    handle.flush().await.expect("stored");
    let (count, up, down) = cost("one of 1,000 backends changed");
    assert!(count == 1 && up <= 1024 && down <= 2048, "{count} {up} {down}");

    api.edit(NAMESPACE, NAME, |object| object["status"]["url"] = json!("http://theirs"));
    assert!(handle.upsert_backend(ready("backend-0500")));
    handle.flush().await.expect("stored");
    let (count, up, down) = cost("one of 1,000 backends changed, another writer beside");
    assert!(count == 1 && up <= 1024 && down <= 2048, "{count} {up} {down}");

    api.edit(NAMESPACE, NAME, |object| object["status"]["discoveredBackends"][500]["status"] = json!("unknown"));
    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("backend-0500") }));
    handle.flush().await.expect("stored");
    let (count, up, _) = cost("one of 1,000 backends changed, one conflict");
    assert!(count == 3 && up <= 2048, "refused, read again, written: {count} {up}");
}

#[tokio::test(start_paused = true)]
async fn times_of_a_thousand_checks_wait_for_the_refresh_which_is_one_request() {
    let api = double();
    let checked = |second, status| {
        let at = chrono::DateTime::from_timestamp(second, 0);
        (0..1000).map(move |i| DiscoveredBackend {
            last_health_check: at,
            status: if i == 7 { status } else { BackendStatus::Ready },
            ..ready(format!("b{i}"))
        })
    };
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b.periodic_interval(Some(Duration::from_secs(30))));
    assert!(handle.report(Status::from_backends(checked(1, BackendStatus::Ready))));
    handle.flush().await.expect("stored");
    api.clear_requests();
    assert!(handle.report(Status::from_backends(checked(2, BackendStatus::Degraded))));
    handle.flush().await.expect("stored");
    assert!(api.requests()[0].bytes_up <= 1024);
    let with_time = |text: &str| {
        let status = status(&api);
        let backends = status["discoveredBackends"].as_array().cloned().unwrap_or_default();
        backends.iter().filter(|b| b["lastHealthCheck"] == text).count()
    };
    assert_eq!(with_time("1970-01-01T00:00:02Z"), 1, "that of the one that changed");
    api.clear_requests();
    sleep(Duration::from_secs(40)).await;
    assert_eq!(with_time("1970-01-01T00:00:02Z"), 1000, "the refresh brings all up to date");
    assert_eq!(requests(&api), ["PATCH /status"]);
    api.clear_requests();
    sleep(Duration::from_secs(40)).await;
    assert_eq!(requests(&api), ["GET /status"], "nothing has moved");
}

#[tokio::test(start_paused = true)]
async fn every_passing_fault_ends_with_what_was_reported_last_and_foreign_fields_intact() {
    let edited = |api: &Api| api.edit(NAMESPACE, NAME, |object| object["status"]["url"] = json!("http://theirs"));
    let faults: Vec<Fault> = vec![
        Fault::Latency(Duration::from_secs(3)),
        Fault::Hang,
        Fault::HangAfterCommit,
        Fault::ResetBefore,
        Fault::ResetAfterCommit,
        Fault::ResetAmidAnswer,
        Fault::status(500),
        Fault::status(503),
        Fault::status(503).retry_after("2"),
        Fault::status(504),
        Fault::timeout(),
        Fault::too_many_requests("1"),
        Fault::too_many_requests("Wed, 21 Oct 2015 07:28:00 GMT"),
        Fault::too_many_requests("whenever you like"),
        Fault::Unauthorized,
        Fault::status(403),
        Fault::status(404),
        Fault::JunkJson(200),
        Fault::JunkJson(500),
        Fault::status(409),
        Fault::status(422),
        Fault::RecreateThenPass,
        Fault::meanwhile(edited),
    ];
    for fault in faults {
        for method in ["PATCH", "GET"] {
            let name = format!("{fault:?} at a {method}");
            let api = double();
            edited(&api);
            let refresh = Some(Duration::from_secs(30));
            let (handle, reporter) = reporter(api.client(Role::Seed), |b| b.periodic_interval(refresh));
            api.inject(fault.clone().on(method, "/status").times(2));
            for i in 0..30 {
                assert!(handle.report(said(i.to_string())));
                sleep(Duration::from_millis(400)).await;
            }
            sleep(Duration::from_secs(120)).await;
            let stored = status(&api);
            assert_eq!((stored["message"].as_str(), names(&stored)), (Some("29"), vec!["a", "b"]), "{name}");
            if !matches!(fault, Fault::RecreateThenPass) {
                assert_eq!(stored["url"], "http://theirs", "{name}");
            }
            let outcome = reporter.shutdown().await;
            assert!(outcome.is_complete(), "{name}: {outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_in_seconds_is_kept_and_flush_does_not_cut_it_short() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
    assert!(handle.report(said("one")));
    handle.flush().await.expect("stored");
    api.clear_requests();
    sleep(Duration::from_secs(5)).await;
    api.inject(Fault::too_many_requests("3").on("PATCH", "/status"));
    let start = Instant::now();
    assert!(handle.report(said("two")));
    handle.flush().await.expect("stored");
    let at: Vec<_> = api.requests().iter().map(|request| request.at - start).collect();
    let [first, second] = at[..] else { panic!("{at:?}") };
    assert_eq!(first, Duration::ZERO);
    // The reporter adds some time, so that reporters refused together do not return
    // together.
    assert!((3.0..6.0).contains(&second.as_secs_f64()), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn no_request_is_repeated_underneath_with_an_old_body() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
    assert!(handle.report(said("0")));
    handle.flush().await.expect("stored");
    api.clear_requests();
    api.always(Some(Fault::status(503)));
    for i in 1..100 {
        assert!(handle.report(said(i.to_string())));
        sleep(Duration::from_millis(500)).await;
    }
    api.always(None);
    sleep(Duration::from_secs(60)).await;
    let patches: Vec<Value> = api.requests().iter().filter(|r| r.method == "PATCH").map(api::Request::json).collect();
    let distinct: std::collections::HashSet<String> = patches.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), patches.len(), "each carries the newest");
    assert_eq!(status(&api)["message"], "99");
}

#[tokio::test(start_paused = true)]
async fn object_that_is_missing_at_start_and_comes_later_gets_its_status() {
    let api = Api::with_old_crd();
    let (handle, _reporter) = reporter(api.client(Role::Operator), |b| b);
    assert!(handle.report(said("waiting")));
    sleep(Duration::from_secs(600)).await;
    let asked = api.requests().len();
    assert!((10..60).contains(&asked), "slowly, and never giving up: {asked}");
    api.create(NAMESPACE, NAME, json!({}));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(status(&api)["message"], "waiting");
}

#[tokio::test(start_paused = true)]
async fn five_thousand_backends_are_truncated_to_the_budget_without_a_refusal() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b.write_timeout(Duration::from_secs(60)));
    assert!(handle.report(Status::from_backends((0..5000).map(|i| ready(format!("backend-{i}"))))));
    handle.flush_within(Duration::from_secs(300)).await.expect("stored");
    let object = api.object(NAMESPACE, NAME).expect("there");
    assert!(object.to_string().len() <= 1 << 20, "{}", object.to_string().len());
    assert!(api.requests().iter().all(|request| request.code == Some(200)));
    assert_eq!(object["status"]["backendCount"], 5000);
}

#[tokio::test(start_paused = true)]
async fn member_that_the_crd_does_not_know_is_left_out_after_the_first_time() {
    let api = Api::with_pruned_backend_field("mcpRevision");
    api.create(NAMESPACE, NAME, json!({}));
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b.periodic_interval(Some(Duration::from_secs(30))));
    assert!(handle.upsert_backend(DiscoveredBackend { mcp_revision: "2025-11-25".into(), ..ready("a") }));
    handle.flush().await.expect("stored");
    sleep(Duration::from_secs(100)).await;
    api.clear_requests();
    sleep(Duration::from_secs(300)).await;
    assert!(requests(&api).iter().all(|request| request.starts_with("GET")), "{:?}", requests(&api));
}

#[tokio::test(start_paused = true)]
async fn eight_reporters_on_one_object_give_no_report_up_within_a_minute() {
    let api = double();
    let reporters: Vec<_> = (0..8).map(|_| reporter(api.client(Role::Seed), |b| b)).collect();
    // Each change meets the others': latency makes them overlap.
    api.always(Some(Fault::Latency(Duration::from_millis(20))));
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = reporters
        .iter()
        .enumerate()
        .map(|(task, (handle, _))| {
            let (handle, done) = (handle.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                for i in 0..60 {
                    assert!(handle.report(said(format!("{task}: {i}"))));
                    handle.flush_within(Duration::from_secs(30)).await.expect("stored");
                    done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    sleep(Duration::from_secs(1)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no report was given up");
    }
    assert_eq!(done.load(std::sync::atomic::Ordering::Relaxed), 480);
}

#[tokio::test(start_paused = true)]
async fn more_changes_than_a_patch_can_hold_are_one_list() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b.write_timeout(Duration::from_secs(60)));
    assert!(handle.report(Status::from_backends((0..1000).map(|i| DiscoveredBackend::named(format!("b{i}"))))));
    handle.flush().await.expect("stored");
    let detailed = |i: usize| DiscoveredBackend {
        status: BackendStatus::Unavailable,
        message: "Connection failed".into(),
        url: format!("http://b{i}"),
        auth_type: "oauth2".into(),
        auth_config_ref: "ref".into(),
        consecutive_failures: 7,
        mcp_revision: "2025-11-25".into(),
        circuit_breaker_state: Some(vmcp_status::CircuitBreakerState::Open),
        last_health_check: chrono::DateTime::from_timestamp(1, 0),
        circuit_last_changed: chrono::DateTime::from_timestamp(1, 0),
        ..DiscoveredBackend::named(format!("b{i}"))
    };
    assert!(handle.report(Status::from_backends((0..1000).map(detailed))));
    handle.flush_within(Duration::from_secs(60)).await.expect("stored");
    assert_eq!(handle.counts().failures, 0);
    let status = status(&api);
    assert_eq!(status["discoveredBackends"].as_array().map(Vec::len), Some(1000));
    assert_eq!(status["discoveredBackends"][999]["circuitBreakerState"], "open");
    assert!(handle.upsert_backend(DiscoveredBackend { message: "again".into(), ..detailed(5) }));
    handle.flush().await.expect("stored");
    assert!(api.requests().last().expect("a request").bytes_up < 1024, "and from there on by item again");
}

#[tokio::test(start_paused = true)]
async fn items_that_our_model_cannot_read_are_left_alone_or_replaced_if_they_are_ours() {
    let api = double();
    let strange = json!({"type": "Strange", "status": "Perhaps", "reason": "Why", "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"});
    api.edit(NAMESPACE, NAME, |object| {
        object["status"] = json!({
            "phase": "Ready",
            "conditions": [strange.clone()],
            "discoveredBackends": [{"name": "a", "status": "ready", "consecutiveFailures": -1}, {"name": "gone", "consecutiveFailures": -1}],
        });
    });
    // A client that bypasses the schema has written this, so the double must not check it.
    api.edit_crd(|crd| {
        for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
            let status = &mut version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
            status["conditions"]["items"]["properties"]["status"]["enum"] =
                json!(["True", "False", "Unknown", "Perhaps"]);
        }
    });
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    let status = status(&api);
    assert_eq!(status["conditions"], json!([strange]));
    assert_eq!(names(&status), ["a", "b"]);
    assert!(status["discoveredBackends"][0].get("consecutiveFailures").is_none(), "it was not ours to keep");
}

#[tokio::test(start_paused = true)]
async fn answer_without_end_is_not_read_to_its_end() {
    let api = double();
    // An object, were it not for its size.
    let object = r#"{"metadata":{"resourceVersion":"1"}}"#;
    let body = format!("{object}{}", " ".repeat(17 << 20));
    api.inject(Fault::PlainText { code: 200, body, retry_after: None });
    let mut sink = KubernetesSink::new(api.client(Role::Seed), NAMESPACE, NAME).expect("good names");
    let error = sink.read().await.expect_err("too long");
    assert_eq!(error.retry(), Retry::Transient);
    assert!(error.chain().len() < 500, "{}", error.chain());
    sink.read().await.expect("the next answer is an object");
}

#[tokio::test(start_paused = true)]
async fn write_that_arrives_after_newer_ones_is_noticed_and_repaired() {
    let api = double();
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
    assert!(handle.report(Status::from_backends([ready("a")])));
    handle.flush().await.expect("stored");
    api.inject(Fault::CommitLate(Duration::from_secs(30)));
    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("a") }));
    let late = Instant::now();
    sleep(Duration::from_secs(15)).await;
    handle.flush().await.expect("written again");
    assert!(handle.upsert_backend(ready("a")));
    handle.flush().await.expect("stored");
    let stored = || status(&api)["discoveredBackends"][0]["status"].clone();
    assert_eq!(stored(), "ready");
    sleep(Duration::from_secs(18)).await;
    assert_eq!(stored(), "unavailable", "the late one fits what it finds");
    sleep(Duration::from_secs(64).saturating_sub(late.elapsed())).await;
    assert_eq!(stored(), "ready", "the store is read again once the server must have given up the late one");
    api.clear_requests();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(requests(&api), Vec::<String>::new(), "once");
}

#[tokio::test(start_paused = true)]
async fn odd_value_of_a_stored_backend_costs_itself_and_is_logged_once() {
    let lines = Logged::start();
    let api = double();
    api.edit(NAMESPACE, NAME, |object| {
        let odd = json!({"name": "a", "status": "unavailable", "message": "down", "url": 7, "consecutiveFailures": -1});
        object["status"] = json!({"phase": "Ready", "discoveredBackends": [odd]});
    });
    let sink = KubernetesSink::new(api.client(Role::Seed), NAMESPACE, NAME).expect("good names");
    let mut sink = sink.location(vmcp_status::StatusLocation::TopLevel);
    for _ in 0..2 {
        let status = sink.read().await.expect("it can be read").expect("something is stored");
        let backend = status.backend("a").expect("it is there");
        assert_eq!((backend.status, backend.message.as_str()), (BackendStatus::Unavailable, "down"));
    }
    let told = lines.lines(tracing::Level::WARN, "is not what it should be");
    assert_eq!(told.len(), 2, "one for each value: {told:?}");
}
