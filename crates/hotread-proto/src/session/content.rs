//! Content of a replica: the hash of each received record, and the replica's positions.

use super::following::{Batch, Cause, Refused, SEALED_REASON, Target};
use super::frame::Has;
use super::held::{Change, Held, MAX_HELD_BYTES};
use super::index::{Index, Seen};
use super::refusals::Refusals;
use super::staging::Staging;
use super::trouble::Trouble;
use crate::digest::{Digest, Hasher};
use crate::evaluate::{ChangeOp, Removal};
use crate::name::{Actor, Key, Note};
use crate::position::Position;
use crate::record::Record;
use crate::records::Records;
use crate::time::Timestamp;
use crate::view::Head;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Maximum number of refused values that are reported to the server at once.
pub(super) const MAX_NACKS: usize = 8;

#[derive(Debug)]
pub(super) struct Content<T: Target> {
    target: T,
    skip_bad_keys: bool,
    keep_ops: bool,
    /// Set for a sealed table, of whose values nothing may be disclosed.
    pub(super) sealed: bool,
    /// Received records; `None` for a client that keeps no records.
    index: Option<Index>,
    /// Last received state of the table; `None` if a snapshot is needed.
    pub(super) received: Option<Head>,
    /// Set once the digest in `received` is known; a client that keeps no records learns it later.
    digest_known: bool,
    /// Reason the received state is not trusted.
    distrusted: Option<&'static str>,
    /// Last state that was handed to the caller.
    applied: Option<Head>,
    held: Held<T::Action>,
    max_held_bytes: usize,
    /// Largest table that the replica accepts, in bytes.
    pub(super) max_bytes: usize,
    /// Records that are left out of the state.
    pub(super) skipped: Refusals,
}

/// Result of receiving a transaction or a snapshot.
pub(super) struct Received<A> {
    pub(super) batch: Option<Batch<A>>,
    /// Newly refused values, at most as many as can be reported.
    pub(super) news: Vec<Refused>,
    /// Reason to load the whole table again, if there is one.
    pub(super) again: Option<&'static str>,
}

/// An operation that was entered into the index.
struct Entered {
    key: Arc<str>,
    /// Set if the state has a record under this key.
    in_state: bool,
    op: ChangeOp,
}

impl<T: Target> Content<T> {
    pub(super) fn new(target: T, keeps_records: bool, skip_bad_keys: bool, keep_ops: bool) -> Self {
        Self {
            target,
            skip_bad_keys,
            keep_ops,
            sealed: false,
            index: keeps_records.then(Index::default),
            received: None,
            digest_known: false,
            distrusted: None,
            applied: None,
            held: Held::new(),
            max_held_bytes: MAX_HELD_BYTES,
            max_bytes: usize::MAX,
            skipped: Refusals::default(),
        }
    }

    pub(super) fn keeps_records(&self) -> bool {
        self.index.is_some()
    }

    /// Returns the state to name in `hello`.
    pub(super) fn has(&self) -> Option<Has> {
        self.received.map(|head| Has {
            epoch: head.position.epoch,
            seq: head.position.seq,
            digest: self.digest(),
        })
    }

    /// Returns the digest of the received state, as the server must have it.
    pub(super) fn digest(&self) -> Option<Digest> {
        let head = self.received.filter(|_| self.digest_known);
        head.map(|head| head.digest)
    }

    /// Returns the position of the last state that was handed to the caller.
    pub(super) fn position(&self) -> Option<Position> {
        self.applied.map(|head| head.position)
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.held.refused.iter().next()
    }

    /// Returns refused values to report to a server that does not know them.
    pub(super) fn nacks(&self) -> Vec<Refused> {
        self.held.refused.iter().take(MAX_NACKS).collect()
    }

    /// Begins at a position without having any records.
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

    /// Takes over the server's digest of the received state. A client that keeps records has
    /// computed its own.
    pub(super) fn learn(&mut self, digest: Digest) {
        if let (false, Some(head)) = (self.digest_known, &mut self.received) {
            head.digest = digest;
            self.digest_known = true;
        }
    }

    /// Discards the received state, so that the next session begins with a snapshot.
    pub(super) fn distrust(&mut self, why: &'static str) {
        if self.keeps_records() {
            self.received = None;
            self.distrusted = Some(why);
        }
    }

    /// Returns the bytes of keys, categories and values of the received records.
    pub(super) fn bytes(&self) -> usize {
        self.index.as_ref().map_or(0, Index::bytes)
    }

    /// Returns `true` if the table is larger than the replica accepts.
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes() > self.max_bytes
    }

    /// Receives transactions `from` to `head`, the next ones after the received state.
    pub(super) fn change(
        &mut self,
        from: u64,
        head: Head,
        ops: Vec<ChangeOp>,
        (actor, note): (Option<Actor>, Option<Note>),
    ) -> Result<Received<T::Action>, Trouble> {
        if let (Some(index), Some(before)) = (&self.index, self.received) {
            let after = index.after(before.digest, before.records, &ops);
            if after != (head.digest, head.records) {
                let why = "the digest after a transaction is another than the server's";
                return Err(Trouble::Damaged(why));
            }
        }
        let ops = ops.into_iter().map(|op| self.enter(op)).collect();
        let mut received = self.advance(from, head, ops, Cause::Txn);
        // Together with changes that were withheld before, it would be several transactions.
        if let Some(batch) = &mut received.batch
            && batch.from == head.position.seq
        {
            (batch.actor, batch.note) = (actor, note);
        }
        Ok(received)
    }

    /// Receives a complete snapshot. Only its differences from the state are applied.
    pub(super) fn snapshot(
        &mut self,
        staging: Staging,
        head: Head,
    ) -> Result<Received<T::Action>, Trouble> {
        let reason = staging.reason.clone();
        let records = staging.finish();
        let digest: Digest = records.iter().map(Record::hash).collect();
        if (records.len() as u64, digest) != (head.records, head.digest) {
            let why = "the digest of a snapshot is another than the server's";
            return Err(Trouble::Damaged(why));
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

    /// Returns the operations that lead from the state to these records, and rebuilds the index
    /// from them.
    fn difference(&mut self, records: Vec<Record>) -> Vec<Entered> {
        let mut old = self.index.take().unwrap_or_default();
        let mut index = Index::with_capacity(records.len());
        let mut ops = Vec::new();
        for record in records {
            let now = Seen::of(&record);
            let (key, seen) = match old.remove(record.key()) {
                Some((key, seen)) => (key, Some(seen)),
                None => (Arc::from(record.key()), None),
            };
            index.insert(key.clone(), now);
            let held = self.held.in_state(&key);
            if held.is_some() || seen != Some(now) {
                let in_state = held.unwrap_or(seen.is_some());
                let op = ChangeOp::Put(record);
                ops.push(Entered { key, in_state, op });
            }
        }
        // Records that the state has and the snapshot lacks, in a deterministic order.
        let left = old.into_keys();
        let left = left.filter(|key| self.held.in_state(key).unwrap_or(true));
        let held = self.held.keys_in_state();
        let held = held.filter(|key| !index.contains(key)).cloned();
        let gone: BTreeSet<Arc<str>> = left.chain(held).collect();
        for key in gone {
            // A snapshot does not tell whether the record was deleted or expired.
            let op = ChangeOp::Delete {
                key: name(&key),
                cause: Removal::Unknown,
            };
            let in_state = true;
            ops.push(Entered { key, in_state, op });
        }
        self.index = Some(index);
        ops
    }

    /// Enters an operation into the index.
    fn enter(&mut self, op: ChangeOp) -> Entered {
        let Some(index) = &mut self.index else {
            let key = op.key().into();
            let in_state = true;
            return Entered { key, in_state, op };
        };
        let old = index.remove(op.key()).map(|(key, _)| key);
        let received = old.is_some();
        let key = old.unwrap_or_else(|| op.key().into());
        if let ChangeOp::Put(record) = &op {
            index.insert(key.clone(), Seen::of(record));
        }
        let in_state = self.held.in_state(&key).unwrap_or(received);
        Entered { key, in_state, op }
    }

    /// Asks the target for the update of an operation.
    fn ask(&mut self, key: &Arc<str>, op: ChangeOp) -> Change<T::Action> {
        let (action, refused) = match &op {
            ChangeOp::Delete { .. } => (Some(self.target.delete(key)), None),
            ChangeOp::Put(record) => match self.target.put(key, record) {
                Ok(action) => (Some(action), None),
                Err(_) if self.sealed => (None, Some((record.seq(), SEALED_REASON.to_owned()))),
                Err(reason) => (None, Some((record.seq(), super::one_line(&reason)))),
            },
        };
        Change {
            action,
            refused,
            bytes: op.size(),
            deletes: matches!(op, ChangeOp::Delete { .. }),
            op: self.keep_ops.then_some(op),
        }
    }

    /// Leaves a refused record out: the change removes what the state has under its key.
    fn leave_out(&mut self, key: &Arc<str>, change: &mut Change<T::Action>) {
        let refused = change.refused.take();
        if !self.keeps_records() {
            return;
        }
        match refused {
            None => self.skipped.remove(key),
            Some((seq, reason)) => {
                self.skipped.insert(key.clone(), seq, reason);
                change.action = Some(self.target.delete(key));
            }
        }
    }

    /// Advances what was received to `head`. If the target accepts everything and the table is not
    /// too large, the result is a batch that includes all changes withheld before.
    fn advance(
        &mut self,
        from: u64,
        head: Head,
        ops: Vec<Entered>,
        cause: Cause,
    ) -> Received<T::Action> {
        (self.received, self.digest_known) = (Some(head), true);
        let leaves_out = self.skip_bad_keys || !self.keeps_records();
        let too_large = self.is_too_large();
        let (mut news, mut bad, mut bytes) = (Vec::new(), false, 0);
        let mut changes = Vec::with_capacity(ops.len());
        for Entered { key, in_state, op } in ops {
            let mut change = self.ask(&key, op);
            if news.len() < MAX_NACKS {
                news.extend(refusal(&key, &change));
            }
            if leaves_out {
                self.leave_out(&key, &mut change);
            }
            bad |= change.refused.is_some();
            bytes += change.held_bytes();
            changes.push((key, in_state, change));
        }
        let mut received = Received {
            batch: None,
            news,
            again: None,
        };
        if self.held.is_empty() && !bad && !too_large {
            self.held.clear();
            let changes = changes.into_iter().map(|(.., change)| change);
            self.applied = Some(head);
            received.batch = Some(batch(from, head, cause, changes));
            return received;
        }
        if self.held.is_empty() {
            // A snapshot was in memory anyway. Discarding it would lead to another one of the same
            // size.
            let max = match cause {
                Cause::Txn => self.max_held_bytes,
                Cause::First | Cause::Snapshot { .. } => self.max_held_bytes.saturating_add(bytes),
            };
            self.held.begin(from, cause, max);
        }
        for (key, in_state, change) in changes {
            self.held.add(key, in_state, change);
        }
        if self.refused().is_none() && !too_large {
            if self.held.has_let_go() {
                let why = "what was held back was too much to keep";
                self.distrust(why);
                received.again = Some(why);
            } else {
                self.applied = Some(head);
                let (from, cause, changes) = self.held.take();
                received.batch = Some(batch(from, head, cause, changes));
            }
        }
        received
    }

    /// Begins with a saved copy.
    pub(super) fn restore(&mut self, records: &Records) -> Result<Batch<T::Action>, Refused> {
        let mut changes = Vec::with_capacity(records.len());
        let mut index = Index::with_capacity(records.len());
        self.skipped = Refusals::default();
        for record in records {
            let key: Arc<str> = record.key().into();
            let mut change = self.ask(&key, ChangeOp::Put(record.clone()));
            change.op = None;
            match refusal(&key, &change) {
                Some(refused) if !self.skip_bad_keys => return Err(refused),
                _ => self.leave_out(&key, &mut change),
            }
            changes.push(change);
            index.insert(key, Seen::of(record));
        }
        if self.keeps_records() {
            self.index = Some(index);
        }
        let head = records.head();
        self.held.clear();
        (self.received, self.applied) = (Some(head), Some(head));
        self.digest_known = true;
        let from = head.position.seq;
        Ok(batch(from, head, Cause::First, changes.into_iter()))
    }
}

/// Returns the refusal of a change, if there is one.
fn refusal<A>(key: &str, change: &Change<A>) -> Option<Refused> {
    let (seq, reason) = change.refused.clone()?;
    let key = name(key);
    Some(Refused { key, seq, reason })
}

fn name(key: &str) -> Key {
    Key::new(key).expect("the keys of records were checked when they came in")
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
        actor: None,
        note: None,
    }
}

/// Returns `true` if each record has the right hash and was changed by one of these transactions.
pub(super) fn genuine(ops: &[ChangeOp], from: u64, to: u64, sealed: bool) -> bool {
    ops.iter().all(|op| match op {
        ChangeOp::Put(record) => {
            (from..=to).contains(&record.seq()) && (sealed || record.verify(&Hasher::PLAIN))
        }
        ChangeOp::Delete { .. } => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Category;
    use crate::position::Epoch;
    use crate::value::Value;

    /// Refuses `null`.
    struct NoNull;

    impl Target for NoNull {
        type Action = String;

        fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<String, String> {
            match record.value() {
                b"null" => Err("null".to_owned()),
                _ => Ok(key.to_string()),
            }
        }

        fn delete(&mut self, key: &Arc<str>) -> String {
            format!("-{key}")
        }
    }

    fn put(key: &str, json: &str, seq: u64) -> Record {
        let (key, value) = (name(key), Value::parse(json.as_bytes()).unwrap());
        let (category, at) = (Category::GENERAL, Timestamp::EPOCH);
        Record::new(&key, &value, &category, seq, at, None, &Hasher::PLAIN)
    }

    fn numbered(n: usize) -> Vec<Record> {
        (0..n).map(|n| put(&format!("{n:04}"), "1", 1)).collect()
    }

    fn head(seq: u64, digest: Digest, records: u64) -> Head {
        let (epoch, at) = (Epoch(1), Timestamp::EPOCH);
        Head {
            position: Position { epoch, seq },
            digest,
            records,
            at,
        }
    }

    /// A replica without a state and with a small limit for withheld changes.
    fn content() -> Content<NoNull> {
        let mut content = Content::new(NoNull, true, false, false);
        content.max_held_bytes = 10_000;
        content
    }

    /// A snapshot of these records at `seq`.
    fn load(content: &mut Content<NoNull>, seq: u64, records: &[Record]) -> Received<String> {
        let mut records = records.to_vec();
        records.sort();
        let digest = records.iter().map(Record::hash).collect();
        let head = head(seq, digest, records.len() as u64);
        let mut staging = Staging::new(Epoch(1), None);
        staging.part(1, records).unwrap();
        content.snapshot(staging, head).unwrap()
    }

    fn change(content: &mut Content<NoNull>, ops: Vec<ChangeOp>) -> Received<String> {
        let before = content.received.unwrap();
        let index = content.index.as_ref().unwrap();
        let (digest, records) = index.after(before.digest, before.records, &ops);
        let seq = before.position.seq + 1;
        let head = head(seq, digest, records);
        content.change(seq, head, ops, (None, None)).unwrap()
    }

    fn write(content: &mut Content<NoNull>, key: &str, json: &str) -> Received<String> {
        let seq = content.received.unwrap().position.seq + 1;
        change(content, vec![ChangeOp::Put(put(key, json, seq))])
    }

    fn delete(content: &mut Content<NoNull>, keys: &[&str]) -> Received<String> {
        let gone = keys.iter().map(|key| ChangeOp::delete(name(key)));
        change(content, gone.collect())
    }

    #[test]
    fn what_is_held_back_is_bounded_though_it_has_no_values() {
        let mut content = content();
        load(&mut content, 1, &numbered(1_000));
        assert!(write(&mut content, "x", "null").batch.is_none());
        for record in numbered(1_000) {
            assert!(delete(&mut content, &[record.key()]).batch.is_none());
        }
        let fixed = write(&mut content, "x", "1");
        assert!(fixed.batch.is_none() && fixed.again.is_some());
        assert!(content.has().is_none(), "a snapshot is needed");
        let batch = load(&mut content, 1_003, &[put("x", "1", 1_003)]).batch;
        assert_eq!(batch.unwrap().actions.len(), 1_001);
    }

    #[test]
    fn a_snapshot_that_is_held_back_is_not_loaded_again_for_being_large() {
        let mut content = content();
        let mut records = numbered(1_000);
        records.push(put("x", "null", 1));
        assert!(load(&mut content, 1, &records).batch.is_none());
        let fixed = write(&mut content, "x", "1");
        assert_eq!(fixed.again, None);
        assert_eq!(fixed.batch.unwrap().actions.len(), 1_001);
    }

    #[test]
    fn a_table_that_grows_too_large_is_held_back_until_it_is_small_enough() {
        let mut content = content();
        load(&mut content, 1, &numbered(2));
        content.max_bytes = content.bytes() + 20;
        assert!(write(&mut content, "x", "1").batch.is_some());
        assert!(write(&mut content, "y", r#""0123456789""#).batch.is_none());
        assert!(content.is_too_large() && content.refused().is_none());
        assert_eq!(content.position().unwrap().seq, 2);
        assert!(write(&mut content, "0000", "2").batch.is_none());
        let batch = delete(&mut content, &["x"]).batch.unwrap();
        assert_eq!((batch.from, batch.head.position.seq), (3, 5));
        assert_eq!(batch.actions, ["0000", "-x", "y"]);
        assert!(!content.is_too_large());
    }

    #[test]
    fn a_record_put_and_deleted_while_held_back_leaves_no_trace() {
        let mut content = content();
        load(&mut content, 1, &numbered(1));
        write(&mut content, "new", "null");
        write(&mut content, "other", "1");
        let batch = delete(&mut content, &["new", "other", "0000"]).batch;
        let batch = batch.unwrap();
        assert_eq!((batch.from, batch.actions), (2, vec!["-0000".to_owned()]));
    }
}
