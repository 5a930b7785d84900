//! Remains after a power failure: of each file the durable bytes and some of the changes since,
//! torn at sectors; of each name some earlier file. All of it follows from the seed.

use crate::file::{Change, ChangeKind, File, SECTOR_BYTES, sectors};
use fastrand::Rng;

/// Probabilities that an unsynced piece survives: none, small, half, nearly 1, 1. The extremes
/// reveal most mistakes of programs, so they are as frequent as the others.
const CHANCES: [f64; 5] = [0.0, 0.05, 0.5, 0.95, 1.0];

/// Selection of the unsynced changes that have reached the medium nevertheless.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Survival {
    /// Each piece with this probability, independently of the others.
    Chance(f64),
    /// All pieces before this one; of this one, each piece with probability one half; no later
    /// piece. A medium that keeps the order.
    Before(u64),
}

impl Survival {
    fn of(self, seq: u64, rng: &mut Rng) -> bool {
        match self {
            Survival::Chance(chance) => rng.f64() < chance,
            Survival::Before(cut) => seq < cut || (seq == cut && rng.bool()),
        }
    }
}

/// One power failure.
#[derive(Debug)]
pub(crate) struct Failure {
    rng: Rng,
    /// Survival common to all files; `None` if each file has its own.
    common: Option<Survival>,
}

impl Failure {
    /// Returns the failure of a `seed`, if the changes that may survive have numbers from
    /// `unsynced`.
    pub(crate) fn new(seed: u64, unsynced: std::ops::Range<u64>) -> Failure {
        let mut rng = Rng::with_seed(seed);
        let common = match rng.u32(..4) {
            0 => Some(Survival::Before(rng.u64(unsynced.start..=unsynced.end))),
            1 => None,
            _ => Some(chance(&mut rng)),
        };
        Failure { rng, common }
    }

    /// Returns the survival of the next file's changes.
    pub(crate) fn survival(&mut self) -> Survival {
        self.common.unwrap_or_else(|| chance(&mut self.rng))
    }

    /// Returns the number of a name's unsynced changes, given by their numbers, that have become
    /// durable. They do so in order: a directory is kept in the file system's journal.
    pub(crate) fn name_changes(
        &mut self,
        survival: Survival,
        changes: impl Iterator<Item = u64>,
    ) -> usize {
        changes
            .take_while(|&seq| survival.of(seq, &mut self.rng))
            .count()
    }

    /// Returns the bytes that remain of `file`.
    pub(crate) fn bytes(&mut self, survival: Survival, file: &File) -> Vec<u8> {
        let mut image = Image {
            bytes: file.durable().to_vec(),
            len: file.durable().len(),
        };
        for change in file.unsynced() {
            self.apply(survival, change, &mut image);
        }
        image.bytes.resize(image.len, 0);
        image.bytes
    }

    fn apply(&mut self, survival: Survival, change: &Change, image: &mut Image) {
        let rng = &mut self.rng;
        match &change.kind {
            ChangeKind::Truncate { len } => {
                if survival.of(change.seq, rng) {
                    image.set_len(*len);
                }
            }
            ChangeKind::Write {
                offset,
                data,
                extends,
                ..
            } => {
                let end = offset + data.len();
                if let Some(before) = *extends
                    && survival.of(change.seq, rng)
                {
                    image.len = image.len.max(surviving_end(before, end, survival, rng));
                }
                for sector in sectors(*offset..end) {
                    if survival.of(change.seq, rng) {
                        let start = (sector * SECTOR_BYTES).max(*offset);
                        let end = ((sector + 1) * SECTOR_BYTES).min(end);
                        image.put(start, &data[start - offset..end - offset]);
                    }
                }
            }
        }
    }
}

fn chance(rng: &mut Rng) -> Survival {
    Survival::Chance(CHANCES[rng.usize(..CHANCES.len())])
}

/// Returns the surviving end of a write, which may lengthen the file in several steps, each to a
/// boundary between sectors.
fn surviving_end(before: usize, end: usize, survival: Survival, rng: &mut Rng) -> usize {
    let is_whole = survival == Survival::Chance(1.0) || rng.bool();
    if is_whole {
        return end;
    }
    let boundary = rng.usize(before / SECTOR_BYTES..=end / SECTOR_BYTES) * SECTOR_BYTES;
    boundary.clamp(before, end)
}

/// A file under construction. Data and length survive independently, so that `bytes` may be longer
/// or shorter than `len`; a length without its data reads as zeros.
struct Image {
    bytes: Vec<u8>,
    len: usize,
}

impl Image {
    fn set_len(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.len = len;
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(seed: u64, file: &File) -> Vec<u8> {
        let last = file.unsynced().last().map_or(0, |change| change.seq + 1);
        let mut failure = Failure::new(seed, 0..last);
        let survival = failure.survival();
        failure.bytes(survival, file)
    }

    #[test]
    fn what_was_synced_survives_every_failure() {
        let mut file = File::default();
        assert!(file.write(0, 0, &[7; 5000]));
        file.sync();
        for seed in 0..200 {
            assert_eq!(image(seed, &file), [7; 5000]);
        }
    }

    #[test]
    fn an_unsynced_write_is_lost_whole_or_torn_at_sectors() {
        let mut file = File::settled(vec![1; 4096]);
        assert!(file.write(0, 100, &[2; 3000]));
        let (mut lost, mut whole, mut torn, mut reordered) = (0, 0, 0, 0);
        for seed in 0..500 {
            let bytes = image(seed, &file);
            assert_eq!(bytes.len(), 4096);
            assert!(
                bytes[..100]
                    .iter()
                    .chain(&bytes[3100..])
                    .all(|&byte| byte == 1)
            );
            let pieces: Vec<bool> = sectors(100..3100)
                .map(|sector| {
                    let range = (sector * 512).max(100)..((sector + 1) * 512).min(3100);
                    let piece = &bytes[range];
                    assert!(
                        piece.iter().all(|&byte| byte == piece[0]),
                        "no sector is torn"
                    );
                    piece[0] == 2
                })
                .collect();
            let survivors = pieces.iter().filter(|&&survived| survived).count();
            lost += usize::from(survivors == 0);
            whole += usize::from(survivors == pieces.len());
            torn += usize::from(survivors > 0 && survivors < pieces.len());
            reordered += usize::from(!pieces[0] && survivors > 0);
        }
        assert!(lost > 50 && whole > 50 && torn > 50 && reordered > 50);
    }

    #[test]
    fn a_length_survives_with_or_without_its_data() {
        let mut file = File::settled(vec![1; 512]);
        assert!(file.write(0, 512, &[2; 1024]));
        let images: Vec<Vec<u8>> = (0..500).map(|seed| image(seed, &file)).collect();
        assert!(images.iter().all(|bytes| bytes[..512] == [1; 512]));
        assert!(images.iter().any(|bytes| bytes.len() == 512));
        assert!(images.iter().any(|bytes| bytes.len() == 1024));
        assert!(
            images
                .iter()
                .any(|bytes| bytes.len() == 1536 && bytes[512..] == [2; 1024])
        );
        assert!(
            images
                .iter()
                .any(|bytes| bytes.len() == 1536 && bytes[512..1024] == [0; 512])
        );
    }

    #[test]
    fn a_truncation_survives_or_not() {
        let mut file = File::settled(vec![1; 4096]);
        assert!(file.truncate(0, 1000));
        let lengths: Vec<usize> = (0..100).map(|seed| image(seed, &file).len()).collect();
        assert!(lengths.contains(&1000) && lengths.contains(&4096));
        assert!(lengths.iter().all(|&len| len == 1000 || len == 4096));
    }

    #[test]
    fn the_same_seed_gives_the_same_image() {
        let mut file = File::default();
        for seq in 0..20 {
            assert!(file.write(seq, seq as usize * 700, &[seq as u8; 900]));
        }
        for seed in 0..50 {
            assert_eq!(image(seed, &file), image(seed, &file));
        }
        assert_ne!(image(1, &file), image(2, &file));
    }

    /// Compares with an oracle of all possible values of each byte.
    #[test]
    fn each_byte_is_one_that_was_written_there() {
        let mut rng = Rng::with_seed(5);
        for round in 0..200 {
            let mut file = File::default();
            let mut possible = vec![vec![0_u8]; 8192];
            for seq in 0..rng.u64(1..30) {
                match rng.u32(..12) {
                    0 => assert!(file.truncate(seq, rng.usize(..6000))),
                    1 => {
                        file.sync();
                        for (at, bytes) in possible.iter_mut().enumerate() {
                            *bytes = vec![file.content().get(at).copied().unwrap_or(0)];
                        }
                    }
                    2 => file.fail_sync(),
                    _ => {
                        let (offset, byte) = (rng.usize(..6000), rng.u8(1..));
                        let data = vec![byte; rng.usize(1..2000)];
                        assert!(file.write(seq, offset, &data));
                        for bytes in &mut possible[offset..offset + data.len()] {
                            bytes.push(byte);
                        }
                    }
                }
                for bytes in &mut possible {
                    bytes.push(0);
                    bytes.sort_unstable();
                    bytes.dedup();
                }
            }
            // A sync omits sectors that a failed one doomed, so the oracle needs the durable bytes.
            for (at, &byte) in file.durable().iter().enumerate() {
                possible[at].push(byte);
            }
            for seed in 0..5 {
                for (at, byte) in image(round * 5 + seed, &file).into_iter().enumerate() {
                    assert!(possible[at].contains(&byte));
                }
            }
        }
    }
}
