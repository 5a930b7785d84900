//! Record of a turn of the right's holder, from which callers get their results.

use crate::event::Event;
use crate::panics::{Panics, Payload};

/// One turn of the holder: its work and its failures.
#[derive(Default)]
pub(crate) struct Turn {
    /// First number of the caller's own batch; 0 if it has none.
    pub(crate) own: u64,
    /// The panic of that batch.
    pub(crate) own_panic: Option<Payload>,
    /// Updates of other callers that the turn took on.
    pub(crate) helped: usize,
    /// Another caller asked for maintenance.
    pub(crate) asked: bool,
    /// The maintainer's own turn.
    pub(crate) is_maintainer: bool,
    pub(crate) applied: usize,
    pub(crate) pruned: usize,
    pub(crate) published: bool,
    /// An update is not visible because no copy is free.
    pub(crate) blocked: bool,
    /// An update is not visible because the turn's bound on work was reached.
    pub(crate) more: bool,
    /// Readers hold a copy that lacks a visible update.
    pub(crate) held_back: bool,
    /// A copy lacks a visible update because the turn's bound on work was reached.
    pub(crate) behind: bool,
    /// `Clone` panicked.
    pub(crate) clone_panicked: bool,
    /// An update is not visible because `Clone` panicked.
    pub(crate) no_clone: bool,
    /// `blocked` or `no_clone` was noted when the turn began.
    pub(crate) was_noted: bool,
    /// Work since the present piece began: applications, and clones as a sixteenth of a piece.
    pub(crate) work: usize,
    pub(crate) panics: Panics,
    pub(crate) events: Vec<Event>,
}
