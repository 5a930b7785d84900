//! A snapshot that is being received: records in the order of their keys, read at slightly
//! different times, and the changes since the earliest of these times.

use super::trouble::{Trouble, protocol};
use crate::evaluate::ChangeOp;
use crate::position::Epoch;
use crate::record::Record;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Staging {
    pub(super) epoch: Epoch,
    /// Reason for the snapshot, if the replica had a state.
    pub(super) reason: Option<String>,
    parts: u32,
    records: Vec<Record>,
    /// Changes since the earliest part, by key.
    changed: BTreeMap<Box<str>, ChangeOp>,
    /// Last received change.
    pub(super) to: Option<u64>,
    /// Bytes of keys, categories and values.
    pub(super) bytes: usize,
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

    pub(super) fn part(&mut self, part: u32, records: Vec<Record>) -> Result<(), Trouble> {
        if part != self.parts + 1 || self.to.is_some() {
            return Err(protocol("a part of a snapshot arrived out of order"));
        }
        self.parts = part;
        for record in records {
            if self.records.last().is_some_and(|last| *last >= record) {
                return Err(protocol("the records of a snapshot are not in order"));
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

    /// Returns the records of the complete snapshot.
    pub(super) fn finish(self) -> Vec<Record> {
        if self.changed.is_empty() {
            return self.records;
        }
        let (mut records, changed) = (self.records, self.changed);
        records.retain(|record| !changed.contains_key(record.key()));
        records.extend(changed.into_values().filter_map(|op| match op {
            ChangeOp::Put(record) => Some(record),
            ChangeOp::Delete { .. } => None,
        }));
        records
    }
}
