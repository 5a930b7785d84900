//! Dropped tables: the name is free immediately, and the rest is cleared in small steps.

use crate::common::{HANG, Scratch, key, name, put};
use hotread_proto::{Code, Replace, TableName, Txn};
use hotread_store::{Search, Store, Synchronous, TableOptions, migrate};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Creates a store with a searchable table `t` of `records` records, and a table `other`.
fn with_records(scratch: &Scratch, records: usize) -> Store {
    let builder = Store::builder(scratch.path()).synchronous(Synchronous::Normal);
    let store = builder.open().unwrap();
    let searched = TableOptions {
        search: true,
        ..TableOptions::default()
    };
    store.create_table(&name("t"), searched).unwrap();
    store
        .create_table(&name("other"), TableOptions::default())
        .unwrap();
    fill(&store, &name("t"), records);
    store
}

fn fill(store: &Store, table: &TableName, records: usize) {
    let puts = (0..records).map(|n| put(&n.to_string(), &format!("\"word{n}\"")));
    store.replace(table, Replace::new(puts.collect())).unwrap();
}

/// Counts the rows of tables that do not exist, including those of their search indexes.
fn left(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    let count = |sql: &str| -> i64 { db.query_row(sql, [], |row| row.get(0)).unwrap() };
    let mut left = count("SELECT count(*) FROM tables WHERE dropped_at IS NOT NULL");
    for table in ["records", "changes", "txn_ids", "search_rows"] {
        left += count(&format!(
            "SELECT count(*) FROM {table} WHERE table_id NOT IN
                 (SELECT id FROM tables WHERE dropped_at IS NULL)"
        ));
    }
    left + count("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'dropped\\_%' ESCAPE '\\'")
}

#[test]
fn a_large_table_is_dropped_in_turns_with_writers() {
    // `HOTREAD_RECORDS` sets a larger number.
    let records = std::env::var("HOTREAD_RECORDS").map_or(100_000, |n| n.parse().unwrap());
    let scratch = Scratch::new();
    let store = with_records(&scratch, records);
    let (done, other) = (AtomicBool::new(false), name("other"));
    let write = || -> (Duration, u64) {
        let (mut longest, mut written) = (Duration::ZERO, 0);
        while !done.load(Ordering::Relaxed) {
            let begun = Instant::now();
            store.commit(&other, Txn::new().put(put("k", "1"))).unwrap();
            longest = longest.max(begun.elapsed());
            written += 1;
        }
        (longest, written)
    };
    let (took, longest, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let begun = Instant::now();
        store.drop_table(&name("t")).unwrap();
        store.finish_drops().unwrap();
        let took = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        let (longest, written) = writer.join().unwrap();
        (took, longest, written)
    });
    println!("{records} gone in {took:?}; {written} others, the longest {longest:?}");
    assert_eq!(left(&scratch.path()), 0);
    // A drop in one transaction would block another writer for all that time.
    assert!(
        longest * 2 < took && written >= 20,
        "{longest:?} of {took:?}"
    );
}

#[test]
fn the_name_is_free_at_once() {
    let scratch = Scratch::new();
    let store = with_records(&scratch, 5_000);
    let table = name("t");
    let old = store.table_info(&table).unwrap();
    let mut subscription = store.subscribe(&table, old.position).unwrap();
    let searched = old.options.clone();
    for round in 1..=5_u64 {
        store.drop_table(&table).unwrap();
        let refused = store.get(&table, &key("1")).unwrap_err();
        assert_eq!(refused.code(), Code::UnknownTable);
        assert_eq!(store.tables().unwrap().len(), 1);
        let info = store.create_table(&table, searched.clone()).unwrap();
        assert_ne!(info.position.epoch, old.position.epoch);
        assert_eq!(info.records, 0);
        let txn = Txn::new().put(put("new", &format!("\"word{round}\"")));
        store.commit(&table, txn).unwrap();
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
    }
    let refused = subscription.next(HANG).unwrap_err();
    assert_eq!(refused.code(), Code::UnknownTable);
    store.finish_drops().unwrap();
    assert_eq!(left(&scratch.path()), 0);
    // The table that has the name now is complete.
    assert_eq!(store.table_info(&table).unwrap().records, 1);
    for (query, found) in [("word5", 1), ("word4", 0), ("word7", 0)] {
        let search = Search {
            query: query.into(),
            ..Search::default()
        };
        let page = store.search(&table, &search).unwrap();
        assert_eq!(page.records.len(), found, "{query}");
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn what_is_left_of_a_dropped_table_goes_after_a_restart() {
    let scratch = Scratch::new();
    let store = with_records(&scratch, 20_000);
    store.drop_table(&name("t")).unwrap();
    drop(store);
    let remaining = left(&scratch.path());
    assert!(remaining > 10_000, "{remaining}");

    // Copies contain the remains as well, and are cleared as well.
    let store = Store::builder(scratch.path()).read_only(true);
    let store = store.open().unwrap();
    assert_eq!(store.tables().unwrap().len(), 1);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    drop(store);
    let restored = scratch.file("restored.db");
    Store::restore(&backup, &restored).unwrap();
    let older = scratch.file("older.db");
    std::fs::copy(&backup, &older).unwrap();
    migrate::down(&older, 6).unwrap();
    migrate::up(&older).unwrap();
    assert_eq!(left(&older), 0);

    for path in [scratch.path(), restored, older] {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.tables().unwrap().len(), 1);
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
        // Without any call.
        let begun = Instant::now();
        while left(&path) > 0 {
            assert!(begun.elapsed() < HANG);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
        fill(&store, &name("other"), 10);
        assert_eq!(store.table_info(&name("other")).unwrap().records, 10);
    }
}
