//! Options for reading a file.

use super::error::UnknownEncoding;
use super::types::Kind;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// Formats of a file with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A row on each line, as fields between delimiters: CSV, TSV and their kin. Fields may be quoted,
    /// with doubled quotes inside, and no text after the closing quote; lines end with LF, CRLF or CR. Empty
    /// lines are skipped, and a first line `sep=;` sets the delimiter.
    Fields,
    /// A JSON object on each line.
    Ndjson,
    /// An array of objects, or an object with a member that is such an array.
    Json,
}

impl Format {
    /// Returns the format and delimiter for the extension of a file's name, in upper or lower case and
    /// before `.gz` or `.zst`: `.csv`, `.tsv` or `.tab`, `.ndjson` or `.jsonl`, `.json`.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<(Self, Option<Delimiter>)> {
        let mut path = path.to_owned();
        loop {
            let ending = path.extension()?.to_str()?.to_ascii_lowercase();
            return match ending.as_str() {
                "csv" => Some((Self::Fields, None)),
                "tsv" | "tab" => Some((Self::Fields, Some(Delimiter::Byte(b'\t')))),
                "ndjson" | "jsonl" => Some((Self::Ndjson, None)),
                "json" => Some((Self::Json, None)),
                "gz" | "zst" => {
                    path.set_extension("");
                    continue;
                }
                _ => None,
            };
        }
    }

    /// Returns the format of a text with this beginning, if it is JSON.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii_start();
        match text.first()? {
            b'[' => Some(Self::Json),
            b'{' => {
                let line = text.split(|&byte| byte == b'\n').next()?;
                let whole = serde_json::from_slice::<serde::de::IgnoredAny>(line);
                // The text may contain only a part of a long first line.
                let cut = line.len() == text.len();
                Some(match whole.is_ok() || cut {
                    true => Self::Ndjson,
                    false => Self::Json,
                })
            }
            _ => None,
        }
    }
}

/// The separator of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// An ASCII character.
    Byte(u8),
    /// Any number of spaces and tabs. There are no quotes, the last column takes the rest of the line,
    /// and a comment may also follow fields.
    Blanks,
}

/// The source of columns' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// The first row, without blanks around the names.
    FirstRow,
    /// The caller; all rows are records.
    Named(Vec<String>),
    /// Numbers from 1 for the fields of the first row; all rows are records.
    Numbered,
}

/// The meaning of an empty field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// An empty string in a column of text; `null` in a column of another type.
    Text,
    /// `null`.
    Null,
    /// A missing member.
    Missing,
}

/// Text encoding, by a name of the WHATWG Encoding Standard: `utf-16le`,
/// `latin1` (with the characters of windows-1252 where ISO 8859-1 has control characters), `shift_jis`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(pub(super) &'static encoding_rs::Encoding);

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        encoding_rs::Encoding::for_label_no_replacement(name.as_bytes())
            .map(Self)
            .ok_or(UnknownEncoding)
    }
}

/// Options for reading a file. Options of other formats are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The format of the file.
    pub format: Format,
    /// Names of the columns or members of the key, joined with `key_separator`. If empty, each row has
    /// the form `{"key", "value", "category"?, "expires_at"?}` of exports; a file of fields then needs
    /// the columns of [`export::CSV_COLUMNS`](crate::export::CSV_COLUMNS), or only one, which is the
    /// key.
    pub key: Vec<String>,
    /// Text between the parts of a key. Only the last part may contain it.
    pub key_separator: String,
    /// Keeps the key's columns or members in the value.
    pub keep_key: bool,
    /// JSON: the member whose array has the rows, if there are several arrays.
    pub member: Option<String>,
    /// Fields: their separator. If `None`, it is detected in the header, outside of quotes: comma if
    /// there is one, else the first semicolon, tab or vertical bar.
    pub delimiter: Option<Delimiter>,
    /// Fields: the quote, or `None` if fields are never quoted.
    pub quote: Option<u8>,
    /// Fields: lines that begin with this text are skipped.
    pub comment: Option<String>,
    /// Fields: the source of the columns' names.
    pub columns: Columns,
    /// Fields: rows may have fewer fields than there are columns, whose members are then missing; or
    /// more, which become an array in the member [`REST`].
    pub flexible: bool,
    /// Fields: removes blanks around fields.
    pub trim: bool,
    /// Fields: the meaning of an empty one.
    pub empty: Empty,
    /// Fields: the types of columns. Other columns are text.
    pub types: BTreeMap<String, Kind>,
}

/// The member for the fields of a row beyond the number of columns.
pub const REST: &str = "_rest";

impl Options {
    /// Returns the defaults of a format: a header, quotes, no comments, and the form of exports.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            key: Vec::new(),
            key_separator: ":".to_owned(),
            keep_key: false,
            member: None,
            delimiter: None,
            quote: Some(b'"'),
            comment: None,
            columns: Columns::FirstRow,
            flexible: false,
            trim: false,
            empty: Empty::Text,
            types: BTreeMap::new(),
        }
    }

    /// Adds a column or member of the key.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key.push(name.into());
        self
    }
}
