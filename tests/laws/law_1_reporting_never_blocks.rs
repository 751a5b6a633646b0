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
async fn report_of_a_hundred_thousand_backends_does_not_visit_each() {
    let (handle, reporter) = start_with(&Store::default(), |b| b.write_interval(Duration::from_secs(3600)));
    let status = Status::from_backends((0..100_000).map(|i| ready(format!("b{i}"))));
    let least = (0..20).map(|_| {
        let status = status.clone();
        let begin = Instant::now();
        assert!(handle.report(status));
        begin.elapsed()
    });
    let least = least.min().expect("twenty tries");
    assert!(least < Duration::from_micros(500), "{least:?}");
    reporter.shutdown().await;
}
