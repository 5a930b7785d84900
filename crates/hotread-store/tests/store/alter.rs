//! Tables that get other options while they are used.

use crate::common::{Scratch, key, name, put, value};
use hotread_proto::{ChangeOp, Code, Position, Refusal, Replace, Txn};
use hotread_store::{Alter, CommitError, MAX_CHANGES, Passphrase, Store, TableError, TableOptions};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);
const NUMBERS: &str = r#"{"type":"number"}"#;

fn numbers() -> Alter {
    Alter::new().schema(value(NUMBERS))
}

/// The key of the record that does not fit.
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
fn a_sealed_table_is_altered_and_sealed_anew() {
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
        let resealed = store.reseal(&table, &next).unwrap();
        assert_eq!(resealed.options.schema, Some(value(NUMBERS)));
    }
    let store = store("the second passphrase");
    assert!(store.get(&table, &key("a")).unwrap().is_some());
    let text = Txn::new().put(put("a", r#""one""#));
    let refused = store.commit(&table, text).unwrap_err();
    assert_eq!(refused.code(), Code::SchemaViolation);
}

/// Has threads stop however a test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Values that do not fit are written between the look at the table and the alteration, and are accepted before it to
/// be committed after it.
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
            // Behind what was handed over before the alteration was done.
            store
                .commit(&table, Txn::new().put(put("last", "0")))
                .unwrap();
            let mut last = BTreeMap::new();
            // Each writer writes its record again and again: so many transactions back, all of them are there.
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
