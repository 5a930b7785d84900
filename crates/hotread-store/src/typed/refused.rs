//! Records whose values a state refuses.

use hotread_proto::Key;
use hotread_proto::session::Refused;
use std::collections::{BTreeMap, HashSet};

/// Refused records whose reasons are kept: one is reported at a time, and a table may have millions.
const MAX_REASONS: usize = 64;

#[derive(Default)]
pub(super) struct RefusedKeys {
    reasons: BTreeMap<Key, Refused>,
    /// The keys of further refused records, without their reasons.
    more: HashSet<Key>,
}

impl RefusedKeys {
    pub(super) fn insert(&mut self, refused: Refused) {
        let key = refused.key.clone();
        match self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&key) {
            true => drop(self.reasons.insert(key, refused)),
            false => drop(self.more.insert(key)),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        if self.is_empty() {
            return;
        }
        let key = Key::new(key).expect("a record's key was checked");
        self.reasons.remove(&key);
        self.more.remove(&key);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty() && self.more.is_empty()
    }

    /// Returns one of the refused records, the same until it is changed or deleted.
    pub(super) fn first(&self) -> Option<Refused> {
        let known = self.reasons.values().next().cloned();
        known.or_else(|| {
            Some(Refused {
                key: self.more.iter().min()?.clone(),
                seq: 0,
                reason: "one of many values that were refused".to_owned(),
            })
        })
    }
}
