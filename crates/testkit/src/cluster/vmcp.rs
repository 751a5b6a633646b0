//! ToolHive's genuine vMCP, on a file of backends and without a cluster.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::process::{LogLines, Process, free_port};
use super::{groupless, source};
use crate::served::Served;

const NAME: &str = "vmcp";

/// `vmcp serve`, as a process of its own. It is killed when this is dropped; its
/// log is printed if the test has failed.
pub struct VmcpProcess {
    config: PathBuf,
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
    log: LogLines,
    groupless: Served,
}

impl VmcpProcess {
    /// Starts it on this configuration; where that lists no backends, it asks an API
    /// server that has no group. Its home and its log are in the folder.
    pub fn start(config: &Path, dir: &Path) -> Self {
        let (config, dir, log) = (config.to_owned(), dir.to_owned(), LogLines::of(NAME, dir));
        let groupless = groupless::serve();
        let mut vmcp = VmcpProcess { config, dir, port: free_port(), process: None, log, groupless };
        vmcp.start_again();
        vmcp
    }

    /// Starts it after it was stopped, on the same port.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new(source::toolhive(NAME));
        command
            .env_clear()
            .env("HOME", &self.dir)
            .env("TOOLHIVE_SKIP_UPDATE_CHECK", "true")
            .env("TOOLHIVE_RUNTIME", "kubernetes")
            .env("KUBECONFIG", self.groupless.kubeconfig())
            .args(["--debug", "serve", "--host", "127.0.0.1", "--port", &self.port.to_string(), "-c"])
            .arg(&self.config);
        self.process = Some(Process::spawn(NAME, &mut command, &self.dir));
    }

    /// Asks it to end, as Kubernetes does, and waits until it has.
    pub async fn stop(&mut self) {
        self.process.take().expect("it runs").terminate().await;
    }

    /// What it answers at `/api/backends/health`; nothing while it does not
    /// listen.
    pub async fn health(&mut self) -> Option<Value> {
        if let Some(status) = self.process.as_mut()?.ended() {
            panic!("vmcp ended with {status}");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        // The older version of HTTP knows no chunks.
        stream.write_all(b"GET /api/backends/health HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The lines that it has logged since this was called last, over its restarts.
    pub fn new_log_lines(&mut self) -> Vec<String> {
        self.log.new_lines()
    }
}
