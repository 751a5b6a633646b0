//! The laws of the reporter, one test and more for each, in paused time.

#[path = "support/store.rs"]
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use store::{Fate, Store};
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep};
use vmcp_status::{
    BackendStatus, Condition, ConditionStatus, DiscoveredBackend, FlushError, Phase, Reporter, ReporterBuilder, Retry,
    SizeLimit, Status, StatusHandle, Update, condition_type,
};

const INTERVAL: Duration = Duration::from_secs(1);

fn said(message: impl Into<String>) -> Status {
    Status { phase: Phase::Ready, message: message.into(), ..Status::default() }
}

fn ready(name: impl Into<String>) -> DiscoveredBackend {
    DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named(name) }
}

fn start(store: &Store) -> (StatusHandle, Reporter) {
    Reporter::builder(store.clone()).start()
}

fn start_with(store: &Store, set: impl FnOnce(ReporterBuilder) -> ReporterBuilder) -> (StatusHandle, Reporter) {
    set(Reporter::builder(store.clone())).start()
}

/// Lets the actor do all it can do now.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

mod law_1_reporting_never_blocks {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn report_returns_before_the_actor_has_run_even_with_a_full_mailbox() {
        let store = Store::failing([Fate::Hangs]);
        let (handle, reporter) = start_with(&store, |b| b.mailbox_size(2).shutdown_grace(Duration::ZERO));
        let before = Instant::now();
        for i in 0..10_000 {
            assert!(handle.report(said(i.to_string())));
        }
        assert_eq!(Instant::now(), before);
        assert_eq!(store.state().attempts.len(), 0, "no write ran inside report");
        reporter.shutdown().await;
    }

    /// The only look at a real clock: the least of many tries, against a bound
    /// that a walk over the list could not keep on any machine.
    #[tokio::test]
    async fn report_of_a_hundred_thousand_backends_is_not_a_walk_over_them() {
        let (handle, reporter) = start_with(&Store::default(), |b| b.write_interval(Duration::from_secs(3600)));
        let status = Status::of_backends((0..100_000).map(|i| ready(format!("b{i}"))));
        let least = (0..20).map(|_| {
            let status = status.clone();
            let begin = Instant::now();
            handle.report(status);
            begin.elapsed()
        });
        let least = least.min().expect("twenty tries");
        assert!(least < Duration::from_micros(500), "{least:?}");
        reporter.shutdown().await;
    }
}

mod law_2_nothing_accepted_is_lost {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_report_of_nothing_replaces_what_an_earlier_process_left() {
        let left = Status { message: "1 of 1 backend routable".into(), ..Status::of_backends([ready("gone")]) };
        let store = Store::holding(left);
        let (handle, _reporter) = start_with(&store, |b| b.derive_phase(true));
        handle.source("list").replace_backends(Vec::<DiscoveredBackend>::new());
        handle.flush().await.expect("stored");
        let stored = store.stored();
        assert_eq!((stored.message.as_str(), stored.discovered_backends.len()), ("Ready, no backends configured", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn update_of_times_during_a_write_is_accounted_for_when_that_ends() {
        let store = Store::slow(Duration::from_millis(100));
        let (handle, _reporter) = start(&store);
        let checked =
            |second| DiscoveredBackend { last_health_check: DateTime::from_timestamp(second, 0), ..ready("a") };
        handle.upsert_backend(checked(1));
        settle().await;
        handle.upsert_backend(checked(2));
        sleep(INTERVAL * 3).await;
        let counts = handle.counts();
        assert_eq!((counts.received, counts.written, counts.merged, counts.equal), (2, 1, 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn full_mailbox_merges_and_keeps_the_newest() {
        let store = Store::default();
        let (handle, reporter) = start_with(&store, |b| b.mailbox_size(1));
        for i in 0..1000 {
            handle.upsert_backend(DiscoveredBackend { consecutive_failures: i, ..ready(format!("b{}", i % 7)) });
        }
        handle.flush().await.expect("stored");
        let stored = store.stored();
        assert_eq!(stored.discovered_backends.len(), 7);
        assert_eq!(stored.backend("b5").map(|b| b.consecutive_failures), Some(999));
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
            handle.report(said(i.to_string()));
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
        handle.report(said("b"));
        settle().await;
        handle.report(said("a"));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(store.stored().message, "a", "what the failed write left behind was overwritten");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_in_the_middle_stores_all_that_was_sent_before() {
        let store = Store::slow(Duration::from_millis(300));
        let (handle, reporter) = start_with(&store, |b| b.mailbox_size(4));
        for round in 0..20 {
            for i in 0..50 {
                handle.upsert_backend(DiscoveredBackend { consecutive_failures: round, ..ready(format!("b{i}")) });
            }
            sleep(Duration::from_millis(37)).await;
        }
        let outcome = reporter.shutdown().await;
        assert!(outcome.is_complete(), "{outcome:?}");
        let stored = store.stored();
        assert_eq!(stored.discovered_backends.len(), 50);
        assert!(stored.discovered_backends.iter().all(|b| b.consecutive_failures == 19));
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
                            handle.upsert_backend(DiscoveredBackend { consecutive_failures: i, ..ready(name) });
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
                    assert_eq!(backend.consecutive_failures, 4995 + i, "the newest of each, in order");
                }
            }
        });
    }
}

mod law_3_order {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The plainest fold there is, written without a look at the real one.
    #[derive(Default)]
    struct Plain {
        backends: BTreeMap<String, (DiscoveredBackend, Option<String>)>,
        conditions: BTreeMap<String, ConditionStatus>,
        phase: Phase,
        message: String,
        generation: Option<i64>,
    }

    impl Plain {
        fn apply(&mut self, update: Update) {
            match update {
                Update::Snapshot(status) => {
                    self.phase = status.phase;
                    self.message = status.message;
                    self.generation = self.generation.max(status.observed_generation);
                    self.conditions = status.conditions.into_iter().map(|c| (c.type_, c.status)).collect();
                    let backends = status.discovered_backends;
                    self.backends = backends.iter().map(|b| (b.name.clone(), ((**b).clone(), None))).collect();
                }
                Update::UpsertBackend(backend) => {
                    let owner = self.backends.get(&backend.name).and_then(|(_, owner)| owner.clone());
                    self.backends.insert(backend.name.clone(), ((*backend).clone(), owner));
                }
                Update::UpsertBackendOf { source, backend } => {
                    self.backends.insert(backend.name.clone(), ((*backend).clone(), Some(source.to_string())));
                }
                Update::RemoveBackend(name) => drop(self.backends.remove(&name)),
                Update::ReplaceBackends { source, backends } => {
                    self.backends.retain(|_, (_, owner)| owner.as_deref() != Some(&*source));
                    for backend in backends {
                        self.apply(Update::UpsertBackendOf { source: source.clone(), backend });
                    }
                }
                Update::SetCondition(c) => drop(self.conditions.insert(c.type_, c.status)),
                Update::RemoveCondition(type_) => drop(self.conditions.remove(&type_)),
                Update::SetPhase { phase, message } => (self.phase, self.message) = (phase, message),
                Update::SetObservedGeneration(generation) => self.generation = self.generation.max(Some(generation)),
                other => unreachable!("not generated: {other:?}"),
            }
        }
    }

    fn backend() -> impl Strategy<Value = Arc<DiscoveredBackend>> {
        ("[a-e]", 0u32..9).prop_map(|(name, consecutive_failures)| {
            Arc::new(DiscoveredBackend { consecutive_failures, ..ready(name) })
        })
    }

    fn update() -> impl Strategy<Value = Update> {
        let source = || "[st]".prop_map(Arc::from);
        let backends = || prop::collection::vec(backend(), 0..4);
        let condition = ("Ready|Mine", any::<bool>())
            .prop_map(|(type_, holds)| Condition::unchecked(type_, ConditionStatus::from(holds), "Why", ""));
        prop_oneof![
            1 => (backends(), "[xyz]").prop_map(|(backends, message)| {
                Update::Snapshot(Box::new(Status { message, ..Status::of_backends(backends) }))
            }),
            4 => backend().prop_map(Update::UpsertBackend),
            4 => (source(), backend()).prop_map(|(source, backend)| Update::UpsertBackendOf { source, backend }),
            2 => "[a-e]".prop_map(Update::RemoveBackend),
            4 => (source(), backends()).prop_map(|(source, backends)| Update::ReplaceBackends { source, backends }),
            1 => condition.prop_map(Update::SetCondition),
            1 => "Ready|Mine".prop_map(Update::RemoveCondition),
            1 => "[mn]".prop_map(|message| Update::SetPhase { phase: Phase::Failed, message }),
            1 => (0i64..9).prop_map(Update::SetObservedGeneration),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn any_interleaving_stores_what_a_plain_fold_of_the_updates_gives(
            updates in prop::collection::vec((update(), 0u8..8), 1..60),
            mailbox in 1usize..6,
            latency in 0u64..3000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.expect("a runtime").block_on(async {
                let store = Store::slow(Duration::from_millis(latency));
                let (handle, reporter) = start_with(&store, |b| {
                    // Time for the write in flight and one more.
                    b.mailbox_size(mailbox).shutdown_grace(Duration::from_secs(9))
                });
                let clones = [handle.clone(), handle.clone(), handle];
                let mut plain = Plain::default();
                for (index, (update, then)) in updates.into_iter().enumerate() {
                    plain.apply(update.clone());
                    clones[index % 3].send(update);
                    match then {
                        0 => yield_now().await,
                        1 => sleep(Duration::from_millis(400)).await,
                        _ => {}
                    }
                }
                let outcome = reporter.shutdown().await;
                prop_assert!(outcome.is_complete());
                let stored = store.state().stored.clone().unwrap_or_default();
                let backends: BTreeMap<_, _> =
                    stored.discovered_backends.iter().map(|b| (b.name.clone(), (**b).clone())).collect();
                prop_assert_eq!(backends.len(), stored.discovered_backends.len());
                prop_assert_eq!(backends, plain.backends.into_iter().map(|(n, (b, _))| (n, b)).collect());
                let conditions: BTreeMap<_, _> =
                    stored.conditions.iter().map(|c| (c.type_.clone(), c.status)).collect();
                prop_assert_eq!(conditions, plain.conditions);
                prop_assert_eq!((stored.phase, stored.message), (plain.phase, plain.message));
                prop_assert_eq!(stored.observed_generation, plain.generation);
                Ok(())
            })?;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sources_replace_only_their_own_backends() {
        let store = Store::default();
        let (handle, _reporter) = start(&store);
        let (one, two) = (handle.source("one"), handle.source("two"));
        one.replace_backends([ready("a"), ready("b")]);
        two.replace_backends([ready("c")]);
        handle.upsert_backend(DiscoveredBackend::named("b"));
        one.replace_backends([ready("a")]);
        handle.flush().await.expect("stored");
        let names: Vec<_> = store.stored().discovered_backends.iter().map(|b| b.name.clone()).collect();
        assert_eq!(names, ["a", "c"], "an update without a source left b with source one");
    }
}

mod law_4_the_actor_always_receives {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn updates_are_taken_while_a_write_hangs_and_the_retry_sends_the_newest() {
        let store = Store::failing([Fate::Hangs]);
        let (handle, _reporter) = start(&store);
        handle.report(said("first"));
        settle().await;
        assert_eq!(store.state().attempts.len(), 1);
        for i in 0..1000 {
            handle.report(said(i.to_string()));
            settle().await;
            assert_eq!(handle.mailbox_depth(), 0, "taken at once");
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(store.messages(), ["999"], "the one that failed was never sent again");
    }

    #[tokio::test(start_paused = true)]
    async fn updates_are_taken_during_back_off_and_the_retry_sends_the_newest() {
        let store = Store::failing([Fate::Fails(Retry::After(Duration::from_secs(30)))]);
        let (handle, _reporter) = start(&store);
        handle.report(said("first"));
        settle().await;
        handle.report(said("second"));
        settle().await;
        assert_eq!((handle.mailbox_depth(), store.state().attempts.len()), (0, 1));
        sleep(Duration::from_secs(31)).await;
        assert_eq!(store.messages(), ["second"]);
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_updates_starves_neither_writes_nor_flush_nor_shutdown() {
        let store = Store::default();
        let (handle, reporter) = start_with(&store, |b| b.write_interval(Duration::ZERO));
        let flood = tokio::spawn({
            let handle = handle.clone();
            async move {
                let mut i = 0;
                while handle.report(said(i.to_string())) {
                    i += 1;
                    yield_now().await;
                }
            }
        });
        settle().await;
        assert!(store.state().writes.len() > 1, "written while the mailbox is never empty");
        handle.flush().await.expect("stored");
        assert!(reporter.shutdown().await.is_complete());
        flood.await.expect("it ends with the reporter");
    }
}

mod law_5_pace {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn flush_among_constant_changes_skips_the_pace_once() {
        let store = Store::slow(Duration::from_millis(300));
        let (handle, _reporter) = start(&store);
        let start = Instant::now();
        for i in 0..200 {
            handle.report(said(i.to_string()));
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
        sleep(INTERVAL * 7 / 2).await;
        let asked = Instant::now();
        handle.report(said("now"));
        settle().await;
        assert_eq!(store.attempt_times(asked), [Duration::ZERO]);
    }

    #[tokio::test(start_paused = true)]
    async fn thousand_changes_in_one_interval_are_one_write_after_the_first() {
        let store = Store::default();
        let (handle, _reporter) = start(&store);
        let start = Instant::now();
        handle.report(said("first"));
        settle().await;
        for i in 0..1000 {
            handle.report(said(i.to_string()));
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
            handle.upsert_backend(DiscoveredBackend { consecutive_failures: i, ..ready("b") });
        }
        sleep(INTERVAL * 3).await;
        assert!(store.state().attempts.len() <= 2);
        assert_eq!(store.stored().backend("b").map(|b| b.consecutive_failures), Some(99_999));
        assert_eq!(reporter.shutdown().await.counts.received, 100_000);
    }

    #[tokio::test(start_paused = true)]
    async fn storm_of_an_hour_writes_once_an_interval_and_no_more() {
        let store = Store::slow(Duration::from_millis(120));
        let (handle, _reporter) = start(&store);
        let start = Instant::now();
        for i in 0..36_000 {
            handle.report(said(i.to_string()));
            sleep(Duration::from_millis(100)).await;
        }
        let times = store.attempt_times(start);
        assert!(times.windows(2).all(|pair| pair[1] >= pair[0] + INTERVAL));
        assert!(times.len() > 3500, "and it does keep up: {}", times.len());
    }
}

mod law_6_nothing_to_say_nothing_sent {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn status_equal_to_the_stored_one_is_not_written() {
        let store = Store::holding(said("same"));
        let (handle, _reporter) = start(&store);
        for _ in 0..10 {
            handle.report(said("same"));
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
        handle.upsert_backend(checked("a", 1));
        sleep(INTERVAL * 2).await;
        for second in 2..100 {
            handle.upsert_backend(checked("a", second));
            sleep(INTERVAL * 2).await;
        }
        assert_eq!(store.calls(), (1, 1), "nor a read");
        handle.upsert_backend(checked("b", 100));
        handle.flush().await.expect("stored");
        assert_eq!(store.state().attempts.len(), 2);
        let time = store.stored().backend("a").and_then(|b| b.last_health_check);
        assert_eq!(time, DateTime::from_timestamp(99, 0), "the newest time rode along");
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
            handle.report(said("once"));
            handle.flush().await.expect("stored");
            (handle, reporter)
        };
        assert_eq!(wakes_in_an_hour(async || idle(None).await), wakes_in_an_hour(async || ()));
        assert!(wakes_in_an_hour(async || idle(Some(INTERVAL * 30)).await) > 100, "a refresh would be seen");
    }
}

mod law_7_periodic_refresh {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn refresh_repairs_what_somebody_else_overwrote() {
        let store = Store::default();
        let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD)));
        handle.report(said("ours"));
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
        let checked =
            |second| DiscoveredBackend { last_health_check: DateTime::from_timestamp(second, 0), ..ready("a") };
        handle.upsert_backend(checked(1));
        handle.flush().await.expect("stored");
        handle.upsert_backend(checked(2));
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
        handle.report(said("x"));
        handle.flush().await.expect("stored");
        clock.store(200, Ordering::Relaxed);
        sleep(PERIOD * 2).await;
        assert_eq!(store.stored().timestamp, DateTime::from_timestamp(200, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn refresh_that_fails_is_tried_again_before_the_next_is_due() {
        let store = Store::default();
        let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD * 100)));
        handle.report(said("ours"));
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
            handle.report(said("x"));
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
    async fn reporter_that_was_told_nothing_does_not_refresh() {
        let store = Store::holding(said("somebody's"));
        let (_handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(PERIOD)));
        sleep(PERIOD * 5).await;
        assert_eq!(store.calls(), (0, 0));
    }
}

mod law_8_conditions {
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
        let since = |type_: &str| {
            store.stored().condition(type_).and_then(|c| c.last_transition_time).map(|time| time.timestamp())
        };
        let (handle, reporter) = begin();
        handle.upsert_backend(ready("a"));
        reporter.shutdown().await;
        assert_eq!(since("Ready"), Some(100));

        clock.store(200, Ordering::Relaxed);
        let (handle, reporter) = begin();
        handle.upsert_backend(ready("a"));
        handle.upsert_backend(DiscoveredBackend::named("b"));
        handle.flush().await.expect("stored");
        assert_eq!((since("Ready"), since("Degraded")), (Some(100), Some(200)));

        clock.store(300, Ordering::Relaxed);
        handle.remove_backend("b");
        handle.flush().await.expect("stored");
        assert_eq!((since("Ready"), since("Degraded")), (Some(100), None));
        clock.store(400, Ordering::Relaxed);
        handle.upsert_backend(DiscoveredBackend::named("a"));
        handle.upsert_backend(DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("b") });
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

        handle.remove_condition("Ready");
        handle.flush().await.expect("stored");
        clock.store(500, Ordering::Relaxed);
        say(ConditionStatus::Unknown, "Back");
        handle.flush().await.expect("stored");
        assert_eq!(since(), DateTime::from_timestamp(500, 0), "one that comes back has had a transition");
    }

    #[tokio::test(start_paused = true)]
    async fn condition_of_a_type_of_its_own_goes_when_it_is_no_longer_reported() {
        let store = Store::default();
        let (handle, _reporter) = start(&store);
        let mine = Condition::unchecked("Mine", ConditionStatus::True, "Why", "");
        handle.report(Status { conditions: vec![mine], ..said("with") });
        handle.flush().await.expect("stored");
        assert!(store.stored().condition("Mine").is_some());
        handle.report(said("without"));
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
        handle.remove_condition(condition_type::AUTH_CONFIGURED);
        handle.report(said("here"));
        reporter.shutdown().await;
        assert_eq!(store.stored().conditions, [condition(condition_type::AUTH_CONFIGURED)]);
    }
}

mod law_10_retries {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outage_of_an_hour_is_survived_with_growing_pauses_and_ends_with_the_newest() {
        let store = Store::default();
        store.state().always = Some(Fate::Fails(Retry::Transient));
        let (handle, _reporter) = start(&store);
        let begin = Instant::now();
        for minute in 0..60 {
            handle.report(said(minute.to_string()));
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
    async fn conflict_reads_again_and_retries_quickly() {
        let store = Store::holding(said("old"));
        store.state().fates.extend([Fate::Fails(Retry::Conflict), Fate::Fails(Retry::Conflict)]);
        let (handle, _reporter) = start(&store);
        handle.report(said("new"));
        sleep(INTERVAL / 2).await;
        assert_eq!(store.stored().message, "new");
        assert_eq!(store.calls(), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn success_makes_the_pauses_short_again() {
        let store = Store::default();
        store.state().always = Some(Fate::Fails(Retry::Transient));
        let (handle, _reporter) = start(&store);
        handle.report(said("a"));
        sleep(Duration::from_secs(600)).await;
        store.state().always = None;
        handle.flush().await.expect("stored");
        sleep(INTERVAL).await;
        store.state().fates.push_back(Fate::Fails(Retry::Transient));
        handle.report(said("b"));
        sleep(INTERVAL * 3 / 2).await;
        assert_eq!(store.stored().message, "b");
    }

    #[tokio::test(start_paused = true)]
    async fn pause_that_the_store_asks_for_is_kept() {
        let store = Store::failing([Fate::Fails(Retry::After(Duration::from_secs(17)))]);
        let (handle, _reporter) = start(&store);
        let begin = Instant::now();
        handle.report(said("x"));
        sleep(Duration::from_secs(20)).await;
        assert_eq!(store.attempt_times(begin), [Duration::ZERO, Duration::from_secs(17)]);
    }

    #[tokio::test(start_paused = true)]
    async fn store_that_asks_for_a_pause_of_nothing_is_not_hammered() {
        let store = Store::default();
        store.state().read_fails = Some(Retry::After(Duration::ZERO));
        let (handle, _reporter) = start(&store);
        handle.report(said("x"));
        sleep(Duration::from_secs(60)).await;
        let reads = store.state().reads;
        assert!((30..200).contains(&reads), "{reads} in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn content_that_was_stored_and_then_refused_is_not_repeated_by_the_refresh() {
        let store = Store::default();
        let (handle, _reporter) = start_with(&store, |b| b.periodic_interval(Some(INTERVAL * 30)));
        handle.report(said("x"));
        handle.flush().await.expect("stored");
        store.state().always = Some(Fate::Fails(Retry::Refused));
        store.state().stored = Some(said("theirs"));
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(store.state().attempts.len(), 2, "the one stored and the one refused");
        store.state().always = None;
        handle.report(said("y"));
        handle.flush().await.expect("stored");
    }

    #[tokio::test(start_paused = true)]
    async fn missing_rights_are_tried_again_up_to_a_minute_apart() {
        let store = Store::default();
        store.state().read_fails = Some(Retry::Blocked);
        let (handle, _reporter) = start(&store);
        handle.report(said("x"));
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
        handle.report(said("bad"));
        assert!(matches!(handle.flush().await, Err(FlushError::Refused(_))));
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(store.state().attempts.len(), 1);
        handle.report(said("good"));
        handle.flush().await.expect("stored");
        assert_eq!(store.stored().message, "good");
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_has_a_time_out() {
        let store = Store::failing([Fate::Hangs]);
        let (handle, _reporter) = start(&store);
        handle.report(said("x"));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(store.stored().message, "x");
    }
}

mod law_11_shutdown {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cancelled_token_writes_what_was_sent_before_at_once() {
        let store = Store::default();
        let (handle, reporter) = start(&store);
        handle.report(said("first"));
        settle().await;
        handle.report(said("last"));
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
        handle.report(said("stored"));
        handle.flush().await.expect("stored");
        store.state().always = Some(Fate::Hangs);
        handle.report(said("lost"));
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
        handle.report(said("x"));
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
        handle.report(said("x"));
        settle().await;
        let begin = Instant::now();
        assert!(reporter.shutdown().await.is_complete());
        assert_eq!(begin.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_twice_and_from_two_tasks_gives_the_same_outcome() {
        let store = Store::slow(Duration::from_millis(50));
        let (handle, reporter) = start(&store);
        handle.report(said("x"));
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
        handle.report(said("a"));
        drop(handle);
        settle().await;
        clone.report(said("b"));
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
            handle.report(said(i.to_string()));
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
            handle.upsert_backend(ready(format!("b{i}")));
        }
        let outcome = reporter.shutdown().await;
        assert_eq!((store.stored().discovered_backends.len(), outcome.counts.received), (3000, 3000));
    }

    #[tokio::test(start_paused = true)]
    async fn flush_with_the_nearer_deadline_has_its_last_chance_in_time() {
        let store = Store::failing([Fate::Fails(Retry::After(Duration::from_secs(60)))]);
        let (handle, _reporter) = start(&store);
        handle.report(said("x"));
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
        handle.report(said("x"));
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
        handle.report(said("x"));
        handle.flush().await.expect("the third try succeeds");
        assert!(reporter.shutdown().await.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn flush_skips_the_pace_and_says_when_time_ran_out_or_all_is_over() {
        let store = Store::default();
        let (handle, reporter) = start(&store);
        handle.report(said("a"));
        handle.flush().await.expect("stored");
        handle.report(said("b"));
        let begin = Instant::now();
        handle.flush().await.expect("stored");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        store.state().always = Some(Fate::Fails(Retry::Transient));
        handle.report(said("c"));
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
            handle.report(said(i.to_string()));
        }
        handle.flush().await.expect("stored");
        assert_eq!(store.stored().message, "99");
    }
}

mod law_12_bad_input {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_bad_backend_never_keeps_the_others_from_being_reported() {
        let store = Store::default();
        let (handle, _reporter) = start(&store);
        handle.report(Status {
            conditions: vec![
                Condition::unchecked("no type", ConditionStatus::True, "Fine", ""),
                Condition::unchecked("Ready", ConditionStatus::True, "two words", "x".repeat(50_000)),
            ],
            ..Status::of_backends([
                DiscoveredBackend::named(""),
                ready("good"),
                DiscoveredBackend { url: "http://user:secret@host/mcp?token=secret".into(), ..ready("doubled") },
                DiscoveredBackend { url: "http://user:secret@host/mcp?token=secret".into(), ..ready("doubled") },
            ])
        });
        handle.flush().await.expect("stored");
        let stored = store.stored();
        assert_eq!(stored.validate(), Ok(()));
        assert_eq!(stored.backend_count, 2);
        assert_eq!(stored.backend("doubled").map(|b| b.url.as_str()), Some("http://host/mcp"));
        assert_eq!(stored.conditions.len(), 1);
        assert_eq!(stored.conditions[0].reason, "TwoWords");
        assert_eq!(handle.counts().mended, 7, "counted");
    }

    #[tokio::test(start_paused = true)]
    async fn bad_input_in_a_full_mailbox_is_mended_and_counted_too() {
        let store = Store::default();
        let (handle, _reporter) = start_with(&store, |b| b.mailbox_size(1));
        handle.upsert_backend(ready("first"));
        handle.upsert_backend(ready(""));
        handle.upsert_backend(DiscoveredBackend { url: "http://user:secret@host/mcp".into(), ..ready("good") });
        handle.set_phase(Phase::Ready, "x".repeat(50_000));
        handle.set_observed_generation(-1);
        handle.flush().await.expect("stored");
        let stored = store.stored();
        assert_eq!(stored.validate(), Ok(()));
        assert_eq!((stored.discovered_backends.len(), stored.observed_generation), (2, None));
        assert_eq!(handle.counts().mended, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn status_that_is_too_large_is_trimmed_and_counts_all() {
        let store = Store::default();
        store.state().limit = Some(SizeLimit { bytes: 1 << 20, per_backend: 158 });
        let (handle, _reporter) = start(&store);
        let bad = DiscoveredBackend { status: BackendStatus::Unavailable, ..ready("zzz") };
        handle.report(Status::of_backends((0..10_000).map(|i| ready(format!("b{i}"))).chain([bad])));
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
        store.state().limit = Some(SizeLimit { bytes: 1 << 20, per_backend: 0 });
        let (handle, _reporter) = start(&store);
        handle.report(Status::of_backends((0..1000).map(|i| ready(format!("b{i}")))));
        handle.flush().await.expect("stored");
        let sizes: Vec<_> = store.state().attempts.iter().map(|(_, s)| s.discovered_backends.len()).collect();
        assert!(sizes.len() == 3 && sizes[0] == 1000 && sizes[2] < 1000, "{sizes:?}");
    }
}

mod watching {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn watch_shows_what_is_pending_stored_and_failed() {
        let store = Store::failing([Fate::Fails(Retry::Transient)]);
        let (handle, reporter) = start(&store);
        let mut watch = handle.watch();
        handle.report(said("x"));
        let progress = watch.wait_for(|p| p.last.is_some()).await.expect("alive").clone();
        assert!(progress.pending && progress.stored.is_none());
        let error = progress.last.expect("tried").result.expect_err("it failed");
        assert_eq!(error.retry, Retry::Transient);
        let progress = watch.wait_for(|p| p.stored.is_some()).await.expect("alive").clone();
        assert_eq!(progress.stored.map(|s| s.message.clone()), Some("x".into()));
        assert!(!progress.pending && progress.last.is_some_and(|last| last.result.is_ok()));
        reporter.shutdown().await;
        assert!(watch.changed().await.is_err(), "it ends with the reporter");
    }
}
