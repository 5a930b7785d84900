//! Waiting on a thread until an update is visible.

use std::pin::pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::HotReadState;
use crate::handle::HotReadHandle;
use crate::piece::{Caller, Left};
use crate::progress::{WaiterKey, Waiting};
use crate::results::WaitError;
use crate::shared::Shared;
use crate::sync::atomic::{Ordering::SeqCst, fence};
use crate::sync::{barrier, thread};
use crate::tending::When;
use crate::watch::{Leader, POLL};

/// A waiter's place among those that a publication wakes.
struct Place<'a, T: HotReadState> {
    shared: &'a Shared<T>,
    leader: StdArc<Leader>,
    key: Option<WaiterKey>,
    /// The waiter has registered, so that it may have been woken to lead.
    joined: bool,
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

impl<T: HotReadState> Place<'_, T> {
    fn register(&mut self, seq: u64, waker: &Waker) {
        self.unregister();
        self.joined = true;
        let progress = &self.shared.progress;
        self.key = Some(progress.register(Waiting::Thread, seq, waker.clone()));
    }

    fn unregister(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.progress.unregister(key);
        }
    }
}

impl<T: HotReadState> Drop for Place<'_, T> {
    /// Ends the wait, regardless of its outcome. A leader gets a successor; a follower wakes no
    /// thread.
    fn drop(&mut self) {
        self.unregister();
        if self.joined && !self.shared.pass_lead(&self.leader) {
            self.shared.tending.schedule(When::Now);
        }
    }
}

impl<T: HotReadState> HotReadHandle<T> {
    /// Waits until [`current`](Self::current) would return a newer state than it did last, and
    /// returns `true`, or `false` after `timeout`. The counterpart of [`changed`](Self::changed)
    /// for a thread. While it waits, the handle is quiescent.
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`] if the last `HotRead` is gone and the reader has seen its last state;
    /// [`WaitError::WithinUpdate`] within an update of this state.
    pub fn wait_changed(&mut self, timeout: Duration) -> Result<bool, WaitError> {
        if self.progress().is_applying_here() {
            return Err(WaitError::WithinUpdate);
        }
        // A timeout beyond the clock's range never passes.
        let deadline = Instant::now().checked_add(timeout);
        let waker = Waker::from(StdArc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut changed = pin!(self.changed());
        loop {
            if let Poll::Ready(outcome) = changed.as_mut().poll(&mut context) {
                return outcome.map(|()| true);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return Ok(false),
                Some(left) => thread::park_timeout(left),
            }
        }
    }
}

impl<T: HotReadState> Shared<T> {
    pub(crate) fn wait(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        if let Some(outcome) = self.progress.outcome(seq) {
            return outcome;
        }
        let latest = self.latest_seq();
        if seq > latest {
            return Err(WaitError::NotQueued { latest });
        }
        if self.progress.is_applying_here() {
            return Err(WaitError::WithinUpdate);
        }
        // A timeout beyond the clock's range never passes.
        let deadline = Instant::now().checked_add(timeout);
        let time_left =
            || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let waker = Waker::from(StdArc::new(Unpark(thread::current())));
        let mut place = Place {
            shared: self,
            leader: Leader::thread(),
            key: None,
            joined: false,
        };
        let mut attempt = true;
        loop {
            if attempt && let Left::More = self.maintain_piece(Caller::User) {
                let outcome = match (self.progress.outcome(seq), time_left()) {
                    (Some(outcome), _) => outcome,
                    (None, Some(Duration::ZERO)) => Err(WaitError::Timeout),
                    _ => continue,
                };
                // The leader may have left the work to us and be asleep.
                self.hand_on();
                return outcome;
            }
            if let Some(outcome) = self.progress.outcome(seq) {
                return outcome;
            }
            let left = time_left();
            if left == Some(Duration::ZERO) {
                return Err(WaitError::Timeout);
            }
            place.register(seq, &waker);
            let mut pause = left;
            if self.hot.watch.lead(&place.leader) {
                attempt = true;
                let certain = barrier::heavy();
                // The last look. A thread that is found applying will look again, and wakes us if
                // it publishes; if the copy is found held, its readers will wake us.
                match self.maintain_piece(Caller::User) {
                    Left::More => continue,
                    Left::NoClone => pause = Some(left.unwrap_or(POLL).min(POLL)),
                    _ if !certain => pause = Some(left.unwrap_or(POLL).min(POLL)),
                    _ => {}
                }
                if self.progress.outcome(seq).is_some() || !place.leader.is_armed() {
                    continue;
                }
            } else {
                // The leader does the work, and the thread that publishes wakes us.
                attempt = false;
                if self.progress.outcome(seq).is_some() || !self.hot.watch.is_led() {
                    attempt = true;
                    continue;
                }
            }
            match pause {
                None => thread::park(),
                Some(pause) => thread::park_timeout(pause),
            }
        }
    }

    /// Ends the lead of `leader`, and finds a successor among the threads that wait, unless another
    /// one leads. `false`: no thread waits.
    pub(crate) fn pass_lead(&self, leader: &StdArc<Leader>) -> bool {
        self.hot.watch.resign(leader);
        // ORDERING: against the fence between a follower's registration and its look at the leader.
        fence(SeqCst);
        self.hot.watch.is_led() || self.progress.wake_successor()
    }
}
