//! What a table was made with, and what can be said of it.

use hotread_proto::{Digest, Position, TableName, Timestamp, Value};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a table is made. The options stay as they are for as long as the table lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    /// Keep a full-text index of keys and values. About doubles the cost of a write.
    pub search: bool,
    /// Keep values encrypted on disk. Needs the store's passphrase; excludes `search`.
    pub sealed: bool,
    /// A JSON Schema that every value must fit. Draft 2020-12 unless it names another; references
    /// to other documents are not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// How much of the past is kept.
    pub history: History,
}

/// How much of a table's past is kept for those who follow it: as long as none of these is
/// exceeded. What is exceeded is trimmed from the oldest end, some changes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Transactions.
    pub max_changes: u64,
    /// Age of a transaction, in seconds.
    pub max_age_s: u64,
    /// Bytes of keys and values.
    pub max_bytes: u64,
}

impl History {
    /// The age as a duration.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_s)
    }
}

impl Default for History {
    /// 10,000 transactions, one week, 256 MiB: a replica that was away over a weekend resumes, and
    /// the past of a busy table does not outgrow its present by much.
    fn default() -> Self {
        Self {
            max_changes: 10_000,
            max_age_s: 7 * 24 * 60 * 60,
            max_bytes: 256 << 20,
        }
    }
}

/// What can be said of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableInfo {
    /// Its name.
    pub name: TableName,
    /// Its last transaction.
    #[serde(flatten)]
    pub position: Position,
    /// The first transaction that is kept in the history; `seq + 1` if none is.
    pub floor: u64,
    /// The digest of its records.
    pub digest: Digest,
    /// How many records it has.
    pub records: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its last transaction was committed; when it was created, if there is none.
    pub updated_at: Timestamp,
    /// What it was made with.
    pub options: TableOptions,
}

/// When an acknowledged write is safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Survives the loss of power. Each group of transactions costs an fsync.
    #[default]
    Full,
    /// Survives the end of the process. The loss of power may take the most recent ones, but
    /// damages nothing and leaves no transaction in half.
    Normal,
}
