//! Work that takes long, kept off the runtime's threads. The runtime's own threads for blocking work are not
//! used: tokio panics if the system refuses it the first of them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A frame of this many bytes takes about a millisecond to be read: more than a runtime's thread should
/// be kept from other tasks.
pub(crate) const HEAVY_FRAME_BYTES: usize = 64 << 10;
/// So many updates take about a millisecond to be applied.
pub(crate) const HEAVY_UPDATES: usize = 4_096;
/// Most threads at a time for heavy work, of all clients of the process: enough for the cores of large
/// machines, and a few MiB of stacks.
const MAX_THREADS: usize = 64;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// One of the threads that there may be.
struct Place;

// ORDERING: the number bounds threads, and guards nothing else.
impl Place {
    fn take() -> Option<Self> {
        let taken = THREADS.fetch_add(1, Ordering::Relaxed);
        // Gives it back if it is one too many.
        let place = Self;
        (taken < MAX_THREADS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does something on a thread of its own, and waits for it; in place if no thread can be had. If it panics, so
/// does this.
pub(crate) async fn heavy<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match elsewhere(work).await {
        Ok(result) => result,
        Err(work) => work(),
    }
}

/// Does something on a thread of its own, and waits for it. If it panics, so does this. Without a thread the
/// work is handed back. A thread costs some 20 µs, which is little where it is worth having one.
pub(crate) async fn elsewhere<R, W>(work: W) -> Result<R, W>
where
    R: Send + 'static,
    W: FnOnce() -> R + Send + 'static,
{
    let Some(place) = Place::take() else {
        return Err(work);
    };
    // A thread that is refused takes what it was to do with it.
    let shared = Arc::new(Mutex::new(Some(work)));
    let take = |shared: &Mutex<Option<W>>| {
        let mut work = shared.lock().unwrap_or_else(PoisonError::into_inner);
        work.take()
            .expect("it is taken once, by the thread or without one")
    };
    let (done, result) = oneshot::channel::<Result<R, Box<dyn Any + Send>>>();
    let (theirs, runtime) = (shared.clone(), Handle::current());
    let started = thread::Builder::new()
        .name("hotread-heavy".to_owned())
        .spawn(move || {
            let _place = place;
            // The code of a user's type may want the runtime, as on the runtime's own threads.
            let _entered = runtime.enter();
            // Whoever waited may have gone.
            let _ = done.send(catch_unwind(AssertUnwindSafe(take(&theirs))));
        });
    if started.is_err() {
        return Err(take(&shared));
    }
    match result.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("the thread sends what has become of the work"),
    }
}
