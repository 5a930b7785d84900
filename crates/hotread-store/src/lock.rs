//! The lock of the one writing process: on a file next to the database, which names the holder, and on
//! the database itself, which excludes writers under every name that leads there.

use crate::error::{Holder, OpenError};
use crate::files;
use crate::inode::{self, Inode};
use crate::location::Location;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::sync::Arc;

/// Maximum number of bytes of a lock file that are read.
const MAX_BYTES: u64 = 4096;

/// The right to write a database. The system releases it when the process ends.
#[derive(Debug)]
pub(crate) struct WriterLock {
    file: File,
    database: Option<Arc<Inode>>,
}

impl WriterLock {
    /// Takes the lock, or returns its holder as an error. Creates the database's file, empty, if it
    /// does not exist.
    pub(crate) fn take(at: &mut Location) -> Result<Self, OpenError> {
        // Next to the file itself, so that a file has one lock, regardless of links to it.
        let path = files::sibling(&at.path, ".lock");
        let database = at.path.clone();
        let failed = |source| {
            let path = path.clone();
            OpenError::LockFile { path, source }
        };
        let in_use = |holder| {
            let path = database.clone();
            OpenError::InUse { path, holder }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        files::as_private_as(&at.path, &mut options);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(holder(&file))),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        if at.vfs.is_none() {
            files::create(&at.path).map_err(|e| at.storage(e))?;
        }
        let names = inode::names(&at.path);
        if names > 1 {
            let path = database;
            return Err(OpenError::SeveralNames { path, names });
        }
        at.hold()?;
        if let Some(inode) = &at.inode
            && !inode.try_lock().map_err(failed)?
        {
            // Locked through another name, with another lock file: a mount.
            return Err(in_use(Holder::default()));
        }
        let lock = Self {
            file,
            database: at.inode.clone(),
        };
        match lock.announce(None) {
            // The lock is effective even if the file cannot be written.
            Err(e) if e.kind() == std::io::ErrorKind::StorageFull => {}
            announced => announced.map_err(failed)?,
        }
        Ok(lock)
    }

    /// Writes the holder into the file, for other processes to read.
    pub(crate) fn announce(&self, url: Option<String>) -> std::io::Result<()> {
        let holder = Holder {
            pid: std::process::id(),
            url,
        };
        let text = serde_json::to_vec(&holder)?;
        let mut file = &self.file;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(&text)
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        if let Some(database) = &self.database {
            database.unlock();
        }
        // Cleared, so that no reader finds the id of a process that has ended.
        let _ = self.file.set_len(0);
        // A child process that another thread is starting has the file open as well, and with it the
        // lock.
        let _ = self.file.unlock();
    }
}

fn holder(file: &File) -> Holder {
    let mut text = String::new();
    let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    serde_json::from_str(&text).unwrap_or_default()
}
