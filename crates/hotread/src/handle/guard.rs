//! Holding a copy for as long as a value lives, and reading a part of the state.

use std::fmt;
use std::ops::Deref;

use super::HotReadHandle;
use crate::HotReadState;

/// A copy of the state, held until the guard is dropped. `Send` and `'static`, so that it can be
/// returned, stored and sent.
///
/// Creating one costs a handle (a short lock) and a read. While the guard lives, its copy cannot
/// take updates: with two copies, one more publication succeeds and the following ones wait. A
/// guard that lives across an `.await` delays updates for as long as that takes; read what is
/// needed first and drop the guard, or allow more [copies](crate::HotReadBuilder::max_copies).
#[must_use = "the copy is let go of when the guard is dropped"]
pub struct HotReadGuard<T: HotReadState> {
    handle: HotReadHandle<T>,
}

impl<T: HotReadState> HotReadGuard<T> {
    pub(crate) fn new(mut handle: HotReadHandle<T>) -> Self {
        handle.refresh();
        Self { handle }
    }

    /// Generation of the copy held.
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

/// A handle that reads a part of the state; see [`HotReadHandle::project`].
pub struct Projection<T: HotReadState, U: ?Sized> {
    handle: HotReadHandle<T>,
    part: fn(&T) -> &U,
}

impl<T: HotReadState, U: ?Sized> Projection<T, U> {
    pub(crate) fn new(handle: HotReadHandle<T>, part: fn(&T) -> &U) -> Self {
        Self { handle, part }
    }

    /// Returns the part of the newest published state. Costs what [`HotReadHandle::current`] costs,
    /// and the projection.
    #[inline]
    pub fn current(&mut self) -> &U {
        (self.part)(self.handle.current())
    }

    /// Lets go of the copy; see [`HotReadHandle::quiescent`].
    #[inline]
    pub fn quiescent(&mut self) {
        self.handle.quiescent();
    }

    /// Returns the handle of the whole state.
    #[must_use]
    pub fn into_handle(self) -> HotReadHandle<T> {
        self.handle
    }
}

/// Creates a second projection, quiescent.
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
