//! What a replica has: which records by hash, and what it has received but cannot give out because
//! its type refuses a value.

use super::staging::{self, Staging};
use crate::digest::{Digest, Hasher, ItemHash};
use crate::evaluate::{ChangeOp, Head};
use crate::name::Key;
use crate::position::Position;
use crate::record::Record;
use crate::records::Records;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Most bytes of keys and values of changes that are held back because a value is refused. Beyond
/// it, only the keys are kept, and the records are asked for again.
const MAX_HELD_BYTES: usize = 64 << 20;

/// What turns records into the updates of a replica's state.
pub trait Target {
    /// An update of the state.
    type Action;

    /// The update that writes a record. `key` is the record's, shared with the replica's own books.
    ///
    /// # Errors
    /// Why the state cannot have this value, in one line. It must depend on the record alone.
    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<Self::Action, String>;

    /// The update that takes a record out. There may be none.
    fn delete(&mut self, key: &Arc<str>) -> Self::Action;
}

/// A value that the replica's type refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the replica's type refuses the value of {key:?}, written at seq {seq}: {reason}")]
pub struct Refused {
    /// The record's key.
    pub key: Key,
    /// The transaction that wrote it.
    pub seq: u64,
    /// Why.
    pub reason: String,
}

/// One publication of the replica: what becomes of its state.
#[derive(Debug)]
pub struct Batch<A> {
    /// The first transaction that it contains; for a snapshot, the one that it stands at.
    pub from: u64,
    /// Where the state stands after it.
    pub head: Head,
    /// Updates, to be published together.
    pub actions: Vec<A>,
    /// The same as records and deletions, if they are [kept](super::FollowConfig::keep_ops).
    pub ops: Vec<ChangeOp>,
    /// What it comes from.
    pub cause: Cause,
}

/// What a batch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The first state: the updates build it from nothing.
    First,
    /// A snapshot, because the session could not resume; the updates are what differs.
    Snapshot {
        /// Why.
        reason: Option<String>,
    },
    /// One transaction, or several that were folded.
    Txn,
}

/// What is held back of a key.
#[derive(Debug)]
struct Held<A> {
    /// What the target made of it.
    action: Result<A, (u64, String)>,
    op: Option<ChangeOp>,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Content<T: Target> {
    target: T,
    skip_bad_keys: bool,
    keep_ops: bool,
    /// The hash of each record that was received; `None` for those who keep no records.
    index: Option<HashMap<Arc<str>, ItemHash>>,
    /// Where the session stands; `None`: a snapshot is needed.
    received: Option<Head>,
    /// Where the state that was given out stands.
    applied: Option<Head>,
    held: BTreeMap<Arc<str>, Held<T::Action>>,
    held_bytes: usize,
    held_from: u64,
    held_cause: Cause,
    /// Keys of which the state may differ from the index, because what was held back was let go of.
    dirty: HashSet<Arc<str>>,
    /// Held-back values that are refused, oldest first; the first is the one that is reported.
    refused: Vec<Refused>,
    skipped: Vec<Refused>,
}

/// The content is not what the server says it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) &'static str);

/// What came of something that was received.
pub(super) struct Received<A> {
    pub(super) batch: Option<Batch<A>>,
    /// Values that are refused, of which nobody was told yet.
    pub(super) news: Vec<Refused>,
}

impl<T: Target> Content<T> {
    pub(super) fn new(target: T, keeps_records: bool, skip_bad_keys: bool, keep_ops: bool) -> Self {
        Self {
            target,
            skip_bad_keys,
            keep_ops,
            index: keeps_records.then(HashMap::new),
            received: None,
            applied: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            held_from: 0,
            held_cause: Cause::Txn,
            dirty: HashSet::new(),
            refused: Vec::new(),
            skipped: Vec::new(),
        }
    }

    pub(super) fn keeps_records(&self) -> bool {
        self.index.is_some()
    }

    pub(super) fn received(&self) -> Option<Head> {
        self.received
    }

    pub(super) fn applied(&self) -> Option<Head> {
        self.applied
    }

    pub(super) fn refused(&self) -> Option<&Refused> {
        self.refused.first()
    }

    /// Values that were left out, since the last call.
    pub(super) fn take_skipped(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.skipped)
    }

    /// Follows from here without having any records.
    pub(super) fn begin_at(&mut self, head: Head) {
        self.received = Some(head);
        self.applied = Some(head);
    }

    /// The next session begins with a snapshot: what was received cannot be relied on.
    pub(super) fn distrust(&mut self) {
        if self.keeps_records() {
            self.received = None;
        }
    }

    /// Transactions came, from the one after what was received on.
    pub(super) fn change(
        &mut self,
        from: u64,
        head: Head,
        ops: Vec<ChangeOp>,
    ) -> Result<Received<T::Action>, Damaged> {
        if let Some(index) = &self.index {
            let before = self
                .received
                .ok_or(Damaged("a change came before its table"))?;
            let old = |key: &str| index.get(key).copied();
            let after = staging::after(before.digest, before.records, &ops, old);
            if after != (head.digest, head.records) {
                return Err(Damaged(
                    "the digest after a transaction is another than the server's",
                ));
            }
        }
        let ops = ops.into_iter().map(|op| self.enter(op)).collect();
        Ok(self.advance(from, head, ops, Cause::Txn))
    }

    /// A snapshot is complete. What it has in common with the state is left as it is.
    pub(super) fn snapshot(
        &mut self,
        staging: Staging,
        head: Head,
    ) -> Result<Received<T::Action>, Damaged> {
        let reason = staging.reason.clone();
        let records = staging.finish();
        if records.len() as u64 != head.records || staging::digest(&records) != head.digest {
            return Err(Damaged(
                "the digest of a snapshot is another than the server's",
            ));
        }
        let cause = match self.applied {
            None => Cause::First,
            Some(_) => Cause::Snapshot { reason },
        };
        let ops = self.difference(records);
        self.let_go();
        self.dirty.clear();
        Ok(self.advance(head.position.seq, head, ops, cause))
    }

    /// What leads from the state to these records. The index becomes theirs.
    fn difference(&mut self, records: Vec<Record>) -> Vec<(Arc<str>, ChangeOp)> {
        let mut old = self
            .index
            .replace(HashMap::with_capacity(records.len()))
            .unwrap_or_default();
        let mut ops = Vec::new();
        for record in records {
            let (key, hash) = match old.remove_entry(record.key()) {
                Some((key, hash)) => (key, Some(hash)),
                None => (Arc::from(record.key()), None),
            };
            let kept = hash == Some(record.hash());
            self.index
                .get_or_insert_default()
                .insert(key.clone(), record.hash());
            if !kept || self.is_uncertain(&key) {
                ops.push((key, ChangeOp::Put(record)));
            }
        }
        // Those that the state may have, and the snapshot does not.
        let held = self.held.keys().chain(&self.dirty);
        let index = self.index.get_or_insert_default();
        let gone: HashSet<Arc<str>> = old
            .into_keys()
            .chain(held.filter(|key| !index.contains_key(*key)).cloned())
            .collect();
        for key in gone {
            let name = Key::new(&key).expect("the keys of records were checked when they came in");
            ops.push((key, ChangeOp::Delete(name)));
        }
        ops
    }

    /// May the state have something else under this key than the index says?
    fn is_uncertain(&self, key: &Arc<str>) -> bool {
        self.held.contains_key(key) || self.dirty.contains(key)
    }

    /// Enters an operation into the index.
    fn enter(&mut self, op: ChangeOp) -> (Arc<str>, ChangeOp) {
        let Some(index) = &mut self.index else {
            return (op.key().into(), op);
        };
        let key = match &op {
            ChangeOp::Put(record) => match index.get_key_value(record.key()) {
                Some((key, _)) => {
                    let key = key.clone();
                    index.insert(key.clone(), record.hash());
                    key
                }
                None => {
                    let key: Arc<str> = record.key().into();
                    index.insert(key.clone(), record.hash());
                    key
                }
            },
            ChangeOp::Delete(key) => match index.remove_entry(key.as_str()) {
                Some((key, _)) => key,
                None => key.as_str().into(),
            },
        };
        (key, op)
    }

    /// What was received leads to `head`. If the target takes all of it, it becomes a batch, together
    /// with what was held back before.
    fn advance(
        &mut self,
        from: u64,
        head: Head,
        ops: Vec<(Arc<str>, ChangeOp)>,
        cause: Cause,
    ) -> Received<T::Action> {
        self.received = Some(head);
        let mut news = Vec::new();
        let mut taken = Vec::with_capacity(ops.len());
        for (key, op) in ops {
            let bytes = op.size();
            let mut action = match &op {
                ChangeOp::Delete(_) => Ok(self.target.delete(&key)),
                ChangeOp::Put(record) => self
                    .target
                    .put(&key, record)
                    .map_err(|reason| (record.seq(), reason)),
            };
            if let Err((seq, reason)) = &action {
                let refused = Refused {
                    key: Key::new(&key).expect("the key of a record"),
                    seq: *seq,
                    reason: super::reason(reason),
                };
                news.push(refused.clone());
                if self.skip_bad_keys {
                    self.skipped.push(refused);
                    action = Ok(self.target.delete(&key));
                }
            }
            let op = self.keep_ops.then_some(op);
            taken.push((key, Held { action, op, bytes }));
        }
        let bad = taken.iter().any(|(_, held)| held.action.is_err());
        if self.held.is_empty() && !bad {
            self.applied = Some(head);
            let (mut actions, mut ops) = (Vec::with_capacity(taken.len()), Vec::new());
            for (_, held) in taken {
                actions.extend(held.action.ok());
                ops.extend(held.op);
            }
            let batch = Batch {
                from,
                head,
                actions,
                ops,
                cause,
            };
            return Received {
                batch: Some(batch),
                news,
            };
        }
        if self.held.is_empty() {
            (self.held_from, self.held_cause) = (from, cause);
        }
        for (key, held) in taken {
            self.refused.retain(|refused| refused.key.as_str() != &*key);
            self.held_bytes += held.bytes;
            if let Some(old) = self.held.insert(key, held) {
                self.held_bytes -= old.bytes;
            }
        }
        if !self.skip_bad_keys {
            self.refused.extend(news.iter().cloned());
        }
        let batch = self.refused.is_empty().then(|| self.release(head));
        if self.held_bytes > MAX_HELD_BYTES {
            let keys = std::mem::take(&mut self.held).into_keys();
            self.dirty.extend(keys);
            self.held_bytes = 0;
            self.received = None;
        }
        Received { batch, news }
    }

    /// Nothing is refused any more: what was held back, as one batch.
    fn release(&mut self, head: Head) -> Batch<T::Action> {
        let (mut actions, mut ops) = (Vec::with_capacity(self.held.len()), Vec::new());
        for held in std::mem::take(&mut self.held).into_values() {
            actions.extend(held.action.ok());
            ops.extend(held.op);
        }
        self.held_bytes = 0;
        self.applied = Some(head);
        Batch {
            from: self.held_from,
            head,
            actions,
            ops,
            cause: std::mem::replace(&mut self.held_cause, Cause::Txn),
        }
    }

    fn let_go(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.refused.clear();
    }

    /// Begins with a copy that was kept.
    pub(super) fn restore(&mut self, records: &Records) -> Result<Batch<T::Action>, Refused> {
        let index = self.index.get_or_insert_default();
        let mut actions = Vec::with_capacity(records.len());
        let mut known = HashMap::with_capacity(records.len());
        for record in records {
            let key: Arc<str> = record.key().into();
            match self.target.put(&key, record) {
                Ok(action) => actions.push(action),
                Err(reason) => {
                    let refused = Refused {
                        key: Key::new(&key).expect("the key of a record"),
                        seq: record.seq(),
                        reason: super::reason(&reason),
                    };
                    if !self.skip_bad_keys {
                        return Err(refused);
                    }
                    self.skipped.push(refused);
                }
            }
            known.insert(key, record.hash());
        }
        *index = known;
        let head = records.head();
        self.begin_at(head);
        Ok(Batch {
            from: head.position.seq,
            head,
            actions,
            ops: Vec::new(),
            cause: Cause::First,
        })
    }

    /// Where readers' state stands.
    pub(super) fn position(&self) -> Option<Position> {
        self.applied.map(|head| head.position)
    }

    /// The digest of what was received, as the server must have it.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.received.map(|head| head.digest)
    }
}

/// Is each record what was hashed, and changed by one of these transactions?
pub(super) fn genuine(ops: &[ChangeOp], from: u64, to: u64, sealed: bool) -> bool {
    ops.iter().all(|op| match op {
        ChangeOp::Put(record) => {
            (from..=to).contains(&record.seq()) && (sealed || record.verify(&Hasher::PLAIN))
        }
        ChangeOp::Delete(_) => true,
    })
}
