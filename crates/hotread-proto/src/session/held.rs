//! What a replica has received and does not give out, because its type refuses a value in it. Of each
//! key only what became of it last, and not even that once there is too much.

use super::following::{Cause, Refused};
use crate::evaluate::ChangeOp;
use crate::name::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most bytes of keys and values that are held back. Beyond it only the keys are kept, and the records
/// are loaded again when nothing is refused any more.
pub(super) const MAX_HELD_BYTES: usize = 64 << 20;
/// Most refused values of which the reason is kept: of a table of another type it is all of them.
const MAX_REASONS: usize = 1_024;
/// Stands for the others.
const NO_REASON: &str = "refused like many others, whose reasons were said";

#[derive(Debug)]
pub(super) struct Held<A> {
    /// By key: what of the state differs from what was received.
    keys: BTreeMap<Arc<str>, Entry<A>>,
    bytes: usize,
    max_bytes: usize,
    /// There was too much: changes are not kept, only their keys.
    let_go: bool,
    /// The first transaction that is held back.
    pub(super) from: u64,
    pub(super) cause: Cause,
    refused: Refusals,
}

#[derive(Debug)]
struct Entry<A> {
    /// Does the state have a record under this key?
    in_state: bool,
    /// `None`: it was let go of.
    change: Option<Change<A>>,
}

/// What became of a key.
#[derive(Debug)]
pub(super) struct Change<A> {
    /// What the target made of it, if anything.
    pub(super) action: Option<A>,
    /// The same as it came, if that is kept.
    pub(super) op: Option<ChangeOp>,
    pub(super) bytes: usize,
    /// Is the record gone after it?
    pub(super) deletes: bool,
    /// The transaction whose value is refused, and why.
    pub(super) refused: Option<(u64, String)>,
}

impl<A> Held<A> {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            keys: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            let_go: false,
            from: 0,
            cause: Cause::Txn,
            refused: Refusals::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Was something let go of, so that the records have to be loaded again?
    pub(super) fn has_let_go(&self) -> bool {
        self.let_go && !self.keys.is_empty()
    }

    /// Does the state have a record under this key? `None`: nothing is held back of it, so that it has
    /// what was received.
    pub(super) fn in_state(&self, key: &str) -> Option<bool> {
        self.keys.get(key).map(|entry| entry.in_state)
    }

    /// Keys under which the state has a record that may not be what was received.
    pub(super) fn keys_in_state(&self) -> impl Iterator<Item = &Arc<str>> {
        let in_state = self.keys.iter().filter(|(_, entry)| entry.in_state);
        in_state.map(|(key, _)| key)
    }

    /// Holds a change back. `received`: was there a record before it?
    pub(super) fn add(&mut self, key: Arc<str>, received: bool, mut change: Change<A>) {
        let old = self.keys.remove(&key);
        let in_state = old.as_ref().map_or(received, |old| old.in_state);
        if let Some(old) = old.and_then(|old| old.change) {
            self.bytes -= old.bytes;
        }
        self.refused.remove(&key);
        if let Some((seq, reason)) = change.refused.take() {
            self.refused.insert(key.clone(), seq, reason);
        }
        if change.deletes && !in_state {
            // As if it had never been there.
            return;
        }
        let change = (!self.let_go).then_some(change);
        self.bytes += change.as_ref().map_or(0, |change| change.bytes);
        self.keys.insert(key, Entry { in_state, change });
        if self.bytes > self.max_bytes {
            self.let_go = true;
            self.bytes = 0;
            for entry in self.keys.values_mut() {
                entry.change = None;
            }
        }
    }

    /// The value that has been refused for the longest time.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.all_refused().next()
    }

    /// All values that are refused, oldest first.
    pub(super) fn all_refused(&self) -> impl Iterator<Item = Refused> {
        self.refused.iter()
    }

    /// What is held back, in the order of the keys. Nothing is held back any more.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Change<A>> + use<A> {
        let keys = std::mem::take(&mut self.keys);
        self.clear();
        keys.into_values().filter_map(|entry| entry.change)
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.bytes = 0;
        self.let_go = false;
        self.refused = Refusals::default();
    }
}

/// Values that are refused, by age and by key.
#[derive(Debug, Default)]
struct Refusals {
    by_age: BTreeMap<(u64, Arc<str>), Option<Box<str>>>,
    by_key: HashMap<Arc<str>, u64>,
    reasons: usize,
}

impl Refusals {
    fn insert(&mut self, key: Arc<str>, seq: u64, reason: String) {
        let reason = (self.reasons < MAX_REASONS).then(|| reason.into_boxed_str());
        self.reasons += usize::from(reason.is_some());
        self.by_key.insert(key.clone(), seq);
        self.by_age.insert((seq, key), reason);
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(seq) = self.by_key.remove(key)
            && let Some(Some(_)) = self.by_age.remove(&(seq, key.clone()))
        {
            self.reasons -= 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = Refused> {
        self.by_age.iter().map(|((seq, key), reason)| Refused {
            key: Key::new(key).expect("the key of a record"),
            seq: *seq,
            reason: reason.as_deref().unwrap_or(NO_REASON).to_owned(),
        })
    }
}
