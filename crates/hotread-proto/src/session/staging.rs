//! A snapshot that is being received: records in the order of their keys, read at slightly different
//! times, and the changes since the earliest of these times.

use crate::digest::Digest;
use crate::evaluate::ChangeOp;
use crate::position::Epoch;
use crate::record::Record;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Staging {
    pub(super) epoch: Epoch,
    /// Why it came, if the replica had something.
    pub(super) reason: Option<String>,
    parts: u32,
    records: Vec<Record>,
    /// What became of records since.
    changed: BTreeMap<Box<str>, ChangeOp>,
    /// The last change that came.
    pub(super) to: Option<u64>,
    bytes: usize,
}

impl Staging {
    pub(super) fn new(epoch: Epoch, reason: Option<String>) -> Self {
        Self {
            epoch,
            reason,
            parts: 0,
            records: Vec::new(),
            changed: BTreeMap::new(),
            to: None,
            bytes: 0,
        }
    }

    /// Bytes of keys and values that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn part(&mut self, part: u32, records: Vec<Record>) -> Result<(), &'static str> {
        if part != self.parts + 1 || self.to.is_some() {
            return Err("a part of a snapshot came out of turn");
        }
        self.parts = part;
        for record in records {
            if self.records.last().is_some_and(|last| *last >= record) {
                return Err("the records of a snapshot are not in order");
            }
            self.bytes += record.size();
            self.records.push(record);
        }
        Ok(())
    }

    pub(super) fn change(&mut self, to: u64, ops: Vec<ChangeOp>) {
        self.to = Some(to);
        for op in ops {
            self.bytes += op.size();
            if let Some(old) = self.changed.insert(op.key().into(), op) {
                self.bytes -= old.size();
            }
        }
    }

    /// All records there are in the end.
    pub(super) fn finish(self) -> Vec<Record> {
        if self.changed.is_empty() {
            return self.records;
        }
        let mut changed = self.changed;
        let mut records: Vec<Record> = self
            .records
            .into_iter()
            .filter(|record| !changed.contains_key(record.key()))
            .collect();
        while let Some((_, op)) = changed.pop_first() {
            if let ChangeOp::Put(record) = op {
                records.push(record);
            }
        }
        records
    }
}

pub(super) fn digest(records: &[Record]) -> Digest {
    records.iter().map(Record::hash).collect::<Digest>()
}
