//! A state file: the status of a vMCP on a laptop, where `vmcp-status get` and
//! other programs find it.

mod lock;

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};
use tracing::Span;

use self::lock::{Lock, LockError};
use super::{Advice, Sink, WriteOutcome};
use crate::custom_resource::{API_VERSION, KIND};
use crate::error::{Retry, SinkError};
use crate::status::{Faults, Status, odd_values, time};

const EXTENSION: &str = "json";
/// With the extension and the random part of a temporary file, a name stays within
/// the 253 characters of a Kubernetes name.
const MAX_NAME: usize = 253 - ".json.".len() - 12;
/// A temporary file older than this belongs to a writer that was killed.
const ABANDONED: Duration = Duration::from_secs(60);

/// Why a state file does not exist or cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// The name cannot be the name of a file.
    #[error(
        "{0:?} cannot name a state: use up to {MAX_NAME} letters, digits, '-', '_' and '.', and begin with a letter or digit"
    )]
    Name(String),
    /// No directory for state files can be found.
    #[error("no place for state files: set XDG_STATE_HOME or HOME, or name a directory")]
    NoDirectory(#[source] etcetera::HomeDirError),
    /// The file cannot be read.
    #[error("cannot read {}: check that it exists and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// What the file holds is not a state.
    #[error("{} does not hold the state of a {KIND}: remove it, or name another directory", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another process, or another sink of this one, writes the file.
    #[error("{}", in_use(path, *pid))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The process that writes it, if that can be read.
        pid: Option<u32>,
    },
    /// The file cannot be locked.
    #[error("cannot lock {}: is its directory writable?", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn in_use(path: &Path, pid: Option<u32>) -> String {
    let writer = pid.map_or("another process".into(), |pid| format!("process {pid}"));
    format!("{writer} writes {} already: end it, or use another name or directory", path.display())
}

/// What a state file holds: an object in the form of a `VirtualMCPServer`, and
/// who wrote it.
///
/// ```
/// use vmcp_status::{FileSink, Phase, Reporter, StateFile};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// let (handle, reporter) = Reporter::builder(FileSink::in_dir(dir, "my-vmcp")?).start();
/// assert!(handle.set_phase(Phase::Ready, "up"));
/// assert!(reporter.shutdown().await.is_complete());
///
/// for name in StateFile::names(dir)? {
///     let state = StateFile::load(&StateFile::path(dir, &name)?)?;
///     assert_eq!((state.metadata.name.as_str(), state.status.phase), ("my-vmcp", Phase::Ready));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StateFile {
    /// Group and version of the CRD whose form the file has.
    pub api_version: String,
    /// Always `VirtualMCPServer`.
    pub kind: String,
    /// The name of the vMCP.
    pub metadata: StateMetadata,
    /// The status.
    pub status: Status,
    /// The process that wrote it.
    pub writer: Writer,
}

/// The name of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateMetadata {
    /// The name of the vMCP.
    pub name: String,
}

/// The process that wrote a state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Writer {
    /// The process id.
    pub pid: u32,
    /// When the process wrote the file.
    #[serde(with = "time", default)]
    pub time: Option<DateTime<Utc>>,
    /// How often the process writes even if nothing changed, in seconds; `None` if it
    /// does not. A process that has been silent for much longer has ended or hangs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<u64>,
}

impl StateFile {
    /// Returns the default directory of state files: `$XDG_STATE_HOME/toolhive/vmcp`,
    /// or `~/.local/state/toolhive/vmcp` where the variable is not set.
    ///
    /// # Errors
    ///
    /// Fails when the user has no home directory either.
    pub fn default_dir() -> Result<PathBuf, StateFileError> {
        let base = etcetera::base_strategy::Xdg::new().map_err(StateFileError::NoDirectory)?;
        let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
        Ok(state.join("toolhive").join("vmcp"))
    }

    /// Returns the path of the state of this name.
    ///
    /// # Errors
    ///
    /// Fails when the name could leave the directory or cannot name a file.
    pub fn path(dir: &Path, name: &str) -> Result<PathBuf, StateFileError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let first_is_plain = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !first_is_plain || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(StateFileError::Name(name.to_owned()));
        }
        Ok(dir.join(format!("{name}.{EXTENSION}")))
    }

    /// Reads one file.
    ///
    /// # Errors
    ///
    /// Fails when the file is missing, unreadable or not a state.
    pub fn load(path: &Path) -> Result<Self, StateFileError> {
        Self::load_with_faults(path).map(|(state, _)| state)
    }

    /// Reads one file, without the values that the model cannot have.
    fn load_with_faults(path: &Path) -> Result<(Self, Faults), StateFileError> {
        let text = fs::read(path).map_err(|source| StateFileError::Read { path: path.to_owned(), source })?;
        let clean = |state: &mut serde_json::Value, faults: &mut Faults| {
            if let Some(status) = state.get_mut("status") {
                odd_values::status(status, faults);
            }
        };
        odd_values::read_json(&text, clean)
            .map_err(|source| StateFileError::Malformed { path: path.to_owned(), source })
    }

    /// Returns the names of all states in a directory, sorted; none if the directory
    /// does not exist.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be read.
    pub fn names(dir: &Path) -> Result<Vec<String>, StateFileError> {
        let failed = |source| StateFileError::Read { path: dir.to_owned(), source };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = PathBuf::from(entry.map_err(failed)?.file_name());
            if let (Some(name), Some(EXTENSION)) =
                (file.file_stem().and_then(|s| s.to_str()), file.extension().and_then(|e| e.to_str()))
                && Self::path(dir, name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Keeps the status in a [`StateFile`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use vmcp_status::{FileSink, Reporter};
///
/// # fn example() -> Result<(), vmcp_status::StateFileError> {
/// let refresh = Some(Duration::from_secs(30));
/// let sink = FileSink::new("my-vmcp")?.refreshed_every(refresh);
/// let (handle, reporter) = Reporter::builder(sink).periodic_interval(refresh).start();
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
///
/// * A reader never sees half a file, whenever the writer is killed: the sink writes
///   a new file beside the old one, syncs it, and renames it.
/// * Only the user may read it (mode 0600).
/// * One writer at a time: the first write locks the file, until the sink is dropped or
///   its process dies. While another sink has the lock, a write fails with
///   [`Retry::Blocked`], and the reporter tries again: it takes over when the other
///   ends. A program that wants to know at the start calls [`lock`](FileSink::lock);
///   [`without_lock`](FileSink::without_lock) writes regardless. The lock is advisory
///   and lies beside the state, in `.NAME.json.lock`. Readers do not lock.
/// * The reporter reads at start what an earlier process left, so that times of
///   transitions survive a restart. It replaces a file that is not a state.
///
/// A full disk or a read-only directory is a fault that passes: the reporter retries
/// the write until it succeeds.
#[derive(Debug)]
pub struct FileSink {
    file: Arc<File>,
    refresh: Option<Duration>,
    /// Whether the file that was read names another process as its writer.
    is_of_another: bool,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    name: String,
    /// A thread holds this while it reads or writes. A thread that hangs outlives the
    /// call that started it, and must not overwrite what a later one wrote.
    access: Mutex<Access>,
}

/// The right to write.
#[derive(Debug)]
enum Access {
    /// The first write acquires the lock.
    Unlocked,
    Locked {
        _lock: Lock,
    },
    /// The caller does not want a lock.
    Forced,
}

impl FileSink {
    /// Makes a sink for the state of this name in the
    /// [default directory](StateFile::default_dir).
    ///
    /// # Errors
    ///
    /// Fails when the user has no home directory or the name cannot name a file.
    pub fn new(name: &str) -> Result<Self, StateFileError> {
        Self::in_dir(&StateFile::default_dir()?, name)
    }

    /// Makes a sink for the state of this name in a directory. The first write
    /// creates a missing directory.
    ///
    /// # Errors
    ///
    /// Fails when the name cannot name a file.
    pub fn in_dir(dir: &Path, name: &str) -> Result<Self, StateFileError> {
        let path = StateFile::path(dir, name)?;
        let file = File { path, name: name.to_owned(), access: Mutex::new(Access::Unlocked) };
        Ok(FileSink { file: Arc::new(file), refresh: None, is_of_another: false })
    }

    /// Records in the file how often the reporter writes it even if nothing changed.
    /// Pass the reporter's `periodic_interval`: readers then notice a writer that
    /// hangs.
    #[must_use]
    pub fn refreshed_every(mut self, interval: Option<Duration>) -> Self {
        self.refresh = interval;
        self
    }

    /// Locks the file now instead of at the first write, and creates its directory. The
    /// lock lasts until the sink is dropped or the process dies. Blocks for as long as
    /// the file system does.
    ///
    /// # Errors
    ///
    /// Fails with [`InUse`](StateFileError::InUse) when another process or sink has the
    /// lock, and with [`Lock`](StateFileError::Lock) when the lock file cannot be
    /// written. The first write tries again.
    pub fn lock(&self) -> Result<(), StateFileError> {
        let mut access = self.file.access.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.acquire(&mut access).map_err(|error| match error {
            LockError::Held(pid) => StateFileError::InUse { path: self.file.path.clone(), pid },
            LockError::Io(source) => StateFileError::Lock { path: self.file.path.clone(), source },
        })
    }

    /// Writes whether another process writes too: each then overwrites what the other
    /// has written.
    #[must_use]
    pub fn without_lock(self) -> Self {
        *self.file.access.lock().unwrap_or_else(PoisonError::into_inner) = Access::Forced;
        self
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Runs `work` on a thread that may block, with exclusive access to the file.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&File, &mut Access) -> Result<T, LockError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let file = Arc::clone(&self.file);
        // Dropped with this future. The thread may begin only after that, when a
        // newer call has already written.
        let wanted = Arc::new(());
        let still_wanted = Arc::downgrade(&wanted);
        let path = self.file.path.display().to_string();
        let failed = |advice: &str| SinkError::new(Retry::Transient, format!("cannot {what} {path}: {advice}"));
        let task = tokio::task::spawn_blocking(move || {
            let alone = match file.access.try_lock() {
                Ok(guard) => Some(guard),
                // A panic leaves the file on the disk whole.
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            alone.filter(|_| still_wanted.strong_count() > 0).map(|mut access| work(&file, &mut access))
        });
        let ended = task.await;
        drop(wanted);
        match ended {
            Ok(Some(Ok(done))) => Ok(done),
            Ok(Some(Err(LockError::Held(pid)))) => Err(SinkError::new(Retry::Blocked, in_use(&self.file.path, pid))),
            Ok(Some(Err(LockError::Io(error)))) => {
                let advice = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk",
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                        "let this user write to its directory, or name another one"
                    }
                    _ => "is its directory there and writable?",
                };
                Err(failed(advice).caused_by(error))
            }
            Ok(None) => Err(failed("an earlier attempt still hangs in the file system")),
            Err(lost) => Err(failed("the attempt was lost").caused_by(lost)),
        }
    }

    /// Makes a span whose field names the vMCP, for
    /// [`ReporterBuilder::span`](crate::ReporterBuilder::span).
    pub fn span(&self) -> Span {
        // At the highest level, so that a filter for warnings keeps its fields.
        tracing::error_span!("vmcp", vmcp = self.file.name)
    }
}

impl Sink for FileSink {
    async fn read(&mut self) -> Result<Option<Status>, SinkError> {
        let read = self.blocking("read", |file, _| {
            file.remove_abandoned();
            match StateFile::load_with_faults(&file.path) {
                Ok(read) => Ok(Some(read)),
                Err(StateFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(StateFileError::Read { source, .. }) => Err(source.into()),
                Err(error) => {
                    tracing::warn!(error = %error, "state file is not readable, the next write replaces it");
                    Ok(None)
                }
            }
        });
        let (state, faults) = read.await?.unzip();
        // The next write replaces them.
        for fault in faults.iter().flat_map(Faults::iter) {
            tracing::warn!("state file: {fault}");
        }
        self.is_of_another = state.as_ref().is_some_and(|state| state.writer.pid != std::process::id());
        Ok(state.map(|state| state.status))
    }

    async fn write(&mut self, status: &Status) -> Result<WriteOutcome, SinkError> {
        let state = StateFile {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            metadata: StateMetadata { name: self.file.name.clone() },
            // Shares the backends.
            status: status.clone(),
            writer: Writer {
                pid: std::process::id(),
                time: Some(Utc::now()),
                refresh_seconds: self
                    .refresh
                    .map(|interval| interval.as_secs().saturating_add(u64::from(interval.subsec_nanos() > 0))),
            },
        };
        let written = self.blocking("write", move |file, access| {
            file.acquire(access)?;
            Ok(file.replace(&state)?)
        });
        written.await?;
        self.is_of_another = false;
        Ok(WriteOutcome::Written)
    }

    /// A file that names a process of the past makes its readers believe that the
    /// reporter is gone, so the first write goes even if the status is equal.
    fn advice(&self) -> Advice {
        Advice { must_write: self.is_of_another, ..Advice::default() }
    }
}

impl File {
    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn temporary_prefix(&self) -> String {
        format!(".{}.{EXTENSION}.", self.name)
    }

    /// Acquires the right to write, unless it is there already.
    fn acquire(&self, access: &mut Access) -> Result<(), LockError> {
        fs::create_dir_all(self.dir())?;
        if matches!(access, Access::Unlocked) {
            let path = self.dir().join(format!(".{}.{EXTENSION}.lock", self.name));
            *access = Access::Locked { _lock: Lock::acquire(&path)? };
        }
        Ok(())
    }

    fn replace(&self, state: &StateFile) -> io::Result<()> {
        // tempfile makes files that only this user may read.
        let mut temporary =
            tempfile::Builder::new().prefix(&self.temporary_prefix()).suffix(TEMPORARY).tempfile_in(self.dir())?;
        let mut writer = BufWriter::new(temporary.as_file_mut());
        serde_json::to_writer_pretty(&mut writer, state)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
        drop(writer);
        temporary.as_file().sync_all()?;
        temporary.persist(&self.path)?;
        // The new name has to survive a power failure too. Not every system can
        // open a directory, and the file is in place already.
        if let Ok(dir) = fs::File::open(self.dir()) {
            dir.sync_all()?;
        }
        Ok(())
    }

    /// Removes the temporary files of writers that were killed before they renamed
    /// them. Best effort: such a file does no harm.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.dir()) else {
            return;
        };
        let prefix = self.temporary_prefix();
        let abandoned = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(TEMPORARY));
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map(|at| SystemTime::now().duration_since(at));
            ours && matches!(age, Ok(Ok(age)) if age > ABANDONED)
        };
        for entry in entries.flatten().filter(abandoned) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

const TEMPORARY: &str = ".tmp";
