//! Errors of the database, the system and SQLite.

use hotread_proto::Code;
use rusqlite::ErrorCode;
use std::path::PathBuf;

/// A failure of SQLite, of the file or of the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no space left.
    #[error("the disk is full ({detail}); make room and try again")]
    Full {
        /// SQLite's message.
        detail: String,
    },
    /// The database is damaged.
    #[error("the database is damaged ({detail}); verify it, and restore a backup")]
    Corrupt {
        /// A description of the damage.
        detail: String,
    },
    /// Another program holds a lock on the database, and did not release it in time.
    #[error("another program has locked the database ({detail}); find out which, and try again")]
    Locked {
        /// SQLite's message.
        detail: String,
    },
    /// The file or its medium is read-only.
    #[error("the database is read-only ({detail}); check its permissions and its file system")]
    ReadOnly {
        /// SQLite's message.
        detail: String,
    },
    /// Another file has the database's name, or no file has it: a write would be lost at the next
    /// opening.
    #[error("{}: {detail}; it was moved or deleted while it was open, so nothing is written; put the file back, or close the store and open it where it is now", path.display())]
    Moved {
        /// The file: the database or its write-ahead log.
        path: PathBuf,
        /// A description of the file that has the name now.
        detail: String,
    },
    /// All read connections are in use.
    #[error(
        "all read connections were in use for too long; read in smaller steps, or allow more readers"
    )]
    NoReader,
    /// The [`Budget`](crate::Budget) of the work is spent: it took too long, or was cancelled.
    #[error(
        "the call took too long and was interrupted; ask for less at once, such as with fewer words or a smaller limit"
    )]
    Interrupted,
    /// Reading or writing failed.
    #[error(
        "the database could not be read or written ({detail}); check its permissions, the disk and the system's log"
    )]
    Io {
        /// SQLite's message.
        detail: String,
    },
}

impl StorageError {
    pub(crate) fn corrupt(detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self::Corrupt { detail }
    }

    pub(crate) fn io(detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self::Io { detail }
    }

    /// Prefixes the error's detail with a context.
    pub(crate) fn within(mut self, what: &str) -> Self {
        match &mut self {
            Self::Full { detail }
            | Self::Corrupt { detail }
            | Self::Locked { detail }
            | Self::ReadOnly { detail }
            | Self::Io { detail }
            | Self::Moved { detail, .. } => *detail = format!("{what}; {detail}"),
            Self::NoReader | Self::Interrupted => {}
        }
        self
    }

    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Full { .. } => Code::StorageFull,
            Self::Corrupt { .. } => Code::Corrupt,
            Self::Locked { .. } => Code::InUse,
            Self::ReadOnly { .. } => Code::ReadOnly,
            Self::NoReader => Code::Busy,
            Self::Interrupted => Code::TookTooLong,
            Self::Moved { .. } | Self::Io { .. } => Code::StorageError,
        }
    }
}

impl From<std::io::Error> for StorageError {
    fn from(error: std::io::Error) -> Self {
        let detail = error.to_string();
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Full { detail },
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { detail }
            }
            _ => Self::Io { detail },
        }
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        let detail = error.to_string();
        if is_without_index(&error) {
            let detail = format!("no room for the index of the write-ahead log: {detail}");
            return Self::Full { detail };
        }
        let Some(code) = error.sqlite_error_code() else {
            // A row is malformed.
            return Self::Corrupt { detail };
        };
        match code {
            ErrorCode::OperationInterrupted => Self::Interrupted,
            ErrorCode::DiskFull => Self::Full { detail },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt { detail },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked { detail },
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly { detail },
            _ => Self::Io { detail },
        }
    }
}

/// Returns `true` if there was no room for the index of the write-ahead log, for which SQLite has an
/// error of its own.
pub(crate) fn is_without_index(error: &rusqlite::Error) -> bool {
    is_extended(error, rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Returns `true` if the error has this extended code of SQLite.
pub(crate) fn is_extended(error: &rusqlite::Error, code: i32) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(e, _) if e.extended_code == code)
}

impl From<getrandom::Error> for StorageError {
    fn from(error: getrandom::Error) -> Self {
        Self::io(format!("the system has no random numbers: {error}"))
    }
}

impl From<r2d2::Error> for StorageError {
    fn from(_: r2d2::Error) -> Self {
        Self::NoReader
    }
}
