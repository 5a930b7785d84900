//! Backups and their restoration.

use crate::common::{self, Scratch, files, key, name, put};
use hotread_proto::{Code, Hasher, Position, Txn, TxnId};
use hotread_store::{
    BackupError, Passphrase, Role, SealError, Store, StoreBuilder, TableInfo, TableOptions, migrate,
};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn sealed(path: &Path, passphrase: &str) -> StoreBuilder {
    Store::builder(path)
        .passphrase(Passphrase::new(passphrase).unwrap())
        .quick_keys()
}

/// Removes the epoch, which a restored table draws again.
fn lasting(info: &TableInfo) -> TableInfo {
    let mut info = info.clone();
    info.position.epoch = hotread_proto::Epoch(0);
    info
}

/// Sets the flag on drop, even after a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_backup_under_writes_is_a_state_that_there_was() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let (a, b) = (name("a"), name("b"));
    for table in [&a, &b] {
        let options = TableOptions {
            search: true,
            ..TableOptions::default()
        };
        store.create_table(table, options).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                n += 1;
                let value = format!("\"{n} {}\"", "x".repeat(500));
                // A transaction of `b` follows that of `a`.
                for table in [&a, &b] {
                    let txn = Txn::new()
                        .put(put(&format!("{}", n % 100), &value))
                        .put(put("last", &n.to_string()));
                    store.commit(table, txn).unwrap();
                }
            }
        });
        let _stop = Stop(&done);
        let mut last = 0;
        for n in 0..8 {
            let target = scratch.file(&format!("backup-{n}.db"));
            let before = store.table_info(&b).unwrap().position.seq;
            store.backup(&target).unwrap();
            let after = store.table_info(&a).unwrap().position.seq;

            let copy = Store::builder(&target).read_only(true).open().unwrap();
            let report = copy.verify().unwrap();
            assert_eq!(report.problems, [""; 0]);
            let [at_a, at_b] = [&a, &b].map(|table| copy.table_info(table).unwrap().position);
            assert!(before <= at_b.seq && at_a.seq <= after);
            assert!(at_a.seq == at_b.seq || at_a.seq == at_b.seq + 1);
            assert!(at_a.seq >= last);
            last = at_a.seq;
            for (table, at) in [(&a, at_a), (&b, at_b)] {
                assert_eq!(at.epoch, store.table_info(table).unwrap().position.epoch);
                if at.seq > 0 {
                    let digest = store.digest_at(table, at).unwrap();
                    assert_eq!(digest, Some(copy.table_info(table).unwrap().digest));
                    let found = copy.get(table, &key("last")).unwrap().unwrap();
                    assert_eq!(found.value(), at.seq.to_string().as_bytes());
                }
            }
        }
    });
}

#[test]
fn what_is_there_is_not_overwritten() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    let target = scratch.file("target.db");
    for content in ["", "mine"] {
        std::fs::write(&target, content).unwrap();
        for error in [
            store.backup(&target).unwrap_err(),
            store.backup(scratch.path()).unwrap_err(),
            Store::restore(&backup, &target).unwrap_err(),
            Store::restore(&backup, &backup).unwrap_err(),
        ] {
            assert!(matches!(error, BackupError::Exists { .. }), "{error}");
            assert_eq!(error.code(), Code::BadRequest);
        }
        assert_eq!(std::fs::read(&target).unwrap(), content.as_bytes());
    }
    let nowhere = scratch.file("no/such/backup.db");
    let error = store.backup(&nowhere).unwrap_err();
    assert!(matches!(error, BackupError::File { .. }), "{error}");
    assert!(error.to_string().contains("no/such/backup.db"), "{error}");
}

/// Returns the folder in which a copy is written until it is complete.
fn staging(target: &Path) -> std::path::PathBuf {
    let name = target.file_name().unwrap().to_str().unwrap();
    target.with_file_name(format!(".{name}.hotread-part"))
}

#[cfg(unix)]
#[test]
fn what_a_dead_process_has_left_is_removed_by_the_next_backup() {
    use std::os::unix::fs::DirBuilderExt;
    let scratch = Scratch::new();
    let store = scratch.open();
    let (monday, tuesday) = (scratch.file("monday.db"), scratch.file("tuesday.db"));
    for target in [&monday, &tuesday] {
        let left = staging(target);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&left)
            .unwrap();
        for file in ["lock", "part", "part-journal"] {
            std::fs::write(left.join(file), "half of it").unwrap();
        }
    }
    store.backup(&tuesday).unwrap();
    assert!(!staging(&monday).exists() && !staging(&tuesday).exists());
    assert!(!monday.exists());
    let copy = Store::builder(&tuesday).read_only(true).open().unwrap();
    assert_eq!(copy.verify().unwrap().problems, [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_copy_that_another_process_is_writing_is_left_alone() {
    use std::os::unix::fs::DirBuilderExt;
    let scratch = Scratch::new();
    let store = scratch.open();
    let (target, other) = (scratch.file("backup.db"), scratch.file("other.db"));
    let folder = staging(&target);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .unwrap();
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    std::fs::write(folder.join("part"), "half of it").unwrap();
    let error = store.backup(&target).unwrap_err();
    assert!(matches!(error, BackupError::File { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    store.backup(&other).unwrap();
    assert_eq!(std::fs::read(folder.join("part")).unwrap(), b"half of it");
    drop(lock);
    store.backup(&target).unwrap();
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_read_is_not_written_to() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let target = scratch.file("backup.db");
    std::fs::create_dir(staging(&target)).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(staging(&target), open).unwrap();
    let error = store.backup(&target).unwrap_err();
    assert!(error.to_string().contains("private folder"), "{error}");
    assert!(!target.exists());
}

#[test]
fn nothing_is_restored_next_to_the_log_of_another_database() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    for ending in ["-wal", "-journal"] {
        let target = scratch.file(&format!("new{ending}.db"));
        let left = scratch.file(&format!("new{ending}.db{ending}"));
        std::fs::write(&left, "of another database").unwrap();
        let error = Store::restore(&backup, &target).unwrap_err();
        assert!(
            matches!(&error, BackupError::Exists { path } if path.ends_with(left.file_name().unwrap())),
            "{error}"
        );
        assert!(!target.exists());
    }
}

#[test]
fn a_restored_database_is_the_same_in_new_epochs() {
    let scratch = Scratch::new();
    let (plain, secret) = (name("plain"), name("secret"));
    let store = sealed(&scratch.path(), "one").open().unwrap();
    let options = TableOptions {
        search: true,
        ..TableOptions::default()
    };
    store.create_table(&plain, options).unwrap();
    let options = TableOptions {
        sealed: true,
        ..TableOptions::default()
    };
    store.create_table(&secret, options).unwrap();
    let txn = |n: i32| {
        Txn::new()
            .id(TxnId::new(&format!("id-{n}")).unwrap())
            .put(put("a", &format!("\"word {n}\"")))
            .put(put(&n.to_string(), "1"))
    };
    for n in 0..5 {
        for table in [&plain, &secret] {
            store.commit(table, txn(n)).unwrap();
        }
    }
    let last = store.commit(&plain, txn(4)).unwrap();
    let admin = store.create_token("ops", Role::Admin, None).unwrap();
    let reader = store.create_token("api", Role::Read, None).unwrap();
    let tokens = store.tokens().unwrap();
    let backup = scratch.file("backup.db");
    store.backup(&backup).unwrap();
    store.revoke_token(&reader.info.id).unwrap();
    let infos = store.tables().unwrap();
    drop(store);
    let original = std::fs::read(&backup).unwrap();
    let restored = scratch.file("restored.db");
    // Restoring needs no passphrase.
    Store::restore(&backup, &restored).unwrap();
    assert_eq!(std::fs::read(&backup).unwrap(), original);
    let present: Vec<_> = files(scratch.path().parent().unwrap())
        .into_keys()
        .collect();
    assert_eq!(
        present,
        ["backup.db", "restored.db", "test.db", "test.db.lock"]
    );

    let store = sealed(&restored, "one").open().unwrap();
    // The tokens are those of the backup, including one that has been revoked since.
    assert_eq!(store.tokens().unwrap(), tokens);
    for token in [&admin, &reader] {
        assert_eq!(
            store.authenticate(&token.secret).as_deref(),
            Some(&token.info)
        );
    }
    let now = store.tables().unwrap();
    for (before, now) in infos.iter().zip(&now) {
        assert_eq!(lasting(before), lasting(now));
        assert_ne!(before.position.epoch, now.position.epoch);
        let table = &now.name;
        // A subscriber of the old table gets an error; the history itself continues.
        assert!(store.changes(table, before.position, 10).is_err());
        let start = Position {
            seq: 0,
            ..now.position
        };
        let changes = store.changes(table, start, 10).unwrap();
        assert_eq!(changes.len(), 5);
        assert_eq!(changes[4].digest, before.digest);
        // Transaction ids are remembered.
        let again = store.commit(table, txn(3)).unwrap();
        assert_eq!(again.position, Position { seq: 4, ..start });
        let found = store.get(table, &key("a")).unwrap().unwrap();
        assert_eq!(found.value(), b"\"word 4\"");
    }
    let again = store.commit(&plain, txn(4)).unwrap();
    assert_eq!((again.position.seq, again.at), (last.position.seq, last.at));
    assert!(
        store
            .live(&plain)
            .unwrap()
            .snapshot()
            .verify(&Hasher::PLAIN)
    );
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
    store.commit(&secret, txn(9)).unwrap();
    drop(store);
    let store = sealed(&restored, "two").open().unwrap();
    let error = store.get(&secret, &key("a")).unwrap_err();
    assert_eq!(error.code(), Code::WrongPassphrase);
    assert!(
        error
            .to_string()
            .contains(&SealError::WrongPassphrase.to_string())
    );
    assert!(store.get(&plain, &key("a")).unwrap().is_some());
    drop(store);
    let store = sealed(&restored, "one").open().unwrap();
    assert!(store.get(&secret, &key("9")).unwrap().is_some());
}

#[test]
fn an_older_backup_is_restored_to_the_newest_version() {
    let scratch = Scratch::new();
    let table = name("t");
    {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    }
    migrate::down(scratch.path(), 1).unwrap();
    let before = files(scratch.path().parent().unwrap());
    let target = scratch.file("restored.db");
    Store::restore(scratch.path(), &target).unwrap();
    let mut after = files(scratch.path().parent().unwrap());
    after.remove("restored.db").unwrap();
    // SQLite may leave an index, and an empty log.
    after.remove("test.db-shm");
    assert!(after.remove("test.db-wal").is_none_or(|wal| wal.is_empty()));
    assert!(after == before);
    assert_eq!(migrate::status(&target).unwrap().version, migrate::LATEST);
    let store = Store::open(&target).unwrap();
    assert!(store.get(&table, &key("a")).unwrap().is_some());
}

#[test]
fn what_cannot_be_restored_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let table = name("t");
    let backup = scratch.file("backup.db");
    {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        for n in 0..50 {
            let txn = Txn::new().put(put(&n.to_string(), &format!("\"{}\"", "x".repeat(400))));
            store.commit(&table, txn).unwrap();
        }
        store.backup(&backup).unwrap();
    }
    let good = std::fs::read(&backup).unwrap();
    let target = scratch.file("restored.db");
    let refused = |expected: Code| {
        let before = files(scratch.path().parent().unwrap());
        let error = Store::restore(&backup, &target).unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
        assert!(error.to_string().contains("backup.db"), "{error}");
        let after = files(scratch.path().parent().unwrap());
        assert!(before == after, "{:?}", after.keys());
    };
    for page in 1..good.len() / 4096 {
        let mut bad = good.clone();
        bad[page * 4096..][..4096].fill(0x5a);
        std::fs::write(&backup, bad).unwrap();
        refused(Code::Corrupt);
    }
    std::fs::write(&backup, &good[..good.len() - 4096]).unwrap();
    refused(Code::Corrupt);
    std::fs::write(&backup, "text").unwrap();
    refused(Code::Foreign);
    std::fs::write(&backup, &good).unwrap();
    let db = Connection::open(&backup).unwrap();
    db.pragma_update(None, "user_version", migrate::LATEST + 1)
        .unwrap();
    db.close().unwrap();
    refused(Code::NewerSchema);
    std::fs::remove_file(&backup).unwrap();
    refused(Code::NoSuchFile);

    // A file that is sound for SQLite, but differs from the backup.
    std::fs::write(&backup, &good).unwrap();
    let db = Connection::open(&backup).unwrap();
    db.execute_batch("UPDATE records SET value = x'3132' WHERE key = '7'")
        .unwrap();
    db.close().unwrap();
    refused(Code::Corrupt);
}

#[test]
fn a_backup_that_finds_no_room_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let table = name("t");
    let store = scratch.open();
    store.create_table(&table, TableOptions::default()).unwrap();
    for n in 0..40 {
        let txn = Txn::new().put(put(&n.to_string(), &format!("\"{}\"", "x".repeat(20_000))));
        store.commit(&table, txn).unwrap();
    }
    let directory = scratch.file("small");
    std::fs::create_dir(&directory).unwrap();
    let Some(_mounted) = common::Mounted::tmpfs(&directory, 512) else {
        return;
    };
    let error = store.backup(directory.join("backup.db")).unwrap_err();
    assert_eq!(error.code(), Code::StorageFull, "{error}");
    assert_eq!(files(&directory).len(), 0);
    let error = Store::restore(scratch.path(), directory.join("restored.db")).unwrap_err();
    assert_eq!(error.code(), Code::StorageFull, "{error}");
    assert_eq!(files(&directory).len(), 0);
}
