//! What commands do with tables, wherever they are.

use anyhow::Result;
use hotread_proto::{
    Alter, Change, Committed, Key, NewToken, Page, Position, Record, Replace, Replaced, Role, Scan,
    Search, TableInfo, TableName, TableOptions, Timestamp, TokenInfo, Txn,
};
use hotread_store::Ticket;

/// What commands do with tables. What is answered, and how errors are told, does not depend on where
/// the tables are. Each call blocks.
pub(crate) trait Tables {
    /// Whether they are those of a server, which limits what one step may change.
    fn is_remote(&self) -> bool;

    /// The tables that there are; of a server, those that the token may read.
    fn tables(&self) -> Result<Vec<TableInfo>>;

    fn table(&self, table: &TableName) -> Result<TableInfo>;

    fn create_table(&self, table: &TableName, options: TableOptions) -> Result<TableInfo>;

    fn alter(&self, table: &TableName, alter: &Alter) -> Result<TableInfo>;

    fn drop_table(&self, table: &TableName) -> Result<()>;

    /// A record. One that has expired and is not deleted yet may be given or not.
    fn get(&self, table: &TableName, key: &Key) -> Result<Option<Record>>;

    /// A page of records by key.
    fn scan(&self, table: &TableName, scan: &Scan) -> Result<Page>;

    /// Most records that a search gives.
    fn max_found(&self) -> usize;

    /// The records that have the words, the best first.
    fn search(&self, table: &TableName, search: &Search) -> Result<Vec<Record>>;

    /// Some of the transactions after a position, oldest first, `limit` at most. None: it is the last.
    fn changes(&self, table: &TableName, from: Position, limit: usize) -> Result<Vec<Change>>;

    /// The whole table in one state.
    fn whole(&self, table: &TableName) -> Result<Whole>;

    /// Hands a transaction over. What the schema refuses is refused here.
    fn submit(&self, table: &TableName, txn: Txn) -> Result<Pending>;

    /// Commits a transaction.
    fn commit(&self, table: &TableName, txn: Txn) -> Result<Committed> {
        self.submit(table, txn)?.wait()
    }

    fn replace(&self, table: &TableName, new: Replace) -> Result<Replaced>;

    fn tokens(&self) -> Result<Vec<TokenInfo>>;

    /// Makes a token; `tables`: only for these; `expires_at`: valid until then.
    fn create_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken>;

    fn revoke_token(&self, id: &str) -> Result<TokenInfo>;
}

/// One state of a table.
pub(crate) struct Whole {
    /// All transactions up to this one are in it. Of a server's table, those that were committed
    /// while it was read may be in it as well.
    pub(crate) position: Position,
    /// In the order of their keys.
    pub(crate) records: Vec<Record>,
}

/// A transaction that was handed over.
pub(crate) enum Pending {
    /// It waits to be committed.
    Waiting(Ticket),
    Committed(Committed),
}

impl Pending {
    /// Waits until it is committed.
    pub(crate) fn wait(self) -> Result<Committed> {
        match self {
            Self::Waiting(ticket) => Ok(ticket.wait()?),
            Self::Committed(committed) => Ok(committed),
        }
    }
}
