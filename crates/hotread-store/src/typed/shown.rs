//! What callers may ask of a typed table while it is moved on.

use super::status::Status;
use hotread_proto::Position;
use hotread_proto::session::Refused;
use std::collections::VecDeque;

pub(super) struct Shown {
    /// The last change that was taken from the table, whether the state has it or not.
    pub(super) at: Position,
    /// Changes that the state has, with the number of the last update of each in the `HotRead`: the last
    /// one that readers are known to see, and those after it.
    applied: VecDeque<(Position, u64)>,
    /// A value that the state refuses.
    pub(super) refused: Option<Refused>,
    pub(super) ended: Option<Status>,
    pub(super) sealed: bool,
}

impl Shown {
    pub(super) fn new(at: Position, update: u64, sealed: bool) -> Self {
        Self {
            at,
            applied: VecDeque::from([(at, update)]),
            refused: None,
            ended: None,
            sealed,
        }
    }

    /// The state has a change.
    pub(super) fn apply(&mut self, at: Position, update: u64) {
        self.at = at;
        self.refused = None;
        match self.applied.back_mut() {
            // It changed nothing that readers see.
            Some(last) if last.1 == update => last.0 = at,
            _ => self.applied.push_back((at, update)),
        }
    }

    /// A change was taken, and the state stays as it was: because of this value, or until the table was
    /// read again.
    pub(super) fn hold(&mut self, at: Position, refused: Option<Refused>) {
        self.at = at;
        self.refused = refused;
    }

    /// Is it decided what becomes of this position: the state has it, or stays before it?
    pub(super) fn has_taken(&self, to: Position) -> bool {
        let last = self.applied.back();
        last.is_some_and(|(at, _)| at.has_reached(to))
            || (self.refused.is_some() && self.at.has_reached(to))
    }

    /// The update with which readers come to a position, if the state has that.
    pub(super) fn update_of(&self, to: Position) -> Option<u64> {
        let mut applied = self.applied.iter();
        Some(applied.find(|(at, _)| at.has_reached(to))?.1)
    }

    /// The last change that readers see, if `is_visible` says of an update whether they see it.
    pub(super) fn visible(&mut self, is_visible: impl Fn(u64) -> bool) -> Position {
        while let Some((_, update)) = self.applied.get(1)
            && is_visible(*update)
        {
            self.applied.pop_front();
        }
        self.applied[0].0
    }

    /// Will there be no change any more?
    pub(super) fn is_over(&self) -> bool {
        matches!(
            self.ended,
            Some(Status::Fixed | Status::Closed | Status::Failed(_))
        )
    }
}
