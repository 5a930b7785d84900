//! Errors of opening a database's file and of copying it.

use super::storage::StorageError;
use hotread_proto::Code;
use std::path::{Path, PathBuf};

/// The reason a store could not be opened. Existing files are unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The parent directory of the database does not exist.
    #[error("{} is not a directory; create it first", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file does not exist, and was not to be created.
    #[error("{} does not exist; check the path, or create a table to begin a database", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The path is a directory or another kind of file that cannot be a database, or ends with `/`, as only
    /// that of a directory may.
    #[error("{} is not a file; give the path of a database{}", path.display(), without_slash(path))]
    NotAFile {
        /// The given path.
        path: PathBuf,
    },
    /// The path leads nowhere: its symbolic links form a loop, or a directory on it may not be entered.
    #[error("{} cannot be reached: {source}; check the permissions and symbolic links on its path", path.display())]
    Unreachable {
        /// The path, or its directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process, or this one, has the file open for writing.
    #[error("{} is in use by {holder}; go through that process, or open it read-only", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The holder's process and, if it serves the database, its URL.
        holder: Holder,
    },
    /// The file has several names, by hard links. SQLite keeps the write-ahead log under one of them:
    /// writers under two names destroy the database.
    #[error("{} is one of {names} names of the same file; its write-ahead log is kept under one name only, so remove the other hard links, or open another file that has a backup of it", path.display())]
    SeveralNames {
        /// The database.
        path: PathBuf,
        /// Names that the file has.
        names: u64,
    },
    /// The file is not an SQLite database, or is one of another program.
    #[error("{} is not a HotRead database ({reason}); it was left as it is", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The evidence for that.
        reason: String,
    },
    /// The file was written by a newer version of HotRead.
    #[error("{} has schema version {found}, but this version of HotRead supports {known}; the file was not changed; use the newer version, which can migrate it down to version {known}", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The file was written by an older version of HotRead, and was to be opened for reading only.
    #[error("{} has schema version {found}, and version {known} is needed; open it for writing once, which migrates it", path.display())]
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The version that is needed.
        known: i32,
    },
    /// The lock file could not be used.
    #[error("{} could not be locked for writing ({source}); check the permissions of its directory, or open the database read-only", path.display())]
    LockFile {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// SQLite could not read the file.
    #[error("{}: {source}", path.display())]
    Storage {
        /// The database.
        path: PathBuf,
        /// The underlying error.
        source: StorageError,
    },
    /// A thread could not be started.
    #[error("a thread of the store could not be started ({0}); check the limits of this process")]
    Thread(std::io::Error),
}

/// The process that has a database open for writing, according to its lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// The process id.
    #[serde(default)]
    pub pid: u32,
    /// The URL at which it serves the database, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.url) {
            (0, _) => f.write_str("another process"),
            (pid, None) => write!(f, "process {pid}"),
            (pid, Some(url)) => write!(
                f,
                "process {pid}, which serves it at {}",
                url.escape_debug()
            ),
        }
    }
}

/// Returns the advice for a path that ends with `/` without need.
fn without_slash(path: &Path) -> &'static str {
    match path.as_os_str().as_encoded_bytes() {
        [.., b'/'] if !path.is_dir() => ", without the slash at its end",
        _ => "",
    }
}

impl OpenError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoDirectory { .. }
            | Self::NoFile { .. }
            | Self::NotAFile { .. }
            | Self::Unreachable { .. } => Code::NoSuchFile,
            Self::InUse { .. } | Self::SeveralNames { .. } => Code::InUse,
            Self::Foreign { .. } => Code::Foreign,
            Self::NewerSchema { .. } => Code::NewerSchema,
            Self::OlderSchema { .. } => Code::OlderSchema,
            Self::LockFile { .. } => Code::ReadOnly,
            Self::Storage { source, .. } => source.code(),
            Self::Thread(_) => Code::StorageError,
        }
    }
}

/// The reason a backup could not be made or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file with the target's name exists already.
    #[error("{} exists already; give a path where nothing is", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The target could not be written, or the source could not be copied.
    #[error("{}: {source}; check permissions and free space", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The database to be restored cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup is damaged.
    #[error("{} is damaged: {problem}; use an older backup", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// The first problem that was found.
        problem: String,
    },
    /// SQLite failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl BackupError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Exists { .. } => Code::BadRequest,
            Self::File { .. } => Code::StorageError,
            Self::Open(source) => source.code(),
            Self::Damaged { .. } => Code::Corrupt,
            Self::Storage(source) => source.code(),
        }
    }
}
