//! A state that follows a table of its own store.
//!
//! A caller advances the state after its own commit, so that it reads what it wrote; the runner does so
//! after the commits of others. There is no queue: a subscription takes changes from memory, or from
//! the history if it has fallen behind.
//!
//! The state's own code runs under the lock of `feed`. That code may ask for the table's status or
//! position, which are in `shown`. Calls that would need `feed` return early on a thread that holds it
//! already.

use super::error::Error;
use super::refused::RefusedKeys;
use super::runner::{self, Advance, Entry, Step};
use super::shown::Shown;
use super::status::{Status, WaitForError};
use crate::error::ReadError;
use crate::read;
use crate::store::{Inner, Store};
use crate::subscription::{Recent, Subscription};
use hotread::{Event, HotRead, Maintainer, WaitError};
use hotread_proto::session::{Refused, Target};
use hotread_proto::{
    Callbacks, Change, ChangeOp, Decoder, Position, Record, Replicated, TableName, panic_message,
};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Number of copies of the state: readers may be stuck in two outdated ones while others still see
/// changes.
const COPIES: usize = 4;
/// Maximum number of changes that may wait to become visible. Beyond that, no more are taken from the table
/// until readers release old copies; the table's history keeps them in the meantime.
const MAX_INVISIBLE: u64 = 65_536;
/// Maximum number of changes in one piece of work, which bounds the delay of other tables on the runner, and
/// of a caller.
const MAX_STEP: usize = 1_024;
/// Longest time that a commit waits for another thread that is publishing its change.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// Bounds of the pause between attempts to read a table that cannot be read.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Shown in place of a panic's message, which might quote a value of a sealed table.
const SEALED_PANIC: &str = "the table is sealed: details are withheld";
/// Message for a state whose code panicked on another thread.
const UNAPPLIED: &str = "a change could not be applied";

thread_local! {
    /// Set while this thread advances a table, so that a call on it may come from the state's own code.
    static WORKS: Cell<bool> = const { Cell::new(false) };
}

pub(super) struct Follower<S: Replicated> {
    /// Weak, so that the program, not the runner, closes the store.
    store: Weak<Inner>,
    pub(super) name: TableName,
    pub(super) hot: HotRead<S>,
    pub(super) callbacks: Callbacks<S>,
    /// Completes publications that readers have blocked.
    _maintainer: Maintainer,
    /// Set once an update was removed because the state's code panicked, on any thread that applies.
    broken: Arc<AtomicBool>,
    feed: Mutex<Feed>,
    /// Locked briefly, and never while the state's code runs or the disk is used.
    shown: Mutex<Shown>,
    moved: Condvar,
    entry: Arc<Entry>,
}

struct Feed {
    /// `None` if the table must be read as a whole.
    subscription: Option<Subscription>,
    /// Records that the state refuses. While there are any, the state does not change.
    refused: RefusedKeys,
    pause: Duration,
    retry_at: Instant,
}

/// The content of a table, as read from disk.
struct Loaded<S> {
    state: S,
    position: Position,
    sealed: bool,
    refused: RefusedKeys,
}

impl<S: Replicated> Loaded<S> {
    fn read(store: &Store, name: &TableName) -> Result<Self, ReadError> {
        // Read from disk, because readers of the live table can keep it from being the newest.
        let (records, sealed) = store.reading(name, |table| {
            let records = read::snapshot(table, &store.pool())?;
            Ok((records, table.options.sealed))
        })?;
        let mut loaded = Self {
            state: S::with_capacity(records.len()),
            position: records.position(),
            sealed,
            refused: RefusedKeys::default(),
        };
        for record in records.iter() {
            match decode::<S>(record, sealed) {
                Ok((_, action)) => loaded.state.apply_owned(action),
                Err(refused) => loaded.refused.insert(refused),
            }
        }
        Ok(loaded)
    }
}

fn decode<S: Replicated>(record: &Record, sealed: bool) -> Result<(Arc<str>, S::Action), Refused> {
    let put = Decoder::<S>::new().put(&Arc::from(record.key()), record);
    put.map_err(|reason| Refused::new(record, reason, sealed))
}

impl<S: Replicated> Follower<S> {
    /// Reads the table and follows it from there.
    pub(super) fn start(store: &Store, name: &TableName) -> Result<Arc<Self>, Error> {
        runner::start().map_err(Error::no_thread)?;
        let (loaded, subscription) = Self::read_and_subscribe(store, name)?;
        if let Some(refused) = loaded.refused.first() {
            return Err(Error::rejected(name, refused));
        }
        let broken = Arc::<AtomicBool>::default();
        let breaks = broken.clone();
        let hot = HotRead::builder(loaded.state)
            .max_copies(COPIES)
            .name(name.as_str())
            .observer(move |event| {
                if let Event::Rejected { .. } = event {
                    breaks.store(true, Ordering::Release);
                }
            })
            .build();
        let maintainer = hot.spawn_maintainer().map_err(Error::no_thread)?;
        let mut shown = Shown::new(loaded.position, hot.latest_seq(), loaded.sealed);
        shown.ended = store.is_read_only().then_some(Status::Fixed);
        let follower = Arc::new_cyclic(|me: &Weak<Self>| Self {
            store: Arc::downgrade(&store.0),
            name: name.clone(),
            callbacks: Callbacks::new(),
            _maintainer: maintainer,
            broken,
            feed: Mutex::new(Feed {
                subscription,
                refused: loaded.refused,
                pause: FIRST_PAUSE,
                retry_at: Instant::now(),
            }),
            shown: Mutex::new(shown),
            hot,
            moved: Condvar::new(),
            entry: Arc::new(Entry::new(me.clone())),
        });
        // The runner's first step leaves the waker.
        follower.entry.schedule();
        Ok(follower)
    }

    /// Returns the table as it is on disk, and a subscription to the changes after that.
    fn read_and_subscribe(
        store: &Store,
        name: &TableName,
    ) -> Result<(Loaded<S>, Option<Subscription>), ReadError> {
        let loaded = Loaded::<S>::read(store, name)?;
        let follows = !store.is_read_only();
        let subscription = follows.then(|| store.subscribe(name, loaded.position));
        Ok((loaded, subscription.transpose()?))
    }

    /// Ends the following, because the program has dropped its last handle. Waits for a piece of work
    /// in progress, which may hold the store.
    pub(super) fn retire(&self) {
        self.shown().ended = Some(Status::Closed);
        self.callbacks.end();
        // The state's own code may have dropped the last handle; the line above ends its work.
        if !self.is_inside() {
            self.lock_feed().subscription = None;
        }
    }

    /// Returns `true` if the state cannot continue, so that another one must take its place.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status(), Status::Failed(_) | Status::Closed)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.shown().sealed
    }

    fn lock_feed(&self) -> MutexGuard<'_, Feed> {
        // A panic of the state's code is caught under this lock, and the state that it leaves is not
        // used.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the caller is the state's own code, which must not wait for this thread's
    /// work.
    fn is_inside(&self) -> bool {
        WORKS.get() || self.hot.is_within_update()
    }

    // ---- moving on ----

    /// Advances to a change that was committed before, so that the caller reads it unless readers block
    /// its publication.
    pub(super) fn catch_up(&self, to: Position) {
        while !self.shown().has_taken(to) && self.move_on(Some(to)) == Step::More {}
        // The runner does the rest.
        self.entry.schedule();
        let start = Instant::now();
        let update = self.shown().update_of(to);
        let Some(update) = update else { return };
        // Another thread may be applying at this moment, and publishes what it finds queued.
        while self.hot.published_seq() < update
            && start.elapsed() < SETTLES_WITHIN
            && self.blocking_reader().is_none()
        {
            match self.hot.wait_published(update, FIRST_PAUSE) {
                Ok(()) | Err(WaitError::Timeout) => {}
                Err(_) => return,
            }
        }
    }

    /// Takes changes up to `to`, or all changes, in one piece of work.
    pub(super) fn move_on(&self, to: Option<Position>) -> Step {
        match self.is_inside() {
            true => Step::Done,
            false => self.advance_locked(&mut self.lock_feed(), to),
        }
    }

    fn advance_locked(&self, feed: &mut Feed, to: Option<Position>) -> Step {
        WORKS.set(true);
        let step = catch_unwind(AssertUnwindSafe(|| self.take_changes(feed, to)));
        WORKS.set(false);
        let step = step.unwrap_or_else(|panic| {
            self.fail(&*panic);
            feed.subscription = None;
            // Dropping the panic's payload may panic as well.
            std::mem::forget(panic);
            Step::Done
        });
        if self.broken.load(Ordering::Acquire) {
            self.fail(&UNAPPLIED);
        }
        self.moved.notify_all();
        step
    }

    /// Ends the state after its code panicked.
    fn fail(&self, panic: &(dyn Any + Send)) {
        let mut shown = self.shown();
        if matches!(shown.ended, Some(Status::Failed(_) | Status::Closed)) {
            return;
        }
        let message = match shown.sealed {
            true => SEALED_PANIC,
            false => panic_message(panic),
        };
        shown.ended = Some(Status::Failed(message.into()));
        drop(shown);
        tracing::error!(table = %self.name, "the code of a table's state panicked: {message}");
    }

    fn take_changes(&self, feed: &mut Feed, to: Option<Position>) -> Step {
        let waker = Waker::from(self.entry.clone());
        let mut cx = Context::from_waker(&waker);
        let mut has_read = false;
        for _ in 0..MAX_STEP {
            if self.shown().is_over()
                || self.broken.load(Ordering::Acquire)
                || to.is_some_and(|to| self.shown().has_taken(to))
            {
                return Step::Done;
            }
            if self.hot.latest_seq() - self.hot.published_seq() >= MAX_INVISIBLE {
                return Step::Later;
            }
            let Some(subscription) = &mut feed.subscription else {
                // Reading a whole table is one piece of work, and includes all later changes of the
                // table.
                if has_read || Instant::now() < feed.retry_at {
                    return Step::Later;
                }
                has_read = true;
                match self.read_again(feed) {
                    Ok(()) => continue,
                    Err(error) => return self.unreadable(feed, &error),
                }
            };
            let taken = match subscription.poll_next(&mut cx) {
                Poll::Pending => return Step::Done,
                Poll::Ready(Ok(Recent::Change(change))) => Ok(Some(change)),
                Poll::Ready(Ok(Recent::Behind)) => subscription.next(Duration::ZERO),
                Poll::Ready(Err(error)) => Err(error),
            };
            match taken {
                Ok(Some(change)) => self.take(feed, &change),
                Ok(None) => {}
                Err(error @ (ReadError::Closed | ReadError::Storage(_))) => {
                    return self.unreadable(feed, &error);
                }
                // The next incarnation of the table, or its current content, is read as a whole.
                Err(_) => feed.subscription = None,
            }
        }
        Step::More
    }

    /// Takes one change.
    fn take(&self, feed: &mut Feed, change: &Change) {
        let was_held = !feed.refused.is_empty();
        let sealed = self.is_sealed();
        let mut actions = Vec::with_capacity(change.ops.len());
        for op in &change.ops {
            feed.refused.remove(op.key());
            match op {
                ChangeOp::Put(record) => match decode::<S>(record, sealed) {
                    Ok(action) => actions.push(action),
                    Err(refused) => feed.refused.insert(refused),
                },
                ChangeOp::Delete { key, .. } => {
                    let key = Arc::from(key.as_str());
                    let action = S::delete(&key);
                    actions.push((key, action));
                }
            }
        }
        let refused = feed.refused.first();
        if let Some(Refused { key, seq, reason }) = refused.as_ref().filter(|_| !was_held) {
            let table = &self.name;
            tracing::warn!(%table, %key, seq, "a value is refused, and the state stays as it was: {reason}");
        }
        if refused.is_some() || was_held {
            if refused.is_none() {
                // The refused changes were not kept, so the table is read again.
                feed.subscription = None;
            }
            return self.shown().hold(change.position, refused);
        }
        if actions.is_empty() {
            let last = self.hot.latest_seq();
            return self.shown().apply(change.position, last);
        }
        let told = self.callbacks.keep(&actions);
        let actions = actions.into_iter().map(|(_, action)| action);
        let last = self.hot.queue_updates(actions).last_seq;
        self.shown().apply(change.position, last);
        self.callbacks.note(last, told);
    }

    /// Reads the whole table in its current state, and follows it from there.
    fn read_again(&self, feed: &mut Feed) -> Result<(), ReadError> {
        let store = self.store.upgrade().ok_or(ReadError::Closed)?;
        let (loaded, subscription) =
            Self::read_and_subscribe(&Store(store, None, None), &self.name)?;
        feed.subscription = subscription;
        // Set before the state's code sees the values, because its panics may quote them.
        self.shown().sealed = loaded.sealed;
        feed.refused = loaded.refused;
        feed.pause = FIRST_PAUSE;
        let refused = feed.refused.first();
        let last = refused
            .is_none()
            .then(|| self.hot.replace(loaded.state).last_seq);
        let mut shown = self.shown();
        if !shown.is_over() {
            shown.ended = None;
        }
        match last {
            Some(last) => shown.apply(loaded.position, last),
            None => shown.hold(loaded.position, refused),
        }
        drop(shown);
        if let Some(last) = last {
            // Callbacks receive the difference.
            self.callbacks.note(last, None);
        }
        Ok(())
    }

    /// Records that the table cannot be followed now.
    fn unreadable(&self, feed: &mut Feed, error: &ReadError) -> Step {
        let (status, step) = match error {
            ReadError::Closed => (Status::Closed, Step::Done),
            ReadError::UnknownTable { .. } => (Status::Dropped, Step::Later),
            error => {
                feed.retry_at = Instant::now() + feed.pause;
                feed.pause = LONGEST_PAUSE.min(2 * feed.pause);
                (Status::Unreadable(error.to_string().into()), Step::Later)
            }
        };
        // Read as a whole once that is possible, so that certainly nothing is missing.
        feed.subscription = None;
        let mut shown = self.shown();
        if !shown.is_over() {
            shown.ended = Some(status);
        }
        step
    }

    // ---- what callers ask ----

    /// Returns the last change that readers see.
    pub(super) fn position(&self) -> Position {
        self.shown().visible(|update| self.is_visible(update))
    }

    /// Returns `true` if readers see every commit that was acknowledged before.
    pub(super) fn sees_all(&self) -> bool {
        let store = self.store.upgrade().filter(|store| store.writer.is_some());
        let table = store.and_then(|store| store.registry.get(&self.name));
        // The order matters: the feed has every acknowledged change.
        let head = table.map(|table| table.feed.head().position);
        head.is_some_and(|head| self.position().has_reached(head))
    }

    /// Returns `true` if readers see this update. A removed update is not visible, and ends the state.
    fn is_visible(&self, update: u64) -> bool {
        if self.hot.published_seq() < update {
            return false;
        }
        // The outcome is decided already, so this does not wait.
        let outcome = self.hot.wait_published(update, Duration::ZERO);
        if outcome.is_err() {
            self.broken.store(true, Ordering::Release);
        }
        outcome.is_ok()
    }

    /// Returns the name of a reader that blocks a publication, if there is such a reader.
    fn blocking_reader(&self) -> Option<Option<Arc<str>>> {
        let mut workers = self.hot.workers().into_iter();
        let blocking = workers.find(|worker| worker.blocking)?;
        (self.hot.published_seq() < self.hot.latest_seq()).then_some(blocking.name)
    }

    pub(super) fn status(&self) -> Status {
        let (ended, refused, sealed) = {
            let shown = self.shown();
            (shown.ended.clone(), shown.refused.clone(), shown.sealed)
        };
        match ended {
            Some(failed @ Status::Failed(_)) => return failed,
            _ if self.broken.load(Ordering::Acquire) => return Status::Failed(UNAPPLIED.into()),
            Some(ended) => return ended,
            None => {}
        }
        if let Some(refused) = refused {
            return Status::Rejected(refused);
        }
        if let Some(reader) = self.blocking_reader() {
            return Status::Blocked { reader };
        }
        let Some(mut panics) = self.callbacks.panics() else {
            return Status::Live;
        };
        if sealed {
            panics.last = SEALED_PANIC.into();
        }
        Status::CallbackPanicked(panics)
    }

    /// Waits until readers see a change.
    pub(super) fn wait_for(&self, to: Position, within: Duration) -> Result<(), WaitForError> {
        let start = Instant::now();
        let left = || within.saturating_sub(start.elapsed());
        if !self.is_inside()
            && let Ok(mut feed) = self.feed.try_lock()
        {
            self.advance_locked(&mut feed, Some(to));
        }
        self.entry.schedule();
        let mut shown = self.shown();
        loop {
            let visible = shown.visible(|update| self.is_visible(update));
            if visible.has_reached(to) {
                return Ok(());
            }
            if self.broken.load(Ordering::Acquire) || shown.is_over() {
                drop(shown);
                return Err(WaitForError::Ended(self.status()));
            }
            if let Some(update) = shown.update_of(to) {
                drop(shown);
                match self.hot.wait_published(update, left()) {
                    Ok(()) => {}
                    Err(WaitError::WithinUpdate) => return Err(WaitForError::WithinUpdate),
                    Err(WaitError::Timeout) => {
                        return Err(match self.blocking_reader() {
                            Some(_) => WaitForError::Blocked,
                            None => WaitForError::Timeout,
                        });
                    }
                    // The update was removed: the observer reports it, perhaps a moment later.
                    Err(_) => self.broken.store(true, Ordering::Release),
                }
                shown = self.shown();
                continue;
            }
            if let Some(refused) = &shown.refused
                && shown.at.has_reached(to)
            {
                return Err(WaitForError::Rejected(refused.clone()));
            }
            match &shown.ended {
                None if shown.at.epoch != to.epoch => {
                    return Err(WaitForError::OtherEpoch {
                        now: shown.at.epoch,
                    });
                }
                Some(status @ Status::Dropped) => {
                    return Err(WaitForError::Ended(status.clone()));
                }
                _ if self.is_inside() => return Err(WaitForError::WithinUpdate),
                _ if left().is_zero() => return Err(WaitForError::Timeout),
                _ => {}
            }
            let waited = self.moved.wait_timeout(shown, left().min(FIRST_PAUSE));
            shown = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<S: Replicated> Advance for Follower<S> {
    fn advance(&self) -> Step {
        self.move_on(None)
    }
}
