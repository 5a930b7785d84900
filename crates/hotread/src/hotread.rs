//! The writers' side of the public interface.

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

/// Maximum number of updates in a batch. Only a batch of zero-sized updates can exceed it.
pub const MAX_BATCH: usize = 1 << 31;

/// A state that changes in small steps, shared by the readers and writers of one process.
///
/// Cheap to clone; all clones refer to the same state. Every method takes `&self` and may be called
/// from any thread. See the [crate documentation](crate) for the costs and the protocol.
pub struct HotRead<T: HotReadState> {
    shared: Arc<Shared<T>>,
    owner: StdArc<Owner<T>>,
}

/// A reference to a state that does not keep it open for updates; see [`HotRead::downgrade`].
pub struct WeakHotRead<T: HotReadState> {
    owner: StdWeak<Owner<T>>,
}

impl<T: HotReadState> HotRead<T> {
    /// Creates a state with two copies: `initial` and one clone of it.
    ///
    /// # Panics
    ///
    /// If cloning the state panics.
    pub fn new(initial: T) -> Self {
        Self::builder(initial).build()
    }

    /// Returns a builder for a state with settings other than the defaults.
    pub fn builder(initial: T) -> HotReadBuilder<T> {
        HotReadBuilder::new(initial)
    }

    pub(crate) fn with_settings(initial: Box<T>, settings: Settings) -> Self {
        let shared = Shared::new(initial, settings);
        let owner = Owner::new(Arc::clone(&shared));
        Self { shared, owner }
    }

    // ---- reading ----

    /// Creates a handle, which is quiescent until its first [`current`](HotReadHandle::current).
    ///
    /// O(1), under a short lock that no read and no publication takes, so it never waits for an
    /// update that is being applied. A handle costs a slot of 128 bytes; slots are allocated in
    /// groups of 64, reused, and freed with the state.
    #[must_use]
    pub fn create_handle(&self) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.shared), None)
    }

    /// Creates a handle with a name, which [`workers`](Self::workers) reports.
    #[must_use]
    pub fn create_named_handle(&self, name: impl Into<StdArc<str>>) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.shared), Some(name.into()))
    }

    /// Returns a factory of handles that cannot write, for code that may only read.
    #[must_use]
    pub fn readers(&self) -> Readers<T> {
        Readers {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Runs `f` on the published state, from any thread and without a handle.
    ///
    /// Costs a full fence and a few nanoseconds more than a read through a handle. The copy is held
    /// only while `f` runs. The first call on a thread registers a slot for that thread, which is
    /// released when the thread ends. Inside another `read` of the same state on the same thread,
    /// `f` sees the copy that the outer call sees, except while the thread's storage is being torn
    /// down.
    #[inline]
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        crate::read::read(&self.shared, f)
    }

    /// Returns a guard that holds the published state until it is dropped, for a value that has to
    /// be returned or sent. A reader that reads repeatedly keeps a handle instead.
    pub fn guard(&self) -> HotReadGuard<T> {
        HotReadGuard::new(self.create_handle())
    }

    /// Returns a clone of the published state. Holds the copy while cloning.
    #[must_use]
    pub fn snapshot(&self) -> T {
        self.read(T::clone)
    }

    // ---- writing ----

    /// Queues an update, applies it to a free copy if there is one, and publishes that copy.
    ///
    /// Never waits for a reader. If readers still hold every copy that could take the update, it
    /// stays queued ([`blocked_by_workers`](QueueResult::blocked_by_workers)) until the next call
    /// of this method or of [`maintain`](Self::maintain) after a reader has let go. HotRead makes
    /// that call on its own only if there is a [`Maintainer`], a thread in
    /// [`wait_published`](Self::wait_published), or a [`published`](Self::published) future.
    ///
    /// If another thread is applying, that thread applies this update as well, and this call
    /// returns immediately. A call waits for room only if more than 128 updates of other running
    /// writers are queued ahead of it: until the applying thread has taken those updates, or until
    /// this thread has had its turn to apply. A call from inside an update, of any state, does not
    /// wait.
    ///
    /// Updates queued by one thread are applied in that order.
    ///
    /// Cost: two compare-and-swaps (and a fence, on targets where a compare-and-swap is not one), an
    /// application of the update to each copy, and a look at each handle's slot. Small updates reach
    /// the second copy together with the next publication. The work that one call does for others
    /// is [bounded](crate#blocking); the following calls apply what is left.
    ///
    /// # Panics
    ///
    /// If the first application of this update panics, its whole batch is removed and the panic is
    /// resumed here. If another thread is applying, the panic stays on that thread, and
    /// [`wait_published`](Self::wait_published) returns [`WaitError::Rejected`]. Panics of other
    /// callers' updates, of clones and of drops are caught: [`panics`](Self::panics) counts them,
    /// and an [observer](HotReadBuilder::observer) receives the rejections.
    #[inline]
    pub fn queue_update(&self, update: T::Action) -> QueueResult {
        self.shared.queue_one(update)
    }

    /// Queues a batch, which becomes visible as a whole.
    ///
    /// Consumes the iterator first; otherwise the same as [`queue_update`](Self::queue_update).
    ///
    /// # Panics
    ///
    /// Same as `queue_update`; also if the iterator panics or yields more than [`MAX_BATCH`]
    /// updates, in which case nothing is queued.
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

    /// Queues a batch, or refuses it where it would have to wait or would exceed a limit.
    ///
    /// A batch is refused if it would raise the number of updates that are not yet visible above
    /// [`max_pending`](HotReadBuilder::max_pending), or if the call would have to wait for room
    /// behind other writers. The call maintains the state once before it refuses, and waits for no
    /// other thread.
    ///
    /// # Errors
    ///
    /// [`BacklogFull`] returns the updates.
    ///
    /// # Panics
    ///
    /// Same as [`queue_updates`](Self::queue_updates).
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

    /// Queues a closure that changes the state, as one update in the order of the others, and
    /// returns a [`Reply`] that receives the closure's result. An update that may fail returns a
    /// `Result`.
    ///
    /// `change` runs once for each copy and follows the contract of [`HotReadState::apply_update`]:
    /// equal states must change equally. The reply keeps the result of the first run. An update
    /// that fails leaves the state unchanged.
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
    /// Same as [`queue_update`](Self::queue_update).
    pub fn update<R: Send + Sync + 'static>(
        &self,
        change: impl Fn(&mut T) -> R + Send + Sync + 'static,
    ) -> Reply<R> {
        reply::queue(change, |updates| self.shared.queue(updates))
    }

    /// Replaces the whole state, as one update in the order of the others.
    ///
    /// Readers see the old state or the new one. The new value is moved into one copy and cloned
    /// into each other copy. Earlier updates that are not visible yet are dropped, since the new
    /// value replaces their effect; they count as visible together with it.
    pub fn replace(&self, state: T) -> QueueResult {
        self.shared.queue(Updates::Replace(Box::new(state)))
    }

    /// Publishes queued updates if readers have let go of a copy, and brings free copies up to
    /// date, so that the log empties.
    ///
    /// Call it from time to time if updates may stop while readers hold outdated copies. If no
    /// handle holds an outdated copy, one call makes every queued update visible and a second one
    /// empties the log (if all handles are quiescent, the first call does both). Behind a batch
    /// that panics, one more call may be needed, since the updates before that batch are published
    /// first.
    ///
    /// Covers the updates that were queued when the call began, in pieces, between which other
    /// callers get their turn. Waits for no reader, and for another thread only where
    /// [`queue_update`](Self::queue_update) would.
    ///
    /// Panics of user code are caught; see [`panics`](Self::panics).
    pub fn maintain(&self) -> MaintenanceResult {
        self.shared.maintain(Caller::User)
    }

    /// Registers the state with the process's maintainer thread, which completes blocked
    /// publications as soon as a reader lets go and brings the second copy up to date. The
    /// registration lasts until the returned value is dropped.
    ///
    /// # Errors
    ///
    /// The system's error if it refuses to start the thread.
    pub fn spawn_maintainer(&self) -> io::Result<Maintainer> {
        Tending::register(&self.shared.tending).map(Maintainer::new)
    }

    /// Returns a future that does the work of a [`Maintainer`] on the caller's runtime; spawn it as
    /// a task. Each poll runs updates, at most one bounded piece, and the future ends with the last
    /// `HotRead`.
    ///
    /// One such future works at a time; a second one takes over from the first. It is woken by
    /// updates that find it idle, and by a reader that lets go of a copy that it waits for. It has
    /// no clock, so unlike the thread it does not collect updates for the second copy.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance::new(&self.shared.tending)
    }

    // ---- waiting ----

    /// Blocks until the update with this sequence number is visible, and maintains the state
    /// in the meantime.
    ///
    /// The sequence number is [`QueueResult::last_seq`]; 0 is visible from the start. A timeout of
    /// zero makes one attempt, which is one bounded piece of work; no call exceeds its timeout by
    /// more than that. Of the threads that wait for one state, readers wake one; the publication
    /// wakes the others.
    ///
    /// # Errors
    ///
    /// [`WaitError`] gives the reason the update is not visible.
    pub fn wait_published(&self, seq: u64, timeout: Duration) -> Result<(), WaitError> {
        self.shared.wait(seq, timeout)
    }

    /// Returns a future that resolves when the update with this sequence number is visible, or with
    /// the reason it never will be.
    ///
    /// Needs no runtime. While the future waits, the process's maintainer thread or a
    /// [`maintenance`](Self::maintenance) future completes blocked publications of this state.
    /// Polling it runs no updates. If the system refuses to start the thread, the future resolves
    /// with [`WaitError::NoThread`].
    pub fn published(&self, seq: u64) -> Published {
        let Shared {
            progress, tending, ..
        } = &*self.shared;
        Published::new(seq, self.latest_seq(), progress, tending)
    }

    // ---- observing ----

    /// Returns `true` within an update of this state, on the thread that applies it. Calls that
    /// wait for updates return [`WaitError::WithinUpdate`] there.
    #[must_use]
    pub fn is_within_update(&self) -> bool {
        self.shared.progress.is_applying_here()
    }

    /// Number of publications so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.progress.generation()
    }

    /// Sequence number of the last update queued. The first update has number 1; 0 means that no
    /// update was queued.
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

    /// Number of updates that are queued or that some copy still lacks. Never 0 while an update
    /// whose call has returned is invisible or missing from a copy. Takes a short lock.
    #[must_use]
    pub fn queued_update_count(&self) -> usize {
        self.shared.queued_update_count()
    }

    /// Lists every handle, and every thread that has used [`read`](Self::read), with the generation
    /// held and whether it blocks a publication. O(handles), under the registration lock for 64 of
    /// them at a time.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.shared.workers()
    }

    /// Number of panics of user code that were caught: of updates (including those resumed to their
    /// callers), clones, drops, wakers and the observer.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared
            .panics
            .load(crate::sync::atomic::Ordering::Relaxed)
    }

    /// Returns `true` if no other clone, handle, guard or factory of readers of this state exists.
    /// For an owner that drops states that are not in use, while no other thread can clone this
    /// one.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        // Ours, and the owner's.
        StdArc::strong_count(&self.owner) == 1 && Arc::strong_count(&self.shared) == 2
    }

    /// Returns a reference that does not keep the state open for updates.
    #[must_use]
    pub fn downgrade(&self) -> WeakHotRead<T> {
        WeakHotRead {
            owner: StdArc::downgrade(&self.owner),
        }
    }
}

/// Returns another reference to the same state.
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
    /// Returns the `HotRead`, or `None` if the last one was dropped.
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
