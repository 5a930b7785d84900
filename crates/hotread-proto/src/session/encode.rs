//! What many sessions send: encoded once, and shared.

use super::frame::{ServerFrame, Snapshot, Txn};
use super::{PART_BYTES, PART_RECORDS};
use crate::evaluate::Change;
use crate::record::Record;
use crate::records::Records;
use crate::view::Head;
use std::borrow::Cow;
use std::sync::Arc;

/// A change with its frames.
#[derive(Debug, Clone)]
pub struct Encoded {
    change: Arc<Change>,
    frames: Vec<Arc<str>>,
    size: usize,
}

impl Encoded {
    /// Encodes a change: one frame, or several if it is larger than [`PART_BYTES`].
    #[must_use]
    pub fn new(change: Arc<Change>) -> Self {
        let frames = txn_frames(&Txn::of(&change));
        let size = frames.iter().map(|frame| frame.len()).sum();
        Self {
            change,
            frames,
            size,
        }
    }

    /// The change.
    #[must_use]
    pub fn change(&self) -> &Arc<Change> {
        &self.change
    }

    /// Its frames, in their order; at least one.
    #[must_use]
    pub fn frames(&self) -> &[Arc<str>] {
        &self.frames
    }

    /// Bytes of the frames together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

/// The frames of a transaction, or of several that were folded.
pub(super) fn txn_frames(txn: &Txn<'_>) -> Vec<Arc<str>> {
    let (mut frames, mut at) = (Vec::new(), 0);
    loop {
        let piece = txn.piece(at);
        at += piece.ops.len();
        let more = piece.more;
        frames.push(ServerFrame::Txn(piece).encode().into());
        if !more {
            return frames;
        }
    }
}

/// A part of a snapshot.
#[derive(Debug, Clone)]
pub struct Part {
    text: Arc<str>,
    head: Head,
    last: Option<Arc<str>>,
    records: usize,
}

impl Part {
    /// Encodes the records behind the key `after` (`None`: from the beginning), as many as make a
    /// frame.
    #[must_use]
    pub fn read(table: &Records, number: u32, after: Option<&str>) -> Self {
        let (mut bytes, mut more) = (0, false);
        let mut records: Vec<Record> = Vec::new();
        let behind: Box<dyn Iterator<Item = &Record>> = match after {
            Some(after) => Box::new(table.after(after)),
            None => Box::new(table.iter()),
        };
        for record in behind {
            bytes += record.size();
            if !records.is_empty() && (bytes > PART_BYTES || records.len() == PART_RECORDS) {
                more = true;
                break;
            }
            records.push(record.clone());
        }
        let last = records
            .last()
            .filter(|_| more)
            .map(|last| last.key().into());
        let frame = ServerFrame::Snapshot(Snapshot {
            part: number,
            records: Cow::Borrowed(&records),
        });
        Self {
            text: frame.encode().into(),
            head: table.head(),
            last,
            records: records.len(),
        }
    }

    /// The frame.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Where the table stood when it was read.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Its last key, behind which the next part begins; `None`: the table ends here.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<str>> {
        self.last.as_ref()
    }

    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Hasher};
    use crate::evaluate::ChangeOp;
    use crate::limits::{MAX_ACTOR_BYTES, MAX_NOTE_BYTES};
    use crate::name::{Actor, Category, Key, Note};
    use crate::position::{Epoch, Position};
    use crate::time::Timestamp;
    use crate::value::Value;

    /// A record whose key, category and value have so many bytes together.
    fn record(bytes: usize) -> ChangeOp {
        let (key, category) = (Key::new("k").unwrap(), Category::GENERAL);
        let around = "k".len() + category.as_str().len() + "\"\"".len();
        let value = Value::string(&"x".repeat(bytes - around)).unwrap();
        let hasher = Hasher::PLAIN;
        let at = Timestamp::EPOCH;
        ChangeOp::Put(Record::new(&key, &value, &category, 1, at, None, &hasher))
    }

    fn change(ops: Vec<ChangeOp>) -> Change {
        Change {
            position: Position {
                epoch: Epoch(1),
                seq: 1,
            },
            at: Timestamp::EPOCH,
            digest: Digest::EMPTY,
            records: 1,
            ops,
            id: None,
            actor: None,
            note: None,
        }
    }

    fn fitting(change: &Change) -> usize {
        Txn::of(change).piece(0).ops.len()
    }

    #[test]
    fn a_large_change_comes_in_pieces_that_lose_nothing() {
        assert_eq!(fitting(&change(Vec::new())), 0);
        assert_eq!(
            fitting(&change(vec![record(20); PART_RECORDS + 1])),
            PART_RECORDS
        );
        let large = change(vec![record(PART_BYTES + 1), record(20)]);
        assert_eq!(fitting(&large), 1, "one that is too large comes alone");
        let four = change(vec![record(PART_BYTES / 3); 4]);
        assert_eq!(fitting(&four), 3);
        let whole = Txn::of(&four);
        let (first, last) = (whole.piece(0), whole.piece(3));
        assert!(first.more && !last.more && last.ops.len() == 1);
        assert_eq!(Encoded::new(Arc::new(four.clone())).frames().len(), 2);
    }

    #[test]
    fn actor_and_note_count_in_the_size_of_a_frame() {
        let mut full = change(vec![record(PART_BYTES / 2); 2]);
        assert_eq!(fitting(&full), 2);
        full.note = Some(Note::new("n").unwrap());
        assert_eq!(full.size(), PART_BYTES + 1);
        assert_eq!(fitting(&full), 1);
        full.note = None;
        full.actor = Some(Actor::new("a").unwrap());
        assert_eq!(fitting(&full), 1);

        // Each piece has both.
        full.actor = Some(Actor::new(&"a".repeat(MAX_ACTOR_BYTES)).unwrap());
        full.note = Some(Note::new(&"\"".repeat(MAX_NOTE_BYTES)).unwrap());
        let encoded = Encoded::new(Arc::new(full.clone()));
        assert_eq!(encoded.frames().len(), 2);
        for frame in encoded.frames() {
            let Ok(ServerFrame::Txn(piece)) = ServerFrame::decode(frame) else {
                panic!("no transaction");
            };
            assert_eq!(
                (piece.actor, piece.note),
                (full.actor.clone(), full.note.clone())
            );
        }
    }
}
