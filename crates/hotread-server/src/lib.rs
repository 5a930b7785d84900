//! Serves a [`Store`] over HTTP and WebSocket. The command `hotread serve` runs this library.
//!
//! ```no_run
//! use hotread_server::{Server, Store};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open("flags.db")?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7400").await?;
//! let stop = async {
//!     let _ = tokio::signal::ctrl_c().await;
//! };
//! Server::builder(store).build()?.serve(listener, stop).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//!
//! | | |
//! |---|---|
//! | Memory | some 20 KiB for an idle connection, 30 KiB with TLS; for requests, answers, streams and sessions together at most [`Options::max_buffered_bytes`], half of it for one caller |
//! | Clients that are behind | at most 32 at a time load a table, and at most 16 hold a piece of its history, of a MiB or one change; the others wait for a permit. A quarter of these is for one caller |
//! | Blocking calls | at most 16 at a time: 6 of one caller, 6 for one table, 4 of one caller for one table. Reads take at most [`Options::max_read_ms`]. All end with their caller, and with the server |
//! | Threads | those of the caller's tokio runtime; some 24 of its threads for blocking calls, of which one is kept. If the system refuses further threads, calls wait for the existing ones |
//! | A change with many followers | encoded once for all sync sessions of its table |
//! | Live tables | a table that followers load is in memory, see [`Store::live`], until half a minute after the last one. Its recent changes take up to 24 MiB, and parts of snapshots 16 MiB while they are sent |
//!
//! # Access
//!
//! Without tokens in the store, only programs on this machine have access, to everything, and requests
//! forwarded by a proxy are refused. With tokens, each caller needs one, in `Authorization: Bearer`. A
//! server that had tokens remains closed when the last one is revoked. `/healthz` and `/readyz` reveal
//! nothing, and answer every request. Beyond loopback the server listens only if there are tokens, and it
//! speaks TLS ([`ServerBuilder::tls`]) or plaintext is allowed. Web pages are kept out by `Origin` and,
//! while there are no tokens, by `Host`; those of [`Options::allowed_origins`] may use the server, and read
//! its answers (CORS).
//!
//! One table has every route with its requirements; `docs/wire.md` specifies the formats, and
//! `/v1/openapi.json` describes the HTTP interface.

#![warn(missing_docs)]

mod access;
mod builder;
mod caller;
mod clock;
mod error;
mod fair;
mod fanout;
mod files;
mod history;
mod http;
mod limits;
mod log;
mod metrics;
mod openapi;
mod options;
mod parts;
mod rate;
mod registry;
mod serve;
mod socket;
mod state;
mod sync;
mod tls;
mod work;

pub use builder::ServerBuilder;
pub use files::raise_file_limit;
pub use hotread_store::Store;
pub use openapi::openapi;
pub use options::{OptionInfo, Options, OptionsError, Reloaded};
pub use serve::ServeError;
pub use tls::{Tls, TlsError};

use metrics::Metrics;
use state::{AppState, Drain};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tls::Current;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Handle that changes the options and the certificate of a running server.
///
/// A handle keeps the store open, as the server does.
#[derive(Clone)]
pub struct ServerHandle(Arc<AppState>);

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// Applies other options to requests and connections from now on. Existing sessions and connections
    /// continue. Options that a running server cannot change keep their values, and are listed in the
    /// result.
    ///
    /// # Errors
    /// If an option is out of range, see [`Options::check`], also in combination with those that are kept;
    /// then nothing is changed.
    pub fn reload(&self, options: Options) -> Result<Reloaded, OptionsError> {
        options.check()?;
        self.0.reload(options)
    }

    /// Reads the files of [`Tls`] again, on this thread, also if they seem unchanged. New connections get
    /// their certificate; existing ones continue. Does nothing on a server without TLS.
    ///
    /// # Errors
    /// If the files cannot be used, or the certificate is not valid at this time; then the one in use stays.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.0.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }
}

/// A server over a store.
pub struct Server {
    state: Arc<AppState>,
    stop: watch::Sender<Drain>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("store", &self.state.store)
            .field("options", &self.state.settings().options)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Returns a builder of a server over a store, which other code may use at the same time.
    pub fn builder(store: Store) -> ServerBuilder {
        ServerBuilder::new(store)
    }

    fn new(store: Store, mut options: Options, tls: Option<Arc<Current>>) -> Self {
        options.max_connections = files::fitting(options.max_connections);
        let stop = watch::Sender::new(None);
        let routes = http::route::ROUTES.iter();
        let metrics = Metrics::new(routes.map(|route| (route.method.as_str(), route.path)));
        let (description, stopped) = (openapi().into(), stop.subscribe());
        let state = AppState::new(store, options, tls, description, metrics, stopped);
        let state = Arc::new(state);
        Self { state, stop }
    }

    /// Checks whether the server may listen at an address, as [`serve`](Self::serve) does.
    ///
    /// # Errors
    /// [`ServeError::OtherMachines`].
    pub fn check_address(&self, address: SocketAddr) -> Result<(), ServeError> {
        serve::check_address(&self.state, address)
    }

    /// Returns a handle that changes options while the server runs.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(self.state.clone())
    }

    /// Accepts connections and serves them, until `shutdown` resolves. Then no more are accepted, sessions
    /// are told to reconnect later, running work is finished, and work that is not finished within
    /// [`Options::drain_ms`] is cut off. A commit that has begun is completed in any case.
    ///
    /// Runs on the caller's tokio runtime, which needs its timers and I/O. If this future is dropped, all
    /// connections are closed immediately.
    ///
    /// # Errors
    /// If the listener can be reached from other machines without tokens, or with neither TLS nor
    /// [`Options::allow_plaintext`]; or if it is not bound.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        serve::serve(self.state, self.stop, listener, shutdown).await
    }
}
