//! The text of a file, decompressed and converted to UTF-8.

use super::options::Encoding;
use super::{ImportError, decompress};
use encoding_rs::{Decoder, DecoderResult, UTF_8};
use std::fmt;
use std::io::{self, Read};

/// Bytes that are decoded at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The text of a file. gzip and zstd are recognized by their first bytes, UTF-8 and UTF-16 by a byte
/// order mark, which is removed.
pub struct Input<'a> {
    /// Bytes that were read ahead.
    head: Vec<u8>,
    /// The number of bytes of `head` that were taken.
    taken: usize,
    rest: Box<dyn Read + 'a>,
}

impl<'a> Input<'a> {
    /// Begins to read. The reader need not be buffered. A byte order mark takes precedence over the
    /// given encoding; without either, the text is UTF-8.
    ///
    /// # Errors
    /// If the file cannot be read, or seems to be UTF-16.
    pub fn new(reader: impl Read + 'a, encoding: Option<Encoding>) -> Result<Self, ImportError> {
        let mut raw = Self::plain(decompress::decompress(Self::plain(Box::new(reader)))?);
        let start = raw.sample(3)?;
        let (encoding, skip) = match encoding_rs::Encoding::for_bom(start) {
            Some((encoding, mark)) => (encoding, mark),
            None => (encoding.map_or(UTF_8, |Encoding(named)| named), 0),
        };
        if encoding == UTF_8 && matches!(start, [0, other, ..] | [other, 0, ..] if *other != 0) {
            return Err(ImportError::NulBytes);
        }
        raw.taken = skip;
        Ok(match encoding == UTF_8 {
            true => raw,
            false => Self::plain(Box::new(Decode::new(raw, encoding))),
        })
    }

    /// Returns the bytes without conversion.
    pub(super) fn plain(rest: Box<dyn Read + 'a>) -> Self {
        Self {
            head: Vec::new(),
            taken: 0,
            rest,
        }
    }

    /// Returns up to this many of the unread bytes. They remain unread.
    ///
    /// # Errors
    /// If reading fails.
    pub fn sample(&mut self, bytes: usize) -> io::Result<&[u8]> {
        self.head.drain(..self.taken);
        self.taken = 0;
        let more = bytes.saturating_sub(self.head.len()) as u64;
        self.rest.by_ref().take(more).read_to_end(&mut self.head)?;
        Ok(&self.head[..bytes.min(self.head.len())])
    }
}

impl Input<'_> {
    /// Returns as much of the unread text as is kept, as an input: up to
    /// [`SAMPLE_BYTES`](super::SAMPLE_BYTES). It remains unread.
    ///
    /// # Errors
    /// If reading fails.
    pub fn beginning(&mut self) -> io::Result<Input<'_>> {
        Ok(Input::plain(Box::new(self.sample(super::SAMPLE_BYTES)?)))
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut head = &self.head[self.taken..];
        if head.is_empty() {
            self.head = Vec::new();
            self.taken = 0;
            return self.rest.read(out);
        }
        let bytes = head.read(out)?;
        self.taken += bytes;
        Ok(bytes)
    }
}

/// Omits the text.
impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// A reader that converts text of another encoding to UTF-8.
struct Decode<R> {
    reader: R,
    decoder: Decoder,
    /// The buffer for encoded bytes.
    bytes: Vec<u8>,
    /// Decoded text, taken up to `taken`.
    text: Vec<u8>,
    taken: usize,
    end: Option<End>,
}

/// The reason for the end of the decoded text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Input,
    /// Bytes that are invalid in the encoding.
    Malformed,
}

impl<R: Read> Decode<R> {
    fn new(reader: R, encoding: &'static encoding_rs::Encoding) -> Self {
        Self {
            reader,
            decoder: encoding.new_decoder_without_bom_handling(),
            bytes: vec![0; CHUNK_BYTES],
            text: Vec::new(),
            taken: 0,
            end: None,
        }
    }

    /// Decodes more text, if there is any. Text before malformed bytes is still returned.
    fn decode(&mut self) -> io::Result<()> {
        self.taken = 0;
        self.text.clear();
        while self.text.is_empty() && self.end.is_none() {
            let read = loop {
                match self.reader.read(&mut self.bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            let most = self
                .decoder
                .max_utf8_buffer_length_without_replacement(read);
            self.text.resize(most.unwrap_or(4 * CHUNK_BYTES), 0);
            let (result, _, written) = self.decoder.decode_to_utf8_without_replacement(
                &self.bytes[..read],
                &mut self.text,
                read == 0,
            );
            self.text.truncate(written);
            self.end = match result {
                DecoderResult::InputEmpty => (read == 0).then_some(End::Input),
                _ => Some(End::Malformed),
            };
        }
        if self.text.is_empty() && self.end == Some(End::Malformed) {
            let name = self.decoder.encoding().name();
            let message = format!("it is not {name}; name the encoding that it has");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(())
    }
}

impl<R: Read> Read for Decode<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.text.len() {
            self.decode()?;
        }
        let bytes = (&self.text[self.taken..]).read(out)?;
        self.taken += bytes;
        Ok(bytes)
    }
}
