//! What the server refuses, on the double, in paused time.

use api::Fault;
use tokio::time::sleep;
use tracing::Level;
use vmcp_status::{Condition, ConditionStatus, FlushError};
use vmcp_status_testkit::logged::Logged;

use super::faults::{requests, thousand};
use super::*;

#[tokio::test(start_paused = true)]
async fn size_that_the_server_refuses_is_truncated_until_it_fits() {
    for limits in [
        api::Limits { object: 60_000, ..api::Limits::default() },
        api::Limits { message: 60_000, ..api::Limits::default() },
        api::Limits { body: 40_000, ..api::Limits::default() },
    ] {
        let api = double();
        api.set_limits(limits);
        let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
        let bad = DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("zzz") };
        assert!(handle.report(Status::from_backends((0..500).map(|i| ready(format!("b{i}"))).chain([bad]))));
        handle.flush_within(Duration::from_secs(60)).await.expect("stored");
        let status = status(&api);
        assert!(names(&status).contains(&"zzz"), "the unhealthy one is kept");
        assert_eq!(status["backendCount"], 500, "all are counted");
        assert!(
            status["message"].as_str().is_some_and(|m| m.contains("of 501 backends not listed")),
            "{}",
            status["message"]
        );
        assert!(api.requests().len() < 30, "no loop: {}", api.requests().len());
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_answers_too_large_for_ever_is_left_in_peace() {
    let conditions = (0..20_000).map(|i| Condition::unchecked(format!("Mine{i}"), ConditionStatus::True, "Why", ""));
    let many = Status { conditions: conditions.collect(), ..said("many") };
    let write = || Fault::status(413).on("PATCH", "includeObject");
    for (what, fault, status, hourly) in [
        ("a few backends", write(), said("few"), 0),
        ("a thousand backends", write(), thousand(), 0),
        ("20,000 conditions", write(), many, 0),
        ("each request", Fault::status(413).into(), said("few"), 130),
    ] {
        let api = double();
        api.inject(fault.times(100_000));
        let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b.write_timeout(Duration::from_secs(60)));
        assert!(handle.report(status));
        sleep(Duration::from_secs(60)).await;
        let requests = api.requests().len();
        assert!(requests <= 30, "{what}: {requests} requests in the first minute");
        api.clear_requests();
        sleep(Duration::from_secs(3600)).await;
        let requests = api.requests().len();
        assert!(requests <= hourly, "{what}: {requests} requests in an hour");
        api.clear_faults();
        assert!(handle.report(said("short")));
        handle.flush_within(Duration::from_secs(30)).await.expect("stored");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_content_is_logged_and_not_repeated() {
    let api = double();
    // A CRD with an enumeration that our model knows nothing of.
    api.edit_crd(|crd| {
        for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
            version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["message"]["maxLength"] =
                json!(5);
        }
    });
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
    assert!(handle.report(said("far too long")));
    let refused = handle.flush().await;
    let Err(FlushError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("422") && why.contains("status.message"), "{why}");
    api.clear_requests();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(requests(&api), Vec::<String>::new());
    assert!(handle.report(said("short")));
    handle.flush().await.expect("stored");
}

#[tokio::test(start_paused = true)]
async fn stray_400_is_tried_again_without_a_change_of_content() {
    let page = Fault::PlainText { code: 400, body: "<html>Bad Request</html>".into(), retry_after: None };
    for (fault, method) in
        [(page.clone(), "PATCH"), (Fault::JunkJson(400), "PATCH"), (page, "GET"), (Fault::status(400), "GET")]
    {
        let api = double();
        let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
        api.inject(fault.clone().on(method, "/status").times(2));
        assert!(handle.report(said("x")));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(status(&api)["message"], "x", "{fault:?} at a {method}");
    }
}

#[tokio::test(start_paused = true)]
async fn backend_that_the_server_refuses_costs_itself_once_and_the_others_are_stored() {
    let lines = Logged::start();
    let api = double();
    api.edit_crd(|crd| {
        for version in crd["spec"]["versions"].as_array_mut().expect("versions") {
            let status = &mut version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
            status["discoveredBackends"]["items"]["properties"]["authType"]["maxLength"] = json!(10);
        }
    });
    let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b.periodic_interval(Some(Duration::from_secs(300))));
    let bad = |name: &str| DiscoveredBackend { auth_type: "far too long".into(), ..ready(name) };
    assert!(handle.report(Status::from_backends([ready("a"), bad("b"), ready("c"), bad("d"), ready("e")])));
    handle.flush().await.expect("stored");
    assert_eq!(names(&status(&api)), ["a", "c", "e"]);
    assert_eq!(status(&api)["backendCount"], 5, "all are counted");
    assert_eq!(handle.counts().attempts, 2);
    for i in 0..10 {
        sleep(Duration::from_secs(200)).await;
        assert!(handle.upsert_backend(DiscoveredBackend { message: i.to_string(), ..ready("a") }));
    }
    handle.flush().await.expect("stored");
    assert_eq!(handle.counts().attempts, 12, "each change is one write");
    let told = lines.lines(Level::WARN, "left out");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("\\\"b\\\"") && told[0].contains("10"), "{}", told[0]);
    assert_eq!(handle.counts().repaired, 2);
    assert!(handle.upsert_backend(ready("b")));
    handle.flush().await.expect("stored");
    assert_eq!(names(&status(&api)).len(), 4, "{}", status(&api));
}

#[tokio::test(start_paused = true)]
async fn denial_is_told_in_its_own_words_and_is_neither_a_misfit_nor_a_missing_right() {
    let denial = |code| Fault::Status {
        code,
        reason: "Invalid".into(),
        message: "admission webhook \"w.example.com\" denied the request: you cannot write now".into(),
        retry_after: None,
    };
    for (code, most) in [(400, 1), (403, 130), (409, 1), (422, 1)] {
        let api = double();
        let (handle, _reporter) =
            reporter(api.client(Role::Seed), |b| b.periodic_interval(Some(Duration::from_secs(60))));
        assert!(handle.report(said("x")));
        handle.flush().await.expect("stored");
        let before = handle.counts().attempts;
        let lines = Logged::start();
        api.inject(denial(code).on("PATCH", "/status").times(100_000));
        assert!(handle.report(said("y")));
        sleep(Duration::from_secs(3600)).await;
        let attempts = handle.counts().attempts - before;
        assert!(attempts >= 1 && attempts <= most, "{code}: {attempts} writes in an hour");
        let told = lines.at(Level::WARN);
        assert!(
            told.iter().all(|line| line["error"]
                .as_str()
                .is_some_and(|error| { error.contains("you cannot write now") && !error.contains("RBAC.md") })),
            "{told:?}"
        );
        assert!((1..15).contains(&told.len()), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn mismatch_of_an_object_that_is_as_it_was_read_is_a_refusal_and_a_denial_is_one_at_once() {
    let denial = Fault::Status {
        code: 422,
        reason: "Invalid".into(),
        message: "admission webhook \"w.example.com\" denied the request: not on Tuesdays".into(),
        retry_after: None,
    };
    for (fault, attempts, words) in [(Fault::status(422), 2, "as it was read"), (denial, 1, "not on Tuesdays")] {
        let api = double();
        let (handle, _reporter) = reporter(api.client(Role::Seed), |b| b);
        assert!(handle.report(Status::from_backends([ready("a")])));
        handle.flush().await.expect("stored");
        let before = handle.counts().attempts;
        api.inject(fault.on("PATCH", "/status").times(1000));
        assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("a") }));
        let error = handle.flush().await.expect_err("refused").to_string();
        assert!(error.contains(words), "{error}");
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(handle.counts().attempts - before, attempts, "not repeated until the content changes");
        api.clear_faults();
        assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Degraded, ..ready("a") }));
        handle.flush().await.expect("stored");
    }
}
