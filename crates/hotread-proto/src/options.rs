//! What a table was made with, and what can be said of it.

use crate::digest::Digest;
use crate::name::TableName;
use crate::position::Position;
use crate::strict::{given, object};
use crate::time::Timestamp;
use crate::value::{Value, stored};
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// The options of a table. Those that an [`Alter`] has can be changed later; the others stay as they are for
/// as long as the table lives.
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

/// New values for a table's options. What is left out stays as it is.
///
/// An alteration is no transaction: the table's position, its history and its readers stay. In JSON it has the
/// members of [`TableOptions`] that change, with `"schema": null` for no schema, and `name` for another name.
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
    /// Changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every value fit this JSON Schema, those included that are there.
    #[must_use]
    pub fn schema(mut self, schema: Value) -> Self {
        self.schema = Some(Some(schema));
        self
    }

    /// Takes the schema away: every value fits.
    #[must_use]
    pub fn no_schema(mut self) -> Self {
        self.schema = Some(None);
        self
    }

    /// Gives the table another name; its epoch and its position stay. Those that follow it under the old name are told that there
    /// is no such table.
    #[must_use]
    pub fn rename(mut self, name: TableName) -> Self {
        self.name = Some(name);
        self
    }

    /// Builds a search index, or takes it away.
    #[must_use]
    pub fn search(mut self, search: bool) -> Self {
        self.search = Some(search);
        self
    }

    /// Keeps so many transactions in the history.
    #[must_use]
    pub fn max_changes(mut self, transactions: u64) -> Self {
        self.history.max_changes = Some(transactions);
        self
    }

    /// Keeps transactions of this age in the history, in seconds.
    #[must_use]
    pub fn max_age_s(mut self, seconds: u64) -> Self {
        self.history.max_age_s = Some(seconds);
        self
    }

    /// Keeps so many bytes of keys and values in the history.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.history.max_bytes = Some(bytes);
        self
    }

    /// The table's other name, if it gets one.
    #[must_use]
    pub fn name(&self) -> Option<&TableName> {
        self.name.as_ref()
    }

    /// The options of a table that has `old` ones, once it is altered.
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

/// A value that is given, `null` for none.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Value>>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(Some((value.as_str() != "null").then_some(value)))
}

/// What can be said of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its options.
    pub options: TableOptions,
}
