//! The registration that keeps a state maintained, and the end of a state with its last `HotRead`.

use std::fmt;
use std::sync::{Arc as StdArc, Weak as StdWeak};

use crate::HotReadState;
use crate::piece::{Caller, Left};
use crate::shared::Shared;
use crate::sync::Arc;
use crate::tending::{Registration, Tended};
use crate::watch::Leader;

/// Registration of a state with the maintainer: until it is dropped, blocked publications are
/// completed when a reader lets go, and the second copy receives the updates that it lacks soon
/// after.
///
/// All maintained states of a process share one thread, `hotread-maintainer`, which starts with the
/// first registration and ends a second after the last. The thread works in bounded pieces, in turn
/// for each state. Updates run on it, so a slow update delays the maintenance of other states.
///
/// While no publication is blocked, an update that finds the maintainer idle wakes it, at most ten
/// times a second; other updates pay one load.
///
/// Dropping the last `HotRead` ends the registration as well.
#[must_use = "the state is maintained until this is dropped"]
pub struct Maintainer {
    _registration: Registration,
}

impl Maintainer {
    pub(crate) fn new(registration: Registration) -> Self {
        Self {
            _registration: registration,
        }
    }
}

impl fmt::Debug for Maintainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maintainer")
    }
}

/// The part of a state that a maintainer keeps alive while it works on it.
pub(crate) struct Tendee<T: HotReadState>(pub(crate) Arc<Shared<T>>);

impl<T: HotReadState> Tended for Tendee<T> {
    fn piece(&self) -> Left {
        self.0.maintain_piece(Caller::Maintainer)
    }

    fn lead(&self, leader: &StdArc<Leader>) -> bool {
        self.0.hot.watch.lead(leader)
    }

    fn pass_lead(&self, leader: &StdArc<Leader>) -> bool {
        self.0.pass_lead(leader)
    }
}

/// Owner shared by all clones of a `HotRead`; dropped with the last clone.
pub(crate) struct Owner<T: HotReadState> {
    tendee: StdArc<Tendee<T>>,
}

impl<T: HotReadState> Owner<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>) -> StdArc<Self> {
        let tending = StdArc::clone(&shared.tending);
        let tendee = StdArc::new(Tendee(shared));
        let weak: StdWeak<Tendee<T>> = StdArc::downgrade(&tendee);
        tending.set_tended(weak);
        StdArc::new(Self { tendee })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<T>> {
        &self.tendee.0
    }
}

impl<T: HotReadState> Drop for Owner<T> {
    fn drop(&mut self) {
        let shared = self.shared();
        shared.tending.retire();
        shared.close();
    }
}
