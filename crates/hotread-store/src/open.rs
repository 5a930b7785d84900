//! Opening database files: what kind of file it is, who may write it, and how connections are set
//! up. Nothing is changed before it is known to be ours.

use crate::error::{OpenError, StorageError};
use crate::inode::Inode;
use crate::lock::WriterLock;
use crate::migrate::{self, APPLICATION_ID, LATEST};
use crate::options::Synchronous;
use crate::wal::{self, WalDamage};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long SQLite waits for locks of other programs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of a connection, in KiB. The writer's holds the pages of a group of transactions.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Pages of WAL after which a commit moves them into the database: 16 MiB. SQLite's 1,000 would
/// cost two more fsyncs for every 4 MiB written.
const CHECKPOINT_PAGES: i64 = 4_000;
/// The WAL file is cut to this many bytes when it begins anew.
pub(crate) const WAL_LIMIT_BYTES: i64 = 64 << 20;
/// How often it is tried to take a lock that another process has.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 64;

/// SQLite's own VFS for a database that one process uses: its first connection locks other processes out,
/// and the index of the write-ahead log is in memory, which all connections of the process share.
const ALONE: &str = "unix-excl";

/// What a file is.
enum Kind {
    /// Nothing yet: no file, an empty one, or an SQLite database with nothing in it.
    Empty,
    /// A HotRead database of a version that is known here.
    Ours(i32),
}

/// A database that can be opened again and again.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    /// A SQLite VFS other than the system's; in tests.
    pub(crate) vfs: Option<String>,
    /// Connections keep the index of the write-ahead log in this process's memory, and lock other
    /// processes out: there was no room for the index on the disk.
    pub(crate) is_alone: bool,
    /// The file itself, for as long as connections to it are open.
    pub(crate) inode: Option<Arc<Inode>>,
}

impl Location {
    pub(crate) fn new(path: &Path, vfs: Option<String>) -> Self {
        Self {
            path: path.to_owned(),
            vfs,
            is_alone: false,
            inode: None,
        }
    }

    /// The same database for this process alone, after an error that says that there is no room for the
    /// index of its write-ahead log. `None`: it is another error, or that does not help.
    fn alone(&self, error: &rusqlite::Error) -> Option<Self> {
        let can = cfg!(unix) && self.vfs.is_none() && !self.is_alone;
        (can && is_without_index(error)).then(|| Self {
            is_alone: true,
            ..self.clone()
        })
    }

    /// Holds on to the file that has the name now.
    pub(crate) fn hold(&mut self) -> Result<(), OpenError> {
        if self.vfs.is_none() {
            self.inode = Inode::of(&self.path).map_err(|e| self.storage_error(e.into()))?;
        }
        Ok(())
    }

    /// Fails if what is written would not be found under the database's name.
    pub(crate) fn check_names(&self) -> Result<(), StorageError> {
        self.inode.as_ref().map_or(Ok(()), |it| it.check_names())
    }

    /// Size of the write-ahead log.
    pub(crate) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |meta| meta.len())
    }

    /// Size of the database's file, and the bytes that are free on its disk for this process's user.
    pub(crate) fn room(&self) -> Option<(u64, u64)> {
        let size = std::fs::metadata(&self.path).ok()?.len();
        Some((size, free_bytes(&self.path)?))
    }

    /// Fails if another file would be read under the database's name.
    pub(crate) fn check_name(&self) -> Result<(), StorageError> {
        self.inode.as_ref().map_or(Ok(()), |it| it.check_name())
    }

    pub(crate) fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let mut flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // `./`, so that `file:x` and `:memory:` are names like all others.
        let path = match self.path.is_relative() && self.vfs.is_none() {
            true => &Path::new(".").join(&self.path),
            false => &self.path,
        };
        let vfs = match self.is_alone {
            true => Some(ALONE),
            false => self.vfs.as_deref(),
        };
        if self.is_alone {
            // A connection that cannot write takes no lock, and would look for the index on the disk.
            flags.remove(OpenFlags::SQLITE_OPEN_READ_ONLY);
            flags.insert(OpenFlags::SQLITE_OPEN_READ_WRITE);
        }
        let db = match vfs {
            None => Connection::open_with_flags(path, flags)?,
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        };
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(db)
    }

    /// Is all of the database in this file, with neither a WAL nor a journal beside it? Then nobody
    /// has it open for writing either.
    fn is_at_rest(&self) -> bool {
        let missing = |ending| {
            std::fs::symlink_metadata(beside(&self.path, ending))
                .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        };
        cfg!(unix) && self.vfs.is_none() && missing("-wal") && missing("-journal")
    }

    /// A connection to a database at rest, for as long as it stays so: takes no lock, and makes no
    /// file beside it.
    fn open_at_rest(&self) -> rusqlite::Result<Connection> {
        let mut uri = "file:".to_owned();
        for &byte in std::path::absolute(&self.path)
            .unwrap_or_else(|_| self.path.clone())
            .as_os_str()
            .as_encoded_bytes()
        {
            if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(uri, flags)
    }

    /// A connection for the committer. No connection maps the file: a disk error would end the process
    /// by a signal, where a read reports it.
    pub(crate) fn writer(&self, synchronous: Synchronous) -> rusqlite::Result<Connection> {
        let db = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.pragma_update(None, "foreign_keys", true)?;
        set_synchronous(&db, synchronous)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        db.pragma_update(None, "journal_size_limit", WAL_LIMIT_BYTES)?;
        db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        db.pragma_update(None, "mmap_size", 0)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(db)
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        self.reader_of().map(|(db, _)| db)
    }

    /// A connection that only reads, and whether it may do so for one read only: as long as the
    /// database is at rest, where SQLite wants to create files beside it, which a medium that can only be
    /// read refuses; or with other processes locked out, where there is no room for the log's index.
    pub(crate) fn reader_of(&self) -> rusqlite::Result<(Connection, bool)> {
        let db = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // A reader that closes last would otherwise try to move the WAL into the database.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let first: rusqlite::Result<i64> =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
        let (db, once) = match first {
            Err(e)
                if matches!(
                    e.sqlite_error_code(),
                    Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
                ) && self.is_at_rest() =>
            {
                (self.open_at_rest()?, true)
            }
            Err(e) => match self.alone(&e) {
                Some(alone) => {
                    drop(db);
                    return Ok((alone.reader_of()?.0, true));
                }
                // Damage is for whoever reads what is damaged.
                None => (db, false),
            },
            Ok(_) => (db, false),
        };
        db.pragma_update(None, "query_only", true)?;
        db.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        db.pragma_update(None, "mmap_size", 0)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        Ok((db, once))
    }

    /// A connection that only reads this database, and may write others: copies of it.
    pub(crate) fn copier(&self) -> rusqlite::Result<Connection> {
        let db = self.reader()?;
        db.pragma_update(None, "query_only", false)?;
        Ok(db)
    }

    fn storage(&self, error: rusqlite::Error) -> OpenError {
        self.storage_error(error.into())
    }

    fn storage_error(&self, source: StorageError) -> OpenError {
        OpenError::Storage {
            path: self.path.clone(),
            source,
        }
    }

    /// Looks at the file through a connection that cannot write, and that leaves the WAL alone. Where
    /// there is none, no file appears beside it.
    /// Only where power was lost while the database was created, there is a journal, without whose
    /// rollback nothing can be read.
    fn inspect(&self) -> Result<Kind, OpenError> {
        let path = self.path.clone();
        if self.vfs.is_none() {
            let parent = match self.path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            if !parent.is_dir() {
                return Err(OpenError::NoDirectory {
                    path: parent.to_owned(),
                });
            }
            match std::fs::metadata(&self.path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Kind::Empty),
                Ok(meta) if !meta.is_file() => return Err(OpenError::NotAFile { path }),
                // SQLite takes a single byte for nothing, and would overwrite it.
                Ok(meta) if meta.len() == 1 => {
                    let reason = "it is not an SQLite database".into();
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
            let things =
                db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((id, version, things))
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
                Err(OpenError::Foreign {
                    path,
                    reason: "it is not an SQLite database".into(),
                })
            }
            Err(e) => Err(self.storage(e)),
        }
    }

    fn no_file(&self) -> OpenError {
        OpenError::NoFile {
            path: self.path.clone(),
        }
    }
}

/// Whether there was no room for the index of the write-ahead log, for which SQLite has an error of its own.
pub(crate) fn is_without_index(error: &rusqlite::Error) -> bool {
    is_extended(error, rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

fn is_extended(error: &rusqlite::Error, code: i32) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(e, _) if e.extended_code == code)
}

/// Whether COMMIT waits for an fsync.
pub(crate) fn set_synchronous(db: &Connection, to: Synchronous) -> rusqlite::Result<()> {
    let to = match to {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    db.pragma_update(None, "synchronous", to)
}

/// The file that stands beside a database under its name with this ending: beside the file itself,
/// whatever symbolic links lead to it, as SQLite has it.
pub(crate) fn beside(database: &Path, ending: &str) -> PathBuf {
    let file = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = file.into_os_string();
    name.push(ending);
    name.into()
}

/// Lets a file that is created have the permissions of the database: of a new one, that only its owner
/// reads and writes it.
pub(crate) fn as_private_as(database: &Path, options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let mode = std::fs::metadata(database).map(|meta| meta.permissions().mode() & 0o666);
        options.mode(mode.unwrap_or(PRIVATE));
    }
    #[cfg(not(unix))]
    let _ = (database, options);
}

#[cfg(unix)]
fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Permissions of files that hold records: of their owner alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// Creates the database's file, empty, if there is none. SQLite gives the files beside it the same
/// permissions.
pub(crate) fn create(path: &Path) -> Result<(), OpenError> {
    if path.exists() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    // Not only if it is new: the name may be a symbolic link.
    options.write(true).create(true).truncate(false);
    as_private_as(path, &mut options);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(e) => Err(Location::new(path, None).storage_error(e.into())),
    }
}

/// The version of a database that must be there.
pub(crate) fn inspect_existing(path: &Path) -> Result<i32, OpenError> {
    let at = Location::new(path, None);
    match at.inspect()? {
        Kind::Ours(version) => Ok(version),
        Kind::Empty => Err(at.no_file()),
    }
}

/// Makes sure that there is a database of the newest version to read.
pub(crate) fn check_readable(at: &Location) -> Result<(), OpenError> {
    match at.inspect()? {
        Kind::Empty => {
            not_emptied(
                at,
                wal::scan_live(at).map_err(|e| at.storage_error(e.into()))?,
            )?;
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
    /// Closed before the lock is given up.
    pub(crate) db: Connection,
    pub(crate) lock: WriterLock,
    /// Commits of an earlier process that a damaged log has lost.
    pub(crate) damage: Option<WalDamage>,
    /// There was nothing before.
    pub(crate) created: bool,
    /// There is no room to make sure that what the process before this one has left is on disk. It can
    /// be read, and is written to as soon as there is room.
    pub(crate) full: Option<StorageError>,
}

/// A connection that may write, in WAL mode, to a database of any version that is known; and the
/// right to write it.
pub(crate) fn raw_writer(
    at: &mut Location,
    create: bool,
    wait: Duration,
) -> Result<Opened, OpenError> {
    // What cannot be ours gets no lock file beside it.
    let before = at.inspect()?;
    if matches!(before, Kind::Empty) && !create {
        check_readable(at)?;
    }
    let deadline = Instant::now() + wait;
    let lock = loop {
        match WriterLock::take(at) {
            // One that serves the database does not end soon.
            Err(OpenError::InUse { holder, .. })
                if holder.url.is_none() && Instant::now() < deadline =>
            {
                std::thread::sleep(LOCK_POLL);
            }
            taken => break taken?,
        }
    };
    // Again: whoever had the lock before may have changed it.
    let created = matches!(at.inspect()?, Kind::Empty);
    // Before SQLite forgets it.
    let damage = wal::scan(at).map_err(|e| at.storage_error(e.into()))?;
    if created {
        not_emptied(at, damage)?;
    }
    if let Some(damage) = &damage {
        report(at, damage);
    }
    let open = |at: &Location| -> rusqlite::Result<(Connection, Option<String>)> {
        let db = at.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let mode = match db.is_readonly("main")? {
            true => None,
            false => {
                Some(db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?)
            }
        };
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
            return Err(at.storage_error(StorageError::Io { detail }));
        }
        None => {
            let detail = "it was opened for reading only".into();
            return Err(at.storage_error(StorageError::ReadOnly { detail }));
        }
    }
    if at.is_alone {
        tracing::error!(
            path = %at.path.display(),
            "there is no room for the index of the write-ahead log, which is in memory: no other process can \
             read the database before this one has ended and was started again"
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

/// Opens for writing, creating and migrating as needed.
pub(crate) fn writer(
    at: &mut Location,
    create: bool,
    synchronous: Synchronous,
    wait: Duration,
) -> Result<Opened, OpenError> {
    let mut opened = raw_writer(at, create, wait)?;
    let db = &mut opened.db;
    let ready = migrate::ascend(db)
        .map_err(StorageError::from)
        .and_then(|_| {
            // The process before this one may have ended between a write and its fsync. What it left
            // is read and acknowledged from now on.
            if synchronous == Synchronous::Full {
                opened.full = match migrate::settle(db).map_err(StorageError::from) {
                    Err(full @ StorageError::Full { .. }) => Some(full),
                    Err(e) => return Err(e),
                    Ok(()) => None,
                };
            }
            Ok(at.writer(synchronous)?)
        });
    opened.db = ready.map_err(|e| at.storage_error(e))?;
    Ok(opened)
}

/// Fails if there is nothing only because the log is damaged that has all there is.
fn not_emptied(at: &Location, damage: Option<WalDamage>) -> Result<(), OpenError> {
    match damage {
        Some(damage) => Err(at.storage_error(StorageError::corrupt(damage.to_string()))),
        None => Ok(()),
    }
}

/// Says that the log has more than what counts.
fn report(at: &Location, damage: &WalDamage) {
    let path = at.path.display();
    if damage.certain {
        tracing::error!(
            "{path}: {damage}; acknowledged transactions are lost, and the database may be damaged: \
             verify it, and restore a backup"
        );
    } else {
        tracing::warn!(
            "{path}: {damage}; it was under way when power was lost, or it was acknowledged and is lost"
        );
    }
}
