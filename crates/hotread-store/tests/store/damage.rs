//! Damaged files: damage is reported or does not matter, and the rest of the database stays usable.

use crate::common::{Numbers, Scratch, files, key, name, put};
use crate::files::{read_only, without_shm};
use hotread_proto::{Code, Hasher, Txn};
use hotread_store::{CommitError, OpenError, ReadError, Scan, Store, Synchronous, TableOptions};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;

/// Creates a database with two tables, and returns their content.
fn two_tables(scratch: &Scratch) -> BTreeMap<(String, String), Vec<u8>> {
    let store = Store::builder(scratch.path())
        .synchronous(Synchronous::Normal)
        .open()
        .unwrap();
    let mut model = BTreeMap::new();
    for table in ["a", "b"] {
        let options = TableOptions {
            search: table == "b",
            ..TableOptions::default()
        };
        store.create_table(&name(table), options).unwrap();
        for n in 0..6 {
            let mut txn = Txn::new();
            for m in 0..10 {
                let (key, value) = (
                    format!("{n}/{m}"),
                    format!("\"only-in-{table} {}\"", "x".repeat(150)),
                );
                txn = txn.put(put(&key, &value));
                model.insert((table.to_owned(), key), value.into_bytes());
            }
            store.commit(&name(table), txn).unwrap();
        }
    }
    model
}

fn read_all(store: &Store) -> Result<BTreeMap<(String, String), Vec<u8>>, ReadError> {
    let mut found = BTreeMap::new();
    for info in store.tables()? {
        for record in store.snapshot(&info.name)?.iter() {
            let key = (info.name.to_string(), record.key().to_owned());
            found.insert(key, record.value().to_vec());
        }
    }
    Ok(found)
}

/// Reads everything in every way; returns `true` if the check finds no problem and all records can be
/// read.
fn look(path: &Path, model: &BTreeMap<(String, String), Vec<u8>>) -> Result<bool, OpenError> {
    let store = read_only(path)?;
    for table in ["a", "b"].map(name) {
        let _ = store.scan(&table, &Scan::default());
        let _ = store.get(&table, &key("3/3"));
        let _ = store.live(&table);
        if let Ok(info) = store.table_info(&table) {
            let start = hotread_proto::Position {
                seq: 0,
                ..info.position
            };
            let _ = store.changes(&table, start, 100);
        }
    }
    let clean = match store.verify() {
        Ok(report) => report.problems.is_empty() && report.tables.len() == 2,
        Err(_) => false,
    };
    if clean {
        // Categories and times are not hashed; keys and values are.
        assert!(read_all(&store).unwrap() == *model);
    }
    Ok(clean)
}

#[test]
fn damaged_bytes_are_noticed_or_do_not_matter() {
    let scratch = Scratch::new();
    let model = two_tables(&scratch);
    let path = scratch.path();
    assert!(look(&path, &model).unwrap());
    let good = std::fs::read(&path).unwrap();
    let page = 4096;
    let mut numbers = Numbers(1);

    // Each page as a whole; the first one identifies the file.
    let mut unnoticed = Vec::new();
    for at in 0..good.len() / page {
        let mut bad = good.clone();
        let start = at * page + if at == 0 { 100 } else { 0 };
        bad[start..(at + 1) * page].fill(0xa5);
        std::fs::write(&path, &bad).unwrap();
        if let Ok(true) = look(&path, &model) {
            unnoticed.push(at);
        }
    }
    let db = {
        std::fs::write(&path, &good).unwrap();
        Connection::open(&path).unwrap()
    };
    let free: i64 = db
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap();
    drop(db);
    assert!(
        unnoticed.len() as i64 <= free,
        "{unnoticed:?}, {free} are free"
    );

    // The header, byte by byte, and bits anywhere.
    for n in 0..100 + 300 {
        let mut bad = good.clone();
        if n < 100 {
            bad[n] ^= 0xff;
        } else {
            for _ in 0..1 + numbers.below(8) {
                let at = numbers.below(bad.len() as u64) as usize;
                bad[at] ^= 1 << numbers.below(8);
            }
        }
        std::fs::write(&path, &bad).unwrap();
        let _ = look(&path, &model);
    }

    // Truncated files.
    let mut noticed = 0;
    for _ in 0..40 {
        let end = 1 + numbers.below(good.len() as u64 - 1) as usize;
        std::fs::write(&path, &good[..end]).unwrap();
        // The missing part may have been the unused rest of a page.
        noticed += usize::from(!matches!(look(&path, &model), Ok(true)));
    }
    assert!(noticed >= 35, "{noticed} of 40");
}

#[test]
fn what_is_damaged_is_not_written_and_the_rest_is_still_there() {
    let scratch = Scratch::new();
    two_tables(&scratch);
    let path = scratch.path();
    let leaves: Vec<i64> = {
        let db = Connection::open(&path).unwrap();
        let sql = "SELECT pageno FROM dbstat WHERE name = 'records' AND pagetype = 'leaf'";
        let mut statement = db.prepare(sql).unwrap();
        let pages = statement.query_map([], |row| row.get(0)).unwrap();
        pages.collect::<Result<_, _>>().unwrap()
    };
    let mut bytes = std::fs::read(&path).unwrap();
    let has = |page: &[u8], text: &str| page.windows(text.len()).any(|w| w == text.as_bytes());
    let page = leaves
        .iter()
        .map(|&page| (page as usize - 1) * 4096..page as usize * 4096)
        .find(|page| {
            let page = &bytes[page.clone()];
            has(page, "only-in-a") && !has(page, "only-in-b")
        })
        .unwrap();
    bytes[page].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();

    let store = scratch.open();
    let (a, b) = (name("a"), name("b"));
    let everything = Scan {
        limit: 1000,
        ..Scan::default()
    };
    let error = store.scan(&a, &everything).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt, "{error}");
    assert_eq!(store.live(&a).unwrap_err().code(), Code::Corrupt);
    assert_eq!(store.snapshot(&a).unwrap_err().code(), Code::Corrupt);
    assert_eq!(store.scan(&b, &everything).unwrap().records.len(), 60);
    let report = store.verify().unwrap();
    assert!(!report.problems.is_empty());

    let mut refused = 0;
    for n in 0..6 {
        for m in 0..10 {
            let txn = Txn::new().put(put(&format!("{n}/{m}"), "1"));
            match store.commit(&a, txn) {
                Ok(_) => {}
                Err(CommitError::Storage(e)) => {
                    assert_eq!(e.code(), Code::Corrupt);
                    refused += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
    assert!(refused > 0);
    store.commit(&b, Txn::new().put(put("new", "1"))).unwrap();
    drop(store);
    let store = scratch.open();
    assert!(store.get(&b, &key("new")).unwrap().is_some());
    assert!(store.live(&b).unwrap().snapshot().verify(&Hasher::PLAIN));
}

#[test]
fn a_record_that_is_not_what_its_hash_says_is_not_given_out() {
    let scratch = Scratch::new();
    let table = name("t");
    {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        let txn = Txn::new().put(put("a", "1")).put(put("b", "2"));
        store.commit(&table, txn).unwrap();
    }
    let db = Connection::open(scratch.path()).unwrap();
    db.execute(
        "UPDATE records SET value = CAST('7' AS BLOB) WHERE key = 'b'",
        [],
    )
    .unwrap();
    db.close().unwrap();
    let store = scratch.open();
    assert!(store.get(&table, &key("a")).unwrap().is_some());
    let errors = [
        store.get(&table, &key("b")).map(drop).unwrap_err(),
        store.scan(&table, &Scan::default()).map(drop).unwrap_err(),
        store.snapshot(&table).map(drop).unwrap_err(),
        store.handle(&table).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), Code::Corrupt);
        let text = error.to_string();
        assert!(
            text.contains("\"b\" in table t is not what its hash says"),
            "{text}"
        );
    }
    // Writing the record again repairs it.
    store.commit(&table, Txn::new().put(put("b", "2"))).unwrap();
    assert_eq!(store.snapshot(&table).unwrap().len(), 2);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn a_damaged_wal_leaves_whole_transactions() {
    let scratch = Scratch::new();
    let path = scratch.path();
    let table = name("t");
    let store = scratch.open();
    store.create_table(&table, TableOptions::default()).unwrap();
    for n in 0..20 {
        let txn = Txn::new()
            .put(put("a", &n.to_string()))
            .put(put("b", &n.to_string()));
        store.commit(&table, txn).unwrap();
    }
    // The state that a killed process leaves.
    let (good, wal) = (
        std::fs::read(&path).unwrap(),
        std::fs::read(scratch.file("test.db-wal")).unwrap(),
    );
    drop(store);
    assert!(wal.len() > 20 * 4096);
    let mut numbers = Numbers(2);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60 {
        let scratch = Scratch::new();
        let mut bad = wal.clone();
        let at = numbers.below(bad.len() as u64) as usize;
        match round % 3 {
            0 => bad.truncate(at),
            1 => bad[at] ^= 0x10,
            _ => bad[at..].fill(0),
        }
        std::fs::write(scratch.path(), &good).unwrap();
        std::fs::write(scratch.file("test.db-wal"), bad).unwrap();
        let before = files(scratch.path().parent().unwrap());
        let error = match read_only(&scratch.path()) {
            Ok(store) => {
                let report = store.verify().unwrap();
                // The remaining transactions are whole, and the loss is reported.
                let of_the_log = |line: &String| line.contains("write-ahead log");
                let problems = &report.problems;
                assert!(problems.iter().all(of_the_log), "{problems:?}");
                if let Ok(info) = store.table_info(&table) {
                    seen.insert(info.position.seq);
                    let values = ["a", "b"].map(|k| store.get(&table, &key(k)).unwrap());
                    let expected = info.position.seq.checked_sub(1).map(|n| n.to_string());
                    for value in values {
                        let value = value.map(|r| String::from_utf8(r.value().to_vec()).unwrap());
                        assert_eq!(value, expected);
                    }
                }
                None
            }
            Err(e) => Some(e),
        };
        assert_eq!(without_shm(files(scratch.path().parent().unwrap())), before);
        if let Some(error) = error {
            // Before its first transaction, the file is not a HotRead database yet.
            let codes = [Code::Foreign, Code::NoSuchFile, Code::Corrupt];
            assert!(codes.contains(&error.code()), "{error}");
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
}
