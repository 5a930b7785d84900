//! Interruption of an import: Ctrl-C ends reading, and the rows that were read are committed and
//! reported.

use crate::exit;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicI32, Ordering};
use std::{process, thread};
use tokio::signal::unix::SignalKind;

/// Number of the first signal that has arrived, or 0.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Listens for signals from now on: the first ends reading, the second the process.
pub(super) fn watch() -> Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    let first = {
        let _inside = runtime.enter();
        exit::signalled(kinds)?
    };
    let wait = move || {
        runtime.block_on(async {
            let kind = first.await;
            // ORDERING: the number publishes no other data.
            CAME.store(kind.as_raw_value(), Ordering::Relaxed);
            if let Ok(second) = exit::signalled(kinds) {
                second.await;
                process::exit(exit_code().into());
            }
        });
    };
    thread::Builder::new()
        .spawn(wait)
        .map(drop)
        .context("cannot wait for signals")
}

/// Returns `true` if a signal has arrived.
pub(super) fn came() -> bool {
    CAME.load(Ordering::Relaxed) != 0
}

/// Returns the exit code after the first signal: as shells report a process that it ended.
pub(super) fn exit_code() -> u8 {
    /// What shells add to the number of the signal.
    const SIGNALLED: i32 = 128;
    u8::try_from(SIGNALLED + CAME.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
}
