//! The schema, in numbered steps that go both ways. `docs/durability.md` describes the result.

use crate::rows;
use crate::search_index;
use rusqlite::{Connection, Row, TransactionBehavior};

/// The application id in the header of every HotRead database: "HotR".
pub(crate) const APPLICATION_ID: i32 = 0x486f_7452;

/// The newest schema version, which this version of the crate reads and writes.
pub const LATEST: i32 = 10;

/// A step of the schema.
#[derive(Debug)]
#[non_exhaustive]
pub struct Migration {
    /// The version after the step.
    pub version: i32,
    /// The additions of the step.
    pub title: &'static str,
    /// The content that is lost by reversing the step.
    pub loses: &'static str,
    up: &'static str,
    /// The SQL that reverses the step, after [`prepare_descent`].
    down: &'static str,
}

/// The history table of version 1.
macro_rules! keyed_changes {
    () => {
        "CREATE TABLE changes (
                table_id INTEGER NOT NULL REFERENCES tables (id),
                seq      INTEGER NOT NULL,
                at       INTEGER NOT NULL,
                digest   BLOB    NOT NULL,
                records  INTEGER NOT NULL,
                bytes    INTEGER NOT NULL,
                ops      BLOB    NOT NULL,
                PRIMARY KEY (table_id, seq)
            ) STRICT, WITHOUT ROWID;"
    };
}

/// All steps, oldest first.
pub const ALL: &[Migration] = &[
    Migration {
        version: 1,
        title: "tables, records, changes, meta",
        loses: "everything",
        up: concat!(
            "CREATE TABLE meta (
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

            ",
            keyed_changes!(),
            "CREATE TABLE txn_ids (
                table_id INTEGER NOT NULL REFERENCES tables (id),
                txn_id   TEXT    NOT NULL,
                seq      INTEGER NOT NULL,
                at       INTEGER NOT NULL,
                body     BLOB    NOT NULL,
                PRIMARY KEY (table_id, txn_id)
            ) STRICT, WITHOUT ROWID;"
        ),
        down: "DROP TABLE txn_ids; DROP TABLE changes; DROP TABLE records; DROP TABLE tables;
                 DROP TABLE meta;",
    },
    Migration {
        version: 2,
        title: "category and expiry, with their indexes",
        loses: "the category and the expiry of every record",
        // Partial indexes cost nothing for records of the category `general` that never expire.
        up: "
            ALTER TABLE records ADD COLUMN category TEXT NOT NULL DEFAULT 'general';
            ALTER TABLE records ADD COLUMN expires_at INTEGER;
            CREATE INDEX records_by_category ON records (table_id, category, key)
                WHERE category <> 'general';
            CREATE INDEX records_by_expiry ON records (expires_at)
                WHERE expires_at IS NOT NULL;
        ",
        down: "DROP INDEX records_by_expiry;
                 DROP INDEX records_by_category;
                 ALTER TABLE records DROP COLUMN expires_at;
                 ALTER TABLE records DROP COLUMN category;",
    },
    Migration {
        version: 3,
        title: "full-text search, for the tables that ask for it",
        loses: "the search indexes; their tables continue without one",
        up: "
            CREATE TABLE search_rows (
                id       INTEGER PRIMARY KEY,
                table_id INTEGER NOT NULL REFERENCES tables (id),
                key      TEXT    NOT NULL,
                UNIQUE (table_id, key)
            ) STRICT;
        ",
        down: "UPDATE tables SET options = json_set(options, '$.search', json('false'));
                 DROP TABLE search_rows;",
    },
    Migration {
        version: 4,
        title: "tokens, by the hashes of their secrets",
        loses: "the tokens; a server then requires none",
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
        down: "DROP TABLE tokens",
    },
    Migration {
        version: 5,
        title: "tokens that expire",
        // Without their expiry they would be valid indefinitely.
        loses: "the tokens that expire",
        up: "ALTER TABLE tokens ADD COLUMN expires_at INTEGER;",
        down: "DELETE FROM tokens WHERE expires_at IS NOT NULL;
                 ALTER TABLE tokens DROP COLUMN expires_at;",
    },
    Migration {
        version: 6,
        title: "the cause of a removal, in the history",
        loses: "the cause of each removal: what expired looks deleted",
        // The step changes no data; an older program would take a cause for damage.
        up: "",
        down: "",
    },
    Migration {
        version: 7,
        title: "tables that are dropped, and cleared in pieces",
        loses: "nothing; what is left of dropped tables is cleared at once",
        up: "
            ALTER TABLE tables ADD COLUMN dropped_at INTEGER;
            CREATE INDEX tables_dropped ON tables (dropped_at) WHERE dropped_at IS NOT NULL;
        ",
        down: "DROP INDEX tables_dropped; ALTER TABLE tables DROP COLUMN dropped_at;",
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
        // The same statement as in version 2.
        down: "DROP INDEX records_by_expiry;
            CREATE INDEX records_by_expiry ON records (expires_at)
                WHERE expires_at IS NOT NULL;",
    },
    Migration {
        version: 9,
        title: "the history under numbers of its own",
        loses: "nothing",
        // In a table without row numbers, SQLite reads rows of up to 256 MiB as a whole on the way to a
        // key.
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
        down: concat!(
            "ALTER TABLE changes RENAME TO placed;",
            keyed_changes!(),
            "INSERT INTO changes SELECT table_id, seq, at, digest, records, bytes, ops FROM placed;
             DROP TABLE placed;"
        ),
    },
    Migration {
        version: 10,
        title: "actor and note of each transaction, in the history",
        loses: "the actor and the note of every transaction",
        // A note is a blob, because it is encrypted in a sealed table.
        up: "
            ALTER TABLE changes ADD COLUMN actor TEXT;
            ALTER TABLE changes ADD COLUMN note BLOB;
        ",
        // Actor and note count towards the size of the history.
        down: "UPDATE tables SET history_bytes = history_bytes - (
                     SELECT coalesce(sum(bytes - length(ops)), 0) FROM changes
                     WHERE place > tables.id << 40 AND place < (tables.id + 1) << 40
                 );
                 UPDATE changes SET bytes = length(ops) WHERE bytes <> length(ops);
                 ALTER TABLE changes DROP COLUMN note;
                 ALTER TABLE changes DROP COLUMN actor;",
    },
];

/// Runs the part of a step back that its SQL cannot express, before that SQL.
fn prepare_descent(step: i32, db: &Connection) -> rusqlite::Result<()> {
    match step {
        7 => clear_dropped(db),
        6 => forget_causes(db),
        3 => {
            for id in table_ids(db, "'search_' || id IN (SELECT name FROM sqlite_master)")? {
                db.execute_batch(&format!("DROP TABLE {}", search_index::name(id)))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn forget_causes(db: &Connection) -> rusqlite::Result<()> {
    let mut causes = Vec::<(i64, i64)>::new();
    rows::each::<rusqlite::Error>(db, "SELECT table_id, seq, ops FROM changes", [], |row| {
        if plain(row, 2)?.is_some() {
            causes.push((row.get(0)?, row.get(1)?));
        }
        Ok(())
    })?;
    let mut read = db.prepare("SELECT ops FROM changes WHERE (table_id, seq) = (?1, ?2)")?;
    let mut write = db.prepare("UPDATE changes SET ops = ?3 WHERE (table_id, seq) = (?1, ?2)")?;
    for (table, seq) in causes {
        let ops = read.query_row((table, seq), |row| plain(row, 0))?;
        write.execute((table, seq, ops))?;
    }
    Ok(())
}

/// Returns the operations of a change without causes, if it has any. Damaged content is left unchanged.
fn plain(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    let ops = row.get_ref(column)?.as_blob()?;
    Ok(rows::forget_causes(ops).ok().flatten())
}

/// Returns the ids of the tables that fulfil a condition.
pub(crate) fn table_ids(db: &Connection, condition: &str) -> rusqlite::Result<Vec<i64>> {
    db.prepare(&format!("SELECT id FROM tables WHERE {condition}"))?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Deletes all remains of dropped tables: in each version, rows contain the id of their table.
fn clear_dropped(db: &Connection) -> rusqlite::Result<()> {
    for id in table_ids(db, "dropped_at IS NOT NULL")? {
        for table in ["search_rows", "records", "changes", "txn_ids"] {
            db.execute(&format!("DELETE FROM {table} WHERE table_id = ?1"), [id])?;
        }
        let [words, sizes] = search_index::set_aside_names(id);
        db.execute_batch(&format!(
            "DROP TABLE IF EXISTS {words}; DROP TABLE IF EXISTS {sizes};
             DELETE FROM tables WHERE id = {id};"
        ))?;
    }
    Ok(())
}

/// Runs all missing steps. An empty database gets all of them, and the application id.
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

/// Reverses the steps from one version down to another, which is at least 1.
pub(crate) fn descend(db: &mut Connection, from: i32, to: i32) -> rusqlite::Result<()> {
    let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let steps = ALL.iter().rev();
    for step in steps.filter(|step| (to + 1..=from).contains(&step.version)) {
        prepare_descent(step.version, &txn)?;
        txn.execute_batch(step.down)?;
    }
    set_version(&txn, to)?;
    txn.commit()
}

/// Makes the content of the WAL durable, by a transaction without changes: SQLite writes a page for it
/// regardless of the page's content, and syncs the whole WAL. The connection must be at `synchronous =
/// FULL`, which is the default, and the database at the newest version.
pub(crate) fn settle(db: &Connection) -> rusqlite::Result<()> {
    set_version(db, LATEST)
}

pub(crate) fn version(db: &Connection) -> rusqlite::Result<i32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn set_version(db: &Connection, version: i32) -> rusqlite::Result<()> {
    db.pragma_update(None, "user_version", version)
}
