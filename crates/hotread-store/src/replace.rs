//! Replacements that hold the writer for what they change, and not for the whole table: they are compared
//! with the table on the caller's thread, from a read connection, and brought up to date by the history.

use crate::error::{CommitError, ReadError, StorageError};
use crate::read::{self, Pool};
use crate::rows::{self, signed};
use crate::table::OpenTable;
use crate::view::View;
use hotread_proto::{Compared, Head, Key, Position, Refusal, Replace};
use rusqlite::{Connection, params};

/// Most bytes of the history that the writer looks through for what has changed since a comparison: those of
/// some ten thousand small records, a tenth of a second.
pub(crate) const MAX_REST_BYTES: u64 = 1 << 20;
/// How often a comparison begins again because the history does not go back to its beginning, and how often
/// it is brought up to date before it is handed over.
pub(crate) const MAX_COMPARISONS: usize = 3;
const MAX_ROUNDS: usize = 8;

/// Compares a replacement with the table as it is on disk, and brings that up to date. The replacement is as it
/// was if the table changes too fast, or cannot be read.
pub(crate) fn compare(
    pool: &Pool,
    table: &OpenTable,
    new: &mut Replace,
    max_changes: usize,
) -> Result<Compared, CommitError> {
    for _ in 0..MAX_COMPARISONS {
        let mut compared = {
            let mut db = read::connection(pool)?;
            let txn = db.transaction()?;
            let (head, _) = read::head(&txn, table).map_err(unread)?;
            let mut view = View::new(&txn, table, head, head.at)?;
            Compared::new(&mut view, std::mem::take(new), max_changes)??
        };
        if follow(pool, table, &mut compared, max_changes)? {
            return Ok(compared);
        }
        *new = compared.into_replace();
    }
    Err(Refusal::Outdated.into())
}

/// Brings a comparison up to date, as far as that is worth it. `false`: the history does not go back so far.
fn follow(
    pool: &Pool,
    table: &OpenTable,
    compared: &mut Compared,
    max_changes: usize,
) -> Result<bool, CommitError> {
    for _ in 0..MAX_ROUNDS {
        let mut db = read::connection(pool)?;
        let txn = db.transaction()?;
        let (head, _) = read::head(&txn, table).map_err(unread)?;
        let Some(bytes) = catch_up(&txn, table, head, compared, u64::MAX)? else {
            return Ok(false);
        };
        if compared.changes() > max_changes.saturating_mul(2) {
            return Err(Refusal::Outdated.into());
        }
        // What came while this little was read is less still.
        if bytes < MAX_REST_BYTES / 4 {
            break;
        }
    }
    Ok(true)
}

/// Notes the keys that were changed since a comparison, and gives the bytes of history that were read for it;
/// `None`: the history does not have them, or they come to more than `max_bytes`.
fn catch_up(
    db: &Connection,
    table: &OpenTable,
    head: Head,
    compared: &mut Compared,
    max_bytes: u64,
) -> Result<Option<u64>, StorageError> {
    let Some(at) = compared.at() else {
        // It was committed before, and is answered without being looked at.
        return Ok(Some(0));
    };
    let mut touch = |key| compared.touch(key);
    let bytes = changed_keys(db, table, at, head.position, max_bytes, &mut touch)?;
    if bytes.is_some() {
        compared.advance(head.position);
    }
    Ok(bytes)
}

/// Visits the keys that were changed after one position and up to another, and gives the bytes of history that
/// were read for it; `None`: the history does not have all of them, or they come to more than `max_bytes`.
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
    // Trimmed, they are not all there.
    if count.cast_unsigned() != to.seq - after.seq || bytes > max_bytes {
        return Ok(None);
    }
    let mut changes = db.prepare_cached(&format!("SELECT ops {RANGE}"))?;
    let mut rows = changes.query(range)?;
    while let Some(row) = rows.next()? {
        let ops = row.get_ref(0)?.as_blob();
        let ops = ops.map_err(|e| StorageError::corrupt(e.to_string()))?;
        rows::read_keys(ops, &mut *visit)?;
    }
    Ok(Some(bytes))
}

/// In the writer, whose time is everybody's: brings a comparison up to date if that takes little.
pub(crate) fn finish(
    db: &Connection,
    table: &OpenTable,
    head: Head,
    compared: &mut Compared,
) -> Result<(), StorageError> {
    // What is not up to date is refused when it is evaluated.
    catch_up(db, table, head, compared, MAX_REST_BYTES).map(drop)
}

/// As it is said to those who write.
pub(crate) fn unread(error: ReadError) -> CommitError {
    match error {
        ReadError::UnknownTable { table } => CommitError::UnknownTable { table },
        ReadError::Seal { table, source } => CommitError::Seal { table, source },
        ReadError::Storage(error) => CommitError::Storage(error),
        other => CommitError::Storage(StorageError::Io {
            detail: other.to_string(),
        }),
    }
}
