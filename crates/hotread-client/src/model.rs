//! What is asked and answered over HTTP, beyond the vocabulary of the protocol.

use hotread_proto::{
    Category, ChangeOp, Committed, Digest, Key, Position, Record, TableName, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which records of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Those whose keys begin with this; empty: all.
    pub prefix: String,
    /// Those behind this key, from the page before.
    pub after: Option<Key>,
    /// Those of this category.
    pub category: Option<Category>,
    /// At most so many; `None`: as many as the server gives at once.
    pub limit: Option<usize>,
}

/// Records of a table, by key.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// In the order of their keys' bytes.
    pub records: Vec<Record>,
    /// There may be more: go on [after](Scan::after) this key.
    #[serde(default)]
    pub next: Option<Key>,
    /// The records are at least as new as this.
    pub position: Position,
}

/// Records that a search found.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Found {
    /// The best first.
    pub records: Vec<Record>,
    /// The records are at least as new as this.
    pub position: Position,
}

/// A transaction of the history.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct PastTxn {
    /// Its number.
    #[serde(rename = "to")]
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The digest after it.
    pub digest: Digest,
    /// How many records there were after it.
    pub count: u64,
    /// What became of each record that it touched.
    pub ops: Vec<ChangeOp>,
}

/// A part of a table's history.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// Oldest first, without gaps.
    pub changes: Vec<PastTxn>,
    /// Where the table stands.
    pub position: Position,
    /// The first transaction that the history keeps.
    pub floor: u64,
}

/// The answer to a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// The state that is the new content, and when it was committed.
    pub committed: Committed,
    /// Records that were new or different.
    pub written: u64,
    /// Records that are gone.
    pub deleted: u64,
}

/// What a token allows, each with what is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reading and following tables.
    Read,
    /// Changing their records.
    Write,
    /// Making and dropping tables; and, if the token is not limited to some, tokens.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// A text that is not a [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a role; give `read`, `write` or `admin`")]
#[non_exhaustive]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(ParseRoleError),
        }
    }
}

/// What is known of a token: all but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// What it is called by where it is listed and revoked. No secret.
    pub id: String,
    /// Whose it is, for people.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// In which tables; `None`: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableName>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A token that was just made. Its secret is told this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewToken {
    /// What is known of it from now on.
    #[serde(flatten)]
    pub info: TokenInfo,
    /// To be given to [`ClientBuilder::token`](crate::ClientBuilder::token).
    pub secret: String,
}

/// Without the secret.
impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
