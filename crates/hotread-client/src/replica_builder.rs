//! The builder of a replica.

use crate::blocking::Own;
use crate::endpoint::Endpoint;
use crate::publish::Options;
use std::sync::Arc;

/// Default limit of [`max_table_bytes`](ReplicaBuilder::max_table_bytes): more than fits into a process.
const MAX_TABLE_BYTES: usize = 64 << 30;

/// Settings of a new [`Replica`](crate::Replica).
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until `start` is called"]
pub struct ReplicaBuilder {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) table: String,
    pub(crate) options: Options,
    /// Runtime of the [`blocking::Client`](crate::blocking::Client) that created the builder, if one did.
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

    /// Leaves out records whose value the state's type refuses, as if they were absent. By default a
    /// replica keeps the state before such a value instead.
    ///
    /// **This gives up the guarantee that readers see a state that the table had**: a new record can appear
    /// without another one written in the same transaction, and an old value can disappear before its
    /// replacement is readable. The replica's [`Status`](crate::Status) is `Partial` while any record is
    /// left out, and the server is still informed of each refused value.
    pub fn skip_bad_keys(mut self, skip: bool) -> Self {
        self.options.skip_bad_keys = skip;
        self
    }

    /// Sets the largest size of the table, in bytes of keys, categories and values. The default is 64 GiB.
    ///
    /// A replica of a larger table fails to start (`TOO_LARGE`), unless its
    /// [`cache_dir`](crate::ClientBuilder::cache_dir) has a copy within the limit. A running replica whose
    /// table grows beyond the limit keeps its last state, has the status
    /// [`TooLarge`](crate::Status::TooLarge), and continues once the table is small enough again. A warning
    /// is logged at 80 % of the limit; [`Replica::table_bytes`](crate::Replica::table_bytes) returns the
    /// current size.
    pub fn max_table_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// Removes a record from the state within a second after its expiry **by this machine's clock**, also
    /// while the server is away. A record that has already expired when it arrives is never shown. Without
    /// this setting **a replica that is cut off from its server continues to show records that have
    /// expired**, because expiry is a transaction of the server.
    ///
    /// Use it where an expired record must not count (a session, a grant, a lock), and keep the clocks of
    /// both machines in step: a clock that is ahead hides records early. A hidden record stays hidden if
    /// the clock is set back. Apart from expired records, readers see states of the table.
    ///
    /// A state that keeps whole records ([`RecordSet`](crate::RecordSet)) can call
    /// [`Record::is_expired`](crate::Record::is_expired) at the moment of use instead. The setting takes
    /// about 150 bytes of memory for each record that has an expiry.
    pub fn hide_expired(mut self, hide: bool) -> Self {
        self.options.hide_expired = hide;
        self
    }
}
