//! A workload of numbered transactions, and a check of what a power failure left of it.

// Each test file uses a part.
#![allow(dead_code)]

use hotread_faultfs::Disk;
use rusqlite::{Connection, OpenFlags, Result, params};
use std::time::Duration;

pub const DATABASE: &str = "test.db";

/// Distance to the transaction whose rows a transaction deletes, so that pages are reused.
const WINDOW: u64 = 20;

/// Size so small that transactions spill into the log before they commit.
const CACHE_PAGES: u32 = 10;

/// Size so small that the log is checkpointed and restarted all the time.
const CHECKPOINT_PAGES: u32 = 30;

/// Longer than any test may wait for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

fn open(disk: &Disk, access: OpenFlags) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(DATABASE, flags, disk.vfs())?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

pub fn connect(disk: &Disk) -> Result<Connection> {
    open(
        disk,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )
}

pub fn reader(disk: &Disk) -> Result<Connection> {
    open(disk, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// SQLite's way of writing: its `journal_mode`, and its `synchronous`.
#[derive(Clone, Copy, Debug)]
pub struct Mode(pub &'static str, pub &'static str);

pub const WAL_FULL: Mode = Mode("WAL", "FULL");

/// Opens a connection that writes.
pub fn writer(disk: &Disk, Mode(journal_mode, synchronous): Mode) -> Result<Connection> {
    let connection = connect(disk)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = {journal_mode};
         PRAGMA cache_size = {CACHE_PAGES};
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA synchronous = {synchronous};"
    ))?;
    Ok(connection)
}

/// Returns a disk with the tables in place, durably.
pub fn prepared(Mode(journal_mode, _): Mode) -> Disk {
    let disk = Disk::new();
    let connection = writer(&disk, Mode(journal_mode, "EXTRA")).unwrap();
    connection
        .execute_batch(
            "BEGIN;
             CREATE TABLE rows (txn INTEGER, half INTEGER, payload BLOB, PRIMARY KEY (txn, half));
             CREATE INDEX by_payload ON rows (payload);
             CREATE TABLE last (txn INTEGER);
             INSERT INTO last VALUES (0);
             COMMIT;",
        )
        .unwrap();
    disk
}

/// Makes one transaction: it adds two rows, removes two, and records its number as the last.
pub fn transact(connection: &mut Connection, txn: u64) -> Result<()> {
    let transaction = connection.transaction()?;
    for half in 0..2 {
        transaction
            .prepare_cached("INSERT INTO rows VALUES (?1, ?2, ?3)")?
            .execute(params![
                txn as i64,
                half,
                vec![txn as u8; fastrand::usize(10..6000)]
            ])?;
    }
    transaction
        .prepare_cached("DELETE FROM rows WHERE txn <= ?1")?
        .execute([txn as i64 - WINDOW as i64])?;
    transaction
        .prepare_cached("UPDATE last SET txn = ?1")?
        .execute([txn as i64])?;
    transaction.commit()
}

/// Returns the number of the last transaction if the connection sees each as a whole; otherwise a
/// description of what it sees.
pub fn whole_transactions(connection: &Connection) -> Result<Result<u64, String>> {
    let snapshot = connection.unchecked_transaction()?;
    let last: i64 = snapshot.query_row("SELECT txn FROM last", [], |row| row.get(0))?;
    let mut statement =
        snapshot.prepare_cached("SELECT txn, count(*) FROM rows GROUP BY txn ORDER BY txn")?;
    let found: Vec<(i64, i64)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let expected: Vec<(i64, i64)> = ((last - WINDOW as i64).max(0) + 1..=last)
        .map(|txn| (txn, 2))
        .collect();
    Ok(if found == expected {
        Ok(last as u64)
    } else {
        Err(format!("after transaction {last} there are {found:?}"))
    })
}

/// State of a disk.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Whole transactions up to this one.
    Whole(u64),
    /// Parts of transactions.
    Torn(String),
    /// SQLite itself reports corruption.
    Corrupt(String),
}

pub fn judge(image: &Disk) -> Verdict {
    let look = || {
        let connection = connect(image)?;
        let integrity: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if integrity != "ok" {
            return Ok(Verdict::Corrupt(integrity));
        }
        Ok(match whole_transactions(&connection)? {
            Ok(last) => Verdict::Whole(last),
            Err(found) => Verdict::Torn(found),
        })
    };
    look().unwrap_or_else(|error: rusqlite::Error| Verdict::Corrupt(error.to_string()))
}
