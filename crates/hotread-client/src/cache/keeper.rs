//! The thread that keeps a replica's copy: it holds the records as received, and writes them from time to
//! time.

use super::Place;
use super::copy::{Copy, NotKept, Waiting};
use hotread_proto::{ChangeOp, Head, Position, Records};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use tokio::sync::oneshot;

/// Divisor of the share of time that writing may take, regardless of the interval between copies: at most a
/// twentieth.
const SHARE: u32 = 20;

/// Reason a copy was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The client keeps no copies.
    #[error("the client keeps no copies of tables; give its builder a cache_dir")]
    NoCacheDir,
    /// The table is not kept: it is sealed or too large, or its copy failed the check of its digest.
    #[error("{0}")]
    NotKept(String),
    /// There is no state to write yet, or the replica has ended.
    #[error("the replica has ended, or has no state yet")]
    Ended,
    /// The file system refused the write.
    #[error("the copy cannot be written: {0}; look at the cache_dir")]
    Io(String),
}

type Asked = oneshot::Sender<Result<Position, SaveError>>;

/// The replica's end of the thread. When it is dropped, the thread writes what is new, and ends.
#[derive(Debug)]
pub(crate) struct Keeper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    /// Head of the table after the waiting operations; `None`: nothing has happened.
    head: Option<Head>,
    asked: Vec<Asked>,
    /// Reason the table must not be kept, if there is one.
    not_kept: Option<NotKept>,
    over: bool,
}

impl Shared {
    /// Locks the state. No code panics while it is locked, but memory may run out.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }
}

impl Keeper {
    /// Starts the thread with the records of the copy on disk.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub(crate) fn start(place: Place, copy: Option<&Records>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Writer {
            shared: shared.clone(),
            place,
            copy: Copy::new(copy.into_iter().flatten().cloned()),
            head: None,
            written: copy.map(Records::position),
            next_at: Instant::now(),
        };
        let thread = thread::Builder::new().name("hotread-cache".to_owned());
        thread.spawn(move || writer.run())?;
        Ok(Self(shared))
    }

    /// Adds published operations, and the head of the table after them.
    pub(crate) fn add(&self, head: Head, ops: Vec<ChangeOp>) {
        self.0.tell(|state| {
            if state.not_kept.is_none() {
                state.waiting.add(ops);
                state.head = Some(head);
            }
        });
    }

    /// Stops keeping the table, and removes what was kept before.
    pub(crate) fn forget(&self) {
        self.0.tell(|state| {
            state.waiting.take();
            state.head = None;
            state.not_kept = Some(NotKept::Sealed);
        });
    }

    /// Returns a handle for writing a copy immediately.
    pub(crate) fn saver(&self) -> Saver {
        Saver(self.0.clone())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.tell(|state| state.over = true);
    }
}

/// A handle that asks the thread to write, which may have ended.
#[derive(Debug, Clone)]
pub(crate) struct Saver(Arc<Shared>);

impl Saver {
    pub(crate) async fn save(&self) -> Result<Position, SaveError> {
        let (asked, answer) = oneshot::channel();
        self.0.tell(|state| {
            if !state.over {
                state.asked.push(asked);
            }
        });
        // A thread that has ended sends no answer.
        answer.await.unwrap_or(Err(SaveError::Ended))
    }
}

struct Writer {
    shared: Arc<Shared>,
    place: Place,
    copy: Copy,
    /// Head of `copy`; `None`: `copy` is still the one that the replica started from.
    head: Option<Head>,
    /// Position of the file on disk.
    written: Option<Position>,
    next_at: Instant,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut work = match self.wait() {
                Ok(work) => work,
                Err(why) => return self.give_up(why),
            };
            self.copy.apply(work.waiting.take());
            self.head = work.head.or(self.head);
            let saved = self.save();
            if let Err(SaveError::Io(error)) = &saved {
                let dir = self.place.cache.dir.display();
                tracing::warn!(table = %self.place.table, %dir, error, "could not write the copy of a table");
            }
            for asked in work.asked {
                // The caller may be gone.
                let _ = asked.send(saved.clone());
            }
            if work.over {
                return;
            }
        }
    }

    /// Waits until a write is due, a copy is asked for, or the replica has ended. Takes the waiting
    /// operations.
    fn wait(&self) -> Result<State, NotKept> {
        let mut state = self.shared.lock();
        loop {
            if let Some(why) = state.not_kept {
                return Err(why);
            }
            let left = self.next_at.saturating_duration_since(Instant::now());
            let copied = self.head.map(|head| head.position);
            let new = state.head.is_some() || copied.is_some_and(|at| Some(at) != self.written);
            if (new && left.is_zero()) || state.over || !state.asked.is_empty() {
                let over = state.over;
                let work = std::mem::take(&mut *state);
                state.over = over;
                return Ok(work);
            }
            state = if new {
                let waited = self.shared.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waited = self.shared.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Writes what is not on disk yet, and returns the position of the copy.
    fn save(&mut self) -> Result<Position, SaveError> {
        let Some(head) = self.head else {
            return self.written.ok_or(SaveError::Ended);
        };
        if self.written == Some(head.position) {
            return Ok(head.position);
        }
        if let Err(why) = self.copy.check(&head) {
            self.shared.lock().not_kept = Some(why);
            return Err(SaveError::NotKept(why.to_string()));
        }
        let began = Instant::now();
        let lock = self.place.lock();
        let written = lock.and_then(|_lock| self.place.write(head, self.copy.iter()));
        self.next_at = Instant::now() + self.place.cache.every.max(began.elapsed() * SHARE);
        written.map_err(|error| SaveError::Io(error.to_string()))?;
        self.written = Some(head.position);
        Ok(head.position)
    }

    /// Stops keeping the table: removes its copy, and answers every caller with the reason.
    fn give_up(self, why: NotKept) {
        drop(self.copy);
        tracing::info!(table = %self.place.table, %why, "no copy of a table is kept");
        if let Err(error) = self.place.remove() {
            let dir = self.place.cache.dir.display();
            tracing::warn!(table = %self.place.table, %dir, %error, "could not remove the copy of a table");
        }
        let mut state = self.shared.lock();
        loop {
            state.waiting.take();
            for asked in state.asked.drain(..) {
                // The caller may be gone.
                let _ = asked.send(Err(SaveError::NotKept(why.to_string())));
            }
            if state.over {
                return;
            }
            let waited = self.shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}
