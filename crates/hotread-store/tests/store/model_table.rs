//! The model of a table: plain maps, and the outcome of a request to them.

use crate::model::long_ago;
use hotread::HotReadHandle;
use hotread_proto::{
    Change, ChangeOp, Committed, Condition, Digest, Hasher, Op, Position, Precondition, Put,
    Record, Records, Refusal, Timestamp, Txn, TxnId,
};
use hotread_store::{Subscription, TableOptions};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) value: Vec<u8>,
    pub(super) category: String,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) seq: u64,
}

/// A request, as an id identifies it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Txn(Vec<Op>, Vec<Precondition>),
    Replace(Vec<Put>),
}

pub(super) struct Table {
    pub(super) options: TableOptions,
    pub(super) at: Position,
    pub(super) cells: BTreeMap<String, Cell>,
    /// Changes of each transaction, from the first on.
    pub(super) changes: Vec<BTreeMap<String, Option<Cell>>>,
    pub(super) digests: Vec<Digest>,
    pub(super) ids: HashMap<TxnId, (Committed, Asked)>,
    pub(super) last_with_id: Option<Txn>,
    pub(super) handle: Option<HotReadHandle<Records>>,
    pub(super) following: Option<Subscription>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Change(BTreeMap<String, Option<Cell>>),
    Repeated(Committed),
    Refused(Refusal),
}

impl Table {
    pub(super) fn digest(&self) -> Digest {
        let hash = |(key, cell): (&String, &Cell)| Hasher::PLAIN.item(key, cell.seq, &cell.value);
        self.cells.iter().map(hash).collect()
    }

    fn cell(&self, put: &Put) -> Cell {
        Cell {
            value: put.value.as_bytes().to_vec(),
            category: put.category.as_str().to_owned(),
            expires_at: put.expires_at,
            seq: self.at.seq + 1,
        }
    }

    pub(super) fn expect(&self, id: Option<&TxnId>, asked: &Asked) -> Expected {
        if let Some(id) = id
            && let Some((committed, before)) = self.ids.get(id)
        {
            return if before == asked {
                Expected::Repeated(*committed)
            } else {
                let seq = committed.position.seq;
                Expected::Refused(Refusal::IdReused {
                    id: id.clone(),
                    seq,
                })
            };
        }
        let mut change = BTreeMap::new();
        match asked {
            Asked::Txn(ops, preconditions) => {
                for Precondition { key, condition } in preconditions {
                    // A record that expired long ago is absent, swept or not.
                    let cell = self.cells.get(key.as_str());
                    let cell = cell.filter(|cell| cell.expires_at != Some(long_ago()));
                    let actual = cell.map(|cell| cell.seq);
                    let holds = match condition {
                        Condition::Seq(seq) => actual == Some(*seq),
                        Condition::Absent => actual.is_none(),
                        Condition::Present => actual.is_some(),
                    };
                    if !holds {
                        return Expected::Refused(Refusal::Precondition {
                            key: key.clone(),
                            condition: *condition,
                            actual,
                        });
                    }
                }
                for op in ops {
                    let key = op.key().as_str().to_owned();
                    match op {
                        Op::Put(put) => {
                            change.insert(key, Some(self.cell(put)));
                        }
                        Op::Delete { .. } => {
                            change.insert(key, None);
                        }
                    }
                }
                change.retain(|key, new| new.is_some() || self.cells.contains_key(key));
            }
            Asked::Replace(records) => {
                for key in self.cells.keys() {
                    change.insert(key.clone(), None);
                }
                for put in records {
                    change.insert(put.key.as_str().to_owned(), Some(self.cell(put)));
                }
                change.retain(|key, new| match (new, self.cells.get(key)) {
                    (Some(new), Some(old)) => {
                        (&new.value, &new.category, new.expires_at)
                            != (&old.value, &old.category, old.expires_at)
                    }
                    _ => true,
                });
            }
        }
        Expected::Change(change)
    }

    pub(super) fn apply(&mut self, change: BTreeMap<String, Option<Cell>>) {
        for (key, new) in &change {
            match new {
                Some(cell) => self.cells.insert(key.clone(), cell.clone()),
                None => self.cells.remove(key),
            };
        }
        self.at.seq += 1;
        self.changes.push(change);
        self.digests.push(self.digest());
    }
}

pub(super) fn of(change: &Change) -> BTreeMap<String, Option<Cell>> {
    let ops = change.ops.iter().map(|op| match op {
        ChangeOp::Put(record) => (op.key().to_owned(), Some(cell(record))),
        ChangeOp::Delete { key, .. } => (key.as_str().to_owned(), None),
    });
    let all: BTreeMap<_, _> = ops.collect();
    assert_eq!(all.len(), change.ops.len(), "each key at most once");
    all
}

pub(super) fn cell(record: &Record) -> Cell {
    assert!(record.verify(&Hasher::PLAIN));
    Cell {
        value: record.value().to_vec(),
        category: record.category().to_owned(),
        expires_at: record.expires_at(),
        seq: record.seq(),
    }
}
