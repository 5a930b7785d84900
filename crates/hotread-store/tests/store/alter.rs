//! Tables whose options change while they are in use.

use crate::common::{Scratch, key, name, put, value};
use hotread_proto::{ChangeOp, Code, Position, Refusal, Replace, Search, TableName, Txn};
use hotread_store::{
    Alter, CommitError, MAX_CHANGES, MAX_PAGE, Passphrase, Store, TableError, TableOptions,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = crate::common::HANG;
const NUMBERS: &str = r#"{"type":"number"}"#;

fn numbers() -> Alter {
    Alter::new().schema(value(NUMBERS))
}

/// Returns the key of the record that does not fit.
fn misfit(error: &TableError) -> &str {
    match error {
        TableError::Commit(CommitError::Schema { key, .. }) => key.as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_schema_is_checked_against_what_is_there() {
    let scratch = Scratch::new();
    let table = name("t");
    {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        let txn = Txn::new().put(put("a", "1")).put(put("b", r#""two""#));
        store.commit(&table, txn).unwrap();
        let before = store.table_info(&table).unwrap();

        let error = store.alter(&table, &numbers()).unwrap_err();
        assert_eq!((misfit(&error), error.code()), ("b", Code::SchemaViolation));
        assert_eq!(store.table_info(&table).unwrap(), before);
        let txn = Txn::new().put(put("c", r#""three""#));
        store.commit(&table, txn).unwrap();

        let txn = Txn::new().put(put("b", "2")).delete(key("c"));
        let committed = store.commit(&table, txn).unwrap();
        let info = store.alter(&table, &numbers()).unwrap();
        assert_eq!(info.options.schema, Some(value(NUMBERS)));
        assert_eq!(info.position, committed.position, "it is no transaction");
        assert_eq!(store.table_info(&table).unwrap(), info);
    }
    let store = scratch.open();
    let text = || Txn::new().put(put("a", r#""one""#));
    let refused = store.commit(&table, text()).unwrap_err();
    assert_eq!(refused.code(), Code::SchemaViolation);
    store.alter(&table, &Alter::new().no_schema()).unwrap();
    store.commit(&table, text()).unwrap();
}

#[test]
fn what_makes_no_table_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    let unknown = store.alter(&table, &Alter::new()).unwrap_err();
    assert_eq!(unknown.code(), Code::UnknownTable);
    let made = store.create_table(&table, TableOptions::default()).unwrap();
    let wrong = Alter::new().schema(value(r#"{"type":"nothing"}"#));
    assert_eq!(
        store.alter(&table, &wrong).unwrap_err().code(),
        Code::InvalidOptions
    );
    assert_eq!(store.alter(&table, &Alter::new()).unwrap(), made);
    let reader = Store::builder(scratch.path()).read_only(true).open();
    let error = reader.unwrap().alter(&table, &numbers()).unwrap_err();
    assert_eq!(error.code(), Code::ReadOnly);
}

#[test]
fn readers_and_subscribers_of_an_altered_table_stay() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    let made = store.create_table(&table, TableOptions::default()).unwrap();
    let mut handle = store.handle(&table).unwrap();
    let mut subscription = store.subscribe(&table, made.position).unwrap();
    let other_process = Store::builder(scratch.path()).read_only(true).open();
    let other_process = other_process.unwrap();
    let from_outside = other_process.subscribe(&table, made.position);
    drop(from_outside);
    other_process.get(&table, &key("a")).unwrap();

    let info = store.alter(&table, &numbers().max_changes(7)).unwrap();
    let committed = store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    assert_eq!(committed.position.epoch, made.position.epoch);
    assert_eq!(handle.current().position(), committed.position);
    let change = subscription.next(PATIENCE).unwrap().unwrap();
    assert_eq!(change.position, committed.position);
    let seen = other_process.table_info(&table).unwrap();
    assert_eq!(seen.options, info.options);
    assert!(other_process.get(&table, &key("a")).unwrap().is_some());
}

#[test]
fn a_shorter_history_is_trimmed() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let write = || {
        let txn = Txn::new().put(put("a", "1"));
        store.commit(&table, txn).unwrap();
        let info = store.table_info(&table).unwrap();
        info.position.seq + 1 - info.floor
    };
    assert!((1..=50).all(|n| write() == n));
    store.alter(&table, &Alter::new().max_changes(10)).unwrap();
    assert!((0..50).any(|_| write() == 10));
    assert_eq!(write(), 10);
}

#[test]
fn a_sealed_table_is_altered_and_rekeyed() {
    let scratch = Scratch::new();
    let store = |passphrase: &str| -> Store {
        let builder =
            Store::builder(scratch.path()).passphrase(Passphrase::new(passphrase).unwrap());
        builder.open().unwrap()
    };
    let table = name("t");
    let options = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    {
        let store = store("the first passphrase");
        store.create_table(&table, options).unwrap();
        let secret = Txn::new().put(put("a", r#""a secret""#));
        store.commit(&table, secret).unwrap();
        let error = store.alter(&table, &numbers()).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
        store.alter(&table, &numbers()).unwrap();
        let next = Passphrase::new("the second passphrase").unwrap();
        let rekeyed = store.rekey(&table, &next).unwrap();
        assert_eq!(rekeyed.options.schema, Some(value(NUMBERS)));
    }
    let store = store("the second passphrase");
    assert!(store.get(&table, &key("a")).unwrap().is_some());
    let text = Txn::new().put(put("a", r#""one""#));
    let refused = store.commit(&table, text).unwrap_err();
    assert_eq!(refused.code(), Code::SchemaViolation);
}

/// Stops threads, however a test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Values that do not fit are written between the check of the table and the alteration, and are
/// accepted before the alteration to be committed after it.
#[test]
fn no_value_slips_past_an_alteration() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let stop = AtomicBool::new(false);
    let (mut altered, mut met) = (0, 0);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for writer in 0..3 {
            let (store, table, stop) = (&store, &table, &stop);
            scope.spawn(move || {
                let record = format!("k{writer}");
                while !stop.load(Relaxed) {
                    for json in ["1", r#""text""#, "2"] {
                        let txn = Txn::new().put(put(&record, json));
                        match store.commit(table, txn) {
                            Ok(_) => {}
                            Err(error) => assert_eq!(error.code(), Code::SchemaViolation),
                        }
                    }
                }
            });
        }
        while altered < 30 {
            let at = match store.alter(&table, &numbers()) {
                Ok(info) => info.position,
                Err(error) => {
                    assert!(misfit(&error).starts_with('k'));
                    met += 1;
                    continue;
                }
            };
            altered += 1;
            // Submitted after the alteration has returned.
            store
                .commit(&table, Txn::new().put(put("last", "0")))
                .unwrap();
            let mut last = BTreeMap::new();
            // Each writer rewrites its record continually: within the last 200 transactions, each record
            // appears.
            let seq = at.seq.saturating_sub(200);
            let around = store.changes(&table, Position { seq, ..at }, MAX_CHANGES);
            for change in around.unwrap() {
                let ChangeOp::Put(record) = &change.ops[0] else {
                    panic!("nothing is deleted")
                };
                let fits = record.value() != br#""text""#;
                assert!(
                    fits || change.position.seq <= at.seq,
                    "written after the alteration"
                );
                if change.position.seq <= at.seq {
                    last.insert(record.key().to_owned(), fits);
                }
            }
            assert!(
                last.values().all(|fits| *fits),
                "there before the alteration"
            );
            store.alter(&table, &Alter::new().no_schema()).unwrap();
        }
    });
    assert!(met > 0, "writers and alterations never met");
}

#[test]
fn replacements_go_on_while_their_table_is_altered() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            for round in 0.. {
                if stop.load(Relaxed) {
                    break;
                }
                let alter = match round % 2 {
                    0 => numbers(),
                    _ => Alter::new().no_schema(),
                };
                store.alter(&table, &alter).unwrap();
            }
        });
        for round in 0..200 {
            let json = round.to_string();
            let records = (0..20).map(|n| put(&format!("k{n}"), &json));
            match store.replace(&table, Replace::new(records.collect())) {
                Ok(_) | Err(CommitError::Refused(Refusal::Outdated)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    });
}

fn search(store: &Store, table: &TableName, query: &str) -> Vec<String> {
    let search = Search {
        query: query.to_owned(),
        ..Search::default()
    };
    let found = store.search(table, &search).unwrap().records;
    found.iter().map(|record| record.key().to_owned()).collect()
}

/// More records than are indexed in one step.
const MANY: usize = 2_500;

fn many(store: &Store, table: &TableName) {
    store.create_table(table, TableOptions::default()).unwrap();
    let records: Vec<_> = (0..MANY)
        .map(|n| put(&format!("k{n:04}"), r#""old""#))
        .collect();
    for records in records.chunks(500) {
        let txn = records.iter().cloned().fold(Txn::new(), Txn::put);
        store.commit(table, txn).unwrap();
    }
}

#[test]
fn an_index_is_built_while_others_write() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    many(&store, &table);
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let _stop = Stop(&stop);
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !stop.load(Relaxed) && written < MANY / 2 {
                // Before and after the place that the index has reached.
                let txn = Txn::new()
                    .put(put(&format!("k{written:04}"), r#""new""#))
                    .delete(key(&format!("k{:04}", MANY - 1 - written)));
                store.commit(&table, txn).unwrap();
                written += 1;
            }
            written
        });
        let info = store.alter(&table, &Alter::new().search(true)).unwrap();
        assert!(info.options.search);
        stop.store(true, Relaxed);
        writer.join().unwrap()
    });
    assert_eq!(search(&store, &table, "k0000").len(), 1);
    let found = |query: &str| {
        let search = Search {
            query: query.to_owned(),
            limit: MAX_PAGE,
            ..Search::default()
        };
        store.search(&table, &search).unwrap().records.len()
    };
    let page = MAX_PAGE;
    assert_eq!(found("new"), written.min(page));
    assert_eq!(found("old"), (MANY - 2 * written).min(page));
    store
        .commit(&table, Txn::new().put(put("k0000", r#""newest""#)))
        .unwrap();
    assert_eq!(search(&store, &table, "newest"), ["k0000"]);
    assert_eq!(store.verify().unwrap().problems, Vec::<String>::new());
}

#[test]
fn an_index_is_taken_away_and_built_again() {
    let scratch = Scratch::new();
    let table = name("t");
    {
        let store = scratch.open();
        many(&store, &table);
        for _ in 0..2 {
            store.alter(&table, &Alter::new().search(true)).unwrap();
            assert_eq!(search(&store, &table, "k0007"), ["k0007"]);
            let info = store.alter(&table, &Alter::new().search(false)).unwrap();
            assert!(!info.options.search);
            let query = Search {
                query: "k0007".to_owned(),
                ..Search::default()
            };
            let error = store.search(&table, &query).unwrap_err();
            assert_eq!(error.code(), Code::NoSearch);
        }
    }
    assert_eq!(parts_of_indexes(&scratch), 0);
}

/// Counts the rows and tables of search indexes in a file, the remains of deleted ones included.
fn parts_of_indexes(scratch: &Scratch) -> i64 {
    let db = rusqlite::Connection::open(scratch.path()).unwrap();
    let sql = "SELECT (SELECT count(*) FROM search_rows) + (SELECT count(*) FROM sqlite_master
               WHERE name GLOB 'search_[0-9]*' OR name GLOB 'dropped_*')";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn an_alteration_that_is_refused_leaves_no_index() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let (table, taken) = (name("t"), name("taken"));
    store.create_table(&taken, TableOptions::default()).unwrap();
    store.create_table(&table, TableOptions::default()).unwrap();
    let text = Txn::new().put(put("a", r#""text""#));
    store.commit(&table, text).unwrap();
    let before = store.table_info(&table).unwrap();
    let search = || Alter::new().search(true);
    for (alter, code) in [
        (search().rename(taken.clone()), Code::TableExists),
        (search().schema(value(NUMBERS)), Code::SchemaViolation),
        (
            search().schema(value(r#"{"type":"nothing"}"#)),
            Code::InvalidOptions,
        ),
    ] {
        assert_eq!(store.alter(&table, &alter).unwrap_err().code(), code);
        assert_eq!(store.table_info(&table).unwrap(), before);
        assert_eq!(parts_of_indexes(&scratch), 0, "{code}");
    }
    // Records that are written afterwards do not go into an index.
    let text = Txn::new().put(put("b", r#""text""#));
    store.commit(&table, text).unwrap();
    assert_eq!(parts_of_indexes(&scratch), 0);
}

/// A record that the new schema refuses is written while the index is built, after the first check.
#[test]
fn an_index_is_given_up_where_the_schema_is_refused_late() {
    /// Attempts to write between the beginning and the end of building.
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let scratch = Scratch::new();
        let store = scratch.open();
        let table = name("t");
        many(&store, &table);
        let texts = Alter::new()
            .search(true)
            .schema(value(r#"{"type":"string"}"#));
        let altered = thread::scope(|scope| {
            let altering = scope.spawn(|| store.alter(&table, &texts));
            while parts_of_indexes(&scratch) == 0 && !altering.is_finished() {}
            let written = store.commit(&table, Txn::new().put(put("k", "1")));
            let altered = altering.join().unwrap();
            assert_ne!(written.is_ok(), altered.is_ok(), "{written:?} {altered:?}");
            altered
        });
        let Err(error) = altered else { continue };
        assert_eq!(misfit(&error), "k");
        assert_eq!(parts_of_indexes(&scratch), 0);
        store.commit(&table, Txn::new().put(put("l", "2"))).unwrap();
        assert_eq!(parts_of_indexes(&scratch), 0);
        return;
    }
    panic!("nothing was written while the index was built");
}

/// The state that a process leaves if it ends during the building of an index.
#[test]
fn what_is_left_of_an_unfinished_index_is_cleared() {
    let scratch = Scratch::new();
    let table = name("t");
    many(&scratch.open(), &table);
    {
        let db = rusqlite::Connection::open(scratch.path()).unwrap();
        db.execute_batch(
            "CREATE VIRTUAL TABLE search_1 USING fts5 (
                 words, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
             );
             INSERT INTO search_rows (id, table_id, key) VALUES (1, 1, 'k0001');
             INSERT INTO search_1 (rowid, words) VALUES (1, 'stale');",
        )
        .unwrap();
    }
    let store = scratch.open();
    // The index is removed, and not in the way.
    store
        .commit(&table, Txn::new().put(put("k0001", "1")))
        .unwrap();
    store.alter(&table, &Alter::new().search(true)).unwrap();
    assert_eq!(search(&store, &table, "stale"), Vec::<String>::new());
    assert_eq!(search(&store, &table, "k0001"), ["k0001"]);
    store.drop_table(&table).unwrap();
    store.create_table(&table, TableOptions::default()).unwrap();
}

#[test]
fn a_renamed_table_keeps_its_records_and_its_position() {
    let scratch = Scratch::new();
    let (old, new) = (name("t"), name("u"));
    let rename = Alter::new().rename(new.clone());
    {
        let store = scratch.open();
        store.create_table(&old, TableOptions::default()).unwrap();
        let committed = store.commit(&old, Txn::new().put(put("a", "1"))).unwrap();
        let mut subscription = store.subscribe(&old, committed.position).unwrap();
        let other_process = Store::builder(scratch.path()).read_only(true).open();
        let other_process = other_process.unwrap();
        assert!(other_process.get(&old, &key("a")).unwrap().is_some());

        let info = store.alter(&old, &rename).unwrap();
        assert_eq!((&info.name, info.position), (&new, committed.position));
        assert_eq!(
            store
                .commit(&old, Txn::new().put(put("a", "2")))
                .unwrap_err()
                .code(),
            Code::UnknownTable
        );
        assert_eq!(
            store.get(&old, &key("a")).unwrap_err().code(),
            Code::UnknownTable
        );
        assert!(
            subscription.next(PATIENCE).is_err(),
            "as of a table that is gone"
        );
        let next = store.commit(&new, Txn::new().put(put("a", "2"))).unwrap();
        assert_eq!(next.position.epoch, committed.position.epoch);
        assert_eq!(next.position.seq, committed.position.seq + 1);
        assert_eq!(
            store
                .changes(
                    &new,
                    Position {
                        seq: 0,
                        ..next.position
                    },
                    MAX_CHANGES
                )
                .unwrap()
                .len(),
            2
        );
        assert_eq!(
            other_process.get(&old, &key("a")).unwrap_err().code(),
            Code::UnknownTable
        );
        assert!(other_process.get(&new, &key("a")).unwrap().is_some());

        // The old name is free again.
        store.create_table(&old, TableOptions::default()).unwrap();
        let error = store
            .alter(&new, &Alter::new().rename(old.clone()))
            .unwrap_err();
        assert_eq!(error.code(), Code::TableExists);
        assert_eq!(
            store.alter(&new, &rename).unwrap().name,
            new,
            "its own name is no other"
        );
    }
    let store = scratch.open();
    assert_eq!(store.table_info(&new).unwrap().records, 1);
}

#[test]
fn a_sealed_table_keeps_its_name_and_gets_no_index() {
    let scratch = Scratch::new();
    let passphrase = Passphrase::new("a passphrase of a test").unwrap();
    let store = Store::builder(scratch.path())
        .passphrase(passphrase)
        .open()
        .unwrap();
    let table = name("t");
    let options = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    let made = store.create_table(&table, options).unwrap();
    let rename = store.alter(&table, &Alter::new().rename(name("u")));
    assert!(matches!(rename, Err(TableError::SealedName)), "{rename:?}");
    let search = store.alter(&table, &Alter::new().search(true));
    assert!(
        matches!(search, Err(TableError::SealedSearch)),
        "{search:?}"
    );
    assert_eq!(store.table_info(&table).unwrap(), made);
}
