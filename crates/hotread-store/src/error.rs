//! What can go wrong, one enum for each kind of call. Every error has a stable code and a message in
//! one line that says what to do.

use crate::seal::SealError;
use hotread_proto::{Code, Epoch, ErrorBody, Key, Position, Refusal, TableName, TxnTooLarge};
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
        "the database could not be read or written ({detail}); check the disk and the system's log"
    )]
    Io {
        /// SQLite's words.
        detail: String,
    },
}

impl StorageError {
    pub(crate) fn corrupt(detail: impl Into<String>) -> Self {
        Self::Corrupt {
            detail: detail.into(),
        }
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
        Self::Io {
            detail: format!("the system has no random numbers: {error}"),
        }
    }
}

impl From<r2d2::Error> for StorageError {
    fn from(_: r2d2::Error) -> Self {
        Self::NoReader
    }
}

/// Why a store could not be opened. Whatever was there is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory that the database should be in is not there.
    #[error("{} is not a directory; create it first", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// There is no such file, and it was not to be created.
    #[error("{} does not exist; check the path, or create a table to begin a database", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, or something else that is no file.
    #[error("{} is not a file; give the path of a database", path.display())]
    NotAFile {
        /// What was given.
        path: PathBuf,
    },
    /// Another process, or this one, has it open for writing.
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
    /// It is no SQLite database, or one of another program.
    #[error("{} is not a HotRead database ({reason}); it was left as it is", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// It was written by a newer version of HotRead.
    #[error("{} has schema version {found}, and this version of HotRead knows {known}; it was left as it is; use the newer version, which can migrate it down to version {known}", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i32,
        /// The newest version that is known here.
        known: i32,
    },
    /// It was written by an older version of HotRead, and was to be opened for reading only.
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
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite could not read it.
    #[error("{}: {source}", path.display())]
    Storage {
        /// The database.
        path: PathBuf,
        /// What went wrong.
        source: StorageError,
    },
    /// A thread could not be started.
    #[error("a thread of the store could not be started ({0}); check the limits of this process")]
    Thread(std::io::Error),
}

/// Who has a database open for writing, as its lock file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// The process id.
    #[serde(default)]
    pub pid: u32,
    /// Where it serves the database, if it does.
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

impl OpenError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoDirectory { .. } | Self::NoFile { .. } | Self::NotAFile { .. } => {
                Code::NoSuchFile
            }
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

/// Why a table could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such table.
    #[error("there is no table {table}; check its name, or create it")]
    UnknownTable {
        /// The name that was given.
        table: TableName,
    },
    /// The table was not made to be searched.
    #[error(
        "table {table} has no search index; create a table with one, and write the records there"
    )]
    NoSearch {
        /// The table.
        table: TableName,
    },
    /// The position is older than the history that is kept.
    #[error(
        "the history of table {table} begins at seq {floor}; take the whole table and go on from its position"
    )]
    Gone {
        /// The table.
        table: TableName,
        /// The first transaction that is kept.
        floor: u64,
    },
    /// The position is not one of this incarnation of the table, or of its future.
    #[error(
        "table {table} never was at {from}, it is at {head}; take the whole table and go on from its position"
    )]
    NeverThere {
        /// The table.
        table: TableName,
        /// The position that was given.
        from: Position,
        /// Where the table is.
        head: Position,
    },
    /// A listing was to go on in an incarnation of the table that is gone.
    #[error(
        "table {table} was dropped, restored or rekeyed while it was listed, and is of epoch {now} now instead of {epoch}; list it again from the beginning"
    )]
    OtherEpoch {
        /// The table.
        table: TableName,
        /// The epoch that was given.
        epoch: Epoch,
        /// The table's epoch.
        now: Epoch,
    },
    /// A store that only reads is told of no changes.
    #[error(
        "the store was opened read-only, and nobody tells it of changes; open it for writing, or read the history now and then"
    )]
    NotTold,
    /// The store was closed.
    #[error("the store was closed; open it again")]
    Closed,
    /// The table is sealed, and cannot be opened.
    #[error("table {table}: {source}")]
    Seal {
        /// The table.
        table: TableName,
        /// Why.
        source: SealError,
    },
    /// The system refused the thread that completes publications of tables in memory.
    #[error("the system refused a thread: {reason}")]
    NoThread {
        /// What the system said.
        reason: String,
    },
    /// SQLite could not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownTable { .. } => Code::UnknownTable,
            Self::NoSearch { .. } => Code::NoSearch,
            Self::Gone { .. } => Code::Gone,
            Self::NeverThere { .. } | Self::OtherEpoch { .. } => Code::EpochChanged,
            Self::NotTold => Code::ReadOnly,
            Self::Closed => Code::Closed,
            Self::Seal { source, .. } => source.code(),
            Self::NoThread { .. } => Code::Busy,
            Self::Storage(source) => source.code(),
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// Why a transaction was not committed. Unless it is [`Unknown`](Self::Unknown), nothing of it was
/// applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// There is no such table, or it was dropped meanwhile.
    #[error("there is no table {table}; create it first")]
    UnknownTable {
        /// The name that was given.
        table: TableName,
    },
    /// The transaction is outside the limits, a precondition does not hold, or its id was used for
    /// something else.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A value does not fit the table's schema.
    #[error(
        "the value of {key:?} does not fit the schema of table {table}: {reason}{}",
        at(path)
    )]
    Schema {
        /// The table.
        table: TableName,
        /// The record.
        key: Key,
        /// Where in the value, as a JSON pointer; empty: the value as a whole.
        path: String,
        /// What is wrong, without quoting the value.
        reason: String,
    },
    /// The schema of the table cannot be used: it was stored by a version that did not bound what a
    /// schema may cost. What is stored can be read and deleted.
    #[error(
        "the schema of table {table} cannot be used: {reason}; move the records to a table with another schema"
    )]
    UnusableSchema {
        /// The table.
        table: TableName,
        /// What is wrong with the schema.
        reason: String,
    },
    /// Too much waits to be committed already.
    #[error("{waiting} transactions wait to be committed; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// Readers hold old copies of the live table, and too many changes wait for them.
    #[error("{waiting} changes of table {table} wait for readers that hold old copies{}; let them ask again or become quiescent", by(worker.as_deref()))]
    ReadersStalled {
        /// The table.
        table: TableName,
        /// Changes that are committed and not visible yet.
        waiting: u64,
        /// The name of a handle that is in the way.
        worker: Option<String>,
    },
    /// COMMIT itself failed, so whether the transaction is in is not known.
    #[error(
        "it is not known whether the transaction was committed: {cause}; try again with the same transaction id"
    )]
    Unknown {
        /// What COMMIT failed with.
        cause: StorageError,
    },
    /// The table is sealed, and cannot be opened.
    #[error("table {table}: {source}")]
    Seal {
        /// The table.
        table: TableName,
        /// Why.
        source: SealError,
    },
    /// The store was opened for reading only.
    #[error("the store was opened read-only; open it for writing")]
    ReadOnly,
    /// The store is being closed.
    #[error("the store is being closed; open it again")]
    Closed,
    /// SQLite could not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" (at {path})")
    }
}

fn by(worker: Option<&str>) -> String {
    worker
        .map(|name| format!(" (such as {:?})", name))
        .unwrap_or_default()
}

impl CommitError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownTable { .. } => Code::UnknownTable,
            Self::Refused(Refusal::Limit(TxnTooLarge::Empty)) => Code::BadRequest,
            Self::Refused(Refusal::Limit(_)) => Code::TooLarge,
            Self::Refused(
                Refusal::Precondition { .. }
                | Refusal::TableSeq { .. }
                | Refusal::TooManyDeletions { .. },
            ) => Code::PreconditionFailed,
            Self::Refused(Refusal::TooManyChanges { .. }) => Code::TooLarge,
            Self::Refused(Refusal::Outdated) => Code::Busy,
            Self::Refused(Refusal::IdReused { .. }) => Code::TxnIdReused,
            Self::Refused(_) => Code::BadRequest,
            Self::Schema { .. } => Code::SchemaViolation,
            Self::UnusableSchema { .. } => Code::UnusableSchema,
            Self::Busy { .. } => Code::Busy,
            Self::ReadersStalled { .. } => Code::ReadersStalled,
            Self::Unknown { .. } => Code::CommitUnknown,
            Self::Seal { source, .. } => source.code(),
            Self::ReadOnly => Code::ReadOnly,
            Self::Closed => Code::Closed,
            Self::Storage(source) => source.code(),
        }
    }

    /// The error as an answer's body.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let mut body = ErrorBody::new(self.code(), self);
        match self {
            Self::Refused(Refusal::Precondition { key, actual, .. }) => {
                body.key = Some(key.clone());
                body.seq = *actual;
            }
            Self::Refused(Refusal::TableSeq { actual, .. }) => body.seq = Some(*actual),
            Self::Schema { key, .. } => body.key = Some(key.clone()),
            _ => {}
        }
        body
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// Why tables could not be changed: created, dropped, sealed anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// There is a table with this name already.
    #[error("there is a table {table} already; choose another name, or drop it first")]
    Exists {
        /// The name that was given.
        table: TableName,
    },
    /// The schema is not a JSON Schema.
    #[error("the schema is not a JSON Schema that can be used here: {reason}")]
    InvalidSchema {
        /// What is wrong with it.
        reason: String,
    },
    /// Sealed tables cannot be searched.
    #[error(
        "a sealed table cannot be searched, because the index would hold its values in clear; leave out one of the two"
    )]
    SealedSearch,
    /// The table is not sealed.
    #[error("table {table} is not sealed; there is nothing to seal anew")]
    NotSealed {
        /// The table.
        table: TableName,
    },
    /// What holds for transactions holds for tables.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl TableError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Exists { .. } => Code::TableExists,
            Self::InvalidSchema { .. } | Self::SealedSearch | Self::NotSealed { .. } => {
                Code::InvalidOptions
            }
            Self::Commit(source) => source.code(),
        }
    }
}

impl From<rusqlite::Error> for TableError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Commit(error.into())
    }
}

impl From<StorageError> for TableError {
    fn from(error: StorageError) -> Self {
        Self::Commit(error.into())
    }
}

/// Why a backup could not be made or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something with the target's name is there already.
    #[error("{} exists already; give a path where nothing is", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The target could not be written, or the source not be copied.
    #[error("{}: {source}; check permissions and free space", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database to be restored cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup is damaged.
    #[error("{} is damaged: {problem}; take an older one", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// The first thing that is wrong with it.
        problem: String,
    },
    /// SQLite could not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl BackupError {
    /// The error's stable code.
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

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}
