//! Values that a replica's type refuses at present, with the reasons for some of them.

use super::following::Refused;
use crate::name::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Maximum number of refused values whose reason is kept: a table of another type may be refused
/// entirely.
const MAX_REASONS: usize = 1_024;
/// Reason given for all others.
const NO_REASON: &str = "refused like many others, whose reasons were reported";

/// Refused values, by age and by key; each is kept until its record changes.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_age: BTreeMap<(u64, Arc<str>), Option<Box<str>>>,
    by_key: HashMap<Arc<str>, u64>,
    reasons: usize,
}

impl Refusals {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn insert(&mut self, key: Arc<str>, seq: u64, reason: String) {
        self.remove(&key);
        let reason = (self.reasons < MAX_REASONS).then(|| reason.into_boxed_str());
        self.reasons += usize::from(reason.is_some());
        self.by_key.insert(key.clone(), seq);
        self.by_age.insert((seq, key), reason);
    }

    /// Removes a value whose record has changed or is gone.
    pub(super) fn remove(&mut self, key: &str) {
        if let Some((known, seq)) = self.by_key.remove_entry(key)
            && let Some(Some(_)) = self.by_age.remove(&(seq, known))
        {
            self.reasons -= 1;
        }
    }

    /// Iterates over the refused values, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Refused> {
        self.by_age.iter().map(|((seq, key), reason)| Refused {
            key: Key::new(key).expect("the key of a record"),
            seq: *seq,
            reason: reason.as_deref().unwrap_or(NO_REASON).to_owned(),
        })
    }
}
