//! Changes that a replica has received and does not publish yet, because its type refuses a value
//! or the table is too large. Only the last change of each key is kept, and beyond a limit only the
//! keys.

use super::following::Cause;
use super::refusals::Refusals;
use crate::evaluate::ChangeOp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum number of bytes of withheld changes: keys, values and [`ENTRY_BYTES`] for each. Beyond
/// it only the keys are kept, and the records are loaded again once no value is refused any longer.
pub(super) const MAX_HELD_BYTES: usize = 64 << 20;
/// Overhead of a withheld change, in bytes: the tree's entry, the update, the allocations.
/// Deletions and small values therefore count as well.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Held<A> {
    /// Differences between the state and what was received, by key.
    keys: BTreeMap<Arc<str>, Entry<A>>,
    bytes: usize,
    max_bytes: usize,
    /// Set once the limit was exceeded: only the keys are kept.
    let_go: bool,
    /// First withheld transaction.
    from: u64,
    cause: Cause,
    /// Values that are refused, oldest first.
    pub(super) refused: Refusals,
}

#[derive(Debug)]
struct Entry<A> {
    /// Set if the state has a record under this key.
    in_state: bool,
    /// `None` if the change was discarded because of the limit.
    change: Option<Change<A>>,
}

/// Last change of a key.
#[derive(Debug)]
pub(super) struct Change<A> {
    /// The target's update, if it made one.
    pub(super) action: Option<A>,
    /// The operation as it was received, if operations are kept.
    pub(super) op: Option<ChangeOp>,
    /// Bytes of key and value.
    pub(super) bytes: usize,
    /// Set if the change deletes the record.
    pub(super) deletes: bool,
    /// The transaction whose value is refused, and the reason.
    pub(super) refused: Option<(u64, String)>,
}

impl<A> Change<A> {
    /// Returns the bytes that the change counts for.
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

    /// Returns `true` if changes were discarded, so that the records have to be loaded again.
    pub(super) fn has_let_go(&self) -> bool {
        self.let_go && !self.keys.is_empty()
    }

    /// Returns whether the state has a record under this key; `None` if no change of the key is
    /// withheld, so that the state agrees with what was received.
    pub(super) fn in_state(&self, key: &str) -> Option<bool> {
        self.keys.get(key).map(|entry| entry.in_state)
    }

    /// Returns the keys under which the state has a record that may differ from what was received.
    pub(super) fn keys_in_state(&self) -> impl Iterator<Item = &Arc<str>> {
        let in_state = self.keys.iter().filter(|(_, entry)| entry.in_state);
        in_state.map(|(key, _)| key)
    }

    /// Begins to withhold changes: the transactions from `from` on, up to `max_bytes`.
    pub(super) fn begin(&mut self, from: u64, cause: Cause, max_bytes: usize) {
        *self = Self {
            from,
            cause,
            max_bytes,
            ..Self::new()
        };
    }

    /// Withholds a change. `in_state` is set if the state has a record under this key.
    pub(super) fn add(&mut self, key: Arc<str>, in_state: bool, mut change: Change<A>) {
        if let Some(old) = self.keys.remove(&key).and_then(|old| old.change) {
            self.bytes -= old.held_bytes();
        }
        self.refused.remove(&key);
        if let Some((seq, reason)) = change.refused.take() {
            self.refused.insert(key.clone(), seq, reason);
        }
        if change.deletes && !in_state {
            // A record that came and went leaves no trace.
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

    /// Removes and returns the withheld changes in the order of their keys, with the arguments of
    /// [`begin`](Self::begin).
    pub(super) fn take(&mut self) -> (u64, Cause, impl Iterator<Item = Change<A>> + use<A>) {
        let held = std::mem::replace(self, Self::new());
        let changes = held.keys.into_values().filter_map(|entry| entry.change);
        (held.from, held.cause, changes)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
