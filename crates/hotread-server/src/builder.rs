//! How a server is made.

use crate::Server;
use crate::clock::millis;
use crate::options::{Options, OptionsError};
use hotread_store::Store;
use std::time::Duration;

/// How a server is made: the options, one call for each, and what they are unless they are set.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder {
    store: Store,
    options: Options,
}

impl ServerBuilder {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            options: Options::default(),
        }
    }

    /// All options at once, as they were read from a file.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// What requests may name as `Host` while there are no tokens, besides `localhost` and loopback
    /// addresses: see [`Options::allowed_hosts`].
    pub fn allowed_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.allowed_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Whose web pages may use the server and read its answers: see [`Options::allowed_origins`].
    pub fn allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.allowed_origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Whether others than this machine may connect without encryption. No, unless this says so.
    pub fn allow_plaintext(mut self, allow: bool) -> Self {
        self.options.allow_plaintext = allow;
        self
    }

    /// How often a silent session shows that it is alive: 2 s unless this says otherwise.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.options.heartbeat_ms = millis(heartbeat);
        self
    }

    /// Most connections at a time, and most of one address: 4,096 and 2,048.
    pub fn max_connections(mut self, max: usize, max_per_peer: usize) -> Self {
        self.options.max_connections = max;
        self.options.max_connections_per_peer = max_per_peer;
        self
    }

    /// Requests that one token or one address may make per second on average, and at once: 20,000.
    pub fn rate(mut self, per_second: u32, burst: u32) -> Self {
        self.options.rate_per_second = per_second;
        self.options.rate_burst = burst;
        self
    }

    /// How long requests and sessions may go on once the server was told to stop: 10 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.options.drain_ms = millis(drain);
        self
    }

    /// Within which time clients are asked to come back when the server stops: 2 s.
    pub fn goodbye_spread(mut self, spread: Duration) -> Self {
        self.options.goodbye_spread_ms = millis(spread);
        self
    }

    /// A server, which does nothing until [`Server::serve`].
    ///
    /// # Errors
    /// If an option is out of range, as [`Options::check`] says, or the store only reads.
    pub fn build(self) -> Result<Server, OptionsError> {
        self.options.check()?;
        if self.store.is_read_only() {
            return Err(OptionsError::ReadOnlyStore);
        }
        Ok(Server::new(self.store, self.options))
    }
}
