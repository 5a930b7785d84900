//! Content of a session: the parts of a snapshot, the changes that complete it, and then each
//! change or several coalesced ones.

use super::{Asked, FOLD_BEHIND, FOLD_BYTES, FOLD_CHANGES, Phase, Serve};
use crate::response::{Code, ErrorBody};
use crate::session::encode::{Encoded, Part, txn_frames};
use crate::session::fold::Fold;
use crate::session::frame::{ServerFrame, SnapshotEnd};
use crate::session::serving::{End, Event, Want};
use std::sync::Arc;

impl Serve {
    /// Decides what to send or to request next, once nothing is queued.
    pub(super) fn ask(&mut self) {
        if self.asked != Asked::Nothing {
            return;
        }
        match &self.phase {
            Phase::Parts { number, after, .. } => {
                self.asked = Asked::Next(Want::Part {
                    number: *number,
                    after: after.clone(),
                });
            }
            Phase::Completing { parts, target } if self.sent.position.seq >= *target => {
                let end = SnapshotEnd {
                    at: self.sent.position.seq,
                    count: self.sent.records,
                    digest: self.sent.digest,
                    time: self.sent.at,
                };
                self.events.push_back(Event::SnapshotSent { parts: *parts });
                self.phase = Phase::Following;
                self.send(&ServerFrame::SnapshotEnd(end));
            }
            Phase::Completing { .. } | Phase::Following => self.ask_for_changes(),
            Phase::Waiting | Phase::Comparing { .. } | Phase::Over => {}
        }
    }

    /// Returns the last transaction that was sent or coalesced.
    fn has(&self) -> u64 {
        let folded = self.fold.as_ref().map(|fold| fold.head);
        folded.unwrap_or(self.sent).position.seq
    }

    fn ask_for_changes(&mut self) {
        let has = self.has();
        if has < self.head.position.seq {
            let following = matches!(self.phase, Phase::Following);
            if self.coalesce && following && self.head.position.seq - has > FOLD_BEHIND {
                self.fold.get_or_insert_with(|| Fold::after(self.sent));
            }
            self.asked = Asked::Next(Want::Changes { after: has });
        } else {
            self.unfold();
        }
    }

    pub(super) fn add_part(&mut self, part: &Part) {
        let Phase::Parts { number, reads, .. } = &self.phase else {
            return;
        };
        let (number, read) = (*number, part.head());
        if read.position.epoch != self.head.position.epoch {
            return self.handle_end(End::Dropped);
        }
        let (first, last) = reads.map_or((read, read.position.seq), |(first, last)| {
            let earlier = read.position.seq < first.position.seq;
            let first = if earlier { read } else { first };
            (first, last.max(read.position.seq))
        });
        self.frames.push_back(part.text().clone());
        self.phase = match part.last() {
            Some(last_key) => Phase::Parts {
                number: number + 1,
                after: Some(last_key.clone()),
                reads: Some((first, last)),
            },
            None => {
                self.sent = first;
                Phase::Completing {
                    parts: number,
                    target: last.max(self.head.position.seq),
                }
            }
        };
    }

    pub(super) fn add_changes(&mut self, changes: Vec<Arc<Encoded>>) {
        let epoch = self.head.position.epoch;
        let mut positions = changes.iter().map(|next| next.change().position);
        if positions.any(|position| position.epoch != epoch) {
            return self.handle_end(End::Dropped);
        }
        let in_order = (self.has() + 1..)
            .zip(&changes)
            .all(|(seq, next)| next.change().position.seq == seq);
        debug_assert!(
            in_order && !changes.is_empty(),
            "the answer to another question"
        );
        if !in_order {
            let message = "the server lost its place in the table's changes";
            return self.fail(ErrorBody::new(Code::Internal, message));
        }
        let Some(fold) = &mut self.fold else {
            self.changes.extend(changes);
            return;
        };
        for next in changes {
            fold.add(next.change());
        }
        if fold.bytes >= FOLD_BYTES || fold.len() >= FOLD_CHANGES {
            self.unfold();
        }
    }

    /// Sends the coalesced transactions.
    fn unfold(&mut self) {
        let Some(fold) = self.fold.take().filter(|fold| fold.len() > 0) else {
            return;
        };
        let transactions = fold.len();
        self.sent = fold.head;
        self.frames.extend(txn_frames(&fold.into_txn()));
        self.events.push_back(Event::Folded { transactions });
    }

    pub(super) fn take(&mut self, next: &Encoded) {
        self.frames.extend(next.frames().iter().cloned());
        self.sent = next.change().head();
        // A snapshot ends exactly at its target.
        if let Phase::Completing { target, .. } = self.phase
            && self.sent.position.seq == target
        {
            let rest = std::mem::take(&mut self.changes);
            self.ask();
            self.changes = rest;
        }
    }
}
