//! Bodies of the HTTP interface's requests and answers, each a JSON object. The vocabulary of
//! tables itself is elsewhere: [`Txn`](crate::Txn), [`Replace`](crate::Replace),
//! [`TableOptions`](crate::TableOptions), [`TableInfo`], [`Page`](crate::Page) and the like.
//! Requests are read strictly: an unknown or `null` member is an error. Answers are read leniently,
//! since later versions may add members. A server wraps each answer in a
//! [`Success`](crate::Success).
//!
//! `docs/wire.md` specifies the routes; its example of each body is a test.

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

/// Percent-encodes a key or a parameter for a URL: everything but the unreserved characters of RFC
/// 3986.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The answer of `GET /v1/tables`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// Tables that the caller may read.
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
    /// Human-readable name: `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    /// Access that the token grants.
    pub role: Role,
    /// Tables that the token is limited to; `None` for all.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableName>>,
    /// Expiry time; `None` for a token that is valid until it is revoked.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The answer of `GET /v1/tables/{table}/records/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneRecord {
    /// The record.
    pub record: Record,
    /// Position that the record is at least as new as.
    pub position: Position,
}

/// The body of `PUT /v1/tables/{table}/records/{key}`: a whole record, without the key in the path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordBody {
    /// The value.
    pub value: Value,
    /// The category; `general` if absent.
    #[serde(default)]
    pub category: Category,
    /// Expiry time, from which on reads treat the record as absent.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl RecordBody {
    /// Returns the record under this key.
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

/// The answer to a write of one record. It repeats the key, so that a client can detect a proxy
/// that changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// First state that contains the write, and its commit time.
    #[serde(flatten)]
    pub committed: Committed,
    /// Key of the record.
    pub key: Key,
}

/// The answer of a request that has nothing to report but success.
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
