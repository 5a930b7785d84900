//! What a replica has: the hash of each record that it received, and where it stands.

use super::following::{Batch, Cause, Refused, Target};
use super::frame::Has;
use super::held::{Change, Held, MAX_HELD_BYTES};
use super::staging::{self, Staging};
use crate::digest::{Digest, Hasher, ItemHash};
use crate::evaluate::{ChangeOp, Head};
use crate::name::Key;
use crate::position::Position;
use crate::record::Record;
use crate::records::Records;
use crate::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Values that are refused at one time, of which the server is told.
pub(super) const MAX_NACKS: usize = 8;
/// Most values that were left out, of which it is remembered until somebody asks.
const MAX_SKIPPED: usize = 1_024;

#[derive(Debug)]
pub(super) struct Content<T: Target> {
    target: T,
    skip_bad_keys: bool,
    keep_ops: bool,
    /// The hash of each record that was received; `None` for those who keep no records.
    index: Option<HashMap<Arc<str>, ItemHash>>,
    /// Where the session stands; `None`: a snapshot is needed.
    received: Option<Head>,
    /// Is the digest there known? It is not before those who keep no records hear of it.
    digest_known: bool,
    /// Why what was received is not relied on.
    distrusted: Option<&'static str>,
    /// Where the state that was given out stands.
    applied: Option<Head>,
    held: Held<T::Action>,
    skipped: Vec<Refused>,
}

/// The content is not what the server says it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) &'static str);

/// What came of something that was received.
pub(super) struct Received<A> {
    pub(super) batch: Option<Batch<A>>,
    /// Values that are refused, of which nobody was told yet; not more than can be told.
    pub(super) news: Vec<Refused>,
    /// Must everything be loaded again, and why?
    pub(super) again: Option<&'static str>,
}

/// What became of a record: was there one before, as far as was received?
struct Entered {
    key: Arc<str>,
    received: bool,
    op: ChangeOp,
}

impl<T: Target> Content<T> {
    pub(super) fn new(target: T, keeps_records: bool, skip_bad_keys: bool, keep_ops: bool) -> Self {
        Self {
            target,
            skip_bad_keys,
            keep_ops,
            index: keeps_records.then(HashMap::new),
            received: None,
            digest_known: false,
            distrusted: None,
            applied: None,
            held: Held::new(MAX_HELD_BYTES),
            skipped: Vec::new(),
        }
    }

    pub(super) fn keeps_records(&self) -> bool {
        self.index.is_some()
    }

    pub(super) fn received(&self) -> Option<Head> {
        self.received
    }

    /// What the server is told of it.
    pub(super) fn has(&self) -> Option<Has> {
        self.received.map(|head| Has {
            epoch: head.position.epoch,
            seq: head.position.seq,
            digest: self.digest(),
        })
    }

    /// The digest of what was received, as the server must have it.
    pub(super) fn digest(&self) -> Option<Digest> {
        let head = self.received.filter(|_| self.digest_known);
        head.map(|head| head.digest)
    }

    /// Where the state stands that was given out.
    pub(super) fn position(&self) -> Option<Position> {
        self.applied.map(|head| head.position)
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.held.refused()
    }

    /// Values that are refused, of which a server that does not know them is told.
    pub(super) fn nacks(&self) -> Vec<Refused> {
        self.held.all_refused().take(MAX_NACKS).collect()
    }

    /// Values that were left out, since the last call.
    pub(super) fn take_skipped(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.skipped)
    }

    /// Follows from here without having any records.
    pub(super) fn begin_at(&mut self, position: Position) {
        let head = Head {
            position,
            digest: Digest::EMPTY,
            records: 0,
            at: Timestamp::EPOCH,
        };
        self.received = Some(head);
        self.applied = Some(head);
    }

    /// The server's digest at what was received. Whoever keeps records has one of its own.
    pub(super) fn learn(&mut self, digest: Digest) {
        if let (false, Some(head)) = (self.digest_known, &mut self.received) {
            head.digest = digest;
            self.digest_known = true;
        }
    }

    /// The next session begins with a snapshot: what was received cannot be relied on.
    pub(super) fn distrust(&mut self, why: &'static str) {
        if self.keeps_records() {
            self.received = None;
            self.distrusted = Some(why);
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
        let ours = self.distrusted.take().map(str::to_owned);
        let cause = match self.applied {
            None => Cause::First,
            Some(_) => Cause::Snapshot {
                reason: reason.or(ours),
            },
        };
        let ops = self.difference(records);
        self.held.clear();
        Ok(self.advance(head.position.seq, head, ops, cause))
    }

    /// What leads from the state to these records. The index becomes theirs.
    fn difference(&mut self, records: Vec<Record>) -> Vec<Entered> {
        let mut old = self.index.take().unwrap_or_default();
        let mut index = HashMap::with_capacity(records.len());
        let mut ops = Vec::new();
        for record in records {
            let (key, hash) = match old.remove_entry(record.key()) {
                Some((key, hash)) => (key, Some(hash)),
                None => (Arc::from(record.key()), None),
            };
            index.insert(key.clone(), record.hash());
            let held = self.held.in_state(&key);
            if held.is_some() || hash != Some(record.hash()) {
                let received = held.unwrap_or(hash.is_some());
                let op = ChangeOp::Put(record);
                ops.push(Entered { key, received, op });
            }
        }
        // Those that the state has, and the snapshot does not; in an order that does not vary.
        let left = old.into_keys();
        let left = left.filter(|key| self.held.in_state(key).unwrap_or(true));
        let held = self.held.keys_in_state();
        let held = held.filter(|key| !index.contains_key(*key)).cloned();
        let gone: BTreeSet<Arc<str>> = left.chain(held).collect();
        for key in gone {
            let name = Key::new(&key).expect("the keys of records were checked when they came in");
            let op = ChangeOp::Delete(name);
            let received = true;
            ops.push(Entered { key, received, op });
        }
        self.index = Some(index);
        ops
    }

    /// Enters an operation into the index.
    fn enter(&mut self, op: ChangeOp) -> Entered {
        let Some(index) = &mut self.index else {
            let key = op.key().into();
            let received = true;
            return Entered { key, received, op };
        };
        let old = index.remove_entry(op.key()).map(|(key, _)| key);
        let received = old.is_some();
        let key = old.unwrap_or_else(|| op.key().into());
        if let ChangeOp::Put(record) = &op {
            index.insert(key.clone(), record.hash());
        }
        Entered { key, received, op }
    }

    /// What the target makes of an operation.
    fn ask(&mut self, key: &Arc<str>, op: ChangeOp) -> Change<T::Action> {
        let (action, refused) = match &op {
            ChangeOp::Delete(_) => (Some(self.target.delete(key)), None),
            ChangeOp::Put(record) => match self.target.put(key, record) {
                Ok(action) => (Some(action), None),
                Err(reason) => (None, Some((record.seq(), super::reason(&reason)))),
            },
        };
        Change {
            action,
            refused,
            bytes: op.size(),
            deletes: matches!(op, ChangeOp::Delete(_)),
            op: self.keep_ops.then_some(op),
        }
    }

    /// What was received leads to `head`. If the target takes all of it, it becomes a batch, together
    /// with what was held back before.
    fn advance(
        &mut self,
        from: u64,
        head: Head,
        ops: Vec<Entered>,
        cause: Cause,
    ) -> Received<T::Action> {
        (self.received, self.digest_known) = (Some(head), true);
        let skips = self.skip_bad_keys || !self.keeps_records();
        let (mut news, mut bad) = (Vec::new(), false);
        let mut changes = Vec::with_capacity(ops.len());
        for Entered { key, received, op } in ops {
            let mut change = self.ask(&key, op);
            if let Some((seq, reason)) = &change.refused {
                let refused = || Refused {
                    key: Key::new(&key).expect("the key of a record"),
                    seq: *seq,
                    reason: reason.clone(),
                };
                if news.len() < MAX_NACKS {
                    news.push(refused());
                }
                if skips {
                    if self.skipped.len() < MAX_SKIPPED {
                        self.skipped.push(refused());
                    }
                    change.refused = None;
                    if self.keeps_records() {
                        change.action = Some(self.target.delete(&key));
                    }
                }
                bad |= !skips;
            }
            changes.push((key, received, change));
        }
        if self.held.is_empty() && !bad {
            self.held.clear();
            let changes = changes.into_iter().map(|(.., change)| change);
            let batch = Some(batch(from, head, cause, changes));
            self.applied = Some(head);
            let again = None;
            return Received { batch, news, again };
        }
        if self.held.is_empty() {
            (self.held.from, self.held.cause) = (from, cause);
        }
        for (key, received, change) in changes {
            self.held.add(key, received, change);
        }
        let mut received = Received {
            batch: None,
            news,
            again: None,
        };
        if self.held.refused().is_none() {
            if self.held.has_let_go() {
                let why = "what was held back while a value was refused was too much to keep";
                self.distrust(why);
                received.again = Some(why);
            } else {
                received.batch = Some(self.release(head));
            }
        }
        received
    }

    /// Nothing is refused any more: what was held back, as one batch.
    fn release(&mut self, head: Head) -> Batch<T::Action> {
        let cause = std::mem::replace(&mut self.held.cause, Cause::Txn);
        self.applied = Some(head);
        batch(self.held.from, head, cause, self.held.take())
    }

    /// Begins with a copy that was kept.
    pub(super) fn restore(&mut self, records: &Records) -> Result<Batch<T::Action>, Refused> {
        let mut actions = Vec::with_capacity(records.len());
        let mut known = HashMap::with_capacity(records.len());
        let mut skipped = Vec::new();
        for record in records {
            let key: Arc<str> = record.key().into();
            let op = ChangeOp::Put(record.clone());
            let change = self.ask(&key, op);
            if let Some((seq, reason)) = change.refused {
                let key = Key::new(&key).expect("the key of a record");
                let refused = Refused { key, seq, reason };
                if !self.skip_bad_keys {
                    return Err(refused);
                }
                if skipped.len() < MAX_SKIPPED {
                    skipped.push(refused);
                }
            }
            actions.extend(change.action);
            known.insert(key, record.hash());
        }
        let head = records.head();
        if let Some(index) = &mut self.index {
            *index = known;
        }
        self.held.clear();
        self.skipped = skipped;
        (self.received, self.applied) = (Some(head), Some(head));
        self.digest_known = true;
        Ok(Batch {
            from: head.position.seq,
            head,
            actions,
            ops: Vec::new(),
            cause: Cause::First,
        })
    }
}

fn batch<A>(
    from: u64,
    head: Head,
    cause: Cause,
    changes: impl Iterator<Item = Change<A>>,
) -> Batch<A> {
    let (mut actions, mut ops) = (Vec::with_capacity(changes.size_hint().0), Vec::new());
    for change in changes {
        actions.extend(change.action);
        ops.extend(change.op);
    }
    Batch {
        from,
        head,
        actions,
        ops,
        cause,
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
