//! What a table's subscribers take: the recent changes in memory, once for all of them. Whoever
//! falls behind them reads the history on disk; there is no queue for each, so that slow subscribers
//! cost nothing.

use hotread_proto::{Change, Position};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most changes that are kept in memory for a table that has subscribers.
const MAX_RECENT: usize = 1_024;
/// Most bytes of keys and values in them. The latest change is kept whatever its size.
const MAX_RECENT_BYTES: usize = 16 << 20;

pub(crate) struct Feed {
    recent: Mutex<Recent>,
    moved: Condvar,
}

struct Recent {
    /// The last change, whether it is kept or not.
    head: Position,
    /// The last changes without a gap, if there are subscribers.
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    subscribers: usize,
    closed: Option<Closed>,
}

/// Why no change will come any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The table was dropped, or began another epoch.
    Table,
    /// The store was closed.
    Store,
}

/// What the feed can say of the next change.
pub(crate) enum Taken {
    Change(Arc<Change>),
    /// It has been let go of; the history has it, if anything has.
    Behind,
    /// There is none yet.
    Waiting,
    /// There will be none.
    Closed(Closed),
}

impl Feed {
    pub(crate) fn new(head: Position) -> Self {
        let recent = Recent {
            head,
            changes: VecDeque::new(),
            bytes: 0,
            subscribers: 0,
            closed: None,
        };
        Self {
            recent: Mutex::new(recent),
            moved: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, changes: &[Arc<Change>]) {
        let Some(last) = changes.last() else { return };
        let mut recent = self.lock();
        recent.head = last.position;
        if recent.subscribers == 0 {
            return;
        }
        recent.bytes += changes.iter().map(|change| change.size()).sum::<usize>();
        recent.changes.extend(changes.iter().cloned());
        while recent.changes.len() > MAX_RECENT
            || (recent.bytes > MAX_RECENT_BYTES && recent.changes.len() > 1)
        {
            let oldest = recent.changes.pop_front().expect("there are several");
            recent.bytes -= oldest.size();
        }
        drop(recent);
        self.moved.notify_all();
    }

    /// The change `seq`, waiting for it as long as `patience`.
    pub(crate) fn take(&self, seq: u64, patience: Duration) -> Taken {
        let recent = self.lock();
        let (recent, _) = self
            .moved
            .wait_timeout_while(recent, patience, |recent| {
                seq > recent.head.seq && recent.closed.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        if seq > recent.head.seq {
            return recent.closed.map_or(Taken::Waiting, Taken::Closed);
        }
        let first = recent.head.seq + 1 - recent.changes.len() as u64;
        match seq.checked_sub(first) {
            Some(at) => Taken::Change(recent.changes[at as usize].clone()),
            None if recent.closed == Some(Closed::Table) => Taken::Closed(Closed::Table),
            None => Taken::Behind,
        }
    }

    pub(crate) fn head(&self) -> Position {
        self.lock().head
    }

    pub(crate) fn join(&self) {
        self.lock().subscribers += 1;
    }

    pub(crate) fn leave(&self) {
        let mut recent = self.lock();
        recent.subscribers -= 1;
        if recent.subscribers == 0 {
            recent.changes = VecDeque::new();
            recent.bytes = 0;
        }
    }

    pub(crate) fn close(&self, why: Closed) {
        self.lock().closed.get_or_insert(why);
        self.moved.notify_all();
    }
}
