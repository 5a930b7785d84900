//! Work with a budget: it ends when the budget is spent, and schemas cost no more than is allowed.

use crate::common::{Scratch, key, name, put, value};
use hotread_proto::{Code, Key, Op, TableName, Txn, Value};
use hotread_store::{
    Budget, CommitError, ReadError, Scan, Search, StorageError, Store, Synchronous, TableError,
    TableOptions,
};
use std::time::{Duration, Instant};

/// Time after which a call counts as hung.
const HANG: Duration = Duration::from_secs(60);

fn open(scratch: &Scratch) -> Store {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    builder.open().unwrap()
}

/// Creates a table in which every record contains every word.
fn searched(store: &Store, records: usize) -> TableName {
    let (table, options) = (
        name("searched"),
        TableOptions {
            search: true,
            ..TableOptions::default()
        },
    );
    store.create_table(&table, options).unwrap();
    let text = "\"wa wb wc wd we wf wg wh\"";
    for from in (0..records).step_by(1_000) {
        let ops = (from..from + 1_000).map(|n| Op::Put(put(&n.to_string(), text)));
        let txn = Txn {
            ops: ops.collect(),
            ..Txn::new()
        };
        store.commit(&table, txn).unwrap();
    }
    table
}

fn slow() -> Search {
    Search {
        query: "wa w* wb wc* wd we* wf wg* wh".to_owned(),
        ..Search::default()
    }
}

#[test]
fn a_search_ends_with_its_budget_and_the_connection_is_used_again() {
    let scratch = Scratch::new();
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let store = builder.readers(1).open().unwrap();
    let table = searched(&store, 20_000);
    let began = Instant::now();
    store.search(&table, &slow()).unwrap();
    let whole = began.elapsed();
    for _ in 0..5 {
        let hurried = store.within(&Budget::lasting(whole / 20));
        let error = hurried.search(&table, &slow()).unwrap_err();
        assert_eq!(error, ReadError::Storage(StorageError::Interrupted));
        assert_eq!(error.code(), Code::TookTooLong);
        // The only connection is used again.
        assert!(store.get(&table, &key("1")).unwrap().is_some());
    }
    let patient = store.within(&Budget::lasting(HANG));
    assert_eq!(patient.search(&table, &slow()).unwrap().records.len(), 100);
}

#[test]
fn every_read_keeps_to_its_budget() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let table = searched(&store, 1_000);
    let budget = Budget::unlimited();
    let ended = store.within(&budget);
    assert!(ended.get(&table, &key("1")).unwrap().is_some());
    budget.cancel();
    let start = store.table_info(&table).unwrap().position;
    let reads: [(&str, Option<ReadError>); 8] = [
        ("get", ended.get(&table, &key("1")).err()),
        ("scan", ended.scan(&table, &Scan::default()).err()),
        ("search", ended.search(&table, &slow()).err()),
        ("changes", ended.changes(&table, start, 1).err()),
        ("digest", ended.digest_at(&table, start).err()),
        ("tables", ended.tables().err()),
        ("live", ended.live(&table).err()),
        ("snapshot", ended.snapshot(&table).err()),
    ];
    for (what, error) in reads {
        let expected = ReadError::Storage(StorageError::Interrupted);
        assert_eq!(error, Some(expected), "{what}");
    }
    // Other readers are not limited, and writes are not reads.
    store.live(&table).unwrap();
    ended
        .commit(&table, Txn::new().put(put("new", "1")))
        .unwrap();
    assert!(store.get(&table, &key("new")).unwrap().is_some());
}

#[test]
fn a_search_answers_no_more_than_fits() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let table = searched(&store, 1_000);
    let large = format!("\"large {}\"", "x".repeat(1_000_000));
    for n in 0..20 {
        let txn = Txn::new().put(put(&format!("large {n}"), &large));
        store.commit(&table, txn).unwrap();
    }
    let search = Search {
        query: "large".to_owned(),
        ..Search::default()
    };
    let found = store.search(&table, &search).unwrap().records;
    let bytes: usize = found.iter().map(hotread_proto::Record::size).sum();
    assert!((8 << 20..10 << 20).contains(&bytes), "{bytes}");
}

/// Returns table options with a schema of many parts, each of which applies the next one twice.
fn exploding() -> String {
    let parts: Vec<_> = (0..45)
        .map(|n| {
            let next = n + 1;
            format!(
                r##""p{n}":{{"allOf":[{{"$ref":"#/$defs/p{next}"}},{{"$ref":"#/$defs/p{next}"}}]}}"##
            )
        })
        .collect();
    let parts = parts.join(",");
    format!(r##"{{"$ref":"#/$defs/p0","$defs":{{{parts},"p45":{{"type":"number"}}}}}}"##)
}

#[test]
fn a_schema_that_explodes_is_refused() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let options = TableOptions {
        schema: Some(value(&exploding())),
        ..TableOptions::default()
    };
    let error = store.create_table(&name("t"), options).unwrap_err();
    assert!(matches!(error, TableError::InvalidSchema { .. }), "{error}");
    assert_eq!(error.code(), Code::InvalidOptions);
}

#[test]
fn an_unbounded_schema_of_old_stops_only_its_table() {
    let scratch = Scratch::new();
    let (bad, good) = (name("bad"), name("good"));
    {
        let store = open(&scratch);
        for table in [&bad, &good] {
            store.create_table(table, TableOptions::default()).unwrap();
            store.commit(table, Txn::new().put(put("k", "1"))).unwrap();
        }
    }
    let old = TableOptions {
        schema: Some(value(&exploding())),
        ..TableOptions::default()
    };
    rusqlite::Connection::open(scratch.path())
        .unwrap()
        .execute(
            "UPDATE tables SET options = ?1 WHERE name = 'bad'",
            [serde_json::to_string(&old).unwrap()],
        )
        .unwrap();
    let began = Instant::now();
    let store = open(&scratch);
    for (table, is_bad) in [(&bad, true), (&good, false)] {
        assert!(store.get(table, &key("k")).unwrap().is_some());
        let written = store.commit(table, Txn::new().put(put("k", "2")));
        match written {
            Err(error @ CommitError::UnusableSchema { .. }) if is_bad => {
                assert_eq!(error.code(), Code::UnusableSchema);
            }
            written => assert!(written.is_ok() && !is_bad, "{table}: {written:?}"),
        }
        store
            .commit(table, Txn::new().delete(Key::new("k").unwrap()))
            .unwrap();
    }
    assert!(began.elapsed() < HANG);
}

#[test]
fn tables_say_whether_their_values_are_checked_quickly() {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let listed: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    let listed = format!(r#"{{"enum":[{}]}}"#, listed.join(","));
    for (table, schema, quick) in [
        ("none", None, true),
        ("small", Some(r#"{"type":"number"}"#), true),
        ("large", Some(listed.as_str()), false),
    ] {
        let options = TableOptions {
            schema: schema.map(|schema| Value::parse(schema.as_bytes()).unwrap()),
            ..TableOptions::default()
        };
        store.create_table(&name(table), options).unwrap();
        assert_eq!(store.checks_quickly(&name(table)), Ok(quick), "{table}");
    }
}

/// Counts the HotRead threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("hotread")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn tables_in_memory_need_no_thread_each() {
    const TABLES: usize = 300;
    let scratch = Scratch::new();
    let store = open(&scratch);
    let tables: Vec<_> = (0..TABLES).map(|n| name(&format!("t{n}"))).collect();
    let followed: Vec<_> = tables
        .iter()
        .map(|table| {
            store.create_table(table, TableOptions::default()).unwrap();
            store.live(table).unwrap()
        })
        .collect();
    // Includes the threads of other tests.
    let threads = threads();
    assert!(threads < TABLES / 3, "{threads} threads");
    drop(followed);
}
