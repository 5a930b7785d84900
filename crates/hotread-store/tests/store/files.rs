//! Foreign, locked and read-only files: the errors, and the files, which stay as they are.

use crate::common::{Mounted, Scratch, files, key, name, put};
use hotread_proto::{Code, Txn};
use hotread_store::{CommitError, OpenError, StorageError, Store, TableOptions, migrate};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn read_only(path: &Path) -> Result<Store, OpenError> {
    Store::builder(path).read_only(true).open()
}

/// Closes a connection without moving its WAL into the database.
fn leave_wal(db: Connection) {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    db.close().unwrap();
}

/// Removes the index of a WAL, which SQLite rebuilds as needed.
pub(super) fn without_shm(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
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

#[cfg(unix)]
#[test]
fn a_path_that_cannot_be_followed_is_named_with_the_reason() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new();
    let (one, two) = (scratch.file("one.db"), scratch.file("two.db"));
    symlink(&one, &two).unwrap();
    symlink(&two, &one).unwrap();
    let slash = |name: &str| scratch.file(&format!("{name}/"));
    std::fs::write(scratch.file("some.db"), "").unwrap();
    let attempts = |path: std::path::PathBuf| {
        [
            Store::open(&path).unwrap_err(),
            read_only(&path).unwrap_err(),
            migrate::status(&path).unwrap_err(),
        ]
    };
    for path in [one.clone(), one.join("x.db")] {
        for error in attempts(path) {
            assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains("symbolic links"), "{error}");
            assert_eq!(error.code(), Code::NoSuchFile);
        }
    }
    for path in [slash("new.db"), slash("some.db")] {
        for error in attempts(path) {
            assert!(matches!(error, OpenError::NotAFile { .. }), "{error}");
            let advice = "give the path of a database, without the slash at its end";
            assert!(error.to_string().ends_with(advice), "{error}");
        }
    }
    std::fs::create_dir(scratch.file("folder")).unwrap();
    for error in attempts(slash("folder")) {
        assert!(
            error.to_string().ends_with("the path of a database"),
            "{error}"
        );
    }
    assert!(!scratch.file("new.db").exists());
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
