//! Rows of CSV files. Fields are taken apart by `csv_core`, an automaton without buffers of its own,
//! so that limits and line numbers are decided here.

use super::error::cut;
use super::source::Source;
use super::{
    CsvOptions, ImportError, MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES, Row, RowError,
    RowReason,
};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use hotread_proto::limits::MAX_VALUE_BYTES;
use hotread_proto::{InvalidValue, Key, Put, Value};
use std::collections::HashSet;
use std::io::Read;

/// The rows' fields, one row at a time.
pub(super) struct Records {
    core: Reader,
    comment: Option<u8>,
    /// The text of the row's fields, unquoted, one behind the other; longer than what is used.
    text: Vec<u8>,
    /// Where in `text` each of them ends.
    ends: Vec<usize>,
    /// The line that the next byte belongs to.
    line: u64,
    /// Was the byte before that one a CR, which a LF belongs to?
    after_cr: bool,
}

/// What is known of a row besides its fields.
struct Seen {
    line: u64,
    fields: usize,
    too_long: bool,
}

impl Records {
    /// # Errors
    /// If the options contradict each other.
    pub(super) fn new(options: &CsvOptions) -> Result<Self, ImportError> {
        let &CsvOptions {
            delimiter, comment, ..
        } = options;
        let usable = |byte: u8| byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n');
        for byte in [Some(delimiter), comment].into_iter().flatten() {
            if !usable(byte) || comment == Some(delimiter) {
                return Err(ImportError::InvalidOptions { byte });
            }
        }
        let mut core = ReaderBuilder::new().delimiter(delimiter).build();
        // It would leave out a byte order mark that its first input begins with. That has been seen
        // to, and an empty line is nothing.
        core.read_record(b"\n", &mut [0], &mut [0]);
        Ok(Self {
            core,
            comment,
            text: vec![0; 4 << 10],
            ends: vec![0; MAX_COLUMNS + 1],
            line: 1,
            after_cr: false,
        })
    }

    /// Reads the next row into `text` and `ends`, of which the latter takes no more than it can.
    fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Seen>, ImportError> {
        if !self.find_row(source)? {
            return Ok(None);
        }
        let line = self.line;
        let (mut row_bytes, mut text, mut ends, mut fields) = (0, 0, 0, 0);
        loop {
            let at_end = source.unread().is_empty() && !source.more()?;
            // A row that ends with the file ends as if with a line, unless that would belong to it.
            let input = if at_end { b"\n" } else { source.unread() };
            let (result, read, written, ended) =
                self.core
                    .read_record(input, &mut self.text[text..], &mut self.ends[ends..]);
            text += written;
            ends += ended;
            fields += ended;
            if !at_end {
                self.count_lines(&input[..read]);
                row_bytes += read;
                source.take(read);
            }
            let too_long = row_bytes > MAX_ROW_BYTES;
            match result {
                ReadRecordResult::Record => {
                    return Ok(Some(Seen {
                        line,
                        fields,
                        too_long,
                    }));
                }
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(ImportError::UnclosedQuote { line });
                }
                ReadRecordResult::OutputFull if !too_long => {
                    self.text.resize(2 * self.text.len(), 0);
                }
                // More fields than there are columns: from here on they are only counted.
                ReadRecordResult::OutputEndsFull => ends = 0,
                _ => {}
            }
            if row_bytes > MAX_SKIPPED_BYTES {
                return Err(ImportError::Endless { line });
            }
            if too_long {
                text = 0;
            }
        }
    }

    /// Skips empty lines and comments; `false` at the end of the input.
    fn find_row<R: Read>(&mut self, source: &mut Source<R>) -> Result<bool, ImportError> {
        loop {
            let Some(&first) = source.unread().first() else {
                if source.more()? {
                    continue;
                }
                return Ok(false);
            };
            if matches!(first, b'\r' | b'\n') {
                self.count_lines(&[first]);
                source.take(1);
            } else if Some(first) == self.comment {
                self.skip_comment(source)?;
            } else {
                // An LF that belongs to a CR would stand here.
                self.after_cr = false;
                return Ok(true);
            }
        }
    }

    /// Skips what comes before the next line end.
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

    fn count_lines(&mut self, bytes: &[u8]) {
        let mut after_cr = self.after_cr;
        for &byte in bytes {
            let ends = byte == b'\r' || (byte == b'\n' && !after_cr);
            self.line += u64::from(ends);
            after_cr = byte == b'\r';
        }
        self.after_cr = after_cr;
    }

    fn field(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[number]]
    }
}

/// The rows of a file as records.
pub(super) struct Csv {
    records: Records,
    columns: Vec<Column>,
    /// Which of them holds the keys.
    key: usize,
    /// The value of the row at hand, as JSON.
    json: Vec<u8>,
}

struct Column {
    name: String,
    /// `"name":`
    member: Vec<u8>,
}

impl Csv {
    /// Reads the header, if there is one.
    pub(super) fn new<R: Read>(
        options: CsvOptions,
        mut records: Records,
        source: &mut Source<R>,
    ) -> Result<Self, ImportError> {
        let columns = match options.columns {
            Some(columns) => columns,
            None => header(&mut records, source)?,
        };
        if columns.len() > MAX_COLUMNS {
            let columns = columns.len();
            return Err(ImportError::TooManyColumns { columns });
        }
        let mut names = HashSet::new();
        if let Some(column) = columns.iter().find(|name| !names.insert(name.as_str())) {
            let column = column.clone();
            return Err(ImportError::DuplicateColumn { column });
        }
        if options.key.is_empty() {
            return Err(ImportError::NoKey { columns });
        }
        let Some(key) = columns.iter().position(|name| *name == options.key) else {
            let key = options.key;
            return Err(ImportError::UnknownKey { key, columns });
        };
        // One more than there are columns, so that a row with too many fields is known by it.
        records.ends.truncate(columns.len() + 1);
        records.ends.shrink_to_fit();
        let columns = columns.into_iter().map(|name| {
            let mut member = Vec::with_capacity(name.len() + 3);
            json_string(&mut member, &name);
            member.push(b':');
            Column { name, member }
        });
        Ok(Self {
            records,
            columns: columns.collect(),
            key,
            json: Vec::new(),
        })
    }

    pub(super) fn next_row<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Result<Row, RowError>>, ImportError> {
        let Some(seen) = self.records.next(source)? else {
            return Ok(None);
        };
        let line = seen.line;
        Ok(Some(match self.record(&seen) {
            Ok(put) => Ok(Row { line, put }),
            Err(reason) => Err(RowError { line, reason }),
        }))
    }

    fn record(&mut self, seen: &Seen) -> Result<Put, RowReason> {
        if seen.too_long {
            return Err(RowReason::TooLong);
        }
        if seen.fields != self.columns.len() {
            return Err(RowReason::Fields {
                found: seen.fields,
                expected: self.columns.len(),
            });
        }
        self.json.clear();
        self.json.push(b'{');
        for (number, column) in self.columns.iter().enumerate() {
            let text = utf8(self.records.field(number), column)?;
            if number == self.key {
                continue;
            }
            // As JSON it takes at least as much, and up to six times as much, which need not be built.
            let bytes = self.json.len() + text.len();
            if bytes > MAX_VALUE_BYTES {
                return Err(InvalidValue::TooLarge { bytes }.into());
            }
            if self.json.len() > 1 {
                self.json.push(b',');
            }
            self.json.extend_from_slice(&column.member);
            json_string(&mut self.json, text);
        }
        self.json.push(b'}');
        let key = Key::from_bytes(self.records.field(self.key))?;
        Ok(Put::new(key, Value::parse(&self.json)?))
    }

    /// Bytes of all buffers.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.records.text.len()
            + self.records.ends.len() * size_of::<usize>()
            + self.json.capacity()
    }
}

fn utf8<'a>(field: &'a [u8], column: &Column) -> Result<&'a str, RowReason> {
    std::str::from_utf8(field).map_err(|e| RowReason::NotUtf8 {
        column: cut(&column.name).to_owned(),
        at: e.valid_up_to(),
    })
}

fn json_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is JSON, and a Vec takes it");
}

/// The columns' names, from the first row.
fn header<R: Read>(
    records: &mut Records,
    source: &mut Source<R>,
) -> Result<Vec<String>, ImportError> {
    let seen = records.next(source)?.ok_or(ImportError::NoHeader)?;
    if seen.too_long {
        return Err(ImportError::HeaderTooLong);
    }
    if seen.fields > MAX_COLUMNS {
        let columns = seen.fields;
        return Err(ImportError::TooManyColumns { columns });
    }
    (0..seen.fields)
        .map(|number| match std::str::from_utf8(records.field(number)) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(ImportError::ColumnNotUtf8 { number: number + 1 }),
        })
        .collect()
}
