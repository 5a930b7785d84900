//! Altering tables.

use super::Store;
use crate::committer::alter::Checked;
use crate::error::{CommitError, TableError};
use crate::options::{Alter, TableInfo};
use crate::schema::Schema;
use hotread_proto::{Refusal, TableName};

/// How often a check begins again because the table was altered by another caller, or because the history does
/// not go back to its beginning.
const MAX_CHECKS: usize = 3;

impl Store {
    /// Gives a table other options. Position, history, readers and subscribers of the table stay.
    ///
    /// A new schema is checked against every record on this thread, from a read connection: other writers wait
    /// for what they have written meanwhile to be checked, 1 MiB of it at most. A history that is to be shorter
    /// is trimmed as it would be by time, some changes at a time.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read or written; if the schema is none; with
    /// [`CommitError::Schema`] if a record does not fit it; with [`Refusal::Outdated`] if the table changes
    /// faster than it can be checked, which may pass. The table is as it was then.
    pub fn alter(&self, table: &TableName, alter: &Alter) -> Result<TableInfo, TableError> {
        self.writer()?;
        for _ in 0..MAX_CHECKS {
            let known = self.writable(table)?;
            let options = alter.of(&known.options);
            let checked = match &options.schema {
                Some(schema) if options.schema != known.options.schema => {
                    let schema = Schema::compile(schema)
                        .map_err(|reason| TableError::InvalidSchema { reason })?;
                    match Checked::new(&self.pool(), &known, schema)? {
                        Some(checked) => Some(checked),
                        None => continue,
                    }
                }
                _ => None,
            };
            let altered = self.job(move |committer| committer.alter(&known, options, checked))?;
            if let Some(info) = altered {
                return Ok(info);
            }
        }
        Err(CommitError::from(Refusal::Outdated).into())
    }
}
