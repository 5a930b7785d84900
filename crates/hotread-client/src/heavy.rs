//! Work that takes long, kept off the runtime's threads. The runtime's own threads for blocking work are not
//! used: tokio panics if the system refuses it the first of them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, SendError};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// A frame of this many bytes takes about a millisecond to be read: more than a runtime's thread should
/// be kept from other tasks.
pub(crate) const HEAVY_FRAME_BYTES: usize = 64 << 10;
/// So many updates take about a millisecond to be applied.
pub(crate) const HEAVY_UPDATES: usize = 4_096;
/// Most threads at a time for heavy work, of all clients of the process: enough for the cores of large
/// machines, and a few MiB of stacks.
const MAX_THREADS: usize = 64;

static THREADS: Semaphore = Semaphore::const_new(MAX_THREADS);

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
    let Ok(place) = THREADS.try_acquire() else {
        return Err(work);
    };
    // A thread that is refused takes with it what it was given, so the work comes later.
    let (hands_over, work_comes) = mpsc::channel::<W>();
    let (done, result) = oneshot::channel::<Result<R, Box<dyn Any + Send>>>();
    let runtime = Handle::current();
    let run = move || {
        let _place = place;
        // The code of a user's type may want the runtime, as on the runtime's own threads.
        let _entered = runtime.enter();
        if let Ok(work) = work_comes.recv() {
            // The caller may have gone.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        }
    };
    let thread = thread::Builder::new().name("hotread-heavy".to_owned());
    if thread.spawn(run).is_err() {
        return Err(work);
    }
    hands_over.send(work).map_err(|SendError(work)| work)?;
    match result.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("the thread sends what has become of the work"),
    }
}
