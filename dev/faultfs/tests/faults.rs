//! Each operation of a workload fails once, in turn, followed by a power failure: acknowledged
//! transactions must be present, whatever the error was.

mod common;

use common::{DATABASE, Mode, Verdict, WAL_FULL, connect, judge, prepared, transact, writer};
use hotread_faultfs::{Counts, Disk, Error, Fault, FileKind, Op};
use rusqlite::{Connection, ErrorCode};

const TRANSACTIONS: u64 = 8;

/// Number of failures in a row after which a fault counts as permanent.
const ATTEMPTS: u32 = 3;

/// Writes all transactions through one connection at a time, and returns the number acknowledged. A
/// failed one is retried, as a program would do, on the same connection or, if `reconnects`, on a
/// new one.
fn work(disk: &Disk, mode: Mode, reconnects: bool) -> u64 {
    let mut connection: Option<Connection> = None;
    let mut acknowledged = 0;
    let mut attempts = 0;
    while acknowledged < TRANSACTIONS && attempts < ATTEMPTS {
        let outcome = connection.take().map_or_else(|| writer(disk, mode), Ok);
        let is_done = match outcome {
            Ok(mut open) => {
                let is_done = transact(&mut open, acknowledged + 1).is_ok();
                connection = Some(open).filter(|_| is_done || !reconnects);
                is_done
            }
            Err(_) => false,
        };
        if is_done {
            acknowledged += 1;
            attempts = 0;
        } else {
            attempts += 1;
        }
    }
    acknowledged
}

/// Makes the first operation fail, then the second, and so on until the workload needs no more.
/// Returns their number.
fn fail_each(mode: Mode, fault: Fault) -> u64 {
    let prepared = prepared(mode);
    let mut after = 0;
    loop {
        let disk = prepared.crash(0);
        disk.fail(Fault { after, ..fault });
        let acknowledged = work(&disk, mode, after % 2 == 0);
        let is_met = disk.counts().faults > 0;
        for seed in 0..3 {
            let image = disk.crash(after * 3 + seed);
            match judge(&image) {
                // A transaction that failed may have taken effect nevertheless.
                Verdict::Whole(last) => assert!(
                    (acknowledged..=acknowledged + 1).contains(&last),
                    "{acknowledged} acknowledged, {last} left; {fault:?} after {after}"
                ),
                broken => panic!("{broken:?} for {fault:?} after {after}, seed {seed}"),
            }
        }
        disk.heal();
        match judge(&disk) {
            Verdict::Whole(last) => assert!(last >= acknowledged),
            broken => panic!("{broken:?} without a crash for {fault:?} after {after}"),
        }
        if !is_met {
            assert_eq!(acknowledged, TRANSACTIONS);
            return after;
        }
        after += 1;
    }
}

fn once(op: Op) -> Fault {
    Fault::nth(op, 1)
}

#[test]
fn each_write_may_fail() {
    assert!(fail_each(WAL_FULL, once(Op::Write)) > 50);
    assert!(
        fail_each(
            WAL_FULL,
            Fault {
                error: Error::Full,
                ..once(Op::Write)
            }
        ) > 50
    );
}

#[test]
fn each_sync_may_fail() {
    assert!(fail_each(WAL_FULL, once(Op::Sync)) > TRANSACTIONS);
}

#[test]
fn each_other_operation_may_fail() {
    for op in [Op::Open, Op::Read, Op::Truncate, Op::Delete, Op::Map] {
        assert!(fail_each(WAL_FULL, once(op)) > 0, "{op:?} does not happen");
    }
}

#[test]
fn the_disk_may_fail_for_good_at_each_operation() {
    let for_good = Fault {
        times: u64::MAX,
        ..once(Op::Any)
    };
    assert!(fail_each(WAL_FULL, for_good) > 100);
}

#[test]
fn each_operation_on_a_rollback_journal_may_fail() {
    for op in [Op::Write, Op::Sync, Op::Open, Op::Delete] {
        assert!(fail_each(Mode("DELETE", "EXTRA"), once(op)) > 1);
    }
}

#[test]
fn a_full_disk_is_reported_as_such_and_forgotten_when_healed() {
    let disk = prepared(WAL_FULL);
    let mut connection = writer(&disk, WAL_FULL).unwrap();
    disk.fail(Fault {
        file: Some(FileKind::Wal),
        error: Error::Full,
        times: u64::MAX,
        ..once(Op::Write)
    });
    let error = transact(&mut connection, 1).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
    disk.heal();
    transact(&mut connection, 1).unwrap();
    assert_eq!(judge(&disk.crash(0)), Verdict::Whole(1));
}

#[test]
fn a_fault_on_the_database_spares_the_log() {
    let disk = prepared(WAL_FULL);
    let mut connection = writer(&disk, WAL_FULL).unwrap();
    let on_database = Some(FileKind::Database);
    disk.fail(Fault {
        file: on_database,
        times: u64::MAX,
        ..once(Op::Write)
    });
    for txn in 1..=TRANSACTIONS {
        // The checkpoint after a commit fails; the commit does not.
        transact(&mut connection, txn).unwrap();
    }
    assert!(disk.counts().faults > 0);
    assert_eq!(judge(&disk.crash(0)), Verdict::Whole(TRANSACTIONS));
}

#[test]
fn operations_are_counted() {
    let disk = Disk::new();
    assert_eq!(disk.counts(), Counts::default());
    let connection = connect(&disk).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
        .unwrap();
    let before = disk.counts();
    connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
    let after = disk.counts();
    assert!(after.writes > before.writes && after.syncs > before.syncs);
    assert_eq!(
        (after.opens, after.deletes, after.faults),
        (before.opens, before.deletes, 0)
    );
    assert_eq!(disk.crash(0).counts(), Counts::default());
    assert!(disk.read(DATABASE).is_some());
}
