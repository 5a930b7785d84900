//! What all requests and sessions of a server share.

use crate::access::Allowed;
use crate::caller::Caller;
use crate::error::Failure;
use crate::fair::Fair;
use crate::files;
use crate::history;
use crate::limits::{Budgets, Places};
use crate::log::Lines;
use crate::metrics::Metrics;
use crate::options::{Options, OptionsError, Reloaded};
use crate::rate::Limiter;
use crate::registry::Registry;
use crate::work::{Turns, Unit};
use dashmap::DashSet;
use hotread_proto::{Code, TableName};
use hotread_store::{Budget, Store, TokenInfo};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// The server was told to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// Within which time clients are asked to come back.
    pub(crate) spread: Duration,
}

/// The generation at which they were looked up, and the tokens by their ids.
type KnownTokens = (u64, Arc<HashMap<String, TokenInfo>>);

/// What may change while the server runs.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) allowed: Allowed,
}

impl Settings {
    fn new(options: Options) -> Self {
        let allowed = Allowed::new(&options.allowed_hosts, &options.allowed_origins);
        Self { options, allowed }
    }
}

/// What all requests and sessions share.
pub(crate) struct AppState {
    pub(crate) store: Store,
    settings: RwLock<Arc<Settings>>,
    pub(crate) metrics: Arc<Metrics>,
    /// The sync sessions that there are.
    pub(crate) sessions: Arc<Registry>,
    /// `Some` once the server was told to stop. An error of the channel means the same.
    pub(crate) shutdown: watch::Receiver<Option<Drain>>,
    /// `true` once what was begun has had its time: what still runs is cancelled.
    pub(crate) ended: watch::Sender<bool>,
    /// Moves when tokens were made or revoked through this server; others may do that, too, so that
    /// [`Store::token_generation`] is to be looked at now and then.
    pub(crate) tokens: watch::Sender<u64>,
    /// The tokens that there were at some generation: thousands of sessions ask when they change.
    known_tokens: Mutex<Option<KnownTokens>>,
    pub(crate) limiter: Limiter,
    pub(crate) budgets: Budgets,
    pub(crate) places: Arc<Places>,
    /// Turns at having a stream of server-sent events.
    pub(crate) streams: Arc<Fair>,
    pub(crate) turns: Arc<Turns>,
    /// Turns at holding a piece of a table's history.
    pub(crate) history: Arc<Fair>,
    /// The generation of the tokens at the start, if there was none. As long as it is the present one,
    /// there was no token at any time.
    open_at: Option<u64>,
    pub(crate) lines: Lines,
    /// Tables that were written to through this server, whose keys are known therefore if they are
    /// sealed, and whose values are checked quickly.
    pub(crate) warm: DashSet<TableName>,
}

impl AppState {
    pub(crate) fn new(
        store: Store,
        options: Options,
        metrics: Metrics,
        shutdown: watch::Receiver<Option<Drain>>,
    ) -> Self {
        let sessions = Arc::new(Registry::default());
        let places = Places::new(options.max_connections, options.max_connections_per_peer);
        let (places, turns) = (Arc::new(places), Arc::new(Turns::new()));
        // The generation first: a token that is made meanwhile has moved it.
        let generation = store.token_generation();
        let open_at = (!store.has_tokens()).then_some(generation);
        Self {
            open_at,
            metrics: Arc::new(metrics),
            sessions,
            shutdown,
            ended: watch::Sender::new(false),
            tokens: watch::Sender::new(generation),
            known_tokens: Mutex::new(None),
            history: history::readers(),
            limiter: Limiter::new(options.rate_per_second, options.rate_burst),
            budgets: Budgets::new(options.max_buffered_bytes),
            places,
            streams: Fair::new(
                options.max_event_streams,
                options.max_event_streams.div_ceil(2),
            ),
            turns,
            lines: Lines::default(),
            warm: DashSet::new(),
            store,
            settings: RwLock::new(Arc::new(Settings::new(options))),
        }
    }

    /// The settings at present.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        // They are replaced as a whole.
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies other options as far as a running server can: see
    /// [`ServerHandle::reload`](crate::ServerHandle::reload).
    pub(crate) fn reload(&self, mut new: Options) -> Result<Reloaded, OptionsError> {
        new.max_connections = files::fitting(new.max_connections);
        let settings = self.settings.write();
        let mut settings = settings.unwrap_or_else(PoisonError::into_inner);
        let mut options = settings.options.clone();
        let reloaded = options.reload(&new)?;
        self.places
            .resize(options.max_connections, options.max_connections_per_peer);
        self.limiter
            .set(options.rate_per_second, options.rate_burst);
        *settings = Arc::new(Settings::new(options));
        Ok(reloaded)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shutdown.borrow().is_some() || self.shutdown.has_changed().is_err()
    }

    /// Are programs of this machine served without a token? Until there is one for the first time: a
    /// server that had tokens does not open its doors when the last one is revoked.
    pub(crate) fn is_open(&self) -> bool {
        // A new token is there before the generation moves.
        !self.store.has_tokens() && self.open_at == Some(self.store.token_generation())
    }

    /// For what goes on after its request: may the caller still do what it does? Asked when the
    /// store's [`token_generation`](Store::token_generation) has moved. No I/O.
    pub(crate) fn is_still(&self, caller: &Caller) -> bool {
        if caller.is_anonymous() {
            return self.is_open();
        }
        // Before the tokens: what is kept is at least as new as its number says.
        let now = self.store.token_generation();
        let known = self.known_tokens.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(at, _)| *at != now) {
            let Ok(tokens) = self.store.tokens() else {
                return false;
            };
            let tokens = tokens.into_iter().map(|token| (token.id.clone(), token));
            *known = Some((now, Arc::new(tokens.collect())));
        }
        let tokens = known.as_ref().map(|(_, tokens)| tokens.clone());
        drop(known);
        tokens.is_some_and(|tokens| caller.is_among(&tokens))
    }

    /// Has those look again who go on after their request: tokens have changed.
    pub(crate) fn tokens_changed(&self) {
        self.tokens.send_replace(self.store.token_generation());
    }
}

/// Cancels work whose caller is gone.
struct Abandoned(Budget);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl AppState {
    /// Does a unit of work that blocks, on a thread for that, when it is its turn. The store that it is
    /// given keeps to its budget, which is spent when its time is over, when this future is dropped, and
    /// when the server ends.
    ///
    /// # Errors
    /// If too much is waiting already, or it panicked.
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
            // Also kept if the caller is gone: the thread is busy all the same.
            let _turn = turn;
            work(&store)
        });
        let done = tokio::select! {
            biased;
            done = &mut done => done,
            () = end(&mut ended) => {
                abandoned.0.cancel();
                done.await
            }
        };
        done.map_err(|error| {
            if error.is_panic() {
                tracing::error!("a call to the store panicked");
                Failure::internal()
            } else {
                Failure::new(Code::Closed, "the server is shutting down")
            }
        })
    }
}

/// Waits until what was begun has had its time to come to its end.
async fn end(ended: &mut watch::Receiver<bool>) {
    // An error: the server is gone.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Waits until the server is told to stop.
pub(crate) async fn stopping(shutdown: &mut watch::Receiver<Option<Drain>>) -> Option<Drain> {
    shutdown
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|drain| *drain)
}
