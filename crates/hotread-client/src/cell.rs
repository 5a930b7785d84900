//! What a replica's task tells those who ask how it is doing.

use crate::status::Status;
use hotread_proto::session::Refused;
use hotread_proto::{ErrorBody, Position};
use std::sync::Arc;
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
    pub(crate) queued: Option<Position>,
    /// What was received, though it may be held back.
    pub(crate) received: Option<Position>,
    /// The table's last transaction, as far as is known.
    pub(crate) head: u64,
    pub(crate) fresh_at: Option<Instant>,
    /// Records that are left out, the first ones of them.
    pub(crate) left_out: Arc<[Refused]>,
    /// Why the last connection ended.
    pub(crate) trouble: Option<Arc<str>>,
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
            // Nobody sees this before there is a state.
            status: Status::Stale { since: began },
            visible: None,
            queued: None,
            received: None,
            head: 0,
            fresh_at: None,
            left_out: Arc::from([]),
            trouble: None,
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
        // ORDERING: releases what was published before, for `age`.
        self.fresh.store(fresh, Ordering::Release);
        self.now.send_if_modified(|old| {
            let changed = *old != now;
            *old = now;
            changed
        });
    }

    /// It is over. What was said first counts.
    pub(crate) fn fail(&self, body: ErrorBody) {
        self.now.send_if_modified(|now| {
            let first = !matches!(now.status, Status::Failed(_));
            if first {
                now.status = Status::Failed(body);
            }
            first
        });
    }

    /// Not to be held for long: the task waits for it.
    pub(crate) fn now(&self) -> watch::Ref<'_, Now> {
        self.now.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    pub(crate) fn age(&self) -> Option<Duration> {
        // ORDERING: acquires what was published before that time was proved: whoever asks for the
        // current state after this gets one that is at least so fresh.
        let micros = self.fresh.load(Ordering::Acquire).checked_sub(1)?;
        let now = self.began.elapsed();
        Some(now.saturating_sub(Duration::from_micros(micros)))
    }
}
