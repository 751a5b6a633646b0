use super::*;

#[tokio::test(start_paused = true)]
async fn transition_times_survive_a_restart_and_move_only_with_the_status() {
    let store = Store::default();
    let clock = Arc::new(AtomicI64::new(100));
    let begin = || {
        let clock = Arc::clone(&clock);
        let now = move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).expect("in range");
        start_with(&store, |b| b.wall_clock(now).derive_phase(true))
    };
    let since =
        |type_: &str| store.stored().condition(type_).and_then(|c| c.last_transition_time).map(|time| time.timestamp());
    let (handle, reporter) = begin();
    assert!(handle.upsert_backend(ready("a")));
    reporter.shutdown().await;
    assert_eq!(since("Ready"), Some(100));

    clock.store(200, Ordering::Relaxed);
    let (handle, reporter) = begin();
    assert!(handle.upsert_backend(ready("a")));
    handle.flush().await.expect("stored");
    assert_eq!(since("Ready"), Some(100), "a restart moves nothing");
    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Degraded, ..ready("b") }));
    handle.flush().await.expect("stored");
    assert_eq!((since("Ready"), since("BackendsDiscovered"), since("Degraded")), (Some(200), Some(100), Some(200)));

    clock.store(300, Ordering::Relaxed);
    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Degraded, ..ready("c") }));
    handle.flush().await.expect("stored");
    assert_eq!((since("Ready"), since("Degraded")), (Some(200), Some(200)), "the statuses are the same");
    assert!(handle.remove_backend("b") && handle.remove_backend("c"));
    handle.flush().await.expect("stored");
    assert_eq!((since("Ready"), since("Degraded")), (Some(300), None));
    clock.store(400, Ordering::Relaxed);
    assert!(handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("b") }));
    reporter.shutdown().await;
    assert_eq!(since("Ready"), Some(400));
}

#[tokio::test(start_paused = true)]
async fn transition_time_is_when_the_status_moved_and_not_when_it_could_be_written() {
    let store = Store::default();
    let clock = Arc::new(AtomicI64::new(100));
    let now = Arc::clone(&clock);
    let now = move || DateTime::from_timestamp(now.load(Ordering::Relaxed), 0).expect("in range");
    let (handle, _reporter) = start_with(&store, |b| b.wall_clock(now));
    let say = |status, reason: &str| handle.set_condition(Condition::unchecked("Ready", status, reason, ""));
    let since = || store.stored().condition("Ready").and_then(|c| c.last_transition_time);
    say(ConditionStatus::False, "First");
    handle.flush().await.expect("stored");
    store.state().always = Some(Fate::Fails(Retry::Transient));
    clock.store(200, Ordering::Relaxed);
    say(ConditionStatus::Unknown, "Second");
    settle().await;
    clock.store(300, Ordering::Relaxed);
    say(ConditionStatus::Unknown, "Third");
    settle().await;
    store.state().always = None;
    clock.store(400, Ordering::Relaxed);
    handle.flush().await.expect("stored");
    assert_eq!(since(), DateTime::from_timestamp(200, 0));

    assert!(handle.remove_condition("Ready"));
    handle.flush().await.expect("stored");
    clock.store(500, Ordering::Relaxed);
    say(ConditionStatus::Unknown, "Back");
    handle.flush().await.expect("stored");
    assert_eq!(since(), DateTime::from_timestamp(500, 0), "one that comes back has had a transition");
}

#[tokio::test(start_paused = true)]
async fn transition_time_stays_when_the_clock_goes_back() {
    let store = Store::default();
    let clock = Arc::new(AtomicI64::new(10_000));
    let now = Arc::clone(&clock);
    let now = move || DateTime::from_timestamp(now.load(Ordering::Relaxed), 0).expect("in range");
    let (handle, _reporter) = start_with(&store, |b| b.wall_clock(now).derive_phase(true));
    let since = |type_: &str| {
        let stored = store.stored();
        let condition = stored.condition(type_).expect("reported");
        (condition.status, condition.last_transition_time.map(|time| time.timestamp()))
    };
    let say = |holds: bool| handle.set_condition(Condition::unchecked("Mine", holds.into(), "Why", ""));
    say(true);
    let _ = handle.upsert_backend(ready("a"));
    handle.flush().await.expect("stored");
    clock.store(10_000 - 3_600, Ordering::Relaxed);
    say(false);
    let _ = handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("a") });
    handle.flush().await.expect("stored");
    for type_ in ["Ready", "Mine"] {
        assert_eq!(since(type_), (ConditionStatus::False, Some(10_000)), "{type_}");
    }
}

#[tokio::test(start_paused = true)]
async fn condition_of_a_type_of_its_own_goes_when_it_is_no_longer_reported() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    let mine = Condition::unchecked("Mine", ConditionStatus::True, "Why", "");
    assert!(handle.report(Status { conditions: vec![mine], ..said("with") }));
    handle.flush().await.expect("stored");
    assert!(store.stored().condition("Mine").is_some());
    assert!(handle.report(said("without")));
    handle.flush().await.expect("stored");
    assert_eq!(store.stored().condition("Mine"), None);
}

#[tokio::test(start_paused = true)]
async fn foreign_conditions_stay_and_a_left_over_degraded_goes() {
    let condition = |type_| Condition::unchecked(type_, ConditionStatus::True, "Why", "");
    let store = Store::holding(Status {
        conditions: vec![condition(condition_type::AUTH_CONFIGURED), condition(condition_type::DEGRADED)],
        ..Status::default()
    });
    let (handle, reporter) = start(&store);
    assert!(handle.remove_condition(condition_type::AUTH_CONFIGURED));
    assert!(handle.report(said("here")));
    reporter.shutdown().await;
    assert_eq!(store.stored().conditions, [condition(condition_type::AUTH_CONFIGURED)]);
}
