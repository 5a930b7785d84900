//! Detection of damage in a write-ahead log: committed frames after the first damaged frame, where
//! SQLite stops.
//!
//! Each frame has a checksum over itself and all frames before it. A valid frame therefore proves that
//! it was written directly after its predecessor, even if an earlier frame is damaged.

use crate::files::{is_filled, sibling};
use crate::inode::Inode;
use crate::location::Location;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::time::Duration;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The first four bytes; the last bit means that checksums are of big-endian numbers.
const MAGIC: u32 = 0x377f_0682;
/// The page size of this crate's databases, for a log with a damaged header.
const PAGE_BYTES: u32 = 4096;
/// Number of scans of a log that another process may be writing, and the pause between them. Damage
/// persists, while a frame that is being written is complete by the next scan.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// Committed groups of transactions in the write-ahead log that SQLite skips, because an earlier part
/// of the log is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WalDamage {
    /// The first frame that SQLite skips, from 1; 0 if the log's header is damaged, so that it skips
    /// all frames.
    pub frame: u64,
    /// Complete commits after the damage; at least one for each transaction.
    pub commits: u64,
    /// Set if acknowledged transactions are certainly lost. Otherwise the only commit after the damage
    /// may be one that was in progress when power was lost.
    pub certain: bool,
}

impl fmt::Display for WalDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, commits, .. } = self;
        match frame {
            0 => write!(f, "the header of the write-ahead log is damaged")?,
            frame => write!(f, "frame {frame} of the write-ahead log is damaged")?,
        }
        write!(f, ", so that {commits} later commits in it are passed over")
    }
}

/// Scans the log next to a database that no process writes.
pub(crate) fn scan(at: &Location) -> io::Result<Option<WalDamage>> {
    if at.vfs.is_some() {
        return Ok(None);
    }
    let file = match File::open(sibling(&at.path, "-wal")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    scan_log(BufReader::with_capacity(1 << 20, file), at.inode.as_deref())
}

/// Scans the log while another process may be writing it.
pub(crate) fn scan_live(at: &Location) -> io::Result<Option<WalDamage>> {
    let mut last = scan(at)?;
    for _ in 1..LOOKS {
        if last.is_none() {
            break;
        }
        std::thread::sleep(PAUSE);
        let before = std::mem::replace(&mut last, scan(at)?);
        if last == before {
            break;
        }
    }
    Ok(last)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// SQLite's checksum of pairs of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Checksum(u32, u32);

impl Checksum {
    fn stored(bytes: &[u8], at: usize) -> Self {
        Self(number(bytes, at), number(bytes, at + 4))
    }

    fn of(self, bytes: &[u8], big: bool) -> Self {
        let read = |bytes: &[u8]| {
            let bytes = bytes.try_into().expect("four bytes");
            match big {
                true => u32::from_be_bytes(bytes),
                false => u32::from_le_bytes(bytes),
            }
        };
        bytes.chunks_exact(8).fold(self, |Self(a, b), pair| {
            let a = a.wrapping_add(read(&pair[..4])).wrapping_add(b);
            let b = b.wrapping_add(read(&pair[4..])).wrapping_add(a);
            Self(a, b)
        })
    }
}

/// A run of frames, each of which was written directly after the one before.
#[derive(Default)]
struct Run {
    commits: u64,
    /// The last committed version of each page, and the versions that no commit has confirmed yet.
    pages: BTreeMap<u32, Vec<u8>>,
    pending: BTreeMap<u32, Vec<u8>>,
}

/// Scans the log for commits after the damage. A damaged header is ignored if all later frames are in
/// the database.
fn scan_log(mut log: impl Read, database: Option<&Inode>) -> io::Result<Option<WalDamage>> {
    let mut header = [0; HEADER_BYTES];
    if !is_filled(log.read_exact(&mut header))? {
        return Ok(None);
    }
    let magic = number(&header, 0);
    let big = magic & 1 == 1;
    let stored = Checksum::stored(&header, 24);
    let counts = magic & !1 == MAGIC && Checksum::default().of(&header[..24], big) == stored;
    let page_bytes = match number(&header, 8) {
        bytes if counts || (bytes.is_power_of_two() && (512..=65_536).contains(&bytes)) => bytes,
        _ => PAGE_BYTES,
    };
    let mut salts = counts.then(|| <[u8; 8]>::try_from(&header[16..24]).expect("eight bytes"));
    let mut before = stored;
    // The first frame that SQLite skips.
    let mut end = (!counts).then_some(0);
    let (mut run, mut longest) = (Run::default(), Run::default());
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    let mut at = 0_u64;
    while is_filled(log.read_exact(&mut frame))? {
        at += 1;
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        let own: [u8; 8] = head[8..16].try_into().expect("eight bytes");
        let stored = Checksum::stored(head, 16);
        let follows = salts.is_none_or(|salts| salts == own)
            && number(head, 0) != 0
            && before.of(&head[..8], big).of(page, big) == stored;
        before = stored;
        if !counts {
            // Without a header, the first valid frame determines the log's salts.
            salts = Some(own);
        }
        if !follows {
            end.get_or_insert(at);
            let ended = std::mem::take(&mut run);
            if ended.commits > longest.commits {
                longest = ended;
            }
        }
        if !follows || end.is_none() {
            continue;
        }
        if !counts {
            run.pending.insert(number(head, 0), page.to_vec());
        }
        if number(head, 4) != 0 {
            run.commits += 1;
            run.pages.append(&mut run.pending);
        }
    }
    if run.commits > longest.commits {
        longest = run;
    }
    let (Some(frame), true) = (end, longest.commits > 0) else {
        return Ok(None);
    };
    if !counts && is_in_database(&longest, database)? {
        return Ok(None);
    }
    Ok(Some(WalDamage {
        frame,
        commits: longest.commits,
        // The second commit began only after the first one was synced.
        certain: !counts || longest.commits > 1,
    }))
}

fn is_in_database(run: &Run, database: Option<&Inode>) -> io::Result<bool> {
    let Some(database) = database else {
        return Ok(false);
    };
    for (number, page) in &run.pages {
        let mut there = vec![0; page.len()];
        let offset = (u64::from(*number) - 1) * page.len() as u64;
        if !database.read_at(&mut there, offset)? || there != *page {
            return Ok(false);
        }
    }
    Ok(true)
}
