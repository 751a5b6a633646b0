use super::*;

#[tokio::test(start_paused = true)]
async fn status_equal_to_the_stored_one_is_not_written() {
    let store = Store::holding(said("same"));
    let (handle, _reporter) = start(&store);
    for _ in 0..10 {
        assert!(handle.report(said("same")));
        sleep(INTERVAL * 2).await;
    }
    handle.flush().await.expect("verified equal");
    assert_eq!(store.calls(), (1, 0));
    assert_eq!(handle.counts().equal, 10);
}

#[tokio::test(start_paused = true)]
async fn times_alone_cause_no_write_and_ride_along_with_the_next() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    let checked = |name: &str, second| DiscoveredBackend {
        last_health_check: DateTime::from_timestamp(second, 0),
        ..ready(name)
    };
    assert!(handle.upsert_backend(checked("a", 1)));
    sleep(INTERVAL * 2).await;
    for second in 2..100 {
        assert!(handle.upsert_backend(checked("a", second)));
        sleep(INTERVAL * 2).await;
    }
    assert_eq!(store.calls(), (1, 1), "nor a read");
    assert!(handle.upsert_backend(checked("b", 100)));
    handle.flush().await.expect("stored");
    assert_eq!(store.state().attempts.len(), 2);
    let time = store.stored().backend("a").and_then(|b| b.last_health_check);
    assert_eq!(time, DateTime::from_timestamp(99, 0), "the newest time rode along");
}

#[tokio::test(start_paused = true)]
async fn backend_that_stays_down_causes_no_write_though_its_failures_are_counted() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    let down = |failures| DiscoveredBackend {
        status: BackendStatus::Unavailable,
        consecutive_failures: failures,
        last_health_check: DateTime::from_timestamp(failures.into(), 0),
        circuit_last_changed: DateTime::from_timestamp(failures.into(), 0),
        ..DiscoveredBackend::named("a")
    };
    for failures in 1..100 {
        assert!(handle.upsert_backend(down(failures)));
        sleep(INTERVAL * 2).await;
    }
    assert_eq!(store.calls(), (1, 1));
    assert!(handle.set_phase(Phase::Failed, "next"));
    handle.flush().await.expect("stored");
    assert_eq!(store.stored().backend("a").map(|b| b.consecutive_failures), Some(99), "the count rides along");
}

/// How often a runtime wakes up in an hour that begins 2 s after `prepare`.
/// Paused time goes from timer to timer: each one that is set is seen.
fn wakes_in_an_hour<T>(prepare: impl AsyncFnOnce() -> T) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let _kept = prepare().await;
        sleep(INTERVAL * 2).await;
        let metrics = tokio::runtime::Handle::current().metrics();
        let before = metrics.worker_park_count(0);
        sleep(Duration::from_secs(3600)).await;
        metrics.worker_park_count(0) - before
    })
}

#[test]
fn idle_reporter_wakes_no_timer() {
    let idle = async |periodic_interval| {
        let (handle, reporter) = start_with(&Store::default(), |b| b.periodic_interval(periodic_interval));
        assert!(handle.report(said("once")));
        handle.flush().await.expect("stored");
        (handle, reporter)
    };
    assert_eq!(wakes_in_an_hour(async || idle(None).await), wakes_in_an_hour(async || ()));
    assert!(wakes_in_an_hour(async || idle(Some(INTERVAL * 30)).await) > 100, "a refresh would be seen");
}
