//! Records in a packed form.

use crate::digest::{Hasher, ItemHash};
use crate::name::{Category, Key};
use crate::time::Timestamp;
use crate::value::{InvalidValue, MAX_VALUE_BYTES, Value};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A key with its value and metadata. Immutable and cheap to clone: both copies of a live table,
/// the log of recent changes and the sessions that send them share one allocation.
///
/// Compared and ordered by key alone, as the members of a table are.
#[derive(Clone)]
pub struct Record(Bytes);

/// The record's fields in one block, so that a record takes one allocation, and a look-up by key
/// one cache miss. The offsets are below.
#[derive(Clone)]
enum Bytes {
    Plain(Arc<[u8]>),
    /// Record of a sealed table: overwritten when the last owner drops it.
    Secret(Arc<Zeroizing<Vec<u8>>>),
}

// Layout: hash 16 | seq 8 | updated_at 8 | expires_at 8 | key length 2 | category length 1 | key |
// category | value; numbers are little-endian.
const HASH: usize = 0;
const SEQ: usize = 16;
const UPDATED: usize = 24;
const EXPIRES: usize = 32;
const KEY_LENGTH: usize = 40;
const CATEGORY_LENGTH: usize = 42;
const TEXT: usize = 43;
/// Marks a record that does not expire.
const NEVER: i64 = i64::MAX;

impl Record {
    /// Creates a record as transaction `seq` leaves it.
    #[must_use]
    pub fn new(
        key: &Key,
        value: &Value,
        category: &Category,
        seq: u64,
        updated_at: Timestamp,
        expires_at: Option<Timestamp>,
        hasher: &Hasher,
    ) -> Self {
        let (value, secret) = (value.as_bytes(), hasher.is_keyed());
        let hash = hasher.item(key.as_str(), seq, value);
        Self::from_parts(
            key, value, category, seq, updated_at, expires_at, hash, secret,
        )
    }

    /// Creates a record that was stored or sent with its hash. The hash is not checked (see
    /// [`verify`](Self::verify)), and `value` is assumed to be compact JSON.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of a record")]
    #[must_use]
    pub fn from_parts(
        key: &Key,
        value: &[u8],
        category: &Category,
        seq: u64,
        updated_at: Timestamp,
        expires_at: Option<Timestamp>,
        hash: ItemHash,
        secret: bool,
    ) -> Self {
        let (key, category) = (key.as_str(), category.as_str());
        Self::pack(
            key, value, category, seq, updated_at, expires_at, hash, secret,
        )
    }

    /// Packs the fields; key and category must have been checked.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of a record")]
    fn pack(
        key: &str,
        value: &[u8],
        category: &str,
        seq: u64,
        updated_at: Timestamp,
        expires_at: Option<Timestamp>,
        hash: ItemHash,
        secret: bool,
    ) -> Self {
        let mut bytes = Vec::with_capacity(TEXT + key.len() + category.len() + value.len());
        bytes.extend_from_slice(&hash.0.to_le_bytes());
        bytes.extend_from_slice(&seq.to_le_bytes());
        bytes.extend_from_slice(&updated_at.millis().to_le_bytes());
        bytes.extend_from_slice(&expires_at.map_or(NEVER, Timestamp::millis).to_le_bytes());
        let key_length = u16::try_from(key.len()).expect("keys are limited to 512 bytes");
        bytes.extend_from_slice(&key_length.to_le_bytes());
        bytes.push(u8::try_from(category.len()).expect("categories are limited to 64 bytes"));
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(category.as_bytes());
        bytes.extend_from_slice(value);
        Self(if secret {
            Bytes::Secret(Arc::new(Zeroizing::new(bytes)))
        } else {
            Bytes::Plain(bytes.into())
        })
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Plain(bytes) => bytes,
            Bytes::Secret(bytes) => bytes,
        }
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes()[at..at + N]
            .try_into()
            .expect("a slice of N bytes")
    }

    /// Returns the end of the key.
    fn key_end(&self) -> usize {
        TEXT + usize::from(u16::from_le_bytes(self.field(KEY_LENGTH)))
    }

    /// Returns the end of the category, where the value begins.
    fn category_end(&self) -> usize {
        self.key_end() + usize::from(self.bytes()[CATEGORY_LENGTH])
    }

    /// Returns the key. Costs a check for UTF-8, a few nanoseconds.
    #[must_use]
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key_bytes()).expect("made from a str")
    }

    /// Returns the key's bytes, by which records are ordered.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        &self.bytes()[TEXT..self.key_end()]
    }

    /// Returns the value: compact JSON, as bytes.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.bytes()[self.category_end()..]
    }

    /// Deserializes the value.
    ///
    /// # Errors
    /// If the value does not match the type.
    pub fn value_as<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_slice(self.value())
    }

    /// Returns the category.
    #[must_use]
    pub fn category(&self) -> &str {
        let category = &self.bytes()[self.key_end()..self.category_end()];
        std::str::from_utf8(category).expect("made from a str")
    }

    /// Returns the transaction that last changed the record.
    #[must_use]
    pub fn seq(&self) -> u64 {
        u64::from_le_bytes(self.field(SEQ))
    }

    /// Returns the commit time of that transaction.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        Timestamp::from_millis(i64::from_le_bytes(self.field(UPDATED))).expect("made from one")
    }

    /// Returns the expiry time, if there is one. A transaction deletes the record some time later;
    /// a reader that must not use it in between compares this with its clock.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match i64::from_le_bytes(self.field(EXPIRES)) {
            NEVER => None,
            millis => Some(Timestamp::from_millis(millis).expect("made from one")),
        }
    }

    /// Returns `true` if the record has expired at the time `now`. An expired record stays in its table
    /// until a transaction of the server deletes it, shortly after the expiry. A replica shows the record
    /// until it receives that transaction, which a lost connection delays.
    #[must_use]
    pub fn is_expired(&self, now: impl Into<Timestamp>) -> bool {
        let now = now.into();
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// Returns the record's contribution to the table's digest.
    #[must_use]
    pub fn hash(&self) -> ItemHash {
        ItemHash(u128::from_le_bytes(self.field(HASH)))
    }

    /// Returns `true` if the hash is that of key, sequence number and value.
    #[must_use]
    pub fn verify(&self, hasher: &Hasher) -> bool {
        hasher.item(self.key(), self.seq(), self.value()) == self.hash()
    }

    /// Returns `true` for a record of a sealed table.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.0, Bytes::Secret(_))
    }

    /// Returns the bytes of key, category and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes().len() - TEXT
    }
}

/// Serializes `{"key","value","category","seq","updated_at","expires_at"?,"h"}`, with `serde_json`
/// only.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = serde_json::from_slice(self.value()).map_err(S::Error::custom)?;
        let fields = Fields {
            key: self.key().into(),
            value,
            category: self.category().into(),
            seq: self.seq(),
            updated_at: self.updated_at(),
            expires_at: self.expires_at(),
            h: self.hash(),
        };
        fields.serialize(serializer)
    }
}

/// Ignores unknown fields. Supports `serde_json` only, from text or bytes in memory. The value is
/// any JSON of at most [`MAX_VALUE_BYTES`]; [`verify`](Record::verify) checks that it is what was
/// hashed.
impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        Key::check(&fields.key).map_err(D::Error::custom)?;
        Category::check(&fields.category).map_err(D::Error::custom)?;
        let value = fields.value.get().as_bytes();
        if value.len() > MAX_VALUE_BYTES {
            let bytes = value.len();
            return Err(D::Error::custom(InvalidValue::TooLarge { bytes }));
        }
        Ok(Self::pack(
            &fields.key,
            value,
            &fields.category,
            fields.seq,
            fields.updated_at,
            fields.expires_at,
            fields.h,
            false,
        ))
    }
}

#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow)]
    category: Cow<'a, str>,
    seq: u64,
    updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    h: ItemHash,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be secret.
        f.debug_struct("Record")
            .field("key", &self.key())
            .field("seq", &self.seq())
            .field("value_bytes", &self.value().len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.key_bytes() == other.key_bytes()
    }
}

impl Eq for Record {}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key_bytes().cmp(other.key_bytes())
    }
}

/// Borrows the key, by which a set finds the record. UTF-8 text is ordered like its bytes.
impl Borrow<[u8]> for Record {
    fn borrow(&self) -> &[u8] {
        self.key_bytes()
    }
}
