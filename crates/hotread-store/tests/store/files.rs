//! Foreign, damaged, locked and read-only files, and full disks: the errors, and the files, which stay
//! as they are.

use crate::common::{self, Mounted, Numbers, Scratch, files, key, name, put};
use hotread_proto::{Code, Hasher, Txn, TxnId};
use hotread_store::{
    CommitError, OpenError, ReadError, Scan, StorageError, Store, Synchronous, TableOptions,
    migrate,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time after which a call counts as hung.
const PATIENCE: Duration = Duration::from_secs(600);

fn read_only(path: &Path) -> Result<Store, OpenError> {
    Store::builder(path).read_only(true).open()
}

/// Closes a connection without moving its WAL into the database.
fn leave_wal(db: Connection) {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    db.close().unwrap();
}

/// Removes the index of a WAL, which SQLite rebuilds as needed.
fn without_shm(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.retain(|name, _| !name.ends_with("-shm"));
    files
}

fn foreign(path: &Path, journal: &str) -> Connection {
    let db = Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", journal).unwrap();
    db.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(9999)), (1);")
        .unwrap();
    db
}

fn newer(path: &Path) -> Connection {
    Store::open(path)
        .unwrap()
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    let db = Connection::open(path).unwrap();
    db.execute_batch("CREATE TABLE invented_later (x)").unwrap();
    db.pragma_update(None, "user_version", migrate::LATEST + 1)
        .unwrap();
    db
}

type Make = fn(&Path);

/// Files that may be found at a path, and the code of the error for each.
const NOT_OURS: &[(&str, Code, Make)] = &[
    ("a directory", Code::NoSuchFile, |path| {
        std::fs::create_dir(path).unwrap()
    }),
    ("a short text", Code::Foreign, |path| {
        std::fs::write(path, "x").unwrap()
    }),
    ("a text", Code::Foreign, |path| {
        std::fs::write(path, "some text\n".repeat(1000)).unwrap();
    }),
    ("zeros", Code::Foreign, |path| {
        std::fs::write(path, [0; 8192]).unwrap();
    }),
    ("a database with a journal", Code::Foreign, |path| {
        foreign(path, "DELETE").close().unwrap();
    }),
    ("a database with a WAL, at rest", Code::Foreign, |path| {
        foreign(path, "WAL").close().unwrap();
    }),
    ("a database with a WAL", Code::Foreign, |path| {
        leave_wal(foreign(path, "WAL"))
    }),
    (
        "a database whose application id is another",
        Code::Foreign,
        |path| {
            let db = newer(path);
            db.pragma_update(None, "application_id", 7).unwrap();
            db.close().unwrap();
        },
    ),
    ("a newer database, at rest", Code::NewerSchema, |path| {
        newer(path).close().unwrap()
    }),
    ("a newer database with a WAL", Code::NewerSchema, |path| {
        leave_wal(newer(path))
    }),
];

#[test]
fn what_is_not_ours_is_said_to_be_that_and_left_as_it_is() {
    for (what, code, make) in NOT_OURS {
        let scratch = Scratch::new();
        let path = scratch.path();
        make(&path);
        // Opening a newer database creates a lock file, which stays.
        let before = without_shm(if path.is_dir() {
            BTreeMap::new()
        } else {
            files(path.parent().unwrap())
        });
        let errors = [
            Store::open(&path).err(),
            Store::builder(&path).create(false).open().err(),
            read_only(&path).err(),
            migrate::status(&path).err(),
        ];
        for error in errors {
            let error = error.expect(what);
            assert_eq!(error.code(), *code, "{what}: {error}");
            let text = error.to_string();
            assert!(text.contains("test.db"), "{what}: {text}");
        }
        assert_eq!(migrate::up(&path).unwrap_err().code(), *code, "{what}");
        assert_eq!(migrate::down(&path, 1).unwrap_err().code(), *code, "{what}");
        let target = scratch.file("restored.db");
        let error = Store::restore(&path, &target).unwrap_err();
        assert_eq!(error.code(), *code, "{what}: {error}");
        if path.is_dir() {
            assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        } else {
            let after = without_shm(files(path.parent().unwrap()));
            assert!(
                before == after,
                "{what}: {:?} {:?}",
                before.keys(),
                after.keys()
            );
        }
    }
}

#[test]
fn nothing_appears_next_to_a_foreign_database_at_rest() {
    let scratch = Scratch::new();
    foreign(&scratch.path(), "WAL").close().unwrap();
    for open in [
        || Store::open,
        || |path| Store::builder(path).read_only(true).open(),
    ] as [fn() -> fn(std::path::PathBuf) -> _; 2]
    {
        open()(scratch.path()).unwrap_err();
        let files = files(scratch.path().parent().unwrap());
        assert_eq!(files.keys().collect::<Vec<_>>(), ["test.db"]);
    }
}

#[test]
fn what_is_not_there_is_created_only_if_it_may_be() {
    let scratch = Scratch::new();
    let nowhere = scratch.file("no/such/dir.db");
    let error = Store::open(&nowhere).unwrap_err();
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error}");
    assert_eq!(error.code(), Code::NoSuchFile);

    let path = scratch.path();
    for make in [(|_| ()) as Make, |path| std::fs::write(path, "").unwrap()] {
        make(&path);
        let before = files(path.parent().unwrap());
        for error in [
            Store::builder(&path).create(false).open().unwrap_err(),
            read_only(&path).unwrap_err(),
            migrate::status(&path).unwrap_err(),
        ] {
            assert!(matches!(error, OpenError::NoFile { .. }), "{error}");
            assert_eq!(error.code(), Code::NoSuchFile);
        }
        assert_eq!(files(path.parent().unwrap()), before);
    }
    // An empty file becomes a database.
    Store::open(&path).unwrap();
    assert!(read_only(&path).is_ok());
}

#[test]
fn a_database_with_an_odd_name_is_a_file_of_that_name() {
    for odd in ["file:x.db?mode=memory", ":memory:", "a b%20'\".db", "ключ"] {
        let scratch = Scratch::new();
        let path = scratch.file(odd);
        drop(Store::open(&path).unwrap());
        assert!(path.is_file(), "{odd}");
        read_only(&path).unwrap();
    }
    // Also without a directory in the path.
    for odd in ["file:hotread-odd.db?mode=memory", ":memory:"] {
        let error = Store::builder(odd).create(false).open().unwrap_err();
        assert!(
            matches!(error, OpenError::NoFile { .. }),
            "{odd}: {error:?}"
        );
    }
}

#[test]
fn a_database_that_was_closed_is_one_file() {
    let scratch = Scratch::new();
    let table = name("t");
    {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
        store.get(&table, &key("a")).unwrap();
        store.handle(&table).unwrap();
    }
    let files = files(scratch.path().parent().unwrap());
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["test.db", "test.db.lock"]
    );
    // Moved alone, the file contains everything.
    let other = scratch.file("other.db");
    std::fs::write(&other, &files["test.db"]).unwrap();
    let store = read_only(&other).unwrap();
    assert!(store.get(&table, &key("a")).unwrap().is_some());
}

// ---- damage ----

/// Creates a database with two tables, and returns their content.
#[test]
fn it_is_one_file_as_soon_as_it_was_closed_even_after_a_first_read() {
    let scratch = Scratch::new();
    let flags = name("flags");
    let store = scratch.open();
    store.create_table(&flags, TableOptions::default()).unwrap();
    drop(store);
    // Each time, a thread opens a connection, and may still be busy with it at the end.
    for n in 0..200 {
        let store = scratch.open();
        let new = put("key", &n.to_string());
        store.commit(&flags, Txn::new().put(new)).unwrap();
        assert!(store.get(&flags, &key("key")).unwrap().is_some());
        drop(store);
        let all = files(scratch.path().parent().unwrap());
        assert!(
            all.keys().eq(["test.db", "test.db.lock"]),
            "after {n} times: {:?}",
            all.keys()
        );
    }
}

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

// ---- reading only ----

#[test]
fn a_medium_that_can_only_be_read_is_read() {
    let scratch = Scratch::new();
    let table = name("t");
    for at_rest in [true, false] {
        let directory = scratch.file(if at_rest { "at-rest" } else { "wal" });
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("test.db");
        let keep = {
            let store = Store::open(&path).unwrap();
            store.create_table(&table, TableOptions::default()).unwrap();
            let keep = Connection::open(&path).unwrap();
            keep.query_row("SELECT count(*) FROM tables", [], |_| Ok(()))
                .unwrap();
            store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
            keep
        };
        if at_rest {
            drop(keep);
        } else {
            leave_wal(keep);
        }
        let Some(_mounted) = Mounted::read_only(&directory) else {
            return;
        };
        let before = files(&directory);
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error.code(), Code::ReadOnly, "{error}");
        let store = read_only(&path).unwrap();
        for _ in 0..3 {
            assert!(store.get(&table, &key("a")).unwrap().is_some());
        }
        assert_eq!(store.tables().unwrap().len(), 1);
        assert_eq!(store.live(&table).unwrap().snapshot().len(), 1);
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
        store
            .backup(scratch.file(&format!("backup {at_rest}")))
            .unwrap();
        drop(store);
        Store::restore(&path, scratch.file(&format!("restored {at_rest}"))).unwrap();
        assert_eq!(files(&directory), before);
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_to_write_is_not_written() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let path = scratch.path();
    drop(scratch.open());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        println!("skipped: permissions do not bind this process");
        return;
    }
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.code(), Code::ReadOnly, "{error}");
    read_only(&path).unwrap();
}

// ---- others that use the file ----

#[test]
fn a_lock_of_another_program_is_waited_for_and_then_reported() {
    let scratch = Scratch::new();
    let table = name("t");
    let store = scratch.open();
    store.create_table(&table, TableOptions::default()).unwrap();
    let other = Connection::open(scratch.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = store
        .commit(&table, Txn::new().put(put("a", "1")))
        .unwrap_err();
    assert!(
        matches!(error, CommitError::Storage(StorageError::Locked { .. })),
        "{error}"
    );
    assert_eq!(error.code(), Code::InUse);
    assert!(error.to_string().contains("another program"), "{error}");
    assert!(store.get(&table, &key("a")).unwrap().is_none());
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    assert_eq!(store.table_info(&table).unwrap().position.seq, 1);
}

/// Runs in the other process: opens a database, and prints the result.
fn open_and_say(path: &str) {
    match Store::open(path) {
        Ok(_) => println!("it opened"),
        Err(e) => println!("{}: {e}", e.code()),
    }
}

fn in_another_process(path: &Path) -> String {
    let test = hotread_testkit::this_test();
    let mut process = hotread_testkit::process(&test, path.to_str().unwrap());
    String::from_utf8(process.output().unwrap().stdout).unwrap()
}

#[test]
fn a_second_writer_is_told_who_is_the_first() {
    if let Some(path) = hotread_testkit::part() {
        return open_and_say(&path);
    }
    let scratch = Scratch::new();
    let store = scratch.open();
    let pid = std::process::id();
    let holder = || match Store::open(scratch.path()).unwrap_err() {
        OpenError::InUse { holder, .. } => holder,
        other => panic!("{other}"),
    };
    assert_eq!((holder().pid, holder().url), (pid, None));
    let said = in_another_process(&scratch.path());
    assert!(said.contains(&format!("IN_USE: {}", scratch.path().display())));
    assert!(said.contains(&format!("process {pid}")), "{said}");

    store.announce("http://127.0.0.1:7070").unwrap();
    assert_eq!(holder().url.as_deref(), Some("http://127.0.0.1:7070"));
    let said = in_another_process(&scratch.path());
    assert!(
        said.contains("serves it at http://127.0.0.1:7070"),
        "{said}"
    );
    assert_eq!(migrate::up(scratch.path()).unwrap_err().code(), Code::InUse);
    // Any other text in the file is ignored.
    std::fs::write(scratch.file("test.db.lock"), [0xff; 10_000]).unwrap();
    assert_eq!(holder().pid, 0);

    // Readers are admitted.
    read_only(&scratch.path()).unwrap();
    let clone = store.clone();
    drop(store);
    assert_eq!(holder().pid, 0);
    drop(clone);
    assert!(in_another_process(&scratch.path()).contains("it opened"));
    drop(scratch.open());
}

#[cfg(unix)]
#[test]
fn one_file_has_one_writer_whatever_it_is_called() {
    let scratch = Scratch::new();
    let link = scratch.file("link.db");
    std::os::unix::fs::symlink("test.db", &link).unwrap();
    let elsewhere = scratch.file("elsewhere");
    std::os::unix::fs::symlink(scratch.path().parent().unwrap(), &elsewhere).unwrap();
    let store = scratch.open();
    for path in [link.clone(), elsewhere.join("test.db")] {
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error.code(), Code::InUse, "{error}");
    }
    drop(store);
    let store = Store::open(&link).unwrap();
    assert_eq!(Store::open(scratch.path()).unwrap_err().code(), Code::InUse);
    drop(store);
}

// ---- full ----

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
