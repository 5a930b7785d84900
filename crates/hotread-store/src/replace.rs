//! Replacements that hold the writer for what they change, and not for the whole table: they are compared
//! with the table on the caller's thread, from a read connection, and brought up to date by the history.

use crate::error::{CommitError, ReadError, StorageError};
use crate::queue::{OP_BYTES, PATIENCE};
use crate::read::{self, Pool};
use crate::rows::{self, signed};
use crate::store::{Store, Writer};
use crate::table::OpenTable;
use crate::ticket::{ReplaceTicket, Replaced};
use crate::view::View;
use hotread_proto::{Body, Compared, Head, Refusal, Replace, TableName};
use rusqlite::{Connection, params};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of the history that the writer looks through for what has changed since a comparison: those of
/// some ten thousand small records, a tenth of a second.
const MAX_REST_BYTES: u64 = 1 << 20;
/// How often a comparison begins again because the history does not go back to its beginning, and how often
/// it is brought up to date before it is handed over.
const MAX_COMPARISONS: usize = 3;
const MAX_ROUNDS: usize = 8;

impl Store {
    /// Makes the table have exactly these records, in one transaction. Compared with the table on this thread,
    /// from a read connection and within this store's [`Budget`](crate::Budget): other writers wait for what
    /// changes, about 10 µs a record, and not for a pass over the table.
    ///
    /// If the table changes so much meanwhile that no comparison holds, the committer's thread compares in
    /// the end ([`Stats::whole_replacements`](crate::Stats::whole_replacements)): it never fails for what
    /// others write.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit), and if the table cannot be read.
    pub fn replace(&self, table: &TableName, mut new: Replace) -> Result<Replaced, CommitError> {
        let (writer, table) = self.replaceable(table, &new)?;
        for _ in 0..MAX_COMPARISONS {
            let compared = match compare(&self.pool(), &table, &mut new, usize::MAX) {
                Ok(compared) => compared,
                // It changes too fast, was sealed anew or dropped, or all read connections are in use.
                Err(
                    CommitError::Refused(Refusal::Outdated)
                    | CommitError::UnknownTable { .. }
                    | CommitError::Storage(StorageError::NoReader),
                ) => break,
                Err(error) => return Err(error),
            };
            let kept = compared.clone();
            match self
                .push_compared(writer, table.clone(), compared, PATIENCE)?
                .wait()
            {
                Err(CommitError::Refused(Refusal::Outdated)) => new = kept.into_replace(),
                answered => return answered,
            }
        }
        self.push_whole(writer, table, new, PATIENCE)?.wait()
    }

    /// Hands a replacement over, without waiting for it or for room: as [`try_submit`](Self::try_submit). The
    /// committer compares it with the table, while all other writers wait; [`replace`](Self::replace) and
    /// [`submit_compared`](Self::submit_compared) compare on the caller's thread.
    ///
    /// # Errors
    /// As for [`try_submit`](Self::try_submit).
    pub fn submit_replace(
        &self,
        table: &TableName,
        new: Replace,
    ) -> Result<ReplaceTicket, CommitError> {
        let (writer, table) = self.replaceable(table, &new)?;
        self.push_whole(writer, table, new, Duration::ZERO)
    }

    /// Hands a replacement over that changes at most `max_changes` records. As
    /// [`submit_replace`](Self::submit_replace), but compared with the table on this thread: the writer is
    /// held for what changes, about 10 µs a record, and for what other transactions have written to the
    /// table meanwhile, 1 MiB of it at most.
    ///
    /// Reads the whole table in one transaction, within this store's [`Budget`](crate::Budget).
    ///
    /// # Errors
    /// As for [`submit_replace`](Self::submit_replace); [`Refusal::TooManyChanges`]; and
    /// [`Refusal::Outdated`] if the table has changed too much meanwhile, which may pass.
    pub fn submit_compared(
        &self,
        table: &TableName,
        mut new: Replace,
        max_changes: usize,
    ) -> Result<ReplaceTicket, CommitError> {
        let (writer, table) = self.replaceable(table, &new)?;
        let compared = compare(&self.pool(), &table, &mut new, max_changes)?;
        self.push_compared(writer, table, compared, Duration::ZERO)
    }

    /// The table, if it may be written and the values fit its schema.
    fn replaceable(
        &self,
        table: &TableName,
        new: &Replace,
    ) -> Result<(&Writer, Arc<OpenTable>), CommitError> {
        let writer = self.writer()?;
        let table = self.writable(table)?;
        for put in &new.records {
            table.check_schema(&put.key, &put.value)?;
        }
        Ok((writer, table))
    }

    /// To be compared by the committer.
    fn push_whole(
        &self,
        writer: &Writer,
        table: Arc<OpenTable>,
        new: Replace,
        patience: Duration,
    ) -> Result<ReplaceTicket, CommitError> {
        let size = new.size() + OP_BYTES * new.records.len();
        let ticket = self.push(writer, table, Body::Replace(new), size, patience)?;
        Ok(ticket.replace(None))
    }

    fn push_compared(
        &self,
        writer: &Writer,
        table: Arc<OpenTable>,
        compared: Compared,
        patience: Duration,
    ) -> Result<ReplaceTicket, CommitError> {
        let size = compared.size() + OP_BYTES * compared.changes();
        // The last one that has the records drops them, which takes time for many: not the writer.
        let kept = compared.clone();
        let ticket = self.push(writer, table, Body::Compared(compared), size, patience)?;
        Ok(ticket.replace(Some(kept)))
    }
}

/// Compares a replacement with the table as it is on disk, and brings that up to date. The replacement is as it
/// was if the table changes too fast, or cannot be read.
fn compare(
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
    if at == head.position {
        return Ok(Some(0));
    }
    if at.epoch != head.position.epoch {
        return Ok(None);
    }
    let range = params![table.id, signed(at.seq), signed(head.position.seq)];
    const RANGE: &str = "FROM changes WHERE place > ?1 << 40 | ?2 AND place <= ?1 << 40 | ?3";
    let mut sizes =
        db.prepare_cached(&format!("SELECT count(*), coalesce(sum(bytes), 0) {RANGE}"))?;
    let (count, bytes) = sizes.query_row(range, |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    // Trimmed, they are not all there.
    if count.cast_unsigned() != head.position.seq - at.seq || bytes > max_bytes {
        return Ok(None);
    }
    let mut changes = db.prepare_cached(&format!("SELECT ops {RANGE}"))?;
    let mut rows = changes.query(range)?;
    while let Some(row) = rows.next()? {
        let ops = row.get_ref(0)?.as_blob();
        let ops = ops.map_err(|e| StorageError::corrupt(e.to_string()))?;
        rows::read_keys(ops, |key| compared.touch(key))?;
    }
    compared.advance(head.position);
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
fn unread(error: ReadError) -> CommitError {
    match error {
        ReadError::UnknownTable { table } => CommitError::UnknownTable { table },
        ReadError::Seal { table, source } => CommitError::Seal { table, source },
        ReadError::Storage(error) => CommitError::Storage(error),
        other => CommitError::Storage(StorageError::Io {
            detail: other.to_string(),
        }),
    }
}
