//! Waiting until an update is visible: by blocking a thread, or as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc as StdArc, Weak as StdWeak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::HotReadState;
use crate::core::Core;
use crate::maintainer::Owner;
use crate::progress::{Progress, WaiterKey};
use crate::results::WaitError;
use crate::sleep::{Sleeper, Sleepers};
use crate::sync::{barrier, thread};

/// How long a sleeper sleeps at most where the kernel refuses the barrier that makes sure of its
/// wake-up; then it looks for itself.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// Leaves the stack of sleepers, whichever way a wait ends. The others look up once and lie down
/// again; so entries of waits that have ended do not pile up.
pub(crate) struct Leave<'a>(pub(crate) &'a Sleepers);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.0.any() {
            self.0.wake();
        }
    }
}

impl<T: HotReadState> Core<T> {
    pub(crate) fn wait(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        if let Some(outcome) = self.progress.outcome(seq) {
            return outcome;
        }
        let latest = self.latest_seq();
        if seq > latest {
            return Err(WaitError::NotQueued { latest });
        }
        if self.is_applying_here() {
            return Err(WaitError::WithinUpdate);
        }
        // A timeout beyond the clock's range is none.
        let deadline = Instant::now().checked_add(timeout);
        let sleeper = Sleeper::new();
        let _leave = Leave(&self.hot.sleepers);
        loop {
            self.maintain();
            if let Some(outcome) = self.progress.outcome(seq) {
                return outcome;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(WaitError::Timeout);
            }
            self.hot.sleepers.push(&sleeper);
            let certain = barrier::heavy();
            // The last look. If it finds another thread applying, that one will look again, and
            // wakes us if it publishes; if it finds the copy held, its reader will wake us.
            self.maintain();
            if let Some(outcome) = self.progress.outcome(seq) {
                return outcome;
            }
            if !sleeper.may_park() {
                continue;
            }
            match (left, certain) {
                (None, true) => thread::park(),
                (Some(left), true) => thread::park_timeout(left),
                (left, false) => thread::park_timeout(left.unwrap_or(POLL).min(POLL)),
            }
        }
    }
}

/// Resolves when an update is visible; see [`HotRead::published`](crate::HotRead::published).
///
/// Keeps neither the `HotRead` nor the state alive. Dropping it cancels the wait.
#[must_use = "futures do nothing unless awaited"]
pub struct Published<T: HotReadState> {
    pub(crate) seq: u64,
    /// What was wrong from the start.
    pub(crate) refused: Option<WaitError>,
    pub(crate) progress: StdArc<Progress>,
    pub(crate) owner: StdWeak<Owner<T>>,
    pub(crate) registered: Option<WaiterKey>,
}

impl<T: HotReadState> Published<T> {
    fn unregister(&mut self) {
        if let Some(key) = self.registered.take() {
            // The waker drops here, outside the lock.
            drop(self.progress.unregister(key));
        }
    }
}

impl<T: HotReadState> Future for Published<T> {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(error) = this.refused {
            return Poll::Ready(Err(error));
        }
        this.unregister();
        if let Some(outcome) = this.progress.outcome(this.seq) {
            return Poll::Ready(outcome);
        }
        let waker = context.waker().clone();
        this.registered = Some(this.progress.register(this.seq, waker));
        // After registering: a maintainer that stops wakes whoever is registered by then, so
        // that they come back here and start another.
        if let Some(owner) = this.owner.upgrade() {
            owner.ensure_maintainer();
        }
        if let Some(outcome) = this.progress.outcome(this.seq) {
            this.unregister();
            return Poll::Ready(outcome);
        }
        Poll::Pending
    }
}

impl<T: HotReadState> Drop for Published<T> {
    fn drop(&mut self) {
        self.unregister();
    }
}

impl<T: HotReadState> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}
