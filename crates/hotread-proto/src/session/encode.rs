//! Frames that many sessions send: encoded once and shared.

use super::frame::{ServerFrame, Snapshot, Txn};
use super::{PART_BYTES, PART_RECORDS};
use crate::evaluate::Change;
use crate::record::Record;
use crate::records::Records;
use crate::view::Head;
use std::borrow::Cow;
use std::ops::Bound;
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

    /// The frames, in order; at least one.
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

/// Encodes a transaction, or several coalesced ones.
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
    /// Encodes as many records as fit a frame, beginning after the key `after` (`None`: with the
    /// first one).
    #[must_use]
    pub fn read(table: &Records, number: u32, after: Option<&str>) -> Self {
        let (mut bytes, mut records) = (0, Vec::<Record>::new());
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = table.from(from).peekable();
        while let Some(record) = behind.next_if(|record| {
            bytes += record.size();
            records.is_empty() || bytes <= PART_BYTES && records.len() < PART_RECORDS
        }) {
            records.push(record.clone());
        }
        let last = records.last().filter(|_| behind.peek().is_some());
        let last = last.map(|last| last.key().into());
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

    /// The state of the table that the part was read from.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The last key, after which the next part begins; `None` if this part ends the table.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<str>> {
        self.last.as_ref()
    }

    /// The number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }
}
