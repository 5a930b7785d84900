//! Keys that appear in the files more than once.

use crate::args::DEFAULT_LISTED;
use hotread_proto::Key;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Maximum number of keys that are remembered, in a hash table of 75 MB. Later keys are compared with these
/// only.
pub(super) const MAX_KEYS: usize = 7_000_000;

/// Returns the hash by which a key is remembered.
pub(super) fn hash(key: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(key)
}

/// Keys so far, by 64 bits of their hashes: of ten million keys, two share them once in 400,000 imports.
#[derive(Default)]
pub(super) struct Seen {
    hashes: HashSet<u64>,
    /// Number of rows with a key that appeared before.
    pub(super) again: u64,
    /// Places of the first of them, for people, if they are listed.
    pub(super) listed: Vec<String>,
}

impl Seen {
    /// Records a key; returns `true` if it is the first row with this key.
    pub(super) fn first(&mut self, key: &Key) -> bool {
        let hash = hash(key.as_str());
        let first = match self.hashes.len() < MAX_KEYS {
            true => self.hashes.insert(hash),
            false => !self.hashes.contains(&hash),
        };
        self.again += u64::from(!first);
        first
    }

    /// Lists a row whose key appeared before.
    pub(super) fn list(&mut self, row: impl FnOnce() -> String) {
        if self.listed.len() < DEFAULT_LISTED {
            self.listed.push(row());
        }
    }

    /// Returns `true` if all keys were remembered.
    pub(super) fn is_exact(&self) -> bool {
        self.hashes.len() < MAX_KEYS
    }
}
