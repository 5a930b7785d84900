//! The readers' slots, which record the copy that each handle holds.
//!
//! A slot is one padded atomic pointer. Slots live in leaves that are never moved or freed while
//! the registry lives, so that a writer can scan them without a lock while readers register and
//! leave. Two levels of bits above the leaves record below which of them slots have an owner, so
//! that the cost of a scan depends on the present readers rather than on all that there ever were.
//!
//! The registry does not know the state's type: only a slot's owner may dereference the pointer in
//! it, so to the registry it is only an address. The registry is shared by the state and, through
//! `read`, by the storage of threads, which may outlive the state; so it has an allocation of its
//! own.

use std::ptr::{self, NonNull};
use std::sync::Arc as StdArc;

use crossbeam_utils::CachePadded;

use crate::sync::Mutex;
use crate::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Number of slots in the first leaf, which most states never exceed.
const FIRST: usize = if cfg!(hotread_loom) { 1 } else { 8 };
/// Number of slots in every other leaf, of leaves in a branch, and of branches in a root: a word
/// has a bit for each.
const FAN: usize = if cfg!(hotread_loom) { 2 } else { 64 };

/// Names the copy that one reader holds, or is about to validate. Null: quiescent.
pub(crate) struct Slot {
    pub(crate) held: AtomicPtr<()>,
}

struct Leaf {
    /// Bit `i` is set while slot `i` has an owner.
    occupied: AtomicU64,
    slots: Box<[CachePadded<Slot>]>,
}

/// A level above the leaves: bit `i` is set while a slot below child `i` has an owner.
struct Branch<C> {
    occupied: AtomicU64,
    children: [AtomicPtr<C>; FAN],
}

struct Root {
    branch: Branch<Branch<Leaf>>,
    /// Written before the root is published, never after.
    next: *const Root,
}

/// A claimed slot. It is `Copy`, because its owner stores it; only the owner may use it, and must
/// release it exactly once.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    slot: NonNull<Slot>,
    leaf: usize,
    index: usize,
    owner: Owner,
}

/// The owner of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A handle, which can read after the last `HotRead` is gone.
    Handle,
    /// A thread, for `read`.
    Thread,
}

pub(crate) struct Registry {
    first: Leaf,
    roots: AtomicPtr<Root>,
    /// Set when the state is gone, so that threads forget the slots that they kept for `read`.
    closed: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// Data that only registration, leaving and observers need.
struct Ledger {
    leaves: Vec<LeafEntry>,
    /// Leaves with a free slot; the last one is used first.
    with_room: Vec<usize>,
    /// Number of owners that are handles.
    handles: usize,
}

struct LeafEntry {
    /// The root and the branch above a leaf; the first leaf has neither.
    above: Option<(NonNull<Root>, NonNull<Branch<Leaf>>)>,
    leaf: NonNull<Leaf>,
    names: Vec<Option<StdArc<str>>>,
}

// SAFETY: leaves and branches are owned by the registry, reached by shared references only, and
// made of atomics; the ledger that mentions them is behind a mutex.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

impl Leaf {
    fn new(slots: usize) -> Self {
        let slots = (0..slots).map(|_| {
            CachePadded::new(Slot {
                held: AtomicPtr::new(ptr::null_mut()),
            })
        });
        Self {
            occupied: AtomicU64::new(0),
            slots: slots.collect(),
        }
    }

    #[inline]
    fn scan(&self, visit: &mut impl FnMut(&Slot) -> bool) -> bool {
        let mut occupied = self.occupied.load(Acquire);
        while occupied != 0 {
            let index = occupied.trailing_zeros() as usize;
            occupied &= occupied - 1;
            if !visit(&self.slots[index]) {
                return false;
            }
        }
        true
    }

    /// Returns `true` if every slot has an owner.
    fn is_full(&self) -> bool {
        let all = u64::MAX >> (u64::BITS as usize - self.slots.len());
        self.occupied.load(Relaxed) == all
    }
}

impl<C> Branch<C> {
    fn new() -> Self {
        Self {
            occupied: AtomicU64::new(0),
            children: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Visits the children with an owner below them, until `visit` returns `false`.
    fn scan(&self, mut visit: impl FnMut(&C) -> bool) -> bool {
        let mut occupied = self.occupied.load(Acquire);
        while occupied != 0 {
            let index = occupied.trailing_zeros() as usize;
            occupied &= occupied - 1;
            // SAFETY: a child whose bit is set was stored before, and lives as long as `self`.
            let child = unsafe { self.children[index].load(Acquire).as_ref() };
            if child.is_some_and(|child| !visit(child)) {
                return false;
            }
        }
        true
    }
}

impl Registry {
    pub(crate) fn new() -> StdArc<Self> {
        let registry = StdArc::new(Self {
            first: Leaf::new(FIRST),
            roots: AtomicPtr::new(ptr::null_mut()),
            closed: AtomicBool::new(false),
            ledger: Mutex::new(Ledger {
                leaves: Vec::new(),
                with_room: vec![0],
                handles: 0,
            }),
        });
        registry.ledger.lock().leaves.push(LeafEntry {
            above: None,
            leaf: NonNull::from(&registry.first),
            names: vec![None; FIRST],
        });
        registry
    }

    /// Claims a quiescent slot. O(1), under a short lock that no scan takes.
    pub(crate) fn claim(&self, name: Option<StdArc<str>>, owner: Owner) -> Claim {
        let mut ledger = self.ledger.lock();
        let number = match ledger.with_room.last() {
            Some(&number) => number,
            None => self.grow(&mut ledger),
        };
        ledger.handles += usize::from(owner == Owner::Handle);
        let entry = &mut ledger.leaves[number];
        // SAFETY: leaves live as long as the registry.
        let leaf = unsafe { entry.leaf.as_ref() };
        let index = leaf.occupied.load(Relaxed).trailing_ones() as usize;
        entry.names[index] = name;
        // ORDERING: a reader's cold path has its fence after this, on the same thread or on one
        // that the handle was sent to; so a scan that must see its slot sees these bits as well.
        // The lock orders this claim after the previous owner's release of the slot.
        leaf.occupied.fetch_or(1 << index, Release);
        if let Some((root, branch)) = entry.above {
            // SAFETY: as above.
            let (root, branch) = unsafe { (root.as_ref(), branch.as_ref()) };
            branch.occupied.fetch_or(1 << leaf_index(number), Release);
            root.branch
                .occupied
                .fetch_or(1 << branch_index(number), Release);
        }
        if leaf.is_full() {
            ledger.with_room.pop();
        }
        Claim {
            slot: NonNull::from(&*leaf.slots[index]),
            leaf: number,
            index,
            owner,
        }
    }

    /// Releases a slot, whose owner has let go of its copy before.
    pub(crate) fn release(&self, claim: Claim) {
        // SAFETY: the caller owns the claim, so the slot belongs to this registry.
        let slot = unsafe { claim.slot.as_ref() };
        debug_assert!(slot.held.load(Relaxed).is_null(), "released while held");
        let mut ledger = self.ledger.lock();
        ledger.handles -= usize::from(claim.owner == Owner::Handle);
        let entry = &mut ledger.leaves[claim.leaf];
        let name = entry.names[claim.index].take();
        // SAFETY: leaves live as long as the registry.
        let leaf = unsafe { entry.leaf.as_ref() };
        let was_full = leaf.is_full();
        // ORDERING: a scan that no longer sees a bit acquires with it all that the owners below
        // have read: the lock orders their releases before this one.
        let before = leaf.occupied.fetch_and(!(1 << claim.index), Release);
        if before == 1 << claim.index
            && let Some((root, branch)) = entry.above
        {
            // SAFETY: as above.
            let (root, branch) = unsafe { (root.as_ref(), branch.as_ref()) };
            let bit = 1 << leaf_index(claim.leaf);
            if branch.occupied.fetch_and(!bit, Release) == bit {
                let bit = 1 << branch_index(claim.leaf);
                root.branch.occupied.fetch_and(!bit, Release);
            }
        }
        if was_full {
            ledger.with_room.push(claim.leaf);
        }
        drop(ledger);
        drop(name);
    }

    /// Calls `visit` with every owned slot, until it returns `false`.
    ///
    /// Complete for every reader whose validation succeeded before the caller's last full fence;
    /// see `docs/orderings.md`.
    #[inline]
    pub(crate) fn scan(&self, mut visit: impl FnMut(&Slot) -> bool) {
        if self.first.scan(&mut visit) && !self.roots.load(Acquire).is_null() {
            self.scan_roots(&mut visit);
        }
    }

    #[inline(never)]
    fn scan_roots(&self, visit: &mut impl FnMut(&Slot) -> bool) {
        let mut next: *const Root = self.roots.load(Acquire);
        // SAFETY: a root reached from the head was published complete, and lives as long as `self`.
        while let Some(root) = unsafe { next.as_ref() } {
            if !root
                .branch
                .scan(|branch| branch.scan(|leaf| leaf.scan(visit)))
            {
                return;
            }
            next = root.next;
        }
    }

    /// Returns `true` if a slot names this copy.
    #[inline]
    pub(crate) fn is_held(&self, copy: *mut ()) -> bool {
        let mut held = false;
        self.scan(|slot| {
            held = slot.held.load(Acquire) == copy;
            !held
        });
        held
    }

    /// Returns a slot that names this copy, drawn at random from all that do.
    pub(crate) fn draw_holder(&self, copy: *mut (), seed: u64) -> Option<NonNull<Slot>> {
        let (mut drawn, mut seen, mut random) = (None, 0_u64, seed | 1);
        self.scan(|slot| {
            if slot.held.load(Acquire) == copy {
                seen += 1;
                // Vitter's algorithm R with a sample of one; xorshift is random enough.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random % seen == 0 {
                    drawn = Some(NonNull::from(slot));
                }
            }
            true
        });
        drawn
    }

    /// Lists the name of every owned slot and the copy named in it, for observers. Takes the lock
    /// for one leaf at a time.
    pub(crate) fn workers(&self) -> Vec<(Option<StdArc<str>>, *mut ())> {
        let mut workers = Vec::new();
        for number in 0.. {
            let mut found = Vec::with_capacity(FAN);
            let ledger = self.ledger.lock();
            let Some(entry) = ledger.leaves.get(number) else {
                break;
            };
            // SAFETY: leaves live as long as the registry.
            let leaf = unsafe { entry.leaf.as_ref() };
            let occupied = leaf.occupied.load(Relaxed);
            for (index, slot) in leaf.slots.iter().enumerate() {
                if occupied & (1 << index) != 0 {
                    found.push((entry.names[index].clone(), slot.held.load(Acquire)));
                }
            }
            drop(ledger);
            workers.append(&mut found);
        }
        workers
    }

    /// Returns `true` if there is a handle.
    pub(crate) fn has_handles(&self) -> bool {
        self.ledger.lock().handles != 0
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Adds a leaf, and the branch and root above it where they are missing.
    #[cold]
    fn grow(&self, ledger: &mut Ledger) -> usize {
        let number = ledger.leaves.len();
        let leaf = NonNull::from(Box::leak(Box::new(Leaf::new(FAN))));
        let last = ledger.leaves[number - 1].above;
        let (root, branch) = match last {
            Some(above) if leaf_index(number) != 0 => above,
            _ => {
                let branch = NonNull::from(Box::leak(Box::new(Branch::new())));
                let root = match last {
                    Some((root, _)) if branch_index(number) != 0 => root,
                    _ => self.grow_root(),
                };
                // SAFETY: roots live as long as the registry.
                let children = unsafe { &root.as_ref().branch.children };
                children[branch_index(number)].store(branch.as_ptr(), Release);
                (root, branch)
            }
        };
        // SAFETY: as above.
        let children = unsafe { &branch.as_ref().children };
        children[leaf_index(number)].store(leaf.as_ptr(), Release);
        ledger.leaves.push(LeafEntry {
            above: Some((root, branch)),
            leaf,
            names: vec![None; FAN],
        });
        ledger.with_room.push(number);
        number
    }

    fn grow_root(&self) -> NonNull<Root> {
        let root = NonNull::from(Box::leak(Box::new(Root {
            branch: Branch::new(),
            next: self.roots.load(Relaxed),
        })));
        self.roots.store(root.as_ptr(), Release);
        root
    }
}

/// Index of a leaf in its branch; the first leaf belongs to no branch.
fn leaf_index(number: usize) -> usize {
    (number - 1) % FAN
}

/// Index of a leaf's branch in its root.
fn branch_index(number: usize) -> usize {
    (number - 1) / FAN % FAN
}

impl Drop for Registry {
    fn drop(&mut self) {
        for entry in self.ledger.lock().leaves.drain(..) {
            if entry.above.is_some() {
                // SAFETY: leaked in `grow`, and no thread is left that scans or owns a slot.
                drop(unsafe { Box::from_raw(entry.leaf.as_ptr()) });
            }
        }
        let mut next = self.roots.load(Relaxed).cast_const();
        while !next.is_null() {
            // SAFETY: leaked in `grow_root`.
            let root = unsafe { Box::from_raw(next.cast_mut()) };
            for branch in &root.branch.children {
                let branch = branch.load(Relaxed);
                if !branch.is_null() {
                    // SAFETY: leaked in `grow`; its leaves were freed above.
                    drop(unsafe { Box::from_raw(branch) });
                }
            }
            next = root.next;
        }
    }
}

impl Claim {
    /// The slot itself.
    ///
    /// # Safety
    /// The registry it was claimed from must be alive, and the claim not yet released.
    #[inline]
    pub(crate) unsafe fn slot<'a>(self) -> &'a Slot {
        // SAFETY: passed on to the caller.
        unsafe { self.slot.as_ref() }
    }
}
