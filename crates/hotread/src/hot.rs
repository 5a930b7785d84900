//! The writer's side of the public interface.

use std::fmt;
use std::sync::{Arc as StdArc, Weak as StdWeak};
use std::time::Duration;

use crate::core::Core;
use crate::handle::HotReadHandle;
use crate::log::Updates;
use crate::maintainer::{Maintainer, Owner};
use crate::pool::MAX_COPIES;
use crate::results::{BacklogFull, MaintenanceResult, QueueResult, WaitError, WorkerStatus};
use crate::sync::Arc;
use crate::wait::Published;

/// A state that can be kept by [`HotRead`]: a value, and updates that change it in small steps.
///
/// # The contract
///
/// Every copy of the state sees the same updates in the same order, each on its own. So that the
/// copies stay equal:
///
/// - [`apply_update`](Self::apply_update) depends on `self` and `update` and on nothing else: no
///   clock, no randomness, no I/O, no iteration order of a randomly seeded map.
/// - Clones share nothing that updates or readers mutate. An `Arc` of something immutable is
///   fine; an `Arc<Mutex<_>>` that `apply_update` locks is not.
/// - [`apply_owned`](Self::apply_owned) does the same as `apply_update`. It runs at most once for
///   an update, and possibly never.
///
/// [`testing::check_contract`](crate::testing::check_contract) checks all three. Breaking the
/// contract is not unsound: readers then see states that differ from one generation to the next.
///
/// # Calls from inside an update
///
/// `apply_update`, `apply_owned`, `Clone` and `Drop` may use the same `HotRead`: observe it, make
/// and drop handles, and queue updates, which are applied after the present ones. An update queued
/// from inside `apply_update` is queued once for each copy.
///
/// # Panics
///
/// A panic in the first application of an update removes its whole batch. See
/// [`HotRead::queue_update`].
pub trait HotReadState: Clone + Send + Sync + 'static {
    /// One step of change.
    type Action: Clone + Send + Sync + 'static;

    /// Applies one update. Called once for each copy, with the same updates in the same order.
    fn apply_update(&mut self, update: &Self::Action);

    /// Applies one update and takes it. Called instead of [`apply_update`](Self::apply_update) on
    /// the last copy that an update reaches, so that values can be moved rather than cloned.
    fn apply_owned(&mut self, update: Self::Action) {
        self.apply_update(&update);
    }
}

/// What the builder has settled.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) max_copies: usize,
    pub(crate) max_pending: Option<usize>,
    pub(crate) name: Option<StdArc<str>>,
}

/// State that changes in small steps, for readers who cannot wait.
///
/// Cheap to clone; all clones are the same state. Every method takes `&self` and may be called
/// from any thread. See the [crate documentation](crate) for how it works and what it costs.
pub struct HotRead<T: HotReadState> {
    core: Arc<Core<T>>,
    owner: StdArc<Owner<T>>,
}

/// A [`HotRead`] that does not keep the state changeable: see [`HotRead::downgrade`].
pub struct WeakHotRead<T: HotReadState> {
    owner: StdWeak<Owner<T>>,
}

/// Settings of a new [`HotRead`].
#[derive(Clone)]
#[must_use = "a builder makes nothing until `build` is called"]
pub struct HotReadBuilder<T: HotReadState> {
    initial: T,
    settings: Settings,
}

impl<T: HotReadState> HotReadBuilder<T> {
    /// Lets the pool grow to `n` copies while readers hold outdated ones; `n` copies tolerate
    /// `n - 2` distinct stalled generations. The default is 2.
    ///
    /// Each copy costs the memory of the state. An extra one is made by cloning the published
    /// state when no copy is free, and dropped when 1,024 publications did not need it.
    ///
    /// 0 and 1 mean 2, because one copy is being read while the other is written; more than
    /// [`MAX_COPIES`](crate::MAX_COPIES) means that many.
    pub fn max_copies(mut self, n: usize) -> Self {
        self.settings.max_copies = n.clamp(2, MAX_COPIES);
        self
    }

    /// Lets [`try_queue_updates`](HotRead::try_queue_updates) refuse a batch that would bring the
    /// updates that are not visible yet above `n`. The default is no limit.
    ///
    /// [`queue_update`](HotRead::queue_update) and its kin accept whatever the limit. With 0,
    /// every `try_queue_updates` of anything is refused.
    pub fn max_pending(mut self, n: usize) -> Self {
        self.settings.max_pending = Some(n);
        self
    }

    /// Names the state, for `Debug` and for its maintainer's thread.
    pub fn name(mut self, name: impl Into<StdArc<str>>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Makes the state and its second copy, which costs one clone.
    ///
    /// # Panics
    ///
    /// If cloning the state panics.
    pub fn build(self) -> HotRead<T> {
        let core = Core::new(self.initial, self.settings);
        HotRead {
            owner: Owner::new(Arc::clone(&core)),
            core,
        }
    }
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
        HotReadBuilder {
            initial,
            settings: Settings {
                max_copies: 2,
                max_pending: None,
                name: None,
            },
        }
    }

    // ---- reading ----

    /// A new handle, quiescent until its first [`current`](HotReadHandle::current).
    ///
    /// O(1), under a short lock that no reader or publication takes; never waits for an update
    /// that is being applied. Costs 128 bytes, which are reused but not given back before the
    /// state goes.
    pub fn create_handle(&self) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.core), None)
    }

    /// As [`create_handle`](Self::create_handle), with the name that [`workers`](Self::workers)
    /// shows.
    pub fn create_named_handle(&self, name: impl Into<StdArc<str>>) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.core), Some(name.into()))
    }

    /// Runs `f` on the published state, from any thread and without a handle to manage.
    ///
    /// Costs a full fence and a few nanoseconds more than a handle. The copy is held only while
    /// `f` runs. The first call on a thread registers a slot for it, which the thread frees when
    /// it ends. Inside another `read` of the same state on the same thread, `f` sees the copy
    /// that the outer one sees.
    #[inline]
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        crate::read::read(&self.core, f)
    }

    /// A clone of the published state. Holds the copy while cloning.
    pub fn snapshot(&self) -> T {
        self.read(T::clone)
    }

    // ---- writing ----

    /// Queues an update, and tries at once to apply it to a free copy and publish that.
    ///
    /// Returns without waiting for any reader, nor for another thread that is applying: that one
    /// then applies this update, too. If workers still hold every copy that could take it, the
    /// update stays queued ([`blocked_by_workers`](QueueResult::blocked_by_workers)) until the
    /// next call of this or of [`maintain`](Self::maintain) after a worker has let go. Nobody
    /// makes that call by itself, unless there is a [`Maintainer`], a thread in
    /// [`wait_published`](Self::wait_published), or a [`published`](Self::published) future.
    ///
    /// Updates queued by one thread are applied in that order.
    ///
    /// Cost: two compare-and-swaps, an application of the update to each copy, one fence, and a
    /// look at each handle's slot. The second copy gets small updates together with the next
    /// publication.
    ///
    /// # Panics
    ///
    /// If `apply_update` panics the first time it gets an update, the update's whole batch is
    /// removed; its numbers stay used, and who waits for them gets [`WaitError::Rejected`]. If an
    /// application to a further copy panics, the update is visible already and stays. In both
    /// cases the copy concerned is made anew by cloning the published one, the other updates are
    /// applied, and then the first panic is resumed in the call that was applying, which may be
    /// another thread's.
    pub fn queue_update(&self, update: T::Action) -> QueueResult {
        self.core.queue(Updates::One(update))
    }

    /// Queues a batch: readers see it whole or not at all. See [`queue_update`](Self::queue_update).
    ///
    /// The iterator runs before anything is locked. An empty batch does nothing and returns
    /// zeros.
    pub fn queue_updates(&self, updates: impl IntoIterator<Item = T::Action>) -> QueueResult {
        let mut updates: Vec<_> = updates.into_iter().collect();
        if cfg!(hotread_fault = "split_batch") {
            return updates
                .into_iter()
                .map(|update| self.queue_update(update))
                .last()
                .unwrap_or_default();
        }
        match updates.len() {
            0 => QueueResult::default(),
            1 => match updates.pop() {
                Some(update) => self.core.queue(Updates::One(update)),
                None => QueueResult::default(),
            },
            _ => self.core.queue(Updates::Many(updates)),
        }
    }

    /// Queues a batch unless that brought the updates that are not visible yet above
    /// [`max_pending`](HotReadBuilder::max_pending). Maintains before it refuses.
    ///
    /// # Errors
    ///
    /// [`BacklogFull`] gives the updates back.
    pub fn try_queue_updates(
        &self,
        updates: Vec<T::Action>,
    ) -> Result<QueueResult, BacklogFull<T::Action>> {
        if updates.is_empty() {
            return Ok(QueueResult::default());
        }
        self.core.try_queue(updates)
    }

    /// Replaces the whole state, as one update in the order of the others.
    ///
    /// Readers see the old state or the new one. The new value is moved into one copy and cloned
    /// into each other.
    pub fn replace(&self, state: T) -> QueueResult {
        self.core.queue(Updates::Replace(Box::new(state)))
    }

    /// Publishes what is queued if readers have let go of a copy, and brings copies that have
    /// come free up to date, so that the log empties.
    ///
    /// To be called from time to time when updates may stop while workers are stale. If no handle
    /// holds an outdated copy, one call makes every queued update visible, and a second one empties
    /// the log (the first does both if all handles are quiescent). Never waits.
    ///
    /// # Panics
    ///
    /// As [`queue_update`](Self::queue_update).
    pub fn maintain(&self) -> MaintenanceResult {
        self.core.maintain()
    }

    /// Starts a thread that completes blocked publications as soon as a worker lets go.
    ///
    /// # Panics
    ///
    /// If the system refuses a thread.
    pub fn spawn_maintainer(&self) -> Maintainer {
        self.owner.spawn_maintainer()
    }

    // ---- waiting ----

    /// Blocks until the update with this sequence number is visible, maintaining meanwhile.
    ///
    /// A timeout of zero makes one attempt. For the number see [`QueueResult::last_seq`]; 0 is
    /// visible from the start.
    ///
    /// # Errors
    ///
    /// [`WaitError`] says why the update is not visible.
    ///
    /// # Panics
    ///
    /// As [`queue_update`](Self::queue_update): it applies what others queued.
    pub fn wait_published(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        self.core.wait(seq, timeout)
    }

    /// A future that resolves when the update with this sequence number is visible, or with the
    /// reason why it will not be.
    ///
    /// Needs no runtime. Starts a maintainer if the update is not visible when first polled and
    /// there is none; it stops with the last `HotRead`.
    ///
    /// # Panics
    ///
    /// Polling panics if the system refuses a thread.
    pub fn published(&self, seq: u64) -> Published<T> {
        let latest = self.latest_seq();
        Published {
            seq,
            refused: (seq > latest).then_some(WaitError::NotQueued { latest }),
            progress: StdArc::clone(&self.core.progress),
            owner: StdArc::downgrade(&self.owner),
            registered: None,
        }
    }

    // ---- observing ----

    /// Publications so far.
    pub fn generation(&self) -> u64 {
        self.core.generation()
    }

    /// Sequence number of the last update queued. The first is 1; 0: none yet.
    pub fn latest_seq(&self) -> u64 {
        self.core.latest_seq()
    }

    /// Sequence number of the last update that readers can see. Never ahead of what
    /// [`current`](HotReadHandle::current) returns, possibly behind it.
    pub fn published_seq(&self) -> u64 {
        self.core.progress.published_seq()
    }

    /// Updates still in the log: not yet applied to every copy.
    pub fn queued_update_count(&self) -> usize {
        self.core.queued_update_count()
    }

    /// Every handle, and every thread that has used [`read`](Self::read): what it holds, and
    /// whether it is in the way. O(handles), under the registration lock.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.core.workers()
    }

    /// A reference that does not keep the state changeable.
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
            core: Arc::clone(&self.core),
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
            .field("name", &self.core.settings.name)
            .field("generation", &self.generation())
            .field("latest_seq", &self.latest_seq())
            .field("published_seq", &self.published_seq())
            .field("queued_update_count", &self.queued_update_count())
            .finish_non_exhaustive()
    }
}

impl<T: HotReadState> WeakHotRead<T> {
    /// The `HotRead`, unless the last one was dropped.
    pub fn upgrade(&self) -> Option<HotRead<T>> {
        let owner = self.owner.upgrade()?;
        Some(HotRead {
            core: Arc::clone(&owner.core),
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

impl<T: HotReadState> fmt::Debug for HotReadBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotReadBuilder")
            .field("max_copies", &self.settings.max_copies)
            .field("max_pending", &self.settings.max_pending)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
