//! How an answer says how it went: the same codes from library, command line and server.

use crate::name::{Key, TableName};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What kind of error it is. Codes are stable; messages are for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
            /// A code that this version does not know: a failure that trying again does not mend.
            /// Read in its place, never written.
            #[serde(rename = "UNKNOWN", other)]
            Unknown,
        }

        impl Code {
            /// All codes that are written, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "UNKNOWN",
                }
            }
        }
    };
}

codes! {
    /// A request that cannot be understood.
    BadRequest = "BAD_REQUEST",
    /// A table name, key, category or transaction id that is not of the right form.
    InvalidName = "INVALID_NAME",
    /// A value that is not JSON, or too deep.
    InvalidValue = "INVALID_VALUE",
    /// A time that is none.
    InvalidTime = "INVALID_TIME",
    /// Options of a table that do not go together, or a schema that is none.
    InvalidOptions = "INVALID_OPTIONS",
    /// A value, transaction or replacement beyond its limit.
    TooLarge = "TOO_LARGE",
    /// A value that does not fit the table's schema.
    SchemaViolation = "SCHEMA_VIOLATION",
    /// The table's schema costs more than is allowed, or is none: values cannot be checked.
    UnusableSchema = "UNUSABLE_SCHEMA",
    /// No record has this key.
    NotFound = "NOT_FOUND",
    /// There is no such table.
    UnknownTable = "UNKNOWN_TABLE",
    /// There is a table with this name already.
    TableExists = "TABLE_EXISTS",
    /// A precondition does not hold.
    PreconditionFailed = "PRECONDITION_FAILED",
    /// The transaction id was used with another body.
    TxnIdReused = "TXN_ID_REUSED",
    /// The position lies before the history that is kept.
    Gone = "GONE",
    /// The position is of another incarnation of the table, or lies in its future.
    EpochChanged = "EPOCH_CHANGED",
    /// The table has no search index.
    NoSearch = "NO_SEARCH",
    /// The table is sealed, and no passphrase was given.
    Sealed = "SEALED",
    /// The passphrase is not the table's.
    WrongPassphrase = "WRONG_PASSPHRASE",
    /// Too much is waiting to be committed.
    Busy = "BUSY",
    /// It took longer than it may, and was ended. Asking for less helps, asking again does not.
    TookTooLong = "TOOK_TOO_LONG",
    /// Readers have held old copies of the table for too long.
    ReadersStalled = "READERS_STALLED",
    /// The disk is full.
    StorageFull = "STORAGE_FULL",
    /// Reading or writing the database failed.
    StorageError = "STORAGE_ERROR",
    /// The database is damaged.
    Corrupt = "CORRUPT",
    /// Whether the transaction was committed is not known; the same id finds out.
    CommitUnknown = "COMMIT_UNKNOWN",
    /// The store was opened for reading only, or the file can only be read.
    ReadOnly = "READ_ONLY",
    /// Another process has the database open for writing, or holds a lock on it.
    InUse = "IN_USE",
    /// There is no such file or directory, or it cannot be used.
    NoSuchFile = "NO_SUCH_FILE",
    /// The file is not a HotRead database.
    Foreign = "FOREIGN",
    /// The database was written by a newer version.
    NewerSchema = "NEWER_SCHEMA",
    /// The database was written by an older version and has to be migrated.
    OlderSchema = "OLDER_SCHEMA",
    /// The store is shutting down.
    Closed = "CLOSED",
    /// A token is needed, and none or no valid one was given.
    Unauthenticated = "UNAUTHENTICATED",
    /// The token does not allow this.
    Forbidden = "FORBIDDEN",
    /// The server does not answer to this `Host`.
    HostNotAllowed = "HOST_NOT_ALLOWED",
    /// Pages of this origin may not use the server.
    OriginNotAllowed = "ORIGIN_NOT_ALLOWED",
    /// Too many requests or frames in a short time.
    RateLimited = "RATE_LIMITED",
    /// The server has as many connections as it takes.
    TooManyConnections = "TOO_MANY_CONNECTIONS",
    /// There is nothing at this path.
    UnknownRoute = "UNKNOWN_ROUTE",
    /// The path does not have this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The body is not declared as JSON.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// The two ends of a session have no version in common.
    UnsupportedVersion = "UNSUPPORTED_VERSION",
    /// A frame that the protocol does not allow where it came.
    ProtocolError = "PROTOCOL_ERROR",
    /// It took too long; whether anything was done is not known.
    Timeout = "TIMEOUT",
    /// There is no token with this id.
    UnknownToken = "UNKNOWN_TOKEN",
    /// A defect of the server.
    Internal = "INTERNAL",
    /// A replica's type refuses a value. Only said by clients.
    Rejected = "REJECTED",
    /// The server cannot be reached. Only said by clients.
    Unreachable = "UNREACHABLE",
    /// The address to listen at is in use. Only said by the command.
    AddressInUse = "ADDRESS_IN_USE",
    /// The configuration is wrong. Only said by the command.
    BadConfig = "BAD_CONFIG",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The body of an answer that reports an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// What kind of error it is.
    pub code: Code,
    /// What happened and what to do, in one line.
    pub message: String,
    /// The key that it is about, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// For a failed precondition, the record's actual sequence number, if there is a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

impl ErrorBody {
    /// An error that is about no key in particular.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            key: None,
            seq: None,
        }
    }

    /// The absence of a record; `more` goes on in the sentence.
    #[must_use]
    pub fn no_record(table: &TableName, key: &Key, more: &str) -> Self {
        let message = format!(
            "there is no record {:?} in table {table}{more}",
            key.as_str()
        );
        Self {
            key: Some(key.clone()),
            ..Self::new(Code::NotFound, message)
        }
    }
}

/// The body of an answer that reports success: its data, flat, beside `"ok": true`.
///
/// It reads back only data without a [`Value`](crate::Value) in it, whose text would be lost on the
/// way. Read answers with values as a type that has a field `ok` of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success<T> {
    /// Always `true`: an answer without it is none of ours.
    pub ok: bool,
    /// What was asked for.
    #[serde(flatten)]
    pub data: T,
}

impl<T> Success<T> {
    /// Wraps the data.
    pub fn new(data: T) -> Self {
        Self { ok: true, data }
    }
}
