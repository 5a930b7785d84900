//! Damage in the write-ahead log of a database that no process has open: commits that would be skipped
//! are noticed and reported.

use crate::common::{Numbers, Scratch, name, put};
use hotread_proto::{Code, Txn};
use hotread_store::{Report, Store, Synchronous, TableOptions, WalDamage};
use rusqlite::Connection;
use std::path::Path;

const HEADER: usize = 32;
const FRAME: usize = 24 + 4096;
/// Number of commits after the one that creates the table.
const COMMITS: u64 = 40;

/// Returns a database and its log in the state that a killed process leaves.
fn left_by_a_killed_process() -> (Vec<u8>, Vec<u8>) {
    let scratch = Scratch::new();
    let store = scratch.open();
    store
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    drop(store);
    let store = Store::builder(scratch.path())
        .synchronous(Synchronous::Full)
        .open()
        .unwrap();
    for n in 0..COMMITS {
        let value = format!("\"{}\"", "x".repeat(100 * (n as usize % 50)));
        store
            .commit(&name("t"), Txn::new().put(put("a", &value)))
            .unwrap();
    }
    let read = |file: &str| std::fs::read(scratch.file(file)).unwrap();
    let files = (read("test.db"), read("test.db-wal"));
    // This process has read the files, which released SQLite's locks; no other process has them open.
    drop(store);
    files
}

/// Returns, for each frame, `true` if it ends a commit.
fn commits(wal: &[u8]) -> Vec<bool> {
    let frames = wal[HEADER..].chunks_exact(FRAME);
    frames.map(|frame| frame[4..8] != [0; 4]).collect()
}

/// Returns the damage that opening reports, and the report of a check before it.
fn look(database: &[u8], wal: &[u8]) -> (Option<WalDamage>, Report) {
    let scratch = Scratch::new();
    std::fs::write(scratch.path(), database).unwrap();
    std::fs::write(scratch.file("test.db-wal"), wal).unwrap();
    let reader = |path: &Path| Store::builder(path).read_only(true).open();
    let report = reader(&scratch.path()).unwrap().verify().unwrap();
    // The check changes nothing.
    assert!(std::fs::read(scratch.file("test.db-wal")).unwrap() == wal);
    let store = Store::open(scratch.path()).unwrap();
    let damage = store.wal_damage();
    drop(store);
    assert_eq!(scratch.open().wal_damage(), None, "it is said once");
    (damage, report)
}

#[test]
fn an_intact_log_is_not_reported() {
    let (database, wal) = left_by_a_killed_process();
    let (damage, report) = look(&database, &wal);
    assert_eq!((damage, report.wal), (None, None));
    assert_eq!(report.problems, [""; 0]);
}

#[test]
fn a_log_that_was_cut_off_while_it_was_written_is_not_reported() {
    let (database, wal) = left_by_a_killed_process();
    let mut numbers = Numbers(1);
    for n in 0..60 {
        let end = match n {
            0 => HEADER,
            1 => HEADER + FRAME,
            _ => HEADER + numbers.below((wal.len() - HEADER) as u64) as usize,
        };
        let (damage, report) = look(&database, &wal[..end]);
        assert_eq!((damage, report.wal), (None, None), "cut at {end}");
    }
}

#[test]
fn frames_that_were_taken_back_are_not_reported() {
    let scratch = Scratch::new();
    drop(scratch.open());
    let db = Connection::open(scratch.path()).unwrap();
    for (pragma, value) in [("cache_size", 5), ("wal_autocheckpoint", 0)] {
        db.pragma_update(None, pragma, value).unwrap();
    }
    let insert = |n: i32| {
        let sql = "INSERT INTO meta VALUES (?1, zeroblob(3000))";
        db.execute(sql, [format!("{n}")]).unwrap();
    };
    // A transaction begins to write and is rolled back; two commits overwrite its first frames.
    db.execute_batch("BEGIN").unwrap();
    (0..200).for_each(insert);
    db.execute_batch("ROLLBACK").unwrap();
    insert(1);
    insert(2);
    let read = |file: &str| std::fs::read(scratch.file(file)).unwrap();
    let (database, wal) = (read("test.db"), read("test.db-wal"));
    let (all, committed) = (
        commits(&wal).len(),
        commits(&wal).iter().filter(|is| **is).count(),
    );
    assert!(committed == 2 && all > 50, "{committed} of {all}");
    drop(db);
    let (damage, report) = look(&database, &wal);
    assert_eq!((damage, report.wal), (None, None));
}

#[test]
fn damage_before_later_commits_is_reported() {
    let (database, wal) = left_by_a_killed_process();
    let commits = commits(&wal);
    let after = |frame: usize| commits[frame..].iter().filter(|is| **is).count() as u64;
    let mut numbers = Numbers(2);
    let mut certain = 0;
    for frame in (0..commits.len()).step_by(commits.len() / 40) {
        // In its number, its salt, its checksum, and its page.
        let places = [0, 3, 8, 17, 24 + numbers.below(4096) as usize];
        let place = places[numbers.below(5) as usize];
        let mut damaged = wal.clone();
        damaged[HEADER + frame * FRAME + place] ^= 1 << numbers.below(8);
        let (damage, report) = look(&database, &damaged);
        // A frame with a broken checksum makes the next one unprovable as well.
        let provable = after((frame + 2).min(commits.len()));
        if provable == 0 {
            continue;
        }
        let damage = damage.unwrap_or_else(|| panic!("frame {frame}, byte {place}"));
        assert_eq!(report.wal, Some(damage));
        assert_eq!(damage.frame, frame as u64 + 1);
        assert!(damage.commits >= provable && damage.commits <= after(frame));
        assert_eq!(damage.certain, damage.commits > 1);
        let said = report
            .problems
            .iter()
            .any(|line| line.contains("write-ahead log"));
        assert_eq!(said, damage.certain, "{:?}", report.problems);
        certain += u64::from(damage.certain);
    }
    assert!(certain > 20, "{certain}");
}

#[test]
fn a_damaged_header_of_the_log_is_reported() {
    let (database, wal) = left_by_a_killed_process();
    for at in 0..HEADER {
        let mut damaged = wal.clone();
        damaged[at] ^= 0x10;
        let (damage, report) = look(&database, &damaged);
        let damage = damage.unwrap_or_else(|| panic!("byte {at}"));
        assert_eq!((damage.frame, damage.certain), (0, true));
        assert!(damage.commits >= COMMITS, "{damage:?}");
        assert_eq!(report.wal, Some(damage));
        assert_ne!(report.problems, [""; 0]);
    }
}

#[test]
fn a_damaged_header_of_a_log_already_moved_is_not_reported() {
    let scratch = Scratch::new();
    let store = scratch.open();
    store
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    for n in 0..20 {
        let txn = Txn::new().put(put("a", &n.to_string()));
        store.commit(&name("t"), txn).unwrap();
    }
    // Everything is in the database then, and still in the log.
    let other = Connection::open(scratch.path()).unwrap();
    let moved = "PRAGMA wal_checkpoint(PASSIVE)";
    other.query_row(moved, [], |_| Ok(())).unwrap();
    let read = |file: &str| std::fs::read(scratch.file(file)).unwrap();
    let (database, mut wal) = (read("test.db"), read("test.db-wal"));
    drop((other, store));
    wal[20] ^= 1;
    let (damage, report) = look(&database, &wal);
    assert_eq!((damage, report.wal), (None, None));
}

#[test]
fn a_database_that_is_all_in_a_damaged_log_is_not_taken_for_a_new_one() {
    let scratch = Scratch::new();
    let store = scratch.open();
    store
        .create_table(&name("t"), TableOptions::default())
        .unwrap();
    let read = |file: &str| std::fs::read(scratch.file(file)).unwrap();
    let (database, mut wal) = (read("test.db"), read("test.db-wal"));
    drop(store);
    wal[HEADER + 100] ^= 1;
    let scratch = Scratch::new();
    std::fs::write(scratch.path(), &database).unwrap();
    std::fs::write(scratch.file("test.db-wal"), &wal).unwrap();
    for error in [
        Store::open(scratch.path()).unwrap_err(),
        Store::builder(scratch.path())
            .create(false)
            .open()
            .unwrap_err(),
        Store::builder(scratch.path())
            .read_only(true)
            .open()
            .unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Corrupt, "{error}");
    }
    assert!(std::fs::read(scratch.file("test.db-wal")).unwrap() == wal);
}
