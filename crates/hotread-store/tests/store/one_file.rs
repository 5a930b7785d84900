//! One file has one writer, whatever its name; and the file that is written is the one of that name.
#![cfg(unix)]

use crate::common::{HANG, Mounted, Scratch, key, name, put};
use hotread_proto::{Code, Position, Txn};
use hotread_store::{CommitError, OpenError, StorageError, Store, Synchronous, TableOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn with_table(scratch: &Scratch) -> Store {
    let store = scratch.open();
    store
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    store
}

fn set(store: &Store, value: &str) -> Result<(), CommitError> {
    store
        .commit(&name("t"), Txn::new().put(put("a", value)))
        .map(|_| ())
}

fn get(store: &Store) -> Vec<u8> {
    let record = store.get(&name("t"), &key("a")).unwrap();
    record.expect("it was committed").value().to_vec()
}

#[track_caller]
fn is_moved(done: Result<(), CommitError>) {
    let error = done.unwrap_err();
    assert!(
        matches!(error, CommitError::Storage(StorageError::Moved { .. })),
        "{error}"
    );
    assert_eq!(error.code(), Code::StorageError);
}

/// Waits for the check of the names, which runs every second.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < HANG, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_hard_link_does_not_open_a_second_writer() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    let other = scratch.file("other.db");
    std::fs::hard_link(scratch.path(), &other).unwrap();
    let error = Store::open(&other).unwrap_err();
    assert!(
        matches!(error, OpenError::SeveralNames { names: 2, .. }),
        "{error}"
    );
    assert_eq!(error.code(), Code::InUse);
    // The present writer continues; while the link exists, the file cannot be opened again.
    for n in 0..100 {
        set(&store, &n.to_string()).unwrap();
    }
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
    drop(store);
    let error = Store::open(scratch.path()).unwrap_err();
    assert!(matches!(error, OpenError::SeveralNames { .. }), "{error}");
    std::fs::remove_file(other).unwrap();
    assert_eq!(get(&scratch.open()), b"99");
}

#[test]
fn without_its_lock_file_a_database_still_has_one_writer() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    std::fs::remove_file(scratch.file("test.db.lock")).unwrap();
    let error = Store::open(scratch.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    set(&store, "1").unwrap();
    drop(store);
    assert_eq!(get(&scratch.open()), b"1");
}

#[test]
fn a_mounted_name_does_not_open_a_second_writer() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("mounted.db");
    std::fs::write(&other, "").unwrap();
    let Some(_mounted) = Mounted::file(&scratch.path(), &other) else {
        return;
    };
    let error = Store::open(&other).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    set(&store, "1").unwrap();
    // SQLite keeps the descriptor of the refused one, since closing it would drop locks.
    drop(store);
}

#[test]
fn refused_writers_take_no_lock_from_the_one_that_writes() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    for n in 0..20 {
        set(&store, &n.to_string()).unwrap();
        Store::open(scratch.path()).unwrap_err();
        let reader = Store::builder(scratch.path()).read_only(true).open();
        assert_eq!(get(&reader.unwrap()), n.to_string().as_bytes());
    }
    // A closing descriptor would have dropped SQLite's locks: the last connection of another process
    // would then remove the log.
    let own = format!(" {} ", std::process::id());
    if cfg!(target_os = "linux") {
        use std::os::unix::fs::MetadataExt;
        let inode = format!(":{} ", std::fs::metadata(scratch.path()).unwrap().ino());
        let held = || -> Vec<String> {
            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            let own = |line: &&str| line.contains(&own) && line.contains(&inode);
            locks.lines().filter(own).map(str::to_owned).collect()
        };
        // The list is read in parts, between which others may change it, so that a line may be missing.
        let has_both = |held: &[String]| {
            ["POSIX", "FLOCK"]
                .iter()
                .all(|kind| held.iter().any(|line| line.contains(kind)))
        };
        let seen = (0..100).map(|_| held()).find(|held| has_both(held));
        assert!(seen.is_some(), "{:?}", held());
    }
}

#[test]
fn a_database_that_is_moved_away_is_read_and_not_written() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    set(&store, "1").unwrap();
    let elsewhere = scratch.file("moved.db");
    std::fs::rename(scratch.path(), &elsewhere).unwrap();
    is_moved(set(&store, "2"));
    assert_eq!(get(&store), b"1");
    assert!(store.stats().halted.is_some());
    is_moved(store.check_writable());
    // Under its new name, it is in use as well.
    let error = Store::open(&elsewhere).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    std::fs::rename(&elsewhere, scratch.path()).unwrap();
    set(&store, "3").unwrap();
    store.check_writable().unwrap();
    assert_eq!(get(&store), b"3");
}

#[test]
fn a_database_that_is_replaced_or_deleted_is_not_written() {
    for replace in [true, false] {
        let scratch = Scratch::new();
        let store = with_table(&scratch);
        set(&store, "1").unwrap();
        if replace {
            let other = scratch.file("other.db");
            drop(Store::open(&other).unwrap());
            std::fs::rename(other, scratch.path()).unwrap();
        } else {
            std::fs::remove_file(scratch.path()).unwrap();
        }
        // Also without any writes.
        eventually("the name is not checked", || {
            store.check_writable().is_err()
        });
        is_moved(set(&store, "2"));
        let error = store
            .create_table(&name("u"), TableOptions::default())
            .unwrap_err();
        assert!(error.to_string().contains("moved or deleted"), "{error}");
        assert_eq!(get(&store), b"1");
    }
}

#[test]
fn a_log_that_is_deleted_stops_writing_and_loses_nothing() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    set(&store, "1").unwrap();
    let log = scratch.file("test.db-wal");
    std::fs::remove_file(&log).unwrap();
    is_moved(set(&store, "2"));
    // Closing writes the log into the database, although no name leads to that file any more.
    drop(store);
    let store = scratch.open();
    assert_eq!(get(&store), b"1");
    set(&store, "2").unwrap();
}

#[test]
fn no_reader_is_given_another_file_of_the_same_name() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    set(&store, "1").unwrap();
    let other = scratch.file("other.db");
    {
        let store = Store::open(&other).unwrap();
        store
            .create_table(&name("t"), TableOptions::default())
            .unwrap();
        set(&store, "\"another\"").unwrap();
    }
    std::fs::rename(other, scratch.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                // New connections are refused.
                if let Ok(Some(record)) = store.get(&name("t"), &key("a")) {
                    assert_eq!(record.value(), b"1");
                }
            });
        }
    });
}

/// Returns the content of the file alone, without its log.
fn alone(scratch: &Scratch) -> Vec<u8> {
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("alone.db");
    std::fs::copy(scratch.path(), &path).unwrap();
    get(&Store::builder(path).read_only(true).open().unwrap())
}

#[test]
fn a_store_that_is_closed_is_one_file_whoever_still_follows_it() {
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        let scratch = Scratch::new();
        let store = Store::builder(scratch.path())
            .synchronous(synchronous)
            .open()
            .unwrap();
        store
            .create_table(&name("t"), TableOptions::default())
            .unwrap();
        let epoch = store.table_info(&name("t")).unwrap().position.epoch;
        let following = store.subscribe(&name("t"), Position { epoch, seq: 0 });
        let following = following.unwrap();
        set(&store, "1").unwrap();
        let clone = store.clone();
        clone.close();
        assert_eq!(alone(&scratch), b"1");
        // The other clones still read, and get an error for writes.
        assert_eq!(get(&store), b"1");
        assert_eq!(set(&store, "2").unwrap_err(), CommitError::Closed);
        clone.close();
        drop((store, clone));
        assert_eq!(alone(&scratch), b"1");
        set(&scratch.open(), "2").unwrap();
        assert_eq!(alone(&scratch), b"2");
        drop(following);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_created_is_its_owners_alone() {
    let scratch = Scratch::new();
    let store = with_table(&scratch);
    set(&store, "1").unwrap();
    store.get(&name("t"), &key("a")).unwrap();
    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    for ending in ["", "-wal", "-shm", ".lock"] {
        let file = scratch.file(&format!("test.db{ending}"));
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&backup), 0o600);
    let restored = scratch.file("restored.db");
    Store::restore(&backup, &restored).unwrap();
    assert_eq!(mode(&restored), 0o600);
    // Permissions that others were given are kept, for all files of the database.
    drop(store);
    let group = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(scratch.path(), group).unwrap();
    std::fs::remove_file(scratch.file("test.db.lock")).unwrap();
    let store = scratch.open();
    set(&store, "2").unwrap();
    assert_eq!(mode(&scratch.path()), 0o660);
    assert_eq!(mode(&scratch.file("test.db-wal")), 0o660);
}
