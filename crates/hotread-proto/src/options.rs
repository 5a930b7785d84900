//! Options and description of a table.

use crate::digest::Digest;
use crate::name::TableName;
use crate::position::Position;
use crate::strict::{given, object};
use crate::time::Timestamp;
use crate::value::{Value, stored};
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// Options of a table. Those that an [`Alter`] has can be changed later; the others are fixed for
/// the life of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    /// Keeps a full-text index of keys and values. About doubles the cost of a write.
    pub search: bool,
    /// Encrypts values on disk. Requires the store's passphrase; excludes `search`.
    pub sealed: bool,
    /// A JSON Schema that every value must match: draft 2020-12 unless it names another. References
    /// to other documents are not followed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "stored")]
    pub schema: Option<Value>,
    /// Bounds of the history.
    #[serde(deserialize_with = "object")]
    pub history: History,
}

/// Bounds of the history that a table keeps for its followers. Beyond any of these bounds, the
/// oldest transactions are trimmed, some at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Maximum number of transactions.
    pub max_changes: u64,
    /// Largest age of a transaction, in seconds.
    pub max_age_s: u64,
    /// Maximum size of keys and values, in bytes.
    pub max_bytes: u64,
}

impl History {
    /// Returns the age as a duration.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_s)
    }
}

impl Default for History {
    /// Returns 10,000 transactions, one week and 256 MiB: a replica that was away over a weekend
    /// resumes, and the history of a busy table does not outgrow its content by much.
    fn default() -> Self {
        Self {
            max_changes: 10_000,
            max_age_s: 7 * 24 * 60 * 60,
            max_bytes: 256 << 20,
        }
    }
}

/// New values for some of a table's options; the others stay as they are.
///
/// An alteration is not a transaction: the table's position, history and readers stay. In JSON it
/// has the members of [`TableOptions`] that change, with `"schema": null` to remove the schema, and
/// `name` for another name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alter {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    name: Option<TableName>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    search: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "nullable")]
    schema: Option<Option<Value>>,
    #[serde(deserialize_with = "object")]
    history: AlterHistory,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AlterHistory {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    max_changes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    max_age_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    max_bytes: Option<u64>,
}

impl Alter {
    /// Creates an alteration that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that every value matches this JSON Schema, including the existing ones.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(Some(schema));
        self
    }

    /// Removes the schema, so that every value is accepted.
    #[must_use]
    pub fn no_schema(mut self) -> Self {
        self.schema = Some(None);
        self
    }

    /// Renames the table; its epoch and its position stay. Followers under the old name get an
    /// error, as if the table did not exist.
    #[must_use]
    pub fn rename(mut self, name: TableName) -> Self {
        self.name = Some(name);
        self
    }

    /// Builds a search index, or removes it.
    #[must_use]
    pub fn search(mut self, search: bool) -> Self {
        self.search = Some(search);
        self
    }

    /// Sets the number of transactions in the history.
    #[must_use]
    pub fn max_changes(mut self, transactions: u64) -> Self {
        self.history.max_changes = Some(transactions);
        self
    }

    /// Sets the largest age of transactions in the history, in seconds.
    #[must_use]
    pub fn max_age_s(mut self, seconds: u64) -> Self {
        self.history.max_age_s = Some(seconds);
        self
    }

    /// Sets the bytes of keys and values in the history.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.history.max_bytes = Some(bytes);
        self
    }

    /// Returns the table's new name, if it gets one.
    #[must_use]
    pub fn name(&self) -> Option<&TableName> {
        self.name.as_ref()
    }

    /// Returns the options that a table with `old` options has after the alteration.
    #[must_use]
    pub fn of(&self, old: &TableOptions) -> TableOptions {
        let (history, kept) = (&self.history, &old.history);
        TableOptions {
            search: self.search.unwrap_or(old.search),
            schema: self.schema.clone().unwrap_or_else(|| old.schema.clone()),
            history: History {
                max_changes: history.max_changes.unwrap_or(kept.max_changes),
                max_age_s: history.max_age_s.unwrap_or(kept.max_age_s),
                max_bytes: history.max_bytes.unwrap_or(kept.max_bytes),
            },
            ..*old
        }
    }
}

/// Reads a value, with `null` for no value.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Value>>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(Some((value.as_str() != "null").then_some(value)))
}

/// Description of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    /// The table's name.
    pub name: TableName,
    /// Position of the last transaction.
    #[serde(flatten)]
    pub position: Position,
    /// First transaction that the history keeps; `seq + 1` if it keeps none.
    pub floor: u64,
    /// Digest of the table's records.
    pub digest: Digest,
    /// Number of records.
    pub records: u64,
    /// Creation time.
    pub created_at: Timestamp,
    /// Commit time of the last transaction; the creation time if there is none.
    pub updated_at: Timestamp,
    /// The table's options.
    pub options: TableOptions,
}
