//! Rows of JSON: an object on each line; or the elements of an array, which are located one by one by
//! their brackets and quotes, however large the array is.

use super::object::Objects;
use super::options::Options;
use super::source::{Line, Source};
use super::{At, ImportError, MAX_ROW_BYTES, MAX_SKIPPED_BYTES, Row, RowError, RowReason};
use std::collections::HashSet;
use std::io::Read;

/// The rows of newline-delimited JSON.
pub(super) struct Lines {
    objects: Objects,
    /// The number of lines that have been taken.
    lines: u64,
}

impl Lines {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            objects: Objects::new(options),
            lines: 0,
        }
    }

    pub(super) fn next_row<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Result<Row, RowError>>, ImportError> {
        loop {
            let at = At::line(self.lines + 1);
            let Some(line) = source.line(at.line)? else {
                return Ok(None);
            };
            self.lines += 1;
            let Line::Whole { bytes, end } = line else {
                let reason = RowReason::TooLong;
                return Ok(Some(Err(RowError { at, reason })));
            };
            let text = source.unread()[..bytes].trim_ascii();
            let row = match text.is_empty() {
                true => None,
                false => Some(self.objects.record(&source.unread()[..bytes])),
            };
            source.take(bytes + end);
            match row {
                Some(Ok(put)) => return Ok(Some(Ok(Row { at, put }))),
                Some(Err(reason)) => return Ok(Some(Err(RowError { at, reason }))),
                None => {}
            }
        }
    }

    /// Returns the bytes of all buffers.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.objects.buffered()
    }
}

/// The position within the structure of the text.
enum State {
    Start,
    /// In the object around the array, before a member.
    Members,
    /// In the array, before an element.
    Elements,
    End,
}

/// The rows of a JSON array.
pub(super) struct Array {
    objects: Objects,
    /// The member with the array: the requested or the detected one.
    member: Option<String>,
    asked: bool,
    /// Set once the array was found.
    found: bool,
    in_object: bool,
    /// Set at the beginning of an array or object, where no comma precedes the next element.
    first: bool,
    state: State,
    /// Number of the line of the next byte.
    line: u64,
    /// The number of elements that have been taken.
    items: u64,
    /// Set if arrays are passed over, to find all of them.
    passes_over: bool,
    /// The members of the key, and of them those that the object around the array has itself.
    key: Vec<String>,
    own: HashSet<String>,
    /// Set if the first element of the array is not an object.
    of_others: bool,
    /// Number of the line on which the text begins.
    first_line: u64,
}

impl Array {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            objects: Objects::new(options),
            member: options.member.clone(),
            asked: options.member.is_some(),
            found: false,
            in_object: false,
            first: true,
            state: State::Start,
            line: 1,
            items: 0,
            passes_over: false,
            key: match options.key.is_empty() {
                true => vec!["key".to_owned(), "value".to_owned()],
                false => options.key.clone(),
            },
            own: HashSet::new(),
            of_others: false,
            first_line: 1,
        }
    }

    /// Reads the text to its end, without the rows in its array.
    ///
    /// # Errors
    /// If an object has another array that could be meant, or seems to be a row itself, or if more text follows.
    /// Other errors are those of [`next_row`](Self::next_row), but they may come earlier.
    pub(super) fn find_arrays<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<(), ImportError> {
        self.passes_over = true;
        self.start(source)?;
        if self.in_array() {
            self.state = State::End;
            self.pass_over(source, 1)?;
        }
        while matches!(self.state, State::Members) {
            self.member(source)?;
        }
        self.end(source)
    }

    pub(super) fn next_row<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Result<Row, RowError>>, ImportError> {
        loop {
            match self.state {
                State::Start => self.start(source)?,
                State::Members => self.member(source)?,
                State::Elements => {
                    if let Some(row) = self.element(source)? {
                        return Ok(Some(row));
                    }
                }
                State::End => return self.end(source).map(|()| None),
            }
        }
    }

    /// Checks that no text follows.
    fn end<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), ImportError> {
        let one_line = self.in_one_line();
        let Some(byte) = self.next_byte(source)? else {
            return Ok(());
        };
        Err(ImportError::MoreText {
            line: self.line,
            of_lines: one_line && self.in_object && byte == b'{' && self.line > self.first_line,
        })
    }

    /// Returns `true` if the text has had no line end since it began.
    fn in_one_line(&self) -> bool {
        self.line == self.first_line
    }

    fn wrong(&self, reason: &'static str) -> ImportError {
        let line = self.line;
        ImportError::NotJson { line, reason }
    }

    /// Returns the next byte that is not blank, without taking it.
    fn next_byte<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<u8>, ImportError> {
        loop {
            let unread = source.unread();
            let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            let blanks = unread.iter().take_while(blank).count();
            self.line += lines(&unread[..blanks]);
            let next = unread.get(blanks).copied();
            source.take(blanks);
            if next.is_some() || !source.more()? {
                return Ok(next);
            }
        }
    }

    fn start<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), ImportError> {
        let opening = self.next_byte(source)?;
        self.state = match opening {
            Some(b'[') if !self.asked => State::Elements,
            Some(b'{') => State::Members,
            _ if self.asked => return Err(self.wrong("an object should be here")),
            _ => return Err(self.wrong("an array or an object should be here")),
        };
        self.in_object = opening == Some(b'{');
        self.first_line = self.line;
        source.take(1);
        Ok(())
    }

    /// Takes the comma before the next part, or the closing bracket. Returns `false` after the bracket.
    fn part<R: Read>(&mut self, source: &mut Source<R>, close: u8) -> Result<bool, ImportError> {
        let first = std::mem::take(&mut self.first);
        match self.next_byte(source)? {
            Some(byte) if byte == close => {
                source.take(1);
                Ok(false)
            }
            Some(b',') if !first => {
                source.take(1);
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(self.wrong("a comma or the closing bracket should be here")),
        }
    }

    fn member<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), ImportError> {
        if !self.part(source, b'}')? {
            self.state = State::End;
            return self.judge_object(source);
        }
        if self.next_byte(source)? != Some(b'"') {
            return Err(self.wrong("a member's name should be here"));
        }
        let Extent::Whole(bytes) = self.extent(source, 0)? else {
            return Err(self.wrong("a member's name is too long"));
        };
        let name: String = serde_json::from_slice(&source.unread()[..bytes])
            .map_err(|_| self.wrong("a member's name should be here"))?;
        source.take(bytes);
        if self.next_byte(source)? != Some(b':') {
            return Err(self.wrong("a colon should be here"));
        }
        source.take(1);
        if self.passes_over && self.key.contains(&name) {
            self.own.insert(name.clone());
        }
        let is_array = self.next_byte(source)? == Some(b'[');
        let meant = match self.asked {
            true => self.member.as_ref() == Some(&name),
            false => is_array,
        };
        if !meant {
            return self.pass_over(source, 0);
        }
        if self.found {
            let first = self.member.clone().unwrap_or_default();
            return Err(match first == name {
                true => ImportError::ArrayTwice { member: name },
                false => ImportError::SecondArray {
                    first,
                    second: name,
                },
            });
        }
        if !is_array {
            return Err(ImportError::NoArray {
                member: Some(name),
                one_line: false,
            });
        }
        self.found = true;
        self.member = Some(name);
        source.take(1);
        if self.passes_over {
            let first = self.next_byte(source)?;
            self.of_others = !matches!(first, None | Some(b'{' | b']'));
            return self.pass_over(source, 1);
        }
        self.first = true;
        self.state = State::Elements;
        Ok(())
    }

    /// Decides, after its closing bracket, whether the object is one around an array of rows.
    fn judge_object<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), ImportError> {
        let one_line = self.in_one_line();
        if !self.found || self.passes_over {
            // Objects one after another are lines rather than one around an array.
            self.end(source)?;
        }
        let member = self.member.clone();
        let Some(array) = member.clone().filter(|_| self.found) else {
            return Err(ImportError::NoArray { member, one_line });
        };
        if !self.passes_over || self.asked {
            return Ok(());
        }
        if self.of_others {
            return Err(ImportError::NotObjects {
                member: array,
                one_line,
            });
        }
        match self.key.first() {
            Some(key) if self.key.iter().all(|key| self.own.contains(key)) => {
                Err(ImportError::OwnKey {
                    key: key.clone(),
                    member: array,
                    one_line,
                })
            }
            _ => Ok(()),
        }
    }

    /// Takes a value, or the rest of one after this many opening brackets.
    fn pass_over<R: Read>(
        &mut self,
        source: &mut Source<R>,
        depth: usize,
    ) -> Result<(), ImportError> {
        if let Extent::Whole(bytes) = self.extent(source, depth)? {
            self.line += lines(&source.unread()[..bytes]);
            source.take(bytes);
        }
        Ok(())
    }

    fn element<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Result<Row, RowError>>, ImportError> {
        if !self.part(source, b']')? {
            self.state = match self.in_object {
                true => State::Members,
                false => State::End,
            };
            return Ok(None);
        }
        if self.next_byte(source)?.is_none() {
            return Err(self.wrong("an element should be here"));
        }
        self.items += 1;
        let at = At {
            line: self.line,
            item: Some(self.items),
        };
        Ok(Some(match self.extent(source, 0)? {
            Extent::Skipped => Err(RowError {
                at,
                reason: RowReason::TooLong,
            }),
            Extent::Whole(bytes) => {
                let text = &source.unread()[..bytes];
                self.line += lines(text);
                let record = self.objects.record(text);
                source.take(bytes);
                match record {
                    Ok(put) => Ok(Row { at, put }),
                    Err(reason) => Err(RowError { at, reason }),
                }
            }
        }))
    }

    /// Finds the end of the value that begins with the next byte, or had this many opening brackets before it.
    /// It ends with its closing bracket or quote, or before the byte after a number or word. The value is not
    /// validated otherwise.
    fn extent<R: Read>(
        &mut self,
        source: &mut Source<R>,
        mut depth: usize,
    ) -> Result<Extent, ImportError> {
        let mut in_string = false;
        // The scanned part of the unread bytes; and the bytes that were taken because the value is too
        // long.
        let (mut seen, mut skipped) = (0, 0);
        loop {
            let unread = source.unread();
            let mut end = None;
            while let Some(&byte) = unread.get(seen) {
                if in_string {
                    let Some(at) = memchr::memchr2(b'"', b'\\', &unread[seen..]) else {
                        seen = unread.len();
                        break;
                    };
                    seen += at;
                    if unread[seen] == b'\\' {
                        if seen + 1 == unread.len() {
                            break;
                        }
                        seen += 2;
                        continue;
                    }
                    in_string = false;
                } else {
                    match byte {
                        b'"' => in_string = true,
                        b'[' | b'{' => depth += 1,
                        b']' | b'}' if depth > 0 => depth -= 1,
                        b']' | b'}' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                            end = Some(seen);
                            break;
                        }
                        _ => {
                            seen += 1;
                            continue;
                        }
                    }
                }
                seen += 1;
                if depth == 0 && !in_string {
                    end = Some(seen);
                    break;
                }
            }
            if end.is_none() && seen > MAX_ROW_BYTES || skipped > 0 {
                let taken = end.unwrap_or(seen);
                self.line += lines(&source.unread()[..taken]);
                source.take(taken);
                skipped += taken;
                seen = 0;
                if end.is_some() {
                    return Ok(Extent::Skipped);
                }
                if skipped > MAX_SKIPPED_BYTES && self.in_array() {
                    return Err(ImportError::Endless { line: self.line });
                }
            } else if let Some(bytes) = end {
                if bytes > MAX_ROW_BYTES {
                    self.line += lines(&source.unread()[..bytes]);
                    source.take(bytes);
                    return Ok(Extent::Skipped);
                }
                return Ok(Extent::Whole(bytes));
            }
            if !source.more()? {
                let scalar = depth == 0 && !in_string && seen > 0;
                return match scalar && skipped == 0 {
                    true => Ok(Extent::Whole(seen)),
                    false => Err(self.wrong("the file ends inside an object or array")),
                };
            }
        }
    }

    fn in_array(&self) -> bool {
        matches!(self.state, State::Elements)
    }

    /// Returns the bytes of all buffers.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.objects.buffered()
    }
}

/// The extent of a value.
enum Extent {
    /// The value is this many of the unread bytes.
    Whole(usize),
    /// The value has more than [`MAX_ROW_BYTES`], and has been taken.
    Skipped,
}

/// Counts line ends.
fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}
