//! What the committer does between groups without being asked: expired records are deleted, and
//! history that is too long, too large or too old is trimmed.

use crate::committer::{Committer, not_open, write_standing};
use crate::error::StorageError;
use crate::options::History;
use crate::pin::{MAX_PINNED_AGE, MAX_PINNED_BYTES, MAX_PINNED_CHANGES};
use crate::queue::Request;
use crate::rows::{self, signed};
use crate::table::{Standing, Table};
use crate::ticket::ticket;
use hotread_proto::{Body, Key, Timestamp};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often expired records are looked for. A record may outlive its time by this much, and more if
/// many expire at once.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most records that are expired in one transaction.
const MAX_EXPIRED: usize = 1_000;
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
        if now.duration_since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            if let Err(e) = self.sweep() {
                tracing::warn!(error = %e, "expired records could not be deleted; trying again");
            }
        }
        if now.duration_since(self.aged) >= AGE_EVERY {
            match self.trim_aged() {
                // It goes on after the next group.
                Ok(true) => {}
                Ok(false) => self.aged = now,
                Err(e) => {
                    self.aged = now;
                    tracing::warn!(error = %e, "old history could not be trimmed; trying again");
                }
            }
        }
    }

    /// Lets go of tables in memory that are not in use. A store that only reads keeps them: what
    /// they show is to stand still.
    fn cool(&self, now: Instant) {
        let tables = self.registry.all();
        let cooled = tables.iter().filter(|table| table.live.cool(now)).count();
        if cooled > 0 {
            tracing::debug!(cooled, "tables that are not in use are in memory no more");
        }
    }

    /// Deletes expired records, at most [`MAX_EXPIRED`].
    fn sweep(&mut self) -> Result<(), StorageError> {
        let now = self.now();
        let db = self.db()?;
        let mut expired: HashMap<i64, Vec<(Key, u64)>> = HashMap::new();
        {
            let mut statement = db.prepare_cached(
                "SELECT table_id, key, seq FROM records
                 WHERE expires_at IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
            )?;
            let mut rows = statement.query(params![now.millis(), MAX_EXPIRED as i64])?;
            while let Some(row) = rows.next()? {
                let key: String = row.get(1)?;
                let key = Key::new(&key).map_err(|e| StorageError::corrupt(e.to_string()))?;
                expired
                    .entry(row.get(0)?)
                    .or_default()
                    .push((key, rows::read_count(row, 2)?));
            }
        }
        let requests: Vec<Request> = self
            .registry
            .all()
            .into_iter()
            .filter_map(|table| {
                let keys = expired.remove(&table.id)?;
                let (_, reply) = ticket();
                Some(Request {
                    table,
                    at: now,
                    body: Body::Expire(keys),
                    size: 0,
                    reply,
                })
            })
            .collect();
        if !requests.is_empty() {
            self.group(requests);
        }
        Ok(())
    }

    /// Trims what is too old in tables, whether they are written or not, and what is too much of that
    /// which was kept for somebody; at most [`MAX_TRIMMED`] of each. Says whether there may be more.
    fn trim_aged(&mut self) -> Result<bool, StorageError> {
        let mut more = false;
        let now = self.now();
        let tables = self.registry.all();
        self.db()?;
        let db = self.db.as_ref().ok_or_else(not_open)?;
        for table in tables {
            let Some(standing) = self.standing.get_mut(&table.id) else {
                continue;
            };
            let history = table.options.history;
            let before = now.saturating_sub(history.max_age());
            let oldest: Option<i64> = {
                let mut statement = db.prepare_cached(
                    "SELECT at FROM changes WHERE table_id = ?1 ORDER BY seq LIMIT 1",
                )?;
                let mut rows = statement.query([table.id])?;
                rows.next()?.map(|row| row.get(0)).transpose()?
            };
            let Some(oldest) = oldest else { continue };
            if oldest >= before.millis() && !is_too_much(history, standing) {
                continue;
            }
            let trimmed = || -> Result<Standing, StorageError> {
                let mut next = *standing;
                let txn = db.unchecked_transaction()?;
                drop_oldest(&txn, &table, &mut next, Limits::of(history, before))?;
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

/// What is beyond these is trimmed.
#[derive(Clone, Copy)]
struct Limits {
    changes: u64,
    bytes: u64,
    /// Changes of an earlier time.
    before: Timestamp,
}

impl Limits {
    fn of(history: History, before: Timestamp) -> Self {
        Self {
            changes: history.max_changes,
            bytes: history.max_bytes,
            before,
        }
    }

    /// For changes that somebody wants.
    fn for_wanted(self) -> Self {
        Self {
            changes: self.changes.saturating_add(MAX_PINNED_CHANGES),
            bytes: self.bytes.saturating_add(MAX_PINNED_BYTES),
            before: self.before.saturating_sub(MAX_PINNED_AGE),
        }
    }

    /// By the oldest of so many changes, of this time, with so many bytes in all.
    fn are_exceeded(&self, changes: u64, at: i64, bytes: u64) -> bool {
        changes > self.changes || bytes > self.bytes || at < self.before.millis()
    }
}

/// Is there so much history that trimming it is worth while? A sixteenth more is tolerated, so that
/// not every commit has to delete something.
fn is_too_much(history: History, standing: &Standing) -> bool {
    let kept = standing.head.position.seq + 1 - standing.floor;
    let changes = (history.max_changes / 16).min(1_024);
    kept > history.max_changes.saturating_add(changes)
        || standing.history_bytes > history.max_bytes.saturating_add(history.max_bytes / 16)
}

/// Trims a table's history to what its options say of its length, some changes at a time.
pub(crate) fn trim(
    db: &Connection,
    table: &Table,
    standing: &mut Standing,
) -> Result<(), StorageError> {
    let history = table.options.history;
    if !is_too_much(history, standing) {
        return Ok(());
    }
    drop_oldest(db, table, standing, Limits::of(history, Timestamp::EPOCH))
}

/// Deletes changes from the oldest on, at most [`MAX_TRIMMED`], as long as the limits are exceeded.
fn drop_oldest(
    db: &Connection,
    table: &Table,
    standing: &mut Standing,
    limits: Limits,
) -> Result<(), StorageError> {
    let head = standing.head.position.seq;
    let (before, wanted_after) = (standing.floor, table.feed.wanted_after());
    let mut statement = db.prepare_cached(
        "SELECT seq, at, bytes FROM changes WHERE table_id = ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![table.id, MAX_TRIMMED as i64])?;
    while let Some(row) = rows.next()? {
        let (seq, at) = (rows::read_count(row, 0)?, row.get(1)?);
        let limits = match seq > wanted_after {
            true => limits.for_wanted(),
            false => limits,
        };
        if !limits.are_exceeded(head + 1 - seq, at, standing.history_bytes) {
            break;
        }
        standing.floor = seq + 1;
        standing.history_bytes = standing
            .history_bytes
            .saturating_sub(rows::read_count(row, 2)?);
    }
    drop(rows);
    if standing.floor > before {
        db.prepare_cached("DELETE FROM changes WHERE table_id = ?1 AND seq < ?2")?
            .execute(params![table.id, signed(standing.floor)])?;
    }
    Ok(())
}
