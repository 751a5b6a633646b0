//! The directory of the state files.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use vmcp_status::{StateFile, StateFileError, Writer, error_chain};

use super::super::liveness::{Liveness, Reporter, ReporterState, StaleAfter};
use super::{Columns, Fault, Found, Object, Source};
use crate::global::Failure;
use crate::homes::newest_check;

/// How often the directory is looked at.
const POLL: Duration = Duration::from_millis(250);
/// A writer that missed this many of its own appointments is silent.
const MISSED: u64 = 3;

#[derive(Debug)]
pub(in crate::get) struct Directory {
    dir: PathBuf,
    stale_after: StaleAfter,
    last: Look,
}

impl Directory {
    pub(in crate::get) fn new(dir: PathBuf, stale_after: StaleAfter) -> Self {
        Directory { dir, stale_after, last: Look::default() }
    }
}

impl Source for Directory {
    fn place(&self) -> String {
        format!("in {}", self.dir.display())
    }

    fn nothing(&self) -> String {
        format!("nothing was reported {}: start a reporter, or look elsewhere with --state-dir", self.place())
    }

    fn columns(&self) -> Columns {
        Columns::Files
    }

    async fn names(&self) -> Result<Option<Vec<String>>, Failure> {
        let dir = self.dir.clone();
        Ok(Some(spawn_blocking(move || StateFile::names(&dir)).await??))
    }

    async fn read(&mut self, name: Option<&str>) -> Result<Found, Failure> {
        let (dir, only, stale_after) = (self.dir.clone(), name.map(ToOwned::to_owned), self.stale_after);
        let (look, found) = spawn_blocking(move || {
            // Before the files are read: what is written meanwhile is seen as a
            // change.
            let mut look = Look::at(&dir, only);
            let found = read(&dir, &mut look, stale_after);
            (look, found)
        })
        .await?;
        self.last = look;
        Ok(found?)
    }

    async fn changed(&mut self) {
        loop {
            sleep(POLL).await;
            let (dir, last, stale_after) = (self.dir.clone(), self.last.clone(), self.stale_after);
            // A look that is lost is made up for by the next one.
            if spawn_blocking(move || last.again(&dir, stale_after)).await.is_ok_and(|look| look != self.last) {
                return;
            }
        }
    }
}

/// What tells that something changed, without reading any file.
#[derive(Clone, Debug, Default, PartialEq)]
struct Look {
    only: Option<String>,
    files: Vec<(String, Option<Stamp>)>,
    states: Vec<(Evidence, Judgement)>,
}

/// What a file says of its age.
#[derive(Clone, Debug, PartialEq)]
struct Evidence {
    writer: Writer,
    checked: Option<DateTime<Utc>>,
    timestamp: Option<DateTime<Utc>>,
}

/// What that means at some time.
#[derive(Clone, Debug, PartialEq)]
struct Judgement {
    liveness: Liveness,
    stale: Option<String>,
}

impl Evidence {
    fn judge(&self, stale_after: StaleAfter, now: DateTime<Utc>) -> Judgement {
        let Writer { pid, time, .. } = self.writer;
        let writer = Reporter { state: state_of(&self.writer, now), seen: time, who: format!("pid {pid}") };
        // A report has a time of its own; the file of a writer that is not ours may lack
        // it.
        let written = time.filter(|_| self.checked.is_none());
        let reported = self.timestamp.or(written);
        let liveness = Liveness { reporter: Some(writer), checked: self.checked, reported };
        let stale = liveness.why_stale(stale_after, now);
        Judgement { liveness, stale }
    }
}

/// A file that was replaced, or written in place, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    length: u64,
}

impl Look {
    fn at(dir: &Path, only: Option<String>) -> Self {
        // Reading says what is wrong with the directory.
        let names = only.clone().map_or_else(|| StateFile::names(dir).unwrap_or_default(), |name| vec![name]);
        let stamped = |name: String| {
            let stamp = StateFile::path(dir, &name).ok().and_then(|path| Stamp::of(&path));
            (name, stamp)
        };
        Look { only, files: names.into_iter().map(stamped).collect(), states: Vec::new() }
    }

    /// The same at a later time.
    fn again(&self, dir: &Path, stale_after: StaleAfter) -> Self {
        let now = Utc::now();
        let states = self.states.iter().map(|(evidence, _)| (evidence.clone(), evidence.judge(stale_after, now)));
        Look { states: states.collect(), ..Look::at(dir, self.only.clone()) }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
        Some(Stamp { inode: meta.ino(), seconds, nanoseconds, length: meta.len() })
    }
}

/// Reads the files; adds to the look what they say of their age.
fn read(dir: &Path, look: &mut Look, stale_after: StaleAfter) -> Result<Found, StateFileError> {
    let names = match &look.only {
        Some(name) => vec![name.clone()],
        None => StateFile::names(dir)?,
    };
    let now = Utc::now();
    let mut found = Found::default();
    for name in names {
        let path = StateFile::path(dir, &name)?;
        match load(&path) {
            Ok((state, stored)) => {
                let StateFile { status, writer, .. } = state;
                let written = writer.time;
                let evidence = Evidence { writer, checked: newest_check(&stored), timestamp: status.timestamp };
                let judgement = evidence.judge(stale_after, now);
                let Judgement { liveness, stale } = judgement.clone();
                found.objects.push(Object {
                    name,
                    namespace: String::new(),
                    status,
                    url: String::new(),
                    written,
                    stale,
                    unfollowed: None,
                    liveness,
                    stored,
                });
                look.states.push((evidence, judgement));
            }
            // Removed since the names were read, or never there.
            Err(StateFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => found.faults.push(Fault { name: Some(name), why: error_chain(&error) }),
        }
    }
    Ok(found)
}

/// The same bytes twice: what we know of them, and all of them.
fn load(path: &Path) -> Result<(StateFile, serde_json::Value), StateFileError> {
    let text = fs::read(path).map_err(|source| StateFileError::Read { path: path.to_owned(), source })?;
    let malformed = |source| StateFileError::Malformed { path: path.to_owned(), source };
    let state = serde_json::from_slice(&text).map_err(malformed)?;
    Ok((state, serde_json::from_slice(&text).map_err(malformed)?))
}

/// Whether a writer can be expected to keep its file true. One that lives and does not
/// write hangs, or its process id belongs to another process now.
fn state_of(writer: &Writer, now: DateTime<Utc>) -> ReporterState {
    if !is_alive(writer.pid) {
        return ReporterState::Gone;
    }
    let every = writer.refresh_seconds;
    match every {
        Some(every) if is_silent(writer, now) => ReporterState::Silent { every: every.max(1) },
        _ => ReporterState::Alive { vouches: every.is_some() },
    }
}

fn is_silent(writer: &Writer, now: DateTime<Utc>) -> bool {
    let (Some(every), Some(written)) = (writer.refresh_seconds, writer.time) else {
        return false;
    };
    // Less than a second is stored as 0.
    let limit = i64::try_from(every.max(1).saturating_mul(MISSED)).ok().and_then(TimeDelta::try_seconds);
    limit.is_some_and(|limit| now - written > limit)
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // A process of another user refuses the signal, and so lives.
    test_kill_process(pid) != Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tempfile::TempDir;
    use tokio::time::timeout;
    use vmcp_status::{FileSink, Sink as _, Status};

    fn writer(pid: u32, seconds_ago: i64, refresh: Option<u64>) -> Writer {
        let time = Utc::now() - TimeDelta::seconds(seconds_ago);
        serde_json::from_value(json!({"pid": pid, "time": time, "refreshSeconds": refresh})).expect("a writer")
    }

    /// The id of a process that has ended.
    fn ended() -> u32 {
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        child.wait().expect("ends");
        child.id()
    }

    async fn report(dir: &TempDir, name: &str, message: &str) {
        let status = Status { message: message.into(), ..Status::default() };
        FileSink::in_dir(dir.path(), name).expect("a name").write(&status).await.expect("written");
    }

    fn limit() -> StaleAfter {
        StaleAfter::parse("10m").expect("a time")
    }

    fn temporary() -> (TempDir, Directory) {
        let dir = tempfile::tempdir().expect("a directory");
        let source = Directory::new(dir.path().into(), limit());
        (dir, source)
    }

    /// Waits for a change; it has to come.
    async fn change(source: &mut Directory) {
        timeout(Duration::from_secs(20), source.changed()).await.expect("the change is seen");
    }

    #[test]
    fn a_writer_is_alive_gone_or_silent() {
        let me = std::process::id();
        let alive = |vouches| ReporterState::Alive { vouches };
        let silent = |every| ReporterState::Silent { every };
        for (writer, state) in [
            (writer(me, 0, None), alive(false)),
            (writer(me, 100_000, None), alive(false)),
            (writer(me, 80, Some(30)), alive(true)),
            (writer(me, 95, Some(30)), silent(30)),
            (writer(me, 1, Some(0)), alive(true)),
            (writer(me, 10, Some(0)), silent(1)),
            (writer(me, -50, Some(1)), alive(true)),
            (writer(me, 100_000, Some(u64::MAX)), alive(true)),
            // That of somebody else, most times.
            (writer(1, 0, Some(30)), alive(true)),
            (writer(ended(), 0, Some(30)), ReporterState::Gone),
            (writer(0, 0, None), ReporterState::Gone),
            (writer(u32::MAX, 0, None), ReporterState::Gone),
        ] {
            assert_eq!(state_of(&writer, Utc::now()), state, "{writer:?}");
        }
    }

    #[tokio::test]
    async fn all_are_found_sorted_and_a_broken_one_hides_no_other() {
        let (dir, mut source) = temporary();
        report(&dir, "b", "").await;
        report(&dir, "a", "").await;
        fs::write(dir.path().join("broken.json"), "{\"kind\":").expect("written");
        fs::write(dir.path().join(".a.json.x.tmp"), "").expect("written");
        let found = source.read(None).await.expect("readable");
        assert_eq!(found.objects.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let reporter = found.objects[0].liveness.reporter.clone().expect("a file has a writer");
        assert_eq!((reporter.state.as_str(), reporter.who), ("alive", format!("pid {}", std::process::id())));
        assert_eq!(found.objects[0].stale, None);
        let [Fault { name, why }] = &found.faults[..] else { panic!("one is broken") };
        assert_eq!(name.as_deref(), Some("broken"));
        assert!(why.contains("broken.json") && why.contains("column"), "{why}");
        assert_eq!(source.names().await.expect("readable").expect("told"), ["a", "b", "broken"]);
    }

    #[tokio::test]
    async fn what_is_stored_is_kept_with_what_we_do_not_know() {
        let (dir, mut source) = temporary();
        let pid = ended();
        let stored = json!({
            "apiVersion": "v9", "kind": "VirtualMCPServer", "metadata": {"name": "a", "labels": {"x": "y"}},
            "status": {"phase": "Ready", "future": [1]}, "writer": {"pid": pid, "host": "h"},
        });
        fs::write(dir.path().join("a.json"), stored.to_string()).expect("written");
        let found = source.read(Some("a")).await.expect("readable");
        assert_eq!(found.objects[0].stored, stored);
        assert_eq!(found.objects[0].liveness.state(), Some(ReporterState::Gone));
        assert!(found.objects[0].stale.as_ref().is_some_and(|why| why.contains("gone")));
    }

    #[tokio::test]
    async fn one_that_is_missing_is_no_failure_and_a_bad_name_is() {
        let (_dir, mut source) = temporary();
        let found = source.read(Some("a")).await.expect("readable");
        assert!(found.objects.is_empty() && found.faults.is_empty());
        assert!(source.read(Some("../a")).await.is_err());
        let mut nowhere = Directory::new("/nonexistent/vmcp".into(), limit());
        assert!(nowhere.read(None).await.expect("empty").objects.is_empty());
    }

    #[tokio::test]
    async fn files_that_come_change_and_go_are_changes() {
        let (dir, mut source) = temporary();
        source.read(None).await.expect("readable");
        report(&dir, "a", "1").await;
        change(&mut source).await;
        source.read(None).await.expect("readable");
        report(&dir, "a", "2").await;
        change(&mut source).await;
        let found = source.read(None).await.expect("readable");
        assert_eq!(found.objects[0].status.message, "2");
        fs::remove_file(dir.path().join("a.json")).expect("removed");
        change(&mut source).await;
        assert!(source.read(None).await.expect("readable").objects.is_empty());
    }

    #[tokio::test]
    async fn the_end_of_a_writer_is_a_change() {
        let (dir, mut source) = temporary();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
        let state = json!({
            "apiVersion": "v1", "kind": "VirtualMCPServer", "metadata": {"name": "a"},
            "status": {}, "writer": {"pid": child.id()},
        });
        fs::write(dir.path().join("a.json"), state.to_string()).expect("written");
        assert_eq!(source.read(Some("a")).await.expect("readable").objects[0].stale, None);
        child.kill().expect("killed");
        child.wait().expect("ended");
        change(&mut source).await;
        assert!(source.read(Some("a")).await.expect("readable").objects[0].stale.is_some());
    }

    #[tokio::test]
    async fn nothing_is_no_change_and_neither_is_another_name() {
        let (dir, mut source) = temporary();
        report(&dir, "a", "").await;
        source.read(Some("a")).await.expect("readable");
        report(&dir, "b", "").await;
        assert!(timeout(4 * POLL, source.changed()).await.is_err());
    }
}
