//! Batches that writers leave to the holder of the right to apply, and callers that wait for the
//! holder.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use crate::HotReadState;
use crate::log::Batch;
use crate::settings::Limits;
use crate::sync::atomic::{
    AtomicU8,
    Ordering::{Acquire, Release},
};
use crate::sync::{MutexGuard, clock, thread};
use crate::turn::Turn;

/// Data behind the short lock, under which no user code runs.
pub(crate) struct Queue<T: HotReadState> {
    /// Batches that no holder has taken yet. Empty unless [`AGAIN`] is set.
    pub(crate) inbox: VecDeque<Batch<T>>,
    pub(crate) inbox_updates: usize,
    /// The emptied buffer of an earlier inbox.
    pub(crate) spare: VecDeque<Batch<T>>,
    /// Contenders that wait for room, or for the right. Empty unless [`AGAIN`] is set.
    pub(crate) line: VecDeque<StdArc<Contender>>,
    /// The holder has done its share: nothing more is admitted until it has handed the right on.
    pub(crate) draining: bool,
    /// A caller that found the right taken has called `maintain`.
    pub(crate) thorough: bool,
    /// The last `HotRead` was dropped.
    pub(crate) closed: bool,
    /// The updates left by that drop were discarded.
    pub(crate) disposed: bool,
    /// Time at which the publication that is now blocked was first found blocked.
    pub(crate) blocked_since: Option<Instant>,
    /// Time blocked at which the next report is due.
    pub(crate) report_at: Duration,
}

/// A caller that waits.
pub(crate) struct Contender {
    thread: thread::Thread,
    answer: AtomicU8,
}

const WAIT: u8 = 0;
/// Answer of the holder: there is room, try again.
pub(crate) const RETRY: u8 = 1;
/// Answer of the holder: this caller now has the right to apply.
pub(crate) const GRANTED: u8 = 2;

impl Contender {
    pub(crate) fn new() -> StdArc<Self> {
        StdArc::new(Self {
            thread: thread::current(),
            answer: AtomicU8::new(WAIT),
        })
    }

    pub(crate) fn tell(&self, answer: u8) {
        // ORDERING: release what the holder did, for the caller that receives the right.
        self.answer.store(answer, Release);
        self.thread.unpark();
    }

    /// Waits for the answer. Returns `true` if the right was granted.
    pub(crate) fn wait(&self) -> bool {
        loop {
            match self.answer.load(Acquire) {
                WAIT => thread::park(),
                answer => return answer == GRANTED,
            }
        }
    }
}

impl<T: HotReadState> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            inbox: VecDeque::new(),
            inbox_updates: 0,
            spare: VecDeque::new(),
            line: VecDeque::new(),
            draining: false,
            thorough: false,
            closed: false,
            disposed: false,
            blocked_since: None,
            report_at: Duration::ZERO,
        }
    }

    pub(crate) fn inbox_updates(&self) -> usize {
        self.inbox_updates
    }

    pub(crate) fn blocked_for(&self) -> Option<Duration> {
        self.blocked_since.map(|since| since.elapsed())
    }

    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        !self.draining && self.inbox_updates < limits.inbox
    }

    /// Records whether a publication is blocked, and returns the time blocked if a report is due.
    pub(crate) fn note(&mut self, turn: &Turn, limits: &Limits) -> Option<Duration> {
        if !turn.blocked {
            self.blocked_since = None;
            return None;
        }
        if self.blocked_since.is_none() || turn.published {
            self.blocked_since = clock::now();
            self.report_at = limits.report;
            return None;
        }
        let blocked_for = self.blocked_for()?;
        (blocked_for >= self.report_at).then(|| {
            self.report_at = blocked_for * 2;
            blocked_for
        })
    }
}

pub(crate) type QueueGuard<'a, T> = MutexGuard<'a, Queue<T>>;
