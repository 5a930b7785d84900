//! Tickets, by which a thread or a task waits for the committer's answer.

use crate::error::{CommitError, StorageError};
pub use hotread_proto::Replaced;
use hotread_proto::{Committed, Compared};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The effect of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) committed: Committed,
    pub(crate) written: u64,
    pub(crate) deleted: u64,
    /// Set if the table has more unexpired records than before.
    pub(crate) grown: bool,
}

impl Applied {
    /// Returns the result of a transaction without effect, or of a repeated one.
    pub(crate) fn nothing(committed: Committed) -> Self {
        Self {
            committed,
            written: 0,
            deleted: 0,
            grown: false,
        }
    }
}

impl From<Applied> for Committed {
    fn from(applied: Applied) -> Self {
        applied.committed
    }
}

impl From<Applied> for (Committed, bool) {
    fn from(applied: Applied) -> Self {
        (applied.committed, applied.grown)
    }
}

impl From<Applied> for Replaced {
    fn from(applied: Applied) -> Self {
        Self {
            committed: applied.committed,
            written: applied.written,
            deleted: applied.deleted,
        }
    }
}

pub(crate) type Answer = Result<Applied, CommitError>;

/// The slot for one answer.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    /// The waker of the waiting task, if there is one.
    waker: Option<Waker>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<R: From<Applied>>(&self) -> Result<R, CommitError> {
        let state = self.lock();
        let state = self
            .answered
            .wait_while(state, |state| state.answer.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let answer = state.answer.clone().expect("it was waited for");
        answer.map(R::from)
    }

    /// No wake-up is lost: the look-up and the storing of the waker are one step under the lock, as are
    /// the answer and the taking of the waker.
    fn poll<R: From<Applied>>(&self, cx: &Context<'_>) -> Poll<Result<R, CommitError>> {
        // A waker is user code, which must not run under the lock.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if let Some(answer) = state.answer.clone() {
            return Poll::Ready(answer.map(R::from));
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

/// The pending answer to [`Store::submit`](crate::Store::submit): a thread waits for it with
/// [`wait`](Self::wait), a task with `.await`, on any executor. Dropping it does not cancel the
/// transaction. Polled after its answer, it returns the same answer again.
pub struct Ticket(Arc<Slot>);

/// The pending answer to [`Store::submit_replace`](crate::Store::submit_replace); otherwise as
/// [`Ticket`].
pub struct ReplaceTicket {
    ticket: Ticket,
    /// The replacement, if it is to be dropped here.
    _new: Option<Compared>,
}

/// A pending answer that includes whether the table has grown: see [`Ticket::with_growth`].
#[derive(Debug)]
pub struct GrowthTicket(Ticket);

/// The committer's end of a ticket. Dropped without an answer, it answers [`CommitError::Unknown`].
pub(crate) struct Reply(Option<Arc<Slot>>);

pub(crate) fn ticket() -> (Ticket, Reply) {
    let slot = Arc::<Slot>::default();
    (Ticket(slot.clone()), Reply(Some(slot)))
}

impl Ticket {
    /// Waits until the transaction is committed or refused.
    ///
    /// # Errors
    /// Same as [`Store::commit`](crate::Store::commit).
    pub fn wait(self) -> Result<Committed, CommitError> {
        self.0.wait()
    }

    /// Converts to a ticket whose answer also tells whether the table has grown: for a transaction with
    /// a single put, whether the record is new. An expired record counts as absent, even before it is
    /// deleted. A transaction that was committed before, under the same id, has not grown the table.
    #[must_use]
    pub fn with_growth(self) -> GrowthTicket {
        GrowthTicket(self)
    }

    pub(crate) fn replace(self, _new: Option<Compared>) -> ReplaceTicket {
        ReplaceTicket { ticket: self, _new }
    }
}

impl Future for Ticket {
    type Output = Result<Committed, CommitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

impl Future for GrowthTicket {
    type Output = Result<(Committed, bool), CommitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.0.poll(cx)
    }
}

impl ReplaceTicket {
    /// Waits until the replacement is committed or refused.
    ///
    /// # Errors
    /// Same as [`Store::commit`](crate::Store::commit).
    pub fn wait(self) -> Result<Replaced, CommitError> {
        self.ticket.0.wait()
    }
}

impl Future for ReplaceTicket {
    type Output = Result<Replaced, CommitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.ticket.0.poll(cx)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReplaceTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplaceTicket").finish_non_exhaustive()
    }
}

impl Reply {
    pub(crate) fn send(mut self, answer: Answer) {
        self.fill(answer);
    }

    fn fill(&mut self, answer: Answer) {
        let Some(slot) = self.0.take() else { return };
        let mut state = slot.lock();
        state.answer = Some(answer);
        let waker = state.waker.take();
        drop(state);
        slot.answered.notify_one();
        wake(waker);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let cause = StorageError::io("the committer ended in the middle of a group");
        self.fill(Err(CommitError::Unknown { cause }));
    }
}

/// Wakes tasks, with no lock held. A panic in a waker, which is user code, does not end the committer.
pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            tracing::error!("a waker panicked");
            // Dropping the panic's payload may panic again.
            std::mem::forget(panic);
        }
    }
}
