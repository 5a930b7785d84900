//! A worker's way to read a replica.

use crate::cell::Cell;
use crate::status::TooStale;
use hotread::HotReadHandle;
use hotread_proto::Replicated;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// A [`HotReadHandle`] that also knows how old what it reads is. Make one for each thread or task with
/// [`Replica::reader`](crate::Replica::reader), and keep it.
///
/// It is used as a handle is: [`current`](HotReadHandle::current) costs what it costs there. It does
/// not keep the replica alive; after that has gone it reads on, and what it reads gets older. A clone is
/// another reader, which holds no copy yet.
#[derive(Clone)]
pub struct Reader<S: Replicated> {
    handle: HotReadHandle<S>,
    cell: Arc<Cell>,
}

impl<S: Replicated> Reader<S> {
    pub(crate) fn new(handle: HotReadHandle<S>, cell: Arc<Cell>) -> Self {
        Self { handle, cell }
    }

    /// The current state, if it is at most so old: it has everything that was acknowledged to anybody
    /// `max` ago or earlier. One load, one compare and a look at the clock more than
    /// [`current`](HotReadHandle::current).
    ///
    /// The age grows between pings, up to
    /// [`ping_every`](crate::ClientBuilder::ping_every) and a round trip while all is well; a smaller
    /// `max` than that fails now and then.
    ///
    /// # Errors
    /// If it may be older, or how old it is is not known.
    pub fn fresh(&mut self, max: Duration) -> Result<&S, TooStale> {
        // In this order: what is read afterwards is at least as fresh.
        TooStale::check(self.cell.age(), max)?;
        Ok(self.handle.current())
    }

    /// How old the [`current`](HotReadHandle::current) state is at most, as
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
