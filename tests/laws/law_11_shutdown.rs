use super::*;

#[tokio::test(start_paused = true)]
async fn cancelled_token_writes_what_was_sent_before_at_once() {
    let store = Store::default();
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("first")));
    settle().await;
    assert!(handle.report(said("last")));
    let begin = Instant::now();
    reporter.shutdown_token().cancel();
    let outcome = reporter.ended().await;
    assert_eq!(Instant::now(), begin, "the pace is skipped");
    assert_eq!(store.messages(), ["first", "last"]);
    assert_eq!(outcome.stored.as_ref().map(|s| s.message.as_str()), Some("last"));
}

#[tokio::test(start_paused = true)]
async fn dead_store_ends_the_shutdown_at_its_deadline_and_the_outcome_says_what_is_missing() {
    let store = Store::default();
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("stored")));
    handle.flush().await.expect("stored");
    store.state().always = Some(Fate::Hangs);
    assert!(handle.report(said("lost")));
    let begin = Instant::now();
    let outcome = reporter.shutdown().await;
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(outcome.stored.as_ref().map(|s| s.message.as_str()), Some("stored"));
    let unstored = outcome.unstored.as_ref().expect("not all is stored");
    assert_eq!(unstored.status.as_ref().map(|s| s.message.as_str()), Some("lost"));
}

#[tokio::test(start_paused = true)]
async fn shutdown_cuts_a_running_back_off_short() {
    let store = Store::default();
    store.state().always = Some(Fate::Fails(Retry::Blocked));
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("x")));
    sleep(Duration::from_secs(600)).await;
    store.state().always = None;
    let begin = Instant::now();
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn pause_that_the_store_asked_for_is_kept_until_just_before_the_deadline() {
    let store = Store::failing([Fate::Fails(Retry::After(Duration::from_secs(600)))]);
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("x")));
    settle().await;
    let begin = Instant::now();
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(begin.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn shutdown_twice_and_from_two_tasks_gives_the_same_outcome() {
    let store = Store::slow(Duration::from_millis(50));
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("x")));
    let other = tokio::spawn({
        let reporter = reporter.clone();
        async move { reporter.shutdown().await }
    });
    let first = reporter.shutdown().await;
    let second = reporter.shutdown().await;
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &other.await.expect("no panic")));
}

#[tokio::test(start_paused = true)]
async fn last_handle_dropped_stores_the_rest_and_ends() {
    let store = Store::default();
    let (handle, reporter) = start(&store);
    let clone = handle.clone();
    assert!(handle.report(said("a")));
    drop(handle);
    settle().await;
    assert!(clone.report(said("b")));
    drop(clone);
    assert!(reporter.ended().await.is_complete());
    assert_eq!(store.stored().message, "b");
}

#[tokio::test(start_paused = true)]
async fn last_handle_dropped_with_a_full_mailbox_stores_what_was_merged() {
    let store = Store::default();
    let (handle, reporter) = start_with(&store, |b| b.mailbox_size(1));
    // Once the actor has taken the first, the rest finds it asleep.
    for i in 0..9 {
        assert!(handle.report(said(i.to_string())));
    }
    drop(handle);
    let outcome = reporter.ended().await;
    assert_eq!((store.stored().message.as_str(), outcome.counts.received), ("8", 9));
}

#[tokio::test(start_paused = true)]
async fn shutdown_takes_a_mailbox_of_any_size() {
    let store = Store::default();
    let (handle, reporter) = start_with(&store, |b| b.mailbox_size(5000));
    for i in 0..3000 {
        assert!(handle.upsert_backend(ready(format!("b{i}"))));
    }
    let outcome = reporter.shutdown().await;
    assert_eq!((store.stored().discovered_backends.len(), outcome.counts.received), (3000, 3000));
}

#[tokio::test(start_paused = true)]
async fn flush_with_the_nearer_deadline_has_its_last_chance_in_time() {
    let store = Store::failing([Fate::Fails(Retry::After(Duration::from_secs(60)))]);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("x")));
    settle().await;
    let begin = Instant::now();
    let (near, far) =
        tokio::join!(handle.flush_within(Duration::from_secs(4)), handle.flush_within(Duration::from_secs(40)));
    assert_eq!((near, far), (Ok(()), Ok(())));
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn shutdown_leaves_a_refresh_undone() {
    let store = Store::default();
    let (handle, reporter) = start_with(&store, |b| b.periodic_interval(Some(INTERVAL * 30)));
    assert!(handle.report(said("x")));
    handle.flush().await.expect("stored");
    store.state().read_fails = Some(Retry::Blocked);
    sleep(INTERVAL * 34).await;
    let reads = store.state().reads;
    assert!(reads > 1, "the refresh has failed");
    let begin = Instant::now();
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!((begin.elapsed(), store.state().reads), (Duration::ZERO, reads));
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_sink_leaves_no_caller_hanging_and_is_tried_again() {
    let store = Store::failing([Fate::Panics, Fate::Panics]);
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("x")));
    handle.flush().await.expect("the third try succeeds");
    assert!(reporter.shutdown().await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn flush_skips_the_pace_and_says_when_time_ran_out_or_all_is_over() {
    let store = Store::default();
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("a")));
    handle.flush().await.expect("stored");
    assert!(handle.report(said("b")));
    let begin = Instant::now();
    handle.flush().await.expect("stored");
    assert_eq!(begin.elapsed(), Duration::ZERO);
    store.state().always = Some(Fate::Fails(Retry::Transient));
    assert!(handle.report(said("c")));
    let answer = handle.flush_within(Duration::from_secs(3)).await;
    assert!(matches!(answer, Err(FlushError::TimedOut { last: Some(_) })), "{answer:?}");
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    store.state().always = None;
    reporter.shutdown().await;
    assert_eq!(handle.flush().await, Err(FlushError::Closed));
}

#[tokio::test(start_paused = true)]
async fn flush_covers_what_waits_in_a_full_mailbox() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.mailbox_size(1));
    for i in 0..100 {
        assert!(handle.report(said(i.to_string())));
    }
    handle.flush().await.expect("stored");
    assert_eq!(store.stored().message, "99");
}

#[tokio::test(start_paused = true)]
async fn flush_covers_a_mailbox_of_any_size() {
    let store = Store::slow(Duration::from_millis(100));
    let (handle, _reporter) = start_with(&store, |b| b.mailbox_size(5000));
    for i in 0..3000 {
        assert!(handle.upsert_backend(ready(format!("b{i}"))));
    }
    handle.flush().await.expect("stored");
    assert_eq!(store.stored().discovered_backends.len(), 3000);
}
