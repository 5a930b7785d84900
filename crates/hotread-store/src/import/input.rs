//! The text of a file: decompressed and in UTF-8, whatever it was before.

use super::options::Encoding;
use super::{ImportError, decompress};
use encoding_rs::{Decoder, DecoderResult, UTF_8};
use std::fmt;
use std::io::{self, Read};

/// Bytes that are decoded at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The text of a file. gzip and zstd are told by their first bytes, UTF-8 and UTF-16 by a byte order
/// mark, which is left out.
pub struct Input<'a> {
    /// What was read ahead.
    head: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
    rest: Box<dyn Read + 'a>,
}

impl<'a> Input<'a> {
    /// Begins to read. The reader need not be buffered. A byte order mark counts more than the encoding
    /// that is given; without both, the text is UTF-8.
    ///
    /// # Errors
    /// If it cannot be read, or seems to be UTF-16.
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

    /// The bytes as they are.
    pub(super) fn plain(rest: Box<dyn Read + 'a>) -> Self {
        Self {
            head: Vec::new(),
            taken: 0,
            rest,
        }
    }

    /// The first so many bytes of what has not been read yet, or all of it. They can be read afterwards.
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

/// Without the text.
impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// Text of another encoding as UTF-8.
struct Decode<R> {
    reader: R,
    decoder: Decoder,
    /// Room for what is read.
    bytes: Vec<u8>,
    /// What was decoded and not yet taken, from `taken`.
    text: Vec<u8>,
    taken: usize,
    end: Option<End>,
}

/// What follows the text that was decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Input,
    /// Bytes that are not of the encoding.
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

    /// Decodes some more, if there is more. What stands before malformed bytes is still text.
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
