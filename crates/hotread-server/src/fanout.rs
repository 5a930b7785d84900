//! A table that is followed: each change is encoded once, and kept for a while for all sessions.

use crate::error::Failure;
use crate::history;
use crate::limits::{Budget, Held};
use crate::parts::Parts;
use hotread_proto::session::Encoded;
use hotread_proto::{Change, Digest, Epoch, Position, TableName};
use hotread_store::{ReadError, Recent, Store, Subscription};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Maximum number of encoded changes kept for a table: those that a session misses in a short absence.
const MAX_RECENT: usize = 1_024;
/// Maximum number of bytes of these changes. The latest one is kept regardless of its size.
const MAX_RECENT_BYTES: usize = 8 << 20;
/// Number of changes that are encoded before sessions are woken.
const MAX_BATCH: usize = 256;
/// Maximum number of changes that a session gets at once.
const MAX_GIVEN: usize = 256;
/// Bytes of keys and values from which changes are encoded on a blocking thread.
const LARGE: usize = 256 << 10;
/// Pause after the store failed to read.
const RETRY: Duration = Duration::from_millis(200);

/// Maximum number of concurrent reads of the history on behalf of followed tables; each takes up to 32 MiB.
const MAX_READING: usize = 4;

/// The tables that are followed.
pub(crate) struct Fanouts {
    tables: Mutex<HashMap<TableName, Weak<Fanout>>>,
    reading: Arc<Semaphore>,
}

impl Default for Fanouts {
    fn default() -> Self {
        Self {
            tables: Mutex::default(),
            reading: Arc::new(Semaphore::new(MAX_READING)),
        }
    }
}

impl Fanouts {
    /// Returns the fanout of a table, and creates it for the table's first session. Must be called within a
    /// runtime.
    pub(crate) fn join(&self, store: &Store, table: &TableName) -> Result<Arc<Fanout>, ReadError> {
        let head = store.head(table)?;
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fanout) = tables.get(table).and_then(Weak::upgrade)
            && fanout.epoch == head.position.epoch
            && !*fanout.moved.borrow()
        {
            return Ok(fanout);
        }
        tables.retain(|_, fanout| fanout.strong_count() > 0);
        let fanout = Arc::new(Fanout {
            table: table.clone(),
            epoch: head.position.epoch,
            recent: Mutex::default(),
            moved: watch::Sender::new(false),
            parts: Parts::default(),
        });
        tables.insert(table.clone(), Arc::downgrade(&fanout));
        let reading = self.reading.clone();
        tokio::spawn(follow(store.clone(), Arc::downgrade(&fanout), reading));
        Ok(fanout)
    }
}

/// One incarnation of a table that is followed.
pub(crate) struct Fanout {
    table: TableName,
    pub(crate) epoch: Epoch,
    recent: Mutex<Ring>,
    /// Signal of new changes; `true` once there will be no more, because the table was dropped or
    /// re-created, or the store was closed.
    pub(crate) moved: watch::Sender<bool>,
    pub(crate) parts: Parts,
}

/// The last changes, without a gap.
#[derive(Default)]
struct Ring {
    changes: VecDeque<Arc<Encoded>>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, change: Arc<Encoded>) {
        self.bytes += change.size();
        self.changes.push_back(change);
        let is_full = |bytes, len| len > MAX_RECENT || (bytes > MAX_RECENT_BYTES && len > 1);
        while is_full(self.bytes, self.changes.len())
            && let Some(oldest) = self.changes.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }

    fn first(&self) -> Option<u64> {
        let first = self.changes.front()?;
        Some(first.change().position.seq)
    }
}

/// Place of the changes after a transaction.
pub(crate) enum Recently {
    /// Some of the changes, from memory.
    Here(Vec<Arc<Encoded>>),
    /// The changes are in the history only.
    Earlier,
    /// The changes do not exist yet.
    Later,
}

impl Fanout {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        // No code panics while it is locked.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the changes after this transaction that are in memory.
    pub(crate) fn after(&self, after: u64) -> Recently {
        let ring = self.lock();
        let Some(first) = ring.first() else {
            return Recently::Later;
        };
        let Some(skip) = (after + 1).checked_sub(first) else {
            return Recently::Earlier;
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let some = ring.changes.iter().skip(skip).take(MAX_GIVEN);
        match some.len() {
            0 => Recently::Later,
            _ => Recently::Here(some.cloned().collect()),
        }
    }

    /// Returns the digest after a transaction whose change is in memory.
    pub(crate) fn digest_at(&self, at: u64) -> Option<Digest> {
        let ring = self.lock();
        let skip = usize::try_from(at.checked_sub(ring.first()?)?).ok()?;
        ring.changes.get(skip).map(|change| change.change().digest)
    }

    /// Returns the transaction from which on parts are shared, because the changes after it are in memory.
    pub(crate) fn shared_since(&self, head: u64) -> u64 {
        self.lock().first().map_or(head, |first| first - 1)
    }

    fn push(&self, changes: Vec<Arc<Encoded>>) {
        let mut ring = self.lock();
        for change in changes {
            ring.push(change);
        }
        drop(ring);
        self.moved.send_replace(false);
    }

    /// Reads changes from the history, for a session that is further behind, with the memory that they
    /// take.
    pub(crate) fn read(
        &self,
        store: &Store,
        after: u64,
        budget: &Budget,
    ) -> Result<(Vec<Arc<Encoded>>, Held), Failure> {
        let (epoch, seq) = (self.epoch, after);
        let piece = history::read_piece(store, &self.table, Position { epoch, seq }, budget)?;
        let encoded = piece.changes.into_iter().map(Arc::new).map(Encoded::new);
        Ok((encoded.map(Arc::new).collect(), piece.held))
    }
}

/// Receives the table's changes while the table is followed, and reports when there are no more.
async fn follow(store: Store, fanout: Weak<Fanout>, reading: Arc<Semaphore>) {
    forward(store, &fanout, &reading).await;
    if let Some(fanout) = fanout.upgrade() {
        fanout.moved.send_replace(true);
    }
}

/// Returns when there are no more changes, or no session follows the table.
async fn forward(store: Store, fanout: &Weak<Fanout>, reading: &Arc<Semaphore>) -> Option<()> {
    let (table, epoch) = fanout.upgrade().map(|it| (it.table.clone(), it.epoch))?;
    let mut subscription = subscribe(&store, &table, epoch, fanout, reading).await?;
    // This task must not keep the store open.
    drop(store);
    let mut failing = false;
    loop {
        let mut batch = Vec::new();
        let is_behind = poll_fn(|cx| {
            while batch.len() < MAX_BATCH {
                match subscription.poll_next(cx) {
                    Poll::Ready(Ok(Recent::Change(change))) => batch.push(change),
                    Poll::Ready(Ok(Recent::Behind)) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                    Poll::Pending if batch.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(false))
        });
        // Wakes once a second to check that there is still a session.
        let is_behind = tokio::time::timeout(Duration::from_secs(1), is_behind).await;
        if fanout.strong_count() == 0 {
            return None;
        }
        hand_over(fanout, batch).await?;
        if !is_behind.unwrap_or(Ok(false)).ok()? {
            continue;
        }
        // Continues from the history on disk, if it can be read at the moment.
        let next = read(reading, move || {
            let next = subscription.next(Duration::ZERO);
            (subscription, next)
        });
        let (caught_up, next) = next.await?;
        subscription = caught_up;
        match next {
            Ok(change) => {
                failing = false;
                hand_over(fanout, change.into_iter().collect()).await?;
            }
            Err(ReadError::Storage(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%table, %error, "a table's history cannot be read; retrying");
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(_) => return None,
        }
    }
}

/// Runs a read of the history on a blocking thread, once it has a permit.
async fn read<R, F>(reading: &Arc<Semaphore>, read: F) -> Option<R>
where
    R: Send + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    let turn = reading.clone().acquire_owned().await.ok()?;
    let read = move || {
        let _turn = turn;
        read()
    };
    tokio::task::spawn_blocking(read).await.ok()
}

/// Subscribes from far enough back that sessions find what they missed in a short absence.
async fn subscribe(
    store: &Store,
    table: &TableName,
    epoch: Epoch,
    fanout: &Weak<Fanout>,
    reading: &Arc<Semaphore>,
) -> Option<Subscription> {
    while fanout.strong_count() > 0 {
        let (store, table) = (store.clone(), table.clone());
        let subscribed = read(reading, move || {
            let (head, floor) = (store.head(&table)?, store.floor(&table)?);
            if head.position.epoch != epoch {
                return Err(ReadError::UnknownTable { table });
            }
            let seq = head.position.seq.saturating_sub(MAX_RECENT as u64);
            let seq = seq.max(floor.saturating_sub(1));
            store.subscribe(&table, Position { epoch, seq })
        });
        match subscribed.await? {
            Ok(subscription) => return Some(subscription),
            // The history was trimmed in the meantime, or the disk did not answer.
            Err(ReadError::Gone { .. } | ReadError::Storage(_)) => {}
            Err(_) => return None,
        }
        tokio::time::sleep(RETRY).await;
    }
    None
}

/// Encodes changes and hands them to the sessions. Returns `None` if they could not be encoded, because
/// without them there would be a gap.
async fn hand_over(fanout: &Weak<Fanout>, changes: Vec<Arc<Change>>) -> Option<()> {
    if changes.is_empty() {
        return Some(());
    }
    let bytes: usize = changes.iter().map(|change| change.size()).sum();
    let encode = move || -> Vec<_> {
        let encoded = changes.into_iter().map(Encoded::new);
        encoded.map(Arc::new).collect()
    };
    let encoded = match bytes < LARGE {
        true => encode(),
        false => {
            let encoded = tokio::task::spawn_blocking(encode).await;
            encoded
                .inspect_err(|error| tracing::error!(%error, "changes could not be encoded"))
                .ok()?
        }
    };
    if let Some(fanout) = fanout.upgrade() {
        fanout.push(encoded);
    }
    Some(())
}
