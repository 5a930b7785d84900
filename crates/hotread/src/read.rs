//! Reading without a handle: a slot for each thread and state, kept by the thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::{self, NonNull};

use crate::HotReadState;
use crate::core::Core;
use crate::node::Node;
use crate::registry::{Claim, Registry, Slot};
use crate::sync::{Arc, local};

/// A thread's slot for one state. Keeps the registry, but neither the core nor the state.
struct ThreadSlot {
    claim: Claim,
    registry: Arc<Registry>,
    /// The copy that a `read` further out on this thread holds. Null: none does.
    held: Cell<*mut ()>,
}

impl ThreadSlot {
    fn new(registry: &Arc<Registry>) -> Self {
        Self {
            claim: registry.claim(std::thread::current().name().map(Into::into)),
            registry: Arc::clone(registry),
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
        if self.held.get().is_null() {
            self.registry.release(self.claim);
        }
    }
}

/// A slot at an address that stays, and to which `LAST` and running `read`s may point while the
/// map moves its entries: a `Box` would claim to be the only pointer to it.
struct Pinned(NonNull<ThreadSlot>);

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: leaked when this was made, and dropped once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// All slots of a thread, by the id of their core.
struct ThreadSlots {
    by_id: BTreeMap<u64, Pinned>,
    /// Look for slots of cores that are gone when there are this many.
    sweep_at: usize,
}

/// Slots that a thread keeps before it first looks for ones whose core is gone.
const MIN_SWEEP: usize = 8;

impl Drop for ThreadSlots {
    fn drop(&mut self) {
        // The thread ends: a `read` in a later destructor must not find what is freed here.
        let _ = LAST.try_with(|last| last.set((0, ptr::null())));
    }
}

local! {
    /// The slot used last. Id 0 is no core's. Has no destructor, which makes it cheap to reach.
    static LAST: Cell<(u64, *const ThreadSlot)> = Cell::new((0, ptr::null()))
}
local! {
    static SLOTS: RefCell<ThreadSlots> = RefCell::new(ThreadSlots {
        by_id: BTreeMap::new(),
        sweep_at: MIN_SWEEP,
    })
}

/// Runs `f` on the published state. The copy is held while `f` runs and no longer.
#[inline]
pub(crate) fn read<T: HotReadState, R>(core: &Core<T>, f: impl FnOnce(&T) -> R) -> R {
    let (id, last) = LAST.with(Cell::get);
    if id == core.hot.id {
        // SAFETY: `LAST` names a slot of this thread's `SLOTS`, for a core that is alive
        // (we are called with it): such slots go only with the thread, which resets `LAST` first.
        return read_in(core, unsafe { &*last }, f);
    }
    match find(core.hot.id, &core.hot.registry) {
        // SAFETY: as above.
        Some(slot) => read_in(core, unsafe { slot.as_ref() }, f),
        // The thread is being torn down and its storage is gone.
        None => {
            let slot = ThreadSlot::new(&core.hot.registry);
            // So that a `read` inside `f` finds it.
            let _restore = Restore(LAST.with(|last| last.replace((core.hot.id, &slot))));
            read_in(core, &slot, f)
        }
    }
}

/// Puts back what `LAST` was, also by a panic.
struct Restore((u64, *const ThreadSlot));

impl Drop for Restore {
    fn drop(&mut self) {
        LAST.with(|last| last.set(self.0));
    }
}

#[inline]
fn read_in<T: HotReadState, R>(core: &Core<T>, slot: &ThreadSlot, f: impl FnOnce(&T) -> R) -> R {
    if let Some(outer) = NonNull::new(slot.held.get()) {
        // SAFETY: a `read` further out on this thread holds this copy until after we return.
        return f(unsafe { Node::get(outer.cast()) });
    }
    let (node, rounds) = core.take(slot.slot());
    slot.held.set(node.as_ptr().cast());
    let holding = Holding { core, slot, node };
    if rounds > 1 {
        // A copy named in passing may be the one somebody sleeps for.
        core.wake_sleepers();
    }
    // SAFETY: the slot names the copy, validated, until `holding` is dropped, also by a panic.
    let result = f(unsafe { Node::get(node) });
    drop(holding);
    result
}

struct Holding<'a, T: HotReadState> {
    core: &'a Core<T>,
    slot: &'a ThreadSlot,
    node: NonNull<Node<T>>,
}

impl<T: HotReadState> Drop for Holding<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.slot.held.set(ptr::null_mut());
        self.core.let_go(self.slot.slot(), self.node.as_ptr());
    }
}

/// This thread's slot for a core, made if there is none. `None`: the thread is being torn down.
#[cold]
#[inline(never)]
fn find(id: u64, registry: &Arc<Registry>) -> Option<NonNull<ThreadSlot>> {
    SLOTS
        .try_with(|slots| {
            let slots = &mut *slots.borrow_mut();
            if slots.by_id.len() >= slots.sweep_at && !slots.by_id.contains_key(&id) {
                // Dropping a slot of a core that is gone frees its registry, and runs no user code.
                // SAFETY: alive while it is in the map.
                let is_closed = |slot: &Pinned| unsafe { slot.0.as_ref() }.registry.is_closed();
                slots.by_id.retain(|_, slot| !is_closed(slot));
                slots.sweep_at = (slots.by_id.len() * 2).max(MIN_SWEEP);
            }
            let slot = slots
                .by_id
                .entry(id)
                .or_insert_with(|| {
                    Pinned(NonNull::from(Box::leak(Box::new(ThreadSlot::new(
                        registry,
                    )))))
                })
                .0;
            LAST.with(|last| last.set((id, slot.as_ptr())));
            slot
        })
        .ok()
}
