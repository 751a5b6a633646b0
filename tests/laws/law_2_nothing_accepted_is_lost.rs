use super::*;

#[tokio::test(start_paused = true)]
async fn first_report_of_nothing_replaces_what_an_earlier_process_left() {
    let left = Status { message: "1 of 1 backend routable".into(), ..Status::from_backends([ready("gone")]) };
    let store = Store::holding(left);
    let (handle, _reporter) = start_with(&store, |b| b.derive_phase(true));
    assert!(handle.source("list").replace_backends(Vec::<DiscoveredBackend>::new()));
    handle.flush().await.expect("stored");
    let stored = store.stored();
    assert_eq!((stored.message.as_str(), stored.discovered_backends.len()), ("Ready, no backends configured", 0));
}

#[tokio::test(start_paused = true)]
async fn update_of_times_during_a_write_is_accounted_for_when_that_ends() {
    let store = Store::slow(Duration::from_millis(100));
    let (handle, _reporter) = start(&store);
    let checked = |second| DiscoveredBackend { last_health_check: DateTime::from_timestamp(second, 0), ..ready("a") };
    assert!(handle.upsert_backend(checked(1)));
    settle().await;
    assert!(handle.upsert_backend(checked(2)));
    sleep(INTERVAL * 3).await;
    let counts = handle.counts();
    assert_eq!((counts.received, counts.written, counts.merged, counts.equal), (2, 1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn full_mailbox_merges_and_keeps_the_newest() {
    let store = Store::default();
    let (handle, reporter) = start_with(&store, |b| b.mailbox_size(1));
    for i in 0..1000 {
        assert!(
            handle.upsert_backend(DiscoveredBackend { mcp_revision: i.to_string(), ..ready(format!("b{}", i % 7)) })
        );
    }
    handle.flush().await.expect("stored");
    let stored = store.stored();
    assert_eq!(stored.discovered_backends.len(), 7);
    assert_eq!(stored.backend("b5").map(|b| b.mcp_revision.as_str()), Some("999"));
    let counts = handle.counts();
    assert_eq!((counts.received, counts.written + counts.merged + counts.equal), (1000, 1000));
    assert!(reporter.shutdown().await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn after_a_slow_and_failing_store_recovers_it_holds_what_was_last_reported() {
    let store = Store::slow(Duration::from_millis(700));
    store.state().fates.extend([
        Fate::Fails(Retry::Transient),
        Fate::StoredButFails(Retry::Transient),
        Fate::Fails(Retry::Conflict),
        Fate::Hangs,
        Fate::Panics,
        Fate::Fails(Retry::Blocked),
        Fate::Fails(Retry::After(Duration::from_secs(3))),
    ]);
    let (handle, reporter) = start_with(&store, |b| b.mailbox_size(2).write_timeout(Duration::from_secs(2)));
    for i in 0..600 {
        assert!(handle.report(said(i.to_string())));
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.stored().message, "599");
    let counts = handle.counts();
    assert_eq!(counts.received, counts.written + counts.merged + counts.equal, "{counts:?}");
    assert!(reporter.shutdown().await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn write_that_timed_out_but_was_stored_is_noticed_when_the_status_goes_back() {
    let store = Store::holding(said("a"));
    store.state().fates.push_back(Fate::StoredButFails(Retry::Transient));
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("b")));
    settle().await;
    assert!(handle.report(said("a")));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.stored().message, "a", "what the failed write left behind was overwritten");
}

#[tokio::test(start_paused = true)]
async fn shutdown_in_the_middle_stores_all_that_was_sent_before() {
    let store = Store::slow(Duration::from_millis(300));
    let (handle, reporter) = start_with(&store, |b| b.mailbox_size(4));
    for round in 0..20 {
        for i in 0..50 {
            assert!(
                handle.upsert_backend(DiscoveredBackend { mcp_revision: round.to_string(), ..ready(format!("b{i}")) })
            );
        }
        sleep(Duration::from_millis(37)).await;
    }
    let outcome = reporter.shutdown().await;
    assert!(outcome.is_complete(), "{outcome:?}");
    let stored = store.stored();
    assert_eq!(stored.discovered_backends.len(), 50);
    assert!(stored.discovered_backends.iter().all(|b| b.mcp_revision == "19"));
    assert!(!handle.report(said("too late")), "what comes later is refused, not lost in silence");
}

#[test]
fn updates_from_many_threads_are_all_accounted_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let store = Store::default();
        let (handle, reporter) = start_with(&store, |b| b.mailbox_size(3).write_interval(Duration::from_millis(1)));
        let senders: Vec<_> = (0..8)
            .map(|task| {
                let handle = handle.source(format!("s{task}"));
                std::thread::spawn(move || {
                    for i in 0..5000u32 {
                        let name = format!("t{task}-{}", i % 5);
                        assert!(
                            handle.upsert_backend(DiscoveredBackend { mcp_revision: i.to_string(), ..ready(name) })
                        );
                    }
                })
            })
            .collect();
        for sender in senders {
            tokio::task::spawn_blocking(|| sender.join()).await.expect("joined").expect("no panic");
        }
        let outcome = reporter.shutdown().await;
        let counts = outcome.counts;
        assert_eq!(counts.received, 40_000);
        assert_eq!(counts.written + counts.merged + counts.equal, 40_000, "{counts:?}");
        let stored = store.stored();
        for task in 0..8 {
            for i in 0..5 {
                let backend = stored.backend(&format!("t{task}-{i}")).expect("listed");
                assert_eq!(backend.mcp_revision, (4995 + i).to_string(), "the newest of each, in order");
            }
        }
    });
}
