//! What can be wrong with a file, and with a row of it. Errors quote names and positions, never
//! values, which may be secret.

use super::limits::{MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES};
use hotread_proto::{InvalidName, InvalidTimestamp, InvalidValue};
use std::fmt::Write as _;
use std::io;

/// Why a file cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Reading failed.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// A CSV file does not begin with its columns' names.
    #[error(
        "there is no header: the file has no rows; give the columns' names, or a file with a header"
    )]
    NoHeader,
    /// A CSV file's header is longer than a row may be.
    #[error("the header has more than {MAX_ROW_BYTES} bytes; is this a CSV file?")]
    HeaderTooLong,
    /// There are too many columns.
    #[error("there are {columns} columns; at most {MAX_COLUMNS} are allowed")]
    TooManyColumns {
        /// How many there are.
        columns: usize,
    },
    /// A column's name is not UTF-8.
    #[error("the name of column {number} is not UTF-8; convert the file")]
    ColumnNotUtf8 {
        /// Which column, from 1.
        number: usize,
    },
    /// Two columns have the same name.
    #[error("two columns are named {:?}; rename one of them", cut(.column))]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// The column that holds the keys was not named.
    #[error(
        "it is not known which column holds the keys; name one of {}",
        list(columns)
    )]
    NoKey {
        /// The columns there are.
        columns: Vec<String>,
    },
    /// No column has the name of the one that holds the keys.
    #[error("no column is named {key:?}; name one of {}", list(columns))]
    UnknownKey {
        /// The name that was given.
        key: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// The delimiter or the comment character cannot be one.
    #[error(
        "{:?} cannot be the delimiter or begin a comment here; \
         give two different ASCII characters other than quotes and line ends",
        char::from(*.byte)
    )]
    InvalidOptions {
        /// The character.
        byte: u8,
    },
    /// A quoted field goes on to the end of the file, so that rows may have been taken for its text.
    #[error(
        "line {line}: a quote in the row that begins here is never closed; \
         close it, or double quotes that belong to the text"
    )]
    UnclosedQuote {
        /// The line on which the row begins.
        line: u64,
    },
    /// The end of a row or a comment was not found.
    #[error(
        "line {line}: it does not end within {MAX_SKIPPED_BYTES} bytes; \
         is this a file of rows, and is each quote closed?"
    )]
    Endless {
        /// The line on which it begins.
        line: u64,
    },
}

/// Names in quotation marks, as many as a line of text bears.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = String::new();
    for (n, name) in names.iter().take(SHOWN).enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{:?}", cut(name));
    }
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

/// The first characters of a name, as many as are needed to know it again.
pub(super) fn cut(name: &str) -> &str {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        Some((at, _)) => &name[..at],
        None => name,
    }
}

/// A row that is no record. The rows after it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RowError {
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub reason: RowReason,
}

/// Why a row is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowReason {
    /// It is longer than [`MAX_ROW_BYTES`].
    #[error(
        "the row has more than {MAX_ROW_BYTES} bytes; split it, and see that each quote is closed"
    )]
    TooLong,
    /// A CSV row has more or fewer fields than there are columns.
    #[error(
        "the row has {found} fields where {expected} columns are named; quote fields that contain the delimiter"
    )]
    Fields {
        /// How many fields it has.
        found: usize,
        /// How many columns there are.
        expected: usize,
    },
    /// A field is not UTF-8.
    #[error("the field {column:?} is not UTF-8 (byte {at}); convert the file")]
    NotUtf8 {
        /// The column.
        column: String,
        /// Offset of the first byte that does not fit, in the field.
        at: usize,
    },
    /// The key or the category is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The value is none.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// The time of expiry is none.
    #[error("expires_at: {0}")]
    Time(#[from] InvalidTimestamp),
    /// A line is not JSON.
    #[error("not JSON: {reason} at column {column}; write one object on each line")]
    NotJson {
        /// What the parser found. It does not quote the line.
        reason: String,
        /// Where, in bytes from 1.
        column: usize,
    },
    /// A line is JSON, but not an object.
    #[error("not a JSON object; write {{\"key\": …, \"value\": …}} on each line")]
    NotObject,
    /// A field that is needed is not there.
    #[error("the field {field:?} is missing; each line needs a key and a value")]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A field is there twice.
    #[error("the field {field:?} is there twice; remove one")]
    DuplicateField {
        /// Its name.
        field: &'static str,
    },
    /// There is a field that means nothing here.
    #[error("the field {field:?} is not known; put it into the value, or remove it")]
    UnknownField {
        /// Its name, cut after 64 characters.
        field: String,
    },
    /// A field that is a name is not a string.
    #[error("the field {field:?} is not a string; quote it")]
    NotString {
        /// Its name.
        field: &'static str,
    },
}
