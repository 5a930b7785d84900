//! Disks without room for the index of the write-ahead log, which SQLite needs even for reading.

#![cfg(target_os = "linux")]

use crate::common::{HANG, Mounted, Scratch, key, name, put};
use hotread_proto::{Code, TableName, Txn};
use hotread_store::{Store, TableOptions};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KIB: u64 = 2048;

/// A database on a disk without a free page.
struct Full {
    path: PathBuf,
    table: TableName,
    filler: PathBuf,
    _mounted: Mounted,
    _scratch: Scratch,
}

impl Full {
    /// Creates it with some of the files of a database in which `a` is 1: several files are those of a
    /// killed process, one file is that of an orderly stop. `None`: this process may not mount.
    fn with(endings: &[&str]) -> Option<Self> {
        let scratch = Scratch::new();
        let directory = scratch.file("small");
        std::fs::create_dir(&directory).unwrap();
        let mounted = Mounted::tmpfs(&directory, KIB)?;
        let (path, table) = (directory.join("test.db"), name("t"));
        let elsewhere = scratch.file("elsewhere.db");
        let store = Store::open(&elsewhere).unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
        let kept = (endings.len() > 1).then(|| store.clone());
        drop(store);
        for ending in endings {
            let file = |path: &Path| format!("{}{ending}", path.to_str().unwrap());
            std::fs::copy(file(&elsewhere), file(&path)).unwrap();
        }
        drop(kept);
        let filler = directory.join("filler");
        let mut file = File::create(&filler).unwrap();
        while file.write(&[7; 4096]).is_ok_and(|bytes| bytes > 0) {}
        Some(Self {
            path,
            table,
            filler,
            _mounted: mounted,
            _scratch: scratch,
        })
    }

    fn reads(&self, store: &Store, value: &[u8]) {
        let found = store.get(&self.table, &key("a")).unwrap().unwrap();
        assert_eq!(found.value(), value);
        let mut handle = store.handle(&self.table).unwrap();
        assert_eq!(handle.current().get("a").unwrap().value(), value);
    }

    fn make_room(&self) {
        std::fs::remove_file(&self.filler).unwrap();
    }

    /// Checks that the store, opened for writing, reads at once, and writes once there is room.
    fn is_read_and_then_written(&self) {
        let store = Store::open(&self.path).unwrap();
        assert!(index_bytes(&self.path) < 4096, "there was room for it");
        self.reads(&store, b"1");
        let refused = store.check_writable().unwrap_err();
        assert_eq!(refused.code(), Code::StorageFull, "{refused}");
        let two = || store.commit(&self.table, Txn::new().put(put("a", "2")));
        let refused = two().unwrap_err();
        assert_eq!(refused.code(), Code::StorageFull, "{refused}");
        self.reads(&store, b"1");
        assert!(store.verify().unwrap().problems.is_empty());

        self.make_room();
        let begun = Instant::now();
        while let Err(e) = store.check_writable() {
            assert!(begun.elapsed() < HANG, "{e}");
            std::thread::sleep(Duration::from_millis(20));
        }
        two().unwrap();
        self.reads(&store, b"2");
        assert!(store.verify().unwrap().problems.is_empty());
        drop(store);

        // The next opening is as usual, and admits readers.
        let store = Store::open(&self.path).unwrap();
        self.reads(&store, b"2");
        assert!(index_bytes(&self.path) > 0);
        drop(store);
    }
}

/// Returns the size of the index of the write-ahead log on the disk.
fn index_bytes(path: &Path) -> u64 {
    let index = format!("{}-shm", path.to_str().unwrap());
    std::fs::metadata(index).map_or(0, |meta| meta.len())
}

#[test]
fn a_database_at_rest_is_read_without_room_for_an_index() {
    let Some(full) = Full::with(&[""]) else {
        return;
    };
    full.is_read_and_then_written();
}

#[test]
fn a_log_is_read_without_room_for_its_index() {
    let Some(full) = Full::with(&["", "-wal"]) else {
        return;
    };
    full.is_read_and_then_written();
}

#[test]
fn what_an_attempt_without_room_leaves_is_no_obstacle() {
    let Some(full) = Full::with(&[""]) else {
        return;
    };
    // Empty files, as SQLite leaves them if it cannot continue.
    for ending in ["-wal", "-shm"] {
        File::create(format!("{}{ending}", full.path.to_str().unwrap())).unwrap();
    }
    drop(Store::open(&full.path).unwrap());
    full.is_read_and_then_written();
}

#[test]
fn a_store_that_only_reads_needs_no_room_and_holds_no_writer_up() {
    for endings in [&[""][..], &["", "-wal"]] {
        let Some(full) = Full::with(endings) else {
            return;
        };
        let reads = Store::builder(&full.path).read_only(true).open().unwrap();
        full.reads(&reads, b"1");
        assert!(reads.verify().unwrap().problems.is_empty());
        full.make_room();
        let writes = Store::open(&full.path).unwrap();
        let txn = Txn::new().put(put("a", "2"));
        writes.commit(&full.table, txn).unwrap();
        let found = reads.get(&full.table, &key("a")).unwrap().unwrap();
        assert_eq!(found.value(), b"2");
    }
}

#[test]
fn without_room_another_process_is_told_that_the_database_is_locked() {
    if let Some(path) = hotread_testkit::part() {
        let error = Store::builder(path).read_only(true).open().unwrap_err();
        assert_eq!(error.code(), Code::InUse, "{error}");
        return;
    }
    let Some(full) = Full::with(&["", "-wal"]) else {
        return;
    };
    let store = Store::open(&full.path).unwrap();
    full.reads(&store, b"1");
    let test = hotread_testkit::this_test();
    let read = hotread_testkit::process(&test, full.path.to_str().unwrap()).output();
    let read = read.unwrap();
    assert!(read.status.success(), "{read:?}");
    full.reads(&store, b"1");
}
