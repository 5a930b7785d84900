//! Errors of a file, and of a row of it. Errors quote names and positions, but never values, which may
//! be secret.

use super::limits::{MAX_COLUMNS, MAX_ROW_BYTES, MAX_SKIPPED_BYTES};
use super::options::REST;
use super::types::Kind;
use hotread_proto::{InvalidName, InvalidTimestamp, InvalidValue};
use std::fmt::{self, Write as _};
use std::io;

/// Message about a row such as `"a"b,c`.
const MISQUOTED: &str = "text follows a closing quote; double each quote that belongs to a field, or read quotes as text";

/// The reason a file, or the rest of it, cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Reading failed.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// The file is compressed, or an archive, in a format that is not read.
    #[error("this is {format} data, which is not read; decompress it, and import the text")]
    Compressed {
        /// The format.
        format: &'static str,
    },
    /// The text begins with a NUL and another byte, in either order, as UTF-16 does.
    #[error(
        "the file has NUL bytes, as UTF-16 (utf-16le or utf-16be) without a byte order mark has; name its encoding"
    )]
    NulBytes,
    /// A file of fields does not begin with the names of its columns.
    #[error("the file is empty; to import no rows, name the columns")]
    NoHeader,
    /// The header is longer than a row may be.
    #[error("the header has more than {MAX_ROW_BYTES} bytes; is this a CSV file?")]
    HeaderTooLong,
    /// In the header, text follows the quote that closes a name.
    #[error("line {line}: {MISQUOTED}")]
    HeaderMisquoted {
        /// The line on which the header begins.
        line: u64,
    },
    /// The file has too many columns.
    #[error("there are {columns} columns; at most {MAX_COLUMNS} are allowed")]
    TooManyColumns {
        /// The number of columns.
        columns: usize,
    },
    /// A column's name is not UTF-8.
    #[error("the name of column {number} is not UTF-8; name the file's encoding")]
    ColumnNotUtf8 {
        /// The number of the column, from 1.
        number: usize,
    },
    /// Two columns have the same name.
    #[error("two columns are named {:?}; rename one of them ({REST:?} is taken if rows are flexible)", cut(.column))]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// No column was named for the keys.
    #[error(
        "it is unclear which column holds the keys; name one of {}",
        list(columns)
    )]
    NoKey {
        /// The names of all columns.
        columns: Vec<String>,
    },
    /// No column has the given name.
    #[error("no column is named {:?}; name one of {}", cut(.column), list(columns))]
    UnknownColumn {
        /// The given name.
        column: String,
        /// The names of all columns.
        columns: Vec<String>,
    },
    /// The delimiter, the quote or the beginning of a comment is not a valid one.
    #[error(
        "{:?} cannot be the delimiter, the quote or begin a comment here; \
         give different ASCII characters other than line ends",
        char::from(*.byte)
    )]
    InvalidOptions {
        /// The character.
        byte: u8,
    },
    /// A quoted field extends to the end of the file, so that its text may include rows.
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
        /// The line on which the row or comment begins.
        line: u64,
    },
    /// The text around the rows is not JSON.
    #[error("line {line}: not JSON: {reason}; check the format")]
    NotJson {
        /// The line.
        line: u64,
        /// The reason.
        reason: &'static str,
    },
    /// Text follows the end of the JSON.
    #[error(
        "line {line}: there is more text after the end of the JSON; {}",
        if *.of_lines { "each line is an object, so read it as ndjson" } else { "check the format" }
    )]
    MoreText {
        /// The line with the text.
        line: u64,
        /// `true` if the JSON is an object on one line, and another object begins on a later one.
        of_lines: bool,
    },
    /// The JSON is an object without an array of rows.
    #[error("the object has no array{}; {}", named(.member.as_deref()), one_row(*.one_line))]
    NoArray {
        /// The requested member.
        member: Option<String>,
        /// `true` if the whole object is on one line.
        one_line: bool,
    },
    /// The only array of the object has elements that are not rows.
    #[error(
        "the array in the member {:?} does not begin with an object; {}",
        cut(.member), one_row(*.one_line)
    )]
    NotObjects {
        /// The member with the array.
        member: String,
        /// `true` if the whole object is on one line.
        one_line: bool,
    },
    /// The object has the members of the key itself, and so seems to be a row rather than to have rows.
    #[error(
        "the object has the key's member {:?} itself, outside of its array {:?}; {}",
        cut(.key), cut(.member), one_row(*.one_line)
    )]
    OwnKey {
        /// The first member of the key.
        key: String,
        /// The member with the array.
        member: String,
        /// `true` if the whole object is on one line.
        one_line: bool,
    },
    /// The JSON is an object with several arrays.
    #[error(
        "the object has a second array, in the member {:?} after {:?}; name the rows' member",
        cut(.second), cut(.first)
    )]
    SecondArray {
        /// The member whose array was read.
        first: String,
        /// The member with another array.
        second: String,
    },
    /// The member with the rows occurs twice in its object.
    #[error("the object has the array {:?} twice; remove or rename one of them", cut(.member))]
    ArrayTwice {
        /// Its name.
        member: String,
    },
    /// A type was given for a column that is no member of the values.
    #[error(
        "the column {:?} has no type, since it is part of the key or of an exported record; give it none, \
         or keep the key in the value",
        cut(.column)
    )]
    TypeOfKey {
        /// The column.
        column: String,
    },
}

/// Returns the advice for an object that may be a row; only one on a single line is one of ndjson.
fn one_row(one_line: bool) -> &'static str {
    match one_line {
        true => {
            "to import the object as one row, read it as ndjson; otherwise name the rows' member"
        }
        false => {
            "to import the object as one row, put [ ] around it; otherwise name the rows' member"
        }
    }
}

/// Says that a position is one in the value, which is not that in the file.
fn of_value(invalid: &InvalidValue) -> String {
    let text = invalid.to_string();
    match text.split_once(" at line ") {
        Some((what, place)) => {
            format!("{what} at its line {place}").replacen("not JSON", "the value is not JSON", 1)
        }
        None => text,
    }
}

fn named(member: Option<&str>) -> String {
    member.map_or_else(String::new, |name| {
        format!(" in the member {:?}", cut(name))
    })
}

/// The name of an encoding is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this encoding is unknown; give one such as utf-8, utf-16le, latin1 or shift_jis")]
pub struct UnknownEncoding;

/// The position of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Number of the line on which the row begins, from 1.
    pub line: u64,
    /// Number of the row in a JSON array, from 1.
    pub item: Option<u64>,
}

impl At {
    /// Returns the row that begins on a line.
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

/// Formats names in quotation marks, as many as fit on a line.
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

/// Shortens a name to its first characters.
pub(super) fn cut(name: &str) -> &str {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        Some((at, _)) => &name[..at],
        None => name,
    }
}

/// An error of one row. Later rows can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct RowError {
    /// The position of the row.
    pub at: At,
    /// The reason.
    #[source]
    pub reason: RowReason,
}

/// The reason a row is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowReason {
    /// The row is longer than [`MAX_ROW_BYTES`].
    #[error(
        "the row has more than {MAX_ROW_BYTES} bytes; split it, or check that each quote is closed"
    )]
    TooLong,
    /// Text follows the quote that closes a field.
    #[error("{MISQUOTED}")]
    Misquoted,
    /// A row has more or fewer fields than there are columns.
    #[error(
        "the row has {found} field{} where {expected} column{} named; quote fields that contain the delimiter, \
         or allow flexible rows",
        if *.found == 1 { "" } else { "s" },
        if *.expected == 1 { " is" } else { "s are" }
    )]
    Fields {
        /// The number of fields.
        found: usize,
        /// The number of columns.
        expected: usize,
    },
    /// A field is not UTF-8.
    #[error("the field {column:?} is not UTF-8 (byte {at}); name the file's encoding")]
    NotUtf8 {
        /// The column.
        column: String,
        /// Offset of the first byte that does not fit, in the field.
        at: usize,
    },
    /// A row of JSON is not UTF-8.
    #[error("the row is not UTF-8 (byte {at}); name the file's encoding")]
    RowNotUtf8 {
        /// Offset of the first byte that does not fit, in the row.
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
    /// A column or member of the key is missing.
    #[error("{member:?}, which makes the key, is not there; add it, or name another key")]
    NoKey {
        /// Its name.
        member: String,
    },
    /// A member of the key occurs twice.
    #[error("{member:?}, which makes the key, is there twice; remove one")]
    KeyTwice {
        /// Its name.
        member: String,
    },
    /// A member of the key is not a string or number.
    #[error("{member:?}, which makes the key, is not a string or number; name another key")]
    KeyType {
        /// Its name.
        member: String,
    },
    /// A part of a key contains the separator of parts.
    #[error(
        "a part of the key has {separator:?} in it, so that different rows could have one key; \
         choose another separator"
    )]
    Separator {
        /// The separator.
        separator: String,
    },
    /// The key or the category is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The value is invalid.
    #[error("{}", of_value(.0))]
    Value(#[from] InvalidValue),
    /// The time of expiry is invalid.
    #[error("expires_at: {0}")]
    Time(#[from] InvalidTimestamp),
    /// A row is not JSON.
    #[error("not JSON: {reason} at column {column}; each row has to be an object")]
    NotJson {
        /// The parser's message, which does not quote the line.
        reason: String,
        /// The position, in bytes from 1.
        column: usize,
    },
    /// A row is JSON, but not an object.
    #[error("not a JSON object; each row has to be one, such as {{\"key\": …, \"value\": …}}")]
    NotObject,
    /// A required field is missing.
    #[error(
        "the field {field:?} is missing; give each row a key and a value, or name the members that \
         are the key"
    )]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A field occurs twice.
    #[error("the field {field:?} is there twice; remove one")]
    DuplicateField {
        /// Its name.
        field: &'static str,
    },
    /// The row has an unknown field.
    #[error(
        "{field:?} is not a field of a record; put it into the value, or name \
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
