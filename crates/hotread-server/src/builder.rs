//! The builder of a server.

use crate::Server;
use crate::clock::millis;
use crate::options::{Options, OptionsError};
use crate::tls::{Current, Tls};
use hotread_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// Builder of a [`Server`]: its options, one method for each of the common ones.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder {
    store: Store,
    options: Options,
    tls: Option<Tls>,
}

impl ServerBuilder {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            options: Options::default(),
            tls: None,
        }
    }

    /// Serves TLS, and nothing else, with the certificate in these files. Default: no encryption.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets all options at once, for example as read from a file.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets the names that requests may have as `Host` while there are no tokens, in addition to
    /// `localhost` and loopback addresses: see [`Options::allowed_hosts`].
    pub fn allowed_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.allowed_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the origins whose web pages may use the server and read its answers: see
    /// [`Options::allowed_origins`].
    pub fn allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.allowed_origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Allows unencrypted connections from other machines. Default: `false`.
    pub fn allow_plaintext(mut self, allow: bool) -> Self {
        self.options.allow_plaintext = allow;
        self
    }

    /// Sets the interval at which a silent session shows that it is alive. Default: 2 s.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.options.heartbeat_ms = millis(heartbeat);
        self
    }

    /// Sets the most connections at a time, and the most of one address. Default: 4,096 and 2,048.
    pub fn max_connections(mut self, max: usize, max_per_peer: usize) -> Self {
        self.options.max_connections = max;
        self.options.max_connections_per_peer = max_per_peer;
        self
    }

    /// Sets the requests that one token or one address may make per second on average, and at once.
    /// Default: 20,000 each.
    pub fn rate(mut self, per_second: u32, burst: u32) -> Self {
        self.options.rate_per_second = per_second;
        self.options.rate_burst = burst;
        self
    }

    /// Sets the time for which requests and sessions may continue once the server was told to stop.
    /// Default: 10 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.options.drain_ms = millis(drain);
        self
    }

    /// Sets the time within which clients are asked to reconnect when the server stops. Default: 2 s.
    pub fn goodbye_spread(mut self, spread: Duration) -> Self {
        self.options.goodbye_spread_ms = millis(spread);
        self
    }

    /// Returns a server, which does nothing until [`Server::serve`].
    ///
    /// # Errors
    /// If an option is out of range, see [`Options::check`], the store is read-only, or a file of [`Tls`]
    /// cannot be used.
    pub fn build(self) -> Result<Server, OptionsError> {
        self.options.check()?;
        if self.store.is_read_only() {
            return Err(OptionsError::ReadOnlyStore);
        }
        let tls = self.tls.map(Current::new).transpose()?;
        Ok(Server::new(self.store, self.options, tls.map(Arc::new)))
    }
}
