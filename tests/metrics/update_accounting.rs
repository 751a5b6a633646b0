//! Every update received is accounted for exactly once, whatever happens.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Snapshot(u8),
    Upsert(u8, u8),
    Checked(u8),
    Remove(u8),
    Phase(u8),
    Flood(u8),
    Fault(Retry),
    StoredButFails,
    Hangs,
    Panics,
    Latency(u16),
    Wait(u16),
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    let retry = prop_oneof![
        Just(Retry::Conflict),
        Just(Retry::After(INTERVAL * 2)),
        Just(Retry::Transient),
        Just(Retry::Blocked),
        Just(Retry::Refused),
        Just(Retry::TooLarge),
    ];
    prop_oneof![
        2 => (0u8..4).prop_map(Event::Snapshot),
        4 => (0u8..5, 0u8..5).prop_map(|(name, status)| Event::Upsert(name, status)),
        2 => (0u8..5).prop_map(Event::Checked),
        1 => (0u8..5).prop_map(Event::Remove),
        2 => (0u8..4).prop_map(Event::Phase),
        1 => (1u8..40).prop_map(Event::Flood),
        2 => retry.prop_map(Event::Fault),
        1 => Just(Event::StoredButFails),
        1 => Just(Event::Hangs),
        1 => Just(Event::Panics),
        1 => (0u16..2000).prop_map(Event::Latency),
        5 => (0u16..4000).prop_map(Event::Wait),
        1 => Just(Event::Flush),
    ]
}

async fn happens(event: Event, handle: &StatusHandle, store: &Store, sent: &mut u64) {
    let fate = |fate| store.state().fates.push_back(fate);
    let mut count = |accepted: bool| *sent += u64::from(accepted);
    let time = |second: u8| chrono::DateTime::from_timestamp(i64::from(second), 0);
    match event {
        Event::Snapshot(backends) => {
            count(
                handle
                    .report(Status::from_backends((0..backends).map(|i| backend(i.to_string(), BackendStatus::Ready)))),
            );
        }
        Event::Upsert(name, status) => {
            count(handle.upsert_backend(backend(name.to_string(), BackendStatus::ALL[usize::from(status)])));
        }
        Event::Checked(second) => {
            let checked = DiscoveredBackend { last_health_check: time(second), ..DiscoveredBackend::named("0") };
            count(handle.upsert_backend(checked));
        }
        Event::Remove(name) => count(handle.remove_backend(name.to_string())),
        Event::Phase(message) => count(handle.set_phase(Phase::Ready, message.to_string())),
        Event::Flood(updates) => (0..updates).for_each(|i| count(handle.set_phase(Phase::Ready, (i % 3).to_string()))),
        Event::Fault(retry) => fate(Fate::Fails(retry)),
        Event::StoredButFails => fate(Fate::StoredButFails(Retry::Transient)),
        Event::Hangs => fate(Fate::Hangs),
        Event::Panics => fate(Fate::Panics),
        Event::Latency(millis) => store.state().latency = Duration::from_millis(millis.into()),
        Event::Wait(millis) => sleep(Duration::from_millis(millis.into())).await,
        Event::Flush => drop(handle.flush().await),
    }
}

fn accounted(scrape: &Scrape) -> (f64, f64) {
    (scrape.value("vmcp_status_updates_received_total"), scrape.sum("vmcp_status_updates_total"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn updates_received_are_those_written_merged_or_equal(
        events in proptest::collection::vec(event(), 1..80), mailbox in 1usize..8, refresh in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let store = Store::default();
            let (handle, reporter) = Reporter::builder(store.clone())
                .mailbox_size(mailbox)
                .write_timeout(INTERVAL * 3)
                .periodic_interval(refresh.then_some(INTERVAL * 7))
                .start();
            let registry = registry_of(&handle, MetricsOptions::default());
            let mut sent = 0;
            for event in events {
                happens(event, &handle, &store, &mut sent).await;
                let (received, accounted) = accounted(&scrape(&registry));
                prop_assert!(accounted <= received && received <= sent as f64, "{accounted} <= {received} <= {sent}");
            }
            // The faults are over; one more change gets past a refusal.
            store.state().fates.clear();
            sent += u64::from(handle.set_phase(Phase::Ready, "the last"));
            sleep(Duration::from_secs(300)).await;
            let quiet = scrape(&registry);
            prop_assert_eq!(accounted(&quiet), (sent as f64, sent as f64));
            let outcome = reporter.shutdown().await;
            prop_assert!(outcome.is_complete());
            let last = scrape(&registry);
            let attempts = store.calls().1 as f64;
            prop_assert_eq!(last.sum("vmcp_status_writes_total"), attempts);
            prop_assert_eq!(last.value("vmcp_status_write_duration_seconds_count"), attempts);
            Ok(())
        })?;
    }
}

#[test]
fn scrape_in_the_middle_never_shows_more_accounted_than_received() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let (handle, reporter) = Reporter::builder(Store::default()).write_interval(Duration::from_micros(1)).start();
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for i in 0..100_000u32 {
                    assert!(handle.set_phase(Phase::Ready, (i % 100).to_string()));
                }
                done.store(true, Ordering::Relaxed);
            });
            let registry = registry_of(&handle, MetricsOptions::default());
            while !done.load(Ordering::Relaxed) {
                // Quicker than a scrape: it meets the reporter more often.
                for _ in 0..1000 {
                    let counts = handle.counts();
                    let accounted = counts.written + counts.merged + counts.equal;
                    assert!(accounted <= counts.received, "{counts:?}");
                }
                let (received, accounted) = accounted(&scrape(&registry));
                assert!(accounted <= received, "{accounted} of {received}");
            }
        });
        let counts = reporter.shutdown().await.counts;
        assert_eq!((counts.received, counts.written + counts.merged + counts.equal), (100_000, 100_000));
    });
}
