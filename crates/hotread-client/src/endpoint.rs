//! The server's address and the client's settings, shared by its calls and replicas.

use crate::address::Address;
use crate::cache::Cache;
use crate::connect::{Connector, Requests};
use crate::connection::OnConnection;
use crate::credentials::Credentials;
use std::fmt;
use std::time::Duration;

/// A server, with the settings of its client. All clones of a client share one.
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) credentials: Credentials,
    pub(crate) settings: Settings,
    pub(crate) cache: Option<Cache>,
    pub(crate) connector: Connector,
    pub(crate) http: Requests,
}

/// Settings from the client's builder.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) ping_every: Duration,
    /// Longest time in which nothing of a call moves.
    pub(crate) max_silence: Duration,
    /// Longest time until a table is followed; `None`: unlimited.
    pub(crate) start_within: Option<Duration>,
    /// `true` to wait for tables and tokens that do not exist yet.
    pub(crate) wait_for_tables: bool,
    pub(crate) on_connection: Option<OnConnection>,
}

/// Omits the token.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
