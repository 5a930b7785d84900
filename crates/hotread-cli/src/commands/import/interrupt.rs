//! Interruption of an import: Ctrl-C ends reading, and the rows that were read are committed and
//! reported.

use crate::exit;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{process, thread};
use tokio::signal::unix::SignalKind;

/// Exit code of an interrupted command, the same as after SIGINT.
pub(super) const EXIT: u8 = 130;

static CAME: AtomicBool = AtomicBool::new(false);

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
            first.await;
            // ORDERING: the flag publishes no other data.
            CAME.store(true, Ordering::Relaxed);
            if let Ok(second) = exit::signalled(kinds) {
                second.await;
                process::exit(EXIT.into());
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
    CAME.load(Ordering::Relaxed)
}
