//! Types of columns: their detection, and the conversion of fields to JSON.

use super::fields::Table;
use super::options::{Empty, Options};
use super::source::Source;
use super::{ImportError, Input};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Type of a column's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A string, regardless of its form.
    Text,
    /// A JSON number without fraction and exponent, of any size.
    Integer,
    /// A JSON number, whose digits stay as they are.
    Number,
    /// `true` or `false`, in upper or lower case.
    Boolean,
    /// A JSON value.
    Json,
}

const NAMES: [(&str, Kind); 5] = [
    ("text", Kind::Text),
    ("integer", Kind::Integer),
    ("number", Kind::Number),
    ("boolean", Kind::Boolean),
    ("json", Kind::Json),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, kind)| kind == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let named = NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, kind)| *kind).ok_or(UnknownKind)
    }
}

/// The name of a type is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the types are text, integer, number, boolean and json")]
pub struct UnknownKind;

impl Kind {
    /// Writes a non-empty field as JSON. Returns `false` if it is not of this type.
    pub(super) fn write(self, field: &str, out: &mut Vec<u8>) -> bool {
        let fits = match self {
            Self::Text => {
                json_string(out, field);
                return true;
            }
            Self::Integer => number(field).is_some_and(|form| form.plain && form.decimals == 0),
            Self::Number => number(field).is_some(),
            Self::Boolean => {
                let truth = field.eq_ignore_ascii_case("true");
                let known = truth || field.eq_ignore_ascii_case("false");
                if known {
                    out.extend_from_slice(if truth { b"true" } else { b"false" });
                }
                return known;
            }
            Self::Json => serde_json::from_str::<&RawValue>(field).is_ok(),
        };
        if fits {
            out.extend_from_slice(field.as_bytes());
        }
        fits
    }
}

/// Writes an empty field. Returns `false` if it must be omitted.
pub(super) fn write_empty(kind: Kind, empty: Empty, out: &mut Vec<u8>) -> bool {
    match (empty, kind) {
        (Empty::Missing, _) => return false,
        (Empty::Text, Kind::Text) => out.extend_from_slice(b"\"\""),
        (Empty::Text | Empty::Null, _) => out.extend_from_slice(b"null"),
    }
    true
}

pub(super) fn json_string(out: &mut Vec<u8>, text: &str) {
    // A string is JSON, and writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// The notation of a JSON number.
struct Form {
    /// Digits without leading zeros.
    digits: usize,
    /// Digits after the point.
    decimals: usize,
    /// Set if there is no exponent.
    plain: bool,
}

/// Determines the notation of a JSON number.
fn number(text: &str) -> Option<Form> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return None;
    }
    let mut form = Form {
        digits: if rest[0] == b'0' { 0 } else { whole },
        decimals: 0,
        plain: true,
    };
    rest = &rest[whole..];
    if let Some(after) = rest.strip_prefix(b".") {
        form.decimals = digits(after);
        if form.decimals == 0 {
            return None;
        }
        form.digits += form.decimals;
        rest = &after[form.decimals..];
    }
    if let [b'e' | b'E', after @ ..] = rest {
        form.plain = false;
        let after = match after {
            [b'+' | b'-', after @ ..] => after,
            after => after,
        };
        let exponent = digits(after);
        if exponent == 0 {
            return None;
        }
        rest = &after[exponent..];
    }
    rest.is_empty().then_some(form)
}

/// Returns the most specific type that preserves a field when programs read and rewrite it. `007`,
/// `+1`, `1e5`, `1.50`, `-0` and an integer beyond 2^53, which JavaScript rounds, are therefore text.
fn canonical(field: &str) -> Kind {
    /// Digits that every double preserves.
    const EXACT_DIGITS: usize = 15;
    const LARGEST_INTEGER: u64 = (1 << 53) - 1;

    if matches!(field, "true" | "false") {
        return Kind::Boolean;
    }
    match number(field) {
        Some(form) if !form.plain => Kind::Text,
        Some(form) if form.decimals == 0 => {
            let size = field.strip_prefix('-').unwrap_or(field).parse::<u64>();
            match size {
                Ok(size) if size <= LARGEST_INTEGER && field != "-0" => Kind::Integer,
                _ => Kind::Text,
            }
        }
        Some(form) if form.digits <= EXACT_DIGITS => {
            let rounded = field.ends_with('0') && form.decimals > 1;
            match rounded || field == "-0.0" {
                true => Kind::Text,
                false => Kind::Number,
            }
        }
        _ => Kind::Text,
    }
}

/// Detects the types of columns over several files: a column whose fields are all integers, numbers, or
/// `true` and `false`, apart from empty ones, has that type. Any other column is text.
///
/// A field is a number only in the notation in which numbers are printed: `007`, `+1`, `1.50`, `1e5`
/// and integers beyond 2^53 are text.
#[derive(Debug)]
pub struct Detector {
    /// The types that were given for columns, which are not detected.
    named: BTreeMap<String, Kind>,
    /// The types detected so far; `None` if all fields of the column were empty.
    kinds: BTreeMap<String, Option<Kind>>,
}

impl Detector {
    /// Returns a detector with given types for some columns.
    #[must_use]
    pub fn new(named: BTreeMap<String, Kind>) -> Self {
        Self {
            named,
            kinds: BTreeMap::new(),
        }
    }

    /// Reads as much of a file as is kept until its rows are read:
    /// [`SAMPLE_BYTES`](super::SAMPLE_BYTES).
    ///
    /// # Errors
    /// Same as [`read`](Self::read).
    pub fn sample(&mut self, input: &mut Input<'_>, options: &Options) -> Result<(), ImportError> {
        let sample = input.sample(super::SAMPLE_BYTES)?;
        // A row that the sample cuts off is ignored.
        let end = match sample.len() < super::SAMPLE_BYTES {
            true => sample.len(),
            false => memchr::memrchr(b'\n', sample).map_or(0, |at| at + 1),
        };
        self.read(Input::plain(Box::new(&sample[..end])), options)
    }

    /// Reads a file of fields to its end, to the first error that ends its rows, or until all columns
    /// are known to be text.
    ///
    /// # Errors
    /// If the file cannot be read, its header does not match the options, or a type was given for a column
    /// of the key that is not kept in the value.
    pub fn read(&mut self, input: Input<'_>, options: &Options) -> Result<(), ImportError> {
        let mut source = Source::new(input);
        let mut table = Table::new(options, &mut source)?;
        let names: Vec<String> = table.names().map(str::to_owned).collect();
        let mut key = names.iter().enumerate().filter(|(at, _)| table.is_key(*at));
        if let Some((_, column)) = key.find(|(_, name)| self.named.contains_key(*name))
            && !options.keep_key
        {
            let column = column.clone();
            return Err(ImportError::TypeOfKey { column });
        }
        let mut open = Vec::new();
        for (column, name) in names.iter().enumerate() {
            let known = self.kinds.entry(name.clone()).or_default();
            if table.is_key(column) || self.named.contains_key(name) {
                *known = Some(Kind::Text);
            }
            if *known != Some(Kind::Text) {
                open.push((column, *known));
            }
        }
        while open.iter().any(|(_, kind)| *kind != Some(Kind::Text)) {
            match table.next_fields(&mut source) {
                Ok(Some(fields)) => {
                    for (column, kind) in &mut open {
                        *kind = join(*kind, fields.get(*column).unwrap_or_default());
                    }
                }
                Ok(None) => break,
                Err(error @ ImportError::Io(_)) => return Err(error),
                // The import reports the error, after the rows before it.
                Err(_) => break,
            }
        }
        for (column, kind) in open {
            self.kinds.insert(names[column].clone(), kind);
        }
        Ok(())
    }

    /// Returns the types of all columns.
    ///
    /// # Errors
    /// If a type was given for a column that is in no file.
    pub fn finish(self) -> Result<BTreeMap<String, Kind>, ImportError> {
        let unknown = |name: &&String| !self.kinds.contains_key(*name);
        if let Some(name) = self.named.keys().find(unknown) {
            return Err(ImportError::UnknownColumn {
                column: name.clone(),
                columns: self.kinds.into_keys().collect(),
            });
        }
        let told = self.kinds.into_iter();
        let mut kinds: BTreeMap<_, _> = told
            .map(|(name, kind)| (name, kind.unwrap_or(Kind::Text)))
            .collect();
        kinds.extend(self.named);
        Ok(kinds)
    }
}

/// Returns the type of a column to which this field is added.
fn join(kind: Option<Kind>, field: &[u8]) -> Option<Kind> {
    if field.is_empty() || kind == Some(Kind::Text) {
        return kind;
    }
    let new = std::str::from_utf8(field).map_or(Kind::Text, canonical);
    Some(match kind {
        None => new,
        Some(kind) if kind == new => kind,
        Some(Kind::Integer | Kind::Number) if matches!(new, Kind::Integer | Kind::Number) => {
            Kind::Number
        }
        Some(_) => Kind::Text,
    })
}
