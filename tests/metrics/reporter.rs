//! What the reporter does, and how it stands.

use super::*;

#[tokio::test(start_paused = true)]
async fn metrics_have_the_names_and_types_that_are_documented() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    assert!(handle.upsert_backend(backend("a", BackendStatus::Ready)));
    handle.flush().await.expect("stored");
    let scrape = scraped(&handle);
    let families: Vec<_> = scrape.families().iter().map(|f| (f.name.as_str(), f.kind.as_str())).collect();
    assert_eq!(
        families,
        [
            ("vmcp_status_updates_received", "counter"),
            ("vmcp_status_updates", "counter"),
            ("vmcp_status_writes", "counter"),
            ("vmcp_status_writes_saved", "counter"),
            ("vmcp_status_reads", "counter"),
            ("vmcp_status_conflicts", "counter"),
            ("vmcp_status_failures", "counter"),
            ("vmcp_status_repairs", "counter"),
            ("vmcp_status_trims", "counter"),
            ("vmcp_status_write_duration_seconds", "histogram"),
            ("vmcp_status_mailbox_depth", "gauge"),
            ("vmcp_status_oldest_pending_age_seconds", "gauge"),
            ("vmcp_status_last_write_timestamp_seconds", "gauge"),
            ("vmcp_status_is_leader", "gauge"),
            ("vmcp_status_phase", "gauge"),
            ("vmcp_status_backends", "gauge"),
            ("vmcp_status_backend_up", "gauge"),
            ("vmcp_status_backends_without_series", "gauge"),
        ]
    );
    let units: Vec<_> = scrape.families().iter().filter_map(|family| family.unit.as_deref()).collect();
    assert_eq!(units, ["seconds"; 3]);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_write_has_its_result() {
    let store = Store::default();
    let fails = [
        (Retry::Conflict, "conflict"),
        (Retry::After(INTERVAL), "throttled"),
        (Retry::Transient, "transient"),
        (Retry::Blocked, "blocked"),
        (Retry::Refused, "refused"),
        (Retry::TooLarge, "too_large"),
    ];
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    for (count, (retry, name)) in fails.into_iter().enumerate() {
        store.state().fates.push_back(Fate::Fails(retry));
        assert!(handle.set_phase(Phase::Ready, format!("{count}")));
        sleep(Duration::from_secs(3600)).await;
        let scrape = scraped(&handle);
        assert_eq!(scrape.value(&format!("vmcp_status_writes_total{{result=\"{name}\"}}")), 1.0, "{name}");
        assert_eq!(scrape.sum("vmcp_status_writes_total"), handle.counts().attempts as f64, "{name}");
        assert_eq!(scrape.value("vmcp_status_write_duration_seconds_count"), handle.counts().attempts as f64);
    }
    let scrape = scraped(&handle);
    assert_eq!((scrape.value("vmcp_status_conflicts_total"), scrape.value("vmcp_status_failures_total")), (1.0, 5.0));
    assert_eq!(scrape.value("vmcp_status_reads_total"), handle.counts().reads as f64);
}

#[tokio::test(start_paused = true)]
async fn write_that_shutdown_cuts_short_is_counted_too() {
    let store = Store::failing([Fate::Hangs]);
    let (handle, reporter) = Reporter::builder(store).start();
    assert!(handle.set_phase(Phase::Ready, "a"));
    let outcome = reporter.shutdown().await;
    assert_eq!(outcome.counts.attempts, 1);
    assert_eq!(scraped(&handle).sum("vmcp_status_writes_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn needless_writes_repaired_faults_and_truncations_are_counted() {
    let store = Store::default();
    store.state().limit = Some(SizeLimit { bytes: 3000, per_backend: 0 });
    let (handle, _reporter) = Reporter::builder(store).start();
    let many = |count| Status::from_backends((0..count).map(|i| backend(format!("b{i}"), BackendStatus::Ready)));
    assert!(handle.report(many(3)));
    handle.flush().await.expect("stored");
    assert!(handle.report(many(3)));
    handle.flush().await.expect("equal");
    assert!(handle.report(many(100)));
    assert!(handle.upsert_backend(backend("", BackendStatus::Ready)));
    handle.flush().await.expect("stored in part");
    let scrape = scraped(&handle);
    let values = ["writes_saved", "repairs", "trims"].map(|name| scrape.value(&format!("vmcp_status_{name}_total")));
    assert_eq!(values, [1.0, 1.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn write_duration_is_what_the_writes_took() {
    let (handle, _reporter) = Reporter::builder(Store::slow(Duration::from_millis(300))).start();
    assert!(handle.set_phase(Phase::Ready, "a"));
    handle.flush().await.expect("stored");
    let scrape = scraped(&handle);
    let bucket = |le: &str| scrape.value(&format!("vmcp_status_write_duration_seconds_bucket{{le=\"{le}\"}}"));
    assert_eq!((bucket("0.25"), bucket("1.0"), bucket("+Inf")), (0.0, 1.0, 1.0));
    assert!((scrape.value("vmcp_status_write_duration_seconds_sum") - 0.3).abs() < 0.01);
}

#[tokio::test(start_paused = true)]
async fn mailbox_depth_is_what_the_actor_has_not_taken() {
    let (handle, _reporter) = Reporter::builder(Store::default()).mailbox_size(4).start();
    for count in 0..7 {
        assert!(handle.set_phase(Phase::Ready, format!("{count}")));
    }
    assert_eq!(scraped(&handle).value("vmcp_status_mailbox_depth"), 4.0);
    settle().await;
    assert_eq!(scraped(&handle).value("vmcp_status_mailbox_depth"), 0.0);
}

const AGE: &str = "vmcp_status_oldest_pending_age_seconds";

#[tokio::test(start_paused = true)]
async fn age_grows_from_the_oldest_change_that_is_not_stored_until_it_is() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    let registry = registry_of(&handle, MetricsOptions::default());
    assert_eq!(scrape(&registry).value(AGE), 0.0);
    assert!(handle.set_phase(Phase::Ready, "old"));
    for minute in 1..=60 {
        sleep(Duration::from_secs(60)).await;
        assert!(handle.set_phase(Phase::Ready, format!("{minute}")));
        assert!((scrape(&registry).value(AGE) - 60.0 * f64::from(minute)).abs() < 0.1, "of the oldest");
    }
    store.state().always = None;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(scrape(&registry).value(AGE), 0.0);
}

#[tokio::test(start_paused = true)]
async fn last_write_is_absent_before_the_first_that_stored_something() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Blocked));
    let at = chrono::DateTime::from_timestamp_millis(1_700_000_000_250).expect("a time");
    let (handle, _reporter) = Reporter::builder(store.clone()).wall_clock(move || at).start();
    assert!(handle.set_phase(Phase::Ready, "a"));
    sleep(INTERVAL * 10).await;
    let name = "vmcp_status_last_write_timestamp_seconds";
    assert_eq!(scraped(&handle).find(name), None);
    store.state().always = None;
    handle.flush().await.expect("stored");
    assert_eq!(scraped(&handle).value(name), 1_700_000_000.25);
}

#[tokio::test(start_paused = true)]
async fn is_leader_is_1_if_it_may_write_and_standby_has_nothing_pending() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let (switch, leadership) = Leadership::new();
    let (handle, _reporter) = Reporter::builder(store).leadership(leadership).start();
    let registry = registry_of(&handle, MetricsOptions::default());
    let look = || {
        let scrape = scrape(&registry);
        (scrape.value("vmcp_status_is_leader"), scrape.value(AGE).round())
    };
    assert!(handle.set_phase(Phase::Ready, "a"));
    sleep(INTERVAL * 5).await;
    assert_eq!(look(), (0.0, 5.0), "nobody has said who leads");
    switch.stand_by();
    sleep(INTERVAL * 5).await;
    assert_eq!(look(), (0.0, 0.0), "the leader stores");
    switch.lead_until(Instant::now() + INTERVAL * 10);
    sleep(INTERVAL * 2).await;
    assert_eq!(look(), (1.0, 2.0), "late since it leads");
    sleep(INTERVAL * 10).await;
    assert_eq!(look().0, 0.0, "its term has run out");
    switch.stand_alone();
    assert_eq!(look().0, 1.0);
}

#[tokio::test(start_paused = true)]
async fn metrics_do_not_keep_a_reporter_alive_and_outlive_it() {
    let store = Store::default();
    let (handle, reporter) = Reporter::builder(store.clone()).start();
    let registry = registry_of(&handle, MetricsOptions::default());
    assert!(handle.set_phase(Phase::Ready, "last"));
    drop(handle);
    reporter.ended().await;
    assert_eq!(store.stored().message, "last");
    let scrape = scrape(&registry);
    assert_eq!(scrape.value("vmcp_status_writes_total{result=\"stored\"}"), 1.0);
    assert_eq!(scrape.value("vmcp_status_phase{phase=\"Ready\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn location_is_shown_with_its_reason_and_for_how_long_it_is_not_followed() {
    let store = Store::default();
    store.state().advice.location = Some(Location::new("status.runtime", "the CRD has \"it\""));
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    assert!(handle.set_phase(Phase::Ready, ""));
    handle.flush().await.expect("stored");
    let scrape = scraped(&handle);
    assert_eq!(scrape.labels("vmcp_status_location", "location"), ["status.runtime"]);
    assert_eq!(scrape.labels("vmcp_status_location", "reason"), ["the CRD has \"it\""]);
    assert_eq!(scrape.sum("vmcp_status_location"), 1.0);
    assert_eq!(scrape.value("vmcp_status_unfollowed_seconds"), 0.0);

    let mut location = Location::new("status.runtime", "the CRD has it");
    location.unfollowed_since = Some(Utc::now() - Duration::from_secs(240));
    store.state().advice.location = Some(location);
    assert!(handle.set_phase(Phase::Failed, ""));
    handle.flush().await.expect("stored");
    let unfollowed = scraped(&handle).value("vmcp_status_unfollowed_seconds");
    assert!((240.0..300.0).contains(&unfollowed), "{unfollowed}");
    assert_eq!(scraped(&handle).labels("vmcp_status_location", "reason"), ["the CRD has it"], "one at a time");
}

#[tokio::test(start_paused = true)]
async fn writer_that_keeps_overwriting_is_named_with_the_kinds_of_fields_while_it_lasts() {
    let store = Store::default();
    let mut location = Location::new("status.runtime", "the CRD has it");
    location.overwrites = 3;
    let fields = ["phase", "conditions[Ready]", "conditions[Degraded]"].map(String::from);
    location.overwriter = Some(Overwriter::new("other", fields.into()));
    store.state().advice.location = Some(location.clone());
    let (handle, _reporter) = Reporter::builder(store.clone()).start();
    assert!(handle.set_phase(Phase::Ready, ""));
    handle.flush().await.expect("stored");
    let scrape = scraped(&handle);
    assert_eq!(scrape.value("vmcp_status_overwrites_total"), 3.0);
    assert_eq!(scrape.labels("vmcp_status_overwriter", "manager"), ["other"]);
    assert_eq!(scrape.labels("vmcp_status_overwriter", "fields"), ["phase,conditions"]);

    location.overwriter = None;
    store.state().advice.location = Some(location);
    assert!(handle.set_phase(Phase::Failed, ""));
    handle.flush().await.expect("stored");
    let scrape = scraped(&handle);
    assert_eq!(scrape.value("vmcp_status_overwrites_total"), 3.0);
    assert_eq!(scrape.series("vmcp_status_overwriter").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn store_with_one_place_has_no_location() {
    let (handle, _reporter) = Reporter::builder(Store::default()).start();
    assert!(handle.set_phase(Phase::Ready, ""));
    handle.flush().await.expect("stored");
    let scrape = scraped(&handle);
    assert_eq!(scrape.series("vmcp_status_location").count(), 0);
    assert_eq!(scrape.series("vmcp_status_unfollowed_seconds").count(), 0);
}
