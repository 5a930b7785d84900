//! A copy of the user's state, at an address that never changes.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};

/// One copy. Nodes are freed only with the shared state; dropping an extra copy drops the `T`
/// inside and leaves the node, so that an address that a reader is about to validate remains valid.
///
/// Aligned to two cache lines (processors prefetch them in pairs), so that writing one copy does
/// not disturb readers of its neighbor in memory. The value is the first field, so that the pointer
/// that readers compare is the pointer that they return.
#[repr(C, align(128))]
pub(crate) struct Node<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    /// Generation at which this copy was last published.
    generation: AtomicU64,
    /// Number of the last update that the copy had when it was last published.
    seq: AtomicU64,
}

impl<T> Node<T> {
    /// Allocates a node without a value, leaked: the copies free it with [`Node::free`].
    ///
    /// Constructed in place: `Box::new` would move the size of the state over the stack.
    pub(crate) fn allocate() -> NonNull<Self> {
        let mut node = Box::<Self>::new_uninit();
        // SAFETY: the pointer is to the box's own memory. After this every field is initialised,
        // since `value` may be uninitialised.
        let node = unsafe {
            (&raw mut (*node.as_mut_ptr()).generation).write(AtomicU64::new(0));
            (&raw mut (*node.as_mut_ptr()).seq).write(AtomicU64::new(0));
            node.assume_init()
        };
        NonNull::from(Box::leak(node))
    }

    /// # Safety
    /// `node` comes from [`Node::allocate`], is freed once, is used by no thread, and its value, if
    /// any, was dropped.
    pub(crate) unsafe fn free(node: NonNull<Self>) {
        // SAFETY: passed on to the caller.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }

    /// # Safety
    /// The node is alive and has a value, and no thread writes it while the reference is used.
    #[inline(always)]
    pub(crate) unsafe fn get<'a>(node: NonNull<Self>) -> &'a T {
        // SAFETY: passed on to the caller; the value is the first field of a `repr(C)` struct.
        unsafe { &*node.as_ptr().cast::<T>() }
    }

    /// # Safety
    /// Like [`Node::get`], and no other thread reads it either.
    #[inline(always)]
    pub(crate) unsafe fn get_mut<'a>(node: NonNull<Self>) -> &'a mut T {
        // SAFETY: passed on to the caller.
        unsafe { &mut *node.as_ptr().cast::<T>() }
    }

    /// Creates the value of a node that has none. If `make` panics, the node stays without a value.
    ///
    /// # Safety
    /// The node is alive, has no value, and is used by no other thread.
    pub(crate) unsafe fn fill(node: NonNull<Self>, make: impl FnOnce() -> T) {
        // SAFETY: passed on to the caller.
        unsafe { node.as_ptr().cast::<T>().write(make()) }
    }

    /// Moves a boxed value into a node without a value, avoiding the stack.
    ///
    /// # Safety
    /// Same as [`Node::fill`].
    pub(crate) unsafe fn fill_boxed(node: NonNull<Self>, value: Box<T>) {
        let value = Box::into_raw(value);
        // SAFETY: the box's value is moved out once, and its memory is then freed without
        // dropping it: `MaybeUninit<T>` has the layout of `T` and no drop.
        unsafe {
            ptr::copy_nonoverlapping(value, node.as_ptr().cast::<T>(), 1);
            drop(Box::from_raw(value.cast::<MaybeUninit<T>>()));
        }
    }

    /// Drops the value in place; afterwards, even after a panic, the node has no value.
    ///
    /// # Safety
    /// Same as [`Node::get_mut`].
    pub(crate) unsafe fn clear(node: NonNull<Self>) {
        // SAFETY: passed on to the caller.
        unsafe { node.as_ptr().cast::<T>().drop_in_place() }
    }

    /// # Safety
    /// The node is alive.
    #[inline]
    pub(crate) unsafe fn generation(node: NonNull<Self>) -> u64 {
        // SAFETY: passed on to the caller; the field is an atomic, so no claim to the value.
        // ORDERING: a reader that holds the copy acquired it with the pointer; for an observer, the
        // value is only reported.
        unsafe { &(*node.as_ptr()).generation }.load(Relaxed)
    }

    /// # Safety
    /// The node is alive.
    #[inline]
    pub(crate) unsafe fn seq(node: NonNull<Self>) -> u64 {
        // SAFETY: passed on to the caller; the field is an atomic, so no claim to the value.
        // ORDERING: a reader that holds the copy acquired it with the pointer.
        unsafe { &(*node.as_ptr()).seq }.load(Relaxed)
    }

    /// # Safety
    /// The node is alive.
    #[inline]
    pub(crate) unsafe fn set_generation(node: NonNull<Self>, generation: u64) {
        // SAFETY: as above.
        unsafe { &(*node.as_ptr()).generation }.store(generation, Release);
    }

    /// Sets the sequence number, before the pointer to the node is published, which releases it.
    ///
    /// # Safety
    /// The node is alive.
    #[inline]
    pub(crate) unsafe fn set_seq(node: NonNull<Self>, seq: u64) {
        // SAFETY: as above.
        unsafe { &(*node.as_ptr()).seq }.store(seq, Relaxed);
    }
}
