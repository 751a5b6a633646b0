use super::*;

const PERIOD: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn refresh_repairs_what_another_writer_overwrote() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD)));
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    store.state().stored = Some(said("theirs"));
    sleep(PERIOD / 2).await;
    assert_eq!(store.stored().message, "theirs", "never as an answer to somebody's write");
    sleep(PERIOD).await;
    assert_eq!(store.stored().message, "ours");
}

#[tokio::test(start_paused = true)]
async fn refresh_brings_times_up_to_date() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD)));
    let checked = |second| DiscoveredBackend { last_health_check: DateTime::from_timestamp(second, 0), ..ready("a") };
    assert!(handle.upsert_backend(checked(1)));
    handle.flush().await.expect("stored");
    assert!(handle.upsert_backend(checked(2)));
    sleep(PERIOD * 2).await;
    assert_eq!(store.stored().backend("a").and_then(|b| b.last_health_check), DateTime::from_timestamp(2, 0));
}

#[tokio::test(start_paused = true)]
async fn refresh_stamps_its_own_time() {
    let store = Store::default();
    let clock = Arc::new(AtomicI64::new(100));
    let now = Arc::clone(&clock);
    let now = move || DateTime::from_timestamp(now.load(Ordering::Relaxed), 0).expect("in range");
    let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD)).wall_clock(now));
    assert!(handle.report(said("x")));
    handle.flush().await.expect("stored");
    clock.store(200, Ordering::Relaxed);
    sleep(PERIOD * 2).await;
    assert_eq!(store.stored().timestamp, DateTime::from_timestamp(200, 0));
}

#[tokio::test(start_paused = true)]
async fn refresh_that_fails_is_tried_again_before_the_next_is_due() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD * 100)));
    assert!(handle.report(said("ours")));
    handle.flush().await.expect("stored");
    store.state().stored = Some(said("theirs"));
    store.state().read_fails = Some(Retry::Transient);
    sleep(PERIOD * 111).await;
    assert!(store.state().reads > 2, "it is tried again");
    store.state().read_fails = None;
    sleep(PERIOD).await;
    assert_eq!(store.stored().message, "ours");
}

#[tokio::test(start_paused = true)]
async fn refreshes_of_many_reporters_spread() {
    let stores: Vec<Store> = (0..50).map(|_| Store::default()).collect();
    let reporters: Vec<_> =
        stores.iter().map(|store| start_with(store, |b| b.periodic_interval(Some(PERIOD)))).collect();
    for (handle, _) in &reporters {
        assert!(handle.report(said("x")));
        handle.flush().await.expect("stored");
    }
    let mut at_once = 0;
    for _ in 0..400 {
        let before: usize = stores.iter().map(|s| s.state().reads).sum();
        sleep(PERIOD / 100).await;
        let after: usize = stores.iter().map(|s| s.state().reads).sum();
        at_once = at_once.max(after - before);
    }
    assert!(at_once < 25, "{at_once} of 50 refreshed in the same hundredth of the period");
}

#[tokio::test(start_paused = true)]
async fn reporter_without_any_update_does_not_refresh() {
    let store = Store::holding(said("somebody's"));
    let (_handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD)));
    sleep(PERIOD * 5).await;
    assert_eq!(store.calls(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn refresh_is_as_frequent_as_without_an_election_once_an_election_is_given_up() {
    let store = Store::default();
    let (election, leadership) = Leadership::new();
    let (handle, _reporter) = start_with(&store, |b| {
        b.periodic_interval(Some(PERIOD * 100)).unelected_interval(Some(PERIOD)).leadership(leadership)
    });
    election.lead_until(Instant::now() + PERIOD * 10);
    let checked = |second| DiscoveredBackend { last_health_check: DateTime::from_timestamp(second, 0), ..ready("a") };
    let stored = || store.stored().backend("a").and_then(|b| b.last_health_check).map(|at| at.timestamp());
    assert!(handle.upsert_backend(checked(1)));
    handle.flush().await.expect("stored");
    assert!(handle.upsert_backend(checked(2)));
    sleep(PERIOD * 5).await;
    assert_eq!(stored(), Some(1), "the Lease is the sign of life");
    election.stand_alone();
    sleep(PERIOD * 2).await;
    assert_eq!(stored(), Some(2));
}
