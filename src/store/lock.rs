//! The lock that keeps a ledger to one process: an advisory lock on a file beside it, which the kernel
//! releases however the process ends.
//!
//! A file is locked by its real name, whatever links lead to it; one with several real names is refused by
//! `opening`. It does not keep readers out, nor programs that do not ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    /// Open as long as the lock is held.
    _files: Vec<File>,
}

impl Lock {
    /// Takes the lock of the ledger at `path`; `None` if another process has it.
    ///
    /// # Errors
    /// The lock's file cannot be opened or made.
    pub fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut files = Vec::with_capacity(2);
        for path in lock_paths(path) {
            let Some(file) = take(&path)? else { return Ok(None) };
            files.push(file);
        }
        Ok(Some(Self { _files: files }))
    }
}

/// Takes one lock; `None` if another process has it.
fn take(path: &Path) -> Result<Option<File>, StoreError> {
    let unusable = |error: std::io::Error| StoreError::Unusable {
        path: path.display().to_string(),
        detail: error.to_string(),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path).map_err(unusable)?;
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
    Ok(Some(file))
}

/// What is known of the process that has the lock.
pub fn owner(path: &Path) -> String {
    let mut pids = lock_paths(path).into_iter().filter_map(|path| {
        let mut text = String::new();
        // Sixteen bytes hold every process id; what else may stand in the file is of no use.
        File::open(path).and_then(|file| file.take(16).read_to_string(&mut text)).ok()?;
        text.trim().parse::<u32>().ok()
    });
    // Behind a link our own name may stand in the first one.
    pids.next_back().map_or_else(|| "process unknown".to_owned(), |pid| format!("process {pid}"))
}

/// The lock beside the name that was given, and the one beside the file's real name if that is another. The
/// first is that of versions that know no other.
fn lock_paths(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok();
    let given = folder.zip(path.file_name()).map(|(folder, name)| folder.join(name));
    let real = path.canonicalize().ok().filter(|real| given.as_ref() != Some(real));
    let mut paths = vec![lock_path(path)];
    paths.extend(real.map(|real| lock_path(&real)));
    paths
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
