//! Parking for loom.
//!
//! loom 0.7's own `unpark` forgets the wake-up of a thread that is blocked on something else at
//! that moment, such as a mutex; std remembers it. loom's `Notify` remembers it as well, and also
//! wakes spuriously at times, as std may.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use loom::sync::Notify;

loom::thread_local! {
    static CURRENT: RefCell<Option<Thread>> = RefCell::new(None)
}

#[derive(Clone)]
pub(crate) struct Thread(Arc<Notify>);

impl Thread {
    fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }

    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn unpark(&self) {
        self.0.notify();
    }
}

pub(crate) fn current() -> Thread {
    CURRENT.with(|current| current.borrow_mut().get_or_insert_with(Thread::new).clone())
}

pub(crate) fn park() {
    current().0.wait();
}

/// Parks without a timeout: loom has no clock, so a timeout never passes there.
pub(crate) fn park_timeout(_: Duration) {
    park();
}

pub(crate) struct Builder;

pub(crate) struct JoinHandle<T> {
    thread: Thread,
    inner: loom::thread::JoinHandle<T>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn name(self, _: String) -> Self {
        self
    }

    pub(crate) fn spawn<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let thread = Thread::new();
        let theirs = thread.clone();
        let inner = loom::thread::Builder::new().spawn(move || {
            CURRENT.with(|current| current.replace(Some(theirs)));
            work()
        })?;
        Ok(JoinHandle { thread, inner })
    }
}

impl<T> JoinHandle<T> {
    pub(crate) fn thread(&self) -> &Thread {
        &self.thread
    }

    pub(crate) fn join(self) -> std::thread::Result<T> {
        self.inner.join()
    }
}
