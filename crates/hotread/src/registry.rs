//! The readers' slots: which copy each handle holds.
//!
//! A slot is one padded atomic pointer. Slots live in chunks that are never moved or freed while
//! the registry lives, so that a writer can scan them without a lock while others register and
//! leave. The registry knows nothing of the state's type: nobody but a slot's owner may
//! dereference what it names, so here it is only an address.
//!
//! It is shared by the core and, through `read`, by the storage of threads, which may outlive
//! the core: hence an allocation of its own.

use std::ptr::{self, NonNull};
use std::sync::Arc as StdArc;

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Mutex, unless};

/// Slots in the first chunk; each further chunk has twice as many, up to [`MAX_CHUNK`].
const MIN_CHUNK: usize = if cfg!(loom) { 1 } else { 8 };
/// Slots in a chunk at most: its occupancy is one word.
const MAX_CHUNK: usize = 64;

/// Names the copy that one reader holds, or is about to validate. Null: quiescent.
pub(crate) struct Slot {
    pub(crate) held: AtomicPtr<()>,
}

struct Chunk {
    /// Bit `i` is set while slot `i` has an owner. Lets a scan pass over free slots, so that
    /// publications stay cheap after many handles have come and gone.
    occupied: AtomicU64,
    slots: Box<[CachePadded<Slot>]>,
    /// Written before the chunk is published, never after.
    next: *const Chunk,
}

/// A claimed slot. It is `Copy`, because its owner stores it; only the owner may use it, and
/// must hand it back exactly once.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    slot: NonNull<Slot>,
    chunk: usize,
    index: usize,
}

pub(crate) struct Registry {
    head: AtomicPtr<Chunk>,
    /// Set when the core is gone, so that threads forget the slots they kept for `read`.
    closed: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// What only registration, leaving and observers need.
#[derive(Default)]
struct Ledger {
    chunks: Vec<ChunkEntry>,
    /// Chunk and index of slots without an owner; the last one left is the first reused.
    free: Vec<(usize, usize)>,
}

struct ChunkEntry {
    chunk: NonNull<Chunk>,
    names: Vec<Option<StdArc<str>>>,
}

// SAFETY: chunks are owned by the registry, reached by shared references only, and made of
// atomics; the ledger that mentions them is behind a mutex.
unsafe impl Send for Registry {}
// SAFETY: as above.
unsafe impl Sync for Registry {}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            closed: AtomicBool::new(false),
            ledger: Mutex::new(Ledger::default()),
        }
    }

    /// Claims a quiescent slot. O(1), under a short lock that no scan takes.
    pub(crate) fn claim(&self, name: Option<StdArc<str>>) -> Claim {
        let mut ledger = self.ledger.lock();
        // ORDERING: the lock orders this claim after the previous owner's release of the slot.
        let (number, index) = match ledger.free.pop() {
            Some(free) => free,
            None => self.grow(&mut ledger),
        };
        let entry = &mut ledger.chunks[number];
        entry.names[index] = name;
        // SAFETY: chunks live as long as the registry.
        let chunk = unsafe { entry.chunk.as_ref() };
        // ORDERING: a reader's cold path has its fence after this, on the same thread or on one
        // that the handle was sent to; so a scan that must see its slot sees this bit as well.
        chunk.occupied.fetch_or(1 << index, Release);
        Claim {
            slot: NonNull::from(&*chunk.slots[index]),
            chunk: number,
            index,
        }
    }

    /// Gives a slot back. The owner has let go of its copy before.
    pub(crate) fn release(&self, claim: Claim) {
        // SAFETY: the caller owns the claim, so the slot is one of ours.
        let slot = unsafe { claim.slot.as_ref() };
        debug_assert!(slot.held.load(Relaxed).is_null(), "released while held");
        let mut ledger = self.ledger.lock();
        let entry = &mut ledger.chunks[claim.chunk];
        let name = entry.names[claim.index].take();
        // SAFETY: chunks live as long as the registry.
        let chunk = unsafe { entry.chunk.as_ref() };
        // ORDERING: a scan that no longer sees the bit acquires with it all that the owner read.
        chunk.occupied.fetch_and(
            !(1 << claim.index),
            unless(cfg!(hotread_fault = "relaxed_release"), Release),
        );
        ledger.free.push((claim.chunk, claim.index));
        drop(ledger);
        drop(name);
    }

    /// Calls `visit` with every copy that a slot names, until it says `false`.
    ///
    /// Complete for every reader whose validation succeeded before the caller's last
    /// `fence(SeqCst)`: see `docs/orderings.md`.
    #[inline]
    pub(crate) fn scan(&self, mut visit: impl FnMut(*mut ()) -> bool) {
        let order = unless(cfg!(hotread_fault = "relaxed_scan"), Acquire);
        let mut next: *const Chunk = self.head.load(Acquire);
        // SAFETY: a chunk reached from the head was published whole, and lives as long as we.
        while let Some(chunk) = unsafe { next.as_ref() } {
            let mut occupied = chunk.occupied.load(order);
            while occupied != 0 {
                let index = occupied.trailing_zeros() as usize;
                occupied &= occupied - 1;
                let held = chunk.slots[index].held.load(order);
                if !held.is_null() && !visit(held) {
                    return;
                }
            }
            next = chunk.next;
        }
    }

    /// Every owned slot's name and the copy it names. For observers: takes the lock.
    pub(crate) fn workers(&self) -> Vec<(Option<StdArc<str>>, *mut ())> {
        let ledger = self.ledger.lock();
        let mut workers = Vec::new();
        for entry in &ledger.chunks {
            // SAFETY: chunks live as long as the registry.
            let chunk = unsafe { entry.chunk.as_ref() };
            let occupied = chunk.occupied.load(Relaxed);
            for (index, slot) in chunk.slots.iter().enumerate() {
                if occupied & (1 << index) != 0 {
                    workers.push((entry.names[index].clone(), slot.held.load(Acquire)));
                }
            }
        }
        workers
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Adds a chunk and returns one of its slots, the others going to the free list.
    #[cold]
    fn grow(&self, ledger: &mut Ledger) -> (usize, usize) {
        let number = ledger.chunks.len();
        let size = (MIN_CHUNK << number.min(6)).min(MAX_CHUNK);
        let chunk = Box::new(Chunk {
            occupied: AtomicU64::new(0),
            slots: (0..size)
                .map(|_| {
                    CachePadded::new(Slot {
                        held: AtomicPtr::new(ptr::null_mut()),
                    })
                })
                .collect(),
            next: self.head.load(Relaxed),
        });
        let chunk = NonNull::from(Box::leak(chunk));
        ledger.chunks.push(ChunkEntry {
            chunk,
            names: vec![None; size],
        });
        ledger
            .free
            .extend((1..size).rev().map(|index| (number, index)));
        self.head.store(chunk.as_ptr(), Release);
        (number, 0)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for entry in self.ledger.lock().chunks.drain(..) {
            // SAFETY: leaked in `grow`, and nobody is left to scan or to own a slot.
            drop(unsafe { Box::from_raw(entry.chunk.as_ptr()) });
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
