//! Calls that replace the records of a table.

use super::{Store, Writer};
use crate::committer::queue::{OP_BYTES, PATIENCE};
use crate::error::{CommitError, StorageError};
use crate::replace::{MAX_COMPARISONS, compare};
use crate::table::OpenTable;
use crate::ticket::{ReplaceTicket, Replaced};
use hotread_proto::{Body, Compared, Refusal, Replace, TableName};
use std::sync::Arc;
use std::time::Duration;

impl Store {
    /// Makes the table contain exactly these records, in one transaction. This thread compares them
    /// with the table, through a read connection and within this store's [`Budget`](crate::Budget);
    /// other writers wait only for the records that change, about 10 µs each.
    ///
    /// If the table changes so fast that every comparison is outdated, the committer's thread eventually
    /// compares ([`Stats::whole_replacements`](crate::Stats::whole_replacements)), so that the writes
    /// of others never make a replacement fail.
    ///
    /// # Errors
    /// Same as [`commit`](Self::commit); if the table cannot be read; and with [`Refusal::Outdated`] if
    /// the table gets another schema at the last moment.
    pub fn replace(&self, table: &TableName, mut new: Replace) -> Result<Replaced, CommitError> {
        for _ in 0..MAX_COMPARISONS {
            // In each round, since the table may have been altered.
            let (writer, table) = self.replaceable(table, &new)?;
            let compared = match compare(&self.pool(), &table, &mut new, usize::MAX) {
                Ok(compared) => compared,
                // The table changes too fast, was rekeyed or dropped, or all read connections are in
                // use.
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
        let (writer, table) = self.replaceable(table, &new)?;
        self.push_whole(writer, table, new, PATIENCE)?.wait()
    }

    /// Submits a replacement without waiting for its commit or for room, as
    /// [`try_submit`](Self::try_submit) does. The committer compares it with the table while all other
    /// writers wait; [`replace`](Self::replace) and [`submit_compared`](Self::submit_compared) compare
    /// on the caller's thread.
    ///
    /// # Errors
    /// Same as [`try_submit`](Self::try_submit).
    pub fn submit_replace(
        &self,
        table: &TableName,
        new: Replace,
    ) -> Result<ReplaceTicket, CommitError> {
        let (writer, table) = self.replaceable(table, &new)?;
        self.push_whole(writer, table, new, Duration::ZERO)
    }

    /// Submits a replacement that changes at most `max_changes` records. As
    /// [`submit_replace`](Self::submit_replace), but this thread compares it with the table, in one
    /// transaction and within this store's [`Budget`](crate::Budget). The committer is busy with the
    /// records that change, about 10 µs each, and with what others have written to the table in the meantime,
    /// at most 1 MiB.
    ///
    /// # Errors
    /// Same as [`submit_replace`](Self::submit_replace); [`Refusal::TooManyChanges`]; and
    /// [`Refusal::Outdated`] if the table has changed too much in the meantime, which may be temporary.
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

    /// Returns the table if it may be written and the values fit its schema.
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

    /// Queues a replacement that the committer will compare.
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
        // This clone outlives the committer's: freeing many records takes time, which the writer must
        // not spend.
        let kept = compared.clone();
        let ticket = self.push(writer, table, Body::Compared(compared), size, patience)?;
        Ok(ticket.replace(Some(kept)))
    }
}
