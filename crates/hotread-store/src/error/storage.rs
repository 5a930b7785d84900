//! What the database, the system and SQLite can fail with.

use hotread_proto::Code;
use rusqlite::ErrorCode;
use std::path::PathBuf;

/// SQLite could not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// No space left.
    #[error("the disk is full ({detail}); make room and try again")]
    Full {
        /// SQLite's words.
        detail: String,
    },
    /// The database is damaged.
    #[error("the database is damaged ({detail}); verify it, and restore a backup")]
    Corrupt {
        /// What is wrong.
        detail: String,
    },
    /// Another program holds a lock on the database, and did not let go in time.
    #[error("another program has locked the database ({detail}); find out which, and try again")]
    Locked {
        /// SQLite's words.
        detail: String,
    },
    /// The file, or the medium that it is on, can only be read.
    #[error("the database can only be read ({detail}); check its permissions and its medium")]
    ReadOnly {
        /// SQLite's words.
        detail: String,
    },
    /// Another file has the database's name, or none: what is written would be lost with the next
    /// opening.
    #[error("{}: {detail}; it was moved or deleted while it was open, so nothing is written; put the file back, or close the store and open it where it is now", path.display())]
    Moved {
        /// The file: the database or its write-ahead log.
        path: PathBuf,
        /// What is there instead.
        detail: String,
    },
    /// All read connections are in use.
    #[error(
        "all read connections were in use for too long; read in smaller steps, or allow more readers"
    )]
    NoReader,
    /// The [`Budget`](crate::Budget) of the work is spent: it took too long, or was cancelled.
    #[error(
        "it took longer than it may, and was ended; ask for less at once, such as with fewer words or a smaller limit"
    )]
    Interrupted,
    /// Reading or writing failed.
    #[error(
        "the database could not be read or written ({detail}); check its permissions, the disk and the system's log"
    )]
    Io {
        /// SQLite's words.
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

    /// With what has to be said besides.
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

    /// The error's stable code.
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
            // Rows that do not have the form that this crate writes.
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

/// Whether there was no room for the index of the write-ahead log, for which SQLite has an error of its own.
pub(crate) fn is_without_index(error: &rusqlite::Error) -> bool {
    is_extended(error, rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Whether it is the error of SQLite with this extended code.
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
