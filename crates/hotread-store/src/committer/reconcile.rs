//! Recovery from a failed COMMIT: nothing more is written until the content of the disk is known.

use super::{Changes, Committer, not_open, publish};
use crate::error::StorageError;
use crate::location::set_synchronous;
use crate::migrations;
use crate::options::Synchronous;
use rusqlite::Connection;

/// The state while writing has stopped because the content of the disk is unknown.
pub(crate) struct Halted {
    cause: StorageError,
    /// The changes that the failed group would have made, by table.
    changes: Changes,
    /// The failed connection, kept open so that the WAL's index stays as it was before the failed
    /// COMMIT. A rebuilt index would include frames of that COMMIT, which no later fsync may make
    /// durable.
    wreck: Option<Connection>,
}

impl Committer {
    /// Stops writing until [`reconcile`](Self::reconcile) has determined the content of the disk.
    pub(crate) fn halt(&mut self, cause: StorageError, changes: Changes) {
        let earlier = self.halted.take().and_then(|halted| halted.wreck);
        let wreck = self.db.take().or(earlier).filter(|db| {
            // The rest of its transaction would prevent the checkpoint of the WAL.
            let _ = db.execute_batch("ROLLBACK");
            db.is_autocommit()
        });
        self.counters.halted(Some(&cause));
        self.halted = Some(Halted {
            cause,
            changes,
            wreck,
        });
    }

    /// After a failed COMMIT: reopens the database, checkpoints its WAL, and compares the heads. Frames
    /// of the failed group may lie in the WAL beyond its end, where a later recovery might find them.
    /// The checkpoint removes them, and the transaction that follows it makes that durable. From then
    /// on, a read returns what is on disk and stays there.
    pub(crate) fn reconcile(&mut self) -> Result<(), StorageError> {
        self.check_names()?;
        let Some(halted) = &self.halted else {
            return Ok(());
        };
        let still = |e: StorageError| {
            tracing::warn!(cause = %halted.cause, now = %e, "writing is still halted");
            e
        };
        let db = self
            .at
            .writer(Synchronous::Full)
            .map_err(|e| still(e.into()))?;
        // On a full disk the database cannot grow by the content of the WAL, and a checkpoint would use
        // up the last space. The WAL itself has room: the transaction below overwrites the first frame
        // of the failed group, and without the checksum of that frame the others do not count.
        let no_room = matches!(halted.cause, StorageError::Full { .. });
        let busy: i64 = if no_room && halted.wreck.is_some() {
            0
        } else {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                .map_err(|e| still(e.into()))?
        };
        if busy != 0 {
            let detail = "a reader prevents the checkpoint of the WAL".to_owned();
            return Err(still(StorageError::Locked { detail }));
        }
        migrations::settle(&db).map_err(|e| still(e.into()))?;
        set_synchronous(&db, self.synchronous).map_err(|e| still(e.into()))?;
        self.db = Some(db);
        let rows = self.read_tables()?;
        // The failed COMMIT may have created, dropped or rekeyed a table, or created or revoked a
        // token.
        self.registry.follow(rows);
        let db = self.db.as_ref().ok_or_else(not_open)?;
        self.tokens.reload(db)?;
        let halted = self.halted.take().expect("it was there above");
        for (table, changes) in halted.changes {
            let (Some(last), Some(standing)) = (changes.last(), self.standing(&table)) else {
                continue;
            };
            if standing.head == last.head() {
                tracing::warn!(table = %table.name, "the group whose COMMIT failed is on disk");
                publish(&vec![(table, changes)], &self.standing);
            } else {
                tracing::warn!(table = %table.name, "the group whose COMMIT failed is not on disk");
            }
        }
        // A transaction that only trims may have been committed as well. After the heads, which no
        // floor passes.
        for table in self.registry.all() {
            if let Some(standing) = self.standing(&table) {
                table.feed.set_floor(standing.floor);
            }
        }
        self.counters.halted(None);
        Ok(())
    }
}
