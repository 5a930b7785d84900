//! A database as a file, regardless of its name: the lock of its one writer, and the check that the file
//! still has its name.
//!
//! On POSIX systems, closing any descriptor of a file drops all `fcntl` locks that the process holds on
//! it, including those of SQLite. Apart from SQLite, only this module may therefore open databases. It
//! keeps at most one descriptor for each file, and closes it when this process has no connection left.

use crate::error::StorageError;
use crate::files::{is_filled, sibling};
use std::collections::BTreeMap;
use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// Device and inode number.
type Id = (u64, u64);

/// The files that stores of this process have open.
static OPEN: Mutex<BTreeMap<Id, Weak<Inode>>> = Mutex::new(BTreeMap::new());

/// A file that connections of this process have open, shared by all of them.
#[derive(Debug)]
pub(crate) struct Inode {
    id: Id,
    path: PathBuf,
    wal: PathBuf,
    /// The write-ahead log, once it was found.
    wal_id: OnceLock<Id>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    is_locked: bool,
}

#[cfg(unix)]
fn id(meta: &Metadata) -> Id {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

#[cfg(not(unix))]
fn id(_: &Metadata) -> Id {
    (0, 0)
}

/// Returns the number of names (hard links) of a file.
#[cfg(unix)]
pub(crate) fn names(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(1, |meta| meta.nlink())
}

/// Returns the number of names of a file.
#[cfg(not(unix))]
pub(crate) fn names(_: &Path) -> u64 {
    1
}

/// Returns `true` if an open file still has this name.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(id(&file.metadata()?) == id(&std::fs::metadata(path)?))
}

impl Inode {
    /// Returns the file of this name, or `None` where files have no inode numbers.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Arc<Self>>> {
        if !cfg!(unix) {
            return Ok(None);
        }
        let path = std::path::absolute(path)?;
        loop {
            let id = id(&std::fs::metadata(&path)?);
            let mut files = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            match files.get(&id).map(Weak::upgrade) {
                Some(Some(inode)) => return Ok(Some(inode)),
                // Its last user is about to close it.
                Some(None) => {}
                None => {
                    let inode = Arc::new(Self {
                        id,
                        wal: sibling(&path, "-wal"),
                        path,
                        wal_id: OnceLock::new(),
                        state: Mutex::default(),
                    });
                    files.insert(id, Arc::downgrade(&inode));
                    return Ok(Some(inode));
                }
            }
            drop(files);
            std::thread::yield_now();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file unless it is open. Returns `None` if another file has the name now.
    fn file<'a>(&self, state: &'a mut State) -> io::Result<Option<&'a File>> {
        if state.file.is_none() {
            let file = File::open(&self.path)?;
            if id(&file.metadata()?) != self.id {
                // Not closed, because another store of this process may have this file open.
                std::mem::forget(file);
                return Ok(None);
            }
            state.file = Some(file);
        }
        Ok(state.file.as_ref())
    }

    /// Takes the right to write the file. Returns `false` if another process, or another store of this
    /// one, has it.
    ///
    /// On systems other than Linux this has no effect on other processes, since `flock` and the locks
    /// of SQLite exclude each other there; a file with several names is refused earlier.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.state();
        if state.is_locked {
            return Ok(false);
        }
        if cfg!(target_os = "linux") {
            let Some(file) = self.file(&mut state)? else {
                return Err(io::Error::other("the file was replaced meanwhile"));
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        state.is_locked = true;
        Ok(true)
    }

    /// Reads bytes of the file. Returns `false` if it ends before, or another file has its name.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut state = self.state();
        let Some(file) = self.file(&mut state)? else {
            return Ok(false);
        };
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset);
        #[cfg(not(unix))]
        let read: io::Result<()> = {
            let _ = (file, buffer, offset);
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        is_filled(read)
    }

    /// Releases the right to write the file.
    pub(crate) fn unlock(&self) {
        let mut state = self.state();
        state.is_locked = false;
        if let Some(file) = &state.file {
            // Closing the file has the same effect.
            let _ = file.unlock();
        }
    }

    /// Fails if another file, or no file, has the database's name now.
    pub(crate) fn check_name(&self) -> Result<(), StorageError> {
        has_name(&self.path, self.id)
    }

    /// Fails like `check_name`, and also if the write-ahead log was removed or replaced, since a write would
    /// then be lost at the next opening. For the writer alone: while it runs, no process removes the log.
    /// Costs two calls of `stat`.
    pub(crate) fn check_names(&self) -> Result<(), StorageError> {
        self.check_name()?;
        if let Some(known) = self.wal_id.get() {
            return has_name(&self.wal, *known);
        }
        if let Ok(meta) = std::fs::metadata(&self.wal) {
            let _ = self.wal_id.set(id(&meta));
        }
        Ok(())
    }
}

/// Fails if another file has the name.
fn has_name(path: &Path, known: Id) -> Result<(), StorageError> {
    let detail = match std::fs::metadata(path) {
        Ok(meta) if id(&meta) == known => return Ok(()),
        Ok(_) => "another file has this name by now".to_owned(),
        Err(e) => e.to_string(),
    };
    let path = path.to_owned();
    Err(StorageError::Moved { path, detail })
}

impl Drop for Inode {
    fn drop(&mut self) {
        let mut files = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed before another store may take the file for one that is not open in this process.
        drop(std::mem::take(&mut *self.state()));
        files.remove(&self.id);
    }
}
