//! The committer's own work between groups: deleting expired records and the remains of dropped tables,
//! and trimming history that is too long, too large or too old. Before each group it also checks that
//! the database is still the file under its name.

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

/// Interval between searches for expired records. A record may outlive its expiry by this time, and by
/// the time that deleting earlier expired records of its table takes.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Interval between attempts while nothing can be written.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of records that expire in one transaction of a few milliseconds: a waiting group is next.
const MAX_EXPIRED: usize = 500;
/// Size of the write-ahead log, in bytes, above which a warning is logged: four times the size to which
/// it is truncated. The log grows to it only if a reader keeps its older part.
const LARGE_LOG_BYTES: u64 = 256 << 20;
/// Space that a group may need in addition to its values, in bytes: pages of indexes and trees.
const GROUP_ROOM_BYTES: u64 = 16 << 20;
/// Interval between searches for unused tables in memory.
const COOL_EVERY: Duration = Duration::from_secs(5);
/// Interval between checks of the age of history.
const AGE_EVERY: Duration = Duration::from_secs(10);
/// Maximum number of changes that one group trims from a table's history.
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
                    // Logged once, not once a second.
                    if self.sweep_after != RETRY_EVERY {
                        tracing::warn!(
                            %error,
                            "expired records and rows of dropped tables could not be deleted; retrying"
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
                tracing::warn!(%error, "old history could not be trimmed; retrying");
                false
            });
            // If there is more, it continues after the next group.
            if !more {
                self.aged = now;
            }
        }
    }

    /// Unloads unused tables. A store that only reads has no committer, and keeps its tables unchanged.
    fn cool(&self, now: Instant) {
        let tables = self.registry.all().into_iter();
        let cooled: Vec<_> = tables.filter_map(|table| table.live.cool(now)).collect();
        if !cooled.is_empty() {
            let tables = cooled.len();
            tracing::debug!(tables, "unused tables were unloaded");
            live::free(cooled);
        }
    }

    /// Stops writing while a write would go to a file that no longer has the database's name.
    pub(crate) fn check_names(&mut self) -> Result<(), StorageError> {
        let checked = self.at.check_names();
        match &checked {
            Ok(()) if self.moved => {
                self.moved = false;
                tracing::warn!("the database is at its path again; writing resumes");
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

    /// Checks whether a reader keeps the log, and warns once that it grows and why. Moves a log that
    /// has filled the disk into the database once its reader has ended, which no commit does.
    fn watch_log(&mut self) {
        let bytes = self.at.wal_bytes();
        let is_long = bytes > WAL_LIMIT_BYTES.unsigned_abs();
        self.counters.wal_held(is_long && self.is_log_held());
        if bytes < LARGE_LOG_BYTES {
            // The next growth is logged again.
            self.log_is_large &= bytes > LARGE_LOG_BYTES / 2;
        } else if !std::mem::replace(&mut self.log_is_large, true) {
            tracing::warn!(
                bytes,
                "the write-ahead log grows: a program holds a read transaction on the database; end it, \
                 or the log fills the disk"
            );
        }
    }

    /// Moves as much of the log into the database as readers allow. Returns `true` if they keep a part of
    /// it.
    fn is_log_held(&self) -> bool {
        let Some(db) = &self.db else {
            return self.counters.is_wal_held();
        };
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        let is_held = |row: &Row<'_>| Ok(row.get::<_, i64>(2)? < row.get::<_, i64>(1)?);
        db.query_row(sql, [], is_held).unwrap_or(false)
    }

    /// Fails while a reader keeps the log if, after a group of this size in bytes, the disk would lack
    /// the space for moving the log into the database. Without that space nothing could be written
    /// again.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), StorageError> {
        let Some(db) = self.db.as_ref().filter(|_| self.counters.is_wal_held()) else {
            return Ok(());
        };
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let all: i64 = db.query_row(sql, [], |row| row.get(0))?;
        let Some((size, free)) = self.at.room() else {
            return Ok(());
        };
        // A value is stored in its record and in the history.
        let group = bytes.saturating_mul(2).saturating_add(GROUP_ROOM_BYTES);
        let to_grow = all.unsigned_abs().saturating_sub(size);
        if to_grow.saturating_add(group) <= free {
            return Ok(());
        }
        Err(StorageError::Full {
            detail: format!("{LOG_IS_HELD}; {free} bytes are free"),
        })
    }

    /// Returns the time for which the committer may wait for work.
    pub(crate) fn idle_for(&self) -> Duration {
        self.sweep_after.saturating_sub(self.swept.elapsed())
    }

    /// Deletes expired records, at most [`MAX_EXPIRED`]. Returns `true` if there may be more.
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
        // Rows of an unknown table are those of a dropped one.
        let known = overdue.iter().filter_map(|id| tables.remove(id));
        let (expired, more) = expired::share(db, now, known, MAX_EXPIRED)?;
        self.swept_to = last;
        let expire = |(table, keys)| {
            let (ticket, reply) = ticket();
            let request = Request {
                table,
                at: now,
                // Changes that no caller requested have no actor.
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
        // All of them have been answered by now.
        tickets.into_iter().try_for_each(|it| it.wait().map(drop))?;
        Ok(more)
    }

    /// Trims changes that are too old, in all tables, and changes beyond the limits that were kept for
    /// a reader; at most [`MAX_TRIMMED`] of each table. Returns `true` if there may be more.
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

/// Returns `true` if the history exceeds its options by a sixteenth, from which on it is trimmed. The
/// margin spares most commits a deletion.
fn is_too_much(history: History, standing: &Standing) -> bool {
    let kept = standing.head.position.seq + 1 - standing.floor;
    let changes = (history.max_changes / 16).min(1_024);
    kept > history.max_changes.saturating_add(changes)
        || standing.history_bytes > history.max_bytes.saturating_add(history.max_bytes / 16)
}

/// Trims a table's history to the length in its options, some changes at a time.
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

/// Deletes at most [`MAX_TRIMMED`] changes, oldest first, while the history is longer or larger than
/// its options allow, or its oldest change is from before `since`. Wanted changes have wider limits.
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
