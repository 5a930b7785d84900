//! A reader's handle: the hot path.

mod changed;
mod guard;

pub use self::changed::Changed;
pub use self::guard::{HotReadGuard, Projection};

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc as StdArc;

use crate::HotReadState;
use crate::node::Node;
use crate::progress::Progress;
use crate::registry::{Claim, Owner, Slot};
use crate::shared::Shared;
use crate::sync::Arc;

/// A reader's view of a [`HotRead`](crate::HotRead): a copy of the state, kept until the reader
/// asks for a newer one.
///
/// Create one for each thread or task with [`create_handle`](crate::HotRead::create_handle) and
/// keep it: creating and dropping one takes a short lock. A handle can be sent to another thread,
/// and still reads after the last `HotRead` is gone.
///
/// While the handle holds an outdated copy, that copy cannot take updates. Call
/// [`current`](Self::current) again soon, or [`quiescent`](Self::quiescent) before the reader goes
/// idle; dropping the handle makes it quiescent, and [`with`](Self::with) does so after each read.
/// A handle that is leaked (`mem::forget`) while it holds a copy holds that copy until the state is
/// freed.
///
/// In a task, make the handle quiescent before each `.await` that may take long: a handle that
/// holds a copy across it delays updates for every reader.
///
/// # What the borrow checker forbids
///
/// A reference obtained from a handle is valid until the next use of the handle that could move it
/// forward, and at most as long as the handle:
///
/// ```compile_fail,E0499
/// # use hotread::{HotRead, MapUpdate}; use std::collections::HashMap;
/// # let table = HotRead::new(HashMap::<u64, u64>::new());
/// let mut reader = table.create_handle();
/// let before = reader.current();
/// let after = reader.current(); // `before` may be of a copy that is let go of here
/// assert_eq!(before.len(), after.len());
/// ```
/// ```compile_fail,E0505
/// # use hotread::{HotRead, MapUpdate}; use std::collections::HashMap;
/// # let table = HotRead::new(HashMap::<u64, u64>::new());
/// let mut reader = table.create_handle();
/// let state = reader.current();
/// drop(reader); // lets go of the copy
/// assert_eq!(state.len(), 0);
/// ```
/// ```compile_fail,E0502
/// # use hotread::{HotRead, MapUpdate}; use std::collections::HashMap;
/// # let table = HotRead::new(HashMap::<u64, u64>::new());
/// let mut reader = table.create_handle();
/// reader.refresh();
/// let state = reader.get();
/// reader.quiescent(); // lets go of the copy
/// assert!(state.is_some());
/// ```
///
/// The same three programs, in an order that compiles:
///
/// ```
/// # use hotread::{HotRead, MapUpdate}; use std::collections::HashMap;
/// # let table = HotRead::new(HashMap::<u64, u64>::new());
/// let mut reader = table.create_handle();
/// let before = reader.current().len();
/// let after = reader.current().len();
/// assert_eq!(before, after);
///
/// let state = reader.current();
/// assert_eq!(state.len(), 0);
///
/// reader.refresh();
/// let state = reader.get();
/// assert!(state.is_some());
/// reader.quiescent();
/// drop(reader);
/// ```
///
/// # After `fork`
///
/// The child may read through handles that its own (the forking) thread owned, and sees the state
/// as of the fork. It must not queue updates; the slots of the parent's other threads stay held.
pub struct HotReadHandle<T: HotReadState> {
    /// The copy named by the slot, validated. Null: quiescent.
    held: *mut Node<T>,
    shared: Arc<Shared<T>>,
    claim: Claim,
    /// The generation last let go of. `None`: nothing was read yet.
    seen: Option<u64>,
}

// SAFETY: a handle owns its slot, which is an atomic reached through the shared state, and returns
// `&T` only; `T` is Send + Sync by the trait. Not Sync: it has no use.
unsafe impl<T: HotReadState> Send for HotReadHandle<T> {}

impl<T: HotReadState> HotReadHandle<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>, name: Option<StdArc<str>>) -> Self {
        let claim = shared.hot.registry.claim(name, Owner::Handle);
        Self {
            held: ptr::null_mut(),
            shared,
            claim,
            seen: None,
        }
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: the shared state keeps the registry, and the claim is released only by our drop.
        unsafe { self.claim.slot() }
    }

    /// Returns the newest published state.
    ///
    /// Costs one relaxed load and a compare while nothing was published since the last call;
    /// otherwise a fence and the cache misses of a state that another core has written. Never
    /// waits: a publication during the call costs another round. If a thread or a maintainer waits
    /// for the copy that this call lets go of, the last reader to let go wakes it.
    ///
    /// Never goes backwards, and always sees whole batches.
    #[inline]
    pub fn current(&mut self) -> &T {
        let mut held = self.held;
        if !self.shared.is_published(held) {
            held = self.shared.move_forward(self.slot(), held);
            self.held = held;
        }
        // SAFETY: `published` is never null. `held` equals it or was just taken, so it is not null
        // either. Our slot names it, so it is not written until we let go, which takes `&mut self`.
        unsafe { Node::get(NonNull::new_unchecked(held)) }
    }

    /// Moves to the newest published copy, and returns `true` if that changed what
    /// [`get`](Self::get) returns.
    ///
    /// Costs the same as [`current`](Self::current).
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let held = self.held;
        let outdated = !self.shared.is_published(held);
        if outdated {
            self.held = self.shared.move_forward(self.slot(), held);
        }
        outdated
    }

    /// Returns the copy held, without asking for a newer one. `None` when quiescent.
    ///
    /// Takes `&self`, so that early returns, and loops that refresh first, pass the borrow checker.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: as in `current`.
        NonNull::new(self.held).map(|held| unsafe { Node::get(held) })
    }

    /// The copy held. Called only on a handle that holds one.
    pub(crate) fn held(&self) -> &T {
        debug_assert!(!self.held.is_null());
        match self.get() {
            Some(state) => state,
            None => unreachable!("a guard refreshed its handle and never lets go"),
        }
    }

    /// Runs `f` on the newest published state and lets go of it afterwards, even if `f` panics.
    ///
    /// Costs a fence more than [`current`](Self::current), since the copy has to be taken each
    /// time.
    #[inline]
    pub fn with<R>(&mut self, f: impl FnOnce(&T) -> R) -> R {
        struct Release<'a, T: HotReadState>(&'a mut HotReadHandle<T>);
        impl<T: HotReadState> Drop for Release<'_, T> {
            fn drop(&mut self) {
                self.0.quiescent();
            }
        }
        f(Release(self).0.current())
    }

    /// Lets go of the copy: this reader delays no update until its next call of
    /// [`current`](Self::current).
    ///
    /// Costs a store, or nothing if the handle is quiescent already; on systems other than Linux,
    /// also a fence. If a thread or a maintainer waits for the copy, the last reader to let go of
    /// it wakes it.
    #[inline]
    pub fn quiescent(&mut self) {
        if !self.held.is_null() {
            self.seen = self.generation();
            let held = std::mem::replace(&mut self.held, ptr::null_mut());
            self.shared.let_go(self.slot(), held);
        }
    }

    /// Generation of the copy held: 0 at the start, one more for each publication. `None` when
    /// quiescent.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        // SAFETY: nodes live as long as the shared state.
        NonNull::new(self.held).map(|held| unsafe { Node::generation(held) })
    }

    /// Sequence number of the last update in the copy held. The copy has all updates up to that
    /// one, except rejected ones, and no later update. `None` when quiescent.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        // SAFETY: nodes live as long as the shared state.
        NonNull::new(self.held).map(|held| unsafe { Node::seq(held) })
    }

    /// Returns `true` if [`current`](Self::current) would return the copy held now. `false` when
    /// quiescent.
    #[inline]
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.shared.is_published(self.held)
    }

    /// Returns `true` if [`current`](Self::current) would return a newer state than it did last,
    /// and before the first call. Costs two loads.
    #[inline]
    #[must_use]
    pub fn has_changed(&self) -> bool {
        if !self.held.is_null() {
            return !self.is_latest();
        }
        self.seen
            .is_none_or(|seen| self.progress().generation() > seen)
    }

    /// Returns a future that resolves when [`current`](Self::current) would return a newer state
    /// than it did last; before the first call, immediately. While it waits, the handle is quiescent.
    ///
    /// ```
    /// # use hotread::{HotRead, MapUpdate}; use std::collections::HashMap;
    /// # async fn example() -> Result<(), hotread::WaitError> {
    /// # let prices = HotRead::new(HashMap::<u64, u64>::new());
    /// let mut reader = prices.create_handle();
    /// while reader.changed().await.is_ok() {
    ///     println!("{} prices", reader.current().len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`](crate::WaitError::Closed) if the last `HotRead` is gone and the reader
    /// has seen its last state.
    pub fn changed(&mut self) -> Changed<'_, T> {
        Changed::new(self)
    }

    /// Converts the handle into one of a part of the state, for code that needs only that part.
    ///
    /// ```
    /// # use hotread::{HotRead, HotReadState};
    /// # #[derive(Clone)] struct Config { limits: Vec<u32> }
    /// # impl HotReadState for Config { type Action = u32; fn apply_update(&mut self, n: &u32) { self.limits.push(*n) } }
    /// let config = HotRead::new(Config { limits: vec![10] });
    /// let mut limits = config.create_handle().project(|config| config.limits.as_slice());
    /// assert_eq!(limits.current(), [10]);
    /// ```
    #[must_use]
    pub fn project<U: ?Sized>(self, part: fn(&T) -> &U) -> Projection<T, U> {
        Projection::new(self, part)
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// The generation read last.
    pub(crate) fn seen_generation(&self) -> Option<u64> {
        self.generation().or(self.seen)
    }
}

/// Creates a second handle, quiescent and without a name.
impl<T: HotReadState> Clone for HotReadHandle<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared), None)
    }
}

impl<T: HotReadState> Drop for HotReadHandle<T> {
    fn drop(&mut self) {
        self.quiescent();
        self.shared.hot.registry.release(self.claim);
    }
}

impl<T: HotReadState> fmt::Debug for HotReadHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotReadHandle")
            .field("generation", &self.generation())
            .field("is_latest", &self.is_latest())
            .finish_non_exhaustive()
    }
}
