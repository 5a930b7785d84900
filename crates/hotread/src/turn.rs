//! What a turn of the holder of the right did, for those who answer callers.

use crate::event::Event;
use crate::panics::{Panics, Payload};

/// One turn of the holder: what it did, and what went wrong meanwhile.
#[derive(Default)]
pub(crate) struct Turn {
    /// First number of the caller's own batch; 0 if it has none.
    pub(crate) own: u64,
    /// The panic of that batch.
    pub(crate) own_panic: Option<Payload>,
    /// Updates of other callers that it took on.
    pub(crate) helped: usize,
    /// Another caller asked for maintenance.
    pub(crate) asked: bool,
    /// The maintainer's own turn.
    pub(crate) is_maintainer: bool,
    pub(crate) applied: usize,
    pub(crate) pruned: usize,
    pub(crate) published: bool,
    /// Something is not visible because no copy is free.
    pub(crate) blocked: bool,
    /// Something is not visible because the turn's bound on work was reached.
    pub(crate) more: bool,
    /// Readers hold a copy that lacks something visible.
    pub(crate) held_back: bool,
    /// A copy lacks something visible because the turn's bound on work was reached.
    pub(crate) behind: bool,
    /// `Clone` panicked.
    pub(crate) clone_panicked: bool,
    /// Something is not visible because it did.
    pub(crate) no_clone: bool,
    /// One of these was so, and noted, when the turn began.
    pub(crate) was_noted: bool,
    /// Work since the present piece began: applications, and clones as a sixteenth of a piece.
    pub(crate) work: usize,
    pub(crate) panics: Panics,
    pub(crate) events: Vec<Event>,
}
