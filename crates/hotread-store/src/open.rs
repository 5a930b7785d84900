//! Opening of database files: the kind of a file, and the right to write it. Nothing is changed before
//! the file is known to be a HotRead database.

use crate::error::{OpenError, StorageError, is_extended};
use crate::location::Location;
use crate::lock::WriterLock;
use crate::migrations::{self, APPLICATION_ID, LATEST};
use crate::options::Synchronous;
use crate::wal::{self, WalDamage};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Interval between attempts to take a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(5);

const NOT_SQLITE: &str = "it is not an SQLite database";

/// The kind of a file.
enum Kind {
    /// No content yet: no file, an empty one, or an SQLite database with nothing in it.
    Empty,
    /// A HotRead database of a version that this program knows.
    Ours(i32),
}

impl Location {
    /// Determines the kind of the file through a connection that cannot write, leaves the WAL alone,
    /// and creates no file. Only a journal, left by a power failure while the database was created, is
    /// rolled back.
    fn inspect(&self) -> Result<Kind, OpenError> {
        let path = self.path.clone();
        if self.vfs.is_none() {
            let parent = match self.path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            let unreachable = |path: &Path, source| OpenError::Unreachable {
                path: path.to_owned(),
                source,
            };
            match std::fs::metadata(parent) {
                Ok(meta) if meta.is_dir() => {}
                Err(e) if !is_absent(&e) => return Err(unreachable(parent, e)),
                _ => {
                    let path = parent.to_owned();
                    return Err(OpenError::NoDirectory { path });
                }
            }
            // `x.db/` may name a directory only.
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                return Err(OpenError::NotAFile { path });
            }
            match std::fs::metadata(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Kind::Empty),
                Err(e) => return Err(unreachable(&path, e)),
                Ok(meta) if !meta.is_file() => return Err(OpenError::NotAFile { path }),
                // SQLite treats a single byte as an empty database, and would overwrite it.
                Ok(meta) if meta.len() == 1 => {
                    let reason = NOT_SQLITE.to_owned();
                    return Err(OpenError::Foreign { path, reason });
                }
                _ => {}
            }
        }
        let opened = if self.is_at_rest() {
            self.open_at_rest()
        } else {
            self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)
        };
        let db = match opened {
            Ok(db) => db,
            Err(e)
                if self.vfs.is_some() && e.sqlite_error_code() == Some(ErrorCode::CannotOpen) =>
            {
                return Ok(Kind::Empty);
            }
            Err(e) => return Err(self.storage(e)),
        };
        let look = |db: &Connection| -> rusqlite::Result<(i32, i32, i64)> {
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            let pragma = |name| db.pragma_query_value(None, name, |row| row.get(0));
            let (id, version) = (pragma("application_id")?, pragma("user_version")?);
            // Reads the schema, and so fails at once if that is damaged.
            let things = "SELECT count(*) FROM sqlite_schema";
            Ok((id, version, db.query_row(things, [], |row| row.get(0))?))
        };
        let mut looked = look(&db);
        drop(db);
        if let Err(e) = &looked {
            let at = match is_extended(e, rusqlite::ffi::SQLITE_READONLY_ROLLBACK) {
                true => Some(self.clone()),
                false => self.alone(e),
            };
            if let Some(at) = at {
                looked = at
                    .open(OpenFlags::SQLITE_OPEN_READ_WRITE)
                    .and_then(|db| look(&db));
            }
        }
        match looked {
            Ok((0, 0, 0)) => Ok(Kind::Empty),
            Ok((APPLICATION_ID, found, _)) if found > LATEST => Err(OpenError::NewerSchema {
                path,
                found,
                known: LATEST,
            }),
            Ok((APPLICATION_ID, found @ 1.., _)) => Ok(Kind::Ours(found)),
            Ok((id, _, _)) => {
                let reason = format!("its application id is {id:#x}, ours is {APPLICATION_ID:#x}");
                Err(OpenError::Foreign { path, reason })
            }
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                let reason = NOT_SQLITE.to_owned();
                Err(OpenError::Foreign { path, reason })
            }
            Err(e) => Err(self.storage(e)),
        }
    }

    fn no_file(&self) -> OpenError {
        let path = self.path.clone();
        OpenError::NoFile { path }
    }
}

/// Returns `true` if nothing is at the path, or a part of it is not a directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns the version of a database that must exist.
pub(crate) fn inspect_existing(path: &Path) -> Result<i32, OpenError> {
    let at = Location::new(path);
    match at.inspect()? {
        Kind::Ours(version) => Ok(version),
        Kind::Empty => Err(at.no_file()),
    }
}

/// Checks that there is a database of the newest version to read.
pub(crate) fn check_readable(at: &Location) -> Result<(), OpenError> {
    match at.inspect()? {
        Kind::Empty => {
            not_emptied(at, wal::scan_live(at).map_err(|e| at.storage(e))?)?;
            Err(at.no_file())
        }
        Kind::Ours(LATEST) => Ok(()),
        Kind::Ours(found) => Err(OpenError::OlderSchema {
            path: at.path.clone(),
            found,
            known: LATEST,
        }),
    }
}

/// A database that may be written.
pub(crate) struct Opened {
    /// Closed before the lock is released.
    pub(crate) db: Connection,
    pub(crate) lock: WriterLock,
    /// Commits of an earlier process that a damaged log has lost.
    pub(crate) damage: Option<WalDamage>,
    /// Set if there was no database before.
    pub(crate) created: bool,
    /// The error if there was no room to make durable what an earlier process has left. The database
    /// can be read, and is written as soon as there is room.
    pub(crate) full: Option<StorageError>,
}

/// Opens a connection in WAL mode to a database of any known version, with the right to write it.
pub(crate) fn raw_writer(
    at: &mut Location,
    create: bool,
    wait: Duration,
) -> Result<Opened, OpenError> {
    // A file of another kind gets no lock file next to it.
    let before = at.inspect()?;
    if matches!(before, Kind::Empty) && !create {
        check_readable(at)?;
    }
    let deadline = Instant::now() + wait;
    let lock = loop {
        match WriterLock::take(at) {
            // A process that serves the database does not end soon.
            Err(OpenError::InUse { holder, .. })
                if holder.url.is_none() && Instant::now() < deadline =>
            {
                std::thread::sleep(LOCK_POLL);
            }
            taken => break taken?,
        }
    };
    // Inspected again, because the last holder of the lock may have changed the file.
    let created = matches!(at.inspect()?, Kind::Empty);
    // Scanned before SQLite discards the damaged part.
    let damage = wal::scan(at).map_err(|e| at.storage(e))?;
    if created {
        not_emptied(at, damage)?;
    }
    if let Some(damage) = &damage {
        report(at, damage);
    }
    let open = |at: &Location| -> rusqlite::Result<(Connection, Option<String>)> {
        let db = at.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let wal = || db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        let mode = (!db.is_readonly("main")?).then(wal).transpose()?;
        Ok((db, mode))
    };
    let mut opened = open(at);
    if let Some(alone) = opened.as_ref().err().and_then(|e| at.alone(e)) {
        *at = alone;
        opened = open(at);
    }
    let (db, mode) = opened.map_err(|e| at.storage(e))?;
    match mode.as_deref() {
        Some("wal") => {}
        Some(mode) => {
            let detail = format!("its journal mode stays {mode:?} where WAL is needed");
            return Err(at.storage(StorageError::Io { detail }));
        }
        None => {
            let detail = "it was opened for reading only".into();
            return Err(at.storage(StorageError::ReadOnly { detail }));
        }
    }
    if at.is_alone {
        tracing::error!(
            path = %at.path.display(),
            "there is no room for the index of the write-ahead log, which is in memory: no other process can \
             read the database until this one is restarted"
        );
    }
    Ok(Opened {
        db,
        lock,
        damage,
        created,
        full: None,
    })
}

/// Opens for writing; creates and migrates as needed.
pub(crate) fn writer(
    at: &mut Location,
    create: bool,
    synchronous: Synchronous,
    wait: Duration,
) -> Result<Opened, OpenError> {
    let mut opened = raw_writer(at, create, wait)?;
    let db = &mut opened.db;
    migrations::ascend(db).map_err(|e| at.storage(e))?;
    // An earlier process may have ended before its fsync, and its frames are read from now on.
    if synchronous == Synchronous::Full {
        match migrations::settle(db).map_err(StorageError::from) {
            Err(full @ StorageError::Full { .. }) => opened.full = Some(full),
            settled => settled.map_err(|e| at.storage(e))?,
        }
    }
    opened.db = at.writer(synchronous).map_err(|e| at.storage(e))?;
    Ok(opened)
}

/// Fails if the database is empty only because the log that has its whole content is damaged.
fn not_emptied(at: &Location, damage: Option<WalDamage>) -> Result<(), OpenError> {
    match damage {
        Some(damage) => Err(at.storage(StorageError::corrupt(damage))),
        None => Ok(()),
    }
}

/// Logs that the write-ahead log contains more than SQLite applies.
fn report(at: &Location, damage: &WalDamage) {
    let path = at.path.display();
    if damage.certain {
        tracing::error!(
            "{path}: {damage}; acknowledged transactions are lost, and the database may be damaged: \
             verify it, and restore a backup"
        );
    } else {
        tracing::warn!(
            "{path}: {damage}; it was in progress when power failed, or it was acknowledged and is lost"
        );
    }
}
