//! Several transactions as one: of each key only what became of it last. What is said of a transaction is
//! left out, unless there is only one.

use super::frame::Txn;
use crate::evaluate::{Change, ChangeOp};
use crate::name::{Actor, Note};
use crate::view::Head;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Transactions that follow each other without a gap, folded by key.
#[derive(Debug)]
pub(super) struct Fold {
    /// The first transaction.
    pub(super) from: u64,
    /// Where the table stands after the last one; `None`: there is none yet.
    pub(super) head: Option<Head>,
    last: BTreeMap<Box<str>, ChangeOp>,
    bytes: usize,
    /// Actor and note of the last transaction.
    said: (Option<Actor>, Option<Note>),
}

impl Fold {
    pub(super) fn new(from: u64) -> Self {
        Self {
            from,
            head: None,
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
        self.head = Some(change.head());
        self.said = (change.actor.clone(), change.note.clone());
    }

    /// How many transactions it has.
    pub(super) fn len(&self) -> u64 {
        self.head
            .map_or(0, |head| head.position.seq + 1 - self.from)
    }

    /// Bytes of keys, categories and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As one transaction; `None`: there is none.
    pub(super) fn into_txn(self) -> Option<Txn<'static>> {
        let (head, is_one) = (self.head?, self.len() == 1);
        let (actor, note) = if is_one { self.said } else { (None, None) };
        Some(Txn {
            from: self.from,
            to: head.position.seq,
            at: head.at,
            digest: head.digest,
            count: head.records,
            actor,
            note,
            ops: Cow::Owned(self.last.into_values().collect()),
            more: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::position::{Epoch, Position};
    use crate::time::Timestamp;

    fn change(seq: u64, note: &str) -> Change {
        let position = Position {
            epoch: Epoch(1),
            seq,
        };
        Change {
            position,
            at: Timestamp::EPOCH,
            digest: Digest::EMPTY,
            records: 0,
            ops: Vec::new(),
            id: None,
            actor: Some(Actor::new("ops").unwrap()),
            note: Some(Note::new(note).unwrap()),
        }
    }

    #[test]
    fn several_transactions_have_no_author_and_one_has() {
        let mut fold = Fold::new(4);
        fold.add(&change(4, "first"));
        fold.add(&change(5, "second"));
        let txn = fold.into_txn().unwrap();
        assert_eq!((txn.from, txn.to, txn.actor, txn.note), (4, 5, None, None));

        let mut fold = Fold::new(4);
        fold.add(&change(4, "first"));
        let txn = fold.into_txn().unwrap();
        assert_eq!(txn.note.as_ref().map(Note::as_str), Some("first"));
        assert_eq!(txn.actor.as_ref().map(Actor::as_str), Some("ops"));
        assert!(Fold::new(4).into_txn().is_none());
    }
}
