//! The search index of a table in the database: its name, its creation, and what a drop makes of it.

use rusqlite::Connection;

/// The name of a table's full-text index.
pub(crate) fn name(id: i64) -> String {
    format!("search_{id}")
}

/// Creates a contentless index: it has the words, and not the values.
pub(crate) fn create(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "CREATE VIRTUAL TABLE {} USING fts5 (
             words, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
         )",
        name(id)
    ))
}

/// Drops an index in a moment: its large parts become plain tables, to be cleared as other rows are.
pub(crate) fn set_aside(db: &Connection, id: i64) -> rusqlite::Result<()> {
    let (index, [words, sizes]) = (name(id), set_aside_names(id));
    db.execute_batch(&format!(
        "ALTER TABLE {index}_data RENAME TO {words};
         ALTER TABLE {index}_docsize RENAME TO {sizes};
         DROP TABLE {index};"
    ))
}

/// The names of the words of a dropped table's index, and of the lengths of its texts.
pub(crate) fn set_aside_names(id: i64) -> [String; 2] {
    ["words", "sizes"].map(|part| format!("dropped_{id}_{part}"))
}
