//! The bare loop leaves the same files as the store.

use std::path::Path;

use fastrand::Rng;
use hotread_proto::{Category, Timestamp, Txn};
use hotread_store::Synchronous;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::Scratch;
use super::bare::{self, Loop, Mirror};
use super::data;

/// Transactions that put, replace and delete, one or many records at once, and some keys twice.
fn txns(rng: &mut Rng, count: usize, records: usize) -> Vec<Txn> {
    let txn = |_| {
        let ops = [1, 1, 2, 10, 100][rng.usize(..5)];
        (0..ops).fold(Txn::new(), |txn, _| {
            let index = rng.usize(..2 * records);
            let mut put = data::put(index, rng);
            match rng.usize(..8) {
                0 => return txn.delete(put.key),
                1 => put.category = Category::new("special").expect("a valid name"),
                2 => put.expires_at = Some(Timestamp::from_millis(1 << 42).expect("a time")),
                _ => {}
            }
            txn.put(put)
        })
    };
    (0..count).map(txn).collect()
}

/// All rows of all tables, by table.
fn contents(path: &Path) -> Vec<(&'static str, Vec<Vec<Value>>)> {
    let db = Connection::open(path).unwrap();
    let tables = [
        "meta",
        "tables",
        "records",
        "changes",
        "txn_ids",
        "search_rows",
    ];
    let rows = |table: &str| {
        let mut statement = db
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))
            .unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        rows.unwrap().map(Result::unwrap).collect()
    };
    tables.map(|table| (table, rows(table))).into()
}

#[test]
fn the_bare_loop_writes_what_the_store_writes() {
    const RECORDS: usize = 200;
    let scratch = Scratch::default();
    let (ours, theirs) = (scratch.copy(RECORDS), scratch.copy(RECORDS));
    let before = contents(&ours.path);
    let txns = txns(&mut Rng::with_seed(1), 60, RECORDS);

    let store = ours.open(Synchronous::Normal);
    let committed: Vec<_> = txns
        .iter()
        .map(|txn| store.commit(&data::table(), txn.clone()).unwrap())
        .collect();
    drop(store);

    let db = bare::writer(&theirs.path, Synchronous::Normal).unwrap();
    let mut mirror = Mirror::of(&db).unwrap();
    let prepared: Vec<_> = txns
        .into_iter()
        .zip(&committed)
        .map(|(txn, committed)| mirror.prepare(txn, committed.at))
        .collect();
    let mut statements = Loop::new(&db).unwrap();
    // The size of a group leaves no trace.
    for group in prepared.chunks(7) {
        statements.group(group).unwrap();
    }
    drop(statements);
    drop(db);

    let after = contents(&ours.path);
    assert_ne!(after, before, "the store wrote something");
    for ((table, our_rows), (_, their_rows)) in after.iter().zip(&contents(&theirs.path)) {
        assert!(our_rows == their_rows, "{table} differs");
    }
}

#[test]
fn the_bare_connections_have_the_pragmas_of_the_store() {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/hotread-store/src/location.rs"
    );
    let source = std::fs::read_to_string(source).unwrap();
    // Names and values verbatim: a change of one requires a change of the bare loop.
    for line in [
        r#"pragma_update(None, "foreign_keys", true)"#,
        r#"pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)"#,
        r#"pragma_update(None, "journal_size_limit", WAL_LIMIT_BYTES)"#,
        r#"pragma_update(None, "cache_size", -WRITER_CACHE_KIB)"#,
        r#"pragma_update(None, "cache_size", -READER_CACHE_KIB)"#,
        r#"pragma_update(None, "mmap_size", 0)"#,
        r#"pragma_update(None, "temp_store", "MEMORY")"#,
        "const WRITER_CACHE_KIB: i64 = 64 * 1024;",
        "const READER_CACHE_KIB: i64 = 2 * 1024;",
        "const CHECKPOINT_PAGES: i64 = 4_000;",
        "const WAL_LIMIT_BYTES: i64 = 64 << 20;",
    ] {
        assert!(source.contains(line), "the store no longer has {line}");
    }

    let scratch = Scratch::default();
    let path = scratch.base(0);
    let writer = bare::writer(&path, Synchronous::Full).unwrap();
    let reader = bare::reader(&path).unwrap();
    let pragma = |db: &Connection, name: &str| -> i64 {
        db.pragma_query_value(None, name, |row| row.get(0)).unwrap()
    };
    for (name, value) in [
        ("foreign_keys", 1),
        ("synchronous", 2),
        ("wal_autocheckpoint", 4_000),
        ("journal_size_limit", 64 << 20),
        ("cache_size", -64 * 1024),
        ("mmap_size", 0),
        ("temp_store", 2),
    ] {
        assert_eq!(pragma(&writer, name), value, "{name}");
    }
    for (name, value) in [
        ("query_only", 1),
        ("cache_size", -2 * 1024),
        ("mmap_size", 0),
        ("temp_store", 2),
    ] {
        assert_eq!(pragma(&reader, name), value, "{name} of readers");
    }
    let mode: String = writer
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn copies_are_whole_and_independent() {
    let scratch = Scratch::default();
    let (one, other) = (scratch.copy(50), scratch.copy(50));
    assert_ne!(one.path, other.path);
    let store = one.open(Synchronous::Normal);
    let info = store.table_info(&data::table()).unwrap();
    assert_eq!(info.records, 50);
    store
        .commit(&data::table(), Txn::new().delete(data::key(0)))
        .unwrap();
    let records = |path: &Path| contents(path)[2].1.len();
    assert_eq!((records(&one.path), records(&other.path)), (49, 50));
    assert_eq!(records(&scratch.base(50)), 50);
}

#[test]
fn generated_values_are_about_as_long_as_the_report_says() {
    let mut rng = Rng::with_seed(1);
    for index in 0..100 {
        let put = data::put(index, &mut rng);
        let bytes = put.value.as_bytes().len();
        assert!(bytes.abs_diff(data::VALUE_BYTES) <= 5, "{bytes}");
        assert_eq!(put.key.as_str().len(), 16);
    }
}
