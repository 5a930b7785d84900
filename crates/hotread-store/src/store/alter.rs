//! Altering tables.

use super::Store;
use crate::committer::alter::Checked;
use crate::error::{CommitError, TableError};
use crate::options::{Alter, TableInfo};
use crate::schema::Schema;
use crate::table::OpenTable;
use hotread_proto::{Refusal, TableName};
use std::sync::Arc;

/// Attempts at a check. It is repeated if another caller alters the table, or if the history no longer
/// goes back to the check's beginning.
const MAX_CHECKS: usize = 3;

impl Store {
    /// Changes the options of a table. Its position, history, readers and subscribers stay.
    ///
    /// A new schema is checked against every record on this thread, through a read connection. Other
    /// writers wait only while the changes that were made meanwhile are checked, 1 MiB of them at most.
    /// A history that becomes shorter is trimmed in pieces, as it is by age. A search index is built
    /// some records at a time, with other writers in between, and can be searched once this returns.
    /// One that is removed cannot be searched from then on, and is deleted some rows at a time before
    /// this returns. The remains of an index whose building was interrupted by the end of the process
    /// are deleted when the next one is built.
    ///
    /// # Errors
    /// If there is no such table, or it cannot be read or written; if the schema is not valid; with
    /// [`CommitError::Schema`] if a record does not fit it; with [`TableError::Exists`] if the new name is
    /// taken; with [`Refusal::Outdated`] if the table changes faster than it can be checked, which may be
    /// temporary. The table is unchanged then, and an index that was begun for the alteration is removed.
    pub fn alter(&self, table: &TableName, alter: &Alter) -> Result<TableInfo, TableError> {
        self.writer()?;
        let mut is_index_begun = false;
        let altered = self.try_alter(table, alter, &mut is_index_begun);
        if altered.is_err() && is_index_begun {
            // The first error is the one to return. An index that cannot be set aside is deleted when the next one
            // is built.
            let _ = self.abandon_index(table);
        }
        altered
    }

    fn try_alter(
        &self,
        table: &TableName,
        alter: &Alter,
        is_index_begun: &mut bool,
    ) -> Result<TableInfo, TableError> {
        for _ in 0..MAX_CHECKS {
            let mut known = self.writable(table)?;
            let options = alter.of(&known.options);
            if options.sealed && options.search {
                return Err(TableError::SealedSearch);
            }
            let name = alter.name().unwrap_or(table).clone();
            if options.sealed && name != *table {
                return Err(TableError::SealedName);
            }
            if name != *table {
                self.0.registry.check_free(&name)?;
            }
            let had_index = known.options.search;
            let mut checked = match &options.schema {
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
            if options.search && !had_index {
                *is_index_begun = true;
                self.build_index(&known)?;
                known = self.writable(table)?;
                if let Some(checked) = &mut checked
                    && !checked.catch_up(&self.pool(), &known)?
                {
                    continue;
                }
            }
            let altered =
                self.job(move |committer| committer.alter(&known, options, &name, checked))?;
            if let Some(info) = altered {
                if had_index && !info.options.search {
                    self.clear_search(&self.writable(&info.name)?)?;
                }
                return Ok(info);
            }
        }
        Err(CommitError::from(Refusal::Outdated).into())
    }

    fn build_index(&self, table: &Arc<OpenTable>) -> Result<(), TableError> {
        if !table.is_building {
            self.clear_search(table)?;
        }
        let known = table.clone();
        self.job(move |committer| committer.begin_index(&known))?;
        let mut last = Some(String::new());
        while let Some(after) = last {
            let known = table.clone();
            last = self.job(move |committer| committer.index_some(&known, &after))?;
        }
        Ok(())
    }

    fn abandon_index(&self, table: &TableName) -> Result<(), TableError> {
        let known = self.writable(table)?;
        let building = known.clone();
        self.job(move |committer| committer.abandon_index(&building))?;
        self.clear_search(&known)
    }

    fn clear_search(&self, table: &Arc<OpenTable>) -> Result<(), TableError> {
        loop {
            let known = table.clone();
            if !self.job(move |committer| committer.clear_search(&known))? {
                return Ok(());
            }
        }
    }
}
