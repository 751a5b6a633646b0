//! One of several replicas writes.

use std::sync::Mutex;

use vmcp_status::{Election, Sink, SinkError, WriteOutcome};

use super::*;

const TERM: Duration = Duration::from_secs(10);

/// A store, and an election of which the test decides the outcome.
struct Elected {
    store: Store,
    leadership: Leadership,
}

fn elected() -> (Elected, LeadershipSender) {
    let (switch, leadership) = Leadership::new();
    (Elected { store: Store::default(), leadership }, switch)
}

impl Elected {
    fn start(&self) -> (StatusHandle, Reporter) {
        start_with(&self.store, |builder| builder.leadership(self.leadership.clone()))
    }
}

/// Hands over as slowly as the test wants, and notes when it was asked to and
/// how many writes had been tried by then.
struct Recorded {
    leadership: Leadership,
    store: Store,
    takes: Duration,
    released: Arc<Mutex<Vec<(Instant, usize)>>>,
}

impl Recorded {
    fn leading(store: &Store, takes: Duration) -> Self {
        let (switch, leadership) = Leadership::new();
        switch.stand_alone();
        Recorded { leadership, store: store.clone(), takes, released: Arc::default() }
    }
}

impl Election for Recorded {
    fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    async fn release(self) {
        self.released.lock().expect("no panic").push((Instant::now(), self.store.calls().1));
        sleep(self.takes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn replica_on_standby_writes_nothing_and_all_it_has_within_an_interval_of_winning() {
    let (replica, switch) = elected();
    let store = &replica.store;
    switch.stand_by();
    let (handle, _reporter) = replica.start();
    for i in 0..100 {
        assert!(handle.upsert_backend(ready(i.to_string())));
        sleep(INTERVAL / 3).await;
    }
    assert_eq!((store.calls(), handle.leadership_state()), ((0, 0), LeadershipState::Standby));
    let won = Instant::now();
    switch.lead_until(won + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().discovered_backends.len(), 100);
    assert!(store.attempt_times(won)[0] <= INTERVAL);
    let counts = handle.counts();
    assert_eq!((counts.received, counts.written, counts.merged), (100, 1, 99));
}

#[tokio::test(start_paused = true)]
async fn term_that_runs_out_ends_writing_without_a_notification() {
    let (replica, switch) = elected();
    let store = &replica.store;
    let begin = Instant::now();
    switch.lead_until(begin + TERM);
    let (handle, _reporter) = replica.start();
    for i in 0..40 {
        assert!(handle.report(said(i.to_string())));
        sleep(INTERVAL / 2).await;
    }
    let times = store.attempt_times(begin);
    assert!(times.len() >= 9 && times.iter().all(|at| *at < TERM), "{times:?}");
    assert_eq!(handle.leadership_state(), LeadershipState::Undecided);
    switch.lead_until(Instant::now() + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().message, "39");
}

#[tokio::test(start_paused = true)]
async fn write_gets_no_more_time_than_is_left_of_the_term() {
    let (replica, switch) = elected();
    let store = &replica.store;
    store.state().fates.push_back(Fate::Hangs);
    switch.lead_until(Instant::now() + INTERVAL * 3);
    let (handle, _reporter) = replica.start();
    assert!(handle.report(said("x")));
    sleep(INTERVAL * 3).await;
    assert_eq!(store.calls(), (1, 1));
    let again = Instant::now();
    switch.lead_until(again + TERM);
    sleep(INTERVAL).await;
    assert_eq!(store.stored().message, "x", "the first one is not waited for any more");
}

#[tokio::test(start_paused = true)]
async fn replica_that_leads_again_repairs_what_the_other_wrote() {
    let (replica, switch) = elected();
    let store = &replica.store;
    switch.lead_until(Instant::now() + TERM);
    let (handle, _reporter) = replica.start();
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
    let (replica, switch) = elected();
    let store = &replica.store;
    let (handle, reporter) = replica.start();
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
    assert!(outcome.is_complete() && outcome.leadership_state == LeadershipState::Standby);
    assert_eq!(begin.elapsed(), INTERVAL, "and keeps nobody waiting");
    assert_eq!(store.calls(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn reporter_that_ends_undecided_says_what_is_not_stored() {
    let (replica, _switch) = elected();
    let (handle, reporter) = replica.start();
    assert!(handle.report(said("seen")));
    let outcome = reporter.shutdown().await;
    let unstored = outcome.unstored.as_ref().expect("nobody has stored it");
    assert!(unstored.why.contains("which replica leads"), "{}", unstored.why);
}

#[tokio::test(start_paused = true)]
async fn reporter_that_ends_undecided_with_nothing_to_store_ends_at_once() {
    let begin = Instant::now();
    let (replica, _switch) = elected();
    let (_handle, reporter) = replica.start();
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(begin.elapsed(), Duration::ZERO, "nothing was reported");

    let (replica, switch) = elected();
    switch.lead_until(begin + TERM);
    let (handle, reporter) = replica.start();
    let _ = handle.report(said("stored"));
    handle.flush().await.expect("stored");
    sleep(TERM).await;
    let ends = Instant::now();
    assert_eq!(handle.leadership_state(), LeadershipState::Undecided);
    assert!(reporter.shutdown().await.is_complete());
    assert_eq!(ends.elapsed(), Duration::ZERO, "all is stored");
}

#[tokio::test(start_paused = true)]
async fn election_is_released_once_and_after_the_last_write() {
    let store = Store::slow(INTERVAL);
    let election = Recorded::leading(&store, Duration::ZERO);
    let released = Arc::clone(&election.released);
    let (handle, reporter) = start_with(&store, |builder| builder.leadership(election));
    for i in 0..3 {
        assert!(handle.report(said(i.to_string())));
        sleep(INTERVAL / 4).await;
    }
    reporter.shutdown().await;
    reporter.shutdown().await;
    assert_eq!(store.stored().message, "2");
    let released = released.lock().expect("no panic");
    let [(at, attempts)] = released[..] else { panic!("{released:?}") };
    let state = store.state();
    assert_eq!(attempts, state.attempts.len());
    assert!(state.writes.iter().all(|(written, _)| *written <= at), "{:?} {at:?}", state.writes);
}

#[tokio::test(start_paused = true)]
async fn election_is_released_though_the_last_write_hangs_and_a_release_that_hangs_is_cut_off() {
    let store = Store::default();
    store.state().always = Some(Fate::Hangs);
    let election = Recorded::leading(&store, Duration::MAX);
    let released = Arc::clone(&election.released);
    let (handle, reporter) = start_with(&store, |b| b.shutdown_grace(INTERVAL * 3).leadership(election));
    assert!(handle.report(said("x")));
    settle().await;
    let begin = Instant::now();
    assert!(!reporter.shutdown().await.is_complete());
    let (at, _) = released.lock().expect("no panic")[0];
    assert_eq!((at - begin, begin.elapsed()), (INTERVAL * 3, INTERVAL * 4));
}

/// Sends a byte now and then, for ever.
#[derive(Clone, Default)]
struct Trickle(Arc<Mutex<Vec<Instant>>>);

impl Sink for Trickle {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        Ok(None)
    }

    async fn write(&mut self, _: &Status) -> Result<WriteOutcome, SinkError> {
        loop {
            self.0.lock().expect("no panic").push(Instant::now());
            sleep(INTERVAL / 10).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sink_of_any_kind_sends_not_a_byte_after_the_term() {
    for ends in [LeadershipSender::stand_by, LeadershipSender::undecided] {
        let (switch, leadership) = Leadership::new();
        let sink = Trickle::default();
        let (handle, _reporter) = Reporter::builder(sink.clone()).leadership(leadership).start();
        assert!(handle.report(said("x")));
        switch.lead_until(Instant::now() + TERM);
        sleep(INTERVAL * 2).await;
        ends(&switch);
        let ended = Instant::now();
        sleep(TERM).await;
        let sent = sink.0.lock().expect("no panic");
        assert!(sent.len() > 10 && sent.iter().all(|at| *at <= ended), "{:?}", sent.last().map(|at| *at - ended));
    }
}

#[tokio::test(start_paused = true)]
async fn sink_of_any_kind_sends_not_a_byte_after_a_term_that_ran_out() {
    let (switch, leadership) = Leadership::new();
    let sink = Trickle::default();
    let (handle, _reporter) = Reporter::builder(sink.clone()).leadership(leadership).start();
    let ends = Instant::now() + INTERVAL * 2;
    switch.lead_until(ends);
    assert!(handle.report(said("x")));
    sleep(TERM).await;
    let sent = sink.0.lock().expect("no panic");
    assert!(sent.len() > 10 && sent.iter().all(|at| *at < ends), "{:?}", sent.last());
}

#[tokio::test(start_paused = true)]
async fn change_is_as_old_as_it_is_though_the_term_ran_out_meanwhile_and_new_after_a_standby() {
    let (replica, switch) = elected();
    let store = &replica.store;
    store.state().always = Some(Fate::Fails(Retry::Transient));
    let begin = Instant::now();
    switch.lead_until(begin + TERM);
    let (handle, _reporter) = replica.start();
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
