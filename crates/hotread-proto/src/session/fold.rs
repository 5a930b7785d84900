//! Coalescing of several transactions into one, with the last operation on each key. Actor and note
//! are kept only of a single transaction.

use super::frame::Txn;
use crate::evaluate::{Change, ChangeOp};
use crate::name::{Actor, Note};
use crate::view::Head;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Consecutive transactions, coalesced by key.
#[derive(Debug)]
pub(super) struct Fold {
    /// The first transaction.
    from: u64,
    /// State of the table after the last transaction; before the first one, the state that they
    /// follow.
    pub(super) head: Head,
    last: BTreeMap<Box<str>, ChangeOp>,
    /// Bytes of keys, categories and values.
    pub(super) bytes: usize,
    /// Actor and note of the last transaction.
    said: (Option<Actor>, Option<Note>),
}

impl Fold {
    /// Creates an empty fold after this state.
    pub(super) fn after(head: Head) -> Self {
        Self {
            from: head.position.seq + 1,
            head,
            last: BTreeMap::new(),
            bytes: 0,
            said: (None, None),
        }
    }

    pub(super) fn add(&mut self, change: &Change) {
        for op in &change.ops {
            self.bytes += op.size();
            if let Some(old) = self.last.insert(op.key().into(), op.clone()) {
                self.bytes -= old.size();
            }
        }
        self.head = change.head();
        self.said = (change.actor.clone(), change.note.clone());
    }

    /// Returns the number of transactions.
    pub(super) fn len(&self) -> u64 {
        self.head.position.seq + 1 - self.from
    }

    /// Returns the transactions as one. There must be at least one.
    pub(super) fn into_txn(self) -> Txn<'static> {
        let is_one = self.len() == 1;
        let (actor, note) = if is_one { self.said } else { (None, None) };
        Txn {
            from: self.from,
            to: self.head.position.seq,
            at: self.head.at,
            digest: self.head.digest,
            count: self.head.records,
            actor,
            note,
            ops: Cow::Owned(self.last.into_values().collect()),
            more: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::position::{Epoch, Position};
    use crate::time::Timestamp;

    #[test]
    fn several_transactions_have_no_author_and_one_has() {
        let change = |seq, note: &str| Change {
            position: Position {
                epoch: Epoch(1),
                seq,
            },
            at: Timestamp::EPOCH,
            digest: Digest::EMPTY,
            records: 0,
            ops: Vec::new(),
            id: None,
            actor: Some(Actor::new("ops").unwrap()),
            note: Some(Note::new(note).unwrap()),
        };
        let folded = |notes: &[&str]| {
            let mut fold = Fold::after(change(3, "before").head());
            for (seq, note) in (4..).zip(notes) {
                fold.add(&change(seq, note));
            }
            let txn = fold.into_txn();
            let said = (txn.actor, txn.note.map(|note| note.to_string()));
            (txn.from, txn.to, said.0.is_some(), said.1)
        };
        assert_eq!(folded(&["first", "second"]), (4, 5, false, None));
        assert_eq!(folded(&["first"]), (4, 4, true, Some("first".to_owned())));
    }
}
