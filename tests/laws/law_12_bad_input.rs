use super::*;

#[tokio::test(start_paused = true)]
async fn one_bad_backend_never_keeps_the_others_from_being_reported() {
    let store = Store::default();
    let (handle, _reporter) = start(&store);
    assert!(handle.report(Status {
        conditions: vec![
            Condition::unchecked("no type", ConditionStatus::True, "Fine", ""),
            Condition::unchecked("Ready", ConditionStatus::True, "two words", "x".repeat(50_000)),
        ],
        ..Status::from_backends([
            DiscoveredBackend::named(""),
            ready("good"),
            DiscoveredBackend { url: "http://user:secret@host/mcp?token=secret".into(), ..ready("doubled") },
            DiscoveredBackend { url: "http://user:secret@host/mcp?token=secret".into(), ..ready("doubled") },
        ])
    }));
    handle.flush().await.expect("stored");
    let stored = store.stored();
    assert_eq!(stored.validate(), Ok(()));
    assert_eq!(stored.backend_count, 2);
    assert_eq!(stored.backend("doubled").map(|b| b.url.as_str()), Some("http://host/mcp"));
    assert_eq!(stored.conditions.len(), 1);
    assert_eq!(stored.conditions[0].reason, "TwoWords");
    assert_eq!(handle.counts().repaired, 7, "counted");
}

#[tokio::test(start_paused = true)]
async fn bad_input_in_a_full_mailbox_is_repaired_and_counted_too() {
    let store = Store::default();
    let (handle, _reporter) = start_with(&store, |b| b.mailbox_size(1));
    assert!(handle.upsert_backend(ready("first")));
    assert!(handle.upsert_backend(ready("")));
    assert!(handle.upsert_backend(DiscoveredBackend { url: "http://user:secret@host/mcp".into(), ..ready("good") }));
    assert!(handle.set_phase(Phase::Ready, "x".repeat(50_000)));
    assert!(handle.set_observed_generation(-1));
    handle.flush().await.expect("stored");
    let stored = store.stored();
    assert_eq!(stored.validate(), Ok(()));
    assert_eq!((stored.discovered_backends.len(), stored.observed_generation), (2, None));
    assert_eq!(handle.counts().repaired, 4);
}

#[tokio::test(start_paused = true)]
async fn status_that_is_too_large_is_truncated_and_counts_all() {
    let store = Store::default();
    store.state().limit = Some(SizeLimit { bytes: 1 << 20, per_backend: 158 });
    let (handle, _reporter) = start(&store);
    let bad = DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("zzz") };
    assert!(handle.report(Status::from_backends((0..10_000).map(|i| ready(format!("b{i}"))).chain([bad]))));
    handle.flush().await.expect("stored");
    let stored = store.stored();
    assert_eq!(stored.backend_count, 10_000);
    assert!(stored.backend("zzz").is_some(), "the unhealthy one is kept");
    let missing = 10_001 - stored.discovered_backends.len();
    assert!(missing > 0 && stored.message.contains(&format!("{missing} of 10001 backends not listed")));
}

#[tokio::test(start_paused = true)]
async fn store_that_finds_it_too_large_gets_less_and_less_until_it_fits() {
    let store = Store::failing([Fate::Fails(Retry::TooLarge), Fate::Fails(Retry::TooLarge)]);
    store.state().limit = Some(SizeLimit { bytes: 1 << 17, per_backend: 0 });
    let (handle, _reporter) = start(&store);
    assert!(handle.report(Status::from_backends((0..1000).map(|i| ready(format!("b{i}"))))));
    handle.flush().await.expect("stored");
    let sizes: Vec<_> = store.state().attempts.iter().map(|(_, s)| s.discovered_backends.len()).collect();
    assert!(sizes.len() == 3 && sizes[0] == 1000 && sizes[2] < 1000, "{sizes:?}");
}
