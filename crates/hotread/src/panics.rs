//! Panics of user code, caught so that the work of others goes on, and resumed at the end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The first panic of a run; later ones are dropped (the panic hook has reported each).
#[derive(Default)]
pub(crate) struct Panics {
    first: Option<Box<dyn Any + Send>>,
}

impl Panics {
    /// Runs user code. `None`: it panicked.
    ///
    /// The caller vouches for unwind safety: it drops or rebuilds whatever `code` was changing.
    #[inline]
    pub(crate) fn run<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(value) => Some(value),
            Err(panic) => {
                self.keep(panic);
                None
            }
        }
    }

    #[cold]
    fn keep(&mut self, panic: Box<dyn Any + Send>) {
        if self.first.is_none() {
            self.first = Some(panic);
        } else if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            // A payload whose drop panics: leaking this one is the only end to it.
            std::mem::forget(panic);
        }
    }

    /// Resumes the first panic, unless this thread is unwinding already: that would abort.
    #[inline]
    pub(crate) fn resume(self) {
        if let Some(panic) = self.first
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
