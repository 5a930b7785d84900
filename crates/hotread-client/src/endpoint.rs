//! The server that a client speaks to, and how: what its calls and replicas share.

use crate::address::Address;
use crate::cache::Cache;
use crate::connect::Requests;
use crate::connection::OnConnection;
use crate::credentials::Credentials;
use std::fmt;
use std::time::Duration;

/// A server, with the settings under which it is spoken to. All clones of a client share one.
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) credentials: Credentials,
    pub(crate) settings: Settings,
    pub(crate) cache: Option<Cache>,
    pub(crate) http: Requests,
}

/// What is said when a client is made.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) ping_every: Duration,
    /// Longest time in which nothing of a call moves.
    pub(crate) max_silence: Duration,
    /// Longest time until a table is followed; `None`: as long as it takes.
    pub(crate) start_within: Option<Duration>,
    /// Tables and tokens that do not exist are waited for.
    pub(crate) wait_for_tables: bool,
    pub(crate) on_connection: Option<OnConnection>,
}

/// Without the token.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
