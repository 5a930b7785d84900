//! Calls that list, create, alter, drop and seal tables.

use super::Store;
use crate::committer::Committer;
use crate::error::{CommitError, ReadError, TableError};
use crate::options::{TableInfo, TableOptions};
use crate::read;
use crate::schema::Schema;
use crate::seal::{Passphrase, SHORT_PASSPHRASE_BYTES, Seal, SealError, SealHeader};
use crate::table::{self, TableRow};
use hotread_proto::TableName;

impl Store {
    /// Returns all tables, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tables(&self) -> Result<Vec<TableInfo>, ReadError> {
        let rows = table::read_all(&*read::connection(&self.pool())?)?;
        Ok(rows.iter().map(TableRow::info).collect())
    }

    /// Returns the current options and counts of a table.
    ///
    /// # Errors
    /// If there is no such table, or the database cannot be read.
    pub fn table_info(&self, table: &TableName) -> Result<TableInfo, ReadError> {
        let row = read::table(&self.pool(), table)?;
        let info = row.map(|row| row.info());
        info.ok_or_else(|| ReadError::unknown(table))
    }

    /// Creates an empty table in an epoch of its own.
    ///
    /// # Errors
    /// If the name is taken, the options contradict each other, or the database cannot be written.
    pub fn create_table(
        &self,
        table: &TableName,
        options: TableOptions,
    ) -> Result<TableInfo, TableError> {
        Self::check_options(&options)?;
        let seal = options.sealed.then(|| self.derive(table)).transpose()?;
        let name = table.clone();
        self.job(move |committer| committer.create_table(&name, &options, seal))
    }

    /// Checks the options of a new table like [`create_table`](Self::create_table), before there is a store.
    ///
    /// # Errors
    /// If the options contradict each other, or their schema is invalid.
    pub fn check_options(options: &TableOptions) -> Result<(), TableError> {
        if let Some(schema) = &options.schema {
            Schema::compile(schema).map_err(|reason| TableError::InvalidSchema { reason })?;
        }
        match options.sealed && options.search {
            true => Err(TableError::SealedSearch),
            false => Ok(()),
        }
    }

    fn derive(&self, table: &TableName) -> Result<(Seal, SealHeader), CommitError> {
        let passphrase = self.0.passphrase.as_ref().ok_or(SealError::NoPassphrase);
        let passphrase = passphrase.map_err(CommitError::seal(table))?;
        self.derive_from(table, passphrase)
    }

    fn derive_from(
        &self,
        table: &TableName,
        passphrase: &Passphrase,
    ) -> Result<(Seal, SealHeader), CommitError> {
        if passphrase.is_short() {
            tracing::warn!(
                %table,
                "the passphrase has fewer than {SHORT_PASSPHRASE_BYTES} bytes, which can be guessed by anyone who \
                 has the file; prefer six random words"
            );
        }
        Seal::create(passphrase, self.0.key_rounds).map_err(CommitError::seal(table))
    }

    /// Drops a table with all its records and its history. Its name is free immediately. Its handles keep
    /// reading the last state; its subscriptions end with an error.
    ///
    /// The rows are deleted afterwards, in small batches between other writes, and if necessary after
    /// the store was opened again. Their pages are reused. [`finish_drops`](Self::finish_drops) waits
    /// for the deletion.
    ///
    /// # Errors
    /// If there is no such table, or the database cannot be written.
    pub fn drop_table(&self, table: &TableName) -> Result<(), TableError> {
        let name = table.clone();
        self.job(move |committer| committer.drop_table(&name))
    }

    /// Waits until the file contains nothing of dropped tables. The committer works on the deletion
    /// whenever it has nothing else to do.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn finish_drops(&self) -> Result<(), TableError> {
        while self.job(Committer::clear_dropped)? {}
        Ok(())
    }

    /// Returns `true` if this store was opened with the passphrase.
    #[must_use]
    pub fn has_passphrase(&self, passphrase: &Passphrase) -> bool {
        let own = self.0.passphrase.as_ref();
        own.is_some_and(|own| own.is(passphrase))
    }

    /// Atomically re-encrypts a sealed table with a new passphrase, or with new keys under the same one. Begins a new epoch without history,
    /// and forgets the transaction ids. Takes memory and time for the whole table, regardless of the size of
    /// the rest of the file; writes to other tables wait in the meantime.
    ///
    /// Values under the old passphrase may be left in unused parts of the file until
    /// [`scrub`](Self::scrub).
    ///
    /// This store continues with the new keys. Later openings need the new passphrase in
    /// [`StoreBuilder::passphrase`](crate::StoreBuilder::passphrase).
    ///
    /// # Errors
    /// If there is no such table, it is not sealed, this store has another passphrase than the table,
    /// or the database cannot be written. The table is unchanged then.
    pub fn rekey(&self, table: &TableName, new: &Passphrase) -> Result<TableInfo, TableError> {
        let known = self.0.registry.known(table)?;
        if !known.is_sealed() {
            return Err(TableError::NotSealed {
                table: table.clone(),
            });
        }
        self.unseal(&known).map_err(CommitError::seal(table))?;
        let seal = self.derive_from(table, new)?;
        self.job(move |committer| committer.rekey(&known, seal))
    }

    /// Rewrites the file, so that nothing deleted is left in it, such as values under an earlier
    /// passphrase. Takes as long as a backup, during which writes wait, and space for a copy of the
    /// database in a temporary file (`SQLITE_TMPDIR`, else `/var/tmp`) and for another one in the
    /// write-ahead log. Memory is bounded, however large the file is.
    ///
    /// # Errors
    /// If there is no space or the database cannot be written: deleted content may still be in the file
    /// then, and everything else is unchanged. [`StorageError::Locked`](crate::StorageError::Locked)
    /// means that a reader keeps the write-ahead log.
    pub fn scrub(&self) -> Result<(), TableError> {
        Ok(self.job(Committer::scrub)?)
    }
}
