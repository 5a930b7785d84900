//! How a client is made.

use super::Client;
use crate::address::Address;
use crate::cache::{Cache, SAVE_EVERY};
use crate::connect::requests;
use crate::connection::ConnectionEvent;
use crate::credentials::{Credentials, Source};
use crate::endpoint::{Endpoint, Settings};
use crate::error::Error;
use hotread_proto::TableName;
use hotread_proto::session::is_client_name;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often replicas ask how old they are, unless told otherwise. One small frame each way.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between pings: more often would cost the server more than it tells.
const MIN_PING_EVERY: Duration = Duration::from_millis(10);

/// Longest time in which nothing of a call moves, unless told otherwise: what a server may take for one
/// call, and a link for one lost packet after another.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Settings of a new [`Client`].
#[derive(Clone)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct ClientBuilder {
    url: String,
    token: Source,
    settings: Settings,
    cache_dir: Option<PathBuf>,
    save_every: Duration,
}

impl ClientBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: Source::Nowhere,
            settings: Settings {
                name: None,
                ping_every: PING_EVERY,
                max_silence: MAX_SILENCE,
                start_within: None,
                wait_for_tables: false,
                on_connection: None,
            },
            cache_dir: None,
            save_every: SAVE_EVERY,
        }
    }

    /// The secret of a token. It is sent with each request, and never shown.
    pub fn token(mut self, secret: impl Into<String>) -> Self {
        self.token = Source::Fixed(secret.into());
        self
    }

    /// The file that has the secret of a token in it, read again when the server refuses the token.
    ///
    /// So tokens are changed while the program runs: make a new one, write it to the file, revoke the
    /// old one. Replicas and streams of events go on with the new one, and calls are made again with
    /// it, once. White space around the secret does not count.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Source::File(path.into());
        self
    }

    /// Gives the secret of a token, as [`token_file`](Self::token_file) does: asked before the first request,
    /// and again when the server refuses it. Requests wait for it on the runtime's threads.
    pub fn token_provider(
        mut self,
        provider: impl Fn() -> io::Result<String> + Send + Sync + 'static,
    ) -> Self {
        self.token = Source::Provider(Arc::new(provider));
        self
    }

    /// What the server shows of this client's sessions: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// How often replicas ping: how exactly they know their age. The default is a second, the least
    /// 10 ms. They ping at least once in each of the server's heartbeats.
    pub fn ping_every(mut self, time: Duration) -> Self {
        self.settings.ping_every = time.max(MIN_PING_EVERY);
        self
    }

    /// Longest time in which nothing of a call moves: 30 s unless it is said here. After it the call is
    /// repeated if that is harmless, and is [`Error::Timeout`](crate::Error::Timeout) in the end.
    ///
    /// A call may take longer as long as its bytes move, in either direction, at 4 KiB a second on average.
    /// Of a request so much is added for what may be on its way unseen, at most 160 s, and a second for
    /// each MiB that the server has to do with.
    pub fn max_silence(mut self, time: Duration) -> Self {
        self.settings.max_silence = time;
        self
    }

    /// Longest time in which [`Client::replica`] and [`Client::events`] begin to follow a table; after it
    /// they return [`Error::NotInTime`](crate::Error::NotInTime). Without it they wait for their server as
    /// long as it takes.
    pub fn start_within(mut self, time: Duration) -> Self {
        self.settings.start_within = Some(time);
        self
    }

    /// Lets [`Client::replica`] and [`Client::events`] also wait for a table that does not exist yet, and
    /// for a token that the server does not know yet or that may not read the table. Otherwise each of
    /// these is an error at once.
    pub fn wait_for_tables(mut self, wait: bool) -> Self {
        self.settings.wait_for_tables = wait;
        self
    }

    /// Calls this when the connection over which a table is followed comes or goes, also while
    /// [`Client::replica`] or [`Client::events`] still waits for the first one. Called by the task that
    /// follows the table, so it must not block. The same is logged with `tracing`.
    pub fn on_connection(
        mut self,
        callback: impl Fn(&TableName, &ConnectionEvent) + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_connection = Some(Arc::new(callback));
        self
    }

    /// Keeps copies of the tables that are followed in this directory, so that a replica can start when
    /// the server cannot be reached: with the last state it had, and the status
    /// [`Offline`](crate::Status::Offline). It resumes from there when the server is back. Sealed tables are
    /// not kept, nor those with more than 4 GiB of keys and values.
    ///
    /// A copy is written to a new file, made durable, and renamed: at most
    /// [every so often](Self::save_every), when the replica goes, and by
    /// [`Replica::save`](crate::Replica::save). It takes a thread for each replica, and memory for the
    /// records as they came. A copy is used only if all its hashes agree, and it is of this table of
    /// this server; otherwise it is renamed to `….set-aside` and logged. Several processes may use the
    /// same directory. Directory and files are for their owner alone (mode 700 and 600).
    pub fn cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Least time between two copies of the same table; 10 s unless it is said here. Writing takes
    /// at most a twentieth of the time in any case. Up to so much of what came last is missing from
    /// the copy of a process that was killed.
    pub fn save_every(mut self, time: Duration) -> Self {
        self.save_every = time;
        self
    }

    /// Makes the client. It connects to nothing yet: a server that is away is noticed by the first
    /// call, and waited for by replicas and streams of events.
    ///
    /// # Errors
    /// If the address, the token or the name cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let address = Address::parse(&self.url)?;
        let name = self.settings.name.as_deref();
        if name.is_some_and(|name| !is_client_name(name)) {
            let message = "a client's name has 1 to 64 of the characters A-Z a-z 0-9 . _ -";
            return Err(Error::BadUrl(message.to_owned()));
        }
        let every = self.save_every;
        Ok(Client(Arc::new(Endpoint {
            credentials: Credentials::new(self.token)?,
            settings: self.settings,
            cache: self.cache_dir.map(|dir| Cache { dir, every }),
            http: requests(address.target.clone()),
            address,
        })))
    }
}

/// Without the token.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &self.url)
            .field("name", &self.settings.name)
            .field("ping_every", &self.settings.ping_every)
            .field("cache_dir", &self.cache_dir)
            .finish_non_exhaustive()
    }
}
