//! Updates by a closure, and what they answer.

use std::fmt;
use std::sync::{Arc as StdArc, OnceLock};

use crate::HotReadState;
use crate::log::Updates;
use crate::results::QueueResult;

/// What [`HotRead::update`](crate::HotRead::update) answers: how the update was queued, and what its
/// closure returned when it was applied.
#[derive(Clone)]
pub struct Reply<R> {
    result: QueueResult,
    answer: StdArc<OnceLock<R>>,
}

impl<R> Reply<R> {
    /// How the update was queued.
    #[must_use]
    pub fn result(&self) -> QueueResult {
        self.result
    }

    /// The update's sequence number, to wait for.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.result.last_seq
    }

    /// What the closure returned the first time it ran. There is an answer as soon as the update is
    /// visible. `None`: it was not applied yet, or it panicked.
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

/// Wraps `change` so that its first answer is kept.
pub(crate) fn queue<T: HotReadState, R: Send + Sync + 'static>(
    change: impl Fn(&mut T) -> R + Send + Sync + 'static,
    queue: impl FnOnce(Updates<T>) -> QueueResult,
) -> Reply<R> {
    let answer = StdArc::new(OnceLock::new());
    let ours = StdArc::clone(&answer);
    let call = Box::new(move |state: &mut T| {
        // The other copies give the same answer.
        let _ = ours.set(change(state));
    });
    let result = queue(Updates::Call(call));
    Reply { result, answer }
}
