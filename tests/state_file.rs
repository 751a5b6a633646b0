//! The file sink on a real file system.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use serde_json::{Value, json};
use vmcp_status::{
    BackendStatus, Condition, ConditionStatus, DiscoveredBackend, FileSink, FlushError, Phase, Reporter, Retry,
    Sink as _, StateFile, StateFileError, Status,
};

fn ready() -> Status {
    Status {
        phase: Phase::Ready,
        message: "all is well".into(),
        conditions: vec![Condition::unchecked("Ready", ConditionStatus::True, "ServerReady", "")],
        ..Status::from_backends([DiscoveredBackend { status: BackendStatus::Ready, ..DiscoveredBackend::named("a") }])
    }
}

fn sink(dir: &Path) -> FileSink {
    FileSink::in_dir(dir, "demo").expect("a good name")
}

#[tokio::test]
async fn state_has_the_form_of_a_virtual_mcp_server_and_its_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let nested = dir.path().join("not/there/yet");
    let mut sink = sink(&nested).refreshed_every(Some(Duration::from_secs(30)));
    sink.write(&ready()).await.expect("written");
    let text = fs::read_to_string(nested.join("demo.json")).expect("a file");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["apiVersion"], "toolhive.stacklok.dev/v1beta1");
    assert_eq!((&json["kind"], &json["metadata"]["name"]), (&"VirtualMCPServer".into(), &"demo".into()));
    assert_eq!(json["status"]["discoveredBackends"][0]["status"], "ready");
    assert_eq!(json["status"]["backendCount"], 1);
    assert_eq!((&json["writer"]["pid"], &json["writer"]["refreshSeconds"]), (&std::process::id().into(), &30.into()));
    let mode = fs::metadata(sink.path()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let loaded = StateFile::load(sink.path()).expect("loads");
    assert_eq!(loaded.status, ready());
    assert_eq!(StateFile::names(&nested).expect("lists"), ["demo"]);
}

#[tokio::test]
async fn transition_times_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = async |second: i64| {
        let clock = move || DateTime::from_timestamp(second, 0).expect("in range");
        let (handle, reporter) = Reporter::builder(sink(dir.path())).wall_clock(clock).start();
        assert!(handle.report(Status { message: format!("at {second}"), ..ready() }));
        assert!(reporter.shutdown().await.is_complete());
        let status = StateFile::load(sink(dir.path()).path()).expect("loads").status;
        (status.message.clone(), status.conditions[0].last_transition_time)
    };
    let first = DateTime::from_timestamp(1000, 0);
    assert_eq!(run(1000).await, ("at 1000".into(), first));
    assert_eq!(run(2000).await, ("at 2000".into(), first));
}

#[tokio::test]
async fn unknown_circuit_state_reads_as_none_and_keeps_transition_times() {
    let dir = tempfile::tempdir().expect("a directory");
    let begin = |second: i64| {
        let clock = move || DateTime::from_timestamp(second, 0).expect("in range");
        Reporter::builder(sink(dir.path())).wall_clock(clock).start()
    };
    let (handle, reporter) = begin(1000);
    let _ = handle.report(ready());
    assert!(reporter.shutdown().await.is_complete());
    // A later version may know more states than this one.
    let path = dir.path().join("demo.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    json["status"]["discoveredBackends"][0]["circuitBreakerState"] = "ajar".into();
    fs::write(&path, json.to_string()).expect("written");
    let loaded = StateFile::load(&path).expect("it is a state all the same").status;
    assert_eq!(loaded.backend("a").map(|a| (a.status, a.circuit_breaker_state)), Some((BackendStatus::Ready, None)));

    let (handle, reporter) = begin(2000);
    let _ = handle.report(Status { message: "again".into(), ..ready() });
    assert!(reporter.shutdown().await.is_complete());
    let status = StateFile::load(&path).expect("loads").status;
    let since = status.condition("Ready").and_then(|ready| ready.last_transition_time);
    assert_eq!((status.message.as_str(), since), ("again", DateTime::from_timestamp(1000, 0)));
}

#[tokio::test]
async fn odd_value_of_a_backend_costs_itself_and_is_logged() {
    let lines = vmcp_status_testkit::logged::Logged::start();
    let dir = tempfile::tempdir().expect("a directory");
    let mut sink = sink(dir.path());
    sink.write(&ready()).await.expect("written");
    let mut state: Value = serde_json::from_slice(&fs::read(sink.path()).expect("a file")).expect("JSON");
    state["status"]["message"] = json!("kept");
    state["status"]["discoveredBackends"] =
        json!([{"name": "a", "status": "ready", "consecutiveFailures": -1, "lastHealthCheck": "junk"}]);
    fs::write(sink.path(), state.to_string()).expect("written");
    let state = StateFile::load(sink.path()).expect("a state");
    assert!(state.status.message == "kept" && state.status.discovered_backends[0].is_routable(), "{state:?}");
    let read = sink.read().await.expect("read").expect("a status");
    assert_eq!(read, state.status);
    let told = lines.lines(tracing::Level::WARN, "is not what it should be");
    assert_eq!(told.len(), 2, "one for each value: {told:?}");
}

#[tokio::test]
async fn read_only_directory_is_an_error_that_is_retried_until_it_is_writable() {
    // A file where the directory should be stops root too.
    let dir = tempfile::tempdir().expect("a directory");
    let state_dir = dir.path().join("state");
    fs::write(&state_dir, "in the way").expect("written");
    let policy = vmcp_status::BackoffPolicy {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(10),
        ..vmcp_status::BackoffPolicy::default()
    };
    let (handle, reporter) =
        Reporter::builder(sink(&state_dir)).write_interval(Duration::from_millis(1)).backoff(policy).start();
    let mut watch = handle.watch();
    assert!(handle.report(ready()));
    let progress = watch.wait_for(|progress| progress.last.is_some()).await.expect("alive").clone();
    let error = progress.last.expect("tried").result.expect_err("it cannot be written");
    assert!(error.message.contains("demo.json") && error.message.contains("directory"), "{}", error.message);
    let timed_out = handle.flush_within(Duration::from_millis(50)).await;
    assert!(matches!(timed_out, Err(FlushError::TimedOut { last: Some(_) })), "{timed_out:?}");
    fs::remove_file(&state_dir).expect("removed");
    handle.flush().await.expect("it has healed");
    assert_eq!(StateFile::load(&state_dir.join("demo.json")).expect("loads").status.message, "all is well");
    reporter.shutdown().await;
}

#[tokio::test]
async fn second_writer_is_refused_with_the_pid_of_the_first_and_takes_over_when_that_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut first, mut second) = (sink(dir.path()), sink(dir.path()));
    first.write(&ready()).await.expect("written");
    let error = second.write(&Status::default()).await.expect_err("the first has it");
    let pid = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&pid) && error.to_string().contains("demo.json"), "{error}");
    assert_eq!(error.retry(), Retry::Blocked);
    assert!(matches!(second.lock(), Err(StateFileError::InUse { pid: Some(pid), .. }) if pid == std::process::id()));
    assert_eq!(second.read().await.expect("readers do not lock"), Some(ready()));
    first.write(&ready()).await.expect("written again");
    drop(first);
    second.write(&Status::default()).await.expect("it takes over");
    assert_eq!(StateFile::names(dir.path()).expect("lists"), ["demo"], "the lock is not a state");
}

#[tokio::test]
async fn lock_can_be_acquired_before_the_first_write_or_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = sink(&dir.path().join("not/there/yet"));
    first.lock().expect("free");
    first.lock().expect("acquired once is enough");
    let mut second = sink(&dir.path().join("not/there/yet"));
    assert!(second.write(&ready()).await.is_err());
    let mut forced = sink(&dir.path().join("not/there/yet")).without_lock();
    forced.write(&ready()).await.expect("written regardless");
}

#[tokio::test]
async fn file_that_is_not_a_state_is_replaced() {
    for junk in ["", "{", "[]", "\0\0", r#"{"status":{"conditions":7}}"#] {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("demo.json"), junk).expect("written");
        let (handle, _reporter) = Reporter::builder(sink(dir.path())).start();
        assert!(handle.report(ready()));
        handle.flush().await.expect("stored");
        assert!(StateFile::load(sink(dir.path()).path()).is_ok(), "{junk:?}");
    }
}

#[tokio::test]
async fn temporary_files_that_killed_writers_left_are_removed_and_young_ones_are_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let make = |name: &str, age: u64| {
        let path = dir.path().join(name);
        let file = fs::File::create(&path).expect("created");
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("set");
        path
    };
    let old = make(".demo.json.abc.tmp", 3600);
    let others = [make(".demo.json.def.tmp", 0), make(".other.json.abc.tmp", 3600), make("demo.json.tmp", 3600)];
    sink(dir.path()).read().await.expect("read");
    assert!(!old.exists());
    assert!(others.iter().all(|other| other.exists()));
}

#[test]
fn write_that_was_given_up_before_it_began_stores_nothing_later() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build();
    runtime.expect("a runtime").block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut sink = sink(dir.path());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let only_thread = tokio::task::spawn_blocking(move || held.recv());
        let ready = ready();
        tokio::select! {
            biased;
            _ = sink.write(&ready) => unreachable!("the only thread is held"),
            () = tokio::task::yield_now() => {}
        }
        release.send(()).expect("it waits");
        only_thread.await.expect("no panic").expect("released");
        assert_eq!(sink.read().await.expect("readable"), None);
    });
}

#[tokio::test]
async fn interval_without_end_is_written_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut sink = sink(dir.path()).refreshed_every(Some(Duration::MAX));
    sink.write(&ready()).await.expect("written");
    assert_eq!(StateFile::load(sink.path()).expect("loads").writer.refresh_seconds, Some(u64::MAX));
}

#[test]
fn names_cannot_leave_the_directory() {
    let dir = Path::new("/states");
    let long = "x".repeat(300);
    for bad in ["", ".", "..", "../up", "a/b", "/etc/passwd", ".hidden", "a\0b", "a\\b", "naïve", "a b", &long] {
        assert!(matches!(StateFile::path(dir, bad), Err(StateFileError::Name(_))), "{bad:?}");
    }
    assert_eq!(StateFile::path(dir, "my-vmcp.v2").expect("a good name"), dir.join("my-vmcp.v2.json"));
}

#[tokio::test]
async fn restart_with_an_equal_status_names_the_new_process_as_the_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = Status { phase: Phase::Ready, message: "same".into(), ..Status::default() };
    let report = async || {
        let sink = FileSink::in_dir(dir.path(), "mine").expect("a name");
        let path = sink.path().to_owned();
        let (handle, reporter) = Reporter::builder(sink).start();
        assert!(handle.report(said.clone()));
        assert!(reporter.shutdown().await.is_complete());
        path
    };
    let path = report().await;
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    state["writer"]["pid"] = json!(1);
    std::fs::write(&path, state.to_string()).expect("writable");
    report().await;
    assert_eq!(StateFile::load(&path).expect("a state").writer.pid, std::process::id());
}
