//! How much memory the program takes. Times and sizes are those of the build
//! that is tested: `cargo test --release --test budgets agent -- --nocapture`
//! is the one that counts.

#[path = "../support/mcp.rs"]
mod mcp;

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mcp::{Behaviour, McpServer};
use tempfile::TempDir;
use vmcp_status::StateFile;

/// Of 1,024 bytes. The code of a debug build is several times as large, and
/// what has been run of it is resident.
const BUDGET: u64 = if cfg!(debug_assertions) { 40_000 } else { 20_000 };

struct Agent {
    child: Child,
    dir: TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    fn start(dir: TempDir, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
        command.env_clear().env("VMCP_STATE_DIR", dir.path()).current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Agent { child: command.args(args).spawn().expect("it starts"), dir }
    }

    /// Waits until the state file is there.
    async fn has_stored(&self) {
        let path = self.dir.path().join("idle.json");
        let look = async {
            while StateFile::load(&path).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("it stores something");
    }

    async fn has_stored_message(&self, message: &str) {
        let path = self.dir.path().join("idle.json");
        let look = async {
            while !StateFile::load(&path).is_ok_and(|state| state.status.message == message) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("it stores it");
    }

    /// What is resident, in KiB: all, and of that what is not a file's.
    fn resident(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        (of("VmRSS:"), of("RssAnon:"))
    }

    fn is_small(&self, what: &str) {
        let (all, own) = self.resident();
        println!("{what}: {all} KiB resident, of which {own} KiB are its own");
        assert!(all <= BUDGET, "{what}: {all} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_agent_that_checks_one_backend_stays_small() {
    let server = McpServer::start_tls(Behaviour::Modern).await;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("ca.pem"), server.certificate().expect("it has one")).expect("written");
    let config =
        format!("name: idle\ninterval: 20ms\ncaFile: ca.pem\nbackends:\n- {{name: one, url: '{}'}}\n", server.url());
    std::fs::write(dir.path().join("vmcp.yaml"), config).expect("written");
    let agent = Agent::start(dir, &["run", "-c", "vmcp.yaml"]);
    agent.has_stored().await;
    // It has seen everything that it does more than once.
    let checked = async {
        while server.requests() < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), checked).await.expect("it checks");
    agent.is_small("run, one backend over TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_report_stays_small() {
    let mut agent = Agent::start(tempfile::tempdir().expect("a directory"), &["report", "--name", "idle"]);
    let mut input = agent.child.stdin.take().expect("piped");
    input.write_all(b"{\"upsertBackend\":{\"name\":\"one\",\"status\":\"ready\"}}\n").expect("it reads");
    agent.has_stored().await;
    agent.is_small("report, one backend");
    drop(input);
}

#[tokio::test(flavor = "multi_thread")]
async fn report_that_was_sent_six_long_messages_stays_small() {
    for (what, length) in [("lines beyond the bound", 50 << 20), ("lines within it", 7 << 20)] {
        let mut agent = Agent::start(tempfile::tempdir().expect("a directory"), &["report", "--name", "idle"]);
        let mut input = agent.child.stdin.take().expect("piped");
        let message = "x".repeat(length);
        for i in 0..6 {
            let line = format!("{{\"upsertBackend\":{{\"name\":\"long-{i}\",\"message\":\"{message}\"}}}}\n");
            input.write_all(line.as_bytes()).expect("it reads");
        }
        input.write_all(b"{\"setPhase\":{\"phase\":\"Ready\",\"message\":\"last\"}}\n").expect("it reads");
        agent.has_stored_message("last").await;
        agent.is_small(what);
        drop(input);
    }
}
