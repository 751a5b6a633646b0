//! Our reporter as a user runs it: the program, told what to report line by line.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use vmcp_status_testkit::cluster::RealCluster;

use super::{NAME, backend};

pub struct Ours {
    child: Child,
    input: ChildStdin,
    log: PathBuf,
}

impl Ours {
    /// Derives phase and conditions, with the role that the operator gives.
    pub fn start(cluster: &RealCluster, args: &[&str]) -> Self {
        Self::start_as(cluster, "operator", args)
    }

    pub fn start_as(cluster: &RealCluster, user: &str, args: &[&str]) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = cluster.dir().join(format!("ours-{count}.log"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_vmcp-status"))
            .env_clear()
            .env("HOME", cluster.dir())
            .args(["report", "--derive", "--kubernetes", NAME, "-n", "default", "--kubeconfig"])
            .arg(cluster.kubeconfig(user))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("it can be created"))
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("it is piped");
        Ours { child, input, log }
    }

    pub async fn say(&mut self, update: Value) {
        self.input.write_all(format!("{update}\n").as_bytes()).await.expect("the program reads");
    }

    pub async fn backend(&mut self, name: &str, status: &str) {
        self.say(json!({"upsertBackend": backend(name, status)})).await;
    }

    /// Both backends of most tests.
    pub async fn both(&mut self, a: &str, b: &str) {
        self.say(json!({"replaceBackends": {"source": "test", "backends": [backend("a", a), backend("b", b)]}})).await;
    }

    /// Ends it as the end of its input does, and waits until it has.
    pub async fn end(self) {
        let Ours { mut child, input, log } = self;
        drop(input);
        let ended = timeout(Duration::from_secs(30), child.wait()).await.expect("it ends in time").expect("it ends");
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.success(), "{ended}: {log}");
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// The lines that it has logged with this in them.
    pub fn logged(&self, word: &str) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(word)).map(String::from).collect()
    }
}
