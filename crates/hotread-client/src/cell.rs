//! What a replica's task tells those who ask how it is doing.

use crate::replica::Status;
use hotread_proto::{ErrorBody, Position};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How a replica is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) status: Status,
    /// Where readers are.
    pub(crate) visible: Option<Position>,
    /// Where the state stands that was queued last.
    pub(crate) received: Option<Position>,
    /// The table's last transaction, as far as is known.
    pub(crate) head: u64,
    pub(crate) fresh_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Cell {
    began: Instant,
    now: watch::Sender<Now>,
    /// Microseconds from `began` until the content was certainly the newest, plus one; 0: not known.
    /// Beside `now`, so that reading it costs one load.
    fresh: AtomicU64,
}

impl Cell {
    pub(crate) fn new(began: Instant) -> Self {
        let now = Now {
            status: Status::Stale { since: None },
            visible: None,
            received: None,
            head: 0,
            fresh_at: None,
        };
        Self {
            began,
            now: watch::Sender::new(now),
            fresh: AtomicU64::new(0),
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn set(&self, now: Now) {
        let fresh = now.fresh_at.map_or(0, |at| {
            let micros = at.saturating_duration_since(self.began).as_micros();
            u64::try_from(micros).map_or(u64::MAX, |micros| micros.saturating_add(1))
        });
        // Nothing else is read on the strength of this value.
        self.fresh.store(fresh, Ordering::Relaxed);
        self.now.send_if_modified(|old| {
            let changed = *old != now;
            *old = now;
            changed
        });
    }

    /// It is over.
    pub(crate) fn fail(&self, body: ErrorBody) {
        self.now
            .send_modify(|now| now.status = Status::Failed(body));
    }

    /// Not to be held for long: the task waits for it.
    pub(crate) fn now(&self) -> watch::Ref<'_, Now> {
        self.now.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    pub(crate) fn age(&self) -> Option<Duration> {
        let micros = self.fresh.load(Ordering::Relaxed).checked_sub(1)?;
        let now = self.began.elapsed();
        Some(now.saturating_sub(Duration::from_micros(micros)))
    }
}
