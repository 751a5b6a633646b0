//! A start takes nothing back that is stored: neither a phase nor a finding.

use super::*;

const WINDOW: Duration = Duration::from_secs(22);

fn unchecked(name: &str) -> DiscoveredBackend {
    DiscoveredBackend { url: format!("http://{name}/mcp"), ..DiscoveredBackend::named(name) }
}

fn checked(name: &str, status: BackendStatus) -> DiscoveredBackend {
    DiscoveredBackend { status, last_health_check: Some(DateTime::UNIX_EPOCH), ..unchecked(name) }
}

/// What an earlier process has left: two backends that are ready.
fn lived_in() -> Store {
    Store::holding(Status::derived_from([
        checked("a", BackendStatus::Ready),
        DiscoveredBackend { mcp_revision: "2025-11-25".into(), ..checked("b", BackendStatus::Ready) },
    ]))
}

fn starting(store: &Store) -> (StatusHandle, Reporter) {
    start_with(store, |builder| builder.derive_phase(true).start_window(WINDOW))
}

#[tokio::test(start_paused = true)]
async fn restart_writes_nothing_before_the_first_round_is_done_and_once_after_it() {
    let store = lived_in();
    let (handle, _reporter) = starting(&store);
    for name in ["a", "b"] {
        assert!(handle.upsert_backend(unchecked(name)));
    }
    sleep(INTERVAL * 3).await;
    assert!(handle.upsert_backend(checked("a", BackendStatus::Ready)));
    sleep(INTERVAL * 3).await;
    assert_eq!(store.calls(), (1, 0));
    assert!(handle.upsert_backend(checked("b", BackendStatus::Unavailable)));
    handle.first_round_done();
    sleep(INTERVAL * 3).await;
    assert_eq!(store.calls(), (1, 1));
    assert_eq!(store.stored().phase, Phase::Degraded);
}

#[tokio::test(start_paused = true)]
async fn restart_of_a_healthy_gateway_changes_no_phase_and_no_condition() {
    let store = lived_in();
    // The first of them fills in what the hand-made status lacks.
    for _ in 0..10 {
        let before = store.stored();
        let (handle, reporter) = starting(&store);
        for name in ["a", "b"] {
            assert!(handle.upsert_backend(unchecked(name)));
        }
        sleep(INTERVAL).await;
        for name in ["a", "b"] {
            assert!(handle.upsert_backend(checked(name, BackendStatus::Ready)));
        }
        handle.first_round_done();
        sleep(INTERVAL).await;
        assert!(reporter.shutdown().await.is_complete());
        let after = store.stored();
        assert_eq!(after.phase, before.phase);
        let told = |status: &Status| -> Vec<_> {
            status.conditions.iter().map(|c| (c.type_.clone(), c.status, c.reason.clone())).collect()
        };
        assert_eq!(told(&after), told(&before));
    }
    let phases: Vec<_> = store.state().writes.iter().map(|(_, status)| status.phase).collect();
    assert!(phases.len() <= 10 && phases.iter().all(|phase| *phase == Phase::Ready), "{phases:?}");
}

#[tokio::test(start_paused = true)]
async fn backend_that_has_not_been_checked_keeps_its_finding_until_the_window_is_over() {
    let store = lived_in();
    let (handle, _reporter) = starting(&store);
    assert!(handle.upsert_backend(checked("a", BackendStatus::Ready)));
    assert!(handle.upsert_backend(DiscoveredBackend { url: "http://elsewhere/mcp".into(), ..unchecked("b") }));
    settle().await;
    let current = handle.current().await.expect("it lives");
    let b = current.backend("b").expect("listed");
    assert_eq!((b.status, b.mcp_revision.as_str()), (BackendStatus::Ready, "2025-11-25"));
    assert_eq!(b.url, "http://elsewhere/mcp", "what is known now is shown");
    sleep(WINDOW).await;
    settle().await;
    assert_eq!(store.stored().backend("b").expect("listed").status, BackendStatus::Unknown);
    assert_eq!(store.calls().1, 1);
}

#[tokio::test(start_paused = true)]
async fn first_start_writes_pending_and_then_the_findings() {
    let store = Store::default();
    let (handle, _reporter) = starting(&store);
    assert!(handle.upsert_backend(unchecked("a")));
    settle().await;
    assert_eq!(store.stored().phase, Phase::Pending);
    assert!(handle.upsert_backend(unchecked("b")));
    sleep(INTERVAL * 2).await;
    assert_eq!(store.calls().1, 1, "once");
    assert!(handle.upsert_backend(checked("a", BackendStatus::Ready)));
    assert!(handle.upsert_backend(checked("b", BackendStatus::Ready)));
    handle.first_round_done();
    settle().await;
    assert_eq!(store.stored().phase, Phase::Ready);
}

#[tokio::test(start_paused = true)]
async fn first_start_writes_nothing_where_the_store_wants_no_early_pending() {
    let store = Store::default();
    store.state().advice.no_early_pending = true;
    let (handle, _reporter) = starting(&store);
    assert!(handle.upsert_backend(unchecked("a")));
    sleep(INTERVAL * 2).await;
    assert_eq!(store.calls(), (1, 0));
    assert!(handle.upsert_backend(checked("a", BackendStatus::Ready)));
    handle.first_round_done();
    settle().await;
    assert_eq!(store.stored().phase, Phase::Ready);
}

#[tokio::test(start_paused = true)]
async fn process_that_ends_inside_the_window_writes_nothing_and_says_so() {
    let store = lived_in();
    let (handle, reporter) = starting(&store);
    assert!(handle.upsert_backend(checked("a", BackendStatus::Unavailable)));
    sleep(INTERVAL).await;
    let begun = Instant::now();
    let outcome = reporter.shutdown().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(outcome.is_complete() && outcome.unstored.is_none());
    let held = outcome.held_back.as_ref().expect("it had found something");
    assert_eq!(held.backend("a").expect("listed").status, BackendStatus::Unavailable);
    assert_eq!(store.calls().1, 0);
}

#[tokio::test(start_paused = true)]
async fn round_that_is_done_just_before_the_end_is_written() {
    for _ in 0..20 {
        let store = Store::slow(Duration::from_millis(50));
        let (handle, reporter) = starting(&store);
        assert!(handle.upsert_backend(unchecked("a")));
        settle().await;
        assert!(handle.upsert_backend(checked("a", BackendStatus::Ready)));
        handle.first_round_done();
        let outcome = reporter.shutdown().await;
        assert!(outcome.held_back.is_none());
        assert_eq!(store.stored().phase, Phase::Ready);
    }
}

#[tokio::test(start_paused = true)]
async fn flush_and_snapshot_end_the_start() {
    let store = lived_in();
    let (handle, _reporter) = starting(&store);
    assert!(handle.upsert_backend(checked("a", BackendStatus::Ready)));
    handle.flush().await.expect("stored");
    assert_eq!(store.stored().discovered_backends.len(), 1);

    let store = lived_in();
    let (handle, _reporter) = starting(&store);
    assert!(handle.report(said("my own words")));
    settle().await;
    assert_eq!(store.messages(), ["my own words"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_window_all_is_written_at_once() {
    let store = lived_in();
    let (handle, _reporter) = start_with(&store, |builder| builder.derive_phase(true));
    assert!(handle.upsert_backend(checked("a", BackendStatus::Unavailable)));
    settle().await;
    assert_eq!(store.stored().phase, Phase::Failed);
}

#[tokio::test(start_paused = true)]
async fn store_that_asks_for_a_look_is_read_once_more_and_repaired() {
    let store = Store::default();
    store.state().advice.look_again = Some(INTERVAL * 10);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("mine")));
    settle().await;
    // The first read has taken the wish with it: it is the write that counts.
    store.state().advice.look_again = Some(INTERVAL * 10);
    assert!(handle.report(said("mine again")));
    sleep(INTERVAL * 2).await;
    let (reads, _) = store.calls();
    store.state().stored = Some(said("overwritten"));
    sleep(INTERVAL * 10).await;
    assert_eq!(store.calls().0, reads + 1);
    assert_eq!(store.stored().message, "mine again");
    sleep(INTERVAL * 100).await;
    assert_eq!(store.calls().0, reads + 1, "once");
}

#[tokio::test(start_paused = true)]
async fn store_that_must_be_written_is_written_though_it_holds_the_same() {
    let store = Store::holding(said("same"));
    store.state().advice.must_write = true;
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("same")));
    settle().await;
    assert_eq!(store.calls().1, 1);
}
