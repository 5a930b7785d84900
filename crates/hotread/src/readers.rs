//! Read-only access to a state.

use std::fmt;
use std::sync::Arc as StdArc;

use crate::HotReadState;
use crate::handle::{HotReadGuard, HotReadHandle};
use crate::shared::Shared;
use crate::sync::Arc;

/// Factory of handles and reads without access to the writing methods, for code that must not
/// write.
///
/// Obtained from [`HotRead::readers`](crate::HotRead::readers). Cheap to clone. Still works after
/// the last `HotRead` is gone, when the state no longer changes.
pub struct Readers<T: HotReadState> {
    pub(crate) shared: Arc<Shared<T>>,
}

impl<T: HotReadState> Readers<T> {
    /// Creates a handle, which is quiescent until its first [`current`](HotReadHandle::current);
    /// see [`HotRead::create_handle`](crate::HotRead::create_handle).
    #[must_use]
    pub fn create_handle(&self) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.shared), None)
    }

    /// Creates a handle with a name, which [`workers`](crate::HotRead::workers) reports.
    #[must_use]
    pub fn create_named_handle(&self, name: impl Into<StdArc<str>>) -> HotReadHandle<T> {
        HotReadHandle::new(Arc::clone(&self.shared), Some(name.into()))
    }

    /// Runs `f` on the published state; see [`HotRead::read`](crate::HotRead::read).
    #[inline]
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        crate::read::read(&self.shared, f)
    }

    /// Returns a guard that holds the published state until it is dropped; see
    /// [`HotRead::guard`](crate::HotRead::guard).
    pub fn guard(&self) -> HotReadGuard<T> {
        HotReadGuard::new(self.create_handle())
    }

    /// Returns a clone of the published state. Holds the copy while cloning.
    #[must_use]
    pub fn snapshot(&self) -> T {
        self.read(T::clone)
    }

    /// Number of publications so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.progress.generation()
    }

    /// Sequence number of the last update that readers can see. Never ahead of what
    /// [`current`](HotReadHandle::current) returns, possibly behind it.
    #[must_use]
    pub fn published_seq(&self) -> u64 {
        self.shared.progress.published_seq()
    }
}

/// Returns another reference to the same state.
impl<T: HotReadState> Clone for Readers<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: HotReadState> fmt::Debug for Readers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("name", &self.shared.settings.name)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
