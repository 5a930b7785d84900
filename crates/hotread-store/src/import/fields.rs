//! Rows of fields: CSV and its kin, split by `csv_core`, an automaton without buffers of its own, so
//! that this module decides limits and line numbers; and fields between blanks.

use super::dialect::{Quotes, guess_delimiter};
use super::error::cut;
use super::keys::Keys;
use super::options::{Columns, Delimiter, Options, REST};
use super::source::{Line, Source};
use super::types::{Kind, json_string, write_empty};
use super::{
    At, ImportError, MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES, Row, RowError, RowReason,
};
use crate::export::CSV_COLUMNS;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use hotread_proto::limits::MAX_VALUE_BYTES;
use hotread_proto::{Category, InvalidValue, Key, Put, Value};
use std::collections::HashSet;
use std::io::{self, Read};

/// The fields of a row.
pub(super) struct Fields {
    /// Their text, unquoted and concatenated; longer than the used part.
    text: Vec<u8>,
    /// The end of each field in `text`.
    ends: Vec<usize>,
    /// The number of fields. Of a row with more than [`MAX_COLUMNS`], they are counted, but not kept.
    count: usize,
    line: u64,
    too_long: bool,
    /// Set if text follows a closing quote.
    misquoted: bool,
    trim: bool,
}

impl Fields {
    /// Returns `true` if the text and the ends of all fields were kept, and are those of the file: the row is
    /// not too long, has not too many fields, and its quotes are well-formed.
    fn are_sound(&self) -> bool {
        !self.too_long && !self.misquoted && self.count <= MAX_COLUMNS
    }

    /// Returns the field with this number from 0, if the row has it and its fields are sound.
    pub(super) fn get(&self, number: usize) -> Option<&[u8]> {
        if number >= self.count || !self.are_sound() {
            return None;
        }
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let field = &self.text[start..self.ends[number]];
        Some(if self.trim { blanks_off(field) } else { field })
    }
}

/// Removes spaces and tabs at both ends.
fn blanks_off(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Splits rows into fields.
struct Splitter {
    kind: Split,
    comment: Vec<u8>,
    fields: Fields,
    /// Number of the line of the next byte.
    line: u64,
    /// Set if the previous byte is a CR, to which a LF belongs.
    after_cr: bool,
}

enum Split {
    /// The quotes are `None` if fields are never quoted.
    Core(Box<Reader>, Option<Quotes>),
    /// At most this many fields.
    Blanks(usize),
}

impl Splitter {
    fn new<R: Read>(options: &Options, source: &mut Source<R>) -> Result<Self, ImportError> {
        let comment = options.comment.clone().unwrap_or_default().into_bytes();
        let mut splitter = Self {
            kind: Split::Blanks(MAX_COLUMNS),
            comment,
            fields: Fields {
                text: vec![0; 4 << 10],
                ends: vec![0; MAX_COLUMNS + 1],
                count: 0,
                line: 0,
                too_long: false,
                misquoted: false,
                trim: options.trim,
            },
            line: 1,
            after_cr: false,
        };
        let named = splitter.separator_line(source)?;
        let delimiter = match options.delimiter.or(named.map(Delimiter::Byte)) {
            Some(Delimiter::Blanks) => return Ok(splitter),
            Some(Delimiter::Byte(delimiter)) => delimiter,
            None if options.columns != Columns::FirstRow => b',',
            None => match splitter.find_row(source)? {
                true => guess_delimiter(source, options.quote)?,
                false => b',',
            },
        };
        let quote = options.quote;
        let usable = |byte: u8| byte.is_ascii() && !matches!(byte, b'\r' | b'\n');
        let comment = splitter.comment.first().copied();
        for byte in [Some(delimiter), quote, comment].into_iter().flatten() {
            let twice = [Some(delimiter), quote, comment];
            if !usable(byte) || twice.iter().filter(|other| **other == Some(byte)).count() > 1 {
                return Err(ImportError::InvalidOptions { byte });
            }
        }
        let mut builder = ReaderBuilder::new();
        match quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        let mut core = builder.delimiter(delimiter).build();
        // It would skip a byte order mark at the beginning of its first input. The mark has been
        // handled already, and an empty line has no effect.
        core.read_record(b"\n", &mut [0], &mut [0]);
        let quotes = quote.map(|quote| Quotes::new(quote, delimiter, options.trim));
        splitter.kind = Split::Core(Box::new(core), quotes);
        Ok(splitter)
    }

    /// Takes a first line such as `sep=;`, by which spreadsheets declare the delimiter.
    fn separator_line<R: Read>(&mut self, source: &mut Source<R>) -> io::Result<Option<u8>> {
        let start = source.fill(b"\"sep=;\"\r\n".len())?;
        let quoted = usize::from(start.first() == Some(&b'"'));
        let Some((b"sep=", [delimiter, rest @ ..])) = start[quoted..].split_at_checked(4) else {
            return Ok(None);
        };
        let ends = match quoted {
            0 => Some(rest),
            _ => rest.strip_prefix(b"\""),
        };
        let bytes = match ends {
            Some([] | [b'\n' | b'\r', ..]) => quoted + 5 + quoted,
            _ => return Ok(None),
        };
        let delimiter = *delimiter;
        source.take(bytes);
        Ok(Some(delimiter))
    }

    /// Reads the next row. Returns `false` if there is none.
    fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<bool, ImportError> {
        match self.kind {
            Split::Core(..) => self.next_quoted(source),
            Split::Blanks(most) => self.next_line(source, most),
        }
    }

    fn next_line<R: Read>(
        &mut self,
        source: &mut Source<R>,
        most: usize,
    ) -> Result<bool, ImportError> {
        let Fields { text, ends, .. } = &mut self.fields;
        loop {
            let line = self.line;
            let Some(next) = source.line(line)? else {
                return Ok(false);
            };
            self.line += 1;
            text.clear();
            let mut count = 0;
            let mut too_long = true;
            if let Line::Whole { bytes, end } = next {
                too_long = false;
                let mut rest = without_comment(&source.unread()[..bytes], &self.comment);
                while !rest.is_empty() {
                    let blank = memchr::memchr2(b' ', b'\t', rest).filter(|_| count + 1 < most);
                    let (field, after) = rest.split_at(blank.unwrap_or(rest.len()));
                    text.extend_from_slice(field);
                    ends[count] = text.len();
                    count += 1;
                    rest = blanks_off(after);
                }
                source.take(bytes + end);
            }
            if count > 0 || too_long {
                (self.fields.count, self.fields.line) = (count, line);
                self.fields.too_long = too_long;
                return Ok(true);
            }
        }
    }

    fn next_quoted<R: Read>(&mut self, source: &mut Source<R>) -> Result<bool, ImportError> {
        if !self.find_row(source)? {
            return Ok(false);
        }
        let line = self.line;
        let (mut row_bytes, mut written, mut ended) = (0, 0, 0);
        self.fields.count = 0;
        (self.fields.line, self.fields.misquoted) = (line, false);
        let Split::Core(core, quotes) = &mut self.kind else {
            return Ok(false);
        };
        quotes.iter_mut().for_each(Quotes::begin);
        loop {
            if let Some(quotes) = quotes {
                let blanks = quotes.blanks_before(source)?;
                row_bytes += blanks;
                source.take(blanks);
            }
            let at_end = source.unread().is_empty() && !source.more()?;
            // A row that ends with the file is terminated by a line end, unless the line end would
            // become part of it.
            let input = match quotes {
                _ if at_end => b"\n",
                Some(quotes) => quotes.piece(source.unread()),
                None => source.unread(),
            };
            let Fields { text, ends, .. } = &mut self.fields;
            let (result, read, out, fields) =
                core.read_record(input, &mut text[written..], &mut ends[ended..]);
            written += out;
            ended += fields;
            self.fields.count += fields;
            if !at_end {
                count_lines(&input[..read], &mut self.line, &mut self.after_cr);
                if let Some(quotes) = quotes {
                    self.fields.misquoted |= quotes.misused_in(&input[..read]);
                }
                row_bytes += read;
                source.take(read);
            }
            let too_long = row_bytes > MAX_ROW_BYTES;
            self.fields.too_long = too_long;
            match result {
                ReadRecordResult::Record => return Ok(true),
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(ImportError::UnclosedQuote { line });
                }
                ReadRecordResult::OutputFull if !too_long => {
                    let text = &mut self.fields.text;
                    text.resize(2 * text.len(), 0);
                }
                // There are more fields than columns may exist: from here on they are only counted.
                ReadRecordResult::OutputEndsFull => ended = 0,
                _ => {}
            }
            if row_bytes > MAX_SKIPPED_BYTES {
                return Err(ImportError::Endless { line });
            }
            if too_long {
                written = 0;
            }
        }
    }

    /// Skips empty lines and comments. Returns `false` at the end of the input.
    fn find_row<R: Read>(&mut self, source: &mut Source<R>) -> Result<bool, ImportError> {
        loop {
            let start = source.fill(self.comment.len().max(1))?;
            let Some(&first) = start.first() else {
                return Ok(false);
            };
            if matches!(first, b'\r' | b'\n') {
                count_lines(&[first], &mut self.line, &mut self.after_cr);
                source.take(1);
            } else if !self.comment.is_empty() && start.starts_with(&self.comment) {
                self.skip_comment(source)?;
            } else {
                // A LF that belongs to a CR would be here.
                self.after_cr = false;
                return Ok(true);
            }
        }
    }

    /// Skips the rest of the line.
    fn skip_comment<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), ImportError> {
        let mut skipped = 0;
        self.after_cr = false;
        loop {
            let unread = source.unread();
            if let Some(end) = memchr::memchr2(b'\n', b'\r', unread) {
                source.take(end);
                return Ok(());
            }
            let bytes = unread.len();
            skipped += bytes;
            source.take(bytes);
            if skipped > MAX_SKIPPED_BYTES {
                return Err(ImportError::Endless { line: self.line });
            }
            if !source.more()? {
                return Ok(());
            }
        }
    }
}

fn count_lines(bytes: &[u8], line: &mut u64, after_cr: &mut bool) {
    for &byte in bytes {
        *line += u64::from(byte == b'\r' || (byte == b'\n' && !*after_cr));
        *after_cr = byte == b'\r';
    }
}

/// Removes blanks at the ends of a line, and a comment, which begins at the start of the line or after
/// a blank.
fn without_comment<'a>(line: &'a [u8], comment: &[u8]) -> &'a [u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let begins = |at: &usize| {
        let alone = *at == 0 || matches!(line[at - 1], b' ' | b'\t');
        alone && line[*at..].starts_with(comment)
    };
    let end = match comment.first() {
        Some(&first) => memchr::memchr_iter(first, line).find(begins),
        None => None,
    };
    blanks_off(&line[..end.unwrap_or(line.len())])
}

/// The rows of a file as records.
pub(super) struct Table {
    splitter: Splitter,
    columns: Vec<Column>,
    /// The use of the fields.
    form: Form,
    options: Options,
    /// Set if the first row was read for the number of columns, and has not been returned yet.
    first: bool,
    /// The value of the current row, as JSON.
    json: Vec<u8>,
}

struct Column {
    name: String,
    /// `"name":`
    member: Vec<u8>,
    kind: Kind,
}

/// The use of the fields of a row.
enum Form {
    /// Key, value, category and expiry, as they are exported.
    Exported,
    /// A key and an object.
    Keyed(Keys),
}

impl Table {
    /// Reads the header, if there is one.
    pub(super) fn new<R: Read>(
        options: &Options,
        source: &mut Source<R>,
    ) -> Result<Self, ImportError> {
        let mut splitter = Splitter::new(options, source)?;
        let mut first = false;
        let names = match &options.columns {
            Columns::Named(names) => names.clone(),
            Columns::FirstRow => header(&mut splitter, source)?,
            Columns::Numbered => {
                first = splitter.next(source)?;
                let count = if first { splitter.fields.count } else { 0 };
                (1..=count).map(|number| number.to_string()).collect()
            }
        };
        let columns = names.len();
        if columns > MAX_COLUMNS {
            return Err(ImportError::TooManyColumns { columns });
        }
        let mut seen = HashSet::new();
        if options.flexible {
            seen.insert(REST);
        }
        if let Some(column) = names.iter().find(|name| !seen.insert(name.as_str())) {
            let column = column.clone();
            return Err(ImportError::DuplicateColumn { column });
        }
        let form = match &options.key[..] {
            [] if names == CSV_COLUMNS => Form::Exported,
            [] if columns == 1 => Form::Keyed(Keys::new(options, vec![0])),
            [] if !names.is_empty() => return Err(ImportError::NoKey { columns: names }),
            keys => {
                let column = |key: &String| {
                    let unknown = || ImportError::UnknownColumn {
                        column: key.clone(),
                        columns: names.clone(),
                    };
                    let at = names.iter().position(|name| name == key);
                    // The columns of an empty file are unknown.
                    at.or(names.is_empty().then_some(0)).ok_or_else(unknown)
                };
                let keys: Result<_, _> = keys.iter().map(column).collect();
                Form::Keyed(Keys::new(options, keys?))
            }
        };
        if let Split::Blanks(most) = &mut splitter.kind {
            *most = columns.max(1);
        }
        let column = |name: String| {
            let mut member = Vec::with_capacity(name.len() + 3);
            json_string(&mut member, &name);
            member.push(b':');
            let kind = options.types.get(&name).copied().unwrap_or(Kind::Text);
            Column { name, member, kind }
        };
        Ok(Self {
            splitter,
            columns: names.into_iter().map(column).collect(),
            form,
            options: options.clone(),
            first,
            json: Vec::new(),
        })
    }

    /// Returns the columns' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Returns `true` if the column is part of the key.
    pub(super) fn is_key(&self, column: usize) -> bool {
        match &self.form {
            Form::Exported => true,
            Form::Keyed(keys) => keys.have(column),
        }
    }

    /// Returns the fields of the next row.
    pub(super) fn next_fields<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<&Fields>, ImportError> {
        let next = std::mem::take(&mut self.first) || self.splitter.next(source)?;
        Ok(next.then_some(&self.splitter.fields))
    }

    pub(super) fn next_row<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Result<Row, RowError>>, ImportError> {
        let Some(fields) = self.next_fields(source)? else {
            return Ok(None);
        };
        let at = At::line(fields.line);
        Ok(Some(match self.record() {
            Ok(put) => Ok(Row { at, put }),
            Err(reason) => Err(RowError { at, reason }),
        }))
    }

    /// Converts the fields to a record.
    fn record(&mut self) -> Result<Put, RowReason> {
        let (fields, columns) = (&self.splitter.fields, &self.columns);
        if fields.too_long {
            return Err(RowReason::TooLong);
        }
        if fields.misquoted {
            return Err(RowReason::Misquoted);
        }
        let (found, expected) = (fields.count, columns.len());
        if found > MAX_COLUMNS || (found != expected && !self.options.flexible) {
            return Err(RowReason::Fields { found, expected });
        }
        let text = |number: usize| match fields.get(number) {
            Some(field) => utf8(field, &columns[number].name).map(Some),
            None => Ok(None),
        };
        let keys = match &self.form {
            Form::Exported => return exported(|number| Ok(text(number)?.unwrap_or_default())),
            Form::Keyed(keys) => keys,
        };
        let missing = |number: usize| RowReason::NoKey {
            member: cut(&columns[number].name).to_owned(),
        };
        let key = keys.join(|&number| text(number)?.ok_or_else(|| missing(number)))?;

        let json = &mut self.json;
        json.clear();
        json.push(b'{');
        for (number, column) in columns.iter().enumerate() {
            let Some(field) = text(number)? else { break };
            if !self.options.keep_key && keys.have(number) {
                continue;
            }
            // The field takes at least as many bytes as JSON, and up to six times as many, so the check
            // precedes the conversion.
            let bytes = json.len() + field.len();
            if bytes > MAX_VALUE_BYTES {
                return Err(InvalidValue::TooLarge { bytes }.into());
            }
            let start = json.len();
            if start > 1 {
                json.push(b',');
            }
            json.extend_from_slice(&column.member);
            if !field.is_empty() {
                if !column.kind.write(field, json) {
                    return Err(RowReason::NotOfType {
                        column: cut(&column.name).to_owned(),
                        kind: column.kind,
                    });
                }
            } else if !write_empty(column.kind, self.options.empty, json) {
                json.truncate(start);
            }
        }
        if found > expected {
            let rest: Result<Vec<_>, _> = (expected..found)
                .map(|number| utf8(fields.get(number).unwrap_or_default(), REST))
                .collect();
            if json.len() > 1 {
                json.push(b',');
            }
            json_string(json, REST);
            json.push(b':');
            // Strings are JSON, and writing to a Vec cannot fail.
            let _ = serde_json::to_writer(&mut *json, &rest?);
        }
        json.push(b'}');
        Ok(Put::new(key, Value::parse(json)?))
    }

    /// Returns the bytes of all buffers.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        let fields = &self.splitter.fields;
        fields.text.capacity() + fields.ends.len() * size_of::<usize>() + self.json.capacity()
    }
}

/// Converts a row whose fields are those of a record.
fn exported<'a>(text: impl Fn(usize) -> Result<&'a str, RowReason>) -> Result<Put, RowReason> {
    Ok(Put {
        key: Key::new(text(0)?)?,
        value: Value::parse(text(1)?.as_bytes())?,
        category: Category::new(text(2)?)?,
        expires_at: match text(5)? {
            "" => None,
            at => Some(at.parse()?),
        },
    })
}

fn utf8<'a>(field: &'a [u8], column: &str) -> Result<&'a str, RowReason> {
    std::str::from_utf8(field).map_err(|e| RowReason::NotUtf8 {
        column: cut(column).to_owned(),
        at: e.valid_up_to(),
    })
}

/// Reads the columns' names from the first row.
fn header<R: Read>(
    splitter: &mut Splitter,
    source: &mut Source<R>,
) -> Result<Vec<String>, ImportError> {
    if !splitter.next(source)? {
        return Err(ImportError::NoHeader);
    }
    let fields = &splitter.fields;
    if fields.too_long {
        return Err(ImportError::HeaderTooLong);
    }
    if fields.misquoted {
        return Err(ImportError::HeaderMisquoted { line: fields.line });
    }
    if fields.count > MAX_COLUMNS {
        let columns = fields.count;
        return Err(ImportError::TooManyColumns { columns });
    }
    (0..fields.count)
        .map(|number| {
            let name = fields.get(number).unwrap_or_default();
            match std::str::from_utf8(blanks_off(name)) {
                Ok(name) => Ok(name.to_owned()),
                Err(_) => Err(ImportError::ColumnNotUtf8 { number: number + 1 }),
            }
        })
        .collect()
}
