//! Tables in a file or behind a server: commands are written once, against [`Tables`].

mod server;

pub(crate) use server::{Remote, Server};

use crate::exit::Failure;
use anyhow::Result;
use hotread_client::RecordSet;
use hotread_proto::{
    Alter, Change, Committed, Found, Key, MAX_CHANGES, NewToken, Page, Position, Record, Replace,
    Replaced, Role, Scan, Search, TableInfo, TableName, TableOptions, Timestamp, TokenInfo, Txn,
};
use hotread_store::{MAX_PAGE, Store, Ticket};

/// Maximum number of records that a server returns for a search.
const MAX_FOUND: usize = 100;

/// Tables that commands work with, with the same answers and errors wherever the tables are. Each call
/// blocks.
pub(crate) enum Tables {
    /// Tables of a database that this process has open.
    File(Store),
    Server(Server),
}

/// Declares calls, each by what a store does for it and what a client of a server does.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $ok:ty {
        $store:ident => $here:expr,
        $client:ident => $there:expr,
    })*) => {
        impl Tables {
            $(
                $(#[$doc])*
                pub(crate) fn $name(&self, $($arg: $type),*) -> Result<$ok> {
                    match self {
                        Self::File($store) => Ok($here?),
                        Self::Server(server) => server.ask(|$client| $there),
                    }
                }
            )*
        }
    };
}

calls! {
    /// Returns all tables; of a server, those that the token may read.
    tables() -> Vec<TableInfo> {
        store => store.tables(),
        client => client.tables(),
    }
    table(table: &TableName) -> TableInfo {
        store => store.table_info(table),
        client => client.table_info(table.as_str()),
    }
    create_table(table: &TableName, options: TableOptions) -> TableInfo {
        store => store.create_table(table, options),
        client => client.create_table(table.as_str(), &options),
    }
    alter(table: &TableName, alter: &Alter) -> TableInfo {
        store => store.alter(table, alter),
        client => client.alter(table.as_str(), alter),
    }
    drop_table(table: &TableName) -> () {
        // The command ends before the committer would have cleared a large table. The table is dropped
        // in any case; if clearing it fails, the next process that writes continues.
        store => store.drop_table(table).map(|()| drop(store.finish_drops())),
        client => client.drop_table(table.as_str()),
    }
    /// Returns a record. A record that has expired and is not yet deleted may be returned.
    get(table: &TableName, key: &Key) -> Option<Record> {
        store => store.get(table, key),
        client => client.get(table.as_str(), key.as_str()),
    }
    /// Returns a page of records by key.
    scan(table: &TableName, scan: &Scan) -> Page {
        store => store.scan(table, scan),
        client => client.scan(table.as_str(), scan),
    }
    /// Returns up to `limit` of the transactions after a position, oldest first; an empty list at the
    /// head.
    changes(table: &TableName, from: Position, limit: usize) -> Vec<Change> {
        store => store.changes(table, from, limit),
        client => client
            .changes(table.as_str(), from, Some(limit.min(MAX_CHANGES)))
            .map(|answer| answer.changes),
    }
    /// Submits a transaction. A value that the schema refuses is an error of this call.
    submit(table: &TableName, txn: Txn) -> Pending {
        store => store.submit(table, txn).map(Pending::Waiting),
        client => client.txn(table.as_str(), txn).map(Pending::Committed),
    }
    replace(table: &TableName, new: Replace) -> Replaced {
        store => store.replace(table, new),
        client => client.replace(table.as_str(), new),
    }
    tokens() -> Vec<TokenInfo> {
        store => store.tokens(),
        client => client.tokens(),
    }
    /// Creates a token for `tables` only, if given, and until `expires_at`, if given.
    create_token(
        name: &str, role: Role, tables: Option<Vec<TableName>>, expires_at: Option<Timestamp>
    ) -> NewToken {
        store => match expires_at {
            None => store.create_token(name, role, tables),
            Some(at) => store.create_expiring_token(name, role, tables, at),
        },
        client => match expires_at {
            None => client.create_token(name, role, tables.as_deref()),
            Some(at) => client.create_expiring_token(name, role, tables.as_deref(), at),
        },
    }
    revoke_token(id: &str) -> TokenInfo {
        store => store.revoke_token(id),
        client => client.revoke_token(id),
    }
}

impl Tables {
    /// Returns `true` for the tables of a server, which limits how much one step may change.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// Returns the most records that a search finds.
    pub(crate) fn max_found(&self) -> usize {
        match self {
            Self::File(_) => MAX_PAGE,
            Self::Server(_) => MAX_FOUND,
        }
    }

    /// Returns the records that contain all words, best match first.
    pub(crate) fn search(&self, table: &TableName, search: &Search) -> Result<Found> {
        match self {
            Self::File(store) => Ok(store.search(table, search)?),
            Self::Server(_) if search.limit > MAX_FOUND => {
                let message = format!(
                    "a server gives {MAX_FOUND} records of a search at most; give --limit \
                     {MAX_FOUND} or less"
                );
                Err(Failure::usage(message).into())
            }
            Self::Server(server) => server.ask(|client| client.search(table.as_str(), search)),
        }
    }

    /// Returns all records of a table, in one state.
    pub(crate) fn whole(&self, table: &TableName) -> Result<Whole> {
        let server = match self {
            Self::File(store) => {
                let records = store.snapshot(table)?;
                return Ok(Whole {
                    position: records.position(),
                    records: records.iter().cloned().collect(),
                });
            }
            Self::Server(server) => server,
        };
        // A replica would wait for a server that is unreachable; the command must report it.
        self.table(table)?;
        let replica = server.ask(|client| client.replica::<RecordSet>(table.as_str()))?;
        // Read before the state, which may be newer by then.
        let position = replica.position();
        let records = replica.create_handle().current().iter().cloned().collect();
        Ok(Whole { position, records })
    }
}

/// One state of a table.
pub(crate) struct Whole {
    /// Every transaction up to this one is included. With a server, transactions that were committed
    /// during the read may be included as well.
    pub(crate) position: Position,
    /// Records in the order of their keys.
    pub(crate) records: Vec<Record>,
}

/// A submitted transaction.
pub(crate) enum Pending {
    /// A transaction that waits to be committed.
    Waiting(Ticket),
    Committed(Committed),
}

impl Pending {
    /// Waits until the transaction is committed.
    pub(crate) fn wait(self) -> Result<Committed> {
        match self {
            Self::Waiting(ticket) => Ok(ticket.wait()?),
            Self::Committed(committed) => Ok(committed),
        }
    }
}
