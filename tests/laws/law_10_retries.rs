use super::*;

#[tokio::test(start_paused = true)]
async fn outage_of_an_hour_is_survived_with_growing_pauses_and_ends_with_the_newest() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let (handle, _reporter) = start(&store);
    let begin = Instant::now();
    for minute in 0..60 {
        assert!(handle.report(said(minute.to_string())));
        sleep(Duration::from_secs(60)).await;
    }
    let attempts = store.attempt_times(begin);
    assert!(attempts.len() < 400, "{}", attempts.len());
    assert!(attempts.windows(2).all(|p| p[1] <= p[0] + Duration::from_secs(31)), "never gives up");
    store.state().always = None;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(store.stored().message, "59");
}

#[tokio::test(start_paused = true)]
async fn store_that_cannot_be_reached_is_right_again_within_ten_seconds_of_its_return() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("old")));
    handle.flush().await.expect("stored");
    for outage in [1, 30, 600, 3600] {
        store.state().always = Some(Fate::Fails(Retry::Unreachable));
        assert!(handle.report(said(format!("after {outage} s"))));
        let reads = store.state().reads;
        sleep(Duration::from_secs(outage)).await;
        store.state().always = None;
        let back = Instant::now();
        while store.stored().message != format!("after {outage} s") {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(back.elapsed() <= Duration::from_secs(11), "{:?}", back.elapsed());
        assert_eq!(store.state().reads, reads, "nothing was sent, so nothing is in doubt");
        sleep(INTERVAL).await;
    }
    let attempts = store.state().attempts.len();
    assert!((400..1600).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn conflict_reads_again_and_retries_quickly() {
    let store = Store::holding(said("old"));
    store.state().fates.extend([Fate::Fails(Retry::Conflict), Fate::Fails(Retry::Conflict)]);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("new")));
    sleep(INTERVAL / 2).await;
    assert_eq!(store.stored().message, "new");
    assert_eq!(store.calls(), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn success_makes_the_pauses_short_again() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("a")));
    sleep(Duration::from_secs(600)).await;
    store.state().always = None;
    handle.flush().await.expect("stored");
    sleep(INTERVAL).await;
    store.state().fates.push_back(Fate::Fails(Retry::Transient));
    assert!(handle.report(said("b")));
    sleep(INTERVAL * 3 / 2).await;
    assert_eq!(store.stored().message, "b");
}

#[tokio::test(start_paused = true)]
async fn pause_that_the_store_asks_for_is_kept() {
    let store = Store::failing([Fate::Fails(Retry::After(Duration::from_secs(17)))]);
    let (handle, _reporter) = start(&store);
    let begin = Instant::now();
    assert!(handle.report(said("x")));
    sleep(Duration::from_secs(60)).await;
    let [first, second] = store.attempt_times(begin)[..] else { panic!("it is refused once") };
    assert_eq!(first, Duration::ZERO);
    // The reporter adds some time, so that reporters refused together do not return
    // together.
    assert!(second > Duration::from_secs(17) && second < Duration::from_secs(17 * 2), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn pause_of_a_day_that_the_store_asks_for_is_kept_for_a_minute_or_as_long_as_the_policy_says() {
    let day = Duration::from_secs(24 * 60 * 60);
    for max in [Duration::from_secs(60), Duration::from_secs(5)] {
        let store = Store::failing([Fate::Fails(Retry::After(day))]);
        let policy = BackoffPolicy { retry_after_max: max, ..BackoffPolicy::default() };
        let (handle, _reporter) = start_with(&store, |b| b.backoff(policy));
        let begin = Instant::now();
        assert!(handle.report(said("x")));
        sleep(Duration::from_secs(600)).await;
        let [_, second] = store.attempt_times(begin)[..] else { panic!("it is refused once") };
        // The time that spreads reporters refused together comes on top.
        assert!(second >= max && second <= max + Duration::from_secs(31), "{second:?} with {max:?}");
        assert_eq!(store.stored().message, "x");
    }
    assert_eq!(BackoffPolicy::default().retry_after_max, Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn status_too_large_even_at_its_smallest_is_sent_once_until_it_changes() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::TooLarge));
    store.state().limit = Some(SizeLimit::new(1 << 16));
    let (handle, _reporter) = start(&store);
    assert!(handle.report(Status {
        message: "x".repeat(2000),
        ..Status::from_backends((0..500).map(|i| ready(format!("b{i}"))))
    }));
    let refused = handle.flush_within(Duration::from_secs(30)).await;
    assert!(matches!(refused, Err(FlushError::Refused(_))), "{refused:?}");
    let attempts = store.state().attempts.len();
    assert!((5..20).contains(&attempts), "smaller ones are tried first: {attempts}");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(store.state().attempts.len(), attempts);
    store.state().always = None;
    assert!(handle.report(said("short")));
    handle.flush().await.expect("stored");
}

#[tokio::test(start_paused = true)]
async fn store_that_asks_for_a_pause_of_nothing_is_not_hammered() {
    let store = Store::default();
    store.state().read_fails = Some(Retry::After(Duration::ZERO));
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("x")));
    sleep(Duration::from_secs(60)).await;
    let reads = store.state().reads;
    assert!((30..200).contains(&reads), "{reads} in a minute");
}

#[tokio::test(start_paused = true)]
async fn content_that_was_stored_and_then_refused_is_not_repeated_by_the_refresh() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(INTERVAL * 30)));
    assert!(handle.report(said("x")));
    handle.flush().await.expect("stored");
    store.state().always = Some(Fate::Fails(Retry::Refused));
    store.state().stored = Some(said("theirs"));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(store.state().attempts.len(), 2, "the one stored and the one refused");
    store.state().always = None;
    assert!(handle.report(said("y")));
    handle.flush().await.expect("stored");
}

#[tokio::test(start_paused = true)]
async fn missing_rights_are_tried_again_up_to_a_minute_apart() {
    let store = Store::default();
    store.state().read_fails = Some(Retry::Blocked);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("x")));
    sleep(Duration::from_secs(3600)).await;
    let reads = store.state().reads;
    assert!((60..180).contains(&reads), "{reads}");
    store.state().read_fails = None;
    sleep(Duration::from_secs(61)).await;
    assert_eq!(store.stored().message, "x");
}

#[tokio::test(start_paused = true)]
async fn refused_content_is_sent_once_until_it_changes() {
    let store = Store::failing([Fate::Fails(Retry::Refused)]);
    let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(INTERVAL * 30)));
    assert!(handle.report(said("bad")));
    let begin = Instant::now();
    assert!(matches!(handle.flush().await, Err(FlushError::Refused(_))));
    assert_eq!(begin.elapsed(), Duration::ZERO, "there is nothing to wait for");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(store.state().attempts.len(), 1);
    assert!(handle.report(said("good")));
    handle.flush().await.expect("stored");
    assert_eq!(store.stored().message, "good");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_a_time_out() {
    let store = Store::failing([Fate::Hangs]);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("x")));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.stored().message, "x");
}
