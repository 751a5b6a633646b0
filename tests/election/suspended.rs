//! A process that is stopped and goes on later, as by SIGSTOP and SIGCONT: its
//! runtime is not polled while the clock goes on.

use tokio::runtime::{Builder, Runtime};
use tokio::time::advance;

use super::*;

/// A process of its own: its clock is paused, and advances only while the test runs it.
struct Process(Runtime);

impl Process {
    fn new() -> Self {
        Process(Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"))
    }

    fn start(&self, cluster: &ElectionCluster, who: &'static str) -> Replica {
        let _inside = self.0.enter();
        Replica::start(cluster, who)
    }

    fn run(&self, time: Duration) {
        self.0.block_on(async { sleep(time).await });
    }

    /// Nothing in it happens for this long.
    fn stop(&self, time: Duration) {
        self.0.block_on(async { advance(time).await });
    }
}

/// Both for the same time, bit by bit.
fn run(processes: &[&Process], time: Duration) {
    let slice = Duration::from_millis(50);
    for _ in 0..time.as_millis() / slice.as_millis() {
        for process in processes {
            process.run(slice);
        }
    }
}

struct Two {
    cluster: ElectionCluster,
    first: (Process, Replica),
    second: (Process, Replica),
}

/// The first leads and both have something stored or to say.
fn two() -> Two {
    let cluster = cluster();
    let (one, two) = (Process::new(), Process::new());
    let first = one.start(&cluster, "first");
    assert!(first.handle.report(said("first")));
    run(&[&one, &two], Duration::from_secs(1));
    let second = two.start(&cluster, "second");
    assert!(second.handle.report(said("second")));
    run(&[&one, &two], Duration::from_secs(5));
    assert_eq!(stored(&cluster), "first");
    Two { cluster, first: (one, first), second: (two, second) }
}

fn writers(cluster: &ElectionCluster) -> Vec<&'static str> {
    status_writes(cluster).iter().map(|write| write.who).collect()
}

#[test]
fn leader_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on() {
    let Two { cluster, first: (one, first), second: (two, second) } = two();
    cluster.clear_sent();
    // The first receives a report while it is suspended.
    assert!(first.handle.report(said("too late")));
    run(&[&two], Duration::from_secs(20));
    assert_eq!((stored(&cluster).as_str(), writers(&cluster)), ("second", vec!["second"]));
    one.stop(Duration::from_secs(20));
    run(&[&one, &two], Duration::from_secs(30));
    assert_eq!((stored(&cluster).as_str(), writers(&cluster)), ("second", vec!["second"]));
    assert_eq!(
        (first.handle.leadership_state(), second.handle.leadership_state()),
        (LeadershipState::Standby, LeadershipState::Leading)
    );
}

#[test]
fn leader_that_was_suspended_without_a_takeover_asks_before_it_writes() {
    let Two { cluster, first: (one, first), second } = two();
    drop(second);
    cluster.clear_sent();
    assert!(first.handle.report(said("later")));
    one.stop(Duration::from_secs(12));
    one.run(Duration::from_secs(3));
    let sent = cluster.sent();
    let renewed = sent.iter().position(|sent| sent.is_of_lease() && sent.code == Some(200)).expect("renewed");
    let wrote = sent.iter().position(SentRequest::writes_status).expect("written");
    assert!(renewed < wrote, "{sent:?}");
    assert_eq!(stored(&cluster), "later");
}

#[test]
fn write_that_was_connecting_when_its_process_was_stopped_is_not_sent_after_the_term() {
    let Two { cluster, first: (one, first), second: (two, second) } = two();
    cluster.clear_sent();
    cluster.set_connecting(Duration::from_millis(100));
    assert!(first.handle.report(said("under way")));
    one.run(Duration::from_millis(50));
    assert_eq!(writers(&cluster), Vec::<&str>::new(), "it has not arrived");
    cluster.set_connecting(Duration::ZERO);
    // No other client writes, so the version of the object would still be right.
    assert!(second.handle.report(said("first")));
    run(&[&two], Duration::from_secs(20));
    assert_eq!(second.handle.leadership_state(), LeadershipState::Leading);
    assert_eq!(writers(&cluster), Vec::<&str>::new());
    one.stop(Duration::from_secs(20));
    run(&[&one, &two], Duration::from_secs(10));
    assert_eq!((stored(&cluster).as_str(), writers(&cluster)), ("first", Vec::new()));
    assert_eq!(first.handle.leadership_state(), LeadershipState::Standby);
}

#[test]
fn suspending_either_replica_many_times_never_makes_two_writers() {
    let Two { cluster, first: (one, first), second: (two, second) } = two();
    for (round, seconds) in [3u64, 9, 11, 14, 16, 20, 40, 10, 12, 15].into_iter().enumerate() {
        cluster.clear_sent();
        let (stopped, stopped_replica, other) = match first.handle.leadership_state() {
            LeadershipState::Leading => (&one, &first, &two),
            _ => (&two, &second, &one),
        };
        assert!(stopped_replica.handle.report(said(format!("stopped {round}"))));
        run(&[other], Duration::from_secs(seconds));
        let before = writers(&cluster);
        stopped.stop(Duration::from_secs(seconds));
        assert!(first.handle.report(said(format!("first {round}"))));
        assert!(second.handle.report(said(format!("second {round}"))));
        run(&[&one, &two], Duration::from_secs(30));
        let mut turns = writers(&cluster);
        turns.dedup();
        assert_eq!(turns.len(), 1, "{seconds} s: {before:?}, then {turns:?}");
    }
}
