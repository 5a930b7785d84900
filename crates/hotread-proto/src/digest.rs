//! Digest of a table: a checksum that two ends compare.

use crate::strict::as_text;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::str::FromStr;
use xxhash_rust::xxh3::Xxh3;
use zeroize::Zeroizing;

/// Hash of one record as of its last change: 128 bits over key, sequence number and value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemHash(pub u128);

/// Digest of a table: the sum of its records' hashes modulo 2^128. It does not depend on the order
/// of the records, and updating it for a change costs the same regardless of the size of the table.
///
/// The digest detects accidents. The digest of a plain table does not withstand an attacker who
/// chooses values; the digest of a sealed table discloses nothing about values without the key.
///
/// Based on sums of hashes for sets; see Clarke et al., "Incremental Multiset Hash Functions and
/// Their Application to Memory Integrity Checking" (2003), where this is MSet-Add-Hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// Digest of a table without records.
    pub const EMPTY: Self = Self(0);

    /// Adds a record.
    #[must_use]
    pub fn with(self, item: ItemHash) -> Self {
        Self(self.0.wrapping_add(item.0))
    }

    /// Removes a record.
    #[must_use]
    pub fn without(self, item: ItemHash) -> Self {
        Self(self.0.wrapping_sub(item.0))
    }
}

/// Sums the hashes of records in any order.
impl FromIterator<ItemHash> for Digest {
    fn from_iter<I: IntoIterator<Item = ItemHash>>(items: I) -> Self {
        items.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// Hash function of a table's records: XXH3-128 for plain tables, HMAC-SHA256 cut to its first 16
/// bytes for sealed ones, where an unkeyed hash would let anyone test guesses of values.
///
/// The bytes hashed for a record are the key's length in bytes as 4 bytes, the key, the sequence
/// number as 8 bytes, and the value; numbers are little-endian. `docs/wire.md` has test vectors.
#[derive(Clone, Default)]
pub struct Hasher(Option<Zeroizing<[u8; 32]>>);

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "HMAC-SHA256"
        } else {
            "XXH3-128"
        })
    }
}

impl Hasher {
    /// Hasher of plain tables.
    pub const PLAIN: Self = Self(None);

    /// Creates the hasher of a sealed table from its key.
    #[must_use]
    pub fn keyed(key: Zeroizing<[u8; 32]>) -> Self {
        Self(Some(key))
    }

    /// Returns `true` for the hasher of a sealed table.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.0.is_some()
    }

    /// Computes the hash of a record.
    #[must_use]
    pub fn item(&self, key: &str, seq: u64, value: &[u8]) -> ItemHash {
        ItemHash(self.hash(|sink| {
            text(sink, key);
            sink(&seq.to_le_bytes());
            sink(value);
        }))
    }

    /// Hashes the bytes that `feed` passes on, independent of how they are split.
    pub(crate) fn hash(&self, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> u128 {
        match &self.0 {
            None => {
                let mut hash = Xxh3::new();
                feed(&mut |bytes| hash.update(bytes));
                hash.digest128()
            }
            Some(key) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(&key[..])
                    .expect("HMAC takes keys of any length");
                feed(&mut |bytes| mac.update(bytes));
                let full: [u8; 32] = mac.finalize().into_bytes().into();
                u128::from_be_bytes(full[..16].try_into().expect("16 of 32 bytes"))
            }
        }
    }
}

/// Feeds the length of a text and then the text.
pub(crate) fn text(sink: &mut dyn FnMut(&[u8]), text: &str) {
    let length = u32::try_from(text.len()).expect("names and values are far below 4 GiB");
    sink(&length.to_le_bytes());
    sink(text.as_bytes());
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest; give 32 lower-case hexadecimal digits")]
#[non_exhaustive]
pub struct ParseDigestError;

/// 32 hexadecimal digits, the most significant first: as text and in JSON.
macro_rules! hex {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl FromStr for $name {
            type Err = ParseDigestError;
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                parse_hex(text).map(Self).ok_or(ParseDigestError)
            }
        }
        as_text!($name, "32 lower-case hexadecimal digits");
    };
}

/// Parses two halves, which is faster than multiplying 128-bit integers: a snapshot has one hash
/// per record.
fn parse_hex(text: &str) -> Option<u128> {
    let bytes: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let half = |digits: &[u8]| {
        digits.iter().try_fold(0_u64, |number, digit| {
            let digit = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some(number << 4 | u64::from(digit))
        })
    };
    let (high, low) = bytes.split_at(16);
    Some(u128::from(half(high)?) << 64 | u128::from(half(low)?))
}

hex!(ItemHash);
hex!(Digest);
