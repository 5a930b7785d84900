//! Sealed tables: access to the values, and their absence elsewhere.

use crate::common::{Scratch, files, key, name, put, value};
use hotread_proto::{Code, Position, Replace, Txn};
use hotread_store::{
    CommitError, Passphrase, ReadError, Scan, SealError, Search, Store, TableError, TableOptions,
};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn open(path: &Path, text: &str) -> Store {
    let builder = Store::builder(path).passphrase(passphrase(text));
    builder.quick_keys().open().unwrap()
}

fn sealed() -> TableOptions {
    TableOptions {
        sealed: true,
        ..TableOptions::default()
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn without_the_passphrase_nothing_is_read_and_nothing_written() {
    let scratch = Scratch::new();
    let (table, plain) = (name("secret"), name("plain"));
    let at = {
        let store = open(&scratch.path(), "right");
        store.create_table(&table, sealed()).unwrap();
        store.create_table(&plain, TableOptions::default()).unwrap();
        store.commit(&plain, Txn::new().put(put("a", "1"))).unwrap();
        store
            .commit(&table, Txn::new().put(put("a", "1")))
            .unwrap()
            .position
    };
    for (given, expected, code) in [
        (None, SealError::NoPassphrase, Code::Sealed),
        (
            Some("wrong"),
            SealError::WrongPassphrase,
            Code::WrongPassphrase,
        ),
    ] {
        for read_only in [false, true] {
            let mut builder = Store::builder(scratch.path()).read_only(read_only);
            if let Some(text) = given {
                builder = builder.passphrase(passphrase(text));
            }
            let store = builder.open().unwrap();
            let start = Position { seq: 0, ..at };
            let get = || store.get(&table, &key("a")).err();
            let handle = || store.handle(&table).err();
            // Each attempt with a wrong passphrase derives keys, which takes time.
            let errors = if given.is_some() {
                vec![get(), handle()]
            } else {
                vec![
                    get(),
                    store.get(&table, &key("none")).err(),
                    store.scan(&table, &Scan::default()).err(),
                    store.changes(&table, start, 10).err(),
                    handle(),
                    store.live(&table).err(),
                    store.snapshot(&table).err(),
                    store.subscribe(&table, start).err(),
                ]
            };
            for error in errors {
                let error = error.unwrap();
                assert_eq!(error.code(), code, "{error}");
                assert!(
                    matches!(&error, ReadError::Seal { source, .. } if *source == expected),
                    "{error:?}"
                );
                assert!(error.to_string().contains("table secret"), "{error}");
            }
            if given.is_some() {
                assert_eq!(store.verify().unwrap_err().code(), code);
            } else {
                let report = store.verify().unwrap();
                let checked = report.tables.iter().map(|t| t.checked).collect::<Vec<_>>();
                assert_eq!(checked, [true, false]);
                assert_eq!(report.tables[1].content, None);
                assert_eq!(report.problems, [""; 0]);
            }
            // Tables that are not sealed can be read by all.
            assert!(store.get(&plain, &key("a")).unwrap().is_some());
            assert_eq!(store.tables().unwrap().len(), 2);
            if !read_only {
                let errors = [
                    store.commit(&table, Txn::new().put(put("b", "1"))).err(),
                    store.commit(&table, Txn::new().delete(key("a"))).err(),
                    store
                        .replace(&table, Replace::new(vec![]).unguarded())
                        .err(),
                ];
                for error in errors {
                    let error = error.unwrap();
                    assert_eq!(error.code(), code, "{error}");
                    assert!(matches!(error, CommitError::Seal { .. }));
                }
                let error = store.rekey(&table, &passphrase("new")).unwrap_err();
                assert_eq!(error.code(), code, "{error}");
            }
        }
    }
    let store = scratch.open();
    let error = store.create_table(&name("more"), sealed()).unwrap_err();
    assert_eq!(error.code(), Code::Sealed);
    assert_eq!(store.table_info(&table).unwrap().position, at);
    drop(store);
    let store = open(&scratch.path(), "right");
    assert!(store.get(&table, &key("a")).unwrap().is_some());
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

/// Collects the log of all threads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn values_are_nowhere_in_clear() {
    const SECRET: &str = "sixteen-tons-of-plaintext";
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let mut said = String::new();
    let scratch = Scratch::new();
    let table = name("secret");
    let store = open(&scratch.path(), "a passphrase that is not shown");
    let options = TableOptions {
        schema: Some(value(
            r#"{"type": ["string", "object"], "maxLength": 100, "additionalProperties": false,
                "properties": {"known": {"type": "integer"}, "few": {"enum": [1, 2]}},
                "propertyNames": {"maxLength": 30}}"#,
        )),
        ..sealed()
    };
    store.create_table(&table, options).unwrap();
    let secret = |n: usize| format!("\"{n} {SECRET} {n}\"");
    for n in 0..30 {
        let txn = Txn::new().put(put(&n.to_string(), &secret(n)));
        said += &format!("{txn:?}");
        said += &format!("{:?}", store.commit(&table, txn).unwrap());
    }
    let mut reader = store.handle(&table).unwrap();
    let mut following = store
        .subscribe(&table, store.table_info(&table).unwrap().position)
        .unwrap();
    let records = (10..40).map(|n| put(&n.to_string(), &secret(n * 2)));
    let new = Replace::new(records.collect()).unguarded();
    said += &format!("{new:?}");
    store.replace(&table, new).unwrap();
    store.commit(&table, Txn::new().delete(key("12"))).unwrap();
    // Transactions that are refused in every way.
    let refused = [
        Txn::new().put(put("10", &secret(1))).if_absent(key("10")),
        Txn::new().put(put("10", &format!(r#"{{"known": "{SECRET}"}}"#))),
        Txn::new().put(put("10", &format!(r#"{{"few": "{SECRET}"}}"#))),
        Txn::new().put(put("10", &format!(r#"{{"{SECRET}": 1}}"#))),
        Txn::new().put(put("10", &format!(r#"{{"{SECRET}{SECRET}": 1}}"#))),
        Txn::new().put(put("10", &format!(r#"[{{"{SECRET}": 1}}]"#))),
        Txn::new().put(put("10", &format!("\"{}\"", SECRET.repeat(10)))),
    ];
    for txn in refused {
        let error = store.commit(&table, txn).unwrap_err();
        said += &format!("{error} {error:?} {:?}", error.body());
    }
    let change = following.next(PATIENCE).unwrap().unwrap();
    said += &format!("{change:?} {following:?} {:?}", reader.current());
    said += &format!("{:?}", store.scan(&table, &Scan::default()).unwrap());
    said += &format!("{:?}", store.get(&table, &key("10")).unwrap());
    said += &format!("{store:?} {:?} {:?}", store.stats(), store.tables());
    assert_eq!(
        reader.current().get("10").unwrap().value(),
        secret(20).as_bytes()
    );

    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    let found = |when: &str| {
        for (file, bytes) in files(scratch.path().parent().unwrap()) {
            assert!(!contains(&bytes, SECRET.as_bytes()), "{when}: {file}");
            assert!(!contains(&bytes, b"that is not shown"), "{when}: {file}");
        }
    };
    // The files are copied while the store is open, in a way that keeps SQLite's locks.
    let copy = Scratch::new();
    let copied = std::process::Command::new("cp")
        .args(["-r", scratch.path().parent().unwrap().to_str().unwrap()])
        .arg(copy.file("all"))
        .status();
    assert!(copied.unwrap().success());
    let copied = files(&copy.file("all"));
    assert!(copied.contains_key("test.db-wal"));
    for (file, bytes) in copied {
        assert!(!contains(&bytes, SECRET.as_bytes()), "{file}");
    }
    let new = passphrase("another that is not shown");
    said += &format!("{new:?}");
    store.rekey(&table, &new).unwrap();
    // Damaged values.
    drop((store, reader, following));
    found("closed");
    let db = rusqlite::Connection::open(scratch.path()).unwrap();
    let damage =
        "UPDATE records SET value = CAST(substr(value, 1, 20) || x'0000' AS BLOB) WHERE key = '20'";
    db.execute_batch(damage).unwrap();
    drop(db);
    let store = open(&scratch.path(), "another that is not shown");
    let error = store.get(&table, &key("20")).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
    said += &format!("{error} {error:?}");
    let report = store.verify().unwrap();
    assert!(!report.problems.is_empty());
    said += &format!("{report:?} {}", serde_json::to_string(&report).unwrap());
    drop(store);
    found("at the end");

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for text in [said, logged] {
        for part in [SECRET, "not shown"] {
            if let Some(at) = text.find(part) {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                panic!("{part:?} is in {:?}", &text[from..at + part.len()]);
            }
        }
    }
}

/// Returns the stored values, and the rows of the history.
fn stored(path: &Path) -> Vec<Vec<u8>> {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut statement = db
        .prepare("SELECT value FROM records UNION ALL SELECT ops FROM changes")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_rekeyed_table_opens_with_the_new_passphrase_only() {
    let scratch = Scratch::new();
    let table = name("secret");
    {
        let store = open(&scratch.path(), "old");
        store.create_table(&table, sealed()).unwrap();
        for n in 0..50 {
            let text = format!("\"{}\"", "v".repeat(10 + n * 20));
            let txn = Txn::new().put(put(&(n % 40).to_string(), &text));
            store.commit(&table, txn).unwrap();
        }
    }
    let old = stored(&scratch.path());
    assert_eq!(old.len(), 90);

    let store = open(&scratch.path(), "old");
    let before = store.table_info(&table).unwrap();
    let mut reader = store.handle(&table).unwrap();
    let seen: Vec<_> = reader
        .current()
        .iter()
        .map(|r| r.value().to_vec())
        .collect();
    reader.quiescent();
    let mut following = store.subscribe(&table, before.position).unwrap();
    let info = store.rekey(&table, &passphrase("new")).unwrap();
    store.scrub().unwrap();
    assert_ne!(info.position.epoch, before.position.epoch);
    assert_eq!(info.position.seq, before.position.seq);
    assert_eq!(info.floor, info.position.seq + 1);
    assert_ne!(info.digest, before.digest);
    assert_eq!(store.table_info(&table).unwrap(), info);

    // The history is gone, and its subscriber gets an error.
    let error = following.next(PATIENCE).unwrap_err();
    assert!(matches!(error, ReadError::UnknownTable { .. }), "{error}");
    let error = store.changes(&table, before.position, 1).unwrap_err();
    assert!(matches!(error, ReadError::NeverThere { .. }), "{error}");
    let error = store.subscribe(&table, before.position).unwrap_err();
    assert_eq!(error.code(), Code::EpochChanged);
    let earlier = Position {
        seq: 1,
        ..info.position
    };
    let error = store.changes(&table, earlier, 1).unwrap_err();
    assert_eq!(error.code(), Code::Gone, "{error}");
    // The live table continues.
    let now: Vec<_> = reader
        .current()
        .iter()
        .map(|r| r.value().to_vec())
        .collect();
    assert_eq!(now, seen);
    assert_eq!(reader.current().position(), info.position);
    let mut following = store.subscribe(&table, info.position).unwrap();
    store
        .commit(&table, Txn::new().put(put("new", "1")))
        .unwrap();
    assert!(following.next(PATIENCE).unwrap().is_some());
    assert!(reader.current().get("new").is_some());
    assert!(store.get(&table, &key("39")).unwrap().is_some());
    let report = store.verify().unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(report.tables[0].checked);
    drop((store, reader, following));

    let files = files(scratch.path().parent().unwrap());
    for (file, bytes) in &files {
        for value in &old {
            // Long enough not to occur by chance.
            let part = &value[value.len() / 2..][..20.min(value.len() / 2)];
            assert!(!contains(bytes, part), "{file} has an old value");
        }
    }
    let store = open(&scratch.path(), "old");
    let error = store.get(&table, &key("39")).unwrap_err();
    assert_eq!(error.code(), Code::WrongPassphrase);
    drop(store);
    let store = open(&scratch.path(), "new");
    let found = store.get(&table, &key("39")).unwrap().unwrap();
    assert_eq!(
        found.value(),
        format!("\"{}\"", "v".repeat(10 + 39 * 20)).as_bytes()
    );
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
}

#[test]
fn readers_and_writers_do_not_notice_a_rekeying() {
    let scratch = Scratch::new();
    let table = name("secret");
    let store = open(&scratch.path(), "0");
    store.create_table(&table, sealed()).unwrap();
    let mut txn = Txn::new();
    for n in 0..500 {
        txn = txn.put(put(&format!("k{n}"), "\"0123456789\""));
    }
    store.commit(&table, txn).unwrap();
    let (done, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    let stop = || done.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }

        for writer in 0..2 {
            let (store, table, commits) = (&store, &table, &commits);
            let stop = Stop(&done);
            scope.spawn(move || {
                let mut n = 0;
                let stop = stop;
                while !stop.0.load(Ordering::Relaxed) {
                    let txn = Txn::new().put(put(&format!("w{writer}"), &n.to_string()));
                    let committed = store.commit(table, txn).unwrap();
                    let read = store.get(table, &key(&format!("w{writer}"))).unwrap();
                    let read = read.unwrap();
                    assert_eq!(read.value(), n.to_string().as_bytes());
                    assert_eq!(read.seq(), committed.position.seq);
                    commits.fetch_add(1, Ordering::Relaxed);
                    n += 1;
                }
            });
        }
        scope.spawn(|| {
            let _stop = Stop(&done);
            while !stop() {
                assert!(store.get(&table, &key("k250")).unwrap().is_some());
                let page = store.scan(
                    &table,
                    &Scan {
                        limit: 600,
                        ..Scan::default()
                    },
                );
                assert!(page.unwrap().records.len() >= 500);
                assert!(store.snapshot(&table).unwrap().len() >= 500);
                let mut reader = store.handle(&table).unwrap();
                assert!(reader.current().get("k1").is_some());
            }
        });
        let _stop = Stop(&done);
        for n in 1..=6 {
            let before = commits.load(Ordering::Relaxed);
            store.rekey(&table, &passphrase(&n.to_string())).unwrap();
            while commits.load(Ordering::Relaxed) < before + 4 && !stop() {
                std::thread::yield_now();
            }
        }
    });
    // Each commit is a transaction, also across epochs.
    let seq = store.table_info(&table).unwrap().position.seq;
    assert_eq!(seq, 1 + commits.load(Ordering::Relaxed));
    let live = store.live(&table).unwrap();
    live.wait_published(live.latest_seq(), PATIENCE).unwrap();
    assert_eq!(live.snapshot().position().seq, seq);
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
    drop(store);
    let store = open(&scratch.path(), "6");
    assert_eq!(store.snapshot(&table).unwrap().len(), 502);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let scratch = Scratch::new();
    let store = open(&scratch.path(), "p");
    let options = TableOptions {
        search: true,
        ..sealed()
    };
    let error = store.create_table(&name("t"), options).unwrap_err();
    assert_eq!(error, TableError::SealedSearch);
    assert_eq!(error.code(), Code::InvalidOptions);
    store
        .create_table(&name("plain"), TableOptions::default())
        .unwrap();
    let error = store.rekey(&name("plain"), &passphrase("new")).unwrap_err();
    assert!(matches!(error, TableError::NotSealed { .. }));
    let error = store.rekey(&name("none"), &passphrase("new")).unwrap_err();
    assert_eq!(error.code(), Code::UnknownTable);
    store.create_table(&name("secret"), sealed()).unwrap();
    let error = store
        .search(&name("secret"), &Search::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::NoSearch);
}

#[test]
fn new_seals_ask_for_as_many_rounds_as_owasp_does() {
    let scratch = Scratch::new();
    let builder = Store::builder(scratch.path()).passphrase(passphrase("old"));
    let store = builder.open().unwrap();
    let table = name("secret");
    let rounds = || -> u32 {
        let db = rusqlite::Connection::open(scratch.path()).unwrap();
        let sql = "SELECT seal FROM tables WHERE name = 'secret'";
        let header: Vec<u8> = db.query_row(sql, [], |row| row.get(0)).unwrap();
        // The bytes after the epoch and the version.
        u32::from_le_bytes(header[9..13].try_into().unwrap())
    };
    store.create_table(&table, sealed()).unwrap();
    assert_eq!(rounds(), 600_000);
    store.rekey(&table, &passphrase("new")).unwrap();
    assert_eq!(rounds(), 600_000);
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    drop(store);
    let store = open(&scratch.path(), "new");
    assert!(store.get(&table, &key("a")).unwrap().is_some());
}

#[test]
fn the_digest_of_a_sealed_table_tells_nothing_of_its_values() {
    let scratch = Scratch::new();
    let store = open(&scratch.path(), "p");
    let tables = ["plain", "secret", "secret2"].map(name);
    let options = [TableOptions::default(), sealed(), sealed()];
    for (table, options) in tables.iter().zip(options) {
        store.create_table(table, options).unwrap();
        store
            .commit(table, Txn::new().put(put("a", "1")).put(put("b", "2")))
            .unwrap();
    }
    let [plain, one, two] = [0, 1, 2].map(|n| store.table_info(&tables[n]).unwrap().digest);
    assert!(plain != one && one != two && plain != two);
    let report = store.verify().unwrap();
    assert_eq!(report.problems, [""; 0]);
    let content: Vec<_> = report.tables.iter().map(|t| t.content.unwrap()).collect();
    assert!(content.iter().all(|c| *c == content[0]));
}
