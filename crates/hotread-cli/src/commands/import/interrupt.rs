//! What Ctrl-C does to an import: it ends reading, so that what was read is committed and said.

use crate::exit;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{process, thread};
use tokio::signal::unix::SignalKind;

/// Exit code of a command that was interrupted, as of one that SIGINT ended.
pub(super) const EXIT: u8 = 130;

static CAME: AtomicBool = AtomicBool::new(false);

/// Waits for signals from now on: the first ends reading, the second the process.
pub(super) fn watch() -> Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("signals cannot be waited for")?;
    let first = {
        let _inside = runtime.enter();
        exit::signalled(kinds)?
    };
    let wait = move || {
        runtime.block_on(async {
            first.await;
            // ORDERING: nothing is handed over with it.
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
        .context("signals cannot be waited for")
}

/// Has a signal come?
pub(super) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
