//! Reading without a handle: a slot for each thread and state, kept by the thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::Arc as StdArc;

use crate::HotReadState;
use crate::node::Node;
use crate::registry::{Claim, Owner, Registry, Slot};
use crate::shared::Shared;
use crate::sync::local;

/// A thread's slot for one state. Keeps the registry alive, but neither the copies nor the state.
struct ThreadSlot {
    claim: Claim,
    registry: StdArc<Registry>,
    /// Number of running `read`s that hold the slot's copy. A count, since coroutines of one thread
    /// may end in another order than they began.
    readers: Cell<usize>,
    /// The copy that those `read`s hold.
    held: Cell<*mut ()>,
}

impl ThreadSlot {
    fn new(registry: &StdArc<Registry>) -> Self {
        let name = std::thread::current().name().map(Into::into);
        Self {
            claim: registry.claim(name, Owner::Thread),
            registry: StdArc::clone(registry),
            readers: Cell::new(0),
            held: Cell::new(ptr::null_mut()),
        }
    }

    fn slot(&self) -> &Slot {
        // SAFETY: we keep the registry, and release the claim only when dropped.
        unsafe { self.claim.slot() }
    }
}

impl Drop for ThreadSlot {
    fn drop(&mut self) {
        // `process::exit` inside a `read` destroys the thread's storage with the copy held.
        if self.readers.get() == 0 {
            self.registry.release(self.claim);
        }
    }
}

/// A slot at an address that never changes, so that `LAST` and running `read`s may point to it
/// while the map moves its entries; a `Box` would claim to be the only pointer to it.
struct Pinned(NonNull<ThreadSlot>);

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: leaked when this was made, and dropped once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// All slots of a thread, by the id of their state.
struct ThreadSlots {
    by_id: BTreeMap<u64, Pinned>,
    /// Number of slots at which the thread next looks for ones whose state is gone.
    sweep_at: usize,
}

/// Number of slots at which a thread first looks for ones whose state is gone.
const MIN_SWEEP: usize = 8;

impl Drop for ThreadSlots {
    fn drop(&mut self) {
        // The thread ends: a `read` in a later destructor must not find the slots that are freed
        // here.
        let _ = LAST.try_with(|last| last.set((0, ptr::null())));
    }
}

local! {
    /// The slot used last. No state has id 0. Has no destructor, which makes the access cheap.
    static LAST: Cell<(u64, *const ThreadSlot)> = Cell::new((0, ptr::null()))
}
local! {
    static SLOTS: RefCell<ThreadSlots> = RefCell::new(ThreadSlots {
        by_id: BTreeMap::new(),
        sweep_at: MIN_SWEEP,
    })
}

/// Runs `f` on the published state. The copy is held only while `f` runs.
#[inline]
pub(crate) fn read<T: HotReadState, R>(shared: &Shared<T>, f: impl FnOnce(&T) -> R) -> R {
    let (id, last) = LAST.with(Cell::get);
    if id == shared.hot.id {
        // SAFETY: `LAST` names a slot of this thread's `SLOTS`, for a state that is alive (it is an
        // argument of this call). Such slots are freed only with the thread, which resets `LAST`
        // first.
        return read_in(shared, unsafe { &*last }, f);
    }
    match find(shared.hot.id, &shared.hot.registry) {
        // SAFETY: as above.
        Some(slot) => read_in(shared, unsafe { slot.as_ref() }, f),
        // The thread is being torn down and its storage is gone: use a slot for this read alone.
        None => read_in(shared, &ThreadSlot::new(&shared.hot.registry), f),
    }
}

#[inline]
fn read_in<T: HotReadState, R>(
    shared: &Shared<T>,
    slot: &ThreadSlot,
    f: impl FnOnce(&T) -> R,
) -> R {
    let node = match slot.readers.get() {
        0 => {
            let (node, passed) = shared.take(slot.slot());
            shared.pass(passed);
            slot.held.set(node.as_ptr().cast());
            node
        }
        // SAFETY: while there are readers, `held` is the node that the first one took.
        _ => unsafe { NonNull::new_unchecked(slot.held.get()) }.cast(),
    };
    slot.readers.set(slot.readers.get() + 1);
    let _holding = Holding { shared, slot };
    // SAFETY: the slot names the copy, validated, until the last of its readers is gone, even after
    // a panic; `_holding` is one of them.
    f(unsafe { Node::get(node) })
}

struct Holding<'a, T: HotReadState> {
    shared: &'a Shared<T>,
    slot: &'a ThreadSlot,
}

impl<T: HotReadState> Drop for Holding<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let left = self.slot.readers.get() - 1;
        self.slot.readers.set(left);
        if left == 0 {
            let held = self.slot.held.replace(ptr::null_mut());
            self.shared.let_go(self.slot.slot(), held.cast());
        }
    }
}

/// Returns this thread's slot for a state, which is created if missing. `None`: the thread is being
/// torn down.
#[cold]
#[inline(never)]
fn find(id: u64, registry: &StdArc<Registry>) -> Option<NonNull<ThreadSlot>> {
    SLOTS
        .try_with(|slots| {
            let slots = &mut *slots.borrow_mut();
            if slots.by_id.len() >= slots.sweep_at && !slots.by_id.contains_key(&id) {
                // Dropping a slot of a state that is gone frees its registry, and runs no user
                // code.
                // SAFETY: alive while it is in the map.
                let is_closed = |slot: &Pinned| unsafe { slot.0.as_ref() }.registry.is_closed();
                slots.by_id.retain(|_, slot| !is_closed(slot));
                slots.sweep_at = (slots.by_id.len() * 2).max(MIN_SWEEP);
            }
            let slot = slots
                .by_id
                .entry(id)
                .or_insert_with(|| {
                    let slot = Box::new(ThreadSlot::new(registry));
                    Pinned(NonNull::from(Box::leak(slot)))
                })
                .0;
            LAST.with(|last| last.set((id, slot.as_ptr())));
            slot
        })
        .ok()
}
