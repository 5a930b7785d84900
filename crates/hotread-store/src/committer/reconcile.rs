//! What follows a failed COMMIT: nothing more is written until it is known what is on disk.

use super::{Changes, Committer, not_open, publish};
use crate::error::StorageError;
use crate::location::set_synchronous;
use crate::migrations;
use crate::options::Synchronous;
use rusqlite::Connection;

/// Writing has stopped, because it is not known what is on disk.
pub(crate) struct Halted {
    cause: StorageError,
    /// What the group that failed was to become, by table.
    changes: Changes,
    /// Keeps the WAL's index as it was before the COMMIT that failed. Were it built anew, frames of
    /// that COMMIT would count, which no later fsync may make durable.
    wreck: Option<Connection>,
}

impl Committer {
    /// Stops writing until [`reconcile`](Self::reconcile) has found out what is on disk.
    pub(crate) fn halt(&mut self, cause: StorageError, changes: Changes) {
        let earlier = self.halted.take().and_then(|halted| halted.wreck);
        let wreck = self.db.take().or(earlier).filter(|db| {
            // What is left of its transaction would keep the WAL from being brought to rest.
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

    /// After a failed COMMIT: opens the database anew, brings its WAL to rest, and compares. Frames
    /// of the failed group that lie in the WAL beyond its end, where the next recovery might find
    /// them, are gone after the checkpoint, and durably so after the transaction that follows it; so
    /// from then on what is read is what there is, and stays so.
    pub(crate) fn reconcile(&mut self) -> Result<(), StorageError> {
        self.check_names()?;
        let Some(halted) = &self.halted else {
            return Ok(());
        };
        let still = |e: StorageError| {
            tracing::warn!(cause = %halted.cause, now = %e, "still not writing");
            e
        };
        let db = self
            .at
            .writer(Synchronous::Full)
            .map_err(|e| still(e.into()))?;
        // Without room the database cannot grow by what is in the WAL, and would take what little
        // there is. There is room in the WAL itself, or almost: the transaction below overwrites the
        // first of the failed group's frames, and without that one's checksum the others count for
        // nothing.
        let no_room = matches!(halted.cause, StorageError::Full { .. });
        let busy: i64 = if no_room && halted.wreck.is_some() {
            0
        } else {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                .map_err(|e| still(e.into()))?
        };
        if busy != 0 {
            let detail = "a reader keeps the WAL from being brought to rest".to_owned();
            return Err(still(StorageError::Locked { detail }));
        }
        migrations::settle(&db).map_err(|e| still(e.into()))?;
        set_synchronous(&db, self.synchronous).map_err(|e| still(e.into()))?;
        self.db = Some(db);
        let rows = self.read_tables()?;
        // A table may have been created, dropped or sealed anew by the COMMIT that failed, or a token
        // made or revoked.
        self.registry.follow(rows);
        let db = self.db.as_ref().ok_or_else(not_open)?;
        self.tokens.reload(db)?;
        let halted = self.halted.take().expect("it was there above");
        for (table, changes) in halted.changes {
            let (Some(last), Some(standing)) = (changes.last(), self.standing(&table)) else {
                continue;
            };
            if standing.head == last.head() {
                tracing::warn!(table = %table.name, "the group whose COMMIT failed is there");
                publish(&vec![(table, changes)], &self.standing);
            } else {
                tracing::warn!(table = %table.name, "the group whose COMMIT failed is not there");
            }
        }
        // A transaction that only trims may be there as well. After the heads, which no floor passes.
        for table in self.registry.all() {
            if let Some(standing) = self.standing(&table) {
                table.feed.set_floor(standing.floor);
            }
        }
        self.counters.halted(None);
        Ok(())
    }
}
