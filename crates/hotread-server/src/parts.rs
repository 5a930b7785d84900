//! Parts of a table's snapshots: each is read and encoded once for all sessions that load it at the time.

use hotread_proto::session::Part;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Maximum number of bytes of parts kept for a table: the distance between the fastest and the slowest of the
/// sessions that share them. Slower sessions read for themselves.
const MAX_BYTES: usize = 16 << 20;

/// Beginning of a part: its number, which its text also has, and the key before it.
pub(crate) type Place = (u32, Option<Arc<str>>);

#[derive(Default)]
pub(crate) struct Parts(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Parts, oldest first.
    parts: VecDeque<(Place, Arc<OnceCell<Arc<Part>>>)>,
    /// Number of sessions that load the table.
    loading: usize,
}

impl Parts {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No code panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the part at this place, if it was read after transaction `since`; otherwise a cell to be
    /// filled.
    pub(crate) fn cell(&self, place: &Place, since: u64) -> Arc<OnceCell<Arc<Part>>> {
        let mut kept = self.lock();
        let is_new = |part: &Arc<Part>| part.head().position.seq >= since;
        let is_usable = |cell: &OnceCell<_>| cell.get().is_none_or(is_new);
        let parts = &mut kept.parts;
        parts.retain(|(other, cell)| other != place || is_usable(cell));
        if let Some((_, cell)) = parts.iter().find(|(other, _)| other == place) {
            return cell.clone();
        }
        let cell = Arc::new(OnceCell::new());
        parts.push_back((place.clone(), cell.clone()));
        let size = |cell: &OnceCell<Arc<Part>>| cell.get().map_or(0, |part| part.text().len());
        let mut bytes: usize = parts.iter().map(|(_, cell)| size(cell)).sum();
        while bytes > MAX_BYTES
            && let Some((_, oldest)) = parts.pop_front()
        {
            bytes -= size(&oldest);
        }
        cell
    }

    /// Records that a session begins to load the table.
    pub(crate) fn join(&self) {
        self.lock().loading += 1;
    }

    /// Records that a session has finished. The last one drops the parts.
    pub(crate) fn leave(&self) {
        let mut kept = self.lock();
        kept.loading -= 1;
        if kept.loading == 0 {
            kept.parts = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{
        Category, Digest, Epoch, Hasher, Head, Key, Position, Record, Records, Timestamp, Value,
    };

    fn part(seq: u64, bytes: usize) -> Arc<Part> {
        let (key, value) = (Key::new("k").unwrap(), "x".repeat(bytes));
        let (value, at) = (Value::string(&value).unwrap(), Timestamp::EPOCH);
        let record = Record::new(
            &key,
            &value,
            &Category::GENERAL,
            1,
            at,
            None,
            &Hasher::PLAIN,
        );
        let epoch = Epoch(1);
        let head = Head {
            position: Position { epoch, seq },
            digest: Digest::EMPTY.with(record.hash()),
            records: 1,
            at,
        };
        Arc::new(Part::read(&Records::new(head, [record]), 1, None))
    }

    const fn place(number: u32) -> Place {
        (number, None)
    }

    #[test]
    fn a_part_is_shared_as_long_as_it_is_new_enough() {
        let parts = Parts::default();
        parts.join();
        let cell = parts.cell(&place(1), 5);
        let same = parts.cell(&place(1), 5);
        assert!(Arc::ptr_eq(&cell, &same), "one fills it");
        cell.set(part(7, 1)).unwrap();
        assert!(parts.cell(&place(1), 7).get().is_some());
        assert!(parts.cell(&place(2), 7).get().is_none());
        assert!(parts.cell(&place(1), 8).get().is_none(), "too old");
        parts.join();
        parts.leave();
        assert!(!parts.lock().parts.is_empty());
        parts.leave();
        assert!(parts.lock().parts.is_empty(), "no session needs them");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let parts = Parts::default();
        parts.join();
        for number in 1..200 {
            let cell = parts.cell(&place(number), 0);
            cell.set(part(1, 500_000)).unwrap();
        }
        assert!(parts.lock().parts.len() <= MAX_BYTES / 500_000 + 1);
        let newest = parts.cell(&place(199), 0);
        assert!(newest.get().is_some(), "the newest stay");
    }
}
