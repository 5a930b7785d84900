//! Outcome of a request: the library, the command line and the server use the same codes.

use crate::name::{Key, TableName};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Kind of an error. Codes are stable; messages are meant for humans.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
            /// An error code unknown to this version. Treated as permanent; deserialized only,
            /// never sent.
            #[serde(rename = "UNKNOWN", other)]
            Unknown,
        }

        impl Code {
            /// All codes that can be sent, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the code as it is written in JSON.
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
    /// A table name, key, category or transaction id is malformed.
    InvalidName = "INVALID_NAME",
    /// A value is not JSON, or is nested too deeply.
    InvalidValue = "INVALID_VALUE",
    /// A time is malformed or out of range.
    InvalidTime = "INVALID_TIME",
    /// The options of a table conflict, or its schema is not a valid JSON Schema.
    InvalidOptions = "INVALID_OPTIONS",
    /// A value, transaction or replacement exceeds its limit.
    TooLarge = "TOO_LARGE",
    /// A value does not match the table's schema.
    SchemaViolation = "SCHEMA_VIOLATION",
    /// The table's schema is invalid or costs more than is allowed, so values cannot be checked.
    UnusableSchema = "UNUSABLE_SCHEMA",
    /// No record has this key.
    NotFound = "NOT_FOUND",
    /// The table does not exist.
    UnknownTable = "UNKNOWN_TABLE",
    /// A table with this name already exists.
    TableExists = "TABLE_EXISTS",
    /// A precondition does not hold.
    PreconditionFailed = "PRECONDITION_FAILED",
    /// The transaction id was used with another body.
    TxnIdReused = "TXN_ID_REUSED",
    /// The position lies before the history that the table keeps.
    Gone = "GONE",
    /// The position belongs to another incarnation of the table, or lies in its future.
    EpochChanged = "EPOCH_CHANGED",
    /// The table has no search index.
    NoSearch = "NO_SEARCH",
    /// The table is sealed, and no passphrase was given.
    Sealed = "SEALED",
    /// The passphrase is not the table's.
    WrongPassphrase = "WRONG_PASSPHRASE",
    /// Too many operations are waiting.
    Busy = "BUSY",
    /// The operation exceeded its time limit and was cancelled. Asking for less helps; repeating
    /// the same request does not.
    TookTooLong = "TOOK_TOO_LONG",
    /// Readers have held old copies of the table for too long.
    ReadersStalled = "READERS_STALLED",
    /// The disk is full.
    StorageFull = "STORAGE_FULL",
    /// Reading or writing the database failed.
    StorageError = "STORAGE_ERROR",
    /// The database is damaged.
    Corrupt = "CORRUPT",
    /// The outcome of the commit is unknown; repeating the request with the same id resolves it.
    CommitUnknown = "COMMIT_UNKNOWN",
    /// The store was opened read-only, or the file is not writable.
    ReadOnly = "READ_ONLY",
    /// Another process has the database open for writing, or holds a lock on it.
    InUse = "IN_USE",
    /// The file or directory does not exist or cannot be used.
    NoSuchFile = "NO_SUCH_FILE",
    /// The file is not a HotRead database.
    Foreign = "FOREIGN",
    /// The database was written by a newer version.
    NewerSchema = "NEWER_SCHEMA",
    /// The database was written by an older version and must be migrated.
    OlderSchema = "OLDER_SCHEMA",
    /// The store is shutting down.
    Closed = "CLOSED",
    /// A token is required, and no valid one was given.
    Unauthenticated = "UNAUTHENTICATED",
    /// The token does not permit this.
    Forbidden = "FORBIDDEN",
    /// The server does not serve this `Host`.
    HostNotAllowed = "HOST_NOT_ALLOWED",
    /// Pages of this origin may not use the server.
    OriginNotAllowed = "ORIGIN_NOT_ALLOWED",
    /// Too many requests or frames in a short time.
    RateLimited = "RATE_LIMITED",
    /// The server has reached its connection limit.
    TooManyConnections = "TOO_MANY_CONNECTIONS",
    /// No route has this path.
    UnknownRoute = "UNKNOWN_ROUTE",
    /// The path does not support this method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The body is not declared as JSON.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// The two ends of a session have no version in common.
    UnsupportedVersion = "UNSUPPORTED_VERSION",
    /// A frame arrived that the protocol does not allow at that point.
    ProtocolError = "PROTOCOL_ERROR",
    /// The time limit was exceeded; whether the operation was carried out is unknown.
    Timeout = "TIMEOUT",
    /// No token has this id.
    UnknownToken = "UNKNOWN_TOKEN",
    /// A defect of the server.
    Internal = "INTERNAL",
    /// A replica's type refuses a value. Reported by clients only.
    Rejected = "REJECTED",
    /// The server cannot be reached. Reported by clients only.
    Unreachable = "UNREACHABLE",
    /// No TLS connection to the server is possible: a certificate is not accepted, or one end does not speak
    /// TLS.
    TlsFailed = "TLS_FAILED",
    /// The address to listen on is in use. Reported by the command only.
    AddressInUse = "ADDRESS_IN_USE",
    /// The configuration is invalid. Reported by the command only.
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
    /// Kind of the error.
    pub code: Code,
    /// Cause and remedy, in one line.
    pub message: String,
    /// Key that the error is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// For a failed precondition, the actual sequence number of the record, if the record exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

impl ErrorBody {
    /// Creates an error that is not about a particular key.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            key: None,
            seq: None,
        }
    }

    /// Creates the error for a missing record; `more` is appended to the message.
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

/// The body of an answer that reports success: its data, flat, next to `"ok": true`.
///
/// Deserialization supports only data without a [`Value`](crate::Value) in it, because flattening
/// loses a value's text. Read answers with values as a type that has a field `ok` of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success<T> {
    /// Always `true`; an answer without this field was not produced by HotRead.
    pub ok: bool,
    /// Data of the answer.
    #[serde(flatten)]
    pub data: T,
}

impl<T> Success<T> {
    /// Wraps the data.
    pub fn new(data: T) -> Self {
        Self { ok: true, data }
    }
}
