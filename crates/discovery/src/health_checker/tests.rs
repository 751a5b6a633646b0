use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::*;
use crate::probe::ProberOptions;
use vmcp_status::CircuitBreakerState;
use vmcp_status::{NoOpSink, Reporter, StatusHandle};

const INTERVAL: Duration = Duration::from_secs(30);

fn prober() -> Prober {
    Prober::new(ProberOptions::default()).expect("options are usable")
}

/// A backend whose check is over at once and asks no server: its token cannot be
/// read. So its checks can be counted in paused time.
fn backend(name: impl Into<String>) -> CheckedBackend {
    CheckedBackend {
        token: Some(TokenSource::File("/nowhere/token".into())),
        interval: INTERVAL,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        ..CheckedBackend::new(name, "http://user:secret@a/mcp?key=1".parse().expect("a URL"))
    }
}

fn wanted(name: &str) -> CheckSpec {
    backend(name).into()
}

fn health_checker(limit: impl Into<CheckLimit>) -> (HealthChecker, StatusHandle) {
    let (handle, _) = Reporter::builder(NoOpSink::silent()).start();
    (HealthChecker::new(prober(), handle.source("test"), limit), handle)
}

async fn reported_of(handle: &StatusHandle, name: &str) -> DiscoveredBackend {
    // What the store holds may be older by a count, which is not worth a write.
    let current = handle.current().await.expect("the reporter lives");
    current.backend(name).cloned().expect("it is reported")
}

/// Sets what is wanted, as the discovery of a group does.
async fn set(health_checker: &mut HealthChecker, all: &[CheckSpec]) {
    let wanted: HashMap<_, _> = all.iter().map(|wanted| (wanted.backend.name.clone(), wanted.clone())).collect();
    let past = health_checker.end_others(&wanted).await;
    health_checker.begin(wanted, past);
}

/// The times of the checks of each backend until then.
async fn times(health_checker: &HealthChecker, start: Instant, until: Duration) -> BTreeMap<String, Vec<Duration>> {
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let next = |name: String, mut last: watch::Receiver<Option<LastResult>>| async move {
        last.changed().await.ok().map(|()| (name, last))
    };
    let mut waiting: FuturesUnordered<_> =
        health_checker.running.iter().map(|(name, running)| next(name.clone(), running.last.clone())).collect();
    while let Ok(Some(Some((name, last)))) = tokio::time::timeout_at(start + until, waiting.next()).await {
        times.entry(name.clone()).or_default().push(start.elapsed());
        waiting.push(next(name, last));
    }
    times
}

#[tokio::test(start_paused = true)]
async fn five_hundred_backends_are_checked_once_per_interval_each_and_spread_over_it() {
    let (mut health_checker, _handle) = health_checker(16);
    let start = Instant::now();
    health_checker.set((0..500).map(|i| backend(format!("b{i}")))).await;
    let times = times(&health_checker, start, 6 * INTERVAL).await;
    assert_eq!(times.len(), 500);
    for (name, times) in &times {
        assert_eq!(times[0], Duration::ZERO, "the first findings come soon: {name}");
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        let within = |gap: Duration, least: f64, most: f64| {
            gap >= INTERVAL.mul_f64(least) && gap <= INTERVAL.mul_f64(most) + Duration::from_millis(2)
        };
        assert!(within(gaps[0], 0.5, 1.5), "{name}: {gaps:?}");
        assert!(gaps[1..].iter().all(|gap| within(*gap, 0.9, 1.1)), "{name}: {gaps:?}");
    }
    let mut by_second: BTreeMap<u64, usize> = BTreeMap::new();
    for time in times.values().flatten() {
        *by_second.entry(time.as_secs()).or_default() += 1;
    }
    let steady = |second: &u64| (45..165).contains(second);
    let counts: Vec<_> = by_second.iter().filter(|(second, _)| steady(second)).map(|(_, count)| *count).collect();
    let (most, total) = (counts.iter().max().expect("there are checks"), counts.iter().sum::<usize>());
    println!("500 backends, {INTERVAL:?}: {total} checks in 120 s, at most {most} in one second");
    assert_eq!(counts.len(), 120, "no second without a check");
    assert!((1850..=2150).contains(&total), "once per interval each: {total}");
    assert!(*most <= 40, "17 a second on average, and never many more: {most}");
}

#[tokio::test(start_paused = true)]
async fn unchanged_backend_is_not_disturbed_and_one_whose_report_changed_keeps_finding_and_schedule() {
    let (mut health_checker, handle) = health_checker(4);
    let start = Instant::now();
    set(&mut health_checker, &[wanted("a"), wanted("b")]).await;
    health_checker.first_round().await;
    let first = health_checker.running["b"].last.borrow().clone().expect("checked");

    let noted = CheckSpec { note: "something else".into(), ..wanted("b") };
    set(&mut health_checker, &[wanted("a"), noted.clone()]).await;
    let now = health_checker.running["b"].last.borrow().clone().expect("it keeps what was found");
    assert_eq!((now.next, now.verdict.failures), (first.next, 1));
    assert_eq!(reported_of(&handle, "b").await.message, format!("{NO_CREDENTIALS}; something else"));
    let seen = times(&health_checker, start, 6 * INTERVAL).await;
    assert!(seen["a"].len() >= 5 && seen["b"].len() >= 5, "both go on: {seen:?}");
    assert!(seen["b"][0] >= INTERVAL / 2, "no check before its time: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn backend_at_another_address_or_in_another_phase_is_checked_at_once() {
    let (mut health_checker, handle) = health_checker(CheckLimit::new(4));
    set(&mut health_checker, &[wanted("a")]).await;
    health_checker.first_round().await;
    // Nothing is checked any more while all permits are taken.
    let all = join_all((0..4).map(|_| health_checker.limit.acquire(Lane::Answered))).await;

    let ready = CheckSpec { phase: "Ready".into(), ..wanted("a") };
    set(&mut health_checker, std::slice::from_ref(&ready)).await;
    let now = reported_of(&handle, "a").await;
    assert_eq!(
        (now.status, now.message.as_str()),
        (BackendStatus::Unavailable, NO_CREDENTIALS),
        "found, not hoped for"
    );
    let moved =
        CheckSpec { backend: CheckedBackend { url: "http://b/mcp".parse().expect("a URL"), ..backend("a") }, ..ready };
    set(&mut health_checker, &[moved]).await;
    let now = reported_of(&handle, "a").await;
    assert_eq!(
        (now.status, now.url.as_str(), now.message.as_str()),
        (BackendStatus::Unavailable, "http://b/mcp", NO_CREDENTIALS),
        "the last finding stands until the check"
    );

    let start = Instant::now();
    drop(all);
    health_checker.first_round().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(reported_of(&handle, "a").await.status, BackendStatus::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_checked_or_removed_twice_by_those_who_share_a_name() {
    let (mut health_checker, handle) = health_checker(4);
    set(&mut health_checker, &[wanted("a")]).await;
    health_checker.first_round().await;
    // It passes to another source while this one lets go of it.
    let past = health_checker.end_others(&HashMap::new()).await;
    assert_eq!(past.keys().collect::<Vec<_>>(), ["a"]);
    assert!(
        handle
            .source("other")
            .upsert_backend(DiscoveredBackend { message: "other".into(), ..DiscoveredBackend::named("a") })
    );
    health_checker.begin(HashMap::new(), past);
    tokio::time::advance(4 * INTERVAL).await;
    assert_eq!(reported_of(&handle, "a").await.message, "other");
}

#[tokio::test(start_paused = true)]
async fn backend_is_checked_at_once_with_another_prober_and_keeps_its_finding_until_then() {
    let (mut health_checker, handle) = health_checker(CheckLimit::new(1));
    health_checker.set([backend("a")]).await;
    health_checker.first_round().await;
    let place = health_checker.limit.acquire(Lane::Answered).await;
    health_checker.set_prober(prober());
    health_checker.set([backend("a")]).await;
    let kept = reported_of(&handle, "a").await;
    assert_eq!((kept.message.as_str(), kept.consecutive_failures), (NO_CREDENTIALS, 1));
    let begin = Instant::now();
    drop(place);
    let mut last = health_checker.running["a"].last.clone();
    last.changed().await.expect("it is checked");
    assert_eq!((begin.elapsed(), reported_of(&handle, "a").await.consecutive_failures), (Duration::ZERO, 2));
    health_checker.set([backend("a")]).await;
    tokio::time::advance(INTERVAL / 4).await;
    assert_eq!(reported_of(&handle, "a").await.consecutive_failures, 2, "and after that when its time has come");
}

#[tokio::test(start_paused = true)]
async fn backend_with_other_credentials_configured_is_checked_at_once_and_keeps_finding_and_way_until_then() {
    for changed in [
        CheckedBackend { auth_type: "token_exchange".into(), ..backend("a") },
        CheckedBackend { auth_config_ref: "sso".into(), ..backend("a") },
    ] {
        let (mut health_checker, handle) = health_checker(CheckLimit::new(1));
        health_checker.set([backend("a")]).await;
        health_checker.first_round().await;
        let place = health_checker.limit.acquire(Lane::Answered).await;
        let before = health_checker.running["a"].last.borrow().clone().expect("checked");
        health_checker.set([changed]).await;
        let kept = reported_of(&handle, "a").await;
        assert_eq!((kept.status, kept.message.as_str()), (BackendStatus::Unavailable, NO_CREDENTIALS));
        let last = health_checker.running["a"].last.borrow().clone().expect("it keeps what was found");
        assert_eq!((last.lane, last.verdict.failures), (before.lane, 1), "the same server");
        let begin = Instant::now();
        drop(place);
        let mut last = health_checker.running["a"].last.clone();
        last.changed().await.expect("it is checked");
        assert_eq!((begin.elapsed(), reported_of(&handle, "a").await.consecutive_failures), (Duration::ZERO, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn backend_that_never_had_a_verdict_is_unknown_until_its_second_failure_a_second_later() {
    let (mut health_checker, handle) = health_checker(4);
    let begin = Instant::now();
    health_checker.set([CheckedBackend { unhealthy_threshold: 3, ..backend("a") }]).await;
    let mut last = health_checker.running["a"].last.clone();
    last.changed().await.expect("it is checked");
    let once = reported_of(&handle, "a").await;
    let seen = (once.status, once.message.as_str(), once.consecutive_failures, once.last_health_check);
    assert_eq!(seen, (BackendStatus::Unknown, "", 1, None));
    health_checker.first_round().await;
    assert_eq!(begin.elapsed().as_secs(), 1);
    let twice = reported_of(&handle, "a").await;
    let seen = (twice.status, twice.message.as_str(), twice.consecutive_failures);
    assert_eq!(seen, (BackendStatus::Unavailable, NO_CREDENTIALS, 2));
    last.borrow_and_update();
    last.changed().await.expect("it is checked again");
    assert!(begin.elapsed() >= INTERVAL.mul_f64(0.9), "the usual interval again: {:?}", begin.elapsed());
}

#[test]
fn refusal_without_a_token_depends_on_whether_a_way_of_authentication_is_configured() {
    let refused = || Finding {
        health: Health::Unauthenticated,
        message: "Authentication required".into(),
        revision: None,
        elapsed: Duration::ZERO,
        retry_after: None,
    };
    let at_use = (BackendStatus::Ready, CHECKED_AT_USE);
    let forgotten = (BackendStatus::Unauthenticated, "Authentication required");
    for (auth_type, auth_config_ref, expected) in [
        ("", "", forgotten),
        ("unauthenticated", "", forgotten),
        ("token_exchange", "", at_use),
        ("", "unreadable", at_use),
        ("unauthenticated", "named", at_use),
    ] {
        let backend =
            CheckedBackend { auth_type: auth_type.into(), auth_config_ref: auth_config_ref.into(), ..backend("a") };
        let Observation::Answered { status, message, .. } = observation(refused(), &backend) else {
            panic!("it answered: {auth_type:?} {auth_config_ref:?}")
        };
        assert_eq!((status, &*message), expected, "{auth_type:?} {auth_config_ref:?}");
    }
    let elsewhere = CheckedBackend { has_other_credentials: true, ..backend("a") };
    let Observation::Answered { status, message, .. } = observation(refused(), &elsewhere) else {
        panic!("it answered")
    };
    assert_eq!((status, &*message), at_use, "its users send something that checks do not have");
}

#[tokio::test(start_paused = true)]
async fn finding_of_an_earlier_checker_stands_until_the_new_one_has_a_verdict() {
    let (mut health_checker, handle) = health_checker(1);
    let found = DiscoveredBackend {
        status: BackendStatus::Ready,
        mcp_revision: "2025-11-25".into(),
        last_health_check: Some(Utc::now()),
        ..DiscoveredBackend::named("a")
    };
    assert!(handle.source("earlier").upsert_backend(found));
    let place = health_checker.limit.acquire(Lane::Answered).await;
    let wanted = CheckedBackend { unhealthy_threshold: 3, ..backend("a") };
    health_checker.set([wanted]).await;
    let unchecked = reported_of(&handle, "a").await;
    assert_eq!(unchecked.url, "http://a/mcp");
    assert_eq!((unchecked.status, unchecked.mcp_revision.as_str()), (BackendStatus::Ready, "2025-11-25"));
    assert!(unchecked.last_health_check.is_some());
    let mut last = health_checker.running["a"].last.clone();
    drop(place);
    last.changed().await.expect("it is checked");
    let once = reported_of(&handle, "a").await;
    assert_eq!((once.status, once.consecutive_failures), (BackendStatus::Ready, 1));
    health_checker.first_round().await;
    assert_eq!(reported_of(&handle, "a").await.status, BackendStatus::Unavailable, "the second failure tells");
}

fn with_breaker(failure_threshold: u32, timeout: Duration) -> CheckedBackend {
    CheckedBackend { circuit_breaker: Some(CircuitBreaker { failure_threshold, timeout }), ..backend("a") }
}

fn circuit(backend: &DiscoveredBackend) -> (BackendStatus, Option<CircuitBreakerState>, u32) {
    (backend.status, backend.circuit_breaker_state, backend.consecutive_failures)
}

/// Waits for so many failed checks in a row.
async fn failures(health_checker: &HealthChecker, count: u32) {
    let mut last = health_checker.running["a"].last.clone();
    let counted = last.wait_for(|last| last.as_ref().is_some_and(|last| last.verdict.failures >= count));
    counted.await.expect("it is checked");
}

#[tokio::test(start_paused = true)]
async fn open_circuit_lets_one_check_through_per_timeout_and_the_count_stands() {
    let (mut health_checker, handle) = health_checker(4);
    let (start, pause) = (Instant::now(), 10 * INTERVAL);
    health_checker.set([with_breaker(3, pause)]).await;
    failures(&health_checker, 2).await;
    let closed = reported_of(&handle, "a").await;
    assert_eq!(circuit(&closed), (BackendStatus::Unavailable, Some(CircuitBreakerState::Closed), 2));
    failures(&health_checker, 3).await;
    let open = reported_of(&handle, "a").await;
    assert_eq!(circuit(&open), (BackendStatus::Unavailable, Some(CircuitBreakerState::Open), 3));
    assert!(open.circuit_last_changed.is_some());
    let opened = start.elapsed();
    let times = times(&health_checker, start, opened + 3 * pause + INTERVAL).await;
    let gaps: Vec<_> = times["a"].iter().map(|time| time.saturating_sub(opened).as_secs()).collect();
    assert_eq!(gaps, [0, 300, 600, 900], "no check but the trials");
    assert_eq!(circuit(&reported_of(&handle, "a").await).2, 6);
}

#[tokio::test(start_paused = true)]
async fn open_circuit_is_unavailable_though_the_unhealthy_threshold_is_higher() {
    let (mut health_checker, handle) = health_checker(4);
    let ready = DiscoveredBackend {
        status: BackendStatus::Ready,
        last_health_check: Some(Utc::now()),
        ..DiscoveredBackend::named("a")
    };
    assert!(handle.source("earlier").upsert_backend(ready));
    let slow_to_judge = CheckedBackend { unhealthy_threshold: 10, ..with_breaker(1, INTERVAL) };
    health_checker.set([slow_to_judge]).await;
    failures(&health_checker, 1).await;
    let open = (BackendStatus::Unavailable, Some(CircuitBreakerState::Open), 1);
    assert_eq!(circuit(&reported_of(&handle, "a").await), open);
}

#[tokio::test(start_paused = true)]
async fn circuit_is_shown_only_while_it_is_configured() {
    let (mut health_checker, handle) = health_checker(4);
    health_checker.set([backend("a")]).await;
    failures(&health_checker, 1).await;
    assert_eq!(circuit(&reported_of(&handle, "a").await).1, None);
    health_checker.set([with_breaker(2, INTERVAL)]).await;
    failures(&health_checker, 2).await;
    assert_eq!(circuit(&reported_of(&handle, "a").await).1, Some(CircuitBreakerState::Open));
    health_checker.set([backend("a")]).await;
    let off = reported_of(&handle, "a").await;
    assert_eq!((off.circuit_breaker_state, off.circuit_last_changed), (None, None));
}

#[tokio::test(start_paused = true)]
async fn open_circuit_outlives_reload_and_restart_of_discovery_at_the_same_target_alone() {
    let (mut first, handle) = health_checker(4);
    first.set([with_breaker(2, 10 * INTERVAL)]).await;
    failures(&first, 2).await;
    let open = (BackendStatus::Unavailable, Some(CircuitBreakerState::Open), 2);
    first.set([CheckedBackend { interval: INTERVAL / 2, ..with_breaker(2, 10 * INTERVAL) }]).await;
    tokio::time::advance(9 * INTERVAL).await;
    assert_eq!(circuit(&reported_of(&handle, "a").await), open, "no check after a reload");
    first.shutdown().await;

    let mut second = HealthChecker::new(prober(), handle.source("test"), 4);
    second.set([with_breaker(2, 10 * INTERVAL)]).await;
    second.first_round().await;
    tokio::time::advance(9 * INTERVAL).await;
    assert_eq!(circuit(&reported_of(&handle, "a").await), open, "no check after a restart");
    let elsewhere = "http://b/mcp".parse().expect("a URL");
    second.set([CheckedBackend { url: elsewhere, ..with_breaker(2, 10 * INTERVAL) }]).await;
    failures(&second, 1).await;
    let closed = (BackendStatus::Unavailable, Some(CircuitBreakerState::Closed), 1);
    assert_eq!(circuit(&reported_of(&handle, "a").await), closed);
}
