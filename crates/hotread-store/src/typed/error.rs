//! The error of every call of a typed table.

use crate::error::{BackupError, CommitError, OpenError, ReadError, StorageError, TableError};
use hotread_proto::session::Refused;
use hotread_proto::{InvalidInput, InvalidName, TableName};
use std::io;

/// Any error of this crate. The variants hold the precise error of each kind of call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A table could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A transaction was refused, or could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A table could not be created, changed or dropped.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A backup could not be written or restored.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The database file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A name of a table is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A key or a value cannot be stored.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// The table has a value that the type refuses.
    #[error(
        "table {table} has a value that the program's type refuses: {refused}; change or delete that record, or ask for the table as a `RecordSet`"
    )]
    Rejected {
        /// The table.
        table: TableName,
        /// The record, and the reason.
        refused: Refused,
    },
}

impl Error {
    pub(super) fn rejected(table: &TableName, refused: Refused) -> Self {
        let table = table.clone();
        Self::Rejected { table, refused }
    }

    pub(super) fn no_thread(error: io::Error) -> Self {
        let reason = error.to_string();
        Self::Read(ReadError::NoThread { reason })
    }
}
