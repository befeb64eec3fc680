//! The lock that keeps a ledger to one process: an advisory lock on a file beside it, which the kernel
//! releases however the process ends.
//!
//! It does not keep readers out, nor programs that do not ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    /// Open as long as the lock is held.
    _file: File,
}

impl Lock {
    /// Takes the lock of the ledger at `path`; `None` if another process has it.
    ///
    /// # Errors
    /// The lock's file cannot be opened or made.
    pub fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let unusable = |error: std::io::Error| StoreError::Unusable {
            path: lock_path(path).display().to_string(),
            detail: error.to_string(),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(lock_path(path)).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let pid = std::process::id();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{pid}"))
            .map_err(unusable)?;
        Ok(Some(Self { _file: file }))
    }
}

/// What is known of the process that has the lock.
pub fn owner(path: &Path) -> String {
    let mut text = String::new();
    // Sixteen bytes hold every process id; what else may stand in the file is of no use.
    let read = File::open(lock_path(path)).and_then(|file| file.take(16).read_to_string(&mut text));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "process unknown".to_owned(),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
