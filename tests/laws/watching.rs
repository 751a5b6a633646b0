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
