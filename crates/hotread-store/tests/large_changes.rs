//! A change is found and measured without being read. A program of its own, because SQLite's memory
//! limit is one per process.

use hotread_proto::{Key, Put, Replace, TableName, Value};
use hotread_store::{Store, TableOptions};

/// Bytes of a change.
const CHANGE: usize = 64 << 20;
/// Memory limit of SQLite, in bytes.
const LIMIT: usize = 32 << 20;

#[test]
fn a_change_is_found_and_measured_without_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.db");
    let table = TableName::new("t").unwrap();
    let put = |key: &str, bytes: usize| {
        let value = Value::string(&"x".repeat(bytes)).unwrap();
        Put::new(Key::new(key).unwrap(), value)
    };
    let store = Store::open(&path).unwrap();
    store.create_table(&table, TableOptions::default()).unwrap();
    let start = store.table_info(&table).unwrap().position;
    let large = 1_000_000;
    let records = (0..CHANGE / large)
        .map(|n| put(&n.to_string(), large))
        .collect();
    store.replace(&table, Replace::new(records)).unwrap();
    let after = store.table_info(&table).unwrap().position;
    store
        .commit(&table, hotread_proto::Txn::new().put(put("small", 1)))
        .unwrap();
    drop(store);

    let store = Store::open(&path).unwrap();
    let limited = rusqlite::Connection::open_in_memory().unwrap();
    limited
        .pragma_update(None, "hard_heap_limit", LIMIT as i64)
        .unwrap();
    let mut sizes = Vec::new();
    let admitted = store.changes_admitted(&table, start, 10, |bytes| {
        sizes.push(bytes);
        false
    });
    assert!(admitted.unwrap().is_empty());
    assert!(
        sizes.len() == 1 && sizes[0] > (CHANGE / large * large) as u64,
        "{sizes:?}"
    );
    // The changes after it are found without reading it.
    let behind = store.changes(&table, after, 10).unwrap();
    assert_eq!(behind.len(), 1);
    // Reading the change would exceed the limit.
    assert!(store.changes(&table, start, 10).is_err());
}
