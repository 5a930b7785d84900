//! The values that a replica's type refuses at present, with the reasons of some.

use super::following::Refused;
use crate::name::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most refused values of which the reason is kept: of a table of another type it is all of them.
const MAX_REASONS: usize = 1_024;
/// Stands for the others.
const NO_REASON: &str = "refused like many others, whose reasons were said";

/// Values that are refused, each as long as the record is as it is, by age and by key.
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

    /// The record is another one now, or gone.
    pub(super) fn remove(&mut self, key: &str) {
        if let Some((known, seq)) = self.by_key.remove_entry(key)
            && let Some(Some(_)) = self.by_age.remove(&(seq, known))
        {
            self.reasons -= 1;
        }
    }

    /// The oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Refused> {
        self.by_age.iter().map(|((seq, key), reason)| Refused {
            key: Key::new(key).expect("the key of a record"),
            seq: *seq,
            reason: reason.as_deref().unwrap_or(NO_REASON).to_owned(),
        })
    }
}
