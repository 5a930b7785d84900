//! A store next to its model: each step goes to both, and both must agree.

use crate::common::{self, Scratch, key, name};
use crate::model::{CATEGORIES, KEYS, Step, new_put};
use crate::model_table::{Asked, Expected, Table, cell, of};
use hotread_proto::{
    Committed, Condition, Hasher, Key, Op, Position, Precondition, Records, Replace, Txn, TxnId,
};
use hotread_store::{
    CommitError, History, ReadError, Replaced, Scan, Search, Store, Synchronous, TableOptions,
};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

pub(super) struct World {
    pub(super) scratch: Scratch,
    pub(super) store: Option<Store>,
    pub(super) tables: BTreeMap<&'static str, Table>,
}

impl World {
    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(super) fn open(&mut self) {
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

    pub(super) fn step(&mut self, table: &'static str, step: &Step) {
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
    pub(super) fn check(&mut self, table: &'static str) {
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
