//! One writer for each state file: an advisory lock, which the system releases when
//! its holder dies.

use std::fs::{self, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Why the lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Another writer has it, in the process of this id if that can be read.
    #[error("another writer holds the lock")]
    Held(Option<u32>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The lock, until it is dropped.
///
/// It is on a file of its own, because each write of the state replaces the file. The
/// lock file stays behind: to remove it would let two writers lock two files of one
/// name.
#[derive(Debug)]
pub(super) struct Lock {
    /// `None` where the file system has no locks.
    _file: Option<fs::File>,
}

impl Lock {
    /// Acquires the lock, or fails at once. Creates the file, but not its directory.
    pub(super) fn acquire(path: &Path) -> Result<Self, LockError> {
        // Only its user may read it, as the state. The content belongs to the holder.
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let pid = file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
                return Err(LockError::Held(pid));
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(path = %path.display(), "the file system has no locks: make sure that one process writes");
                return Ok(Lock { _file: None });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Lock { _file: Some(file) })
    }
}
