//! Writers: the queue, and the right to apply. Writers use flat combining (Hendler, Incze, Shavit
//! and Tzafrir, 2010): the thread that holds the right applies the updates that others queue
//! in the meantime, so that the copies do not move between writers' caches.
//!
//! The work of one call for others is bounded. A holder that has helped for long enough hands the
//! right to a caller that waits, and admits no further batches until one does. The updates of
//! running writers that can be queued ahead of a caller are bounded, too: at the bound, a caller
//! waits for room.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc as StdArc;

use crate::HotReadState;
use crate::applier::Applier;
use crate::copies::Unusual;
use crate::event::Event;
use crate::log::{Batch, Updates};
use crate::panics::{NoUnwind, resume};
use crate::piece::Caller;
use crate::queue::{Contender, GRANTED, Queue, QueueGuard, RETRY};
use crate::results::{BacklogFull, QueueResult};
use crate::right::{AGAIN, APPLYING, SEQ_SHIFT, next_right};
use crate::shared::Shared;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::holding;
use crate::tending::When;
use crate::turn::Turn;

/// Number of batches below which an intake counts as small. After two small ones in a row, the
/// holder lets batches gather.
const GATHERED: usize = 16;

/// Pauses for about a microsecond, so that a caller that queues without a pause does not meet the
/// holder at the lock for each batch.
fn gather() {
    if cfg!(not(any(hotread_loom, hotread_shuttle))) {
        (0..64).for_each(|_| std::hint::spin_loop());
    }
}

/// A batch that was not queued, because too many updates are ahead of it.
struct Refused<T: HotReadState> {
    updates: Updates<T>,
    pending: u64,
    limit: usize,
}

/// A caller's choice where there is no room.
#[derive(Clone, Copy)]
enum Patience {
    Waits,
    /// Takes a refusal instead; also if more than this number of updates would not be visible.
    Refuses(u64),
}

impl<T: HotReadState> Shared<T> {
    /// Queues one batch, and applies it unless another thread is applying.
    #[inline]
    pub(crate) fn queue(&self, updates: Updates<T>) -> QueueResult {
        // Never refused: the call waits instead.
        self.submit(updates, Patience::Waits).unwrap_or_default()
    }

    /// Like [`Shared::queue`], but refused where that would wait, and where more than `max_pending`
    /// updates would not be visible.
    pub(crate) fn try_queue(
        &self,
        updates: Vec<T::Action>,
    ) -> Result<QueueResult, BacklogFull<T::Action>> {
        let max_pending = self.settings.max_pending.map_or(u64::MAX, |max| max as u64);
        let patience = Patience::Refuses(max_pending);
        let refused = match self.submit(Updates::Many(updates), patience) {
            Ok(result) => return Ok(result),
            Err(refused) => refused,
        };
        let maintained = self.maintain(Caller::Hasty);
        match self.submit(refused.updates, patience) {
            Ok(mut result) => {
                result.applied_updates += maintained.applied_updates;
                Ok(result)
            }
            Err(refused) => Err(BacklogFull {
                updates: match refused.updates {
                    Updates::Many(updates) => updates,
                    _ => Vec::new(),
                },
                pending: refused.pending as usize,
                max_pending: refused.limit,
            }),
        }
    }

    #[inline]
    fn submit(&self, updates: Updates<T>, patience: Patience) -> Result<QueueResult, Refused<T>> {
        let len = updates.len() as u64;
        let mut right = self.right.load(Relaxed);
        while let Some(next) = next_right(right, len) {
            if let Patience::Refuses(max_pending) = patience
                && let Some(refused) = self.exceeds(right, len, max_pending)
            {
                return Err(Refused {
                    updates,
                    pending: refused,
                    limit: max_pending as usize,
                });
            }
            // ORDERING: acquire what the previous holder did to the copies.
            match self
                .right
                .compare_exchange_weak(right, next.word, Acquire, Relaxed)
            {
                Ok(_) => return Ok(self.apply(Batch::new(next.seq, updates))),
                Err(now) => right = now,
            }
        }
        self.submit_contended(updates, patience)
    }

    /// Returns the number of updates that are not visible, if `len` more would exceed
    /// `max_pending`.
    fn exceeds(&self, right: u64, len: u64, max_pending: u64) -> Option<u64> {
        // Updates settled since `right` was loaded may have numbers above the last one in it.
        let pending = (right >> SEQ_SHIFT).saturating_sub(self.progress.settled());
        (pending.saturating_add(len) > max_pending).then_some(pending)
    }

    /// Queues a batch while another thread holds the right.
    #[cold]
    fn submit_contended(
        &self,
        updates: Updates<T>,
        patience: Patience,
    ) -> Result<QueueResult, Refused<T>> {
        let len = updates.len() as u64;
        let limits = &self.settings.limits;
        // A thread that holds some state's right must not wait for the holder of another's, which
        // might be waiting for this thread.
        let waits = !holding::any();
        let mut waited = false;
        let mut queue = self.queue.lock();
        loop {
            let right = self.right.load(Relaxed);
            if let Patience::Refuses(max_pending) = patience
                && let Some(pending) = self.exceeds(right, len, max_pending)
            {
                let limit = max_pending as usize;
                return Err(Refused {
                    updates,
                    pending,
                    limit,
                });
            }
            if let Some(next) = next_right(right, len) {
                // Nothing is in the inbox, so ours is next.
                // ORDERING: acquire what the previous holder did to the copies.
                if (self
                    .right
                    .compare_exchange(right, next.word, Acquire, Relaxed))
                .is_ok()
                {
                    drop(queue);
                    return Ok(self.apply(Batch::new(next.seq, updates)));
                }
                continue;
            }
            let enters = queue.has_room(limits) || !waits;
            if !enters && let Patience::Refuses(_) = patience {
                let pending = (right >> SEQ_SHIFT).saturating_sub(self.progress.settled());
                let limit = limits.inbox;
                return Err(Refused {
                    updates,
                    pending,
                    limit,
                });
            }
            let numbers = if enters { len << SEQ_SHIFT } else { 0 };
            // ORDERING: only what the lock guards passes between us and the holder.
            if (self.right)
                .compare_exchange(right, (right + numbers) | AGAIN, Relaxed, Relaxed)
                .is_err()
            {
                continue;
            }
            if enters {
                let batch = Batch::new((right >> SEQ_SHIFT) + 1, updates);
                return Ok(self.leave(queue, batch));
            }
            let caller = Contender::new();
            if waited {
                // A caller that has waited before comes first.
                queue.line.push_front(StdArc::clone(&caller));
            } else {
                queue.line.push_back(StdArc::clone(&caller));
            }
            drop(queue);
            waited = true;
            let granted = caller.wait();
            queue = self.queue.lock();
            if granted {
                return Ok(self.apply_granted(queue, updates));
            }
        }
    }

    /// Puts a batch into the inbox, for the holder.
    fn leave(&self, mut queue: QueueGuard<'_, T>, batch: Batch<T>) -> QueueResult {
        let len = batch.updates.len();
        let (first, last) = (batch.first, batch.last());
        queue.inbox.push_back(batch);
        queue.inbox_updates += len;
        let was_blocked = queue.blocked_since.is_some();
        drop(queue);
        let published = self.progress.visible(first, last);
        // The holder may have found otherwise since; inside an update, it is about to look.
        let blocked =
            was_blocked && !self.progress.is_applying_here() && self.has_outdated_readers();
        QueueResult {
            first_seq: first,
            last_seq: last,
            queued_updates: len,
            applied_updates: 0,
            published,
            blocked_by_workers: blocked && !published,
        }
    }

    /// Applies a batch; the caller has just taken the right.
    #[inline]
    pub(crate) fn apply(&self, batch: Batch<T>) -> QueueResult {
        let batch = match self.defer(batch) {
            Ok(result) => return result,
            Err(batch) => batch,
        };
        let (first, last) = (batch.first, batch.last());
        let len = batch.updates.len();
        let turn = self.hold(first, true, |applier| {
            applier.take(batch);
            applier.advance(false);
        });
        self.answer(first, last, len, turn)
    }

    /// Applies the batches in the inbox, then `updates`; the right was handed to the caller.
    fn apply_granted(&self, mut queue: QueueGuard<'_, T>, updates: Updates<T>) -> QueueResult {
        let len = updates.len();
        // Numbers under the lock, so that all in the inbox have lower ones.
        let right = self.right.fetch_add((len as u64) << SEQ_SHIFT, Relaxed);
        let batch = Batch::new((right >> SEQ_SHIFT) + 1, updates);
        let (first, last) = (batch.first, batch.last());
        let intake = self.take_inbox(&mut queue);
        let line = mem::take(&mut queue.line);
        drop(queue);
        for caller in line {
            caller.tell(RETRY);
        }
        let turn = self.hold(first, false, |applier| {
            for batch in intake {
                applier.turn.helped += batch.updates.len();
                applier.take(batch);
            }
            applier.take(batch);
            applier.advance(false);
        });
        self.answer(first, last, len, turn)
    }

    #[inline]
    pub(crate) fn answer(&self, first: u64, last: u64, len: usize, mut turn: Turn) -> QueueResult {
        let published = self.progress.visible(first, last);
        let result = QueueResult {
            first_seq: first,
            last_seq: last,
            queued_updates: len,
            applied_updates: turn.applied,
            published,
            blocked_by_workers: turn.blocked && !published,
        };
        if turn.more {
            self.hand_on();
        }
        self.report(&mut turn);
        if let Some(payload) = turn.own_panic {
            resume(payload);
        }
        result
    }

    // ---- holding the right ----

    /// Works until no caller has asked for more or the right is handed on; the caller has just
    /// taken the right.
    ///
    /// `own` is the first number of the caller's batch. With `quick`, the queue is looked at only
    /// if there is more to do.
    ///
    /// Does not unwind: panics of user code are in the turn that it returns.
    #[inline]
    pub(crate) fn hold(
        &self,
        own: u64,
        quick: bool,
        work: impl FnOnce(&mut Applier<'_, T>),
    ) -> Turn {
        let no_unwind = NoUnwind;
        self.progress.begin_turn();
        holding::enter();
        let mut turn = Turn {
            own,
            ..Turn::default()
        };
        self.with_copies(&mut turn, work);
        let quick = quick && !(turn.blocked || turn.more || turn.no_clone || turn.was_noted);
        if !quick || !self.give_up_right() {
            self.serve_queue(&mut turn);
        }
        holding::leave();
        mem::forget(no_unwind);
        // A maintainer continues with the work that it found, but not with updates that it took on
        // in the meantime.
        if !turn.is_maintainer || turn.helped > 0 {
            self.attend();
        }
        turn
    }

    /// Wakes an idle maintainer if the second copy lacks updates.
    #[inline]
    pub(crate) fn attend(&self) {
        if self.tending.wants_attention() && self.progress.retained() > 0 {
            self.tending.schedule(When::Tick);
        }
    }

    /// Gives the right up on the straight path, where the word is known. `false`: a caller has
    /// asked for more.
    #[inline]
    pub(crate) fn give_up_straight(&self, right: u64) -> bool {
        // ORDERING: release what we did to the copies to the next holder. While a thread holds the
        // right, sequence numbers are assigned to others only together with `AGAIN`.
        self.right
            .compare_exchange(right, right & !APPLYING, Release, Relaxed)
            .is_ok()
    }

    /// Gives the right up if no caller has asked for more.
    #[inline]
    pub(crate) fn give_up_right(&self) -> bool {
        let mut right = self.right.load(Relaxed);
        if right & AGAIN != 0 {
            return false;
        }
        self.progress.end_turn();
        while right & AGAIN == 0 {
            // ORDERING: release what we did to the copies to the next holder.
            match self
                .right
                .compare_exchange_weak(right, right & !APPLYING, Release, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => right = now,
            }
        }
        self.progress.begin_turn();
        false
    }

    fn take_inbox(&self, queue: &mut Queue<T>) -> VecDeque<Batch<T>> {
        let spare = mem::take(&mut queue.spare);
        let taken = mem::replace(&mut queue.inbox, spare);
        // Under the lock, so that the count is never too low.
        self.progress
            .add_retained(mem::take(&mut queue.inbox_updates));
        taken
    }

    /// Serves what remains of a turn: others' batches, callers that wait, a blocked publication to
    /// be noted, the end of the state.
    #[cold]
    #[inline(never)]
    pub(crate) fn serve_queue(&self, turn: &mut Turn) {
        let limits = &self.settings.limits;
        let mut emptied = VecDeque::new();
        let mut small_intakes = 0;
        loop {
            if small_intakes > 1 {
                turn.helped += GATHERED;
                gather();
            }
            let mut queue = self.queue.lock();
            if emptied.capacity() <= 2 * limits.inbox {
                queue.spare = mem::take(&mut emptied);
            }
            // ORDERING: no other thread changes these bits while we hold the right and the lock.
            self.right.fetch_and(!AGAIN, Relaxed);
            // A backlog that this turn has not finished is left for the next.
            let leaves_more = turn.more;
            let spent = turn.helped >= limits.help || leaves_more;
            if !queue.inbox.is_empty() || queue.thorough {
                if spent && let Some(next) = queue.line.pop_front() {
                    return self.hand_over(queue, &next);
                }
                queue.draining |= spent;
                turn.helped += queue.inbox_updates;
                let thorough = mem::take(&mut queue.thorough);
                if thorough {
                    // Requests for maintenance are served within bounds, too.
                    turn.asked = true;
                    turn.helped += limits.help.div_ceil(16);
                }
                let mut intake = self.take_inbox(&mut queue);
                match intake.len() {
                    0..GATHERED => small_intakes += 1,
                    _ => small_intakes = 0,
                }
                let line = match queue.draining {
                    true => VecDeque::new(),
                    false => mem::take(&mut queue.line),
                };
                drop(queue);
                for caller in line {
                    caller.tell(RETRY);
                }
                self.with_copies(turn, |applier| {
                    for batch in intake.drain(..) {
                        applier.take(batch);
                    }
                    if leaves_more {
                        applier.count_retained();
                    } else {
                        applier.advance(thorough);
                    }
                });
                emptied = intake;
                continue;
            }
            if let Some(next) = queue.line.pop_front() {
                return self.hand_over(queue, &next);
            }
            if queue.closed && !mem::replace(&mut queue.disposed, true) {
                drop(queue);
                self.with_copies(turn, |applier| applier.close());
                continue;
            }
            return self.finish(queue, turn);
        }
    }

    /// Hands the right to a caller that waits.
    fn hand_over(&self, mut queue: QueueGuard<'_, T>, next: &Contender) {
        // Work left in the queue belongs to the next holder.
        self.right.fetch_or(AGAIN, Relaxed);
        queue.draining = false;
        self.progress.end_turn();
        drop(queue);
        next.tell(GRANTED);
    }

    /// Gives the right up under the lock, and records there what observers need.
    fn finish(&self, mut queue: QueueGuard<'_, T>, turn: &mut Turn) {
        queue.draining = false;
        if let Some(blocked_for) = queue.note(turn, &self.settings.limits)
            && self.settings.observer.is_some()
        {
            turn.events.push(Event::Blocked {
                by: Vec::new(),
                blocked_for,
            });
        }
        let noted = turn.blocked || turn.no_clone;
        self.with_copies(turn, |applier| {
            applier.copies.unusual.set(Unusual::NOTED, noted)
        });
        self.progress.end_turn();
        // ORDERING: as in `give_up_right`; under the lock, so that `AGAIN` is not set.
        self.right.fetch_and(!APPLYING, Release);
        drop(queue);
        if turn.no_clone && turn.asked {
            // No reader will wake a waiter that has left its request with us.
            self.hand_on();
        } else if (turn.no_clone || turn.blocked) && !turn.is_maintainer {
            self.tending.schedule(When::Now);
        }
    }

    /// Finds a waiter, or else a maintainer, to continue with the work that this turn has left.
    pub(crate) fn hand_on(&self) {
        if self.hot.watch.is_led() {
            self.hot.watch.wake();
        } else if !self.progress.wake_successor() {
            self.tending.schedule(When::Now);
        }
    }

    #[inline]
    pub(crate) fn with_copies(&self, turn: &mut Turn, work: impl FnOnce(&mut Applier<'_, T>)) {
        self.copies.with_mut(|copies| {
            work(&mut Applier {
                shared: self,
                // SAFETY: we hold the right to apply, so no other thread touches the copies; taking
                // it has ordered the last holder's writes before ours.
                copies: unsafe { &mut *copies },
                turn,
            });
        });
    }

    /// Counts the panics of a turn and calls the observer with its events, after the right was
    /// given up.
    #[inline]
    pub(crate) fn report(&self, turn: &mut Turn) {
        if turn.panics.caught != 0 {
            self.panics.fetch_add(turn.panics.caught, Relaxed);
        }
        if !turn.events.is_empty() {
            self.tell(mem::take(&mut turn.events));
        }
    }

    #[cold]
    fn tell(&self, events: Vec<Event>) {
        let Some(observer) = &self.settings.observer else {
            return;
        };
        let mut panics = crate::panics::Panics::default();
        for mut event in events {
            if let Event::Blocked { by, .. } = &mut event {
                *by = self.workers();
                by.retain(|worker| worker.blocking);
            }
            panics.run(|| observer(&event));
        }
        self.panics.fetch_add(panics.caught, Relaxed);
    }

    // ---- observers ----

    pub(crate) fn latest_seq(&self) -> u64 {
        self.right.load(Acquire) >> SEQ_SHIFT
    }
}
