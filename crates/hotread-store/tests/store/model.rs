//! Random sequences of calls against a model of plain maps: after each call, the store, its live tables,
//! its history and its subscribers must agree with the maps.

use crate::common::{self, Scratch, category, key, name, put};
use hotread::HotReadHandle;
use hotread_proto::{
    Category, Change, ChangeOp, Committed, Condition, Digest, Hasher, Key, Op, Position,
    Precondition, Put, Records, Refusal, Replace, Timestamp, Txn, TxnId,
};
use hotread_store::{
    CommitError, History, ReadError, Replaced, Scan, Search, Store, Subscription, Synchronous,
    TableOptions,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

const TABLES: [&str; 3] = ["t0", "t1", "t2"];
const KEYS: [&str; 12] = [
    "a",
    "a/",
    "a/1",
    "a/2",
    "a/20",
    "a0",
    "b",
    "ä",
    "\u{10ffff}",
    "k k",
    "%",
    "\u{fffd}",
];
const CATEGORIES: [&str; 3] = ["general", "one", "two"];

#[derive(Debug, Clone, PartialEq)]
struct Cell {
    value: Vec<u8>,
    category: String,
    expires_at: Option<Timestamp>,
    seq: u64,
}

/// A request, as an id identifies it.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Txn(Vec<Op>, Vec<Precondition>),
    Replace(Vec<Put>),
}

struct Table {
    options: TableOptions,
    at: Position,
    cells: BTreeMap<String, Cell>,
    /// Changes of each transaction, from the first on.
    changes: Vec<BTreeMap<String, Option<Cell>>>,
    digests: Vec<Digest>,
    ids: HashMap<TxnId, (Committed, Asked)>,
    last_with_id: Option<Txn>,
    handle: Option<HotReadHandle<Records>>,
    following: Option<Subscription>,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Change(BTreeMap<String, Option<Cell>>),
    Repeated(Committed),
    Refused(Refusal),
}

impl Table {
    fn digest(&self) -> Digest {
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

    fn expect(&self, id: Option<&TxnId>, asked: &Asked) -> Expected {
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

    fn apply(&mut self, change: BTreeMap<String, Option<Cell>>) {
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

fn of(change: &Change) -> BTreeMap<String, Option<Cell>> {
    let ops = change.ops.iter().map(|op| match op {
        ChangeOp::Put(record) => (op.key().to_owned(), Some(cell(record))),
        ChangeOp::Delete { key, .. } => (key.as_str().to_owned(), None),
    });
    let all: BTreeMap<_, _> = ops.collect();
    assert_eq!(all.len(), change.ops.len(), "each key at most once");
    all
}

fn cell(record: &hotread_proto::Record) -> Cell {
    assert!(record.verify(&Hasher::PLAIN));
    Cell {
        value: record.value().to_vec(),
        category: record.category().to_owned(),
        expires_at: record.expires_at(),
        seq: record.seq(),
    }
}

#[derive(Debug, Clone)]
struct NewCell {
    key: usize,
    /// `None` deletes the record.
    value: Option<u8>,
    category: usize,
    expiry: u8,
}

#[derive(Debug, Clone)]
enum Step {
    Create {
        search: bool,
        short: bool,
    },
    Drop,
    Commit {
        cells: Vec<NewCell>,
        conditions: Vec<(usize, u8)>,
        id: Option<u8>,
    },
    Again,
    Replace {
        cells: Vec<NewCell>,
        id: Option<u8>,
    },
    Handle,
    Follow {
        back: u64,
    },
    Scan {
        prefix: usize,
        after: Option<usize>,
        category: Option<usize>,
        limit: usize,
    },
    Search {
        word: u8,
        prefix: bool,
        category: Option<usize>,
    },
    Reopen,
}

fn cells(up_to: usize) -> impl Strategy<Value = Vec<NewCell>> {
    let cell = (
        0..KEYS.len(),
        prop::option::weighted(0.8, 0..20_u8),
        0..3_usize,
        0..12_u8,
    )
        .prop_map(|(key, value, category, expiry)| NewCell {
            key,
            value,
            category,
            expiry,
        });
    prop::collection::vec(cell, 1..up_to)
}

fn step() -> impl Strategy<Value = Step> {
    let id = || prop::option::weighted(0.3, 0..4_u8);
    prop_oneof![
        2 => any::<(bool, bool)>().prop_map(|(search, short)| Step::Create { search, short }),
        1 => Just(Step::Drop),
        12 => (cells(6), prop::collection::vec((0..KEYS.len(), 0..4_u8), 0..3), id())
            .prop_map(|(cells, conditions, id)| Step::Commit { cells, conditions, id }),
        2 => Just(Step::Again),
        3 => (cells(10), id()).prop_map(|(cells, id)| Step::Replace { cells, id }),
        2 => Just(Step::Handle),
        2 => (0..40_u64).prop_map(|back| Step::Follow { back }),
        3 => (0..5_usize, prop::option::of(0..KEYS.len()), prop::option::of(0..4_usize), 0..6_usize)
            .prop_map(|(prefix, after, category, limit)| Step::Scan { prefix, after, category, limit }),
        2 => (0..6_u8, any::<bool>(), prop::option::of(0..4_usize))
            .prop_map(|(word, prefix, category)| Step::Search { word, prefix, category }),
        1 => Just(Step::Reopen),
    ]
}

fn words(value: u8) -> [String; 2] {
    [format!("w{}", value % 5), format!("w{}", value / 5)]
}

fn long_ago() -> Timestamp {
    Timestamp::from_millis(1_000).unwrap()
}

fn new_put(cell: &NewCell) -> Option<Put> {
    let value = cell.value?;
    let [one, two] = words(value);
    let mut put = put(
        KEYS[cell.key],
        &format!(r#"{{"{one}": ["{two}", {value}]}}"#),
    );
    put.category = category(CATEGORIES[cell.category]);
    put.expires_at = match cell.expiry {
        0 => Some(Timestamp::MAX),
        1 => Some(long_ago()),
        _ => None,
    };
    Some(put)
}

struct World {
    scratch: Scratch,
    store: Option<Store>,
    tables: BTreeMap<&'static str, Table>,
}

impl World {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn open(&mut self) {
        self.store = None;
        let builder = Store::builder(self.scratch.path()).synchronous(Synchronous::Normal);
        self.store = Some(builder.open().unwrap());
    }

    /// Applies the store's own deletions of expired records, up to but without the sequence number
    /// `until`, if given.
    fn absorb(&mut self, table: &'static str, until: Option<u64>) {
        let Some(model) = self.tables.get_mut(table) else {
            return;
        };
        let store = self.store.as_ref().unwrap();
        let changes = store.changes(&name(table), model.at, 1_000).unwrap();
        for change in &changes {
            if until == Some(change.position.seq) {
                break;
            }
            let ops = of(change);
            assert!(!ops.is_empty());
            for (key, new) in &ops {
                let expires_at = model.cells[key].expires_at;
                assert!(new.is_none() && expires_at.is_some_and(|at| at <= change.at));
            }
            model.apply(ops);
        }
    }

    fn ask(&mut self, table: &'static str, id: Option<TxnId>, asked: Asked) {
        self.absorb(table, None);
        let to = name(table);
        let known = self.tables.contains_key(table);
        let result: Result<(Committed, Option<Replaced>), CommitError> = match asked.clone() {
            Asked::Txn(ops, preconditions) => {
                let txn = Txn {
                    id: id.clone(),
                    ops,
                    preconditions,
                    ..Txn::new()
                };
                self.store().commit(&to, txn).map(|done| (done, None))
            }
            Asked::Replace(records) => {
                let new = Replace {
                    id: id.clone(),
                    ..Replace::new(records).unguarded()
                };
                self.store()
                    .replace(&to, new)
                    .map(|done| (done.committed, Some(done)))
            }
        };
        if !known {
            assert_eq!(result, Err(CommitError::UnknownTable { table: to }));
            return;
        }
        let ours = match &result {
            Ok((committed, _)) => Some(committed.position.seq),
            Err(_) => None,
        };
        let model = self.tables.get_mut(table).unwrap();
        if ours.is_some_and(|seq| seq > model.at.seq + 1) {
            self.absorb(table, ours);
        }
        let model = self.tables.get_mut(table).unwrap();
        let expected = model.expect(id.as_ref(), &asked);
        let model = self.tables.get_mut(table).unwrap();
        match expected {
            Expected::Refused(refusal) => {
                assert_eq!(result, Err(CommitError::Refused(refusal)));
            }
            Expected::Repeated(before) => assert_eq!(result.unwrap().0, before),
            Expected::Change(change) => {
                let (committed, replaced) = result.unwrap();
                if let Some(replaced) = replaced {
                    let written = change.values().filter(|new| new.is_some()).count() as u64;
                    assert_eq!(replaced.written, written);
                    assert_eq!(replaced.deleted, change.len() as u64 - written);
                }
                model.apply(change);
                assert_eq!(committed.position, model.at);
                if let Some(id) = id {
                    model.ids.insert(id, (committed, asked));
                }
            }
        }
    }

    fn step(&mut self, table: &'static str, step: &Step) {
        let to = name(table);
        let txn_id = |id: &Option<u8>| id.map(|id| TxnId::new(&format!("id-{id}")).unwrap());
        match step {
            Step::Create { search, short } => {
                let mut options = TableOptions {
                    search: *search,
                    ..TableOptions::default()
                };
                if *short {
                    options.history = History {
                        max_changes: 5,
                        ..History::default()
                    };
                }
                let created = self.store().create_table(&to, options.clone());
                if self.tables.contains_key(table) {
                    assert!(created.is_err());
                    return;
                }
                let at = created.unwrap().position;
                assert_eq!(at.seq, 0);
                self.tables.insert(
                    table,
                    Table {
                        options,
                        at,
                        cells: BTreeMap::new(),
                        changes: Vec::new(),
                        digests: Vec::new(),
                        ids: HashMap::new(),
                        last_with_id: None,
                        handle: None,
                        following: None,
                    },
                );
            }
            Step::Drop => {
                self.absorb(table, None);
                let dropped = self.store().drop_table(&to);
                assert_eq!(dropped.is_ok(), self.tables.contains_key(table));
                if let Some(mut gone) = self.tables.remove(table)
                    && let Some(following) = &mut gone.following
                {
                    while let Ok(change) = following.next(Duration::ZERO) {
                        assert!(change.is_some(), "it is told, and does not wait");
                    }
                }
            }
            Step::Commit {
                cells,
                conditions,
                id,
            } => {
                let ops = cells.iter().map(|cell| match new_put(cell) {
                    Some(put) => Op::Put(put),
                    None => Op::Delete {
                        key: key(KEYS[cell.key]),
                    },
                });
                let model = self.tables.get(table);
                let preconditions = conditions.iter().map(|&(at, kind)| {
                    let seq = model
                        .and_then(|model| model.cells.get(KEYS[at]))
                        .map(|cell| cell.seq);
                    let condition = match (kind, seq) {
                        (0, _) | (_, None) => Condition::Absent,
                        (1, Some(seq)) => Condition::Seq(seq + 1),
                        (_, Some(seq)) => Condition::Seq(seq),
                    };
                    Precondition {
                        key: key(KEYS[at]),
                        condition,
                    }
                });
                let (ops, preconditions): (Vec<_>, Vec<_>) =
                    (ops.collect(), preconditions.collect());
                let id = txn_id(id);
                let txn = Txn {
                    id: id.clone(),
                    ops: ops.clone(),
                    preconditions: preconditions.clone(),
                    ..Txn::new()
                };
                self.ask(table, id.clone(), Asked::Txn(ops, preconditions));
                if let Some(model) = self.tables.get_mut(table)
                    && id.is_some()
                {
                    model.last_with_id = Some(txn);
                }
            }
            Step::Again => {
                if let Some(txn) = self
                    .tables
                    .get(table)
                    .and_then(|model| model.last_with_id.clone())
                {
                    self.ask(table, txn.id, Asked::Txn(txn.ops, txn.preconditions));
                }
            }
            Step::Replace { cells, id } => {
                let records = cells.iter().filter_map(new_put).collect();
                self.ask(table, txn_id(id), Asked::Replace(records));
            }
            Step::Handle => {
                let handle = self.store().handle(&to);
                match self.tables.get_mut(table) {
                    Some(model) => model.handle = Some(handle.unwrap()),
                    None => assert!(matches!(handle, Err(ReadError::UnknownTable { .. }))),
                }
            }
            Step::Follow { back } => {
                self.absorb(table, None);
                let Some(model) = self.tables.get_mut(table) else {
                    return;
                };
                let store = self.store.as_ref().unwrap();
                let from = Position {
                    seq: model.at.seq.saturating_sub(*back),
                    ..model.at
                };
                let floor = store.table_info(&to).unwrap().floor;
                match store.subscribe(&to, from) {
                    Ok(following) => {
                        assert!(from.seq + 1 >= floor);
                        model.following = Some(following);
                    }
                    Err(ReadError::Gone { floor, .. }) => assert!(from.seq + 1 < floor),
                    Err(other) => panic!("{other}"),
                }
                let future = Position {
                    seq: model.at.seq + 1_000,
                    ..model.at
                };
                let error = store.subscribe(&to, future).unwrap_err();
                assert!(matches!(error, ReadError::NeverThere { .. }), "{error}");
            }
            Step::Scan {
                prefix,
                after,
                category,
                limit,
            } => {
                let prefix = ["", "a", "a/", "ä", "z"][*prefix];
                let scan = Scan {
                    prefix: prefix.to_owned(),
                    after: after.map(|at| key(KEYS[at])),
                    category: category
                        .map(|at| common::category(CATEGORIES.get(at).unwrap_or(&"three"))),
                    limit: *limit,
                    ..Scan::default()
                };
                self.absorb(table, None);
                let Some(model) = self.tables.get(table) else {
                    return;
                };
                let page = self.store().scan(&to, &scan).unwrap();
                if page.position != model.at {
                    return; // something has expired just now
                }
                let all: Vec<_> = model
                    .cells
                    .iter()
                    .filter(|(key, cell)| {
                        key.starts_with(prefix)
                            && after.is_none_or(|at| key.as_str() > KEYS[at])
                            && scan
                                .category
                                .as_ref()
                                .is_none_or(|c| c.as_str() == cell.category)
                    })
                    .collect();
                let limit = if *limit == 0 { 100 } else { *limit };
                let found: Vec<_> = page
                    .records
                    .iter()
                    .map(|r| (r.key().to_owned(), cell(r)))
                    .collect();
                let expected: Vec<_> = all
                    .iter()
                    .take(limit)
                    .map(|(key, cell)| ((*key).clone(), (*cell).clone()))
                    .collect();
                assert_eq!(found, expected, "{scan:?}");
                let next = (all.len() > limit).then(|| all[limit - 1].0.clone());
                assert_eq!(page.next.as_ref().map(Key::as_str), next.as_deref());
            }
            Step::Search {
                word,
                prefix,
                category,
            } => {
                let search = Search {
                    query: format!(
                        "W{}{}",
                        if *prefix {
                            String::new()
                        } else {
                            word.to_string()
                        },
                        if *prefix { "*" } else { "" }
                    ),
                    category: category
                        .map(|at| common::category(CATEGORIES.get(at).unwrap_or(&"three"))),
                    limit: 0,
                };
                self.absorb(table, None);
                let Some(model) = self.tables.get(table) else {
                    return;
                };
                let page = self.store().search(&to, &search);
                if !model.options.search {
                    assert!(matches!(page, Err(ReadError::NoSearch { .. })));
                    return;
                }
                let page = page.unwrap();
                if page.position != model.at {
                    return;
                }
                let mut found: Vec<_> = page.records.iter().map(|r| r.key().to_owned()).collect();
                found.sort();
                let wanted = format!("\"w{word}\"");
                let expected: Vec<_> = model
                    .cells
                    .iter()
                    .filter(|(_, cell)| {
                        *prefix || String::from_utf8_lossy(&cell.value).contains(&wanted)
                    })
                    .filter(|(_, cell)| {
                        search
                            .category
                            .as_ref()
                            .is_none_or(|c| c.as_str() == cell.category)
                    })
                    .map(|(key, _)| key.clone())
                    .collect();
                assert_eq!(found, expected, "{search:?}");
            }
            Step::Reopen => {
                for model in self.tables.values_mut() {
                    model.handle = None;
                    model.following = None;
                }
                self.open();
            }
        }
    }

    /// Checks that every way to read the table agrees with the model.
    fn check(&mut self, table: &'static str) {
        let to = name(table);
        let store = self.store.as_ref().unwrap().clone();
        if !self.tables.contains_key(table) {
            assert!(matches!(
                store.table_info(&to),
                Err(ReadError::UnknownTable { .. })
            ));
            return;
        }
        loop {
            self.absorb(table, None);
            let model = self.tables.get_mut(table).unwrap();
            let info = store.table_info(&to).unwrap();
            if info.position != model.at {
                continue; // something has expired just now
            }
            assert_eq!(
                (info.records, info.digest),
                (model.cells.len() as u64, model.digest())
            );
            assert_eq!(info.options, model.options);
            // The history goes back to the floor, and has the expected length.
            let kept = info.position.seq + 1 - info.floor;
            assert!(kept <= model.options.history.max_changes.saturating_add(1_024));
            assert!(model.options.history.max_changes != 5 || kept <= 5);
            assert!(model.options.history.max_changes == 5 || info.floor == 1);
            let from = |seq| Position { seq, ..model.at };
            let changes = store.changes(&to, from(info.floor - 1), 1_000).unwrap();
            let changes: Vec<_> = changes
                .into_iter()
                .take_while(|c| c.position.seq <= model.at.seq)
                .collect();
            assert_eq!(changes.len() as u64, kept);
            for change in changes {
                let seq = change.position.seq as usize;
                assert_eq!(of(&change), model.changes[seq - 1]);
                assert_eq!(change.digest, model.digests[seq - 1]);
            }
            if info.floor > 1 {
                let error = store.changes(&to, from(info.floor - 2), 1).unwrap_err();
                assert!(matches!(error, ReadError::Gone { .. }), "{error}");
            }

            let snapshot = store.snapshot(&to).unwrap();
            assert!(snapshot.verify(&Hasher::PLAIN));
            if snapshot.position() != model.at {
                continue;
            }
            let (cells, digest) = (&model.cells, model.digest());
            let same = |records: &Records| {
                let found: BTreeMap<_, _> = records
                    .iter()
                    .map(|r| (r.key().to_owned(), cell(r)))
                    .collect();
                assert_eq!(&found, cells);
            };
            same(&snapshot);
            if let Some(handle) = &mut model.handle {
                let seen = handle.current();
                if seen.position() != model.at {
                    continue;
                }
                same(seen);
                assert_eq!(seen.digest(), digest);
                handle.quiescent();
            }
            if let Some(mut following) = model.following.take() {
                let mut gone = false;
                while following.position() != model.at {
                    let before = following.position().seq;
                    match following.next(Duration::ZERO) {
                        Ok(Some(change)) => {
                            assert_eq!(
                                change.position,
                                Position {
                                    seq: before + 1,
                                    ..model.at
                                }
                            );
                            assert_eq!(of(&change), model.changes[before as usize]);
                        }
                        Ok(None) => panic!("there is more"),
                        Err(ReadError::Gone { .. }) => {
                            assert!(before + 1 < info.floor);
                            gone = true;
                            break;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
                if !gone {
                    model.following = Some(following);
                }
            }
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_is_a_map_that_remembers(
        steps in prop::collection::vec((0..TABLES.len(), step()), 20..120),
    ) {
        let mut world = World { scratch: Scratch::new(), store: None, tables: BTreeMap::new() };
        world.open();
        world.step(TABLES[0], &Step::Create { search: true, short: false });
        world.step(TABLES[1], &Step::Create { search: false, short: true });
        for (table, step) in &steps {
            let table = TABLES[*table];
            world.step(table, step);
            world.check(table);
        }
        let report = world.store().verify().unwrap();
        prop_assert_eq!(&report.problems, &[""; 0]);
        prop_assert_eq!(report.tables.len(), world.tables.len());
        world.open();
        for table in TABLES {
            if let Some(model) = world.tables.get_mut(table) {
                model.handle = None;
                model.following = None;
            }
            world.check(table);
        }
    }
}

/// The default category is `general`.
#[test]
fn the_first_category_is_the_one_without_a_name() {
    assert_eq!(Category::GENERAL.as_str(), CATEGORIES[0]);
}
