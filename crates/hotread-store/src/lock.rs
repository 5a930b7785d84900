//! One writing process: a lock file beside the database, held for as long as the store is open.
//!
//! It is a file of its own because on POSIX systems closing any descriptor of the database would
//! drop the locks that SQLite holds on it.

use crate::error::{Holder, OpenError};
use crate::open::beside;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Most bytes of a lock file that are looked at.
const MAX_BYTES: u64 = 4096;

/// The right to write a database. Given up when it is dropped, and by the system when the process
/// ends, however it ends.
#[derive(Debug)]
pub(crate) struct WriterLock(File);

impl WriterLock {
    /// Beside the file itself, so that one file has one lock, whatever links lead to it.
    pub(crate) fn path(database: &Path) -> PathBuf {
        beside(database, ".lock")
    }

    /// Takes the lock, or says who has it.
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = Self::path(database);
        let failed = |source| OpenError::LockFile {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: database.to_owned(),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let lock = Self(file);
        lock.announce(None).map_err(failed)?;
        Ok(lock)
    }

    /// Writes down who holds it, for others to read.
    pub(crate) fn announce(&self, url: Option<String>) -> std::io::Result<()> {
        let holder = Holder {
            pid: std::process::id(),
            url,
        };
        let text = serde_json::to_vec(&holder)?;
        let mut file = &self.0;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // So that nobody reads a process id that means nothing any more.
        let _ = self.0.set_len(0);
        // A process that another thread is just starting has the file open, too, and with it the lock.
        let _ = self.0.unlock();
    }
}

fn holder(file: &File) -> Holder {
    let mut text = String::new();
    let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    serde_json::from_str(&text).unwrap_or_default()
}
