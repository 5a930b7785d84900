//! The file of a copy: a header, one record a line, and a checksum. The file is used only if all of it
//! agrees: format, version, table, server, the hash of each record, the number of records, the digest of
//! the table, and the checksum of the file.

use super::{ASIDE, COPY, LOCK, Place, UNFINISHED};
use hotread_proto::session::MAX_SERVER_FRAME_BYTES;
use hotread_proto::{Digest, Hasher, Head, Position, Record, Records, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use xxhash_rust::xxh3::Xxh3Default;

/// Version of the format that is written; the only one that is read.
const VERSION: u32 = 1;
/// Size of the largest table that is kept, in bytes of keys, categories and values. A replica with a copy
/// on disk holds these a second time in memory.
pub(crate) const MAX_TABLE_BYTES: usize = 4 << 30;
/// Size of the largest file that is read, in bytes: a table of [`MAX_TABLE_BYTES`] with the JSON around it.
const MAX_FILE_BYTES: u64 = 4 * MAX_TABLE_BYTES as u64;
/// Length of the longest line, in bytes: the largest record, as it also fits into a frame.
const MAX_LINE_BYTES: usize = MAX_SERVER_FRAME_BYTES;
/// Bytes per read and write.
const BUFFER: usize = 256 << 10;
/// Longest wait for another process that is writing the same copy.
const LOCK_WITHIN: Duration = Duration::from_secs(5);
/// Time between two attempts to take the lock.
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    hotread_cache: u32,
    table: String,
    server: String,
    #[serde(flatten)]
    position: Position,
    at: Timestamp,
    digest: Digest,
    count: u64,
    saved_at: Timestamp,
}

/// The last line of the file: the checksum of everything before it.
#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    xxh3: String,
}

/// A copy that passed all checks.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) records: Records,
    pub(crate) saved_at: Timestamp,
}

/// Reason a copy is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it was written by a newer version, in format {0}; this version writes {VERSION}")]
    Newer(u32),
    #[error("it is a copy of another table, or from another server")]
    Foreign,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Place {
    /// Loads the copy, if there is one that passes all checks. An unusable one is set aside, so that it is
    /// not read a second time. Takes as long as parsing the table: do not call it on a thread of the
    /// runtime.
    pub(crate) fn load(&self) -> Option<Loaded> {
        let (path, aside) = (self.file(COPY), self.file(ASIDE));
        let why = match read(&path, self.table.as_str(), &self.server) {
            Ok(loaded) => return Some(loaded),
            Err(why) => why,
        };
        let moved = match &why {
            Unusable::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => return None,
            // A process that may not read the file has no business moving it.
            Unusable::Unreadable(_) => Ok(()),
            _ => fs::rename(&path, &aside),
        };
        let (path, aside) = (path.display(), aside.display());
        match moved {
            Ok(()) => tracing::warn!(%path, %why, %aside, "a copy of a table is not used"),
            Err(error) => {
                tracing::warn!(%path, %why, %error, "a copy of a table is neither used nor moved away");
            }
        }
        None
    }

    /// Writes a copy: complete and durable on success, without effect on failure.
    pub(super) fn write<'a>(
        &self,
        head: Head,
        records: impl Iterator<Item = &'a Record>,
    ) -> io::Result<()> {
        self.create_dir()?;
        let path = self.file(UNFINISHED);
        // Removes what a process that died while writing has left. Opening a new file follows no link, and
        // sets the mode.
        remove(&path)?;
        let file = only_for_us().create_new(true).open(&path)?;
        let header = Header {
            hotread_cache: VERSION,
            table: self.table.to_string(),
            server: self.server.clone(),
            position: head.position,
            at: head.at,
            digest: head.digest,
            count: head.records,
            saved_at: SystemTime::now().into(),
        };
        let written = write(&file, &header, records).and_then(|()| {
            file.sync_all()?;
            fs::rename(&path, self.file(COPY))?;
            sync_dir(&self.cache.dir)
        });
        if written.is_err() {
            // Frees the room on a disk that may be full. The write has failed whether this works or not.
            let _ = fs::remove_file(&path);
        }
        written
    }

    /// Removes the copy.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.file(COPY))
    }

    /// Takes the lock of the process that writes, which is released with the returned file. Waits for other
    /// processes.
    pub(super) fn lock(&self) -> io::Result<File> {
        self.create_dir()?;
        let mut options = only_for_us();
        let file = options.create(true).truncate(false).open(self.file(LOCK))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_WITHIN => {
                    let why = "another process is still writing this copy";
                    return Err(io::Error::other(why));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_EVERY),
            }
        }
    }

    fn create_dir(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.cache.dir)
    }
}

/// Removes a file, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns options that open a file for writing, readable by its owner only: tables are not for every user
/// of the machine.
fn only_for_us() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn write<'a>(
    file: &File,
    header: &Header,
    records: impl Iterator<Item = &'a Record>,
) -> io::Result<()> {
    let mut out = Summing {
        out: BufWriter::with_capacity(BUFFER, file),
        sum: Xxh3Default::new(),
    };
    out.line(header)?;
    for record in records {
        out.line(record)?;
    }
    let xxh3 = format!("{:032x}", out.sum.digest128());
    out.line(&Footer { xxh3 })?;
    out.out.flush()
}

/// A writer that computes the checksum of what is written.
struct Summing<W> {
    out: W,
    sum: Xxh3Default,
}

impl<W: Write> Summing<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.sum.update(&text);
        self.out.write_all(&text)
    }
}

fn read(path: &Path, table: &str, server: &str) -> Result<Loaded, Unusable> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_FILE_BYTES {
        return Err(Unusable::Damaged("it is larger than any copy"));
    }
    let mut lines = Lines {
        file: BufReader::with_capacity(BUFFER, file),
        line: Vec::new(),
        sum: Xxh3Default::new(),
    };
    let header = lines.next()?;
    let version: Version = serde_json::from_slice(header).map_err(|_| Unusable::Foreign)?;
    match version.hotread_cache {
        VERSION => {}
        newer if newer > VERSION => return Err(Unusable::Newer(newer)),
        _ => return Err(Unusable::Foreign),
    }
    let header: Header =
        serde_json::from_slice(header).map_err(|_| Unusable::Damaged("its first line"))?;
    if header.table != table || header.server != server {
        return Err(Unusable::Foreign);
    }
    let mut records: Vec<Record> = Vec::new();
    for _ in 0..header.count {
        let line = lines.next()?;
        let record: Record =
            serde_json::from_slice(line).map_err(|_| Unusable::Damaged("a record's form"))?;
        if records.last().is_some_and(|last| *last >= record) || record.seq() > header.position.seq
        {
            return Err(Unusable::Damaged("the order of the records"));
        }
        records.push(record);
    }
    let sum = format!("{:032x}", lines.sum.digest128());
    let footer: Footer = serde_json::from_slice(lines.next()?)
        .map_err(|_| Unusable::Damaged("it has no end, or more records than it says"))?;
    if footer.xxh3 != sum {
        return Err(Unusable::Damaged("its checksum"));
    }
    if !lines.file.fill_buf()?.is_empty() {
        return Err(Unusable::Damaged("it continues after its end"));
    }
    let head = Head {
        position: header.position,
        digest: header.digest,
        records: header.count,
        at: header.at,
    };
    let records = Records::new(head, records);
    if !records.verify(&Hasher::PLAIN) {
        return Err(Unusable::Damaged("the digest of its records"));
    }
    Ok(Loaded {
        records,
        saved_at: header.saved_at,
    })
}

/// The part of the first line that every version has.
#[derive(Deserialize)]
struct Version {
    hotread_cache: u32,
}

/// The lines of a file, of bounded length, and the checksum of the lines read so far.
struct Lines<R> {
    file: BufReader<R>,
    line: Vec<u8>,
    sum: Xxh3Default,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> Result<&[u8], Unusable> {
        self.line.clear();
        let mut limited = self.file.by_ref().take(MAX_LINE_BYTES as u64);
        limited.read_until(b'\n', &mut self.line)?;
        self.sum.update(&self.line);
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(line),
            None => Err(Unusable::Damaged("it is cut off, or a line is too long")),
        }
    }
}
