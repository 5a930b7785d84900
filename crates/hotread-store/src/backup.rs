//! Backups: a copy of the database as of one moment, made while it is written to, and its way back.

use crate::admin;
use crate::error::{BackupError, StorageError};
use crate::migrate;
use crate::open::Location;
use crate::store::Store;
use crate::verify::Report;
use rusqlite::Connection;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

impl Store {
    /// Writes a copy of the database to a new file, as of one moment: compact, complete in itself,
    /// and safe on disk under that name or not there at all. Sealed tables stay sealed.
    ///
    /// Others go on writing meanwhile; the WAL grows by what they write.
    ///
    /// # Errors
    /// If there is something of that name, or it cannot be written.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<(), BackupError> {
        let db = self.location().copier()?;
        copy(&db, to.as_ref(), |_| Ok(()))
    }

    /// Makes a database of a backup. Each of its tables begins a new epoch, so that replicas that
    /// were ahead of the backup notice; sequence numbers, history and transaction ids go on from
    /// where they were.
    ///
    /// # Errors
    /// If `from` is not a database of ours, or damaged; if there is something at `to`, or it cannot
    /// be written. `from` is left as it is.
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), BackupError> {
        let from = from.as_ref();
        crate::open::inspect_existing(from)?;
        let at = Location {
            path: from.to_owned(),
            vfs: None,
        };
        let source = at.copier()?;
        let problem: String = source
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(|e| damaged(from, &e.to_string()))?;
        if problem != "ok" {
            return Err(damaged(from, &problem));
        }
        copy(&source, to.as_ref(), |db| {
            migrate::ascend(db)?;
            let ids: Vec<i64> = db
                .prepare("SELECT id FROM tables")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let txn = db.transaction()?;
            for id in ids {
                let epoch = admin::random_epoch()?.0.cast_signed();
                txn.execute("UPDATE tables SET epoch = ?2 WHERE id = ?1", [id, epoch])?;
            }
            txn.commit()?;
            // All that can be checked without a passphrase.
            let report = Report::of(db, |table| table.unseal(None));
            let problems = report.map(|report| report.problems);
            let problems = problems.unwrap_or_else(|e| vec![e.to_string()]);
            match problems.first() {
                Some(problem) => Err(damaged(from, problem)),
                None => Ok(()),
            }
        })
    }
}

fn damaged(path: &Path, problem: &str) -> BackupError {
    BackupError::Damaged {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

/// `VACUUM INTO` a file beside the target, which then takes the target's name.
fn copy(
    source: &Connection,
    to: &Path,
    finish: impl FnOnce(&mut Connection) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::File { path, source }
    };
    // Reserves the name, so that of two at once one fails.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => BackupError::Exists {
                path: to.to_owned(),
            },
            _ => BackupError::File {
                path: to.to_owned(),
                source,
            },
        })?;
    let part = Part::beside(to);
    let _ = std::fs::remove_file(&part.0);
    let done = (|| {
        let name = part.0.to_str().ok_or_else(|| BackupError::File {
            path: part.0.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidFilename, "not UTF-8"),
        })?;
        source.execute("VACUUM INTO ?1", [name])?;
        let mut db = Connection::open(&part.0)?;
        finish(&mut db)?;
        db.close().map_err(|(_, e)| StorageError::from(e))?;
        File::open(&part.0)
            .and_then(|file| file.sync_all())
            .map_err(failed(&part.0))?;
        std::fs::rename(&part.0, to).map_err(failed(to))?;
        sync_directory(to).map_err(failed(to))
    })();
    if done.is_err() {
        let _ = std::fs::remove_file(to);
    }
    done
}

/// The unfinished copy; removed unless it was renamed.
struct Part(PathBuf);

impl Part {
    fn beside(target: &Path) -> Self {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        Self(name.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes the new name durable, where directories can be synced.
fn sync_directory(of: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let parent = of.parent().filter(|parent| *parent != Path::new(""));
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
