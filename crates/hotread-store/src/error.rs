//! The errors, one enum for each kind of call. Every error has a stable code and a message in one line
//! that says what to do.

mod file;
mod storage;

pub use self::file::{BackupError, Holder, OpenError};
pub use self::storage::StorageError;
pub(crate) use self::storage::{is_extended, is_without_index};

/// Converts errors of SQLite and of the database to those of a kind of call, through one of its
/// variants.
macro_rules! from_storage {
    ($($error:ident::$variant:ident from $($source:ty),+;)+) => {$($(
        impl From<$source> for $error {
            fn from(error: $source) -> Self {
                Self::$variant(error.into())
            }
        }
    )+)+};
}
pub(crate) use from_storage;

from_storage! {
    ReadError::Storage from rusqlite::Error;
    CommitError::Storage from rusqlite::Error;
    TableError::Commit from rusqlite::Error, StorageError;
    BackupError::Storage from rusqlite::Error;
}

/// Adds constructors of the two errors that any call on a table may return.
macro_rules! of_table {
    ($($error:ident),+) => {$(
        impl $error {
            pub(crate) fn unknown(table: &TableName) -> Self {
                let table = table.clone();
                Self::UnknownTable { table }
            }

            pub(crate) fn seal(table: &TableName) -> impl FnOnce(SealError) -> Self {
                let table = table.clone();
                move |source| Self::Seal { table, source }
            }
        }
    )+};
}

of_table!(ReadError, CommitError);

use crate::seal::SealError;
use hotread_proto::{Code, Epoch, ErrorBody, Key, Position, Refusal, TableName, TxnTooLarge};

/// The reason a table could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such table.
    #[error("there is no table {table}; check its name, or create it")]
    UnknownTable {
        /// The name that was given.
        table: TableName,
    },
    /// The table has no search index.
    #[error("table {table} has no search index; alter the table to have one")]
    NoSearch {
        /// The table.
        table: TableName,
    },
    /// The position is older than the history that is kept.
    #[error(
        "the history of table {table} begins at seq {floor}; read the whole table and continue from its position"
    )]
    Gone {
        /// The table.
        table: TableName,
        /// The first transaction that is kept.
        floor: u64,
    },
    /// The position is not of this incarnation of the table, or lies in its future.
    #[error(
        "table {table} was never at {from}, it is at {head}; read the whole table and continue from its position"
    )]
    NeverThere {
        /// The table.
        table: TableName,
        /// The position that was given.
        from: Position,
        /// The table's current position.
        head: Position,
    },
    /// A listing was to continue in an incarnation of the table that is gone.
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
    /// A store that only reads receives no changes.
    #[error(
        "a read-only store receives no change notifications; open it for writing, or poll `Store::changes`"
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
        /// The cause.
        source: SealError,
    },
    /// The system refused to start the thread that completes publications of tables in memory.
    #[error("the system refused to start a thread: {reason}")]
    NoThread {
        /// The system's error.
        reason: String,
    },
    /// SQLite failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// Returns the error's stable code.
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

/// The reason a transaction was not committed. Unless it is [`Unknown`](Self::Unknown), nothing of
/// it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// There is no such table, or it was dropped in the meantime.
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
        /// The place in the value, as a JSON pointer; empty for the value as a whole.
        path: String,
        /// The violation, without quoting the value.
        reason: String,
    },
    /// The schema of the table cannot be used: it was stored by a version that did not bound the cost
    /// of a schema. The stored records can be read and deleted.
    #[error(
        "the schema of table {table} cannot be used: {reason}; move the records to a table with another schema"
    )]
    UnusableSchema {
        /// The table.
        table: TableName,
        /// The problem with the schema.
        reason: String,
    },
    /// The queue of the committer is full.
    #[error("{waiting} transactions are waiting to be committed; try again later")]
    Busy {
        /// Transactions that wait.
        waiting: usize,
    },
    /// Readers hold old copies of the live table, and too many changes wait for them.
    #[error("{waiting} changes of table {table} wait for readers that hold old copies{}; let them ask again or become quiescent", by(worker.as_deref()))]
    ReadersStalled {
        /// The table.
        table: TableName,
        /// Changes that are committed and not visible yet.
        waiting: u64,
        /// The name of a handle that blocks the publication.
        worker: Option<String>,
    },
    /// COMMIT itself failed, so the transaction may or may not be stored.
    #[error(
        "it is unknown whether the change was committed: {cause}; check whether it took effect, or retry it with its transaction id, if it had one"
    )]
    Unknown {
        /// The error of COMMIT.
        cause: StorageError,
    },
    /// The table is sealed, and cannot be opened.
    #[error("table {table}: {source}")]
    Seal {
        /// The table.
        table: TableName,
        /// The cause.
        source: SealError,
    },
    /// The store was opened for reading only.
    #[error("the store was opened read-only; open it for writing")]
    ReadOnly,
    /// The store is being closed.
    #[error("the store is being closed; open it again")]
    Closed,
    /// SQLite failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn at(path: &str) -> String {
    match path {
        "" => String::new(),
        _ => format!(" (at {path})"),
    }
}

fn by(worker: Option<&str>) -> String {
    worker.map_or_else(String::new, |name| format!(" (such as {name:?})"))
}

impl CommitError {
    /// Returns the error's stable code.
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

    /// Returns the error as the body of an answer.
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

/// Maps the errors of reading a table to those of writing it.
impl From<ReadError> for CommitError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownTable { table } => Self::UnknownTable { table },
            ReadError::Seal { table, source } => Self::Seal { table, source },
            ReadError::Storage(error) => Self::Storage(error),
            other => Self::Storage(StorageError::io(other)),
        }
    }
}

/// The reason tables could not be created, altered, dropped or rekeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// There is a table with this name already.
    #[error("table {table} already exists; choose another name, or drop it first")]
    Exists {
        /// The name that was given.
        table: TableName,
    },
    /// The schema is not a JSON Schema.
    #[error("the schema is not a JSON Schema that can be used here: {reason}")]
    InvalidSchema {
        /// The problem with the schema.
        reason: String,
    },
    /// Sealed tables cannot be searched.
    #[error(
        "a sealed table cannot be searched, because the index would hold its values in clear; omit one of the two"
    )]
    SealedSearch,
    /// The values of a sealed table are bound to its name.
    #[error(
        "a sealed table keeps its name, to which its values are bound; create a table with the other name, and write the records there"
    )]
    SealedName,
    /// The table is not sealed.
    #[error("table {table} is not sealed, so it cannot be rekeyed")]
    NotSealed {
        /// The table.
        table: TableName,
    },
    /// An error that transactions have as well.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl TableError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Exists { .. } => Code::TableExists,
            Self::InvalidSchema { .. }
            | Self::SealedSearch
            | Self::SealedName
            | Self::NotSealed { .. } => Code::InvalidOptions,
            Self::Commit(source) => source.code(),
        }
    }
}
