//! The dialect of a file of fields: its delimiter, detected in the header, and quotes that are used as no
//! writer of such files uses them, which the splitter accepts.

use super::source::{CHUNK_BYTES, Source};
use std::io::{self, Read};

/// Detects the delimiter from the first line of the next row.
pub(super) fn guess_delimiter<R: Read>(
    source: &mut Source<R>,
    quote: Option<u8>,
) -> io::Result<u8> {
    let ended = |text: &[u8]| memchr::memchr2(b'\n', b'\r', text);
    while ended(source.unread()).is_none()
        && source.unread().len() < CHUNK_BYTES
        && source.more()?
    {}
    let text = source.unread();
    let line = &text[..ended(text).unwrap_or(text.len()).min(CHUNK_BYTES)];
    let (mut quoted, mut other) = (false, None);
    for &byte in line {
        match byte {
            _ if Some(byte) == quote => quoted = !quoted,
            b',' if !quoted => return Ok(b','),
            b';' | b'\t' | b'|' if !quoted => other = other.or(Some(byte)),
            _ => {}
        }
    }
    Ok(other.unwrap_or(b','))
}

/// The quotes of a row. The splitter reads `"a"b` as `ab`; these find the text that follows the closing
/// quote.
pub(super) struct Quotes {
    quote: u8,
    delimiter: u8,
    /// Allows blanks before an opening quote and after a closing one.
    trim: bool,
    state: State,
}

/// The position within a row.
#[derive(Clone, Copy)]
enum State {
    /// At the beginning of a field.
    Start,
    /// In a field without quotes around it, where a quote is text.
    Plain,
    Quoted,
    /// After a quote that closes the field, or is the first one of a doubled quote.
    Closing,
    /// After blanks that follow the closing quote.
    Closed,
}

impl Quotes {
    pub(super) fn new(quote: u8, delimiter: u8, trim: bool) -> Self {
        let state = State::Start;
        Self {
            quote,
            delimiter,
            trim,
            state,
        }
    }

    /// Begins a row.
    pub(super) fn begin(&mut self) {
        self.state = State::Start;
    }

    /// Returns the number of blanks before the quote that opens the next field, if these are next and may be
    /// removed.
    pub(super) fn blanks_before<R: Read>(&self, source: &mut Source<R>) -> io::Result<usize> {
        if !self.trim || !matches!(self.state, State::Start) {
            return Ok(0);
        }
        let mut blanks = 0;
        loop {
            let unread = source.unread().get(blanks..).unwrap_or_default();
            let blank = |byte: &&u8| {
                matches!(byte, b' ' | b'\t') && **byte != self.delimiter && **byte != self.quote
            };
            let more = unread.iter().take_while(blank).count();
            blanks += more;
            match unread.get(more).copied() {
                Some(byte) if byte == self.quote => return Ok(blanks),
                Some(_) => return Ok(0),
                // Only the beginning of a long row is looked at.
                None if blanks > CHUNK_BYTES || !source.more()? => return Ok(0),
                None => {}
            }
        }
    }

    /// Returns the next bytes for the splitter: those of one field, if blanks may have to be removed before the
    /// next one.
    pub(super) fn piece<'a>(&self, unread: &'a [u8]) -> &'a [u8] {
        let end = match self.trim {
            true => memchr::memchr(self.delimiter, unread).map(|at| at + 1),
            false => None,
        };
        &unread[..end.unwrap_or(unread.len())]
    }

    /// Continues with the next bytes of the row. Returns `true` if text follows a closing quote in them.
    pub(super) fn misused_in(&mut self, mut bytes: &[u8]) -> bool {
        let mut misused = false;
        while let Some(&byte) = bytes.first() {
            let quote = memchr::memchr(self.quote, bytes);
            let (taken, state) = match self.state {
                State::Start if quote == Some(0) => (1, State::Quoted),
                State::Plain if quote == Some(0) => (1, State::Plain),
                // Up to the next quote, only the last byte matters.
                State::Start | State::Plain => {
                    let taken = quote.unwrap_or(bytes.len());
                    match self.ends_field(bytes[taken - 1]) {
                        true => (taken, State::Start),
                        false => (taken, State::Plain),
                    }
                }
                State::Quoted => match quote {
                    Some(at) => (at + 1, State::Closing),
                    None => (bytes.len(), State::Quoted),
                },
                State::Closing if quote == Some(0) => (1, State::Quoted),
                _ if self.ends_field(byte) => (1, State::Start),
                _ if self.trim && matches!(byte, b' ' | b'\t') => (1, State::Closed),
                _ => {
                    misused = true;
                    (1, State::Plain)
                }
            };
            self.state = state;
            bytes = &bytes[taken..];
        }
        misused
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || matches!(byte, b'\r' | b'\n')
    }
}
