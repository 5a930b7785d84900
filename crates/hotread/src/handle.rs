//! A worker's handle: the hot path.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc as StdArc;

use crate::HotReadState;
use crate::core::Core;
use crate::node::Node;
use crate::registry::{Claim, Slot};
use crate::sync::Arc;

/// One worker's view of a [`HotRead`](crate::HotRead): a copy of the state, kept until the worker
/// asks again.
///
/// Make one for each thread or task with [`create_handle`](crate::HotRead::create_handle) and
/// keep it: making one takes a short lock, and so does dropping one. It can be sent to another
/// thread, and reads on after the last `HotRead` is gone.
///
/// While it holds an outdated copy, that copy cannot take updates. Call [`current`](Self::current)
/// again soon, or [`quiescent`](Self::quiescent) before the worker goes idle; dropping the handle
/// does the latter. A handle that is leaked (`mem::forget`) while it holds a copy holds it for as
/// long as the state lives.
///
/// # What the borrow checker forbids
///
/// A reference obtained from a handle lives until the handle's next use that could move it
/// forward, and no longer than the handle:
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
/// The same three, in an order that compiles:
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
/// The child may read through handles that its own (the forking) thread owned, and see the state
/// as it was; it must not queue updates, and the slots of the parent's other threads stay held.
pub struct HotReadHandle<T: HotReadState> {
    /// The copy named by our slot, validated. Null: quiescent.
    held: *mut Node<T>,
    core: Arc<Core<T>>,
    claim: Claim,
}

// SAFETY: a handle owns its slot, which is an atomic reached through the core, and gives out `&T`
// only; `T` is Send + Sync by the trait. Not Sync: nobody needs it.
unsafe impl<T: HotReadState> Send for HotReadHandle<T> {}

impl<T: HotReadState> HotReadHandle<T> {
    pub(crate) fn new(core: Arc<Core<T>>, name: Option<StdArc<str>>) -> Self {
        let claim = core.hot.registry.claim(name);
        Self {
            held: ptr::null_mut(),
            core,
            claim,
        }
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: our core keeps the registry, and the claim is released only by our drop.
        unsafe { self.claim.slot() }
    }

    /// The newest published state.
    ///
    /// Costs one relaxed load and a compare while nothing was published since the last call;
    /// otherwise a fence and the cache misses of a state that another core has written. Never
    /// waits: if publications keep coming in between, it takes another round for each.
    ///
    /// Never goes backwards, and always sees whole batches.
    #[inline]
    pub fn current(&mut self) -> &T {
        if !self.core.is_published(self.held) {
            self.move_forward();
        }
        // SAFETY: `published` is never null, so `held` is not either: it equals it, or was just
        // taken. Our slot names it, so it is not written until we let go, which takes `&mut self`.
        unsafe { Node::get(NonNull::new_unchecked(self.held)) }
    }

    /// Moves to the newest published copy. Did that change what [`get`](Self::get) returns?
    ///
    /// Same cost as [`current`](Self::current).
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let outdated = !self.core.is_published(self.held);
        if outdated {
            self.move_forward();
        }
        outdated
    }

    /// The copy held, without asking for a newer one. `None` when quiescent.
    ///
    /// Takes `&self`, so that early returns and loops that refresh first borrow-check.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: as in `current`.
        NonNull::new(self.held).map(|held| unsafe { Node::get(held) })
    }

    /// Lets go of the copy: this worker holds up nobody until it calls [`current`](Self::current)
    /// again. Costs a store, and nothing if the handle is quiescent already.
    #[inline]
    pub fn quiescent(&mut self) {
        if !self.held.is_null() {
            let held = std::mem::replace(&mut self.held, ptr::null_mut());
            self.core.let_go(self.slot(), held);
        }
    }

    /// The generation held: 0 at the start, one more for each publication. `None` when quiescent.
    pub fn generation(&self) -> Option<u64> {
        // SAFETY: nodes live as long as the core.
        NonNull::new(self.held).map(|held| unsafe { Node::generation(held) })
    }

    /// Would [`current`](Self::current) return the copy held now? `false` when quiescent.
    #[inline]
    pub fn is_latest(&self) -> bool {
        self.core.is_published(self.held)
    }

    #[cold]
    #[inline(never)]
    fn move_forward(&mut self) {
        self.held = self.core.move_forward(self.slot(), self.held).as_ptr();
    }
}

/// A second handle, quiescent and without a name.
impl<T: HotReadState> Clone for HotReadHandle<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.core), None)
    }
}

impl<T: HotReadState> Drop for HotReadHandle<T> {
    fn drop(&mut self) {
        self.quiescent();
        self.core.hot.registry.release(self.claim);
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
