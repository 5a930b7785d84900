//! What a table was made with, and what can be said of it.

use crate::digest::Digest;
use crate::name::TableName;
use crate::position::{Epoch, Position};
use crate::strict::object;
use crate::time::Timestamp;
use crate::value::{Value, stored};
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
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "stored")]
    pub schema: Option<Value>,
    /// How much of the past is kept.
    #[serde(deserialize_with = "object")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TableFields")]
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

/// A table as it is read: field by field, since what is flattened loses the text of values.
#[derive(Deserialize)]
struct TableFields {
    name: TableName,
    epoch: Epoch,
    seq: u64,
    floor: u64,
    digest: Digest,
    records: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    options: TableOptions,
}

impl From<TableFields> for TableInfo {
    fn from(fields: TableFields) -> Self {
        let TableFields { epoch, seq, .. } = fields;
        Self {
            name: fields.name,
            position: Position { epoch, seq },
            floor: fields.floor,
            digest: fields.digest,
            records: fields.records,
            created_at: fields.created_at,
            updated_at: fields.updated_at,
            options: fields.options,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let info = TableInfo {
            name: TableName::new("t").unwrap(),
            position: Position {
                epoch: Epoch(7),
                seq: 9,
            },
            floor: 3,
            digest: Digest(5),
            records: 2,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::MAX,
            options: TableOptions {
                schema: Some(Value::parse(br#"{"maximum":1.0}"#).unwrap()),
                ..TableOptions::default()
            },
        };
        let json = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<TableInfo>(&json).unwrap(), info);
    }
}
