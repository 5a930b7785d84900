//! Full disks: acknowledged transactions stay, and writing resumes once there is room.

use crate::common::{self, Mounted, Numbers, Scratch, key, name, put};
use hotread_proto::{Code, Hasher, Txn, TxnId};
use hotread_store::{CommitError, Store, TableOptions};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time after which a call counts as hung.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_passes() {
    let scratch = Scratch::new();
    let directory = scratch.file("small");
    std::fs::create_dir(&directory).unwrap();
    let Some(mounted) = Mounted::tmpfs(&directory, 4096) else {
        return;
    };
    let path = directory.join("test.db");
    let table = name("t");
    let store = Store::open(&path).unwrap();
    store.create_table(&table, TableOptions::default()).unwrap();
    let filler = directory.join("filler");
    let mut numbers = Numbers(3);
    for round in 0..4 {
        let ballast = 100_000 * (4 - round) as usize;
        std::fs::write(&filler, vec![7; ballast]).unwrap();
        let mut acknowledged = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut errors = 0;
        for n in 0..10_000 {
            let key = format!("{round}/{n}");
            let text = format!("\"{n} {}\"", "y".repeat(numbers.below(60_000) as usize));
            let txn = Txn::new()
                .id(TxnId::new(&key).unwrap())
                .put(put(&key, &text));
            match store.commit(&table, txn) {
                Ok(_) => {
                    acknowledged.insert(key, text);
                }
                Err(e) => {
                    match e {
                        CommitError::Unknown { .. } => unknown.push(key),
                        CommitError::Storage(_) => {}
                        ref other => panic!("{other}"),
                    }
                    let codes = [Code::StorageFull, Code::CommitUnknown, Code::StorageError];
                    assert!(codes.contains(&e.code()), "{e}");
                    errors += 1;
                    if errors == 10 {
                        break;
                    }
                }
            }
        }
        assert_eq!(errors, 10, "the disk never got full");
        // Reading still works.
        for (key, text) in &acknowledged {
            let found = store.get(&table, &common::key(key)).unwrap();
            let found = found.unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!(found.value(), text.as_bytes());
        }
        assert!(store.verify().unwrap().problems.is_empty());

        // Free space is enough to recover.
        std::fs::remove_file(&filler).unwrap();
        let start = Instant::now();
        loop {
            match store.commit(&table, Txn::new().put(put("room", "1"))) {
                Ok(_) => break,
                Err(e) => assert!(start.elapsed() < PATIENCE, "{e}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(store.stats().halted.is_none());
        for (key, text) in &acknowledged {
            let found = store.get(&table, &common::key(key)).unwrap();
            assert_eq!(found.unwrap().value(), text.as_bytes());
        }
        let mut txn = Txn::new();
        for (key, _) in acknowledged {
            txn = txn.delete(common::key(&key));
        }
        for key in unknown {
            txn = txn.delete(common::key(&key));
        }
        if !txn.ops.is_empty() {
            // The history may have no room for the transaction.
            let _ = store.commit(&table, txn);
        }
    }
    assert!(store.verify().unwrap().problems.is_empty());
    let live = store.live(&table).unwrap();
    live.wait_published(live.latest_seq(), PATIENCE).unwrap();
    assert!(live.snapshot().verify(&Hasher::PLAIN));
    let info = store.table_info(&table).unwrap();
    drop(store);
    // Opening needs some room as well.
    mounted.grow(16 * 1024);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.table_info(&table).unwrap(), info);
    drop(store);
}

#[test]
fn a_full_disk_is_opened_for_reading_and_written_when_there_is_room() {
    let scratch = Scratch::new();
    let directory = scratch.file("small");
    std::fs::create_dir(&directory).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&directory, 2048) else {
        return;
    };
    let path = directory.join("test.db");
    let table = name("t");
    // The state that a killed process leaves: with a log and its index.
    {
        let elsewhere = scratch.file("elsewhere.db");
        let store = Store::open(&elsewhere).unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
        for ending in ["", "-wal", "-shm"] {
            let file = |path: &Path| format!("{}{ending}", path.to_str().unwrap());
            std::fs::copy(file(&elsewhere), file(&path)).unwrap();
        }
    }
    let filler = directory.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write(&mut file, &[7; 4096]).is_ok_and(|bytes| bytes > 0) {}
    let store = Store::open(&path).unwrap();
    assert_eq!(store.get(&table, &key("a")).unwrap().unwrap().value(), b"1");
    assert_eq!(
        store.check_writable().unwrap_err().code(),
        Code::StorageFull
    );
    let error = store
        .commit(&table, Txn::new().put(put("a", "2")))
        .unwrap_err();
    assert_eq!(error.code(), Code::StorageFull, "{error}");
    std::fs::remove_file(&filler).unwrap();
    drop(file);
    let begun = Instant::now();
    while let Err(e) = store.check_writable() {
        assert!(begun.elapsed() < PATIENCE, "{e}");
        std::thread::sleep(Duration::from_millis(20));
    }
    store.commit(&table, Txn::new().put(put("a", "2"))).unwrap();
    assert_eq!(store.get(&table, &key("a")).unwrap().unwrap().value(), b"2");
}

#[test]
fn a_reader_that_fills_the_disk_is_named_and_its_end_is_enough_to_go_on() {
    let scratch = Scratch::new();
    let directory = scratch.file("small");
    std::fs::create_dir(&directory).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&directory, 112 * 1024) else {
        return;
    };
    let path = directory.join("test.db");
    let table = name("t");
    let store = Store::open(&path).unwrap();
    let mut options = TableOptions::default();
    options.history.max_changes = 1;
    store.create_table(&table, options).unwrap();
    let text = |n: u64| format!("\"{n} {}\"", "y".repeat(900_000));
    let write = |n: u64| store.commit(&table, Txn::new().put(put("k", &text(n))));
    write(0).unwrap();
    assert!(!store.stats().wal_held);

    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count = |sql: &str| -> i64 { reader.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM records"), 1);
    let (mut n, mut written) = (0, 0);
    let error = loop {
        n += 1;
        match write(n) {
            Ok(_) => written = n,
            Err(error) => break error,
        }
        let begun = Instant::now();
        // Longer than any log without such a reader; it is reported before the disk is full.
        while store.stats().wal_bytes > 80 << 20 && !store.stats().wal_held {
            assert!(begun.elapsed() < PATIENCE, "nothing says why the log grows");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let codes = [Code::StorageFull, Code::CommitUnknown];
    assert!(codes.contains(&error.code()), "{error}");
    assert!(error.to_string().contains("read transaction"), "{error}");
    // Reading still works, and acknowledged transactions are present.
    let found = store.get(&table, &key("k")).unwrap().unwrap();
    assert_eq!(found.value(), text(written).as_bytes());

    reader.execute_batch("ROLLBACK").unwrap();
    let begun = Instant::now();
    // As many attempts as several hundred checks of the log by the committer.
    while let Err(error) = write(n + 1) {
        assert!(begun.elapsed() < PATIENCE / 5, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    while store.stats().wal_held {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn a_replacement_that_does_not_fit_on_the_disk_leaves_what_was_there() {
    let scratch = Scratch::new();
    let directory = scratch.file("small");
    std::fs::create_dir(&directory).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&directory, 6 * 1024) else {
        return;
    };
    let table = name("t");
    let store = Store::open(directory.join("test.db")).unwrap();
    store.create_table(&table, TableOptions::default()).unwrap();
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    let mut reader = store.handle(&table).unwrap();
    let text = format!("\"{}\"", "z".repeat(1000));
    let records = (0..10_000).map(|n| put(&format!("{n}"), &text)).collect();
    let new = hotread_proto::Replace::new(records);
    let error = store.replace(&table, new).unwrap_err();
    let codes = [Code::StorageFull, Code::CommitUnknown];
    assert!(codes.contains(&error.code()), "{error}");
    assert_eq!(reader.current().len(), 1);
    assert_eq!(store.get(&table, &key("a")).unwrap().unwrap().seq(), 1);
    // The space that it had taken in the WAL is free again.
    let committed = store.commit(&table, Txn::new().put(put("b", "1"))).unwrap();
    assert_eq!(committed.position.seq, 2);
    assert_eq!(reader.current().len(), 2);
    assert!(store.verify().unwrap().problems.is_empty());
}
