//! Waiting in a task for a newer state to read.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::HotReadHandle;
use crate::HotReadState;
use crate::progress::{WaiterKey, Waiting};
use crate::results::WaitError;

/// Future that resolves when there is a newer state to read; see
/// [`HotReadHandle::changed`](crate::HotReadHandle::changed).
#[must_use = "futures do nothing unless awaited"]
pub struct Changed<'a, T: HotReadState> {
    handle: &'a mut HotReadHandle<T>,
    key: Option<WaiterKey>,
}

impl<'a, T: HotReadState> Changed<'a, T> {
    pub(crate) fn new(handle: &'a mut HotReadHandle<T>) -> Self {
        Self { handle, key: None }
    }

    fn unregister(&mut self) {
        if let Some(key) = self.key.take() {
            drop(self.handle.progress().unregister(key));
        }
    }
}

impl<T: HotReadState> Future for Changed<'_, T> {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.unregister();
        if this.handle.has_changed() {
            return Poll::Ready(Ok(()));
        }
        // A handle that waits must not block the publication that it waits for.
        this.handle.quiescent();
        let next = this.handle.seen_generation().map_or(0, |seen| seen + 1);
        let progress = this.handle.progress();
        this.key = Some(progress.register(Waiting::Change, next, context.waker().clone()));
        if this.handle.has_changed() {
            this.unregister();
            return Poll::Ready(Ok(()));
        }
        if this.handle.progress().is_closed() {
            this.unregister();
            return Poll::Ready(Err(WaitError::Closed));
        }
        Poll::Pending
    }
}

impl<T: HotReadState> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        self.unregister();
    }
}

impl<T: HotReadState> fmt::Debug for Changed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changed")
    }
}
