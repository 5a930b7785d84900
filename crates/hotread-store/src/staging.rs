//! Files that get their name when they are whole: written in a folder beside the target, synced, renamed.
//!
//! The folder has a lock file, so that what a dead process has left is known from what another one is
//! writing. It is removed by the next one that writes into the same folder.

use crate::files::{PRIVATE, private_folder};
use crate::inode;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// What the names of the folders end with; they begin with a dot.
const ENDING: &str = ".hotread-part";
/// The name of the lock file, and of the file that is not whole.
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
    /// Makes room for a file of this name. [`io::ErrorKind::ResourceBusy`]: another process writes one.
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
                // The process that had it has just removed it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Where to write, until it has its name. There is nothing of this name yet.
    pub(crate) fn part(&self) -> PathBuf {
        self.folder.join(PART)
    }

    /// Creates the part, empty, for its owner alone.
    pub(crate) fn create_private(&self) -> io::Result<File> {
        private().create_new(true).open(self.part())
    }

    /// Gives the file its name, durably. [`io::ErrorKind::AlreadyExists`]: something has it.
    pub(crate) fn publish_new(self) -> io::Result<()> {
        self.publish_by(rename_new)
    }

    /// Gives the file its name, durably, in place of what has it.
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
        // What is left is removed by the next one.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn parent(of: &Path) -> &Path {
    match of.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// To write a file that, if it is new, is for its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE);
    options
}

/// A folder that another user has prepared could be read or changed by that user.
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
    let detail =
        format!("{folder} is in the way, and not a private folder of this user; remove it");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, detail))
}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Takes a folder, emptied of what a dead process has left. `None`: another process writes in it.
fn claim(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = private().create(true).truncate(false).open(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    // The folder of this lock may have been removed before it was taken, and another made.
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

/// Removes what dead processes have left in a folder. If that fails, it is in nobody's way.
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

/// Renames unless something has the name already.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems cannot.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return Ok(done?),
        }
    }
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}
