use super::*;

#[tokio::test(start_paused = true)]
async fn flush_among_constant_changes_skips_the_pace_once() {
    let store = Store::slow(Duration::from_millis(300));
    let (handle, _reporter) = start(&store);
    let start = Instant::now();
    for i in 0..200 {
        assert!(handle.report(said(i.to_string())));
        if i == 45 {
            let handle = handle.clone();
            tokio::spawn(async move { handle.flush().await.expect("stored") });
        }
        sleep(Duration::from_millis(50)).await;
    }
    let times = store.attempt_times(start);
    let early = times.windows(2).filter(|pair| pair[1] < pair[0] + INTERVAL).count();
    assert_eq!(early, 1, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn first_change_after_a_quiet_time_is_written_at_once() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    for message in ["the first of all", "the first for a while"] {
        sleep(INTERVAL * 7 / 2).await;
        let asked = Instant::now();
        assert!(handle.report(said(message)));
        settle().await;
        assert_eq!(store.state().attempts.last().map(|(at, _)| *at), Some(asked), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn thousand_changes_in_one_interval_are_one_write_after_the_first() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    let start = Instant::now();
    assert!(handle.report(said("first")));
    settle().await;
    for i in 0..1000 {
        assert!(handle.report(said(i.to_string())));
        advance(Duration::from_micros(900)).await;
    }
    sleep(INTERVAL * 3).await;
    assert_eq!(store.messages(), ["first", "999"]);
    assert_eq!(store.attempt_times(start)[1], INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn hundred_thousand_updates_at_once_are_at_most_two_writes() {
    let store = Store::default();
    let (handle, reporter) = start(&store);
    for i in 0..100_000u32 {
        assert!(handle.upsert_backend(DiscoveredBackend { mcp_revision: i.to_string(), ..ready("b") }));
    }
    sleep(INTERVAL * 3).await;
    assert!(store.state().attempts.len() <= 2);
    assert_eq!(store.stored().backend("b").map(|b| b.mcp_revision.as_str()), Some("99999"));
    assert_eq!(reporter.shutdown().await.counts.received, 100_000);
}

#[tokio::test(start_paused = true)]
async fn storm_of_an_hour_writes_once_an_interval_and_no_more() {
    let store = Store::slow(Duration::from_millis(120));
    let (handle, _reporter) = start(&store);
    let start = Instant::now();
    for i in 0..36_000 {
        assert!(handle.report(said(i.to_string())));
        sleep(Duration::from_millis(100)).await;
    }
    let times = store.attempt_times(start);
    assert!(times.windows(2).all(|pair| pair[1] >= pair[0] + INTERVAL));
    assert!(times.len() > 3500, "and it does keep up: {}", times.len());
}
