//! Which Events are sent, and which are not.

use super::*;

use BackendStatus::{Degraded, Ready, Unavailable, Unknown};

#[tokio::test(start_paused = true)]
async fn first_status_is_one_event_of_the_phase_and_one_of_all_backends() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.start();
    assert!(handle.report(Status::derived_from([is("a", Ready), is("b", Unavailable), is("c", Ready)])));
    settle(&handle).await;
    assert_eq!(
        cluster.told(),
        ["ServerDegraded 2 of 3 backends routable, 1 unavailable", "BackendAdded 3 backends were added: a, b, c"]
    );
}

#[tokio::test(start_paused = true)]
async fn status_that_only_the_operator_has_written_does_not_count_as_before() {
    let cluster = Cluster::new();
    cluster.api.edit(NAMESPACE, NAME, |object| object["status"] = json!({"url": "http://theirs", "phase": "Pending"}));
    let (handle, _reporter) = cluster.start();
    assert!(handle.report(Status::derived_from([is("a", Ready)])));
    settle(&handle).await;
    assert_eq!(cluster.told(), ["ServerReady 1 of 1 backend routable", "BackendAdded 1 backend was added: a"]);
}

#[tokio::test(start_paused = true)]
async fn backends_that_come_go_fail_and_recover_make_an_event_each() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    let failed = DiscoveredBackend { message: "Connection failed".into(), ..is("a", Unavailable) };
    let slow = DiscoveredBackend { message: "Slow response (over 2000 ms)".into(), ..is("a", Degraded) };
    for (change, expected) in [
        (failed, "BackendFailed a is unavailable: Connection failed"),
        (slow, "BackendDegraded a is degraded: Slow response (over 2000 ms)"),
        (is("a", Ready), "BackendRecovered a is ready"),
        (is("new", Ready), "BackendAdded new was added"),
    ] {
        assert!(handle.upsert_backend(change));
        settle(&handle).await;
        assert!(cluster.told().iter().any(|line| line == expected), "{expected}: {:?}", cluster.told());
    }
    assert!(handle.remove_backend("b"));
    settle(&handle).await;
    assert_eq!(cluster.told().last().map(String::as_str), Some("BackendRemoved b was removed"));
}

#[tokio::test(start_paused = true)]
async fn event_names_the_object_with_its_uid_the_backend_and_who_reports() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    assert!(handle.upsert_backend(is("a", Unavailable)));
    settle(&handle).await;
    let events = cluster.events.stored();
    let failed = events.iter().find(|event| event["reason"] == "BackendFailed").expect("told");
    let uid = cluster.api.object(NAMESPACE, NAME).expect("there")["metadata"]["uid"].clone();
    assert!(uid.is_string());
    assert_eq!(
        failed["regarding"],
        json!({
            "apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "VirtualMCPServer", "namespace": NAMESPACE,
            "name": NAME, "uid": uid, "fieldPath": "status.discoveredBackends{a}",
        })
    );
    assert_eq!((text(failed, "type"), text(failed, "action")), ("Warning", "CheckBackends"));
    assert_eq!((text(failed, "reportingController"), text(failed, "reportingInstance")), ("vmcp-status", "pod-0"));
    let phase = events.iter().find(|event| event["reason"] == "ServerDegraded").expect("told");
    assert_eq!(phase["regarding"].get("fieldPath"), None);
    assert_eq!(text(phase, "type"), "Warning");
}

#[tokio::test(start_paused = true)]
async fn repeats_are_one_event_with_a_series_and_other_backends_have_their_own() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b", "c"]).await;
    for _ in 0..2 {
        for status in [Unavailable, Ready] {
            assert!(handle.upsert_backend(is("a", status)));
            settle(&handle).await;
        }
    }
    assert!(handle.upsert_backend(is("b", Unavailable)));
    settle(&handle).await;
    let events = cluster.events.stored();
    let failed: Vec<_> = events.iter().filter(|event| event["reason"] == "BackendFailed").collect();
    assert_eq!(failed.len(), 2, "one for each backend");
    assert_eq!(failed[0]["series"]["count"], 2);
    assert_eq!(failed[1].get("series").filter(|series| !series.is_null()), None);
    assert!(cluster.events.sent().iter().all(|sent| matches!(sent.code, Some(200 | 201))));
}

#[tokio::test(start_paused = true)]
async fn many_backends_that_fail_at_once_are_one_event() {
    let cluster = Cluster::new();
    let names: Vec<_> = (0..1000).map(|i| format!("backend-{i}")).collect();
    let (handle, _reporter) = cluster.with_ready(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(handle.report(Status::derived_from(names.iter().map(|name| is(name, Unavailable)))));
    assert!(handle.derive_phase());
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), ["ServerFailed", "BackendFailed"]);
    let told = cluster.told();
    let note = told.iter().find(|line| line.starts_with("BackendFailed")).expect("told");
    assert!(note.contains("1000 backends are unavailable: backend-0, backend-1,"), "{note}");
    assert!(note.ends_with("more"), "{note}");
}

#[tokio::test(start_paused = true)]
async fn restart_makes_no_event_of_unchanged_backends() {
    let cluster = Cluster::new();
    let (handle, reporter) = cluster.with_ready(&["a", "b", "c"]).await;
    assert!(handle.upsert_backend(is("c", Unavailable)));
    settle(&handle).await;
    reporter.shutdown().await;
    cluster.events.forget_sent();

    // As the program starts: nothing is known, then one after the other.
    let (handle, _reporter) = cluster.start();
    assert!(handle.set_phase(Phase::Pending, "Starting, checking 3 backends"));
    for name in ["a", "b", "c"] {
        assert!(handle.upsert_backend(is(name, Unknown)));
    }
    settle(&handle).await;
    for backend in [is("a", Ready), is("c", Unavailable)] {
        assert!(handle.upsert_backend(backend));
        settle(&handle).await;
    }
    assert!(handle.upsert_backend(is("b", Unavailable)));
    assert!(handle.derive_phase());
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), ["ServerStarting", "ServerDegraded", "BackendFailed"]);
    assert!(cluster.told().contains(&"BackendFailed b is unavailable".into()), "the one that has changed");

    cluster.events.forget_sent();
    assert!(handle.upsert_backend(DiscoveredBackend { consecutive_failures: 7, ..is("b", Unavailable) }));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), Vec::<&str>::new(), "a write without news");
}

#[tokio::test(start_paused = true)]
async fn backend_that_flaps_between_two_writes_makes_no_event() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    assert!(handle.upsert_backend(DiscoveredBackend { url: "http://new".into(), ..is("b", Ready) }));
    assert!(handle.upsert_backend(is("a", Unavailable)));
    assert!(handle.upsert_backend(is("a", Ready)));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn backend_that_flaps_for_an_hour_is_limited_and_others_are_not() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["flapping", "quiet", "steady"]).await;
    for second in 0..3600 {
        let status = if second % 2 == 0 { Unavailable } else { Ready };
        assert!(handle.upsert_backend(is("flapping", status)));
        if second == 1800 {
            assert!(handle.upsert_backend(is("quiet", Unavailable)));
        }
        sleep(SECOND).await;
    }
    assert!(handle.counts().written > 3500, "each was stored");
    let sent = cluster.events.sent();
    let about = |path: &str| sent.iter().filter(|sent| sent.event["regarding"]["fieldPath"] == path).count();
    let flapping = about("status.discoveredBackends{flapping}");
    // Ten at first, then one in five minutes. The phase flaps along: 25 at
    // first, then one in two minutes.
    assert!((10..=22).contains(&flapping), "{flapping}");
    assert!(sent.len() <= 22 + 55 + 1, "{}", sent.len());
    assert_eq!(about("status.discoveredBackends{quiet}"), 1);
    let quiet = sent.iter().find(|sent| sent.event["regarding"]["fieldPath"] == "status.discoveredBackends{quiet}");
    let began = sent[0].at;
    assert!(quiet.is_some_and(|quiet| quiet.at - began < Duration::from_secs(1802)), "told at once");
}

#[tokio::test(start_paused = true)]
async fn last_event_about_a_backend_that_flapped_says_how_it_ended() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    for second in 0..21 {
        assert!(handle.upsert_backend(is("a", if second % 2 == 0 { Unavailable } else { Ready })));
        sleep(SECOND).await;
    }
    let last = |cluster: &Cluster| {
        let sent = cluster.events.sent();
        let about = sent.iter().rev().find(|sent| sent.event["regarding"]["fieldPath"].is_string());
        about.map(|sent| text(&sent.event, "reason").to_owned())
    };
    assert_eq!(last(&cluster).as_deref(), Some("BackendRecovered"), "the tenth");
    sleep(MINUTE * 5).await;
    assert_eq!(last(&cluster).as_deref(), Some("BackendFailed"));
    let sent = cluster.events.sent().len();
    sleep(MINUTE * 60).await;
    assert_eq!(cluster.events.sent().len(), sent, "then there is peace");
}

#[tokio::test(start_paused = true)]
async fn secrets_in_messages_are_left_out_of_events() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a", "b"]).await;
    let message = "GET https://user:SECRET1@host/mcp?key=SECRET2 failed, sent Authorization: Bearer SECRET3";
    assert!(handle.upsert_backend(DiscoveredBackend { message: message.into(), ..is("a", Unavailable) }));
    assert!(handle.set_phase(Phase::Failed, format!("all is lost: {message}\n\u{1b}[31m")));
    settle(&handle).await;
    assert_eq!(cluster.events.sent().len(), 2);
    for sent in cluster.events.sent() {
        let event = sent.event.to_string();
        assert!(!event.contains("SECRET") && !event.contains("user:"), "{event}");
        assert!(text(&sent.event, "note").contains("GET https://host/mcp failed"), "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn texts_of_any_length_and_kind_make_events_that_the_api_server_takes() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["b"]).await;
    let long = DiscoveredBackend { message: "ü".repeat(5000), ..is("n\u{7}ä".repeat(900), Unavailable) };
    assert!(handle.upsert_backend(long));
    assert!(handle.set_phase(Phase::Failed, "é".repeat(30_000)));
    settle(&handle).await;
    let sent = cluster.events.sent();
    assert_eq!(reasons(&sent), ["ServerFailed", "BackendAdded", "BackendFailed"]);
    assert!(sent.iter().all(|sent| sent.code == Some(201)), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn truncated_list_makes_no_event_of_backends_that_were_left_out() {
    let cluster = Cluster::new();
    let (handle, _reporter) = cluster.with_ready(&["a"]).await;
    let huge = |name: &str| DiscoveredBackend { url: format!("http://a/{}", "x".repeat(30_000)), ..is(name, Ready) };
    let names: Vec<_> = (0..60).map(|i| format!("b{i}")).collect();
    assert!(handle.report(Status::derived_from(names.iter().map(|name| huge(name)).chain([is("a", Ready)]))));
    assert!(handle.derive_phase());
    settle(&handle).await;
    assert!(cluster.status()["message"].as_str().is_some_and(|message| message.contains("not listed")));
    // One of them fails: it is listed now, and another is not.
    assert!(handle.upsert_backend(DiscoveredBackend { status: Unavailable, ..huge("b59") }));
    settle(&handle).await;
    assert_eq!(reasons(&cluster.events.sent()), ["ServerDegraded"]);
}

#[tokio::test(start_paused = true)]
async fn sink_without_events_sends_none() {
    let cluster = Cluster::new();
    let client = cluster.events.client(&cluster.api, Role::Admin);
    let sink = KubernetesSink::new(client, NAMESPACE, NAME).expect("good names");
    let (handle, _reporter) = Reporter::builder(sink).derive_phase(true).start();
    assert!(handle.upsert_backend(is("a", Unavailable)));
    settle(&handle).await;
    assert_eq!(cluster.events.sent().len(), 0);
}
