//! The search index of a table in the database: its name, its creation, its updates, and its removal
//! when the table is dropped.

use crate::{rows, text};
use rusqlite::{Connection, params};

/// Returns the name of a table's full-text index.
pub(crate) fn name(id: i64) -> String {
    format!("search_{id}")
}

/// Creates a contentless index, which has the words but not the values.
pub(crate) fn create(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "CREATE VIRTUAL TABLE {} USING fts5 (
             words, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
         )",
        name(id)
    ))
}

/// Returns `true` if a table has an index, which may be half built.
pub(crate) fn exists(db: &Connection, id: i64) -> rusqlite::Result<bool> {
    db.table_exists(None, name(id).as_str())
}

/// Indexes a record, in place of its earlier entry.
pub(crate) fn put(db: &Connection, id: i64, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO search_rows (table_id, key) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET key = excluded.key RETURNING id";
    let mut statement = db.prepare_cached(sql)?;
    let row: i64 = statement.query_row(params![id, key], |row| row.get(0))?;
    let mut words = String::new();
    text::search_text(key, value, &mut words);
    let sql = format!(
        "INSERT OR REPLACE INTO {} (rowid, words) VALUES (?1, ?2)",
        name(id)
    );
    rows::execute(db, &sql, params![row, words])?;
    Ok(())
}

/// Removes a record from the index, if present.
pub(crate) fn delete(db: &Connection, id: i64, key: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM search_rows WHERE table_id = ?1 AND key = ?2 RETURNING id";
    let row: Option<i64> = rows::first(db, sql, params![id, key], |row| row.get(0))?;
    let sql = format!("DELETE FROM {} WHERE rowid = ?1", name(id));
    rows::execute(db, &sql, [row])?;
    Ok(())
}

/// Drops an index in a short time: its large parts become plain tables, to be deleted in batches like
/// other rows.
pub(crate) fn set_aside(db: &Connection, id: i64) -> rusqlite::Result<()> {
    let (index, [words, sizes]) = (name(id), set_aside_names(id));
    db.execute_batch(&format!(
        "ALTER TABLE {index}_data RENAME TO {words};
         ALTER TABLE {index}_docsize RENAME TO {sizes};
         DROP TABLE {index};"
    ))
}

/// Returns the names of the tables with the words, and with the lengths of the texts, of a dropped
/// index.
pub(crate) fn set_aside_names(id: i64) -> [String; 2] {
    ["words", "sizes"].map(|part| format!("dropped_{id}_{part}"))
}
