//! The part of a typed table's status that callers may read while changes are applied.

use super::status::Status;
use hotread_proto::Position;
use hotread_proto::session::Refused;
use std::collections::VecDeque;

pub(super) struct Shown {
    /// The last change that was taken from the table, even if the state does not have it.
    pub(super) at: Position,
    /// The last change that readers are known to see, and those after it that the state has, each with
    /// the number of its last update in the `HotRead`.
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

    /// Records that the state has a change.
    pub(super) fn apply(&mut self, at: Position, update: u64) {
        self.at = at;
        self.refused = None;
        match self.applied.back_mut() {
            // The change has no effect that readers see.
            Some(last) if last.1 == update => last.0 = at,
            _ => self.applied.push_back((at, update)),
        }
    }

    /// Records a change that was taken while the state stays as it was: because of the refused value,
    /// or until the table is read again.
    pub(super) fn hold(&mut self, at: Position, refused: Option<Refused>) {
        self.at = at;
        self.refused = refused;
    }

    /// Returns `true` if the outcome for this position is known: the state has it, or stays before it.
    pub(super) fn has_taken(&self, to: Position) -> bool {
        let last = self.applied.back();
        last.is_some_and(|(at, _)| at.has_reached(to))
            || (self.refused.is_some() && self.at.has_reached(to))
    }

    /// Returns the update that brings readers to a position, if the state has reached it.
    pub(super) fn update_of(&self, to: Position) -> Option<u64> {
        let mut applied = self.applied.iter();
        Some(applied.find(|(at, _)| at.has_reached(to))?.1)
    }

    /// Returns the last change that readers see, where `is_visible` returns `true` for each update that
    /// they see.
    pub(super) fn visible(&mut self, is_visible: impl Fn(u64) -> bool) -> Position {
        while let Some((_, update)) = self.applied.get(1)
            && is_visible(*update)
        {
            self.applied.pop_front();
        }
        self.applied[0].0
    }

    /// Returns `true` if the state will not change again.
    pub(super) fn is_over(&self) -> bool {
        matches!(
            self.ended,
            Some(Status::Fixed | Status::Closed | Status::Failed(_))
        )
    }
}
