//! Bodies of requests and answers of the HTTP interface, each of them a JSON object, beyond those that
//! a table's own vocabulary has: [`Txn`](crate::Txn), [`Replace`](crate::Replace),
//! [`TableOptions`](crate::TableOptions) and [`TableInfo`], [`Page`](crate::Page) and the like. Requests
//! are read strictly: a member that is unknown, or `null`, is an error. Answers are read leniently, since
//! servers of later versions may say more. A server puts each answer into a
//! [`Success`](crate::Success).
//!
//! `docs/wire.md` has the routes, and an example of each body, which is a test.

mod status;

pub use status::{AtRisk, Histogram, ServerStatus, SessionStatus, Stats, TableStatus};

use crate::name::{Category, Key, TableName};
use crate::options::TableInfo;
use crate::position::Position;
use crate::record::Record;
use crate::strict::given;
use crate::time::Timestamp;
use crate::token::{Role, TokenInfo};
use crate::txn::Put;
use crate::value::Value;
use crate::view::Committed;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Escapes a key or a parameter for a URL: all but what RFC 3986 leaves unreserved, as `%XX`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The answer of `GET /v1/tables`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// Those that the caller may read.
    pub tables: Vec<TableInfo>,
}

/// The answer of `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// All tokens, without their secrets.
    pub tokens: Vec<TokenInfo>,
}

/// The body of `POST /v1/tokens`. Its answer is a [`NewToken`](crate::NewToken).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// A name for people: `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    /// What the token allows.
    pub role: Role,
    /// Only in these tables; `None`: in all.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableName>>,
    /// The end of its validity; `None`: it is valid until it is revoked.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The answer of `GET /v1/tables/{table}/records/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneRecord {
    /// The record.
    pub record: Record,
    /// The record is as it was there, or later.
    pub position: Position,
}

/// The body of `PUT /v1/tables/{table}/records/{key}`: a record to be written whole, under the key of
/// the path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordBody {
    /// The value.
    pub value: Value,
    /// The category; `general` if it is left out.
    #[serde(default)]
    pub category: Category,
    /// Expiry time, from which on reads treat the record as absent.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl RecordBody {
    /// The record, under its key.
    #[must_use]
    pub fn under(self, key: Key) -> Put {
        Put {
            key,
            value: self.value,
            category: self.category,
            expires_at: self.expires_at,
        }
    }
}

/// The answer to a write of one record. It has the key, so that a client can see that nothing on the way
/// made another one of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The state that first contains the write, and its time.
    #[serde(flatten)]
    pub committed: Committed,
    /// The record's key.
    pub key: Key,
}

/// The answer of what has nothing more to say than that it went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_unreserved_is_escaped() {
        assert_eq!(escape("a/b c%é-._~Z9"), "a%2Fb%20c%25%C3%A9-._~Z9");
    }
}
