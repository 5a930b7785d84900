//! The builder of a client.

use super::Client;
use crate::address::Address;
use crate::cache::{Cache, SAVE_EVERY};
use crate::connection::ConnectionEvent;
use crate::credentials::{Credentials, Source};
use crate::endpoint::{Endpoint, Settings};
use crate::error::Error;
use crate::servers::Servers;
use crate::tls::{Files, Tls};
use hotread_proto::TableName;
use hotread_proto::session::is_client_name;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Default time between pings, with which replicas determine their age. Each costs one small frame each
/// way.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between pings; shorter ones would cost the server more than they tell.
const MIN_PING_EVERY: Duration = Duration::from_millis(10);

/// Default of the longest time in which nothing of a call moves: enough for a slow call, and for a link
/// that loses several packets in a row.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Settings of a new [`Client`].
#[derive(Clone)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct ClientBuilder {
    url: String,
    token: Source,
    tls: Files,
    settings: Settings,
    cache_dir: Option<PathBuf>,
    save_every: Duration,
}

impl ClientBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: Source::Nowhere,
            tls: Files::default(),
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

    /// Sets the secret of a token. It is sent with each request, and never shown.
    pub fn token(mut self, secret: impl Into<String>) -> Self {
        self.token = Source::Fixed(secret.into());
        self
    }

    /// Sets the file that contains the secret of a token. The client reads it again when the server refuses
    /// the token.
    ///
    /// A token can thus be replaced while the program runs: create a new one, write it to the file, revoke
    /// the old one. Replicas and event streams continue with the new token, and refused calls are repeated
    /// with it once. White space around the secret is ignored.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Source::File(path.into());
        self
    }

    /// Sets a function that returns the secret of a token. It is called before the first request, and again
    /// when the server refuses the token, as the file of [`token_file`](Self::token_file) is. Requests wait
    /// for it on the runtime's threads.
    pub fn token_provider(
        mut self,
        provider: impl Fn() -> io::Result<String> + Send + Sync + 'static,
    ) -> Self {
        self.token = Source::Provider(Arc::new(provider));
        self
    }

    /// Sets the file of the authorities that may have issued the server's certificate, for an address with
    /// `https` or `wss`: one or more certificates in PEM. They replace the system's authorities, which are used
    /// by default.
    ///
    /// This file, and those of [`tls_identity`](Self::tls_identity), have at most 1 MiB each. They are read when the
    /// client is built, and again for the next connection after they have changed. If they cannot be used then,
    /// a warning is logged, and what was read before stays in use.
    ///
    /// The server's certificate is always verified: its issuer, its validity, and that it has the name or the IP
    /// address of the client's address. [`TlsError`](crate::TlsError) lists what can be wrong.
    pub fn tls_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(path.into());
        self
    }

    /// Sets the files of the client's own certificate and its private key, in PEM, for servers that require
    /// one. The certificate's file also has the certificates between it and the authority, if there are any. The
    /// key has no passphrase.
    pub fn tls_identity(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets the name that the server shows for this client's sessions: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Sets the time between pings, and with it how precisely replicas know their age. The default is 1 s,
    /// the minimum 10 ms. Replicas ping at least once in each of the server's heartbeats.
    pub fn ping_every(mut self, time: Duration) -> Self {
        self.settings.ping_every = time.max(MIN_PING_EVERY);
        self
    }

    /// Sets the longest time in which nothing of a call moves. The default is 30 s. After that, the call is
    /// repeated if that is harmless, at the next server if there are several, and finally fails with [`Error::Timeout`](crate::Error::Timeout).
    ///
    /// A call may take longer while its bytes move, in either direction, at 4 KiB a second on average. A
    /// request has an additional allowance for bytes that may be in flight unseen, at most 160 s, and one
    /// second for each MiB that the server has to process.
    pub fn max_silence(mut self, time: Duration) -> Self {
        self.settings.max_silence = time;
        self
    }

    /// Sets the longest time for [`Client::replica`] and [`Client::events`] to begin to follow a table;
    /// after that, they return [`Error::NotInTime`](crate::Error::NotInTime). By default they wait for their
    /// server without limit.
    pub fn start_within(mut self, time: Duration) -> Self {
        self.settings.start_within = Some(time);
        self
    }

    /// Lets [`Client::replica`] and [`Client::events`] also wait for a table that does not exist yet, and
    /// for a token that the server does not know yet or that may not read the table. By default each of
    /// these is an immediate error.
    pub fn wait_for_tables(mut self, wait: bool) -> Self {
        self.settings.wait_for_tables = wait;
        self
    }

    /// Calls `callback` when the connection over which a table is followed opens or ends, even while
    /// [`Client::replica`] or [`Client::events`] still waits for the first one. The task that follows the
    /// table calls it, so it must not block. The same events are logged with `tracing`.
    pub fn on_connection(
        mut self,
        callback: impl Fn(&TableName, &ConnectionEvent) + Send + Sync + 'static,
    ) -> Self {
        self.settings.on_connection = Some(Arc::new(callback));
        self
    }

    /// Keeps copies of the followed tables in this directory. A replica can then start when the server
    /// cannot be reached, with its last state and the status [`Offline`](crate::Status::Offline), and
    /// resumes from there when the server is back. Sealed tables are not kept, and neither are those with
    /// more than 4 GiB of keys and values.
    ///
    /// A copy is written to a new file, made durable, and renamed: at most once in
    /// [`save_every`](Self::save_every), when the replica ends, and by
    /// [`Replica::save`](crate::Replica::save). Each replica has a thread for it, and keeps the records as
    /// received in memory. A copy is used only if all its hashes agree, and if it is of this table of this
    /// server; otherwise it is renamed to `….set-aside` and logged. Several processes may use the same
    /// directory. Directory and files are accessible to their owner only (mode 700 and 600).
    pub fn cache_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Sets the least time between two copies of the same table. The default is 10 s. Writing takes at most
    /// a twentieth of the time in any case. The copy of a killed process may lack the
    /// changes of the last `time`.
    pub fn save_every(mut self, time: Duration) -> Self {
        self.save_every = time;
        self
    }

    /// Creates the client. It reads the files of TLS, and opens no connection yet: the first call notices if the
    /// server is away; replicas and event streams wait for it.
    ///
    /// # Errors
    /// If the address, the token or the name is invalid, or a file of TLS is unusable.
    pub fn build(self) -> Result<Client, Error> {
        let addresses = Address::parse_list(&self.url)?;
        // All of them ask for TLS, or none does.
        let address = &addresses[0];
        let name = self.settings.name.as_deref();
        if name.is_some_and(|name| !is_client_name(name)) {
            let message = "a client's name has 1 to 64 of the characters A-Z a-z 0-9 . _ -";
            return Err(Error::BadUrl(message.to_owned()));
        }
        // Falling back to plaintext would show the token to all machines on the way.
        if !address.is_tls && self.tls.are_given() {
            let message = "files of TLS are given (`tls_ca`, `tls_identity`), but the server's address does not \
                           ask for TLS; give it as https://host:port";
            return Err(Error::BadTls(message.to_owned()));
        }
        let tls = match address.is_tls {
            true => Some(Tls::new(&address.host, self.tls)?),
            false => None,
        };
        let every = self.save_every;
        Ok(Client(Arc::new(Endpoint {
            credentials: Credentials::new(self.token)?,
            settings: self.settings,
            cache: self.cache_dir.map(|dir| Cache { dir, every }),
            servers: Servers::new(addresses, tls.as_ref())?,
        })))
    }
}

/// Omits the token.
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
