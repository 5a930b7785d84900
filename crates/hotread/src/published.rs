//! Waiting in a task for an update to be visible.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use crate::progress::{Progress, WaiterKey, Waiting};
use crate::results::WaitError;
use crate::tending::{Registration, Tending, When};

/// Future that resolves when an update is visible; see
/// [`HotRead::published`](crate::HotRead::published).
///
/// Keeps neither the `HotRead` nor the state alive. Dropping it cancels the wait.
#[must_use = "futures do nothing unless awaited"]
pub struct Published {
    seq: u64,
    /// The error of a wait that can never end.
    refused: Option<WaitError>,
    progress: StdArc<Progress>,
    tending: StdArc<Tending>,
    /// Keeps a maintainer at work that completes the publication.
    registration: Option<Registration>,
    key: Option<WaiterKey>,
}

impl Published {
    pub(crate) fn new(
        seq: u64,
        latest: u64,
        progress: &StdArc<Progress>,
        tending: &StdArc<Tending>,
    ) -> Self {
        Self {
            seq,
            refused: (seq > latest).then_some(WaitError::NotQueued { latest }),
            progress: StdArc::clone(progress),
            tending: StdArc::clone(tending),
            registration: None,
            key: None,
        }
    }

    fn unregister(&mut self) {
        if let Some(key) = self.key.take() {
            // The waker drops here, outside the lock.
            drop(self.progress.unregister(key));
        }
    }
}

impl Future for Published {
    type Output = Result<(), WaitError>;

    /// Runs no user code except the clone and the drop of wakers.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(error) = this.refused {
            return Poll::Ready(Err(error));
        }
        this.unregister();
        if let Some(outcome) = this.progress.outcome(this.seq) {
            this.registration = None;
            return Poll::Ready(outcome);
        }
        if this.progress.is_applying_here() {
            return Poll::Ready(Err(WaitError::WithinUpdate));
        }
        let waker = context.waker().clone();
        this.key = Some(this.progress.register(Waiting::Task, this.seq, waker));
        if this.registration.is_none() {
            match Tending::register(&this.tending) {
                Ok(registration) => this.registration = Some(registration),
                Err(_) => {
                    this.unregister();
                    return Poll::Ready(Err(WaitError::NoThread));
                }
            }
        } else {
            this.tending.schedule(When::Now);
        }
        if let Some(outcome) = this.progress.outcome(this.seq) {
            this.unregister();
            this.registration = None;
            return Poll::Ready(outcome);
        }
        Poll::Pending
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.unregister();
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}
