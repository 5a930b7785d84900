//! A copy of the user's state, at an address that stays.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

/// One copy. Nodes are freed only with the core; dropping an extra copy drops the `T` inside
/// and leaves the node, so that an address which a reader is about to validate stays good.
///
/// Aligned to two cache lines (processors prefetch them in pairs), so that writing one copy does
/// not disturb readers of its neighbour in memory; the value stands first, so that the pointer
/// that readers compare is the pointer they return.
#[repr(C, align(128))]
pub(crate) struct Node<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    /// The generation at which this copy was last published.
    generation: AtomicU64,
}

impl<T> Node<T> {
    /// A node without a value, leaked: the pool frees it with [`Node::free`].
    pub(crate) fn allocate() -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            value: UnsafeCell::new(MaybeUninit::uninit()),
            generation: AtomicU64::new(0),
        })))
    }

    /// # Safety
    /// `node` comes from [`Node::allocate`], is freed once, is used by nobody, and its value, if
    /// any, was dropped.
    pub(crate) unsafe fn free(node: NonNull<Self>) {
        // SAFETY: passed on to the caller.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }

    /// # Safety
    /// The node is alive and has a value, and nobody writes it while the reference is used.
    #[inline(always)]
    pub(crate) unsafe fn get<'a>(node: NonNull<Self>) -> &'a T {
        // SAFETY: passed on to the caller; the value is the first field of a `repr(C)` struct.
        unsafe { &*node.as_ptr().cast::<T>() }
    }

    /// # Safety
    /// As [`Node::get`], and nobody else reads it either.
    #[inline(always)]
    pub(crate) unsafe fn get_mut<'a>(node: NonNull<Self>) -> &'a mut T {
        // SAFETY: passed on to the caller.
        unsafe { &mut *node.as_ptr().cast::<T>() }
    }

    /// Puts a value into a node that has none.
    ///
    /// # Safety
    /// The node is alive, has no value, and nobody else uses it.
    pub(crate) unsafe fn put(node: NonNull<Self>, value: T) {
        // SAFETY: passed on to the caller.
        unsafe { node.as_ptr().cast::<T>().write(value) }
    }

    /// Drops the value in place; after this, even by a panic, the node has none.
    ///
    /// # Safety
    /// As [`Node::get_mut`].
    pub(crate) unsafe fn clear(node: NonNull<Self>) {
        // SAFETY: passed on to the caller.
        unsafe { node.as_ptr().cast::<T>().drop_in_place() }
    }

    /// # Safety
    /// The node is alive.
    #[inline]
    pub(crate) unsafe fn generation(node: NonNull<Self>) -> u64 {
        // SAFETY: passed on to the caller; the field is an atomic, so no claim to the value.
        // ORDERING: whoever holds the copy acquired it with the pointer; to others it is news.
        unsafe { &(*node.as_ptr()).generation }.load(Relaxed)
    }

    /// # Safety
    /// The node is alive.
    #[inline]
    pub(crate) unsafe fn set_generation(node: NonNull<Self>, generation: u64) {
        // SAFETY: as above.
        unsafe { &(*node.as_ptr()).generation }.store(generation, Release);
    }
}
