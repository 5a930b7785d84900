//! The table of the simulation: its content, its history, and every state that it ever had.

use crate::rng::Rng;
use hotread::HotReadState;
use hotread_proto::session::{Encoded, Part};
use hotread_proto::{
    Body, ChangeOp, Digest, Entry, Epoch, Existing, Hasher, Head, Key, Op, Outcome, Position, Put,
    Records, Remembered, Replace, TableView, Timestamp, Txn, TxnId, Value, evaluate,
};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Prefix of the values that some types refuse.
pub const POISON: &str = "\"poison";

struct View<'a>(&'a Records);

impl TableView for View<'_> {
    type Error = Infallible;

    fn head(&self) -> Head {
        self.0.head()
    }

    fn hasher(&self) -> &Hasher {
        &Hasher::PLAIN
    }

    fn get(&mut self, key: &Key) -> Result<Option<Existing>, Infallible> {
        Ok(self.0.get(key.as_str()).map(existing))
    }

    fn get_filed(&mut self, key: &Key) -> Result<Option<Existing>, Infallible> {
        self.get(key)
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&str, Existing)) -> Result<(), Infallible> {
        for record in self.0 {
            visit(record.key(), existing(record));
        }
        Ok(())
    }

    fn remembered(&mut self, _: &TxnId) -> Result<Option<Remembered>, Infallible> {
        Ok(None)
    }
}

fn existing(record: &hotread_proto::Record) -> Existing {
    Existing {
        seq: record.seq(),
        hash: record.hash(),
        category: record.category().to_owned(),
        expires_at: record.expires_at(),
    }
}

/// A state that the table had.
pub struct Commit {
    pub parent: Option<usize>,
    pub state: Records,
    pub time: Duration,
    /// Change that led to the state; `None` for the first one of an epoch.
    pub change: Option<Arc<Encoded>>,
}

pub struct Table {
    pub commits: Vec<Commit>,
    /// Indices by epoch, seq and time of the commit.
    ids: HashMap<(Epoch, u64, Timestamp), usize>,
    pub head: usize,
    pub floor: u64,
    /// Changes from the floor on.
    pub history: VecDeque<Arc<Encoded>>,
    /// Parts that were read, for other sessions to use.
    parts: HashMap<(u32, Option<Arc<str>>), Arc<Part>>,
    clock: i64,
    values: u64,
}

impl Table {
    pub fn new() -> Self {
        let mut table = Self {
            commits: Vec::new(),
            ids: HashMap::new(),
            head: 0,
            floor: 1,
            history: VecDeque::new(),
            parts: HashMap::new(),
            clock: 0,
            values: 0,
        };
        table.recreate(Duration::ZERO);
        table
    }

    pub fn state(&self) -> &Records {
        &self.commits[self.head].state
    }

    pub fn now(&self) -> Head {
        self.state().head()
    }

    fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_millis(self.clock).unwrap()
    }

    fn add(&mut self, commit: Commit) {
        let head = commit.state.head();
        let id = (head.position.epoch, head.position.seq, head.at);
        self.ids.insert(id, self.commits.len());
        self.head = self.commits.len();
        self.commits.push(commit);
    }

    /// Returns the index of the state with this head.
    pub fn find(&self, head: &Head) -> Option<usize> {
        let Position { epoch, seq } = head.position;
        self.ids.get(&(epoch, seq, head.at)).copied()
    }

    /// Returns `true` if `old` is the same state as `new`, or one on the way to it.
    pub fn leads_to(&self, old: usize, new: usize) -> bool {
        let mut at = Some(new);
        while let Some(id) = at.filter(|id| *id >= old) {
            if id == old {
                return true;
            }
            at = self.commits[id].parent;
        }
        false
    }

    /// Returns `true` if the state was lost, or is of a table that was dropped.
    pub fn is_dead(&self, id: usize) -> bool {
        !self.leads_to(id, self.head)
    }

    /// Returns the newest state that the table had before `time`.
    pub fn before(&self, time: Duration) -> Option<usize> {
        let behind = self.commits.partition_point(|commit| commit.time < time);
        behind.checked_sub(1)
    }

    pub fn recreate(&mut self, time: Duration) {
        let at = self.tick();
        let epoch = Epoch(self.commits.len() as u64 + 1);
        let position = Position { epoch, seq: 0 };
        let head = Head {
            position,
            digest: Digest::EMPTY,
            records: 0,
            at,
        };
        self.floor = 1;
        self.history.clear();
        self.parts.clear();
        let state = Records::new(head, []);
        self.add(Commit {
            parent: None,
            state,
            time,
            change: None,
        });
    }

    /// Repeats the first transactions of the table that this state is of: the same records under
    /// the same numbers, at other times.
    pub fn replay(&mut self, state: usize, most: usize, time: Duration) {
        let mut changes = Vec::new();
        let mut at = Some(state);
        while let Some(id) = at {
            changes.extend(self.commits[id].change.clone());
            at = self.commits[id].parent;
        }
        for change in changes.iter().rev().take(most) {
            let mut txn = Txn::new();
            for op in &change.change().ops {
                txn = match op {
                    ChangeOp::Put(record) => {
                        let value = Value::parse(record.value()).unwrap();
                        txn.put(Put::new(Key::new(record.key()).unwrap(), value))
                    }
                    ChangeOp::Delete { key, .. } => txn.delete(key.clone()),
                };
            }
            if !txn.ops.is_empty() {
                self.commit(Body::Txn(txn), time);
            }
        }
    }

    /// Loses the last commits without notice.
    pub fn lose(&mut self, mut last: u64) {
        self.parts.clear();
        while last > 0 && self.history.pop_back().is_some() {
            self.head = self.commits[self.head].parent.unwrap();
            last -= 1;
        }
    }

    pub fn forget_parts(&mut self) {
        self.parts.clear();
    }

    pub fn commit(&mut self, body: Body, time: Duration) {
        let entry = Entry {
            at: self.tick(),
            actor: None,
            body,
        };
        let outcome = evaluate(&mut View(self.state()), &entry).unwrap();
        let Outcome::Committed(change) = outcome else {
            panic!("{outcome:?}")
        };
        let change = Arc::new(change);
        let mut state = self.state().clone();
        state.apply_update(&change);
        let change = Arc::new(Encoded::new(change));
        self.history.push_back(change.clone());
        self.add(Commit {
            parent: Some(self.head),
            state,
            time,
            change: Some(change),
        });
    }

    pub fn trim(&mut self, keep: usize, pinned: u64) {
        while self.history.len() > keep && self.floor <= pinned {
            self.history.pop_front();
            self.floor += 1;
        }
    }

    /// Returns the changes after `after`; `None` if the history does not have them.
    pub fn changes(&self, after: u64, most: usize) -> Option<Vec<Arc<Encoded>>> {
        let skip = (after + 1).checked_sub(self.floor)?;
        Some(
            self.history
                .iter()
                .skip(skip as usize)
                .take(most)
                .cloned()
                .collect(),
        )
    }

    pub fn digest_at(&self, at: Position) -> Option<Digest> {
        if at == self.now().position {
            return Some(self.now().digest);
        }
        let changes = self.changes(at.seq.checked_sub(1)?, 1)?;
        let change = changes.first()?.change();
        (change.position == at).then_some(change.digest)
    }

    pub fn part(&mut self, number: u32, after: Option<Arc<str>>, not_before: u64) -> Arc<Part> {
        let id = (number, after);
        if let Some(part) = self.parts.get(&id)
            && part.head().position.seq + 1 >= self.floor
            && part.head().position.seq >= not_before
        {
            return part.clone();
        }
        let part = Arc::new(Part::read(self.state(), number, id.1.as_deref()));
        self.parts.insert(id, part.clone());
        part
    }

    // ---- what happens to it ----

    fn value(&mut self, start: &str, bytes: u64) -> Value {
        self.values += 1;
        let padding = "x".repeat(bytes as usize);
        Value::string(&format!("{start}-{}-{padding}", self.values)).unwrap()
    }

    fn key(rng: &mut Rng) -> Key {
        Key::new(&format!("k{:02}", rng.below(24))).unwrap()
    }

    fn put(&mut self, rng: &mut Rng, poison: bool) -> Put {
        let start = if poison { "poison" } else { "fine" };
        let bytes = rng.below(300);
        Put::new(Self::key(rng), self.value(start, bytes))
    }

    pub fn random_txn(&mut self, rng: &mut Rng, time: Duration) {
        let poison = rng.one_in(12);
        let mut txn = Txn::new();
        for n in 0..=rng.below(4) {
            txn = if rng.one_in(3) && !poison {
                txn.delete(Self::key(rng))
            } else {
                txn.put(self.put(rng, poison && n == 0))
            };
        }
        self.commit(Body::Txn(txn), time);
    }

    pub fn random_replace(&mut self, rng: &mut Rng, large: bool, time: Duration) {
        let keys: BTreeSet<String> = (0..rng.below(20)).map(|n| format!("k{n:02}")).collect();
        let mut records: Vec<Put> = Vec::new();
        for key in keys {
            let value = self.value("fine", rng.below(100));
            records.push(Put::new(Key::new(&key).unwrap(), value));
        }
        if large {
            for n in 0..3 {
                let value = self.value("fine", 300_000);
                records.push(Put::new(Key::new(&format!("large{n}")).unwrap(), value));
            }
        }
        self.commit(Body::Replace(Replace::new(records).unguarded()), time);
    }

    /// Fixes values that some types refuse: one key or all.
    pub fn fix(&mut self, rng: &mut Rng, all: bool, time: Duration) -> bool {
        let state = self.state();
        let poisoned = state
            .iter()
            .filter(|record| record.value().starts_with(POISON.as_bytes()));
        let mut keys: Vec<Key> = poisoned
            .map(|record| Key::new(record.key()).unwrap())
            .collect();
        if keys.is_empty() {
            return false;
        }
        if !all {
            keys = vec![keys.swap_remove(rng.below(keys.len() as u64) as usize)];
        }
        let mut txn = Txn::new();
        for key in keys {
            let op = match rng.one_in(2) {
                true => Op::Delete { key },
                false => Op::Put(Put::new(key, self.value("fine", 3))),
            };
            txn.ops.push(op);
        }
        self.commit(Body::Txn(txn), time);
        true
    }
}
