//! Backups: copies of the database as of one moment, made while it is written to, and their
//! restoration.

use crate::error::{BackupError, ReadError, StorageError};
use crate::files::sibling;
use crate::location::Location;
use crate::migrations;
use crate::staging::Staging;
use crate::store::Store;
use crate::verify::Report;
use rusqlite::Connection;
use std::fmt::Display;
use std::io;
use std::path::Path;

impl Store {
    /// Writes a copy of the database, as of one moment, to a new file. The copy is compact and complete
    /// in one file. It appears under its name only when it is durable. Sealed tables stay sealed.
    ///
    /// Writes continue in the meantime; the WAL grows by their size.
    ///
    /// # Errors
    /// If a file of that name exists, or the copy cannot be written. The remains of a backup whose
    /// process was killed are removed by the next backup in the same folder.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), BackupError> {
        let db = self.0.at.copier()?;
        copy(&db, to.as_ref(), |_| Ok(()))
    }

    /// Creates a database from a backup. Each of its tables begins a new epoch, so that replicas that
    /// were ahead of the backup notice; sequence numbers, history and transaction ids continue from the
    /// backup.
    ///
    /// # Errors
    /// If `from` is not a HotRead database, or is damaged; if a file exists at `to`, or it cannot be
    /// written. `from` is unchanged.
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), BackupError> {
        let from = from.as_ref();
        crate::open::inspect_existing(from)?;
        let mut at = Location::new(from);
        at.hold()?;
        let source = at.copier()?;
        let problem: String = source
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(|e| problem_of(from, e.into()))?;
        if problem != "ok" {
            return Err(damaged(from, &problem));
        }
        copy(&source, to.as_ref(), |db| {
            migrations::ascend(db)?;
            let ids = migrations::table_ids(db, "true")?;
            let txn = db.transaction()?;
            for id in ids {
                let epoch = getrandom::u64().map_err(StorageError::from)?.cast_signed();
                txn.execute("UPDATE tables SET epoch = ?2 WHERE id = ?1", [id, epoch])?;
            }
            txn.commit()?;
            // All checks that need no passphrase.
            let report = Report::of(db, |table| table.unseal(None)).map_err(|e| match e {
                ReadError::Storage(e) => problem_of(from, e),
                other => damaged(from, &other),
            })?;
            match report.problems.first() {
                Some(problem) => Err(damaged(from, problem)),
                None => Ok(()),
            }
        })
    }
}

/// Maps damage of the backup to its own error, and other errors to failures of the read.
fn problem_of(path: &Path, error: StorageError) -> BackupError {
    match error {
        StorageError::Corrupt { .. } => damaged(path, &error),
        error => BackupError::Storage(error),
    }
}

fn damaged(path: &Path, problem: &dyn Display) -> BackupError {
    let (path, problem) = (path.to_owned(), problem.to_string());
    BackupError::Damaged { path, problem }
}

/// Runs `VACUUM INTO` a file next to the target, which is then renamed to the target.
fn copy(
    source: &Connection,
    to: &Path,
    finish: impl FnOnce(&mut Connection) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let failed = |source: io::Error| {
        let path = to.to_owned();
        match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path },
            _ => BackupError::File { path, source },
        }
    };
    // SQLite would take such a log or journal for that of the new file.
    for path in [to.to_owned(), sibling(to, "-wal"), sibling(to, "-journal")] {
        if path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { path });
        }
    }
    let staging = Staging::begin(to).map_err(failed)?;
    let part = staging.part();
    let name = part.to_str().ok_or_else(|| {
        let kind = io::ErrorKind::InvalidFilename;
        failed(io::Error::new(kind, "the path is not UTF-8"))
    })?;
    staging.create_private().map_err(failed)?;
    source.execute("VACUUM INTO ?1", [name])?;
    let mut db = Connection::open(&part)?;
    finish(&mut db)?;
    db.close().map_err(|(_, e)| StorageError::from(e))?;
    staging.publish_new().map_err(failed)
}
