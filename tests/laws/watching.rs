use super::*;

#[tokio::test(start_paused = true)]
async fn watch_shows_what_is_pending_stored_and_failed() {
    let store = Store::failing([Fate::Fails(Retry::Transient)]);
    let (handle, reporter) = start(&store);
    let mut watch = handle.watch();
    assert!(handle.report(said("x")));
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

#[tokio::test(start_paused = true)]
async fn watch_shows_what_has_been_reported_while_the_store_is_out_of_reach() {
    let store = Store::default();
    store.state().always = Some(Fate::Hangs);
    let (handle, _reporter) = start(&store);
    let watch = handle.watch();
    for i in 0..200 {
        assert!(handle.report(said(i.to_string())));
        sleep(INTERVAL / 10).await;
        let shown = watch.borrow().current.clone().expect("something has been reported");
        let age = i - shown.message.parse::<i32>().expect("a number");
        assert!(age <= 11, "{age} reports behind");
    }
    sleep(INTERVAL).await;
    assert_eq!(watch.borrow().current.as_ref().map(|status| status.message.as_str()), Some("199"));
}

#[tokio::test(start_paused = true)]
async fn oldest_change_that_is_not_stored_is_known_by_its_time() {
    let store = Store::slow(INTERVAL * 5);
    let (handle, _reporter) = start(&store);
    let since = || handle.watch().borrow().pending_since;
    let begin = Instant::now();
    assert!(handle.report(said("a")));
    sleep(INTERVAL).await;
    assert!(handle.report(said("b")));
    sleep(INTERVAL).await;
    assert_eq!(since(), Some(begin), "it is carried by the write");
    sleep(INTERVAL * 4).await;
    assert_eq!(since(), Some(begin + INTERVAL), "the write has left the second behind");
    handle.flush_within(INTERVAL * 20).await.expect("stored");
    assert_eq!(since(), None);
}

#[tokio::test(start_paused = true)]
async fn current_status_is_returned_whatever_the_store_does() {
    let store = Store::default();
    store.state().always = Some(Fate::Hangs);
    let (handle, reporter) = start(&store);
    assert!(handle.report(said("x")));
    sleep(INTERVAL).await;
    assert!(handle.upsert_backend(ready("a")));
    let begin = Instant::now();
    let current = handle.current().await.expect("it lives");
    assert_eq!((current.message.as_str(), current.discovered_backends.len()), ("x", 1));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    reporter.shutdown().await;
    assert_eq!(handle.current().await, None);
}
