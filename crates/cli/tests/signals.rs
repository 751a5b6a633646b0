//! What signals do to the program: no word that was in the pipe is lost.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use vmcp_status::{StateFile, Status};

/// Ends only a test that would hang for ever.
const GUARD: Duration = Duration::from_secs(60);

fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
    command.env_clear().env("VMCP_STATE_DIR", dir).args(args);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn state(dir: &Path) -> Option<Status> {
    StateFile::load(&dir.join("vmcp.json")).ok().map(|state| state.status)
}

async fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            match found() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(GUARD, look).await.expect("it comes about")
}

async fn ended(child: Child) -> Output {
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    tokio::time::timeout(GUARD, ended).await.expect("it ends").expect("no panic").expect("it ran")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn upserts(names: std::ops::Range<u32>) -> String {
    names.fold(String::new(), |mut lines, i| {
        writeln!(lines, r#"{{"upsertBackend":{{"name":"b{i}","status":"ready"}}}}"#).expect("a String");
        lines
    })
}

/// A `report` that has stored its first line, and so listens for signals.
async fn reporting(dir: &TempDir, args: &[&str]) -> (Child, ChildStdin) {
    let mut child = program(dir.path(), args).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(upserts(0..1).as_bytes()).expect("it reads");
    until(|| state(dir.path()).filter(|status| status.backend("b0").is_some())).await;
    (child, input)
}

#[tokio::test]
async fn lines_that_are_in_the_pipe_when_a_signal_comes_are_stored_in_every_run() {
    for run in 0..20 {
        let dir = tempfile::tempdir().expect("a directory");
        let (child, mut input) = reporting(&dir, &["report"]).await;
        input.write_all(upserts(1..301).as_bytes()).expect("they fit the pipe");
        let signal = [Signal::TERM, Signal::INT, Signal::HUP][run % 3];
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        drop(input);
        let output = ended(child).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let stored = state(dir.path()).expect("a state").discovered_backends.len();
        assert_eq!(stored, 301, "run {run}, {signal:?}");
    }
}

#[tokio::test]
async fn bad_line_that_is_read_after_a_signal_makes_the_exit_code_1() {
    let dir = tempfile::tempdir().expect("a directory");
    let (child, mut input) = reporting(&dir, &["report"]).await;
    let lines = upserts(1..300) + "not an update\n" + &upserts(300..301);
    input.write_all(lines.as_bytes()).expect("they fit the pipe");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    drop(input);
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("line 301: not an update"), "{}", text(&output.stderr));
    assert_eq!(state(dir.path()).expect("a state").discovered_backends.len(), 301);
}

#[tokio::test]
async fn input_that_does_not_end_is_left_after_the_grace_with_what_was_in_it_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let (child, mut input) = reporting(&dir, &["report", "--shutdown-grace", "1s", "--write-interval", "1h"]).await;
    input.write_all(upserts(1..301).as_bytes()).expect("they fit the pipe");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let output = ended(child).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("input did not end"), "{}", text(&output.stderr));
    assert_eq!(state(dir.path()).expect("a state").discovered_backends.len(), 301);
    drop(input);
}

#[tokio::test]
async fn ctrl_c_for_a_pipeline_keeps_the_last_word_of_the_gateway() {
    let dir = tempfile::tempdir().expect("a directory");
    let phase = |message: &str| format!(r#"{{"setPhase":{{"phase":"Failed","message":"{message}"}}}}"#);
    let (first, last) = (phase("first"), phase("last word"));
    // It takes its time to end, as gateways do.
    let script =
        format!("trap 'sleep 0.5; echo '\"'\"'{last}'\"'\"'; exit' INT; echo '{first}'; while :; do sleep 0.05; done");
    let mut gateway = Command::new("/bin/sh");
    let gateway = gateway.args(["-c", &script]).stdout(Stdio::piped()).process_group(0).spawn();
    let mut gateway = gateway.expect("a shell");
    let group = Pid::from_child(&gateway);
    let mut report = program(dir.path(), &["report"]);
    report.stdin(gateway.stdout.take().expect("piped")).process_group(group.as_raw_nonzero().get());
    let child = report.spawn().expect("it starts");
    until(|| state(dir.path()).filter(|status| status.message == "first")).await;
    kill_process_group(group, Signal::INT).expect("they run");
    let output = ended(child).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(state(dir.path()).expect("a state").message, "last word");
    gateway.wait().expect("it ended");
}

/// A configuration with one backend that is never checked again.
fn config(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("vmcp.yaml");
    std::fs::write(&path, "interval: 1h\nbackends:\n- {name: b0, url: 'http://127.0.0.1:1/mcp'}\n").expect("written");
    path
}

/// Runs the program in a session of its own with a terminal, which closes when
/// this process ends.
fn in_a_terminal(dir: &TempDir, args: &str) -> (Child, PathBuf) {
    let log = dir.path().join("log");
    let (binary, config) = (env!("CARGO_BIN_EXE_vmcp-status"), config(dir));
    let line = format!("exec {binary} run -c {} {args} 2> {}", config.display(), log.display());
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).env("VMCP_STATE_DIR", dir.path()).env_remove("RUST_LOG");
    let terminal = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("script of util-linux");
    (terminal, log)
}

fn writer(dir: &TempDir) -> Option<Pid> {
    let state = StateFile::load(&dir.path().join("vmcp.json")).ok()?;
    Pid::from_raw(i32::try_from(state.writer.pid).expect("a pid"))
}

#[tokio::test]
async fn terminal_that_closes_ends_run_and_its_log_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut terminal, log) = in_a_terminal(&dir, "");
    let pid = until(|| writer(&dir)).await;
    terminal.kill().expect("it runs");
    terminal.wait().expect("it ends");
    let read = || std::fs::read_to_string(&log).ok();
    until(|| read().filter(|log| log.contains(r#""signal":"SIGHUP""#) && log.contains("ending"))).await;
    until(|| rustix::process::test_kill_process(pid).is_err().then_some(())).await;
}

#[tokio::test]
async fn run_in_a_terminal_reloads_on_hang_up_where_that_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut terminal, log) = in_a_terminal(&dir, "--reload-on-hup");
    let pid = until(|| writer(&dir)).await;
    kill_process(pid, Signal::HUP).expect("it runs");
    let read = || std::fs::read_to_string(&log).ok();
    until(|| read().filter(|log| log.contains("configuration read again"))).await;
    kill_process(pid, Signal::TERM).expect("it still runs");
    terminal.wait().expect("it ends");
}

#[tokio::test]
async fn run_without_a_terminal_reloads_on_hang_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("setsid");
    command.args([env!("CARGO_BIN_EXE_vmcp-status"), "run", "-c"]).arg(config(&dir));
    command.env("VMCP_STATE_DIR", dir.path()).env_remove("RUST_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("setsid of util-linux");
    let pid = until(|| writer(&dir)).await;
    // The configuration that is read again says that it was.
    let yaml = std::fs::read_to_string(dir.path().join("vmcp.yaml")).expect("there").replace("b0", "b1");
    std::fs::write(dir.path().join("vmcp.yaml"), yaml).expect("written");
    kill_process(pid, Signal::HUP).expect("it runs");
    until(|| state(dir.path()).filter(|status| status.backend("b1").is_some())).await;
    kill_process(pid, Signal::TERM).expect("it still runs");
    let output = ended(child).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
}
