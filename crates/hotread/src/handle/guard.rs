//! Holding a copy for as long as a value lives, and reading a part of the state.

use std::fmt;
use std::ops::Deref;

use super::HotReadHandle;
use crate::HotReadState;

/// Holds one copy of the state until it is dropped. `Send` and `'static`, so that it can be
/// returned, stored and sent.
///
/// Making one costs a handle (a short lock) and a read. While it lives, its copy cannot take
/// updates: with two copies, nothing is published after the next publication. A guard that lives
/// across an `.await` holds up every update for as long as that takes; take what is needed out of
/// it first, or allow more [copies](crate::HotReadBuilder::max_copies).
#[must_use = "the copy is let go of when the guard is dropped"]
pub struct HotReadGuard<T: HotReadState> {
    handle: HotReadHandle<T>,
}

impl<T: HotReadState> HotReadGuard<T> {
    pub(crate) fn new(mut handle: HotReadHandle<T>) -> Self {
        handle.refresh();
        Self { handle }
    }

    /// The generation held.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.handle.generation().unwrap_or_default()
    }
}

impl<T: HotReadState> Deref for HotReadGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.handle.held()
    }
}

impl<T: HotReadState + fmt::Debug> fmt::Debug for HotReadGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HotReadGuard").field(&**self).finish()
    }
}

/// A handle that shows a part of the state; see [`HotReadHandle::project`].
pub struct Projection<T: HotReadState, U: ?Sized> {
    handle: HotReadHandle<T>,
    part: fn(&T) -> &U,
}

impl<T: HotReadState, U: ?Sized> Projection<T, U> {
    pub(crate) fn new(handle: HotReadHandle<T>, part: fn(&T) -> &U) -> Self {
        Self { handle, part }
    }

    /// The part of the newest published state; costs what [`HotReadHandle::current`] costs, and the
    /// projection.
    #[inline]
    pub fn current(&mut self) -> &U {
        (self.part)(self.handle.current())
    }

    /// Lets go of the copy; see [`HotReadHandle::quiescent`].
    #[inline]
    pub fn quiescent(&mut self) {
        self.handle.quiescent();
    }

    /// The handle of the whole state.
    #[must_use]
    pub fn into_handle(self) -> HotReadHandle<T> {
        self.handle
    }
}

/// A second one, quiescent.
impl<T: HotReadState, U: ?Sized> Clone for Projection<T, U> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone(), self.part)
    }
}

impl<T: HotReadState, U: ?Sized> fmt::Debug for Projection<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}
