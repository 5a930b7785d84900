//! Updates by a closure, and their results.

use std::fmt;
use std::sync::{Arc as StdArc, OnceLock};

use crate::HotReadState;
use crate::log::Updates;
use crate::results::QueueResult;

/// Result of [`HotRead::update`](crate::HotRead::update): the state of the queued update, and the
/// value that its closure returned.
#[derive(Clone)]
pub struct Reply<R> {
    result: QueueResult,
    answer: StdArc<OnceLock<R>>,
}

impl<R> Reply<R> {
    /// Returns the result of queueing the update.
    #[must_use]
    pub fn result(&self) -> QueueResult {
        self.result
    }

    /// Sequence number of the update, for `wait_published`.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.result.last_seq
    }

    /// Returns the value of the closure's first run, which is available as soon as the update is
    /// visible. `None` if the update was not applied yet, or panicked.
    #[must_use]
    pub fn get(&self) -> Option<&R> {
        self.answer.get()
    }
}

impl<R: fmt::Debug> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("result", &self.result)
            .field("answer", &self.answer.get())
            .finish()
    }
}

/// Wraps `change` so that its first result is kept.
pub(crate) fn queue<T: HotReadState, R: Send + Sync + 'static>(
    change: impl Fn(&mut T) -> R + Send + Sync + 'static,
    queue: impl FnOnce(Updates<T>) -> QueueResult,
) -> Reply<R> {
    let answer = StdArc::new(OnceLock::new());
    let ours = StdArc::clone(&answer);
    let call = Box::new(move |state: &mut T| {
        // The other copies return the same value.
        let _ = ours.set(change(state));
    });
    let result = queue(Updates::Call(call));
    Reply { result, answer }
}
