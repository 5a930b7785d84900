//! Files that get their name when they are complete: written in a folder next to the target, synced,
//! renamed.
//!
//! The folder has a lock file, which tells the remains of a dead process from the work of a running
//! one. The next process that writes into the same parent folder removes the remains.

use crate::files::{PRIVATE, private_folder};
use crate::inode;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The ending of the folders' names, which begin with a dot.
const ENDING: &str = ".hotread-part";
/// The names of the lock file and of the incomplete file.
const LOCK: &str = "lock";
const PART: &str = "part";

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Staging {
    target: PathBuf,
    folder: PathBuf,
    _lock: File,
}

impl Staging {
    /// Prepares the writing of a file. Fails with [`io::ErrorKind::ResourceBusy`] if another process
    /// writes one of this name.
    pub(crate) fn begin(target: &Path) -> io::Result<Self> {
        let Some(name) = target.file_name() else {
            let kind = io::ErrorKind::InvalidFilename;
            return Err(io::Error::new(kind, "it has no name"));
        };
        clean(parent(target));
        let mut hidden = OsStr::new(".").to_owned();
        hidden.push(name);
        hidden.push(ENDING);
        let folder = parent(target).join(hidden);
        loop {
            match private_folder(&folder) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => check_owner(&folder)?,
                done => done?,
            }
            match claim(&folder) {
                Ok(Some(lock)) => {
                    return Ok(Self {
                        target: target.to_owned(),
                        folder,
                        _lock: lock,
                    });
                }
                Ok(None) => {
                    let kind = io::ErrorKind::ResourceBusy;
                    return Err(io::Error::new(kind, "another process is writing it"));
                }
                // The process that had the folder has just removed it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Returns the path to write to until the file gets its name. No file has this path yet.
    pub(crate) fn part(&self) -> PathBuf {
        self.folder.join(PART)
    }

    /// Creates the part, empty, for its owner alone.
    pub(crate) fn create_private(&self) -> io::Result<File> {
        private().create_new(true).open(self.part())
    }

    /// Gives the file its name, durably. Fails with [`io::ErrorKind::AlreadyExists`] if the name is
    /// taken.
    pub(crate) fn publish_new(self) -> io::Result<()> {
        self.publish_by(rename_new)
    }

    /// Gives the file its name, durably, and replaces a file with that name.
    #[cfg(feature = "import")]
    pub(crate) fn publish(self) -> io::Result<()> {
        self.publish_by(|from, to| std::fs::rename(from, to))
    }

    fn publish_by(&self, rename: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
        File::open(self.part())?.sync_all()?;
        rename(&self.part(), &self.target)?;
        // Makes the name durable, where folders can be synced.
        match cfg!(unix) {
            true => File::open(parent(&self.target))?.sync_all(),
            false => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If this fails, the next process removes the folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn parent(of: &Path) -> &Path {
    match of.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Returns options for writing a file that, if it is new, is for its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE);
    options
}

/// Fails if the folder belongs to another user, who could read or change its content.
#[cfg(unix)]
fn check_owner(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = match std::fs::symlink_metadata(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0;
    if meta.is_dir() && is_ours {
        return Ok(());
    }
    let folder = folder.display();
    let detail = format!("{folder} exists, but is not a private folder of this user; remove it");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, detail))
}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Locks a folder and removes the remains of a dead process in it. Returns `None` if another process
/// writes there.
fn claim(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = private().create(true).truncate(false).open(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    // Before the lock was taken, the folder may have been removed, and another one created.
    if !inode::is_at(&lock, &path)? {
        return Err(io::ErrorKind::NotFound.into());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != LOCK {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(Some(lock))
}

/// Removes the remains of dead processes in a folder. A failure is harmless.
fn clean(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let is_ours = name.starts_with(b".") && name.ends_with(ENDING.as_bytes());
        let folder = entry.path();
        if is_ours
            && check_owner(&folder).is_ok()
            && let Ok(Some(_lock)) = claim(&folder)
        {
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}

/// Renames unless the target exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems do not support this.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}
