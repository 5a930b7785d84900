//! A file to which synced pages are written: the disk's part of every durable write.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::target;

/// Bytes of one write: a page of SQLite's.
pub(super) const PAGE_BYTES: usize = 4_096;

/// A file that grows by synced pages.
pub(super) struct Log {
    pub(super) file: File,
    length: u64,
}

impl Log {
    /// Creates an empty file without a name, next to the benchmark's program.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(target::folder())?,
            length: 0,
        })
    }

    /// Appends a page, which is on the disk when this returns.
    pub(super) fn append(&mut self) -> std::io::Result<()> {
        self.write(self.length)?;
        self.length += PAGE_BYTES as u64;
        Ok(())
    }

    /// Writes a page at this place, which is on the disk when this returns.
    pub(super) fn write(&self, at: u64) -> std::io::Result<()> {
        self.file.write_all_at(&[0xa5; PAGE_BYTES], at)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_grows_by_pages() {
        let mut log = Log::new().expect("the folder is writable");
        log.append().expect("it can be written");
        log.append().expect("it can be written");
        let length = log.file.metadata().expect("it is open").len();
        assert_eq!(length, 2 * PAGE_BYTES as u64);
    }
}
