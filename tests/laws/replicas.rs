//! One of several replicas writes.

use super::*;

const TERM: Duration = Duration::from_secs(10);

/// A store that is written by whoever the switch says.
fn elected() -> (Store, LeadershipSwitch) {
    let (switch, leadership) = Leadership::new();
    let store = Store::default();
    store.state().leadership = Some(leadership);
    (store, switch)
}

#[tokio::test(start_paused = true)]
async fn replica_on_standby_writes_nothing_and_all_it_has_within_an_interval_of_winning() {
    let (store, switch) = elected();
    switch.stand_by();
    let (handle, _reporter) = start(&store);
    for i in 0..100 {
        assert!(handle.upsert_backend(ready(i.to_string())));
        sleep(INTERVAL / 3).await;
    }
    assert_eq!((store.calls(), handle.standing()), ((0, 0), Standing::Standby));
    let won = Instant::now();
    switch.lead_until(won + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().discovered_backends.len(), 100);
    assert!(store.attempt_times(won)[0] <= INTERVAL);
    let counts = handle.counts();
    assert_eq!((counts.received, counts.written, counts.merged), (100, 1, 99));
}

#[tokio::test(start_paused = true)]
async fn term_that_runs_out_is_the_end_of_writing_though_nobody_says_so() {
    let (store, switch) = elected();
    let begin = Instant::now();
    switch.lead_until(begin + TERM);
    let (handle, _reporter) = start(&store);
    for i in 0..40 {
        assert!(handle.report(said(i.to_string())));
        sleep(INTERVAL / 2).await;
    }
    let times = store.attempt_times(begin);
    assert!(times.len() >= 9 && times.iter().all(|at| *at < TERM), "{times:?}");
    assert_eq!(handle.standing(), Standing::Undecided);
    switch.lead_until(Instant::now() + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().message, "39");
}

#[tokio::test(start_paused = true)]
async fn write_gets_no_more_time_than_is_left_of_the_term() {
    let (store, switch) = elected();
    store.state().fates.push_back(Fate::Hangs);
    switch.lead_until(Instant::now() + INTERVAL * 3);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("x")));
    sleep(INTERVAL * 3).await;
    assert_eq!(store.calls(), (1, 1));
    let again = Instant::now();
    switch.lead_until(again + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().message, "x", "the first one is not waited for any more");
}

#[tokio::test(start_paused = true)]
async fn who_leads_again_repairs_what_the_other_wrote() {
    let (store, switch) = elected();
    switch.lead_until(Instant::now() + TERM);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("mine")));
    handle.flush().await.expect("stored");
    switch.stand_by();
    sleep(INTERVAL).await;
    store.state().stored = Some(said("the other's"));
    sleep(INTERVAL * 60).await;
    assert_eq!(store.calls(), (1, 1));
    switch.lead_until(Instant::now() + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().message, "mine");
}

#[tokio::test(start_paused = true)]
async fn replica_on_standby_answers_a_flush_at_once_and_ends_complete() {
    let (store, switch) = elected();
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("seen")));
    let begin = Instant::now();
    let flush = tokio::spawn({
        let handle = handle.clone();
        async move { handle.flush().await }
    });
    sleep(INTERVAL).await;
    assert!(!flush.is_finished(), "it may still win");
    switch.stand_by();
    assert_eq!(flush.await.expect("no panic"), Err(FlushError::Standby));
    let outcome = reporter.shutdown().await;
    assert!(outcome.is_complete() && outcome.standing == Standing::Standby);
    assert_eq!(begin.elapsed(), INTERVAL, "and keeps nobody waiting");
    assert_eq!(store.calls(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn reporter_that_ends_undecided_says_what_is_not_stored() {
    let (store, _switch) = elected();
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("seen")));
    let outcome = reporter.shutdown().await;
    let unstored = outcome.unstored.as_ref().expect("nobody has stored it");
    assert!(unstored.why.contains("which replica leads"), "{}", unstored.why);
}

#[tokio::test(start_paused = true)]
async fn reporter_that_ends_undecided_with_nothing_to_store_keeps_nobody_waiting() {
    let begin = Instant::now();
    let (store, _switch) = elected();
    let (_handle, reporter) = start(&store);
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(begin.elapsed(), Duration::ZERO, "nothing was reported");

    let (store, switch) = elected();
    switch.lead_until(begin + TERM);
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("stored")));
    handle.flush().await.expect("stored");
    sleep(TERM).await;
    let ends = Instant::now();
    assert_eq!(handle.standing(), Standing::Undecided);
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(ends.elapsed(), Duration::ZERO, "all is stored");
}

#[tokio::test(start_paused = true)]
async fn sink_is_closed_once_and_after_the_last_write() {
    let store = Store::slow(INTERVAL);
    let (handle, reporter) = start(&store);
    for i in 0..3 {
        assert!(handle.report(said(i.to_string())));
        sleep(INTERVAL / 4).await;
    }
    reporter.shutdown().await;
    reporter.shutdown().await;
    assert_eq!(store.stored().message, "2");
    let state = store.state();
    let [(_, attempts)] = state.closed[..] else { panic!("{:?}", state.closed) };
    assert_eq!(attempts, state.attempts.len());
}

#[tokio::test(start_paused = true)]
async fn sink_is_closed_though_its_write_hangs_and_a_close_that_hangs_is_cut_off() {
    let store = Store::default();
    store.state().always = Some(Fate::Hangs);
    store.state().close_hangs = true;
    let (handle, reporter) = start_with(&store, |b| b.shutdown_grace(INTERVAL * 3));
    assert!(handle.report(said("x")));
    settle().await;
    let begin = Instant::now();
    assert!(!reporter.shutdown().await.is_complete());
    let closed = store.state().closed[0].0;
    assert_eq!((closed - begin, begin.elapsed()), (INTERVAL * 3, INTERVAL * 4));
}

#[tokio::test(start_paused = true)]
async fn change_is_as_old_as_it_is_though_the_term_ran_out_meanwhile_and_new_after_a_standby() {
    let (store, switch) = elected();
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let begin = Instant::now();
    switch.lead_until(begin + TERM);
    let (handle, _reporter) = start(&store);
    let since = || handle.watch().borrow().pending_since;
    assert!(handle.report(said("x")));
    sleep(TERM * 2).await;
    switch.lead_until(Instant::now() + TERM);
    sleep(INTERVAL).await;
    assert_eq!(since(), Some(begin), "nobody else has stored it");
    switch.stand_by();
    sleep(TERM).await;
    let won = Instant::now();
    switch.lead_until(won + TERM);
    sleep(INTERVAL).await;
    assert_eq!(since(), Some(won), "it was for the other to store");
}
