//! The input as bytes: one buffer that is used again and again, and a count of what was taken.

use std::io::{self, Read};

/// What is read at once, in bytes: the default of most tools; more was not faster.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// A reader with its buffer. What lies between `start` and `end` has been read and not yet taken.
pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    taken: u64,
}

impl<R: Read> Source<R> {
    /// Reads the first bytes and leaves out a byte order mark, which spreadsheets write.
    pub(super) fn new(reader: R) -> io::Result<Self> {
        const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

        let mut source = Self {
            reader,
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            taken: 0,
        };
        while BYTE_ORDER_MARK.starts_with(source.unread()) && source.more()? {
            if source.unread().starts_with(BYTE_ORDER_MARK) {
                source.take(BYTE_ORDER_MARK.len());
                break;
            }
        }
        Ok(source)
    }

    /// What has been read and not yet taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Done with the first so many unread bytes.
    pub(super) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start += bytes;
        self.taken += bytes as u64;
    }

    /// How many bytes have been taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Reads more behind the unread bytes, which may move; `false` at the end of the input. The
    /// buffer doubles when the unread bytes fill it, so whoever asks for more bounds it.
    pub(super) fn more(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.buffer.resize(2 * self.buffer.len(), 0);
            }
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(bytes > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The buffer's size, in bytes.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }
}
