//! What can be wrong with a file, and with a row of it. Errors quote names and positions, never
//! values, which may be secret.

use super::limits::{MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES};
use super::options::REST;
use super::types::Kind;
use hotread_proto::{InvalidName, InvalidTimestamp, InvalidValue};
use std::fmt::{self, Write as _};
use std::io;

/// Why a file cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Reading failed.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// The text begins with a byte that is 0 and one that is not, as UTF-16 does.
    #[error(
        "the file has NUL bytes, as UTF-16 without a byte order mark has; name its encoding, such as utf-16le"
    )]
    NulBytes,
    /// A file of fields does not begin with its columns' names.
    #[error(
        "there is no header: the file has no rows; give the columns' names, or a file with a header"
    )]
    NoHeader,
    /// The header is longer than a row may be.
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
    #[error("two columns are named {:?}; rename one of them ({REST:?} is taken if rows are flexible)", cut(.column))]
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
    /// No column has the name that was given for one.
    #[error("no column is named {:?}; name one of {}", cut(.column), list(columns))]
    UnknownColumn {
        /// The name that was given.
        column: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// The delimiter, the quote or the beginning of a comment cannot be one.
    #[error(
        "{:?} cannot be the delimiter, the quote or begin a comment here; \
         give different ASCII characters other than line ends",
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
    /// The text around the rows is not JSON.
    #[error(
        "line {line}: not JSON: {expected} should be here; give a file of JSON, or its other format"
    )]
    NotJson {
        /// The line.
        line: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// The JSON is an object without an array of rows.
    #[error(
        "the object has no array{}; name the member that has the rows, or read the file as \
         newline-delimited JSON, if it has an object on each line",
        named(.member.as_deref())
    )]
    NoArray {
        /// The member that was asked for.
        member: Option<String>,
    },
    /// The JSON is an object with several arrays.
    #[error(
        "the object has a second array, in the member {:?} behind {:?}; name the one that has the rows",
        cut(.second), cut(.first)
    )]
    SecondArray {
        /// The member whose array was read.
        first: String,
        /// The member that has another.
        second: String,
    },
}

fn named(member: Option<&str>) -> String {
    member.map_or_else(String::new, |name| {
        format!(" in the member {:?}", cut(name))
    })
}

/// There is no encoding of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this encoding is not known; give one such as utf-8, utf-16le, latin1 or shift_jis")]
pub struct UnknownEncoding;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Number of the line on which it begins, from 1.
    pub line: u64,
    /// Its number in a JSON array, from 1.
    pub item: Option<u64>,
}

impl At {
    /// The row that begins on a line.
    #[must_use]
    pub fn line(line: u64) -> Self {
        Self { line, item: None }
    }
}

/// `line 7`, or `line 7, item 3`.
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        match self.item {
            Some(item) => write!(f, ", item {item}"),
            None => Ok(()),
        }
    }
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
#[error("{at}: {reason}")]
pub struct RowError {
    /// Where it is.
    pub at: At,
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
    /// A row has more or fewer fields than there are columns.
    #[error(
        "the row has {found} fields where {expected} columns are named; quote fields that contain the delimiter, \
         or allow flexible rows"
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
    /// A field is not of its column's type.
    #[error(
        "the field {column:?} is not of the type {kind}; correct it, or read the column as text"
    )]
    NotOfType {
        /// The column.
        column: String,
        /// Its type.
        kind: Kind,
    },
    /// A column or member that makes the key is not there.
    #[error("{member:?}, which makes the key, is not there; add it, or name another key")]
    NoKey {
        /// Its name.
        member: String,
    },
    /// A member that makes the key is there twice.
    #[error("{member:?}, which makes the key, is there twice; remove one")]
    KeyTwice {
        /// Its name.
        member: String,
    },
    /// A member that makes the key is not a string or number.
    #[error("{member:?}, which makes the key, is not a string or number; name another key")]
    KeyType {
        /// Its name.
        member: String,
    },
    /// A part of a key contains what stands between parts.
    #[error(
        "a part of the key has {separator:?} in it, so that different rows could have one key; \
         choose another separator"
    )]
    Separator {
        /// What stands between parts.
        separator: String,
    },
    /// The key or the category is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The value is invalid.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// The time of expiry is invalid.
    #[error("expires_at: {0}")]
    Time(#[from] InvalidTimestamp),
    /// A row is not JSON.
    #[error("not JSON: {reason} at column {column}; each row has to be an object")]
    NotJson {
        /// What the parser found. It does not quote the line.
        reason: String,
        /// Where, in bytes from 1.
        column: usize,
    },
    /// A row is JSON, but not an object.
    #[error("not a JSON object; each row has to be one, such as {{\"key\": …, \"value\": …}}")]
    NotObject,
    /// A field that is needed is not there.
    #[error(
        "the field {field:?} is missing; each row needs a key and a value, unless it is named which \
         of its members are the key"
    )]
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
    #[error(
        "the field {field:?} is not one of a record; put it into the value, or name \
         the members that are the key"
    )]
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
