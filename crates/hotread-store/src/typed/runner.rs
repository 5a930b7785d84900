//! The thread that applies commits of other callers to typed tables: one for the process, regardless of the
//! number of tables.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Wake;
use std::time::{Duration, Instant};

/// Pause before the next attempt for a table that could not advance, because its readers hold old
/// copies or because it could not be read.
const RETRY: Duration = Duration::from_millis(50);

/// Work that a typed table has for the runner.
pub(super) trait Advance: Send + Sync {
    /// Does one bounded piece of the work.
    fn advance(&self) -> Step;
}

/// The work that is left after one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// No work until the next commit.
    Done,
    /// Another piece, which can be done at once.
    More,
    /// Work that must be retried later.
    Later,
}

/// The entry of a table in the runner's queue, and the waker of the table's subscription. It keeps
/// nothing alive: the store's own threads wake it, and must not be the last to hold a store.
#[derive(Clone)]
pub(super) struct Entry {
    table: Weak<dyn Advance>,
    /// Set while the table is in the queue.
    marked: Arc<AtomicBool>,
}

static RUNNER: Mutex<Option<Sender<Entry>>> = Mutex::new(None);

/// Starts the thread unless it runs already.
///
/// # Errors
/// If the system refuses to start a thread.
pub(super) fn start() -> io::Result<()> {
    let mut runner = RUNNER.lock().unwrap_or_else(PoisonError::into_inner);
    if runner.is_none() {
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("hotread-tables".to_owned())
            .spawn(move || run(&receiver))?;
        *runner = Some(sender);
    }
    Ok(())
}

impl Entry {
    pub(super) fn new(table: Weak<dyn Advance>) -> Self {
        Self {
            table,
            marked: Arc::default(),
        }
    }

    /// Schedules the table for the thread. The queue has at most one entry for each table.
    pub(super) fn schedule(&self) {
        if !self.mark() {
            return;
        }
        let runner = RUNNER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*runner {
            // The receiver lives as long as the process.
            let _ = sender.send(self.clone());
        }
    }

    /// Returns `false` if it was marked already.
    fn mark(&self) -> bool {
        !self.marked.swap(true, Ordering::AcqRel)
    }
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }
}

fn run(entries: &Receiver<Entry>) {
    let mut later: Vec<Entry> = Vec::new();
    let mut retry_at = Instant::now();
    loop {
        let next = if later.is_empty() {
            entries.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            entries.recv_timeout(retry_at.saturating_duration_since(Instant::now()))
        };
        match next {
            Ok(entry) => step(entry, &mut later, &mut retry_at),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if !later.is_empty() && Instant::now() >= retry_at {
            for entry in std::mem::take(&mut later) {
                step(entry, &mut later, &mut retry_at);
            }
        }
    }
}

fn step(entry: Entry, later: &mut Vec<Entry>, retry_at: &mut Instant) {
    let Some(table) = entry.table.upgrade() else {
        return;
    };
    // A commit that this step misses adds another entry.
    entry.marked.store(false, Ordering::Release);
    // The table may be dropped here. The state's code may panic during the drop, as may its payload.
    let step = catch_unwind(AssertUnwindSafe(move || table.advance()));
    let step = step.unwrap_or_else(|panic| {
        std::mem::forget(panic);
        Step::Done
    });
    match step {
        Step::Done => {}
        Step::More => entry.schedule(),
        Step::Later => {
            if entry.mark() {
                if later.is_empty() {
                    *retry_at = Instant::now() + RETRY;
                }
                later.push(entry);
            }
        }
    }
}
