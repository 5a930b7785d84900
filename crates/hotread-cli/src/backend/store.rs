//! Tables of a database that this process has open.

use super::tables::{Pending, Tables, Whole};
use anyhow::Result;
use hotread_proto::{
    Alter, Change, Key, NewToken, Page, Position, Record, Replace, Replaced, Role, Scan, Search,
    TableInfo, TableName, TableOptions, Timestamp, TokenInfo, Txn,
};
use hotread_store::Store;

impl Tables for Store {
    fn is_remote(&self) -> bool {
        false
    }

    fn tables(&self) -> Result<Vec<TableInfo>> {
        Ok(self.tables()?)
    }

    fn table(&self, table: &TableName) -> Result<TableInfo> {
        Ok(self.table_info(table)?)
    }

    fn create_table(&self, table: &TableName, options: TableOptions) -> Result<TableInfo> {
        Ok(self.create_table(table, options)?)
    }

    fn alter(&self, table: &TableName, alter: &Alter) -> Result<TableInfo> {
        Ok(self.alter(table, alter)?)
    }

    fn drop_table(&self, table: &TableName) -> Result<()> {
        self.drop_table(table)?;
        // The command ends before the committer would have cleared a large table.
        // The table is dropped in any case; if this fails, the next process to write goes on.
        let _ = self.finish_drops();
        Ok(())
    }

    fn get(&self, table: &TableName, key: &Key) -> Result<Option<Record>> {
        Ok(self.get(table, key)?)
    }

    fn scan(&self, table: &TableName, scan: &Scan) -> Result<Page> {
        Ok(self.scan(table, scan)?)
    }

    fn max_found(&self) -> usize {
        hotread_store::MAX_PAGE
    }

    fn search(&self, table: &TableName, search: &Search) -> Result<Vec<Record>> {
        Ok(self.search(table, search)?.records)
    }

    fn changes(&self, table: &TableName, from: Position, limit: usize) -> Result<Vec<Change>> {
        Ok(self.changes(table, from, limit)?)
    }

    fn whole(&self, table: &TableName) -> Result<Whole> {
        let records = self.snapshot(table)?;
        Ok(Whole {
            position: records.position(),
            records: records.iter().cloned().collect(),
        })
    }

    fn submit(&self, table: &TableName, txn: Txn) -> Result<Pending> {
        Ok(Pending::Waiting(self.submit(table, txn)?))
    }

    fn replace(&self, table: &TableName, new: Replace) -> Result<Replaced> {
        Ok(self.replace(table, new)?)
    }

    fn tokens(&self) -> Result<Vec<TokenInfo>> {
        Ok(self.tokens()?)
    }

    fn create_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken> {
        Ok(match expires_at {
            None => self.create_token(name, role, tables),
            Some(at) => self.create_expiring_token(name, role, tables, at),
        }?)
    }

    fn revoke_token(&self, id: &str) -> Result<TokenInfo> {
        Ok(self.revoke_token(id)?)
    }
}
