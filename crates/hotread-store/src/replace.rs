//! Replacements that occupy the writer only for the records that change, not for the whole table. They
//! are compared with the table on the caller's thread, through a read connection, and updated from the
//! history.

use crate::error::{CommitError, StorageError};
use crate::read::{self, Pool};
use crate::rows::{self, signed};
use crate::table::OpenTable;
use crate::view::View;
use hotread_proto::{Compared, Head, Key, Position, Refusal, Replace};
use rusqlite::{Connection, params};

/// Maximum number of bytes of history that the writer reads for changes since a comparison: those of some ten
/// thousand small records, a tenth of a second.
pub(crate) const MAX_REST_BYTES: u64 = 1 << 20;
/// Maximum number of attempts at a comparison, which is repeated if the history no longer goes back to its
/// beginning; and most rounds in which it is updated before it is submitted.
pub(crate) const MAX_COMPARISONS: usize = 3;
const MAX_ROUNDS: usize = 8;

/// Compares a replacement with the table on disk, and updates the comparison. The replacement is
/// unchanged if the table changes too fast, or cannot be read.
pub(crate) fn compare(
    pool: &Pool,
    table: &OpenTable,
    new: &mut Replace,
    max_changes: usize,
) -> Result<Compared, CommitError> {
    for _ in 0..MAX_COMPARISONS {
        let mut compared = read::at_head(pool, table, |txn, head, _| {
            let mut view = View::new(txn, table, head, head.at)?;
            Ok::<_, CommitError>(Compared::new(&mut view, std::mem::take(new), max_changes)??)
        })?;
        let followed = follow(pool, table, |txn, head| {
            let bytes = catch_up(txn, table, head, &mut compared, u64::MAX)?;
            match compared.changes() > max_changes.saturating_mul(2) {
                true if bytes.is_some() => Err(Refusal::Outdated.into()),
                _ => Ok(bytes),
            }
        })?;
        if followed {
            return Ok(compared);
        }
        *new = compared.into_replace();
    }
    Err(Refusal::Outdated.into())
}

/// Updates information on a table with `catch_up`, which returns the bytes of history that it read,
/// until another round would gain little. Returns `false` if the history does not go back so far.
pub(crate) fn follow(
    pool: &Pool,
    table: &OpenTable,
    mut catch_up: impl FnMut(&Connection, Head) -> Result<Option<u64>, CommitError>,
) -> Result<bool, CommitError> {
    for _ in 0..MAX_ROUNDS {
        match read::at_head(pool, table, |txn, head, _| catch_up(txn, head))? {
            None => return Ok(false),
            // Even less was written while this little was read.
            Some(bytes) if bytes < MAX_REST_BYTES / 4 => break,
            Some(_) => {}
        }
    }
    Ok(true)
}

/// Marks the keys that were changed since a comparison, and returns the bytes of history that were
/// read. Returns `None` if the history lacks a part of the changes, or if they exceed `max_bytes`.
pub(crate) fn catch_up(
    db: &Connection,
    table: &OpenTable,
    head: Head,
    compared: &mut Compared,
    max_bytes: u64,
) -> Result<Option<u64>, StorageError> {
    let Some(at) = compared.at() else {
        // The replacement was committed before, and is answered without a comparison.
        return Ok(Some(0));
    };
    let mut touch = |key| compared.touch(key);
    let bytes = changed_keys(db, table, at, head.position, max_bytes, &mut touch)?;
    if bytes.is_some() {
        compared.advance(head.position);
    }
    Ok(bytes)
}

/// Visits the keys that were changed after one position up to another, and returns the bytes of history
/// that were read. Returns `None` if the history lacks a part of the changes, or if they exceed
/// `max_bytes`.
pub(crate) fn changed_keys(
    db: &Connection,
    table: &OpenTable,
    after: Position,
    to: Position,
    max_bytes: u64,
    visit: &mut impl FnMut(Key),
) -> Result<Option<u64>, StorageError> {
    if after == to {
        return Ok(Some(0));
    }
    if after.epoch != to.epoch {
        return Ok(None);
    }
    let range = params![table.id, signed(after.seq), signed(to.seq)];
    const RANGE: &str = "FROM changes WHERE place > ?1 << 40 | ?2 AND place <= ?1 << 40 | ?3";
    let mut sizes =
        db.prepare_cached(&format!("SELECT count(*), coalesce(sum(bytes), 0) {RANGE}"))?;
    let (count, bytes) = sizes.query_row(range, |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    // Some of the changes were trimmed.
    if count.cast_unsigned() != to.seq - after.seq || bytes > max_bytes {
        return Ok(None);
    }
    rows::each(db, &format!("SELECT ops {RANGE}"), range, |row| {
        let ops = row.get_ref(0)?.as_blob().map_err(StorageError::corrupt)?;
        rows::read_keys(ops, &mut *visit)
    })?;
    Ok(Some(bytes))
}
