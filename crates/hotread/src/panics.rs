//! Panics of user code: caught, so that the work of other callers goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};

use crate::{HotRead, HotReadHandle, HotReadState, Maintainer, Published, Readers, WeakHotRead};

/// Payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Counts the panics that were caught; the panic hook has reported each.
#[derive(Default)]
pub(crate) struct Panics {
    pub(crate) caught: u64,
}

impl Panics {
    /// Runs user code. `Err` carries the payload of its panic.
    ///
    /// The caller is responsible for unwind safety: it drops or rebuilds whatever `code` was
    /// changing.
    #[inline]
    pub(crate) fn attempt<R>(&mut self, code: impl FnOnce() -> R) -> Result<R, Payload> {
        catch_unwind(AssertUnwindSafe(code)).inspect_err(|_| self.caught += 1)
    }

    /// Runs user code. `None` means that it panicked; the payload is dropped.
    #[inline]
    pub(crate) fn run<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        self.attempt(code).map_err(discard).ok()
    }

    /// Drops items one by one, so that a panic of one drop leaves no other item undropped. (A `Vec`
    /// would abort the process at the second panic.)
    pub(crate) fn drop_each<A>(&mut self, items: Vec<A>) {
        let mut items = items.into_iter();
        while self.run(|| items.by_ref().for_each(drop)).is_none() {}
    }
}

/// Drops a payload whose own drop may panic.
#[cold]
pub(crate) fn discard(payload: Payload) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Dropping this payload could panic without end, so it is leaked.
        std::mem::forget(second);
    }
}

/// Resumes a panic, unless this thread is already unwinding, where a second panic would abort the
/// process.
#[cold]
pub(crate) fn resume(payload: Payload) {
    if std::thread::panicking() {
        discard(payload);
    } else {
        resume_unwind(payload);
    }
}

/// Ends the process when dropped. Placed on the stack of code that must not unwind, because a copy
/// would be left half changed and the right to apply held forever.
pub(crate) struct NoUnwind;

impl Drop for NoUnwind {
    #[cold]
    fn drop(&mut self) {
        eprintln!("hotread: a panic outside of user code while updates were being applied");
        std::process::abort();
    }
}

// A panic leaves a state whole: a copy that an update left half changed is never published, and no
// user code runs under a lock.
impl<T: HotReadState + RefUnwindSafe> UnwindSafe for HotRead<T> {}
impl<T: HotReadState + RefUnwindSafe> RefUnwindSafe for HotRead<T> {}
impl<T: HotReadState + RefUnwindSafe> UnwindSafe for WeakHotRead<T> {}
impl<T: HotReadState + RefUnwindSafe> RefUnwindSafe for WeakHotRead<T> {}
impl<T: HotReadState + RefUnwindSafe> UnwindSafe for Readers<T> {}
impl<T: HotReadState + RefUnwindSafe> RefUnwindSafe for Readers<T> {}
impl<T: HotReadState + RefUnwindSafe> UnwindSafe for HotReadHandle<T> {}
impl<T: HotReadState + RefUnwindSafe> RefUnwindSafe for HotReadHandle<T> {}
impl UnwindSafe for Maintainer {}
impl RefUnwindSafe for Maintainer {}
impl UnwindSafe for Published {}
impl RefUnwindSafe for Published {}
