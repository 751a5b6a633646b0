//! What the log says about an election.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use super::*;

thread_local! {
    /// A test and all that it starts are on one thread.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThread;

impl io::Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter("info,kube_client=off")
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(|| ToThread)
            .init();
    });
    lines();
}

/// The lines since the last call, those about phases and where the status lives
/// aside.
fn lines() -> Vec<String> {
    let text = String::from_utf8(LOG.take()).expect("text");
    let of_others = |line: &&str| !line.contains("phase changed") && !line.contains("the status lives here");
    text.lines().filter(of_others).map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn missing_verbs_are_one_line_that_says_what_to_do() {
    for verb in ["get", "create"] {
        listen();
        let cluster = cluster();
        cluster.forbid(&[verb]);
        let replica = Replica::start(&cluster, "one");
        assert!(replica.handle.report(said("one")));
        sleep(Duration::from_secs(3600)).await;
        let logged = lines();
        let [line] = &logged[..] else { panic!("{logged:#?}") };
        for word in
            ["WARN", "every replica writes", "get, create and update on leases in coordination.k8s.io", "RBAC.md"]
        {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert!(line.contains("vmcp=\"demo\"") && line.contains("namespace=\"default\""), "{line}");
        cluster.forbid(&[]);
        sleep(Duration::from_secs(70)).await;
        let logged = lines();
        assert!(logged.len() == 1 && logged[0].contains("leading"), "{logged:#?}");
        replica.reporter.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_leader_are_one_line_each_and_no_warning() {
    listen();
    let cluster = cluster();
    let one = Replica::start(&cluster, "one");
    one.leads_within(LOOK).await;
    let logged = lines();
    assert!(logged.len() == 1 && logged[0].contains("leading") && logged[0].contains("holder=\"one_"), "{logged:#?}");
    let two = Replica::start(&cluster, "two");
    sleep(Duration::from_secs(600)).await;
    let logged = lines();
    assert!(logged.len() == 1 && logged[0].contains("another replica leads"), "{logged:#?}");
    assert!(logged[0].contains("holder=\"one_") && logged[0].contains("lease=\"vmcp-status-demo\""), "{logged:#?}");
    one.reporter.shutdown().await;
    two.leads_within(LOOK).await;
    let logged = lines();
    assert!(logged.len() == 2 && logged[0].contains("handed over") && logged[1].contains("leading"), "{logged:#?}");
    assert!(logged.iter().all(|line| line.contains("INFO")), "{logged:#?}");
}

#[tokio::test(start_paused = true)]
async fn lost_term_is_one_warning_and_so_is_its_cause() {
    listen();
    let cluster = cluster();
    let one = Replica::start_with(&cluster, "one", |builder| builder.write_interval(Duration::from_secs(1)));
    one.leads_within(LOOK).await;
    lines();
    cluster.cut_off("one", true);
    for i in 0..600 {
        assert!(one.handle.report(said(i.to_string())));
        sleep(Duration::from_secs(1)).await;
    }
    let logged = lines();
    let lost: Vec<_> = logged.iter().filter(|line| line.contains("not leading any more")).collect();
    assert!(
        lost.len() == 1 && lost[0].contains("WARN") && lost[0].contains("no answer from the API server"),
        "{logged:#?}"
    );
    let lasting = logged.iter().filter(|line| line.contains("still not known")).count();
    assert!((2..=4).contains(&lasting), "in ten minutes, at growing gaps: {logged:#?}");
    // The write that was under way is spoken of while it hangs; its end is not.
    let hanging = logged.iter().filter(|line| line.contains("no answer from the store yet")).count();
    assert_eq!((hanging, logged.len()), (1, 2 + lasting), "{logged:#?}");
    cluster.cut_off("one", false);
    sleep(Duration::from_secs(30)).await;
    let logged = lines();
    let again = logged.iter().find(|line| line.contains(": leading")).expect("it leads again");
    assert!(again.contains("took=59") || again.contains("took=60"), "ten minutes in seconds: {again}");
    assert!(logged.iter().all(|line| line.contains("INFO")), "{logged:#?}");
}

#[tokio::test(start_paused = true)]
async fn server_that_is_down_for_an_hour_is_a_handful_of_warnings_at_growing_gaps() {
    listen();
    let cluster = cluster();
    cluster.cut_off("one", true);
    let one = Replica::start(&cluster, "one");
    assert!(one.handle.report(said("one")));
    sleep(Duration::from_secs(3600)).await;
    let logged = lines();
    assert!(logged.iter().all(|line| line.contains("not known which replica leads")), "{logged:#?}");
    assert!((8..=9).contains(&logged.len()), "after 1, 3, 7, 15 minutes, then each ten: {logged:#?}");
    assert!(logged[1].contains("lasting=") && logged[1].contains("error="), "{logged:#?}");
}
