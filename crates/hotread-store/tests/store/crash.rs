//! A workload whose transactions can be recognized by their traces, and the check of a database after a
//! crash: acknowledged transactions are present, no transaction is partial, and a retry applies nothing
//! twice.
use crate::common::{Scratch, key, name, put};
use hotread_faultfs::Disk;
use hotread_proto::{
    Change, ChangeOp, Committed, Digest, Hasher, Head, Position, Put, Records, Replace, Txn, TxnId,
};
use hotread_store::{CommitError, History, MAX_CHANGES, Store, TableInfo, TableOptions};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Returns the extent of a sweep: `all` before a release, when `HOTREAD_EVERY` is set, else `some`.
pub fn every<T>(all: T, some: T) -> T {
    match std::env::var_os("HOTREAD_EVERY") {
        Some(_) => all,
        None => some,
    }
}

/// Tables with the whole history, with a search index, with a short history, and with replacements.
pub const TABLES: [&str; 4] = ["plain", "search", "short", "whole"];
const SHORT: usize = 2;
pub const WHOLE: usize = 3;
/// Changes that the table `short` keeps.
const SHORT_HISTORY: u64 = 20;

/// A transaction of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    pub table: usize,
    pub worker: usize,
    /// Number of the transaction among those of its worker.
    pub n: u64,
    /// Padding of each value, in bytes.
    pub pad: usize,
}

impl Spec {
    /// Returns the mark of its values, which differs from all others.
    pub fn marker(&self) -> String {
        format!("{}-{}", self.worker, self.n)
    }

    pub fn id(&self) -> TxnId {
        TxnId::new(&self.marker()).unwrap()
    }

    fn json(&self) -> String {
        let pad = "x".repeat(self.pad);
        format!(r#"{{"txn":"{}","pad":"{pad}"}}"#, self.marker())
    }

    /// Returns two records that must agree, and one that every other transaction deletes.
    pub fn txn(&self) -> Txn {
        let [a, b, x] = ["a", "b", "x"].map(|part| format!("{}/{part}", self.worker));
        let json = self.json();
        let txn = Txn::new()
            .id(self.id())
            .put(put(&a, &json))
            .put(put(&b, &json));
        if self.n.is_multiple_of(2) {
            txn.put(put(&x, &json))
        } else {
            txn.delete(key(&x))
        }
    }

    pub fn replace(&self) -> Replace {
        let records: Vec<Put> = (0..8 + self.n % 5)
            .map(|at| put(&format!("{at}"), &self.json()))
            .collect();
        Replace {
            id: Some(self.id()),
            ..Replace::new(records).unguarded()
        }
    }

    pub fn commit(&self, store: &Store) -> Result<Committed, CommitError> {
        let table = name(TABLES[self.table]);
        if self.table == WHOLE {
            store.replace(&table, self.replace()).map(|r| r.committed)
        } else {
            store.commit(&table, self.txn())
        }
    }
}

pub type Acked = (Spec, Committed);

/// Transactions that were begun, and those that were acknowledged.
#[derive(Default)]
pub struct Ledger {
    begun: Mutex<Vec<Spec>>,
    acked: Mutex<Vec<Acked>>,
    count: AtomicUsize,
}

impl Ledger {
    pub fn begin(&self, spec: Spec) {
        self.begun.lock().unwrap().push(spec);
    }

    pub fn ack(&self, spec: Spec, committed: Committed) {
        let mut acked = self.acked.lock().unwrap();
        acked.push((spec, committed));
        self.count.store(acked.len(), Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub fn begun(&self) -> Vec<Spec> {
        self.begun.lock().unwrap().clone()
    }

    pub fn acked(&self) -> Vec<Acked> {
        self.acked.lock().unwrap().clone()
    }
}

pub fn create_tables(store: &Store) {
    for (at, table) in TABLES.iter().enumerate() {
        let mut history = History::default();
        if at == SHORT {
            history.max_changes = SHORT_HISTORY;
        }
        let options = TableOptions {
            search: at == 1,
            history,
            ..TableOptions::default()
        };
        store.create_table(&name(table), options).unwrap();
    }
}

/// Commits the transactions of one worker, some of them in flight together, until all are done or one
/// fails.
pub fn work(store: &Store, ledger: &Ledger, worker: usize, ns: std::ops::Range<u64>, pad: usize) {
    let mut ns = ns.peekable();
    while ns.peek().is_some() {
        let mut tickets = Vec::new();
        for n in ns.by_ref().take(1 + worker) {
            let table = match n % 5 {
                4 if worker == 0 => WHOLE,
                n => n as usize % 3,
            };
            let spec = Spec {
                table,
                worker,
                n,
                pad,
            };
            ledger.begin(spec);
            if table == WHOLE {
                match spec.commit(store) {
                    Ok(committed) => ledger.ack(spec, committed),
                    Err(_) => return,
                }
            } else {
                match store.submit(&name(TABLES[table]), spec.txn()) {
                    Ok(ticket) => tickets.push((spec, ticket)),
                    Err(_) => return,
                }
            }
        }
        for (spec, ticket) in tickets {
            match ticket.wait() {
                Ok(committed) => ledger.ack(spec, committed),
                Err(_) => return,
            }
        }
    }
}

/// Returns the transaction that wrote a value.
pub fn marker_of(json: &[u8]) -> String {
    let json = std::str::from_utf8(json).unwrap();
    let start = json.find(r#""txn":""#).expect("every value has its marker") + 7;
    json[start..].split('"').next().unwrap().to_owned()
}

/// Returns the transaction that made a change, whose values must agree.
fn marker_of_change(table: usize, change: &Change) -> String {
    let mut markers: Vec<String> = change
        .ops
        .iter()
        .filter_map(|op| match op {
            ChangeOp::Put(record) => Some(marker_of(record.value())),
            ChangeOp::Delete { .. } => None,
        })
        .collect();
    let least = if table == WHOLE { 8 } else { 2 };
    assert!(markers.len() >= least, "half a transaction: {change:?}");
    markers.dedup();
    assert_eq!(markers.len(), 1, "two transactions in one: {change:?}");
    markers.remove(0)
}

/// Checks that the records of each transaction agree.
pub fn check_whole(table: usize, records: &Records) {
    if table == WHOLE {
        let mut markers: Vec<String> = records.iter().map(|r| marker_of(r.value())).collect();
        let len = markers.len() as u64;
        markers.dedup();
        assert!(markers.len() <= 1, "a replacement in half: {markers:?}");
        if let Some(marker) = markers.first() {
            let n: u64 = marker.split('-').next_back().unwrap().parse().unwrap();
            assert_eq!(len, 8 + n % 5, "a replacement in half: {marker}");
        }
        return;
    }
    for record in records {
        let (worker, part) = record.key().split_once('/').unwrap();
        if part != "a" {
            continue;
        }
        let get = |part: &str| records.get(&format!("{worker}/{part}"));
        let b = get("b").expect("half a transaction");
        assert_eq!(record.value(), b.value(), "half a transaction");
        assert_eq!(record.seq(), b.seq(), "half a transaction");
        let marker = marker_of(record.value());
        let n: u64 = marker.split('-').next_back().unwrap().parse().unwrap();
        let x = get("x").map(|x| x.value().to_vec());
        let expected = n.is_multiple_of(2).then(|| record.value().to_vec());
        assert_eq!(x, expected, "half a transaction");
    }
}

pub fn same(a: &Records, b: &Records) -> bool {
    a.head() == b.head()
        && a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (a.key(), a.seq(), a.value(), a.hash()) == (b.key(), b.seq(), b.value(), b.hash())
        })
}

/// Returns all changes that the history has.
pub fn history(store: &Store, info: &TableInfo) -> Vec<Change> {
    let mut from = Position {
        epoch: info.position.epoch,
        seq: info.floor - 1,
    };
    let mut all: Vec<Change> = Vec::new();
    loop {
        let changes = store.changes(&info.name, from, MAX_CHANGES).unwrap();
        let Some(last) = changes.last() else {
            assert_eq!(from, info.position, "the history ends early");
            return all;
        };
        for (at, change) in changes.iter().enumerate() {
            assert_eq!(change.position.seq, from.seq + 1 + at as u64, "a gap");
        }
        from = last.position;
        all.extend(changes);
    }
}

/// Sequence number of each transaction of a table, by its marker; and the first one that is known.
pub struct Found {
    pub at: HashMap<String, u64>,
    pub info: TableInfo,
    pub digests: HashMap<u64, Digest>,
}

/// Checks a table against its own history.
pub fn examine(store: &Store, table: usize) -> Found {
    let info = store.table_info(&name(TABLES[table])).unwrap();
    let changes = history(store, &info);
    let mut at = HashMap::new();
    for change in &changes {
        let before = at.insert(marker_of_change(table, change), change.position.seq);
        assert_eq!(before, None, "applied twice: {change:?}");
    }
    let records = store.snapshot(&info.name).unwrap();
    assert!(records.verify(&Hasher::PLAIN));
    assert_eq!(records.position(), info.position);
    assert_eq!(records.digest(), info.digest);
    check_whole(table, &records);
    let digests = changes
        .iter()
        .map(|change| (change.position.seq, change.digest))
        .collect();
    if info.floor == 1 {
        // The model that the changes produce must equal the table.
        let head = Head {
            position: Position {
                seq: 0,
                ..info.position
            },
            digest: Digest::EMPTY,
            records: 0,
            at: info.created_at,
        };
        let mut model = Records::new(head, []);
        for change in changes {
            hotread::HotReadState::apply_update(&mut model, &Arc::new(change));
        }
        assert!(same(&model, &records), "the history is not the table's");
    } else {
        assert!(info.position.seq + 1 - info.floor <= SHORT_HISTORY + SHORT_HISTORY / 16);
    }
    Found { at, info, digests }
}

pub fn check_verify(store: &Store) {
    let report = store.verify().unwrap();
    assert_eq!(report.problems, [] as [String; 0]);
}

/// Checks a database after a crash or a power failure, and returns the number of acknowledged
/// transactions that are lost. Then retries each transaction that may be missing, and checks that each
/// is present once.
pub fn judge(store: &Store, acked: &[Acked], begun: &[Spec]) -> usize {
    check_verify(store);
    let found = [0, 1, 2, 3].map(|table| examine(store, table));
    let known: HashMap<String, &Spec> = begun.iter().map(|spec| (spec.marker(), spec)).collect();
    for (table, found) in found.iter().enumerate() {
        for marker in found.at.keys() {
            let spec = known.get(marker).expect("a transaction that was begun");
            assert_eq!(spec.table, table);
        }
    }
    let mut lost = 0;
    for (spec, committed) in acked {
        let Found { at, info, .. } = &found[spec.table];
        let Position { epoch, seq } = committed.position;
        assert_eq!(epoch, info.position.epoch);
        if seq < info.floor {
            continue;
        }
        match at.get(&spec.marker()) {
            Some(there) => assert_eq!(*there, seq, "{spec:?} has moved"),
            None => {
                assert!(
                    seq > info.position.seq,
                    "{spec:?} was acknowledged at {seq}, and another one is there"
                );
                lost += 1;
            }
        }
    }
    // The live tables must equal those on disk.
    for info in found.iter().map(|found| &found.info) {
        let disk = store.snapshot(&info.name).unwrap();
        let mut live = store.handle(&info.name).unwrap();
        assert!(same(live.current(), &disk));
    }
    // Retries: a transaction that is present is not applied a second time.
    let acknowledged: HashMap<Spec, u64> = acked
        .iter()
        .map(|(spec, committed)| (*spec, committed.position.seq))
        .collect();
    let recent = acked.len().saturating_sub(10);
    let recent: Vec<Spec> = acked[recent..].iter().map(|(spec, _)| *spec).collect();
    for spec in begun {
        let was_lost = || !found[spec.table].at.contains_key(&spec.marker());
        if acknowledged.contains_key(spec) && !recent.contains(spec) && (lost == 0 || !was_lost()) {
            continue;
        }
        let known = found[spec.table].at.get(&spec.marker());
        let again = spec.commit(store).unwrap().position.seq;
        match known.or(acknowledged.get(spec).filter(|_| lost == 0)) {
            Some(seq) => assert_eq!(again, *seq, "{spec:?} was applied twice"),
            None if found[spec.table].info.floor > 1 => {}
            None => assert!(again > found[spec.table].info.position.seq),
        }
    }
    check_verify(store);
    for (table, before) in found.iter().enumerate() {
        let found = examine(store, table);
        // The past is unchanged.
        for (seq, digest) in &found.digests {
            assert!(
                before
                    .digests
                    .get(seq)
                    .is_none_or(|before| before == digest)
            );
        }
        for spec in begun.iter().filter(|spec| spec.table == table) {
            assert!(found.info.floor > 1 || found.at.contains_key(&spec.marker()));
        }
        let disk = store.table_info(&found.info.name).unwrap();
        let mut live = store.handle(&found.info.name).unwrap();
        let begun = Instant::now();
        // The maintainer may be publishing the state at this moment.
        while live.current().position().seq < disk.position.seq {
            assert!(begun.elapsed() < Duration::from_secs(600), "not visible");
            std::thread::yield_now();
        }
        assert_eq!(live.current().position(), disk.position);
        assert_eq!(live.current().digest(), disk.digest);
    }
    lost
}

/// Returns the same disk under another path: names on the simulated disk are paths, and each run has its
/// own.
pub fn moved(disk: &Disk, scratch: &Scratch) -> Disk {
    let there = Disk::new();
    for (from, _) in disk.files() {
        let suffix = from.rsplit_once("test.db").unwrap().1;
        let to = format!("{}{suffix}", scratch.path().to_str().unwrap());
        there.write(&to, disk.read(&from).unwrap());
    }
    there
}
