//! State shared by all requests and sessions of a server.

use crate::access::Allowed;
use crate::caller::Caller;
use crate::error::Failure;
use crate::fair::Fair;
use crate::fanout::Fanouts;
use crate::files;
use crate::limits::Budgets;
use crate::log::Lines;
use crate::metrics::Metrics;
use crate::options::{Options, OptionsError, Reloaded};
use crate::rate::Limiter;
use crate::registry::Registry;
use crate::tls::Current;
use crate::work::{Turns, Unit};
use bytes::Bytes;
use dashmap::DashSet;
use hotread_proto::TableName;
use hotread_store::{Budget, Store, TokenInfo};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Maximum number of snapshots sent at a time; further sessions wait for a permit. Each takes about two
/// frames of a megabyte, and each table with a snapshot has a cache of parts.
const MAX_SNAPSHOTS: usize = 32;
/// Maximum number of snapshots of one caller: three callers that read nothing leave permits to a fourth.
const MAX_SNAPSHOTS_OF_CALLER: usize = 8;

/// Maximum number of sessions and streams that hold a piece of the history at a time; further ones wait. Four
/// for each caller.
const MAX_READERS: usize = 16;
const MAX_READERS_OF_CALLER: usize = 4;

/// Time within which clients are asked to reconnect, once the server was told to stop.
pub(crate) type Drain = Option<Duration>;

/// Generation of the tokens, and the tokens of that generation by their ids.
type KnownTokens = (u64, HashMap<String, TokenInfo>);

/// Settings that may change while the server runs.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) allowed: Allowed,
}

impl Settings {
    fn new(options: Options, has_tls: bool) -> Self {
        let allowed = Allowed::new(&options.allowed_hosts, &options.allowed_origins, has_tls);
        Self { options, allowed }
    }
}

/// State shared by all requests and sessions.
pub(crate) struct AppState {
    pub(crate) store: Store,
    settings: RwLock<Arc<Settings>>,
    /// Certificate in use; `None`: without TLS.
    pub(crate) tls: Option<Arc<Current>>,
    /// Body of `/v1/openapi.json`.
    pub(crate) description: Bytes,
    pub(crate) metrics: Metrics,
    /// Present sync sessions.
    pub(crate) sessions: Arc<Registry>,
    /// Tables that are followed.
    pub(crate) tables: Fanouts,
    /// Permits to load a table.
    pub(crate) snapshots: Arc<Fair>,
    /// `Some` once the server was told to stop. An error of the channel means the same.
    pub(crate) shutdown: watch::Receiver<Drain>,
    /// `true` once the drain time is over: work that still runs is cancelled.
    pub(crate) ended: watch::Sender<bool>,
    /// Changes when tokens were created or revoked through this server. Other processes may do that, too,
    /// so [`Store::token_generation`] has to be checked from time to time.
    pub(crate) tokens: watch::Sender<u64>,
    /// Tokens of a known generation, kept because thousands of sessions ask when the tokens change.
    known_tokens: Mutex<Option<KnownTokens>>,
    pub(crate) limiter: Limiter,
    pub(crate) budgets: Arc<Budgets>,
    /// Permits for connections, each held while its socket exists.
    pub(crate) places: Arc<Fair>,
    /// Permits for streams of server-sent events.
    pub(crate) streams: Arc<Fair>,
    pub(crate) turns: Turns,
    /// Permits for a piece of a table's history.
    pub(crate) history: Arc<Fair>,
    /// Generation of the tokens at the start, if there were none: while it is current, none was created.
    open_at: Option<u64>,
    pub(crate) lines: Lines,
    /// Tables whose keys are derived, if they are sealed, and whose values are checked quickly.
    pub(crate) warm: DashSet<TableName>,
}

/// Cancels work whose caller is gone.
struct Abandoned(Budget);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl AppState {
    pub(crate) fn new(
        store: Store,
        options: Options,
        tls: Option<Arc<Current>>,
        description: Bytes,
        metrics: Metrics,
        shutdown: watch::Receiver<Drain>,
    ) -> Self {
        // The generation is read first: a token created afterwards changes it.
        let generation = store.token_generation();
        let open_at = (!store.has_tokens()).then_some(generation);
        let streams = options.max_event_streams;
        Self {
            open_at,
            description,
            metrics,
            sessions: Arc::default(),
            tables: Fanouts::default(),
            snapshots: Fair::new(MAX_SNAPSHOTS, MAX_SNAPSHOTS_OF_CALLER),
            shutdown,
            ended: watch::Sender::new(false),
            tokens: watch::Sender::new(generation),
            known_tokens: Mutex::default(),
            history: Fair::new(MAX_READERS, MAX_READERS_OF_CALLER),
            limiter: Limiter::new(options.rate_per_second, options.rate_burst),
            budgets: Budgets::new(options.max_buffered_bytes),
            places: Fair::new(options.max_connections, options.max_connections_per_peer),
            streams: Fair::new(streams, streams.div_ceil(2)),
            turns: Turns::new(),
            lines: Lines::default(),
            warm: DashSet::new(),
            store,
            settings: RwLock::new(Arc::new(Settings::new(options, tls.is_some()))),
            tls,
        }
    }

    /// Returns the current settings.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        // The settings are replaced as a whole.
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies the options that a running server can change: see
    /// [`ServerHandle::reload`](crate::ServerHandle::reload).
    pub(crate) fn reload(&self, mut new: Options) -> Result<Reloaded, OptionsError> {
        new.max_connections = files::fitting(new.max_connections);
        let settings = self.settings.write();
        let mut settings = settings.unwrap_or_else(PoisonError::into_inner);
        let mut options = settings.options.clone();
        let reloaded = options.reload(&new)?;
        self.limiter
            .set(options.rate_per_second, options.rate_burst);
        *settings = Arc::new(Settings::new(options, self.tls.is_some()));
        Ok(reloaded)
    }

    /// Returns an error once the server was told to stop, or is gone.
    pub(crate) fn check_running(&self) -> Result<(), Failure> {
        let is_running = self.shutdown.borrow().is_none() && self.shutdown.has_changed().is_ok();
        is_running.then_some(()).ok_or_else(Failure::closing)
    }

    /// Returns `true` if programs of this machine are served without a token: until the first token is
    /// created. A server that had tokens remains closed when the last one is revoked.
    pub(crate) fn is_open(&self) -> bool {
        // A new token exists before the generation changes.
        !self.store.has_tokens() && self.open_at == Some(self.store.token_generation())
    }

    /// Checks again whether a caller still has its rights, for work that continues after its request. Looks
    /// the token up if the store's [`token_generation`](Store::token_generation) has changed since the last
    /// check, in `checked`. No I/O.
    pub(crate) fn is_still(&self, caller: &Caller, checked: &mut Option<u64>) -> bool {
        // Read before the tokens, so that the kept ones are at least as new as their number.
        let now = self.store.token_generation();
        if checked.replace(now) == Some(now) {
            return true;
        }
        let Some(token) = &caller.token else {
            return self.is_open();
        };
        let known = self.known_tokens.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(at, _)| *at != now) {
            let Ok(tokens) = self.store.tokens() else {
                return false;
            };
            let tokens = tokens.into_iter().map(|token| (token.id.clone(), token));
            *known = Some((now, tokens.collect()));
        }
        // Tokens never change; they are only created and revoked.
        let known = known.as_ref();
        known.is_some_and(|(_, tokens)| tokens.get(&token.id) == Some(&**token))
    }

    /// Tells long-lived work that tokens have changed, so that it checks its caller again.
    pub(crate) fn tokens_changed(&self) {
        self.tokens.send_replace(self.store.token_generation());
    }

    /// Runs a blocking unit of work on a thread for that, once it has a permit. The store passed to it has
    /// a budget, which ends when the unit's time is over, when this future is dropped, and when the server
    /// ends.
    ///
    /// # Errors
    /// If too many units wait already, or the work panicked.
    pub(crate) async fn blocking<R: Send + 'static>(
        &self,
        unit: Unit,
        work: impl FnOnce(&Store) -> R + Send + 'static,
    ) -> Result<R, Failure> {
        let turn = self.turns.next(&unit).await?;
        let budget = unit.limit.map_or_else(Budget::unlimited, Budget::lasting);
        let store = self.store.within(&budget);
        let mut ended = self.ended.subscribe();
        let abandoned = Abandoned(budget);
        let mut done = tokio::task::spawn_blocking(move || {
            // Also held if the caller is gone: the thread is busy all the same.
            let _turn = turn;
            work(&store)
        });
        let done = tokio::select! {
            biased;
            done = &mut done => done,
            // The drain time is over; or, with an error, the server is gone.
            () = async { _ = ended.wait_for(|ended| *ended).await } => {
                abandoned.0.cancel();
                done.await
            }
        };
        done.map_err(|error| {
            if error.is_panic() {
                tracing::error!("a call to the store panicked");
                Failure::internal()
            } else {
                Failure::closing()
            }
        })
    }
}

/// Waits until the server is told to stop, or is gone.
pub(crate) async fn stopping(shutdown: &mut watch::Receiver<Drain>) -> Duration {
    let drain = shutdown.wait_for(Option::is_some).await;
    drain.map_or(None, |drain| *drain).unwrap_or_default()
}
