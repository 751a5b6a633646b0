//! Several processes of the program on one object of a real API server: one
//! writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;
use vmcp_status_testkit::cluster::RealCluster;

const NAME: &str = "demo";
const LEASE: &str = "vmcp-status-demo";
const DURATION: Duration = Duration::from_secs(3);
/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    server: RealCluster,
    history: History,
}

/// Every status that the object has had, as a watcher saw it.
#[derive(Clone, Default)]
struct History(Arc<Mutex<Vec<Value>>>);

impl History {
    fn messages(&self) -> Vec<String> {
        let seen = self.0.lock().expect("nobody panics here");
        let message = |object: &Value| object["status"]["message"].as_str().unwrap_or_default().to_owned();
        let mut messages: Vec<String> = seen.iter().map(message).collect();
        messages.dedup();
        messages
    }

    fn forget(&self) {
        self.0.lock().expect("nobody panics here").clear();
    }
}

impl Cluster {
    async fn start() -> Self {
        let server = RealCluster::start(vmcp_status::crd()).await;
        server.create(NAME).await;
        let history = History::default();
        server.record(NAME, Arc::clone(&history.0)).await;
        Cluster { server, history }
    }

    async fn message(&self) -> String {
        let object = self.server.object(NAME).await.expect("it is there");
        object["status"]["message"].as_str().unwrap_or_default().to_owned()
    }

    async fn eventually(&self, message: &str) -> Duration {
        let start = Instant::now();
        while self.message().await != message {
            assert!(start.elapsed() < LIMIT, "{message} is not stored, but {:?}", self.message().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    }

    async fn holder(&self) -> String {
        let lease = self.server.lease(LEASE).await.unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    fn report(&self, who: &str, user: &str) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vmcp-status"))
            .env_clear()
            .env("POD_NAME", who)
            .args(["report", "--kubernetes", NAME, "-n", "default", "--leader-elect", "--lease-duration", "3s"])
            .args(["--write-interval", "100ms", "--refresh", "1s", "--log-format", "json", "--kubeconfig"])
            .arg(self.server.kubeconfig(user))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (stderr, to) = (child.stderr.take().expect("piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            lines.for_each(|line| to.lock().expect("nobody panics here").push(line));
        });
        Process { input: child.stdin.take(), child, log }
    }
}

struct Process {
    child: Child,
    /// None once its gateway has ended.
    input: Option<ChildStdin>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn say(&mut self, message: &str) {
        let update = json!({"snapshot": {"phase": "Ready", "message": message}});
        let input = self.input.as_mut().expect("its gateway goes on");
        writeln!(input, "{update}").expect("it reads");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("nobody panics here").clone()
    }

    async fn logs(&self, words: &str) {
        let start = Instant::now();
        while !self.log().iter().any(|line| line.contains(words)) {
            assert!(start.elapsed() < LIMIT, "{words} is not logged: {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a rolling update does, with its gateway, which gets the signal too;
    /// returns its exit code.
    fn end(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.input = None;
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn process_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on() {
    let cluster = Cluster::start().await;
    let mut first = cluster.report("first", "electing");
    first.say("of the first");
    cluster.eventually("of the first").await;
    let mut stored = "of the first".to_owned();
    for round in 0..4 {
        let mut second = cluster.report("second", "electing");
        second.logs("another replica leads").await;
        assert!(cluster.holder().await.starts_with("first_"));
        cluster.history.forget();
        first.signal(Signal::STOP);
        let stopped = Instant::now();
        first.say(&format!("too late {round}"));
        // Each other time it has nothing to write, and so the version that the
        // first one knows stays right: nothing but its lease keeps it back.
        if round % 2 == 0 {
            stored = format!("of the second {round}");
        }
        second.say(&stored);
        second.logs("\"leading\"").await;
        cluster.eventually(&stored).await;
        println!("taken over in {:?}", stopped.elapsed());
        assert!(cluster.holder().await.starts_with("second_"));
        tokio::time::sleep(DURATION).await;
        first.signal(Signal::CONT);
        tokio::time::sleep(DURATION * 2).await;
        let messages = cluster.history.messages();
        assert!(!messages.iter().any(|said| said.contains("too late")), "{messages:?}: {:#?}", first.log());
        assert_eq!(cluster.message().await, stored);
        // And back, so that the first one leads again.
        let ended = Instant::now();
        assert_eq!(second.end(), Some(0));
        stored = format!("of the first {round}");
        first.say(&stored);
        cluster.eventually(&stored).await;
        println!("handed over in {:?}", ended.elapsed());
    }
    let log = first.log();
    assert!(log.iter().any(|line| line.contains("not leading any more")), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("status not stored")), "no scare: {log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn rolling_update_leaves_no_gap() {
    let cluster = Cluster::start().await;
    let mut old = cluster.report("old", "electing");
    old.say("of the old");
    cluster.eventually("of the old").await;
    let mut new = cluster.report("new", "electing");
    new.say("of the new");
    new.logs("another replica leads").await;
    old.say("last word of the old");
    // Its input has to reach it before the signal does.
    cluster.eventually("last word of the old").await;
    let ended = Instant::now();
    assert_eq!(old.end(), Some(0), "{:#?}", old.log());
    cluster.eventually("of the new").await;
    println!("the new replica's status was stored {:?} after SIGTERM to the old one", ended.elapsed());
    assert!(ended.elapsed() < DURATION, "by a hand-over, not when the lease ran out");
    assert!(old.log().iter().any(|line| line.contains("lease handed over")), "{:#?}", old.log());
    assert_eq!(cluster.history.messages(), ["", "of the old", "last word of the old", "of the new"]);
    let lease = cluster.server.lease(LEASE).await.expect("it is there");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    assert_eq!(new.end(), Some(0));
    assert_eq!(cluster.holder().await, "");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn process_on_standby_ends_well_at_sigterm() {
    let cluster = Cluster::start().await;
    let mut leader = cluster.report("leader", "electing");
    leader.say("of the leader");
    cluster.eventually("of the leader").await;
    let mut standby = cluster.report("standby", "electing");
    standby.say("of the standby");
    standby.logs("another replica leads").await;
    assert_eq!(standby.end(), Some(0), "{:#?}", standby.log());
    assert_eq!(cluster.history.messages(), ["", "of the leader"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real API server, see crates/testkit/cluster/README.md"]
async fn without_the_verbs_every_process_writes_and_says_once_what_is_missing() {
    let cluster = Cluster::start().await;
    let (mut one, mut two) = (cluster.report("one", "least"), cluster.report("two", "least"));
    for (process, message) in [(&mut one, "of one"), (&mut two, "of two")] {
        process.say(message);
        process.logs("every replica writes").await;
        cluster.eventually(message).await;
        assert_eq!(process.end(), Some(0));
    }
    let lines = two.log().into_iter().filter(|line| line.contains("leases in coordination.k8s.io")).count();
    assert_eq!(lines, 1, "{:#?}", two.log());
}

/// Runs it on an empty input, and returns its exit code and what it complained
/// about.
fn complaint(args: &[&str], elect: Option<&str>) -> (Option<i32>, String) {
    let state = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().envs(elect.map(|value| ("VMCP_LEADER_ELECT", value))).stdin(Stdio::null());
    let output = command.arg("report").args(args).arg("--state-dir").arg(state.path()).output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn election_without_a_cluster_is_an_error_that_names_what_asked_for_it() {
    for (args, elect) in [(&["--leader-elect"][..], None), (&[], Some("true")), (&[], Some("1"))] {
        let (code, error) = complaint(args, elect);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("--kubernetes") && error.contains("VMCP_LEADER_ELECT"), "{error}");
    }
    for off in ["", "0", "false"] {
        assert_eq!(complaint(&[], Some(off)).0, Some(0), "{off:?}");
    }
}

#[test]
fn settings_of_an_election_that_make_no_sense_are_wrong_usage() {
    for args in [
        &["--lease-duration", "3s"][..],
        &["--lease-name", "mine"],
        &["--leader-elect", "--lease-duration", "999ms"],
        &["--leader-elect", "--lease-duration", "2h"],
        &["--leader-elect", "--lease-duration", "soon"],
    ] {
        let (code, error) = complaint(args, None);
        assert_eq!(code, Some(2), "{args:?}: {error}");
    }
    let with_variable = complaint(&["--lease-duration", "3s"], Some("true"));
    assert_eq!(with_variable.0, Some(1), "it is asked for by the variable: {}", with_variable.1);
}
