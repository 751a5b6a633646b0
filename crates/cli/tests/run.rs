//! What `run` stores: of refusals of every kind, and across restarts.

#![allow(clippy::float_cmp, reason = "small whole numbers")]

use vmcp_status_testkit::mcp::{Behaviour, McpServer};
use vmcp_status_testkit::openmetrics::Scrape;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vmcp_status::{BackendStatus, StateFile, Status};

/// Only ends a test that would hang for ever.
const GUARD: Duration = Duration::from_secs(60);

/// A state directory with a configuration.
struct Yard(TempDir);

impl Yard {
    /// Backends by name, address and other members, checked often.
    fn with(backends: &[(&str, &McpServer, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // A machine under load answers late: the checks have time here.
        let mut yaml = String::from("name: yard\ninterval: 50ms\ntimeout: 20s\ndegradedAbove: 20s\nbackends:\n");
        for (name, server, others) in backends {
            let _ = writeln!(yaml, "- {{name: {name}, url: '{}'{others}}}", server.url());
        }
        std::fs::write(dir.path().join("vmcp.yaml"), yaml).expect("written");
        Yard(dir)
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("yard.json")
    }

    fn run(&self, args: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
        command.env_clear().env("VMCP_STATE_DIR", self.0.path()).env("TOKEN", "t0ken").stdin(Stdio::null());
        command.args(["run", "--write-interval", "10ms", "-c"]).arg(self.0.path().join("vmcp.yaml")).args(args);
        Program(command.stderr(Stdio::piped()).spawn().expect("it starts"))
    }

    /// Waits until what is stored of this backend is as wanted.
    async fn wait_for(&self, name: &str, status: BackendStatus, message: &str) -> Status {
        let look = async {
            loop {
                if let Ok(state) = StateFile::load(&self.state())
                    && state.status.backend(name).is_some_and(|b| b.status == status && b.message == message)
                {
                    return state.status;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(GUARD, look).await;
        found
            .unwrap_or_else(|_| panic!("{name} is not {status} with {message:?}: {:?}", StateFile::load(&self.state())))
    }
}

/// Does not outlive a test that fails.
struct Program(Child);

impl Program {
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_from_failures_and_from_each_other() {
    let limited = McpServer::start(Behaviour::Modern).await;
    let always_limited = McpServer::start(Behaviour::RateLimited("1")).await;
    let denied = McpServer::start(Behaviour::Forbidden).await;
    let locked = McpServer::start(Behaviour::WantsBearer("another".into())).await;
    let challenged = McpServer::start(Behaviour::ForbiddenWithChallenge).await;
    let yard = Yard::with(&[
        ("limited", &limited, ""),
        ("always-limited", &always_limited, ""),
        ("denied", &denied, ""),
        ("forgotten", &locked, ""),
        ("at-use", &locked, ", authType: token_exchange"),
        ("refused", &locked, ", authType: header_injection, bearerTokenEnv: TOKEN"),
        ("challenged", &challenged, ""),
    ]);
    let program = yard.run(&[]);
    for (name, status, message) in [
        ("limited", BackendStatus::Ready, ""),
        ("always-limited", BackendStatus::Unknown, "Rate limited"),
        ("denied", BackendStatus::Unavailable, "Access denied"),
        ("forgotten", BackendStatus::Unauthenticated, "Authentication required"),
        ("at-use", BackendStatus::Ready, "Credentials are checked at use"),
        ("refused", BackendStatus::Unavailable, "Authentication failed"),
        ("challenged", BackendStatus::Unauthenticated, "Authentication required"),
    ] {
        yard.wait_for(name, status, message).await;
    }
    limited.set(Behaviour::RateLimited("0"));
    yard.wait_for("limited", BackendStatus::Ready, "Rate limited").await;
    limited.set(Behaviour::Modern);
    let last = yard.wait_for("limited", BackendStatus::Ready, "").await;
    assert_eq!(last.backend_count, 4, "what routes: limited, forgotten, at-use, challenged");
    program.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_restarts_change_no_phase_condition_or_transition_time_and_write_at_most_once_each() {
    let (modern, legacy) = (McpServer::start(Behaviour::Modern).await, McpServer::start(Behaviour::Legacy).await);
    let yard = Yard::with(&[("a", &modern, ""), ("b", &legacy, "")]);
    let program = yard.run(&[]);
    yard.wait_for("a", BackendStatus::Ready, "").await;
    yard.wait_for("b", BackendStatus::Ready, "").await;
    program.end();
    let said = |path: &Path| {
        let status = StateFile::load(path).expect("a state").status;
        let backends: Vec<_> = status.discovered_backends.iter().map(|b| (b.name.clone(), b.status)).collect();
        (status.phase, status.message, status.conditions, backends, status.backend_count)
    };
    let before = said(&yard.state());
    assert!(before.2.iter().all(|condition| condition.last_transition_time.is_some()));
    for restart in 1..=10 {
        modern.clear_log();
        legacy.clear_log();
        let mut program = yard.run(&["--listen", "127.0.0.1:0"]);
        let address = address(&mut program);
        // The first check of either is four requests; and so it has been reported.
        let checked_again = async {
            while modern.requests() < 5 || legacy.requests() < 5 {
                assert_eq!(said(&yard.state()), before, "restart {restart}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, checked_again).await.expect("it checks");
        let written = Scrape::parse(&metrics(&address)).sum("vmcp_status_writes_total");
        // Each write puts another file in the place of the last.
        let inode = || std::fs::metadata(yard.state()).expect("a state").ino();
        let running = inode();
        program.end();
        let at_the_end = if inode() == running { 0.0 } else { 1.0 };
        assert!(written + at_the_end <= 1.0, "restart {restart}: {written} writes, and {at_the_end} at the end");
        assert_eq!(said(&yard.state()), before, "restart {restart}");
    }
}

/// The address in the log line of a program that listens.
fn address(program: &mut Program) -> String {
    let mut log = BufReader::new(program.0.stderr.take().expect("piped")).lines();
    let line = log.find_map(|line| line.ok().filter(|line| line.contains("\"address\"")));
    let entry: serde_json::Value = serde_json::from_str(&line.expect("it listens")).expect("JSON");
    // Nothing that it logs later may block it.
    std::thread::spawn(move || log.for_each(drop));
    entry["address"].as_str().expect("an address").to_owned()
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(GUARD)).expect("a time");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}
