use super::*;

#[tokio::test(start_paused = true)]
async fn updates_are_taken_while_a_write_hangs_and_the_retry_sends_the_newest() {
    let store = Store::failing([Fate::Hangs]);
    let (handle, _reporter) = start(&store);
    assert!(handle.report(said("first")));
    settle().await;
    assert_eq!(store.state().attempts.len(), 1);
    for i in 0..1000 {
        assert!(handle.report(said(i.to_string())));
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
    assert!(handle.report(said("first")));
    settle().await;
    assert!(handle.report(said("second")));
    settle().await;
    assert_eq!((handle.mailbox_depth(), store.state().attempts.len()), (0, 1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.messages(), ["second"]);
}
