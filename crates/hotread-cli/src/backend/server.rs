//! Tables of a server.

use super::tables::{Pending, Tables, Whole};
use crate::args::Secret;
use crate::exit::Failure;
use anyhow::Result;
use hotread_client::{ClientBuilder, Error, RecordSet, blocking};
use hotread_proto::{
    Alter, Change, Code, Key, MAX_CHANGES, NewToken, Page, Position, Record, Replace, Replaced,
    Role, Scan, Search, TableInfo, TableName, TableOptions, Timestamp, TokenInfo, Txn,
};

/// Records that a server gives of a search at most.
const MAX_FOUND: usize = 100;

/// Where a server is, and what it wants to be shown.
#[derive(Clone)]
pub(crate) struct Remote {
    url: String,
    token: Option<Secret>,
}

impl Remote {
    /// The address may be without a scheme: `127.0.0.1:7400`.
    pub(crate) fn new(url: String, token: Option<Secret>) -> Self {
        let url = match url.contains("://") {
            true => url,
            false => format!("http://{url}"),
        };
        Self { url, token }
    }

    /// A client that is listed with this name where it follows a table.
    pub(crate) fn builder(&self, name: &str) -> ClientBuilder {
        let builder = blocking::Client::builder(&self.url).name(name);
        match &self.token {
            Some(token) => builder.token(token.reveal()),
            None => builder,
        }
    }

    /// An error as this command tells it.
    pub(crate) fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            // Address and token are checked before anything is sent.
            Error::BadUrl(_) | Error::TlsNotSupported => Failure::usage(error).into(),
            Error::Api { mut body, .. } if body.code == Code::Unauthenticated => {
                let more = match self.token {
                    None => "set HOTREAD_TOKEN, or give --token",
                    Some(_) => "the one of HOTREAD_TOKEN or --token was sent",
                };
                body.message = format!("{}: {} ({more})", self.url, body.message);
                Failure::from(body).into()
            }
            Error::Api { mut body, .. } if body.code == Code::Sealed => {
                body.message.push_str(", to the server where it is started");
                Failure::from(body).into()
            }
            Error::CommitUnknown { ref id, .. } => {
                let mut body = error.body();
                body.message = format!(
                    "{}: {}; an import can be run again as it is, `set` and `rm` with --txn-id {id}",
                    self.url, body.message
                );
                Failure::from(body).into()
            }
            // What the server says of what was asked of it.
            Error::Api { .. } | Error::Invalid { .. } | Error::Rejected(_) => error.into(),
            // It is about the server itself, or the way to it.
            _ => anyhow::Error::new(error).context(self.url.clone()),
        }
    }
}

/// A server that is asked.
pub(crate) struct Server {
    remote: Remote,
    client: blocking::Client,
}

impl Server {
    /// Nothing is sent yet.
    pub(crate) fn new(remote: Remote) -> Result<Self> {
        let client = remote.builder("hotread-command").build_blocking();
        let client = client.map_err(|error| remote.explain(error))?;
        Ok(Self { remote, client })
    }

    /// Makes a call.
    pub(crate) fn ask<T>(
        &self,
        call: impl FnOnce(&blocking::Client) -> Result<T, Error>,
    ) -> Result<T> {
        call(&self.client).map_err(|error| self.remote.explain(error))
    }
}

impl Tables for Server {
    fn is_remote(&self) -> bool {
        true
    }

    fn tables(&self) -> Result<Vec<TableInfo>> {
        self.ask(blocking::Client::tables)
    }

    fn table(&self, table: &TableName) -> Result<TableInfo> {
        self.ask(|client| client.table_info(table.as_str()))
    }

    fn create_table(&self, table: &TableName, options: TableOptions) -> Result<TableInfo> {
        self.ask(|client| client.create_table(table.as_str(), &options))
    }

    fn alter(&self, table: &TableName, alter: &Alter) -> Result<TableInfo> {
        self.ask(|client| client.alter(table.as_str(), alter))
    }

    fn drop_table(&self, table: &TableName) -> Result<()> {
        self.ask(|client| client.drop_table(table.as_str()))
    }

    fn get(&self, table: &TableName, key: &Key) -> Result<Option<Record>> {
        self.ask(|client| client.get(table.as_str(), key.as_str()))
    }

    fn scan(&self, table: &TableName, scan: &Scan) -> Result<Page> {
        self.ask(|client| client.scan(table.as_str(), scan))
    }

    fn max_found(&self) -> usize {
        MAX_FOUND
    }

    fn search(&self, table: &TableName, search: &Search) -> Result<Vec<Record>> {
        if search.limit > MAX_FOUND {
            let message = format!(
                "a server gives {MAX_FOUND} records of a search at most; give --limit \
                 {MAX_FOUND} or less"
            );
            return Err(Failure::usage(message).into());
        }
        let found = self.ask(|client| client.search(table.as_str(), search))?;
        Ok(found.records)
    }

    fn changes(&self, table: &TableName, from: Position, limit: usize) -> Result<Vec<Change>> {
        let limit = Some(limit.min(MAX_CHANGES));
        let changes = self.ask(|client| client.changes(table.as_str(), from, limit))?;
        Ok(changes.changes)
    }

    fn whole(&self, table: &TableName) -> Result<Whole> {
        // A replica waits for a server that is not there, and this is to say so.
        self.table(table)?;
        let replica = self.ask(|client| client.replica::<RecordSet>(table.as_str()))?;
        // Before the state, which may be newer by then.
        let position = replica.position();
        let mut reader = replica.create_handle();
        let records = reader.current().iter().cloned().collect();
        Ok(Whole { position, records })
    }

    fn submit(&self, table: &TableName, txn: Txn) -> Result<Pending> {
        let committed = self.ask(|client| client.txn(table.as_str(), txn))?;
        Ok(Pending::Committed(committed))
    }

    fn replace(&self, table: &TableName, new: Replace) -> Result<Replaced> {
        self.ask(|client| client.replace(table.as_str(), new))
    }

    fn tokens(&self) -> Result<Vec<TokenInfo>> {
        self.ask(blocking::Client::tokens)
    }

    fn create_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken> {
        let tables = tables.as_deref();
        self.ask(|client| match expires_at {
            None => client.create_token(name, role, tables),
            Some(at) => client.create_expiring_token(name, role, tables, at),
        })
    }

    fn revoke_token(&self, id: &str) -> Result<TokenInfo> {
        self.ask(|client| client.revoke_token(id))
    }
}
