//! Work that takes long, kept off the runtime's threads.

use std::panic::resume_unwind;

/// A frame of this many bytes takes about a millisecond to be read: more than a runtime's thread should
/// be kept from other tasks.
pub(crate) const HEAVY_FRAME_BYTES: usize = 64 << 10;
/// So many updates take about a millisecond to be applied.
pub(crate) const HEAVY_UPDATES: usize = 4_096;

/// Does something on a thread that may block, and waits for it. If it panics, so does this.
pub(crate) async fn heavy<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is being shut down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
