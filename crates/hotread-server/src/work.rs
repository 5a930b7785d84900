//! Units of work: blocking calls on behalf of a caller. Each has a permit, of which every caller and every
//! table has a share, and a budget, which ends with its time, with its caller and with the server. Its
//! memory is counted in [`limits`](crate::limits).

use crate::caller::Who;
use crate::error::Failure;
use crate::fair::{Fair, Shares, Turn};
use hotread_proto::{Code, TableName};
use std::sync::Arc;
use std::time::Duration;

/// Units that run at a time: as many as the store has read connections. More would wait for the cores.
const MAX_RUNNING: usize = 16;
/// Shares of the permits: neither two callers nor two tables take all of them, nor a caller with its
/// busiest table.
const SHARES: Shares = Shares {
    of_caller: 6,
    of_table: 6,
    of_both: 4,
};
/// Units of the server itself that run in addition: probes, which are always answered.
const MAX_OWN: usize = 2;
/// Units that wait, and those of one caller among them.
const MAX_QUEUED: usize = 1_024;
const MAX_QUEUED_OF_CALLER: usize = 256;
/// Longest wait of a unit.
const PATIENCE: Duration = Duration::from_secs(2);

/// A unit of work: its caller, its table, and its time limit.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    who: Who,
    table: Option<TableName>,
    pub(crate) limit: Option<Duration>,
}

impl Unit {
    /// Returns a unit of the server itself, for small work.
    pub(crate) fn own() -> Self {
        Self::of(Who::Server)
    }

    /// Returns a unit of a caller, without a time limit; it still ends when its caller is gone.
    pub(crate) fn of(who: Who) -> Self {
        let (table, limit) = (None, None);
        Self { who, table, limit }
    }

    /// Assigns the unit to a table.
    pub(crate) fn on(mut self, table: &TableName) -> Self {
        self.table = Some(table.clone());
        self
    }

    /// Limits the time of the unit's reads, once it runs.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Permits for blocking calls.
pub(crate) struct Turns {
    running: Arc<Fair>,
    queued: Arc<Fair>,
    own: Arc<Fair>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            running: Fair::with_shares(MAX_RUNNING, SHARES),
            queued: Fair::new(MAX_QUEUED, MAX_QUEUED_OF_CALLER),
            own: Fair::new(MAX_OWN, MAX_OWN),
        }
    }

    /// Waits for a permit, for a limited time.
    pub(crate) async fn next(&self, unit: &Unit) -> Result<Turn, Failure> {
        let message = "the server is busy with too many calls; try again later";
        let busy = || Failure::new(Code::Busy, message);
        let (who, table) = (unit.who, unit.table.as_ref());
        let (turns, queue) = match who {
            Who::Server => (&self.own, None),
            _ => (&self.running, Some(&self.queued)),
        };
        if let Some(turn) = turns.try_next(who, table) {
            return Ok(turn);
        }
        let queued = queue.map(|queue| queue.try_next(who, None).ok_or_else(busy));
        let _queued = queued.transpose()?;
        let turn = tokio::time::timeout(PATIENCE, turns.next(who, table)).await;
        turn.map_err(|_| busy())
    }

    /// Returns the number of calls that run, and of calls that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.running.depth().0, self.queued.depth().0)
    }
}

/// Interval between uses of the runtime's blocking thread, which otherwise ends after 10 s by default.
const KEEP_EVERY: Duration = Duration::from_secs(4);

/// Keeps one of the runtime's blocking threads alive while this future is polled. If the system refuses
/// further threads, work waits for this one; without any, tokio panics.
pub(crate) async fn keep_a_thread() {
    loop {
        // The task cannot panic; without the runtime there is no thread to keep.
        let _ = tokio::task::spawn_blocking(|| ()).await;
        tokio::time::sleep(KEEP_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::options::Options;
    use crate::state::AppState;
    use bytes::Bytes;
    use hotread_store::{StorageError, Store};
    use std::time::Instant;
    use tokio::sync::watch;

    const ONE: Who = Who::Token(1);
    const OTHER: Who = Who::Token(2);
    /// Time after which a test counts as hanging.
    const HANG: Duration = Duration::from_secs(60);

    fn state() -> (tempfile::TempDir, Arc<AppState>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let (_stop, stopped) = watch::channel(None);
        let (options, metrics) = (Options::default(), Metrics::default());
        let state = AppState::new(store, options, None, Bytes::new(), metrics, stopped);
        (dir, Arc::new(state))
    }

    /// Reads until its budget is spent, and returns the resulting error.
    fn read_on(store: &Store) -> StorageError {
        let began = Instant::now();
        while began.elapsed() < HANG {
            if let Err(hotread_store::ReadError::Storage(error)) = store.tables() {
                return error;
            }
        }
        panic!("it hangs");
    }

    #[tokio::test]
    async fn a_panic_of_what_blocks_is_an_answer_and_gives_its_turn_back() {
        let (_dir, state) = state();
        for _ in 0..100 {
            let failed: Result<(), _> = state.blocking(Unit::of(ONE), |_| panic!("of it")).await;
            assert_eq!(failed.unwrap_err().body().code, Code::Internal);
        }
        assert!(state.blocking(Unit::of(ONE), |_| ()).await.is_ok());
        assert_eq!(state.turns.depth(), (0, 0));
    }

    #[tokio::test]
    async fn a_unit_ends_with_its_time() {
        let (_dir, state) = state();
        let unit = Unit::of(ONE).within(Duration::from_millis(20));
        let ended = state.blocking(unit, read_on).await;
        assert_eq!(ended.unwrap(), StorageError::Interrupted);
    }

    #[tokio::test]
    async fn a_unit_ends_with_its_caller() {
        let (_dir, state) = state();
        let (told, ended) = std::sync::mpsc::channel();
        let work = state.blocking(Unit::of(ONE), move |store| told.send(read_on(store)));
        let gone = tokio::time::timeout(Duration::from_millis(20), work).await;
        assert!(gone.is_err());
        let ended = tokio::task::spawn_blocking(move || ended.recv_timeout(HANG));
        assert_eq!(ended.await.unwrap().unwrap(), StorageError::Interrupted);
    }

    #[tokio::test]
    async fn a_unit_ends_with_the_server() {
        let (_dir, state) = state();
        let other = state.clone();
        let work = tokio::spawn(async move { other.blocking(Unit::of(ONE), read_on).await });
        while state.turns.depth().0 == 0 {
            tokio::task::yield_now().await;
        }
        state.ended.send_replace(true);
        let ended = tokio::time::timeout(HANG, work).await.unwrap().unwrap();
        assert_eq!(ended.unwrap(), StorageError::Interrupted);
    }

    #[tokio::test]
    async fn probes_are_answered_while_callers_take_all_turns() {
        let (_dir, state) = state();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let stopped = Arc::new(std::sync::Mutex::new(stopped));
        for who in 0..MAX_RUNNING as u64 {
            let (state, stopped) = (state.clone(), stopped.clone());
            let wait = move |_: &Store| drop(stopped.lock().map(|stopped| stopped.recv()));
            tokio::spawn(async move { state.blocking(Unit::of(Who::Token(who)), wait).await });
        }
        while state.turns.depth().0 < MAX_RUNNING {
            tokio::task::yield_now().await;
        }
        assert!(state.blocking(Unit::own(), |_| ()).await.is_ok());
        let busy = state.blocking(Unit::of(OTHER), |_| ()).await;
        assert_eq!(busy.unwrap_err().body().code, Code::Busy);
        drop(stop);
    }
}
