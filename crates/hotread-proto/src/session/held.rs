//! What a replica has received and does not give out, because its type refuses a value in it or because
//! the table is too large. Of each key only what became of it last, and not even that once there is too
//! much.

use super::following::Cause;
use super::refusals::Refusals;
use crate::evaluate::ChangeOp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most bytes that are held back: keys, values, and [`ENTRY_BYTES`] for each. Beyond it only the keys
/// are kept, and the records are loaded again when nothing is refused any more.
pub(super) const MAX_HELD_BYTES: usize = 64 << 20;
/// What a change that is held back takes beside its key and value, in bytes: the tree's entry, the
/// update, the allocations. So that deletions and small values count, too.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Held<A> {
    /// By key: what of the state differs from what was received.
    keys: BTreeMap<Arc<str>, Entry<A>>,
    bytes: usize,
    max_bytes: usize,
    /// There was too much: changes are not kept, only their keys.
    let_go: bool,
    /// The first transaction that is held back.
    from: u64,
    cause: Cause,
    /// Values that are refused, oldest first.
    pub(super) refused: Refusals,
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
    /// Of key and value.
    pub(super) bytes: usize,
    /// Is the record gone after it?
    pub(super) deletes: bool,
    /// The transaction whose value is refused, and why.
    pub(super) refused: Option<(u64, String)>,
}

impl<A> Change<A> {
    /// What it takes to hold it back.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes + ENTRY_BYTES
    }
}

impl<A> Held<A> {
    pub(super) fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            bytes: 0,
            max_bytes: MAX_HELD_BYTES,
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

    /// What comes now is held back: the transactions from this one on, up to so many bytes.
    pub(super) fn begin(&mut self, from: u64, cause: Cause, max_bytes: usize) {
        *self = Self {
            from,
            cause,
            max_bytes,
            ..Self::new()
        };
    }

    /// Holds a change back. `in_state`: does the state have a record under this key?
    pub(super) fn add(&mut self, key: Arc<str>, in_state: bool, mut change: Change<A>) {
        if let Some(old) = self.keys.remove(&key).and_then(|old| old.change) {
            self.bytes -= old.held_bytes();
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
        self.bytes += change.as_ref().map_or(0, Change::held_bytes);
        self.keys.insert(key, Entry { in_state, change });
        if self.bytes > self.max_bytes {
            self.let_go = true;
            self.bytes = 0;
            for entry in self.keys.values_mut() {
                entry.change = None;
            }
        }
    }

    /// What is held back, in the order of the keys, and what was said of it at the
    /// [beginning](Self::begin). Nothing is held back any more.
    pub(super) fn take(&mut self) -> (u64, Cause, impl Iterator<Item = Change<A>> + use<A>) {
        let held = std::mem::replace(self, Self::new());
        let changes = held.keys.into_values().filter_map(|entry| entry.change);
        (held.from, held.cause, changes)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
