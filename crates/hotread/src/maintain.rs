//! Maintenance: publishing queued updates and bringing copies up to date, for a call, a waiter or
//! the maintainer; and the end of a state.

use std::sync::Arc as StdArc;

use crate::HotReadState;
use crate::piece::{Caller, Left};
use crate::queue::Contender;
use crate::results::MaintenanceResult;
use crate::right::{AGAIN, APPLYING};
use crate::shared::Shared;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};
use crate::sync::holding;
use crate::turn::Turn;

/// Answer to a request for maintenance.
enum Asked {
    /// The holder will look again.
    Noted,
    Granted,
    /// The right may be free.
    Free,
}

impl<T: HotReadState> Shared<T> {
    /// Applies the updates that were queued when it began, piece by piece, and brings copies up to
    /// date.
    pub(crate) fn maintain(&self, caller: Caller) -> MaintenanceResult {
        let latest = self.latest_seq();
        let queued = self.queued_update_count();
        let mut result = MaintenanceResult::default();
        // Each copy may need each update, and a piece may end early for a clone.
        let pieces = 4 + 4 * (queued / self.settings.limits.piece);
        let mut more = false;
        for _ in 0..pieces {
            let Some(mut turn) = self.maintain_once(caller) else {
                more = false;
                result.busy = true;
                result.blocked_by_workers =
                    self.queued_update_count() > 0 && self.has_outdated_readers();
                break;
            };
            result.applied_updates += turn.applied;
            result.pruned_updates += turn.pruned;
            result.published |= turn.published;
            result.blocked_by_workers = turn.blocked || turn.held_back;
            self.report(&mut turn);
            more = turn.more;
            // Remaining work may have been queued since.
            let is_done = self.progress.settled() >= latest;
            if more && is_done || !more && !turn.behind {
                break;
            }
        }
        if more {
            self.hand_on();
        }
        result
    }

    /// Does one piece of maintenance, and returns what is left.
    pub(crate) fn maintain_piece(&self, caller: Caller) -> Left {
        let Some(mut turn) = self.maintain_once(caller) else {
            return Left::Busy;
        };
        self.report(&mut turn);
        if turn.no_clone {
            Left::NoClone
        } else if turn.more || turn.behind {
            Left::More
        } else if turn.blocked {
            Left::Blocked
        } else if turn.held_back {
            Left::HeldBack
        } else {
            Left::Nothing
        }
    }

    /// Takes a turn of maintenance. `None`: another thread is applying and will look again.
    fn maintain_once(&self, caller: Caller) -> Option<Turn> {
        let mut right = self.right.load(Relaxed);
        loop {
            if right & APPLYING != 0 {
                match self.ask_for_maintenance(caller) {
                    Asked::Noted => return None,
                    Asked::Granted => break,
                    Asked::Free => right = self.right.load(Relaxed),
                }
                continue;
            }
            // ORDERING: acquire what the previous holder did to the copies.
            match self
                .right
                .compare_exchange(right, right | APPLYING, Acquire, Relaxed)
            {
                Ok(_) => break,
                Err(now) => right = now,
            }
        }
        Some(self.hold(0, false, |applier| {
            applier.turn.is_maintainer = caller == Caller::Maintainer;
            applier.advance(true);
        }))
    }

    /// Makes the holder of the right look once more; if the holder has done its share, waits for
    /// the right.
    #[cold]
    fn ask_for_maintenance(&self, caller: Caller) -> Asked {
        let mut queue = self.queue.lock();
        let mut right = self.right.load(Relaxed);
        while right & APPLYING != 0 {
            match self
                .right
                .compare_exchange(right, right | AGAIN, Relaxed, Relaxed)
            {
                Ok(_) if queue.draining && caller != Caller::Hasty && !holding::any() => {
                    let caller = Contender::new();
                    queue.line.push_back(StdArc::clone(&caller));
                    drop(queue);
                    return match caller.wait() {
                        true => Asked::Granted,
                        false => Asked::Free,
                    };
                }
                Ok(_) => {
                    queue.thorough = true;
                    return Asked::Noted;
                }
                Err(now) => right = now,
            }
        }
        Asked::Free
    }

    /// Closes the state after its last `HotRead`: applies once more what a handle may still see,
    /// and drops what is blocked after that.
    pub(crate) fn close(&self) {
        if self.hot.registry.has_handles() {
            self.maintain(Caller::User);
        }
        self.queue.lock().closed = true;
        let mut right = self.right.load(Relaxed);
        // A thread that holds the right here is this one, inside an update, or one that polls a
        // `Maintenance`; it looks at the queue before it gives up the right.
        while right & APPLYING == 0 {
            match self
                .right
                .compare_exchange(right, right | APPLYING, Acquire, Relaxed)
            {
                Ok(_) => {
                    let mut turn = self.hold(0, false, |_| {});
                    return self.report(&mut turn);
                }
                Err(now) => right = now,
            }
        }
    }
}
