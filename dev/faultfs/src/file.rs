//! One file: the bytes that its readers see, the durable bytes, and the changes in between. The
//! remains after a power failure are computed in `image`.

use std::collections::BTreeSet;
use std::ops::Range;

/// Size that the medium writes whole or not at all: the least that disks have promised.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Largest file; the disk is full beyond it. A test that reaches it has a defect, and should fail
/// before the machine runs out of memory.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 30;

/// A change that no sync has covered yet.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Number of the change among all changes of the disk.
    pub(crate) seq: u64,
    pub(crate) kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    Write {
        offset: usize,
        data: Box<[u8]>,
        /// Length of the file before, if this write made it longer.
        extends: Option<usize>,
        /// A sync failed on the change, so that no later one will make it durable.
        doomed: bool,
    },
    /// The file was given this length; added bytes are zeros.
    Truncate { len: usize },
}

/// The bytes of a file.
#[derive(Debug, Default)]
pub(crate) struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl File {
    /// Returns a file whose bytes are all durable.
    pub(crate) fn settled(content: Vec<u8>) -> File {
        File {
            durable: content.clone(),
            content,
            unsynced: Vec::new(),
        }
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(crate) fn unsynced(&self) -> &[Change] {
        &self.unsynced
    }

    /// Fills `into` from `offset` on, with zeros behind the end of the file; returns the number of
    /// bytes that were read.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let available = self.content.get(offset..).unwrap_or_default();
        let count = available.len().min(into.len());
        let (found, missing) = into.split_at_mut(count);
        found.copy_from_slice(&available[..count]);
        missing.fill(0);
        count
    }

    /// Writes `data` at `offset`; a gap before it becomes zeros. Returns `false`, and writes
    /// nothing, if the file would become too long.
    pub(crate) fn write(&mut self, seq: u64, offset: usize, data: &[u8]) -> bool {
        let end = match offset.checked_add(data.len()) {
            Some(end) if end <= MAX_FILE_BYTES => end,
            _ => return false,
        };
        if data.is_empty() {
            return true;
        }
        let before = self.content.len();
        if end > before {
            self.content.resize(end, 0);
        }
        self.content[offset..end].copy_from_slice(data);
        let extends = (end > before).then_some(before);
        let kind = ChangeKind::Write {
            offset,
            data: data.into(),
            extends,
            doomed: false,
        };
        self.unsynced.push(Change { seq, kind });
        true
    }

    /// Gives the file the length `len`. Returns `false` if that is too long.
    pub(crate) fn truncate(&mut self, seq: u64, len: usize) -> bool {
        if len > MAX_FILE_BYTES {
            return false;
        }
        if len != self.content.len() {
            self.content.resize(len, 0);
            self.unsynced.push(Change {
                seq,
                kind: ChangeKind::Truncate { len },
            });
        }
        true
    }

    /// Makes durable the length, and each sector written since the last sync as it is now, except
    /// those whose sync failed before.
    pub(crate) fn sync(&mut self) {
        let mut dirty = BTreeSet::new();
        for change in self.unsynced.drain(..) {
            match change.kind {
                ChangeKind::Write {
                    offset,
                    data,
                    doomed: false,
                    ..
                } => {
                    dirty.extend(sectors(offset..offset + data.len()));
                }
                ChangeKind::Write { doomed: true, .. } => {}
                // Bytes that were cut off must not reappear if the file has grown again.
                ChangeKind::Truncate { len } => self.durable.truncate(len),
            }
        }
        self.durable.resize(self.content.len(), 0);
        for sector in dirty {
            let start = (sector * SECTOR_BYTES).min(self.content.len());
            let end = (start + SECTOR_BYTES).min(self.content.len());
            self.durable[start..end].copy_from_slice(&self.content[start..end]);
        }
    }

    /// Fails a sync: the data written so far counts as clean without being durable. Lengths are
    /// metadata and wait for the next sync.
    pub(crate) fn fail_sync(&mut self) {
        for change in &mut self.unsynced {
            if let ChangeKind::Write { doomed, .. } = &mut change.kind {
                *doomed = true;
            }
        }
    }
}

/// Returns the sectors that contain `bytes`, which must not be empty.
pub(crate) fn sectors(bytes: Range<usize>) -> std::ops::RangeInclusive<usize> {
    bytes.start / SECTOR_BYTES..=(bytes.end - 1) / SECTOR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_see_the_last_write_and_zeros_in_gaps() {
        let mut file = File::default();
        assert!(file.write(1, 4, b"abc"));
        assert!(file.write(2, 5, b"X"));
        let mut bytes = [9; 9];
        assert_eq!(file.read(0, &mut bytes), 7);
        assert_eq!(&bytes, b"\0\0\0\0aXc\0\0");
        assert_eq!(file.read(100, &mut bytes), 0);
        assert_eq!(bytes, [0; 9]);
    }

    #[test]
    fn a_sync_makes_everything_durable() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut file = File::default();
        for seq in 0..2000 {
            match rng.u32(..10) {
                0 => assert!(file.truncate(seq, rng.usize(..5000))),
                1 => {
                    file.sync();
                    assert_eq!(file.durable(), file.content());
                    assert!(file.unsynced().is_empty());
                }
                _ => {
                    let data = vec![rng.u8(..); rng.usize(..1500)];
                    assert!(file.write(seq, rng.usize(..5000), &data));
                }
            }
        }
    }

    #[test]
    fn what_a_failed_sync_left_out_comes_only_with_another_write() {
        let mut file = File::settled(vec![0; 2048]);
        assert!(file.write(1, 0, &[1; 2048]));
        file.fail_sync();
        file.sync();
        assert_eq!(file.durable(), [0; 2048]);
        assert_eq!(file.content(), [1; 2048]);
        assert!(file.write(2, 700, &[2; 10]));
        file.sync();
        assert_eq!(file.durable()[..512], [0; 512]);
        assert_eq!(
            file.durable()[512..1024],
            file.content()[512..1024],
            "a sector is a whole"
        );
        assert_eq!(file.durable()[1024..], [0; 1024]);
    }

    #[test]
    fn the_length_survives_a_failed_sync_with_the_next() {
        let mut file = File::default();
        assert!(file.write(1, 0, &[1; 1000]));
        file.fail_sync();
        file.sync();
        assert_eq!(file.durable(), [0; 1000]);
        assert!(file.truncate(2, 300));
        file.fail_sync();
        assert_eq!(file.durable().len(), 1000);
        file.sync();
        assert_eq!(file.durable(), [0; 300]);
    }

    #[test]
    fn no_file_grows_without_bound() {
        let mut file = File::default();
        assert!(!file.write(1, MAX_FILE_BYTES, b"x"));
        assert!(!file.write(2, usize::MAX, b"x"));
        assert!(!file.truncate(3, MAX_FILE_BYTES + 1));
        assert!(file.content().is_empty() && file.unsynced().is_empty());
    }
}
