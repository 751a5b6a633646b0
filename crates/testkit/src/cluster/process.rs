//! Processes that a cluster runs, and the ports that they listen on.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Lines of a log that a failed test shows.
const SHOWN: usize = 40;

/// The ports that are given out. They lie below the range from which Linux gives
/// ports to outgoing connections: otherwise a client that dials a server while it is
/// down may be given the server's own port, and then the server cannot come back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port on which nothing listens and that this process has not given out before: its
/// owner may not listen yet, or may be stopped for a while.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<AtomicUsize> = LazyLock::new(|| {
        // Other processes begin elsewhere.
        let random = RandomState::new().build_hasher().finish();
        AtomicUsize::new(usize::try_from(random % (1 << 16)).expect("it is small"))
    });
    let next = || PORTS.clone().nth(GIVEN.fetch_add(1, Ordering::Relaxed) % PORTS.len()).expect("it is in the range");
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).take(1_000).find(is_free).expect("one of a thousand ports is free")
}

/// A process whose output goes to a file, which is printed if the test fails.
/// It is killed when this is dropped.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; appends to `NAME.log` in the folder.
    pub fn spawn(name: &'static str, command: &mut Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log).expect("the log can be opened");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor is free"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Process { name, child, log }
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Kills it at once.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is our child");
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).expect("it is our child and has not been waited for");
        }
        self.child.wait().await.expect("it is our child");
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what it has logged.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

/// Reads a log as it grows, over the restarts of its process.
pub struct LogLines {
    log: PathBuf,
    read: u64,
}

impl LogLines {
    /// The log of the process with this name, in this folder.
    pub fn of(name: &str, dir: &Path) -> Self {
        LogLines { log: dir.join(format!("{name}.log")), read: 0 }
    }

    /// The whole lines that have come since this was called last.
    pub fn new_lines(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(&self.log) else { return Vec::new() };
        let _ = file.seek(SeekFrom::Start(self.read)).expect("it is a file");
        let mut new = Vec::new();
        let _ = file.read_to_end(&mut new).expect("it can be read");
        new.truncate(new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        self.read += new.len() as u64;
        String::from_utf8_lossy(&new).lines().map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // By the macro, so that the test harness keeps it with the test.
            println!("--- the last lines of {}:\n{}", self.name, self.log_tail());
        }
    }
}
