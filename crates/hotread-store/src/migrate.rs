//! The schema, in numbered steps that go both ways. `docs/durability.md` describes the result.

use crate::clear;
use crate::error::{OpenError, StorageError};
use crate::open::{self, Location};
use crate::rows;
use rusqlite::{Connection, Row, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// In the header of every HotRead database: "HotR".
pub(crate) const APPLICATION_ID: i32 = 0x486f_7452;

/// The newest schema version, which this version of the crate reads and writes.
pub const LATEST: i32 = 10;

/// A step of the schema.
#[derive(Debug)]
#[non_exhaustive]
pub struct Migration {
    /// The version that it leads to.
    pub version: i32,
    /// What it adds.
    pub title: &'static str,
    /// What going back loses.
    pub loses: &'static str,
    up: &'static str,
    down: fn(&Connection) -> rusqlite::Result<()>,
}

/// All steps, oldest first.
pub const ALL: &[Migration] = &[
    Migration {
        version: 1,
        title: "tables, records, changes, meta",
        loses: "everything",
        up: "
            CREATE TABLE meta (
                name  TEXT PRIMARY KEY NOT NULL,
                value ANY
            ) STRICT, WITHOUT ROWID;
            INSERT INTO meta VALUES ('applied', 0);

            CREATE TABLE tables (
                id            INTEGER PRIMARY KEY AUTOINCREMENT,
                name          TEXT    NOT NULL UNIQUE,
                epoch         INTEGER NOT NULL,
                head          INTEGER NOT NULL,
                floor         INTEGER NOT NULL,
                digest        BLOB    NOT NULL,
                records       INTEGER NOT NULL,
                history_bytes INTEGER NOT NULL,
                created_at    INTEGER NOT NULL,
                updated_at    INTEGER NOT NULL,
                options       TEXT    NOT NULL,
                seal          BLOB
            ) STRICT;

            CREATE TABLE records (
                table_id   INTEGER NOT NULL REFERENCES tables (id),
                key        TEXT    NOT NULL,
                seq        INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                hash       BLOB    NOT NULL,
                value      BLOB    NOT NULL,
                PRIMARY KEY (table_id, key)
            ) STRICT, WITHOUT ROWID;

            CREATE TABLE changes (
                table_id INTEGER NOT NULL REFERENCES tables (id),
                seq      INTEGER NOT NULL,
                at       INTEGER NOT NULL,
                digest   BLOB    NOT NULL,
                records  INTEGER NOT NULL,
                bytes    INTEGER NOT NULL,
                ops      BLOB    NOT NULL,
                PRIMARY KEY (table_id, seq)
            ) STRICT, WITHOUT ROWID;

            CREATE TABLE txn_ids (
                table_id INTEGER NOT NULL REFERENCES tables (id),
                txn_id   TEXT    NOT NULL,
                seq      INTEGER NOT NULL,
                at       INTEGER NOT NULL,
                body     BLOB    NOT NULL,
                PRIMARY KEY (table_id, txn_id)
            ) STRICT, WITHOUT ROWID;
        ",
        down: |db| {
            db.execute_batch(
                "DROP TABLE txn_ids; DROP TABLE changes; DROP TABLE records; DROP TABLE tables;
                 DROP TABLE meta;",
            )
        },
    },
    Migration {
        version: 2,
        title: "category and expiry, with their indexes",
        loses: "the category and the expiry of every record",
        // Most records have the category `general` and never expire: partial indexes cost them
        // nothing.
        up: "
            ALTER TABLE records ADD COLUMN category TEXT NOT NULL DEFAULT 'general';
            ALTER TABLE records ADD COLUMN expires_at INTEGER;
            CREATE INDEX records_by_category ON records (table_id, category, key)
                WHERE category <> 'general';
            CREATE INDEX records_by_expiry ON records (expires_at)
                WHERE expires_at IS NOT NULL;
        ",
        down: |db| {
            db.execute_batch(
                "DROP INDEX records_by_expiry;
                 DROP INDEX records_by_category;
                 ALTER TABLE records DROP COLUMN expires_at;
                 ALTER TABLE records DROP COLUMN category;",
            )
        },
    },
    Migration {
        version: 3,
        title: "full-text search, for the tables that ask for it",
        loses: "the search indexes; tables that had one are tables without",
        up: "
            CREATE TABLE search_rows (
                id       INTEGER PRIMARY KEY,
                table_id INTEGER NOT NULL REFERENCES tables (id),
                key      TEXT    NOT NULL,
                UNIQUE (table_id, key)
            ) STRICT;
        ",
        down: |db| {
            let ids: Vec<i64> = db
                .prepare("SELECT DISTINCT id FROM tables WHERE options ->> '$.search'")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for id in ids {
                db.execute_batch(&format!("DROP TABLE {}", search_table(id)))?;
            }
            db.execute_batch(
                "UPDATE tables SET options = json_set(options, '$.search', json('false'));
                 DROP TABLE search_rows;",
            )
        },
    },
    Migration {
        version: 4,
        title: "tokens, by the hashes of their secrets",
        loses: "the tokens; a server asks nobody for one then",
        up: "
            CREATE TABLE tokens (
                id         TEXT    PRIMARY KEY NOT NULL,
                name       TEXT    NOT NULL,
                role       TEXT    NOT NULL,
                tables     TEXT,
                created_at INTEGER NOT NULL,
                hash       BLOB    NOT NULL UNIQUE
            ) STRICT, WITHOUT ROWID;
        ",
        down: |db| db.execute_batch("DROP TABLE tokens"),
    },
    Migration {
        version: 5,
        title: "tokens that expire",
        // Without their time they would be valid for good.
        loses: "the tokens that expire",
        up: "ALTER TABLE tokens ADD COLUMN expires_at INTEGER;",
        down: |db| {
            db.execute_batch(
                "DELETE FROM tokens WHERE expires_at IS NOT NULL;
                 ALTER TABLE tokens DROP COLUMN expires_at;",
            )
        },
    },
    Migration {
        version: 6,
        title: "the cause of a removal, in the history",
        loses: "the cause of each removal: what expired looks deleted",
        // Nothing changes in what is there: an older program would take a cause for damage.
        up: "",
        down: |db| {
            let mut causes = Vec::<(i64, i64)>::new();
            let mut statement = db.prepare("SELECT table_id, seq, ops FROM changes")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if plain(row, 2)?.is_some() {
                    causes.push((row.get(0)?, row.get(1)?));
                }
            }
            drop(rows);
            let mut read =
                db.prepare("SELECT ops FROM changes WHERE (table_id, seq) = (?1, ?2)")?;
            let mut write =
                db.prepare("UPDATE changes SET ops = ?3 WHERE (table_id, seq) = (?1, ?2)")?;
            for (table, seq) in causes {
                let ops = read.query_row((table, seq), |row| plain(row, 0))?;
                write.execute((table, seq, ops))?;
            }
            Ok(())
        },
    },
    Migration {
        version: 7,
        title: "tables that are dropped, and cleared in pieces",
        loses: "nothing; what is left of dropped tables is cleared at once",
        up: "
            ALTER TABLE tables ADD COLUMN dropped_at INTEGER;
            CREATE INDEX tables_dropped ON tables (dropped_at) WHERE dropped_at IS NOT NULL;
        ",
        down: |db| {
            clear::clear_all(db)?;
            db.execute_batch(
                "DROP INDEX tables_dropped; ALTER TABLE tables DROP COLUMN dropped_at;",
            )
        },
    },
    Migration {
        version: 8,
        title: "the index on expiry, by table",
        loses: "nothing",
        up: "
            DROP INDEX records_by_expiry;
            CREATE INDEX records_by_expiry ON records (table_id, expires_at)
                WHERE expires_at IS NOT NULL;
        ",
        down: |db| {
            // As version 2 made it, to the letter.
            db.execute_batch(
                "DROP INDEX records_by_expiry;
            CREATE INDEX records_by_expiry ON records (expires_at)
                WHERE expires_at IS NOT NULL;",
            )
        },
    },
    Migration {
        version: 9,
        title: "the history under numbers of its own",
        loses: "nothing",
        // To find a key in a table without row numbers, SQLite reads rows whole on the way: changes have
        // up to 256 MiB.
        up: "
            ALTER TABLE changes RENAME TO keyed;
            CREATE TABLE changes (
                place    INTEGER PRIMARY KEY,
                table_id INTEGER NOT NULL REFERENCES tables (id),
                seq      INTEGER NOT NULL,
                at       INTEGER NOT NULL,
                digest   BLOB    NOT NULL,
                records  INTEGER NOT NULL,
                bytes    INTEGER NOT NULL,
                ops      BLOB    NOT NULL,
                CHECK (place = table_id << 40 | seq AND seq < 1 << 40)
            ) STRICT;
            INSERT INTO changes
                SELECT table_id << 40 | seq, table_id, seq, at, digest, records, bytes, ops
                FROM keyed ORDER BY table_id, seq;
            DROP TABLE keyed;
        ",
        down: |db| {
            // As version 1 made it, to the letter.
            db.execute_batch(
                "ALTER TABLE changes RENAME TO placed;
            CREATE TABLE changes (
                table_id INTEGER NOT NULL REFERENCES tables (id),
                seq      INTEGER NOT NULL,
                at       INTEGER NOT NULL,
                digest   BLOB    NOT NULL,
                records  INTEGER NOT NULL,
                bytes    INTEGER NOT NULL,
                ops      BLOB    NOT NULL,
                PRIMARY KEY (table_id, seq)
            ) STRICT, WITHOUT ROWID;
            INSERT INTO changes SELECT table_id, seq, at, digest, records, bytes, ops FROM placed;
            DROP TABLE placed;",
            )
        },
    },
    Migration {
        version: 10,
        title: "actor and note of each transaction, in the history",
        loses: "the actor and the note of every transaction",
        // A note is a blob: in a sealed table it is encrypted.
        up: "
            ALTER TABLE changes ADD COLUMN actor TEXT;
            ALTER TABLE changes ADD COLUMN note BLOB;
        ",
        down: |db| {
            // They count in the size of the history.
            db.execute_batch(
                "UPDATE tables SET history_bytes = history_bytes - (
                     SELECT coalesce(sum(bytes - length(ops)), 0) FROM changes
                     WHERE place > tables.id << 40 AND place < (tables.id + 1) << 40
                 );
                 UPDATE changes SET bytes = length(ops) WHERE bytes <> length(ops);
                 ALTER TABLE changes DROP COLUMN note;
                 ALTER TABLE changes DROP COLUMN actor;",
            )
        },
    },
];

/// The operations of a change without causes, if they have one. What is damaged stays as it is.
fn plain(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    let ops = row.get_ref(column)?.as_blob()?;
    Ok(rows::forget_causes(ops).ok().flatten())
}

/// The name of a table's full-text index.
pub(crate) fn search_table(id: i64) -> String {
    format!("search_{id}")
}

/// Where a database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Its schema version, from 1 to [`LATEST`] if this crate can work with it.
    pub version: i32,
}

/// Why a database could not be migrated. It is as it was: a migration is one transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no way to that version.
    #[error("there is no schema version {to} to go down to from version {from}; {}", below(*.from))]
    NoSuchVersion {
        /// The database's version.
        from: i32,
        /// The version that was asked for.
        to: i32,
    },
    /// SQLite could not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn below(version: i32) -> String {
    match version - 1 {
        0 => "it is the first one".to_owned(),
        last => format!("give one from 1 to {last}"),
    }
}

impl MigrateError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> hotread_proto::Code {
        match self {
            Self::Open(source) => source.code(),
            Self::NoSuchVersion { .. } => hotread_proto::Code::BadRequest,
            Self::Storage(source) => source.code(),
        }
    }
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// The version of a database, which is not changed. Works with databases that are too old to be
/// opened otherwise.
///
/// # Errors
/// If it cannot be read, or is none of ours, or newer than this version of the crate.
pub fn status(path: impl AsRef<Path>) -> Result<Status, OpenError> {
    let version = open::inspect_existing(path.as_ref())?;
    Ok(Status { version })
}

/// Brings a database to the newest version, in one transaction. [`Store::open`](crate::Store::open)
/// does the same.
///
/// # Errors
/// As for opening it for writing; and if SQLite fails.
pub fn up(path: impl AsRef<Path>) -> Result<Status, MigrateError> {
    let mut at = Location::new(path.as_ref(), None);
    let mut opened = open::raw_writer(&mut at, false, Duration::ZERO)?;
    let db = &mut opened.db;
    let version = ascend(db)?;
    Ok(Status { version })
}

/// Brings a database back to an older version, for a program that knows no newer one. What the older
/// version has no place for is lost: see [`Migration::loses`].
///
/// # Errors
/// As for opening it for writing; if it is at that version already or below; if SQLite fails.
pub fn down(path: impl AsRef<Path>, to: i32) -> Result<Status, MigrateError> {
    let mut at = Location::new(path.as_ref(), None);
    let mut opened = open::raw_writer(&mut at, false, Duration::ZERO)?;
    let db = &mut opened.db;
    let from = version(db)?;
    if to < 1 || to >= from {
        return Err(MigrateError::NoSuchVersion { from, to });
    }
    let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in ALL
        .iter()
        .rev()
        .filter(|step| (to + 1..=from).contains(&step.version))
    {
        (step.down)(&txn)?;
    }
    set_version(&txn, to)?;
    txn.commit()?;
    Ok(Status { version: to })
}

/// All steps that are missing. An empty database gets them all, and becomes ours.
pub(crate) fn ascend(db: &mut Connection) -> rusqlite::Result<i32> {
    if version(db)? == LATEST {
        return Ok(LATEST);
    }
    let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let from = version(&txn)?;
    for step in ALL.iter().filter(|step| step.version > from) {
        txn.execute_batch(step.up)?;
    }
    txn.pragma_update(None, "application_id", APPLICATION_ID)?;
    set_version(&txn, LATEST)?;
    txn.commit()?;
    Ok(LATEST)
}

/// Makes everything that is in the WAL durable, by a transaction that changes nothing: SQLite writes
/// a page for it whatever the page held before, and syncs the whole WAL. The connection must be at
/// `synchronous = FULL`, as all are unless told otherwise, and the database at the newest version.
pub(crate) fn settle(db: &Connection) -> rusqlite::Result<()> {
    set_version(db, LATEST)
}

pub(crate) fn version(db: &Connection) -> rusqlite::Result<i32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn set_version(db: &Connection, version: i32) -> rusqlite::Result<()> {
    db.pragma_update(None, "user_version", version)
}
