//! The location of a database, and the setup of connections to it.

use crate::error::{OpenError, StorageError, is_without_index};
use crate::files;
use crate::inode::Inode;
use crate::options::Synchronous;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Time for which SQLite waits for locks of other programs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page caches of connections, in KiB. The writer's holds the pages of a group of transactions.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Pages of WAL after which a commit checkpoints: 16 MiB. SQLite's default of 1,000 costs two fsyncs
/// more for every 4 MiB.
const CHECKPOINT_PAGES: i64 = 4_000;
/// Size in bytes to which the WAL file is truncated when it is restarted.
pub(crate) const WAL_LIMIT_BYTES: i64 = 64 << 20;
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 64;

/// SQLite's VFS for a database of a single process: its connections share an index of the write-ahead
/// log in memory, and lock other processes out.
const ALONE: &str = "unix-excl";

/// A database that can be opened repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    /// An SQLite VFS other than the system's; in tests.
    pub(crate) vfs: Option<String>,
    /// Set if connections use [`ALONE`], because the disk had no room for the index.
    pub(crate) is_alone: bool,
    /// The file itself, while connections to it are open.
    pub(crate) inode: Option<Arc<Inode>>,
}

impl Location {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            vfs: None,
            is_alone: false,
            inode: None,
        }
    }

    /// Returns the same database for this process alone, after an error that reports no room for the
    /// index of its write-ahead log. Returns `None` after another error, or where that does not help.
    pub(crate) fn alone(&self, error: &rusqlite::Error) -> Option<Self> {
        let can = cfg!(unix) && self.vfs.is_none() && !self.is_alone;
        (can && is_without_index(error)).then(|| Self {
            is_alone: true,
            ..self.clone()
        })
    }

    /// Opens the file that has the name now, and keeps it.
    pub(crate) fn hold(&mut self) -> Result<(), OpenError> {
        if self.vfs.is_none() {
            self.inode = Inode::of(&self.path).map_err(|e| self.storage(e))?;
        }
        Ok(())
    }

    /// Fails if a write would not be found under the database's name.
    pub(crate) fn check_names(&self) -> Result<(), StorageError> {
        self.inode.as_ref().map_or(Ok(()), |it| it.check_names())
    }

    /// Returns the size of the write-ahead log.
    pub(crate) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(files::sibling(&self.path, "-wal")).map_or(0, |meta| meta.len())
    }

    /// Returns the size of the database's file, and the bytes that are free on its disk for this
    /// process's user.
    pub(crate) fn room(&self) -> Option<(u64, u64)> {
        let size = std::fs::metadata(&self.path).ok()?.len();
        Some((size, files::free_bytes(&self.path)?))
    }

    /// Fails if a read would use another file under the database's name.
    pub(crate) fn check_name(&self) -> Result<(), StorageError> {
        self.inode.as_ref().map_or(Ok(()), |it| it.check_name())
    }

    pub(crate) fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let mut flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // The prefix `./` makes `file:x` and `:memory:` ordinary names.
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

    /// Returns `true` if the database has neither a WAL nor a journal, so that no process writes it.
    pub(crate) fn is_at_rest(&self) -> bool {
        let missing = |ending| {
            std::fs::symlink_metadata(files::sibling(&self.path, ending))
                .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        };
        cfg!(unix) && self.vfs.is_none() && missing("-wal") && missing("-journal")
    }

    /// Opens a connection to a database at rest, which takes no lock and creates no file next to it.
    pub(crate) fn open_at_rest(&self) -> rusqlite::Result<Connection> {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let bytes = path.as_os_str().as_encoded_bytes().iter();
        let escaped = bytes.map(|byte| match byte {
            b'/' | b'.' | b'_' | b'-' => char::from(*byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        let uri = format!("file:{}?immutable=1", escaped.collect::<String>());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(uri, flags)
    }

    /// Opens a connection for the committer. No connection maps the file, because a disk error in a
    /// mapping would end the process.
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

    /// Opens a connection that only reads.
    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        self.reader_of().map(|(db, _)| db)
    }

    /// Opens a connection that only reads, and returns `true` if it is good for one read only. That is
    /// the case on a read-only medium, which refuses the files that SQLite wants to create, while the
    /// database is at rest; and where there is no room for the log's index, so that other processes are
    /// locked out.
    pub(crate) fn reader_of(&self) -> rusqlite::Result<(Connection, bool)> {
        let db = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // Otherwise, if this reader closes last, it would try to move the WAL into the database.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let sql = "SELECT count(*) FROM sqlite_schema";
        let first = db.query_row(sql, [], |row| row.get::<_, i64>(0)).err();
        let code = first.as_ref().and_then(rusqlite::Error::sqlite_error_code);
        let is_refused = matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly));
        let (db, once) = if is_refused && self.is_at_rest() {
            (self.open_at_rest()?, true)
        } else if let Some(alone) = first.and_then(|e| self.alone(&e)) {
            drop(db);
            return Ok((alone.reader_of()?.0, true));
        } else {
            // Damage is reported by the read that meets it.
            (db, false)
        };
        db.pragma_update(None, "query_only", true)?;
        db.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        db.pragma_update(None, "mmap_size", 0)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        Ok((db, once))
    }

    /// Opens a connection that only reads this database, and may write others: copies of it.
    pub(crate) fn copier(&self) -> rusqlite::Result<Connection> {
        let db = self.reader()?;
        db.pragma_update(None, "query_only", false)?;
        Ok(db)
    }

    pub(crate) fn storage(&self, error: impl Into<StorageError>) -> OpenError {
        let (path, source) = (self.path.clone(), error.into());
        OpenError::Storage { path, source }
    }
}

/// Sets whether COMMIT waits for an fsync.
pub(crate) fn set_synchronous(db: &Connection, to: Synchronous) -> rusqlite::Result<()> {
    let to = match to {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    db.pragma_update(None, "synchronous", to)
}
