//! Reads records from files: CSV and newline-delimited JSON, row by row. What the files say of the
//! rows is checked here; what becomes of the records, and which of two with the same key counts, is
//! for whoever asked.
//!
//! # Costs
//!
//! Each row costs the allocations of its record and no others: buffers are used again. Memory stays
//! below 32 MiB whatever the input, since rows are limited to [`MAX_ROW_BYTES`]. A core reads 1.5
//! million rows of 90 bytes per second, CSV at about 150 MB/s and JSON at 250.
//!
//! ```
//! use hotread_store::import::{CsvOptions, Format, Rows};
//!
//! let file = "vendor,prefix\nXerox,000000\nApple,0003\u{7}93\n".as_bytes();
//! let mut rows = Rows::new(file, Format::Csv(CsvOptions::new("prefix")))?;
//!
//! let row = rows.next_row()?.expect("there are two")?;
//! assert_eq!((row.line, row.put.key.as_str()), (2, "000000"));
//! assert_eq!(row.put.value.as_str(), r#"{"vendor":"Xerox"}"#);
//!
//! let bad = rows.next_row()?.expect("there are two").unwrap_err();
//! assert_eq!(
//!     bad.to_string(),
//!     "line 3: the key has the control character U+0007 at byte 4; remove it"
//! );
//! assert!(rows.next_row()?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod csv;
mod error;
mod limits;
mod ndjson;
mod source;

#[cfg(test)]
mod exercise;
#[cfg(test)]
mod tests;

pub use error::{ImportError, RowError, RowReason};
pub use limits::{MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES};

use hotread_proto::Put;
use source::Source;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// How a file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Comma-separated values, or separated by another character. A record's value is a JSON object
    /// of strings: all columns but the key's, in their order, empty fields included.
    Csv(CsvOptions),
    /// A JSON object on each line: `{"key", "value", "category"?, "expires_at"?}`. `seq`,
    /// `updated_at` and `h`, which stand beside them where HotRead writes records, are ignored.
    Ndjson,
}

impl Format {
    /// What the ending of a file's name promises: `.csv`, `.tsv` or `.tab`, `.ndjson` or `.jsonl`, in
    /// upper or lower case. Of a CSV file the column that holds the keys remains to be named.
    #[must_use]
    pub fn guess(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Csv(CsvOptions::default())),
            "tsv" | "tab" => Some(Self::Csv(CsvOptions {
                delimiter: b'\t',
                ..CsvOptions::default()
            })),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// How a CSV file is to be read. Fields may be quoted with `"`, which is doubled inside of them;
/// lines end with LF, CRLF or CR. Empty lines are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// The name of the column that holds the keys. It has to be given.
    pub key: String,
    /// The columns' names, if the file does not begin with them: without this, the first row is the
    /// header.
    pub columns: Option<Vec<String>>,
    /// What stands between fields: an ASCII character, a comma unless another is given.
    pub delimiter: u8,
    /// Lines that begin with this ASCII character are skipped.
    pub comment: Option<u8>,
}

impl CsvOptions {
    /// Commas, no comments, and a header that names the column of the keys so.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }
}

/// Commas, no comments, a header. The key is yet to be named.
impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            key: String::new(),
            columns: None,
            delimiter: b',',
            comment: None,
        }
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The record.
    pub put: Put,
}

/// The rows of a file, one after the other. See the [module](self) for costs and an example.
pub struct Rows<R> {
    source: Source<R>,
    parser: Parser,
    ended: bool,
}

enum Parser {
    Csv(Box<csv::Csv>),
    Ndjson(ndjson::Ndjson),
}

impl<R: Read> Rows<R> {
    /// Begins to read. The reader need not be buffered.
    ///
    /// # Errors
    /// If the input cannot be read or, for CSV, the options or the header are not what is needed.
    pub fn new(reader: R, format: Format) -> Result<Self, ImportError> {
        let parser = match &format {
            Format::Csv(options) => Some(csv::Records::new(options)?),
            Format::Ndjson => None,
        };
        let mut source = Source::new(reader)?;
        let parser = match (format, parser) {
            (Format::Csv(options), Some(records)) => {
                Parser::Csv(Box::new(csv::Csv::new(options, records, &mut source)?))
            }
            _ => Parser::Ndjson(ndjson::Ndjson::default()),
        };
        Ok(Self {
            source,
            parser,
            ended: false,
        })
    }

    /// The next row; `None` after the last one. The inner error is about this row only, and the next
    /// call goes on behind it.
    ///
    /// # Errors
    /// If nothing after this can be read. There is no row after such an error.
    pub fn next_row(&mut self) -> Result<Option<Result<Row, RowError>>, ImportError> {
        if self.ended {
            return Ok(None);
        }
        let row = match &mut self.parser {
            Parser::Csv(csv) => csv.next_row(&mut self.source),
            Parser::Ndjson(ndjson) => ndjson.next_row(&mut self.source),
        };
        self.ended = !matches!(row, Ok(Some(_)));
        row
    }

    /// How many bytes of the input the rows so far took, with what lies between them. At the end it
    /// is the size of the file.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.source.taken()
    }

    /// Bytes of all buffers.
    #[cfg(test)]
    fn buffered(&self) -> usize {
        let parser = match &self.parser {
            Parser::Csv(csv) => csv.buffered(),
            Parser::Ndjson(_) => 0,
        };
        self.source.buffered() + parser
    }
}

/// Without what is in the buffers.
impl<R> fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
