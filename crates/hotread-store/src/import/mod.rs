//! Reads records from files, row by row: CSV and similar formats, newline-delimited JSON, and JSON,
//! compressed or not, in any encoding. This module checks the rows against the limits and options; the caller
//! decides the use of the records, such as which of two with the same key counts.
//!
//! An [`Input`] is the text of a file, [`Rows`] are its records, and a [`Detector`] detects the types
//! of its columns before.
//!
//! # Costs
//!
//! Each row costs only the allocations of its record, since buffers are reused. Memory stays below 48
//! MiB regardless of the input, since rows are limited to [`MAX_ROW_BYTES`]; a file that is compressed with
//! zstd adds its window, of 100 MiB at most. A core reads 1.5 million rows of 90 bytes per second, CSV
//! at about 150 MB/s and JSON at 250.
//!
//! ```
//! use hotread_store::import::{Format, Input, Options, Rows};
//!
//! let file = "vendor,prefix\nXerox,000000\nApple,0003\u{7}93\n".as_bytes();
//! let options = Options::new(Format::Fields).key("prefix");
//! let mut rows = Rows::new(Input::new(file, None)?, &options)?;
//!
//! let row = rows.next_row()?.expect("there are two")?;
//! assert_eq!((row.at.line, row.put.key.as_str()), (2, "000000"));
//! assert_eq!(row.put.value.as_str(), r#"{"vendor":"Xerox"}"#);
//!
//! let bad = rows.next_row()?.expect("there are two").unwrap_err();
//! assert_eq!(
//!     bad.to_string(),
//!     "line 3: the key contains the control character U+0007 at byte 4; remove it"
//! );
//! assert!(rows.next_row()?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decompress;
mod dialect;
mod error;
mod fields;
mod input;
mod json;
mod keys;
mod limits;
mod object;
mod options;
mod source;
mod types;

#[cfg(test)]
mod exercise;
#[cfg(test)]
mod tests;

pub use error::{At, ImportError, RowError, RowReason, UnknownEncoding};
pub use input::Input;
pub use limits::{MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES, SAMPLE_BYTES};
pub use options::{Columns, Delimiter, Empty, Encoding, Format, Options, REST};
pub use types::{Detector, Kind, UnknownKind};

use hotread_proto::Put;
use source::Source;
use std::fmt;

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The position in the file.
    pub at: At,
    /// The record.
    pub put: Put,
}

/// The rows of a file, in order. See the [module](self) for costs and an example.
pub struct Rows<'a> {
    source: Source<Input<'a>>,
    parser: Parser,
    ended: bool,
}

enum Parser {
    Fields(Box<fields::Table>),
    Lines(json::Lines),
    Array(json::Array),
}

impl<'a> Rows<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// If the input cannot be read or, for fields, the header does not match the options.
    pub fn new(input: Input<'a>, options: &Options) -> Result<Self, ImportError> {
        let mut source = Source::new(input);
        Ok(Self {
            parser: match options.format {
                Format::Fields => {
                    Parser::Fields(Box::new(fields::Table::new(options, &mut source)?))
                }
                Format::Ndjson => Parser::Lines(json::Lines::new(options)),
                Format::Json => Parser::Array(json::Array::new(options)),
            },
            source,
            ended: false,
        })
    }

    /// Returns the next row, or `None` after the last one. The inner error concerns this row only; the
    /// next call continues after it.
    ///
    /// # Errors
    /// If no further row can be read. No row follows such an error.
    pub fn next_row(&mut self) -> Result<Option<Result<Row, RowError>>, ImportError> {
        if self.ended {
            return Ok(None);
        }
        let row = match &mut self.parser {
            Parser::Fields(table) => table.next_row(&mut self.source),
            Parser::Lines(lines) => lines.next_row(&mut self.source),
            Parser::Array(array) => array.next_row(&mut self.source),
        };
        self.ended = !matches!(row, Ok(Some(_)));
        row
    }

    /// Returns the bytes of all buffers.
    #[cfg(test)]
    fn buffered(&self) -> usize {
        let parser = match &self.parser {
            Parser::Fields(table) => table.buffered(),
            Parser::Lines(lines) => lines.buffered(),
            Parser::Array(array) => array.buffered(),
        };
        self.source.buffered() + parser
    }
}

/// Omits the content of the buffers.
impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Reads a file of JSON to its end or first error, without its rows, to check that the array that has the
/// rows is the only one that can be meant, that an object with it is not a row itself, and that no text
/// follows. [`Rows`] notice a second array or more text only after the rows.
///
/// # Errors
/// If one of these is so, or if reading fails. [`Rows`] report all other errors.
pub fn check_arrays(input: Input<'_>, options: &Options) -> Result<(), ImportError> {
    match json::Array::new(options).find_arrays(&mut Source::new(input)) {
        Err(
            error @ (ImportError::MoreText { .. }
            | ImportError::NotObjects { .. }
            | ImportError::OwnKey { .. }
            | ImportError::SecondArray { .. }
            | ImportError::ArrayTwice { .. }
            | ImportError::Io(_)),
        ) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
