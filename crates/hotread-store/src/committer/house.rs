//! What the committer does between groups without being asked: it deletes expired records and what is left
//! of dropped tables, and trims history that is too long, too large or too old. And its look, before each
//! group, whether the database is still the file under its name.

use super::queue::Request;
use super::{Committer, LOG_IS_HELD, expired, not_open, write_standing};
use crate::error::{CommitError, StorageError};
use crate::live;
use crate::location::WAL_LIMIT_BYTES;
use crate::options::History;
use crate::pin::{MAX_PINNED_AGE, MAX_PINNED_BYTES, MAX_PINNED_CHANGES};
use crate::rows::{self, CHANGES_OF_TABLE, signed};
use crate::table::{OpenTable, Standing};
use crate::ticket::ticket;
use hotread_proto::{Body, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often expired records are looked for. A record may outlive its time by this much, and by what it
/// takes to delete those of its table that expired before it.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// The same while nothing can be written: how often it is tried whether it can be again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Most records that expire in one transaction of some milliseconds: a waiting group comes next.
const MAX_EXPIRED: usize = 500;
/// Size of the write-ahead log from which on an operator is told, in bytes: four times what it is cut
/// to, which it reaches only if a reader keeps its older part.
const LARGE_LOG_BYTES: u64 = 256 << 20;
/// Room that a group may take besides its values, in bytes: pages of indexes and trees.
const GROUP_ROOM_BYTES: u64 = 16 << 20;
/// Time between two searches for tables in memory that are not in use.
const COOL_EVERY: Duration = Duration::from_secs(5);
/// How often history is looked at for its age.
const AGE_EVERY: Duration = Duration::from_secs(10);
/// Most changes that leave a table's history with one group.
const MAX_TRIMMED: usize = 1_000;

impl Committer {
    pub(crate) fn keep_house(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.cooled) >= COOL_EVERY {
            self.cooled = now;
            self.cool(now);
        }
        if now.duration_since(self.swept) >= self.sweep_after {
            self.swept = now;
            self.watch_log();
            let (swept, cleared) = (self.sweep(), self.clear_dropped());
            match swept.and_then(|more| Ok(more | cleared?)) {
                Ok(more) => {
                    self.sweep_after = if more { Duration::ZERO } else { SWEEP_EVERY };
                }
                Err(error) => {
                    // Once, and not once a second.
                    if self.sweep_after != RETRY_EVERY {
                        tracing::warn!(
                            %error,
                            "expired records and rows of dropped tables cannot be deleted; trying again"
                        );
                    }
                    self.sweep_after = RETRY_EVERY;
                }
            }
            let now = self.now();
            if let Err(error) = self.expire_tokens(now) {
                tracing::warn!(%error, "expired tokens are not deleted before the next start");
            }
        }
        if now.duration_since(self.aged) >= AGE_EVERY {
            let more = self.trim_aged().unwrap_or_else(|error| {
                tracing::warn!(%error, "old history could not be trimmed; trying again");
                false
            });
            // If there is more, it goes on after the next group.
            if !more {
                self.aged = now;
            }
        }
    }

    /// Lets go of unused tables in memory; not in a store that only reads, where they stand still.
    fn cool(&self, now: Instant) {
        let tables = self.registry.all().into_iter();
        let cooled: Vec<_> = tables.filter_map(|table| table.live.cool(now)).collect();
        if !cooled.is_empty() {
            let tables = cooled.len();
            tracing::debug!(tables, "tables that are not in use are in memory no more");
            live::free(cooled);
        }
    }

    /// Stops writing while what is written would not be found under the database's name.
    pub(crate) fn check_names(&mut self) -> Result<(), StorageError> {
        let checked = self.at.check_names();
        match &checked {
            Ok(()) if self.moved => {
                self.moved = false;
                tracing::warn!("the database has its name again, and is written to");
                if self.halted.is_none() {
                    self.counters.halted(None);
                }
            }
            Err(cause) if !self.moved => {
                self.moved = true;
                tracing::error!(%cause, "nothing is written");
                self.counters.halted(Some(cause));
            }
            _ => {}
        }
        checked
    }

    /// Looks whether a reader keeps the log, and tells an operator once that it grows and why. Moves a log that has
    /// filled the disk into the database once its reader is gone, which no commit does.
    fn watch_log(&mut self) {
        let bytes = self.at.wal_bytes();
        let is_long = bytes > WAL_LIMIT_BYTES.unsigned_abs();
        self.counters.wal_held(is_long && self.is_log_held());
        if bytes < LARGE_LOG_BYTES {
            // Again if it grows again.
            self.log_is_large &= bytes > LARGE_LOG_BYTES / 2;
        } else if !std::mem::replace(&mut self.log_is_large, true) {
            tracing::warn!(
                bytes,
                "the write-ahead log grows: a program holds a read transaction on the database; end it, \
                 or the log fills the disk"
            );
        }
    }

    /// Moves the log into the database as far as readers allow. Says whether they keep a part of it.
    fn is_log_held(&self) -> bool {
        let Some(db) = &self.db else {
            return self.counters.is_wal_held();
        };
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        let is_held = |row: &Row<'_>| Ok(row.get::<_, i64>(2)? < row.get::<_, i64>(1)?);
        db.query_row(sql, [], is_held).unwrap_or(false)
    }

    /// Fails while a reader keeps the log and, after a group of this size in bytes, the disk would not have the room
    /// that the database needs to take the log in, without which nothing could be written again.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), StorageError> {
        let Some(db) = self.db.as_ref().filter(|_| self.counters.is_wal_held()) else {
            return Ok(());
        };
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let all: i64 = db.query_row(sql, [], |row| row.get(0))?;
        let Some((size, free)) = self.at.room() else {
            return Ok(());
        };
        // A value is in its record and in the history.
        let group = bytes.saturating_mul(2).saturating_add(GROUP_ROOM_BYTES);
        let to_grow = all.unsigned_abs().saturating_sub(size);
        if to_grow.saturating_add(group) <= free {
            return Ok(());
        }
        Err(StorageError::Full {
            detail: format!("{LOG_IS_HELD}; {free} bytes are free"),
        })
    }

    /// How long the committer may wait for work.
    pub(crate) fn idle_for(&self) -> Duration {
        self.sweep_after.saturating_sub(self.swept.elapsed())
    }

    /// Deletes expired records, at most [`MAX_EXPIRED`]. Says whether there may be more.
    fn sweep(&mut self) -> Result<bool, CommitError> {
        let now = self.now();
        let after = self.swept_to;
        let tables = self.registry.all().into_iter();
        let mut tables: HashMap<i64, _> = tables.map(|table| (table.id, table)).collect();
        let db = self.db()?;
        let overdue = expired::tables(db, now, after, MAX_EXPIRED)?;
        let Some(last) = overdue.last().copied() else {
            return Ok(false);
        };
        // Rows of a table that is not known are those of a dropped one.
        let known = overdue.iter().filter_map(|id| tables.remove(id));
        let (expired, more) = expired::share(db, now, known, MAX_EXPIRED)?;
        self.swept_to = last;
        let expire = |(table, keys)| {
            let (ticket, reply) = ticket();
            let request = Request {
                table,
                at: now,
                // No caller asked for it.
                actor: None,
                body: Body::Expire(keys),
                size: 0,
                reply,
            };
            (request, ticket)
        };
        let (requests, tickets): (Vec<_>, Vec<_>) = expired.into_iter().map(expire).unzip();
        if !requests.is_empty() {
            self.group(requests);
        }
        // They are answered by now.
        tickets.into_iter().try_for_each(|it| it.wait().map(drop))?;
        Ok(more)
    }

    /// Trims what is too old in tables, whether they are written or not, and what is too much of that
    /// which was kept for somebody; at most [`MAX_TRIMMED`] of each. Says whether there may be more.
    fn trim_aged(&mut self) -> Result<bool, StorageError> {
        let mut more = false;
        let now = self.now();
        let tables = self.registry.all();
        self.db()?;
        let db = self.db.as_ref().ok_or_else(not_open)?;
        let sql = format!("SELECT at FROM changes WHERE {CHANGES_OF_TABLE} ORDER BY place LIMIT 1");
        for table in tables {
            let Some(standing) = self.standing.get_mut(&table.id) else {
                continue;
            };
            let history = table.options.history;
            let before = now.saturating_sub(history.max_age());
            let oldest = rows::first(db, &sql, [table.id], |row| row.get::<_, i64>(0))?;
            let Some(oldest) = oldest else { continue };
            if oldest >= before.millis() && !is_too_much(history, standing) {
                continue;
            }
            let trimmed = || -> Result<Standing, StorageError> {
                let mut next = *standing;
                let txn = db.unchecked_transaction()?;
                drop_oldest(&txn, &table, &mut next, before)?;
                if next.floor > standing.floor {
                    write_standing(&txn, table.id, &next)?;
                    txn.commit()?;
                }
                Ok(next)
            };
            match trimmed() {
                Ok(next) => {
                    more |= next.floor - standing.floor >= MAX_TRIMMED as u64;
                    *standing = next;
                    table.feed.set_floor(next.floor);
                }
                Err(cause) => {
                    self.halt(cause.clone(), Vec::new());
                    return Err(cause);
                }
            }
        }
        Ok(more)
    }
}

/// Whether there is so much history that it is trimmed: a sixteenth more than its options say, so that not every
/// commit deletes something.
fn is_too_much(history: History, standing: &Standing) -> bool {
    let kept = standing.head.position.seq + 1 - standing.floor;
    let changes = (history.max_changes / 16).min(1_024);
    kept > history.max_changes.saturating_add(changes)
        || standing.history_bytes > history.max_bytes.saturating_add(history.max_bytes / 16)
}

/// Trims a table's history to what its options say of its length, some changes at a time.
pub(crate) fn trim(
    db: &Connection,
    table: &OpenTable,
    standing: &mut Standing,
) -> Result<(), StorageError> {
    match is_too_much(table.options.history, standing) {
        true => drop_oldest(db, table, standing, Timestamp::EPOCH),
        false => Ok(()),
    }
}

/// Deletes changes from the oldest on, at most [`MAX_TRIMMED`], as long as the history is longer or larger than
/// its options say, or the oldest is of a time before `since`. Of those that are wanted more is kept.
fn drop_oldest(
    db: &Connection,
    table: &OpenTable,
    standing: &mut Standing,
    since: Timestamp,
) -> Result<(), StorageError> {
    let (head, history) = (standing.head.position.seq, table.options.history);
    let (before, wanted_after) = (standing.floor, table.feed.wanted_after());
    let sql = format!(
        "SELECT seq, at, bytes FROM changes WHERE {CHANGES_OF_TABLE} ORDER BY place LIMIT ?2"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![table.id, MAX_TRIMMED as i64])?;
    while let Some(row) = rows.next()? {
        let (seq, at) = (rows::read_count(row, 0)?, row.get::<_, i64>(1)?);
        let (changes, bytes, age) = match seq > wanted_after {
            true => (MAX_PINNED_CHANGES, MAX_PINNED_BYTES, MAX_PINNED_AGE),
            false => (0, 0, Duration::ZERO),
        };
        if head + 1 - seq <= history.max_changes.saturating_add(changes)
            && standing.history_bytes <= history.max_bytes.saturating_add(bytes)
            && at >= since.saturating_sub(age).millis()
        {
            break;
        }
        standing.floor = seq + 1;
        let bytes = rows::read_count(row, 2)?;
        standing.history_bytes = standing.history_bytes.saturating_sub(bytes);
    }
    drop(rows);
    if standing.floor > before {
        let sql = "DELETE FROM changes WHERE place > ?1 << 40 AND place < ?1 << 40 | ?2";
        rows::execute(db, sql, params![table.id, signed(standing.floor)])?;
    }
    Ok(())
}
