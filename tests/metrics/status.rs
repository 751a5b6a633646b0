//! The status itself.

use super::*;

fn phases(scrape: &Scrape) -> [f64; 4] {
    Phase::ALL.map(|phase| scrape.value(&format!("vmcp_status_phase{{phase=\"{phase}\"}}")))
}

fn backends(scrape: &Scrape) -> [f64; 5] {
    BackendStatus::ALL.map(|status| scrape.value(&format!("vmcp_status_backends{{status=\"{status}\"}}")))
}

#[tokio::test(start_paused = true)]
async fn phase_is_one_of_four_and_none_before_the_first_report() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    assert_eq!(phases(&scraped(&handle)), [0.0; 4]);
    for (phase, expected) in [
        (Phase::Pending, [1.0, 0.0, 0.0, 0.0]),
        (Phase::Failed, [0.0, 0.0, 0.0, 1.0]),
        (Phase::Ready, [0.0, 1.0, 0.0, 0.0]),
        (Phase::Degraded, [0.0, 0.0, 1.0, 0.0]),
    ] {
        assert!(handle.set_phase(phase, ""));
        sleep(INTERVAL).await;
        assert_eq!(phases(&scraped(&handle)), expected, "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn backends_are_counted_by_status_and_each_is_up_if_it_is_routable() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    assert_eq!(backends(&scraped(&handle)), [0.0; 5]);
    let all = BackendStatus::ALL.into_iter().enumerate();
    assert!(handle.report(Status::from_backends(
        all.flat_map(|(i, status)| (0..=i).map(move |n| backend(format!("{status}-{n}"), status))),
    )));
    settle().await;
    let scrape = scraped(&handle);
    assert_eq!(backends(&scrape), [1.0, 2.0, 3.0, 4.0, 5.0]);
    let up = |name: &str| scrape.value(&format!("vmcp_status_backend_up{{backend=\"{name}\"}}"));
    let each = ["ready-0", "degraded-1", "unavailable-2", "unauthenticated-3", "unknown-4"].map(up);
    assert_eq!(each, [1.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(scrape.series("vmcp_status_backend_up").count(), 15);
    assert_eq!(scrape.value("vmcp_status_backends_without_series"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn backend_that_has_gone_has_no_series_any_more() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    assert!(handle.report(Status::from_backends(["a", "b"].map(|name| backend(name, BackendStatus::Ready)))));
    settle().await;
    assert!(handle.remove_backend("a"));
    sleep(INTERVAL * 2).await;
    assert_eq!(scraped(&handle).labels("vmcp_status_backend_up", "backend"), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn series_of_backends_are_capped_with_those_that_are_not_routable_first() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    let health = |i| if i % 50 == 49 { BackendStatus::Unavailable } else { BackendStatus::Ready };
    assert!(handle.report(Status::from_backends((0..150).map(|i| backend(format!("b{i:03}"), health(i))))));
    settle().await;
    let with = |most| scrape(&registry_of(&handle, MetricsOptions::default().max_backends(most)));
    for (most, expected) in [(0, vec![]), (2, vec!["b049", "b099"]), (5, vec!["b000", "b001", "b049", "b099", "b149"])]
    {
        let scrape = with(most);
        assert_eq!(scrape.labels("vmcp_status_backend_up", "backend"), expected);
        assert_eq!(scrape.value("vmcp_status_backends_without_series"), (150 - most) as f64);
        assert_eq!(backends(&scrape), [147.0, 0.0, 3.0, 0.0, 0.0], "counts count all");
    }
    assert_eq!(scraped(&handle).series("vmcp_status_backend_up").count(), 100, "the default");
}

#[tokio::test(start_paused = true)]
async fn backends_left_out_for_size_are_counted() {
    let store = Store::default();
    store.state().limit = Some(SizeLimit { bytes: 3000, per_backend: 0 });
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    let health = |i| if i < 3 { BackendStatus::Degraded } else { BackendStatus::Ready };
    assert!(handle.report(Status::from_backends((0..100).map(|i| backend(format!("b{i}"), health(i))))));
    settle().await;
    let listed = store.stored().discovered_backends.len();
    assert!(listed < 100);
    let scrape = scraped(&handle);
    assert_eq!(backends(&scrape), [97.0, 3.0, 0.0, 0.0, 0.0]);
    assert_eq!(scrape.value("vmcp_status_backends_without_series"), (100 - listed) as f64);
}

#[tokio::test(start_paused = true)]
async fn names_with_quotes_backslashes_and_newlines_are_escaped() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    let names =
        ["\n", "\\n", "a\"b", "a\\", "tab\tand\rreturn", "x\"} 1\nvmcp_status_is_leader 7", "äöü 😀", "{a=\"b\"},"];
    assert!(handle.report(Status::from_backends(names.map(|name| backend(name, BackendStatus::Ready)))));
    settle().await;
    let scrape = scraped(&handle);
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(scrape.labels("vmcp_status_backend_up", "backend"), expected);
    assert_eq!(scrape.value("vmcp_status_is_leader"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn several_reporters_share_each_family_and_differ_by_name() {
    let (one, _one) = Reporter::builder(Store::default()).start();
    let (two, _two) = Reporter::builder(Store::default()).start();
    assert!(one.report(Status::derived_from([backend("x", BackendStatus::Ready)])));
    assert!(two.report(Status::derived_from([backend("x", BackendStatus::Unavailable)])));
    settle().await;
    let mut registry = Registry::with_prefix("gateway");
    let names = [("old", &two), ("one", &one), ("say \"two\"", &two), ("old", &one)];
    registry.register_collector(Box::new(StatusMetrics::of_several(names, MetricsOptions::default())));
    let scrape = scrape(&registry);
    let up = |vmcp: &str| scrape.value(&format!("gateway_vmcp_status_backend_up{{vmcp=\"{vmcp}\",backend=\"x\"}}"));
    assert_eq!((up("one"), up("say \\\"two\\\""), up("old")), (1.0, 0.0, 1.0), "the last of two with one name counts");
    assert_eq!(scrape.labels("gateway_vmcp_status_is_leader", "vmcp").len(), 3);
    assert_eq!(scrape.labels("gateway_vmcp_status_write_duration_seconds_count", "vmcp").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn reporters_in_sub_registries_have_the_labels_of_those() {
    let mut registry = Registry::default();
    let mut handles = Vec::new();
    for (name, status) in [("one", BackendStatus::Ready), ("two", BackendStatus::Unavailable)] {
        let (handle, _reporter) = Reporter::builder(Store::default()).start();
        assert!(handle.report(Status::derived_from([backend("x", status)])));
        let labelled = registry.sub_registry_with_label(("gateway".into(), name.into()));
        handle.register_metrics(labelled, MetricsOptions::default());
        handles.push(handle);
    }
    settle().await;
    let text = text_of(&registry);
    for line in [
        "vmcp_status_backend_up{gateway=\"one\",backend=\"x\"} 1",
        "vmcp_status_backend_up{gateway=\"two\",backend=\"x\"} 0",
        "vmcp_status_is_leader{gateway=\"one\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}
