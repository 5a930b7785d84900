//! The input as bytes, with one reused buffer.

use super::{ImportError, MAX_ROW_BYTES, MAX_SKIPPED_BYTES};
use std::io::{self, Read};

/// Bytes that are read at once: the default of most tools; more was not faster.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// A reader with its buffer. The bytes between `start` and `end` have been read but not taken.
pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
        }
    }

    /// Returns the bytes that have been read but not taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes this many of the unread bytes.
    pub(super) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start += bytes;
    }

    /// Reads more after the unread bytes, which may move. Returns `false` at the end of the input. The
    /// buffer doubles when the unread bytes fill it, so the caller must bound it.
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

    /// Reads until this many bytes are unread, or the input ends.
    pub(super) fn fill(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.unread().len() < bytes && self.more()? {}
        Ok(self.unread())
    }

    /// Returns the next line, which ends with LF or with the input; `number` is its number.
    pub(super) fn line(&mut self, number: u64) -> Result<Option<Line>, ImportError> {
        let mut seen = 0;
        loop {
            let unread = self.unread();
            if let Some(at) = memchr::memchr(b'\n', &unread[seen..]) {
                let bytes = seen + at;
                return Ok(Some(match bytes > MAX_ROW_BYTES {
                    false => Line::Whole { bytes, end: 1 },
                    true => {
                        self.take(bytes + 1);
                        Line::TooLong
                    }
                }));
            }
            seen = unread.len();
            if seen > MAX_ROW_BYTES {
                self.skip_line(number)?;
                return Ok(Some(Line::TooLong));
            }
            if !self.more()? {
                return Ok((seen > 0).then_some(Line::Whole {
                    bytes: seen,
                    end: 0,
                }));
            }
        }
    }

    fn skip_line(&mut self, line: u64) -> Result<(), ImportError> {
        let mut skipped = 0;
        loop {
            let unread = self.unread();
            let end = memchr::memchr(b'\n', unread);
            let bytes = end.map_or(unread.len(), |at| at + 1);
            skipped += bytes;
            self.take(bytes);
            if skipped > MAX_SKIPPED_BYTES {
                return Err(ImportError::Endless { line });
            }
            if end.is_some() || !self.more()? {
                return Ok(());
            }
        }
    }

    /// Returns the buffer's size, in bytes.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }
}

/// The extent of a line.
pub(super) enum Line {
    /// The line is this many of the unread bytes, of which the last `end` are the line end.
    Whole { bytes: usize, end: usize },
    /// The line has more than [`MAX_ROW_BYTES`], and has been taken.
    TooLong,
}
