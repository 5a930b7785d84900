//! The client, which all calls and replicas begin with.

mod builder;

pub use self::builder::ClientBuilder;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::replica::Replica;
use crate::replica_builder::ReplicaBuilder;
use hotread_proto::Replicated;
use std::sync::Arc;

/// A HotRead server, seen from another process. Cheap to clone; clones share connections.
///
/// Must be used within a tokio runtime with its time and I/O drivers; see
/// [`blocking`](crate::blocking) for programs that have none.
#[derive(Debug, Clone)]
pub struct Client(pub(crate) Arc<Endpoint>);

impl Client {
    /// Begins with the server's address: `http://host:port` or `ws://host:port`, which mean the same.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// Follows a table with a state of type `S`, and returns when the state is complete.
    ///
    /// As long as the server cannot be reached, it waits and tries again, for at most
    /// [`start_within`](crate::ClientBuilder::start_within) if that is set; what it waits for is logged,
    /// and told to [`on_connection`](crate::ClientBuilder::on_connection). With a copy in
    /// [`cache_dir`](crate::ClientBuilder::cache_dir) it waits for the first attempt to fail, or 2 s,
    /// and begins with that copy then. Its costs are those of the [crate](crate#what-it-costs).
    ///
    /// # Errors
    /// If the server refuses (no such table, not allowed; see
    /// [`wait_for_tables`](crate::ClientBuilder::wait_for_tables)), if it takes longer than it may, or if
    /// the state's type refuses a value of the table ([`Error::Rejected`]).
    pub async fn replica<S: Replicated>(&self, table: &str) -> Result<Replica<S>, Error> {
        self.replica_builder(table).start().await
    }

    /// As [`replica`](Self::replica), with settings of its own.
    pub fn replica_builder(&self, table: &str) -> ReplicaBuilder {
        ReplicaBuilder::new(&self.0, table)
    }
}
