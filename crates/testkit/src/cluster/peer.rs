//! ToolHive's own reporter, as the peer of ours.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{NAMESPACE, RealCluster, source};

/// Bound on an answer. Several on one large object make each other wait for
/// minutes: the one that loses a conflict reads and writes the whole again.
const PATIENCE: Duration = Duration::from_secs(300);

/// ToolHive's reporter (`pkg/vmcp/status`) in a process of its own, which is
/// killed when this is dropped.
pub struct Peer {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What the peer's reporter returned to its caller.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct PeerAnswer {
    /// Whether the report was stored.
    pub ok: bool,
    /// Why not; empty if it was.
    #[serde(default)]
    pub error: String,
    /// How long its caller waited.
    pub millis: f64,
}

impl RealCluster {
    /// Starts ToolHive's reporter on a `VirtualMCPServer`, with the token of this
    /// user.
    pub fn peer(&self, user: &str, name: &str) -> Peer {
        self.peer_at(&self.url(), user, name, &[])
    }

    /// As [`RealCluster::peer`], by way of this URL, such as that of a proxy, and
    /// with more arguments, such as `--qps`.
    pub fn peer_at(&self, url: &str, user: &str, name: &str, args: &[&str]) -> Peer {
        let mut child = Command::new(source::toolhive("toolhive-reporter"))
            .env_clear()
            .env("HOME", self.dir())
            .args(["--server", url, "--name", name, "--namespace", NAMESPACE])
            .arg("--token-file")
            .arg(self.token_file(user))
            .arg("--ca-file")
            .arg(self.ca_file())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("toolhive-reporter starts");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Peer { _child: child, input, output }
    }
}

impl Peer {
    /// Reports a status, and waits for what its reporter returns.
    pub async fn report(&mut self, status: &Value) -> PeerAnswer {
        let line = format!("{}\n", json!({"status": status}));
        self.input.write_all(line.as_bytes()).await.expect("toolhive-reporter reads");
        let answer = timeout(PATIENCE, self.output.next_line()).await.expect("toolhive-reporter answers in time");
        let answer = answer.expect("its output can be read").expect("toolhive-reporter goes on running");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}
