//! How a file is to be read.

use super::error::UnknownEncoding;
use super::types::Kind;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A row on each line, as fields between delimiters: CSV, TSV and their kin. Fields may be quoted,
    /// with the quote doubled inside of them; lines end with LF, CRLF or CR. Empty lines are skipped, and
    /// a first line `sep=;` names the delimiter.
    Fields,
    /// A JSON object on each line.
    Ndjson,
    /// JSON: an array of objects, or an object one member of which is such an array.
    Json,
}

impl Format {
    /// Format and delimiter that the ending of a file's name promises, in upper or lower case and
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

    /// Format of a text that begins like this, if it is JSON.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii_start();
        match text.first()? {
            b'[' => Some(Self::Json),
            b'{' => {
                let line = text.split(|&byte| byte == b'\n').next()?;
                let whole = serde_json::from_slice::<serde::de::IgnoredAny>(line);
                // The whole of a long first line need not be in the text.
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

/// What stands between fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// An ASCII character.
    Byte(u8),
    /// Spaces and tabs, any number of them. There are no quotes, the last column takes the rest of
    /// the line, and a comment may also follow fields.
    Blanks,
}

/// Where the names of columns come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// The first row; blanks around the names do not count.
    FirstRow,
    /// The caller, and all rows are records.
    Named(Vec<String>),
    /// Their numbers from 1, as many as the first row has fields; all rows are records.
    Numbered,
}

/// What an empty field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// An empty string in a column of text; `null` in a column of another type.
    Text,
    /// `null`.
    Null,
    /// A member that is not there.
    Missing,
}

/// An encoding of text, by one of the names that the WHATWG's Encoding Standard gives it: `utf-16le`,
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

/// How a file is to be read. What belongs to another format is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How its rows are written.
    pub format: Format,
    /// Names of the columns or members that make the key, joined with `key_separator`. With none of
    /// them, each row says `{"key", "value", "category"?, "expires_at"?}`, as in exports; a file of
    /// fields has to have the columns of [`export::CSV_COLUMNS`](crate::export::CSV_COLUMNS) for that,
    /// or only one, which is the key.
    pub key: Vec<String>,
    /// Text between the parts of a key. No part but the last may contain it.
    pub key_separator: String,
    /// The value has the key's columns or members, too.
    pub keep_key: bool,
    /// JSON: the member whose array has the rows, if there are several arrays.
    pub member: Option<String>,
    /// Fields: what stands between them. If it is not given, it is the first of comma, or otherwise
    /// semicolon or tab, that the header has outside of quotes.
    pub delimiter: Option<Delimiter>,
    /// Fields: what may stand around them; none if nothing can.
    pub quote: Option<u8>,
    /// Fields: lines that begin with this text are skipped.
    pub comment: Option<String>,
    /// Fields: where the columns' names come from.
    pub columns: Columns,
    /// Fields: rows may have fewer fields than there are columns, whose members are then missing, and
    /// more, which become an array in the member [`REST`].
    pub flexible: bool,
    /// Fields: blanks around fields do not count.
    pub trim: bool,
    /// Fields: what an empty one is.
    pub empty: Empty,
    /// Fields: the types of columns. Others are text.
    pub types: BTreeMap<String, Kind>,
}

/// Member of the fields that a row has more than there are columns.
pub const REST: &str = "_rest";

impl Options {
    /// Options of a format: a header, quotes, no comments, records as in exports.
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

    /// With the column or member that holds the keys.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key.push(name.into());
        self
    }
}
