//! A directory of state files, and the program that shows them.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(60);

/// State files, written as a reporter in any language may.
pub struct States(TempDir);

impl States {
    pub fn new() -> Self {
        States(tempfile::tempdir().expect("a directory"))
    }

    /// Two states whose writer is this process.
    pub fn two() -> Self {
        let states = States::new();
        states.put("tools", &state("tools", std::process::id(), "1 of 2 backends routable, 1 unavailable"));
        states.put("notes", &state("notes", std::process::id(), "fine"));
        states
    }

    pub fn put(&self, name: &str, state: &Value) {
        self.put_text(name, &state.to_string());
    }

    /// As a reporter does it: a reader never sees half of it.
    pub fn put_text(&self, name: &str, text: &str) {
        let beside = self.path().join(".beside");
        fs::write(&beside, text).expect("written");
        fs::rename(beside, self.path().join(format!("{name}.json"))).expect("in place");
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
        command.arg("get").args(args).env("VMCP_STATE_DIR", self.path()).stdin(Stdio::null());
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    pub fn get(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("it runs"))
    }

    pub fn watch(&self, args: &[&str]) -> Watch {
        let mut command = self.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let out = lines(child.stdout.take().expect("piped"));
        let err = lines(child.stderr.take().expect("piped"));
        Watch { child, out, err }
    }
}

pub fn state(name: &str, pid: u32, message: &str) -> Value {
    json!({
        "apiVersion": "toolhive.stacklok.dev/v1beta1",
        "kind": "VirtualMCPServer",
        "metadata": {"name": name},
        "status": {
            "phase": "Degraded",
            "message": message,
            "backendCount": 1,
            "discoveredBackends": [
                {"name": "b1", "url": "http://b1:8080/mcp", "status": "ready", "authType": "oauth2"},
                {"name": "b2", "status": "unavailable", "message": "refused"},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "ServerDegraded", "message": ""}],
            "future": {"field": 1},
        },
        "writer": {"pid": pid, "time": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)},
    })
}

pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn said(output: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// One that follows, and what it prints line by line.
pub struct Watch {
    child: Child,
    out: Receiver<String>,
    pub err: Receiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
    receiver
}

/// Waits for the next line.
pub fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(LIMIT).expect("another line")
}

impl Watch {
    pub fn line(&self) -> String {
        next(&self.out)
    }

    /// Asks it to end; what it still printed.
    pub fn end(mut self) -> Vec<String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it runs");
        let rest: Vec<_> = std::iter::from_fn(|| match self.out.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
        })
        .collect();
        assert_eq!(self.child.wait().expect("ended").code(), Some(0));
        rest
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
