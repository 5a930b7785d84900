//! SQLite itself on the simulated disk: its promises hold after each power failure, and properties
//! that it does not promise are seen to fail. The simulation must catch the latter.

mod common;

use common::{
    Mode, Verdict, WAL_FULL, connect, judge, prepared, reader, transact, whole_transactions, writer,
};
use hotread_faultfs::Disk;
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Results for the images of one run.
#[derive(Debug, Default)]
struct Losses {
    images: u32,
    /// Images that lack acknowledged transactions.
    lossy: u32,
    /// Maximum number that one image lacks.
    most_lost: u64,
    torn: Vec<String>,
    corrupt: Vec<String>,
}

impl Losses {
    fn record(&mut self, verdict: Verdict, acknowledged: u64, begun: u64) {
        self.images += 1;
        match verdict {
            Verdict::Whole(last) => {
                assert!(
                    last <= begun,
                    "transaction {last} of {begun} was never begun"
                );
                self.lossy += u32::from(last < acknowledged);
                self.most_lost = self.most_lost.max(acknowledged.saturating_sub(last));
            }
            Verdict::Torn(found) => self.torn.push(found),
            Verdict::Corrupt(found) => self.corrupt.push(found),
        }
    }

    fn none_is_broken(&self) -> bool {
        self.torn.is_empty() && self.corrupt.is_empty()
    }
}

/// Progress of the writer.
#[derive(Default)]
struct Progress {
    /// Last transaction that it may write.
    allowed: AtomicU64,
    begun: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    fn write(&self, connection: &mut Connection) {
        let mut txn = 1;
        while !self.stop.load(Ordering::Acquire) {
            if txn > self.allowed.load(Ordering::Acquire) {
                thread::yield_now();
                continue;
            }
            self.begun.store(txn, Ordering::Release);
            transact(connection, txn).unwrap();
            self.acknowledged.store(txn, Ordering::Release);
            txn += 1;
        }
    }

    /// Reads until the end, and returns the number of different states seen.
    fn read(&self, connection: &Connection) -> u64 {
        let (mut last, mut states) = (0, 0);
        while !self.stop.load(Ordering::Acquire) {
            let acknowledged = self.acknowledged.load(Ordering::Acquire);
            let seen = whole_transactions(connection).unwrap().unwrap();
            assert!(seen >= last && seen >= acknowledged, "time went back");
            states += u64::from(seen > last);
            last = seen;
        }
        states
    }
}

struct StopOnDrop<'a>(&'a Progress);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

/// Writes in one thread, reads in others, and fails at random moments.
fn crash_repeatedly(mode: Mode, readers: u32, images: u32) -> Losses {
    let disk = prepared(mode);
    let progress = Progress::default();
    let mut losses = Losses::default();
    thread::scope(|scope| {
        // A panic below must not leave the other threads running, and the scope waiting for them.
        let _stop = StopOnDrop(&progress);
        scope.spawn(|| progress.write(&mut writer(&disk, mode).unwrap()));
        for _ in 0..readers {
            scope.spawn(|| progress.read(&reader(&disk).unwrap()));
        }
        for seed in 0..images {
            progress
                .allowed
                .fetch_add(fastrand::u64(1..6), Ordering::Release);
            thread::sleep(Duration::from_micros(fastrand::u64(..2000)));
            let acknowledged = progress.acknowledged.load(Ordering::Acquire);
            let image = disk.crash(seed.into());
            let begun = progress.begun.load(Ordering::Acquire);
            losses.record(judge(&image), acknowledged, begun);
        }
    });
    println!(
        "{mode:?}: {} images of {} transactions, {} lossy (at most {} lost), \
         {} torn, {} corrupt; {:?}",
        losses.images,
        progress.acknowledged.load(Ordering::Acquire),
        losses.lossy,
        losses.most_lost,
        losses.torn.len(),
        losses.corrupt.len(),
        disk.counts(),
    );
    losses
}

#[test]
fn wal_with_full_sync_loses_nothing() {
    let losses = crash_repeatedly(WAL_FULL, 2, 300);
    assert!(losses.none_is_broken() && losses.lossy == 0, "{losses:?}");
}

#[test]
fn wal_with_normal_sync_loses_the_last_but_tears_none() {
    let losses = crash_repeatedly(Mode("WAL", "NORMAL"), 1, 200);
    assert!(losses.none_is_broken(), "{losses:?}");
    assert!(losses.lossy > 0, "the simulation loses nothing: {losses:?}");
}

#[test]
fn wal_without_sync_breaks() {
    let losses = crash_repeatedly(Mode("WAL", "OFF"), 0, 80);
    assert!(losses.lossy > 0, "the simulation loses nothing: {losses:?}");
    assert!(
        !losses.none_is_broken(),
        "the simulation breaks nothing: {losses:?}"
    );
}

#[test]
fn a_rollback_journal_deleted_durably_loses_nothing() {
    let losses = crash_repeatedly(Mode("DELETE", "EXTRA"), 1, 150);
    assert!(losses.none_is_broken() && losses.lossy == 0, "{losses:?}");
}

/// The journal reappears, and undoes the last transaction.
#[test]
fn an_unsynced_deletion_of_a_rollback_journal_may_lose_the_last() {
    let losses = crash_repeatedly(Mode("DELETE", "FULL"), 1, 150);
    assert!(losses.none_is_broken(), "{losses:?}");
    assert!(losses.lossy > 0, "the simulation loses nothing: {losses:?}");
    assert_eq!(losses.most_lost, 1, "{losses:?}");
}

#[test]
fn a_rollback_journal_without_sync_breaks() {
    let losses = crash_repeatedly(Mode("DELETE", "OFF"), 0, 80);
    assert!(
        !losses.none_is_broken(),
        "the simulation breaks nothing: {losses:?}"
    );
}

#[test]
fn a_truncated_rollback_journal_loses_nothing() {
    let losses = crash_repeatedly(Mode("TRUNCATE", "EXTRA"), 0, 100);
    assert!(losses.none_is_broken() && losses.lossy == 0, "{losses:?}");
}

/// Power fails again while SQLite recovers, and once more after it continued.
#[test]
fn recovery_survives_a_power_failure() {
    for seed in 0..60 {
        let mut disk = prepared(WAL_FULL);
        let mut acknowledged = 0;
        for generation in 0..4 {
            let mut connection = writer(&disk, WAL_FULL).unwrap();
            for _ in 0..fastrand::u64(..8) {
                transact(&mut connection, acknowledged + 1).unwrap();
                acknowledged += 1;
            }
            let image = disk.crash(seed * 4 + generation);
            disk.power_off();
            drop(connection);
            // Opening recovers, and closing checkpoints; then power fails a second time.
            assert_eq!(judge(&image), Verdict::Whole(acknowledged));
            disk = image.crash(seed);
            assert_eq!(judge(&disk), Verdict::Whole(acknowledged));
        }
    }
}

#[test]
fn readers_see_whole_transactions_during_commits_and_checkpoints() {
    const TRANSACTIONS: u64 = 400;
    let disk = prepared(WAL_FULL);
    let progress = Progress::default();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&progress);
        let reading = || progress.read(&reader(&disk).unwrap());
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(reading)).collect();
        let checkpointer = connect(&disk).unwrap();
        let writing = scope.spawn(|| {
            let mut connection = writer(&disk, Mode("WAL", "NORMAL")).unwrap();
            for txn in 1..=TRANSACTIONS {
                transact(&mut connection, txn).unwrap();
                progress.acknowledged.store(txn, Ordering::Release);
            }
        });
        while !writing.is_finished() {
            checkpointer
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    row.get::<_, i64>(0)
                })
                .unwrap();
            thread::yield_now();
        }
        writing.join().unwrap();
        progress.stop.store(true, Ordering::Release);
        for reading in readers {
            assert!(reading.join().unwrap() > 0);
        }
    });
    assert_eq!(judge(&disk), Verdict::Whole(TRANSACTIONS));
}

#[test]
fn what_was_open_before_the_failure_can_do_nothing_after() {
    let disk = prepared(WAL_FULL);
    let mut connection = writer(&disk, WAL_FULL).unwrap();
    transact(&mut connection, 1).unwrap();
    let files = disk.files();
    disk.power_off();
    assert!(transact(&mut connection, 2).is_err());
    assert!(whole_transactions(&connection).is_err());
    assert!(
        connect(&disk)
            .and_then(|new| whole_transactions(&new))
            .is_err()
    );
    drop(connection);
    assert_eq!(disk.files(), files);
    assert_eq!(judge(&disk.crash(0)), Verdict::Whole(1));
}

#[test]
fn connections_outlive_the_disk() {
    let disk = prepared(WAL_FULL);
    let vfs = disk.vfs().to_owned();
    let mut connection = writer(&disk, WAL_FULL).unwrap();
    drop(disk);
    transact(&mut connection, 1).unwrap();
    assert_eq!(whole_transactions(&connection).unwrap(), Ok(1));
    let flags = rusqlite::OpenFlags::default();
    assert!(Connection::open_with_flags_and_vfs("other.db", flags, &*vfs).is_err());
    // Closing needs the VFS, to delete the log.
    drop(connection);
}

#[test]
fn files_can_be_looked_at_and_put_in_place() {
    let disk = prepared(WAL_FULL);
    let mut connection = writer(&disk, WAL_FULL).unwrap();
    connection
        .execute("INSERT INTO rows VALUES (0, 7, 'a needle in the log')", [])
        .unwrap();
    assert!(disk.contains(b"a needle in the log"));
    assert!(!disk.contains(b"a needle in the hay"));
    connection.execute("DELETE FROM rows", []).unwrap();
    transact(&mut connection, 1).unwrap();
    drop(connection);
    let names: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [common::DATABASE],
        "the last to leave deletes the log"
    );

    let copy = Disk::new();
    assert_eq!(copy.read(common::DATABASE), None);
    copy.write(common::DATABASE, disk.read(common::DATABASE).unwrap());
    assert_eq!(judge(&copy.crash(0)), Verdict::Whole(1));
}

#[test]
fn the_name_of_the_disk_may_be_in_a_uri() {
    let disk = prepared(WAL_FULL);
    let uri = format!("file:{}?vfs={}", common::DATABASE, disk.vfs());
    let connection = Connection::open(uri).unwrap();
    assert_eq!(whole_transactions(&connection).unwrap(), Ok(0));
    drop(disk);
    assert_eq!(whole_transactions(&connection).unwrap(), Ok(0));
}

#[test]
fn temporary_tables_and_sorts_need_no_file_of_the_disk() {
    let disk = prepared(WAL_FULL);
    let connection = writer(&disk, WAL_FULL).unwrap();
    connection
        .execute_batch(
            "PRAGMA temp_store = FILE;
             PRAGMA temp.cache_size = 5;
             CREATE TEMP TABLE t (x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO t SELECT randomblob(100) FROM n;
             CREATE INDEX temp.by_x ON t (x);",
        )
        .unwrap();
    let sorted: i64 = connection
        .query_row(
            "SELECT count(*) FROM (SELECT x FROM t ORDER BY x || 'a')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(sorted, 3000);
    assert!(
        disk.files()
            .iter()
            .all(|(name, _)| name.starts_with(common::DATABASE))
    );
}
