//! A worker's way to read a replica.

use crate::cell::Cell;
use crate::status::TooStale;
use hotread::HotReadHandle;
use hotread_proto::Replicated;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// A [`HotReadHandle`] that also knows the age of what it reads. Create one for each thread or task with
/// [`Replica::reader`](crate::Replica::reader), and keep it.
///
/// A reader dereferences to its handle, and [`current`](HotReadHandle::current) has the same cost. It does
/// not keep the replica alive: after the replica has ended, the reader still returns the last state, whose
/// age grows. A clone is another reader, which refers to no copy yet.
#[derive(Clone)]
pub struct Reader<S: Replicated> {
    handle: HotReadHandle<S>,
    cell: Arc<Cell>,
}

impl<S: Replicated> Reader<S> {
    pub(crate) fn new(handle: HotReadHandle<S>, cell: Arc<Cell>) -> Self {
        Self { handle, cell }
    }

    /// Returns the current state if its age is at most `max`: it then has everything that was acknowledged
    /// to any caller `max` ago or earlier. Costs one load, one compare and a look at the clock more than
    /// [`current`](HotReadHandle::current).
    ///
    /// The age grows between pings, up to [`ping_every`](crate::ClientBuilder::ping_every) and a round trip
    /// on a healthy connection; a `max` below that fails occasionally.
    ///
    /// # Errors
    /// If the state may be older than `max`, or its age is unknown.
    pub fn fresh(&mut self, max: Duration) -> Result<&S, TooStale> {
        // The age is checked first, so that the state read afterwards is at least as fresh.
        TooStale::check(self.cell.age(), max)?;
        Ok(self.handle.current())
    }

    /// Returns the upper bound of the [`current`](HotReadHandle::current) state's age, as
    /// [`Replica::age`](crate::Replica::age).
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.cell.age()
    }
}

impl<S: Replicated> Deref for Reader<S> {
    type Target = HotReadHandle<S>;

    fn deref(&self) -> &HotReadHandle<S> {
        &self.handle
    }
}

impl<S: Replicated> DerefMut for Reader<S> {
    fn deref_mut(&mut self) -> &mut HotReadHandle<S> {
        &mut self.handle
    }
}

impl<S: Replicated> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("generation", &self.handle.generation())
            .field("age", &self.age())
            .finish_non_exhaustive()
    }
}
