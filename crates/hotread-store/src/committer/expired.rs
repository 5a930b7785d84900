//! The selection of expired records to delete. Each table has a share of a batch, so that a table with
//! a long backlog does not delay the others.

use crate::error::StorageError;
use crate::rows;
use crate::table::OpenTable;
use hotread_proto::{Key, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

/// Expired records by table: keys with sequence numbers, in the order of their expiry.
pub(crate) type Expired = Vec<(Arc<OpenTable>, Vec<(Key, u64)>)>;

/// Returns at most `limit` ids of tables with expired records: those after `after`, then those up to
/// it. Takes a look-up for each table that has records with an expiry.
pub(crate) fn tables(
    db: &Connection,
    now: Timestamp,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let mut next = db.prepare_cached(
        "SELECT table_id, expires_at FROM records INDEXED BY records_by_expiry
         WHERE table_id > ?1 AND expires_at IS NOT NULL ORDER BY table_id, expires_at LIMIT 1",
    )?;
    let mut found = Vec::new();
    for (from, to) in [(after, i64::MAX), (0, after)] {
        let mut at = from;
        while at < to && found.len() < limit {
            let row = next.query_row([at], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
            let Some((id, first)) = row.optional()?.filter(|(id, _)| *id <= to) else {
                break;
            };
            if first <= now.millis() {
                found.push(id);
            }
            at = id;
        }
    }
    Ok(found)
}

/// Returns expired records of these tables in equal shares, `limit` in all, and `true` if there may be
/// more.
pub(crate) fn share(
    db: &Connection,
    now: Timestamp,
    tables: impl Iterator<Item = Arc<OpenTable>>,
    limit: usize,
) -> Result<(Expired, bool), StorageError> {
    let mut statement = db.prepare_cached(
        "SELECT key, seq FROM records INDEXED BY records_by_expiry
         WHERE table_id = ?1 AND expires_at IS NOT NULL AND expires_at <= ?2
         ORDER BY expires_at LIMIT ?3 OFFSET ?4",
    )?;
    let mut expired: Expired = tables.map(|table| (table, Vec::new())).collect();
    // Indexes of the tables that may have more.
    let mut hungry: Vec<usize> = (0..expired.len()).collect();
    let mut left = limit;
    while left > 0 && !hungry.is_empty() {
        let share = (left / hungry.len()).max(1);
        let mut read = |place: &usize| -> Result<bool, StorageError> {
            let (table, keys) = &mut expired[*place];
            let (share, before) = (share.min(left), keys.len());
            let of = params![table.id, now.millis(), share as i64, before as i64];
            let mut rows = statement.query(of)?;
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                let key = Key::new(&key).map_err(StorageError::corrupt)?;
                keys.push((key, rows::read_count(row, 1)?));
            }
            let found = keys.len() - before;
            left -= found;
            Ok(found == share)
        };
        let mut still = Vec::new();
        for place in hungry {
            if read(&place)? {
                still.push(place);
            }
        }
        hungry = still;
    }
    expired.retain(|(_, keys)| !keys.is_empty());
    Ok((expired, left == 0))
}
