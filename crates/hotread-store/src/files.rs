//! The files of a database: names, permissions, and free space.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Permissions of files with records: for their owner alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// Returns the path of the file next to a database with this ending appended to its name: next to the
/// file itself, with symbolic links resolved, as SQLite resolves it.
pub(crate) fn sibling(database: &Path, ending: &str) -> PathBuf {
    let file = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = file.into_os_string();
    name.push(ending);
    name.into()
}

/// Gives a new file the permissions of the database, or [`PRIVATE`] if the database does not exist yet.
pub(crate) fn as_private_as(database: &Path, options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let mode = std::fs::metadata(database).map(|meta| meta.permissions().mode() & 0o666);
        options.mode(mode.unwrap_or(PRIVATE));
    }
    #[cfg(not(unix))]
    let _ = (database, options);
}

/// Creates a folder that only this process's user may enter.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path)
}

/// Creates the database's file, empty. SQLite gives the files next to it the same permissions.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    // Also opens an existing file, since the name may be a symbolic link.
    options.write(true).create(true).truncate(false);
    as_private_as(path, &mut options);
    options.open(path).map(drop)
}

/// Returns `true` if a buffer was filled, and `false` if the file ends before.
pub(crate) fn is_filled(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Returns the bytes that are free on the disk for this process's user.
#[cfg(unix)]
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Returns the bytes that are free on the disk, if the system reports them.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_: &Path) -> Option<u64> {
    None
}
