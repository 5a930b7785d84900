//! Long work, run outside the runtime's threads. It does not use the runtime's blocking pool, because tokio
//! panics if the system refuses to start the first thread of that pool.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, SendError};
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// Size of a frame that takes about a millisecond to read: more than a thread of the runtime should spend
/// on one task.
pub(crate) const HEAVY_FRAME_BYTES: usize = 64 << 10;
/// Number of updates that take about a millisecond to apply.
pub(crate) const HEAVY_UPDATES: usize = 4_096;
/// Maximum number of threads for heavy work at a time, for all clients of the process: enough for the cores
/// of large machines, with a few MiB of stacks.
const MAX_THREADS: usize = 64;

static THREADS: Semaphore = Semaphore::const_new(MAX_THREADS);

/// Runs `work` on a thread of its own, and waits for it; runs it in place if no thread is available. A
/// panic of the work is propagated.
pub(crate) async fn heavy<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match elsewhere(work).await {
        Ok(result) => result,
        Err(work) => work(),
    }
}

/// Runs `work` on a thread of its own, and waits for it. Returns the work if no thread is available. A
/// panic of the work is propagated. A thread costs about 20 µs, which is little compared with the work.
pub(crate) async fn elsewhere<R, W>(work: W) -> Result<R, W>
where
    R: Send + 'static,
    W: FnOnce() -> R + Send + 'static,
{
    let Ok(place) = THREADS.try_acquire() else {
        return Err(work);
    };
    // A refused thread drops its closure, so the work is sent to it afterwards.
    let (hands_over, work_comes) = mpsc::channel::<W>();
    let (done, result) = oneshot::channel::<Result<R, Box<dyn Any + Send>>>();
    let runtime = Handle::current();
    let run = move || {
        let _place = place;
        // The code of a user's type may need the runtime, as on the runtime's own threads.
        let _entered = runtime.enter();
        if let Ok(work) = work_comes.recv() {
            // The caller may be gone.
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
