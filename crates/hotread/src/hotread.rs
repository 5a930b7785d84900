//! The writer's side of the public interface.

mod builder;

pub use self::builder::HotReadBuilder;

use std::fmt;
use std::io;
use std::sync::{Arc as StdArc, Weak as StdWeak};
use std::time::Duration;

use crate::HotReadState;
use crate::handle::{HotReadGuard, HotReadHandle};
use crate::log::Updates;
use crate::maintainer::{Maintainer, Owner};
use crate::maintenance::Maintenance;
use crate::piece::Caller;
use crate::published::Published;
use crate::readers::Readers;
use crate::reply::{self, Reply};
use crate::results::{BacklogFull, MaintenanceResult, QueueResult, WaitError, WorkerStatus};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::tending::Tending;

/// Updates in a batch at most. Only a batch of updates without a size can have more.
pub const MAX_BATCH: usize = 1 << 31;

/// State that changes in small steps, for readers that cannot wait.
///
/// Cheap to clone; all clones are the same state. Every method takes `&self` and may be called
/// from any thread. See the [crate documentation](crate) for how it works and what it costs.
pub struct HotRead<T: HotReadState> {
    shared: Arc<Shared<T>>,
    owner: StdArc<Owner<T>>,
}

/// A [`HotRead`] that does not keep the state changeable: see [`HotRead::downgrade`].
pub struct WeakHotRead<T: HotReadState> {
    owner: StdWeak<Owner<T>>,
}

impl<T: HotReadState> HotRead<T> {
    /// A state with two copies: `initial`, and a clone of it made here.
    ///
    /// # Panics
    ///
    /// If cloning the state panics.
    pub fn new(initial: T) -> Self {
        Self::builder(initial).build()
    }

    /// A state with other settings than the defaults.
    pub fn builder(initial: T) -> HotReadBuilder<T> {
        HotReadBuilder::new(initial)
    }

    pub(crate) fn with_settings(initial: Box<T>, settings: Settings) -> Self {
        let shared = Shared::new(initial, settings);
        let owner = Owner::new(Arc::clone(&shared));
        Self { shared, owner }
    }

    // ---- reading ----

    /// A new handle, quiescent until its first [`current`](HotReadHandle::current).
    ///
    /// O(1), under a short lock that no reader or publication takes; never waits for an update
    /// that is being applied. Costs a slot of 128 bytes, made in groups of 64, which are used again
    /// but not freed before the state goes.
    #[must_use]
    pub fn create_handle(&self) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.shared), None)
    }

    /// As [`create_handle`](Self::create_handle), with the name that [`workers`](Self::workers)
    /// shows.
    #[must_use]
    pub fn create_named_handle(&self, name: impl Into<StdArc<str>>) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.shared), Some(name.into()))
    }

    /// A factory of handles that cannot write, for code that must only read.
    #[must_use]
    pub fn readers(&self) -> Readers<T> {
        Readers {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Runs `f` on the published state, from any thread and without a handle to manage.
    ///
    /// Costs a full fence and a few nanoseconds more than a handle. The copy is held only while
    /// `f` runs. The first call on a thread registers a slot for it, which the thread frees when
    /// it ends. Inside another `read` of the same state on the same thread, `f` sees the copy
    /// that the outer one sees, except while the thread's storage is being torn down.
    #[inline]
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        crate::read::read(&self.shared, f)
    }

    /// Holds the published state until the guard is dropped. For a value that has to be returned or
    /// sent; a worker that reads again and again keeps a handle.
    pub fn guard(&self) -> HotReadGuard<T> {
        HotReadGuard::new(self.create_handle())
    }

    /// A clone of the published state. Holds the copy while cloning.
    #[must_use]
    pub fn snapshot(&self) -> T {
        self.read(T::clone)
    }

    // ---- writing ----

    /// Queues an update, and tries at once to apply it to a free copy and publish that.
    ///
    /// Waits for no reader. If workers still hold every copy that could take the update, it stays
    /// queued ([`blocked_by_workers`](QueueResult::blocked_by_workers)) until the next call of
    /// this or of [`maintain`](Self::maintain) after a worker has let go. No thread makes that call
    /// by itself, unless there is a [`Maintainer`], a thread in
    /// [`wait_published`](Self::wait_published), or a [`published`](Self::published) future.
    ///
    /// If another thread is applying, that one applies this update, too, and this call returns at
    /// once. Only if more than 128 updates of other running writers are queued ahead does it wait
    /// for room: for as long as the thread that applies takes for those, or until it has had its
    /// turn to apply. From inside an update of any state it does not wait.
    ///
    /// Updates queued by one thread are applied in that order.
    ///
    /// Cost: two compare-and-swaps, an application of the update to each copy, one fence, and a
    /// look at each handle's slot. The second copy gets small updates together with the next
    /// publication. Beyond its own batch, one call applies at most about 6,000 updates of other
    /// writers, and 16,384 of a backlog that readers had held up to each of two copies; what is left
    /// of that, the next calls apply.
    ///
    /// # Panics
    ///
    /// If `apply_update` panics the first time it gets this update, the update's whole batch is
    /// removed and the panic resumed here. If another thread is applying, the panic stays there,
    /// and [`wait_published`](Self::wait_published) answers [`WaitError::Rejected`]. Panics of other
    /// callers' updates, of clones and of drops are caught: [`panics`](Self::panics) counts them,
    /// and an [observer](HotReadBuilder::observer) is told of rejections.
    #[inline]
    pub fn queue_update(&self, update: T::Action) -> QueueResult {
        self.shared.queue_one(update)
    }

    /// Queues a batch, which becomes visible as a whole.
    ///
    /// The iterator is consumed first. Otherwise as [`queue_update`](Self::queue_update).
    ///
    /// # Panics
    ///
    /// As `queue_update`, and if the iterator panics or yields more than [`MAX_BATCH`] updates; then
    /// nothing is queued.
    pub fn queue_updates(&self, updates: impl IntoIterator<Item = T::Action>) -> QueueResult {
        let mut updates: Vec<T::Action> = updates.into_iter().collect();
        assert_fits(updates.len());
        match updates.len() {
            0 => QueueResult::default(),
            1 => match updates.pop() {
                Some(update) => self.shared.queue(Updates::One(update)),
                None => QueueResult::default(),
            },
            _ => self.shared.queue(Updates::Many(updates)),
        }
    }

    /// Queues a batch unless that brought the updates that are not visible yet above
    /// [`max_pending`](HotReadBuilder::max_pending), or the call had to wait for room behind other
    /// writers. Maintains before it refuses. Waits for no thread.
    ///
    /// # Errors
    ///
    /// [`BacklogFull`] gives the updates back.
    ///
    /// # Panics
    ///
    /// As [`queue_updates`](Self::queue_updates).
    pub fn try_queue_updates(
        &self,
        updates: Vec<T::Action>,
    ) -> Result<QueueResult, BacklogFull<T::Action>> {
        assert_fits(updates.len());
        if updates.is_empty() {
            return Ok(QueueResult::default());
        }
        self.shared.try_queue(updates)
    }

    /// Queues a change by a closure, as one update in the order of the others. Its first answer
    /// reaches the caller: an update that may fail returns a `Result`.
    ///
    /// `change` runs once for each copy and follows the contract of
    /// [`HotReadState::apply_update`]: the same state has to give the same change. An update that
    /// fails leaves the state as it was.
    ///
    /// ```
    /// use hotread::HotRead;
    /// use std::{collections::HashMap, time::Duration};
    ///
    /// let stock = HotRead::new(HashMap::from([("apples", 3)]));
    /// let take = |n| stock.update(move |stock| match stock.get_mut("apples") {
    ///     Some(left) if *left >= n => Ok(*left -= n),
    ///     _ => Err("too few"),
    /// });
    /// assert_eq!(take(2).get(), Some(&Ok(())));
    /// let reply = take(2);
    /// stock.wait_published(reply.seq(), Duration::from_secs(1))?; // if readers are in the way
    /// assert_eq!(reply.get(), Some(&Err("too few")));
    /// # Ok::<(), hotread::WaitError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`queue_update`](Self::queue_update).
    pub fn update<R: Send + Sync + 'static>(
        &self,
        change: impl Fn(&mut T) -> R + Send + Sync + 'static,
    ) -> Reply<R> {
        reply::queue(change, |updates| self.shared.queue(updates))
    }

    /// Replaces the whole state, as one update in the order of the others.
    ///
    /// Readers see the old state or the new one. The new value is moved into one copy and cloned
    /// into each other. Updates that are not visible yet are dropped, as they would be replaced:
    /// they count as visible with it.
    pub fn replace(&self, state: T) -> QueueResult {
        self.shared.queue(Updates::Replace(Box::new(state)))
    }

    /// Publishes what is queued if readers have let go of a copy, and brings copies that have
    /// come free up to date, so that the log empties.
    ///
    /// To be called from time to time when updates may stop while workers are stale. If no handle
    /// holds an outdated copy, one call makes every queued update visible, and a second one empties
    /// the log (the first does both if all handles are quiescent). Behind a batch that panics it may take
    /// one call more, since what precedes the batch is published first. Works on what was queued when
    /// it began, in pieces, between which other callers get their turn. Waits for no reader, and for
    /// another thread only where [`queue_update`](Self::queue_update) would.
    ///
    /// Panics of user code are caught; see [`panics`](Self::panics).
    pub fn maintain(&self) -> MaintenanceResult {
        self.shared.maintain(Caller::User)
    }

    /// Has the process's maintainer thread complete blocked publications as soon as a worker lets
    /// go, and bring the second copy up to date, for as long as the returned value lives.
    ///
    /// # Errors
    ///
    /// The system's error, if it refuses the thread.
    pub fn spawn_maintainer(&self) -> io::Result<Maintainer> {
        Tending::register(&self.shared.tending).map(Maintainer::new)
    }

    /// A future that does what a [`Maintainer`] does, on the caller's runtime: spawn it. It runs
    /// updates when it is polled, a bounded piece each time, and ends with the last `HotRead`.
    ///
    /// One at a time: a second one takes over from the first. It is woken by updates that find it
    /// idle, and by a reader that lets go of a copy that it waits for; having no clock, it does not
    /// collect updates for the second copy as the thread does.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance::new(&self.shared.tending)
    }

    // ---- waiting ----

    /// Blocks until the update with this sequence number is visible, maintaining meanwhile.
    ///
    /// A timeout of zero makes one attempt, which is one bounded piece of work; no call exceeds its
    /// timeout by more than that. Of the threads that wait for one state, one is woken by readers;
    /// the others by the publication. For the number see [`QueueResult::last_seq`]; 0 is visible
    /// from the start.
    ///
    /// # Errors
    ///
    /// [`WaitError`] says why the update is not visible.
    pub fn wait_published(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        self.shared.wait(seq, timeout)
    }

    /// A future that resolves when the update with this sequence number is visible, or with the
    /// reason why it will not be.
    ///
    /// Needs no runtime. While it waits, the process's maintainer thread, or a
    /// [`maintenance`](Self::maintenance) future, completes blocked publications of this state.
    /// Polling runs no updates. If the system refuses the thread, it resolves with
    /// [`WaitError::NoThread`].
    pub fn published(&self, seq: u64) -> Published {
        let Shared {
            progress, tending, ..
        } = &*self.shared;
        Published::new(seq, self.latest_seq(), progress, tending)
    }

    // ---- observing ----

    /// Returns `true` within an update of this state, on the thread that applies it: calls that wait for
    /// updates answer [`WaitError::WithinUpdate`] there.
    #[must_use]
    pub fn is_within_update(&self) -> bool {
        self.shared.progress.is_applying_here()
    }

    /// Publications so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.progress.generation()
    }

    /// Sequence number of the last update queued. The first is 1; 0: none yet.
    #[must_use]
    pub fn latest_seq(&self) -> u64 {
        self.shared.latest_seq()
    }

    /// Sequence number of the last update that readers can see. Never ahead of what
    /// [`current`](HotReadHandle::current) returns, possibly behind it.
    #[must_use]
    pub fn published_seq(&self) -> u64 {
        self.shared.progress.published_seq()
    }

    /// Updates that are queued, or that some copy still lacks. Never 0 while an update whose call
    /// has returned is invisible or not yet applied to every copy. Takes a short lock.
    #[must_use]
    pub fn queued_update_count(&self) -> usize {
        self.shared.queued_update_count()
    }

    /// Every handle, and every thread that has used [`read`](Self::read): what it holds, and
    /// whether it is in the way. O(handles), under the registration lock for 64 of them at a time.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.shared.workers()
    }

    /// Panics of user code that were caught: of updates (those resumed to their callers included),
    /// clones, drops, wakers and the observer.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared
            .panics
            .load(crate::sync::atomic::Ordering::Relaxed)
    }

    /// Whether this is all that holds the state: no clone, handle, guard or factory of readers exists
    /// besides. For an owner that lets go of what is not in use, while no other thread can clone this one.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        // Ours, and the owner's.
        StdArc::strong_count(&self.owner) == 1 && Arc::strong_count(&self.shared) == 2
    }

    /// A reference that does not keep the state changeable.
    #[must_use]
    pub fn downgrade(&self) -> WeakHotRead<T> {
        WeakHotRead {
            owner: StdArc::downgrade(&self.owner),
        }
    }
}

/// Another reference to the same state.
impl<T: HotReadState> Clone for HotRead<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: StdArc::clone(&self.owner),
        }
    }
}

impl<T: HotReadState + Default> Default for HotRead<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: HotReadState> From<T> for HotRead<T> {
    fn from(initial: T) -> Self {
        Self::new(initial)
    }
}

impl<T: HotReadState> fmt::Debug for HotRead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotRead")
            .field("name", &self.shared.settings.name)
            .field("generation", &self.generation())
            .field("latest_seq", &self.latest_seq())
            .field("published_seq", &self.published_seq())
            .field("queued_update_count", &self.queued_update_count())
            .finish_non_exhaustive()
    }
}

impl<T: HotReadState> WeakHotRead<T> {
    /// The `HotRead`, unless the last one was dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<HotRead<T>> {
        let owner = self.owner.upgrade()?;
        Some(HotRead {
            shared: Arc::clone(owner.shared()),
            owner,
        })
    }
}

impl<T: HotReadState> Clone for WeakHotRead<T> {
    fn clone(&self) -> Self {
        Self {
            owner: StdWeak::clone(&self.owner),
        }
    }
}

impl<T: HotReadState> fmt::Debug for WeakHotRead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakHotRead")
    }
}

fn assert_fits(updates: usize) {
    assert!(
        updates <= MAX_BATCH,
        "a batch of {updates} updates is too long: at most {MAX_BATCH} fit; split it"
    );
}
