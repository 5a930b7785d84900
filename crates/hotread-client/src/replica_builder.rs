//! How a replica is made.

use crate::client::Client;
use crate::error::Error;
use crate::replica::{self, Replica};
use crate::replicated::Replicated;
use hotread_proto::TableName;

/// Most bytes of keys and values that a table may have, unless told otherwise: beyond what fits into a
/// process.
const MAX_TABLE_BYTES: usize = 64 << 30;

/// Settings of a new [`Replica`].
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until `start` is called"]
pub struct ReplicaBuilder {
    client: Client,
    table: String,
    pub(crate) options: Options,
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) skip_bad_keys: bool,
    pub(crate) max_bytes: usize,
}

impl ReplicaBuilder {
    pub(crate) fn new(client: &Client, table: &str) -> Self {
        Self {
            client: client.clone(),
            table: table.to_owned(),
            options: Options {
                skip_bad_keys: false,
                max_bytes: MAX_TABLE_BYTES,
            },
        }
    }

    /// Leaves records out whose value the state's type refuses, as if they were not there, instead of
    /// staying where the table was before them.
    ///
    /// **This gives up the guarantee that readers see a state that the table had**: a new record
    /// appears without the one that was written together with it, an old value is gone and the new
    /// one not there. The replica's [`Status`](crate::Status) is `Partial` as long as something is
    /// left out, and the server is told of it all the same.
    pub fn skip_bad_keys(mut self, skip: bool) -> Self {
        self.options.skip_bad_keys = skip;
        self
    }

    /// Most bytes of keys, categories and values that the table may have when it is loaded: 64 GiB
    /// unless it is said here. Of a larger one there is no replica, and one that is there keeps what
    /// it has.
    pub fn max_table_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// Makes the replica, as [`Client::replica`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn start<S: Replicated>(self) -> Result<Replica<S>, Error> {
        let table = TableName::new(&self.table)?;
        replica::start(&self.client, table, self.options).await
    }
}
