//! Index of the records that a replica received: what is needed to check digests, and to find the
//! differences of a snapshot.

use crate::digest::{Digest, ItemHash};
use crate::evaluate::ChangeOp;
use crate::record::Record;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The received records without their values. Takes about 70 bytes per record, and the key once,
/// which is shared with the state.
#[derive(Debug, Default)]
pub(super) struct Index {
    records: HashMap<Arc<str>, Seen, Seed>,
    /// Bytes of their keys, categories and values.
    bytes: usize,
}

/// Hashes keys with XXH3, which takes half the time of the standard hash on typical keys. The seed
/// is random, so that colliding keys cannot be prepared.
#[derive(Debug, Clone)]
struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seed {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, _: u8) {
        // A `str` writes this after its bytes; a key has nothing else.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Metadata of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Hash of key, sequence number and value.
    hash: [u64; 2],
    /// Hash of category and times, which the item hash does not cover: a record of another history,
    /// or of another table of the same name, can differ in them alone.
    rest: u64,
    /// Bytes of key, category and value.
    bytes: u32,
}

impl Seen {
    pub(super) fn of(record: &Record) -> Self {
        let ItemHash(hash) = record.hash();
        let updated_at = record.updated_at().millis() as u64;
        let expires_at = record
            .expires_at()
            .map_or(u64::MAX, |at| at.millis() as u64);
        // Times have 48 bits, so the upper bits of the first seldom meet the lower bits of the
        // second.
        let times = updated_at ^ expires_at.rotate_left(32);
        let rest = xxh3_64_with_seed(record.category().as_bytes(), times);
        Self {
            hash: [(hash >> 64) as u64, hash as u64],
            rest,
            bytes: u32::try_from(record.size()).unwrap_or(u32::MAX),
        }
    }

    fn hash(self) -> ItemHash {
        let [high, low] = self.hash;
        ItemHash(u128::from(high) << 64 | u128::from(low))
    }
}

impl Index {
    pub(super) fn with_capacity(records: usize) -> Self {
        Self {
            records: HashMap::with_capacity_and_hasher(records, Seed::default()),
            bytes: 0,
        }
    }

    /// Bytes of keys, categories and values of all records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.records.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: Arc<str>, seen: Seen) {
        self.bytes += seen.bytes as usize;
        if let Some(old) = self.records.insert(key, seen) {
            self.bytes -= old.bytes as usize;
        }
    }

    /// Removes a record, and returns its key for reuse.
    pub(super) fn remove(&mut self, key: &str) -> Option<(Arc<str>, Seen)> {
        if self.records.is_empty() {
            // The first load has nothing to look up.
            return None;
        }
        let (key, seen) = self.records.remove_entry(key)?;
        self.bytes -= seen.bytes as usize;
        Some((key, seen))
    }

    pub(super) fn into_keys(self) -> impl Iterator<Item = Arc<str>> {
        self.records.into_keys()
    }

    /// Computes the digest and the number of records after operations on distinct keys.
    pub(super) fn after(&self, digest: Digest, count: u64, ops: &[ChangeOp]) -> (Digest, u64) {
        let (mut digest, mut count) = (digest, count);
        for op in ops {
            if let Some(old) = self.records.get(op.key()) {
                digest = digest.without(old.hash());
                count = count.saturating_sub(1);
            }
            if let ChangeOp::Put(record) = op {
                digest = digest.with(record.hash());
                count += 1;
            }
        }
        (digest, count)
    }
}
