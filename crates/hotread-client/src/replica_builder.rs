//! How a replica is made.

use crate::blocking::Own;
use crate::endpoint::Endpoint;
use crate::publish::Options;
use std::sync::Arc;

/// Most bytes of keys and values that a table may have, unless told otherwise: beyond what fits into a
/// process.
const MAX_TABLE_BYTES: usize = 64 << 30;

/// Settings of a new [`Replica`](crate::Replica).
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until `start` is called"]
pub struct ReplicaBuilder {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) table: String,
    pub(crate) options: Options,
    /// Of a builder of a [`blocking::Client`](crate::blocking::Client).
    pub(crate) runtime: Option<Arc<Own>>,
}

impl ReplicaBuilder {
    pub(crate) fn new(endpoint: &Arc<Endpoint>, table: &str) -> Self {
        Self {
            endpoint: endpoint.clone(),
            table: table.to_owned(),
            options: Options {
                skip_bad_keys: false,
                max_bytes: MAX_TABLE_BYTES,
                hide_expired: false,
            },
            runtime: None,
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

    /// Most bytes of keys, categories and values that the table may have: 64 GiB unless it is said here.
    /// With a larger one a replica does not start (`TOO_LARGE`), unless its
    /// [`cache_dir`](crate::ClientBuilder::cache_dir) has a copy that was small enough; one that runs keeps
    /// what was before, says [`TooLarge`](crate::Status::TooLarge), and goes on when the table is small
    /// enough again. At 80 % of it, compared with [`Replica::table_bytes`](crate::Replica::table_bytes), a warning is logged.
    pub fn max_table_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// Takes a record out of the state within a second after its expiry **by this machine's clock**, also
    /// while the server is away; a record that has expired already when it comes is never shown. Without
    /// it, **a replica that is cut off from its server goes on to show records that have expired**: expiry
    /// is a transaction of the server.
    ///
    /// Use it where an expired record must not count (a session, a grant, a lock), and keep the clocks of
    /// both machines in step: one that is ahead hides records early. A record that was hidden is not shown
    /// again if the clock is set back. Apart from expired records, readers see states of the table.
    ///
    /// A state that keeps whole records ([`RecordSet`](crate::RecordSet)) can ask
    /// [`Record::is_expired`](crate::Record::is_expired) instead, at the moment of use. Takes memory for
    /// each record that has an expiry, about 150 bytes.
    pub fn hide_expired(mut self, hide: bool) -> Self {
        self.options.hide_expired = hide;
        self
    }
}
