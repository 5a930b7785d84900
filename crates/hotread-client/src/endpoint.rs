//! The servers of a client and its settings, shared by its calls and replicas.

use crate::cache::Cache;
use crate::connection::OnConnection;
use crate::credentials::Credentials;
use crate::servers::Servers;
use std::fmt;
use std::time::Duration;

/// The servers of a client, with its settings. All clones of a client share one.
pub(crate) struct Endpoint {
    pub(crate) servers: Servers,
    pub(crate) credentials: Credentials,
    pub(crate) settings: Settings,
    pub(crate) cache: Option<Cache>,
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
            .field("servers", &self.servers)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
