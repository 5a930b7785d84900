//! The client, which creates replicas and makes calls.

mod builder;

pub use self::builder::ClientBuilder;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::replica::Replica;
use crate::replica_builder::ReplicaBuilder;
use hotread_proto::Replicated;
use std::sync::Arc;

/// A client of one HotRead server, or of [several](crate#several-servers) that serve the same tables. Cheap to
/// clone; clones share connections.
///
/// Requires a tokio runtime with its time and I/O drivers; see [`blocking`](crate::blocking) for programs
/// without one.
#[derive(Debug, Clone)]
pub struct Client(pub(crate) Arc<Endpoint>);

impl Client {
    /// Returns a builder with the server's address: `http://host:port` or `ws://host:port`, which mean the
    /// same, or `https://host:port` or `wss://host:port` for TLS. Without a port it is 80, or 443 with TLS.
    /// [Several](crate#several-servers) addresses are separated by commas.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// Returns the address of the server to which the next call goes. Of several servers, a client stays with
    /// one until that one fails: see the [crate](crate#several-servers).
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.servers.current().name
    }

    /// Follows a table with a state of type `S`, and returns when the state is complete.
    ///
    /// While the server cannot be reached, the call waits and retries, for at most
    /// [`start_within`](crate::ClientBuilder::start_within) if that is set. The reason for the wait is
    /// logged, and passed to [`on_connection`](crate::ClientBuilder::on_connection). With a copy in
    /// [`cache_dir`](crate::ClientBuilder::cache_dir) the call waits for the first failed attempt, or 2 s,
    /// and then starts from that copy. Its costs are those of the [crate](crate#what-it-costs).
    ///
    /// # Errors
    /// If the server refuses (unknown table, missing permission; see
    /// [`wait_for_tables`](crate::ClientBuilder::wait_for_tables)), if the call takes longer than
    /// [`start_within`](crate::ClientBuilder::start_within), or if the state's type refuses a value of the
    /// table ([`Error::Rejected`]).
    pub async fn replica<S: Replicated>(&self, table: &str) -> Result<Replica<S>, Error> {
        self.replica_builder(table).start().await
    }

    /// Returns a builder of a replica with its own settings. With the defaults it does the same as
    /// [`replica`](Self::replica).
    pub fn replica_builder(&self, table: &str) -> ReplicaBuilder {
        ReplicaBuilder::new(&self.0, table)
    }
}
