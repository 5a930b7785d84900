//! Values: JSON that is checked and compacted once, and opaque afterwards.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroize;

/// Largest value, in bytes after compaction: it travels in one frame.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Deepest nesting of arrays and objects: below the depth at which common parsers give up.
pub const MAX_VALUE_DEPTH: usize = 100;

/// A JSON value as text without white space between its parts.
///
/// Parsing checks that all JSON parsers read the text alike: no lone surrogates, numbers within the
/// range of a double, no object with a duplicate member, at most [`MAX_VALUE_DEPTH`] deep. The text
/// is not interpreted: the digits of numbers, the escapes in strings and the order of members stay
/// as they were, so `1.0` and 2^53 + 1 survive. Values are equal if their compact texts are.
///
/// ```
/// use hotread_proto::Value;
///
/// let value = Value::parse(br#" {"rate": 1.0, "limit": 9007199254740993} "#)?;
/// assert_eq!(value.as_str(), r#"{"rate":1.0,"limit":9007199254740993}"#);
/// # Ok::<(), hotread_proto::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value(Box<str>);

/// Reason for refusing a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidValue {
    /// The text is not JSON, or not JSON that common parsers read.
    #[error("not JSON: {reason}")]
    NotJson {
        /// Complaint of the parser, with line and column. It does not quote the value.
        reason: String,
    },
    /// Arrays and objects are nested deeper than [`MAX_VALUE_DEPTH`].
    #[error("the value is nested more than {MAX_VALUE_DEPTH} deep; flatten it")]
    TooDeep,
    /// An object in the value has a duplicate member: some parsers read the first, others the last.
    #[error(
        "an object in the value has a member twice: its last member ends at line {line} column {column}; give each member once"
    )]
    DuplicateMember {
        /// Line in which the object's last member ends, counted from 1.
        line: usize,
        /// Column in that line, in bytes, counted from 1.
        column: usize,
    },
    /// The value is larger than [`MAX_VALUE_BYTES`].
    #[error(
        "the value has {bytes} bytes; at most {MAX_VALUE_BYTES} are allowed; split it over several keys"
    )]
    TooLarge {
        /// Size of the value in bytes, after compaction if it was compacted.
        bytes: usize,
    },
}

impl Value {
    /// Checks and compacts a JSON text.
    ///
    /// # Errors
    /// If the text is not JSON, has a duplicate member, is nested too deeply or is too large. Text
    /// of more than twice [`MAX_VALUE_BYTES`] is refused unread.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidValue> {
        if json.len() > 2 * MAX_VALUE_BYTES {
            return Err(InvalidValue::TooLarge { bytes: json.len() });
        }
        let compact = compact(json)?;
        // The order matters: the depth must be known to be harmless first, and a malformed text
        // must be reported as such even if it is too large.
        probe(json)?;
        if compact.len() > MAX_VALUE_BYTES {
            return Err(InvalidValue::TooLarge {
                bytes: compact.len(),
            });
        }
        let text = String::from_utf8(compact).map_err(|_| InvalidValue::NotJson {
            reason: "it is not UTF-8".to_owned(),
        })?;
        Ok(Self(text.into_boxed_str()))
    }

    /// Creates a JSON string with this text.
    ///
    /// # Errors
    /// If the text is too large.
    pub fn string(text: &str) -> Result<Self, InvalidValue> {
        Self::serialize(text)
    }

    /// Serializes a value as JSON.
    ///
    /// # Errors
    /// If it has no form as JSON (such as a map whose keys are not strings), is nested too deeply
    /// or is too large.
    pub fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidValue> {
        let json = serde_json::to_vec(value).map_err(|e| InvalidValue::NotJson {
            reason: e.to_string(),
        })?;
        Self::parse(&json)
    }

    /// Returns the compact text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the compact text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Deserializes the value.
    ///
    /// # Errors
    /// If the value does not match the type.
    pub fn to<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secret, and logs are public.
        write!(f, "Value({} bytes)", self.0.len())
    }
}

/// Overwrites the text; the result is not JSON.
impl Zeroize for Value {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Reads a stored text, which an earlier version may have checked by other rules. To be used as
/// `#[serde(deserialize_with = "stored")]`, with `serde_json` only.
pub(crate) fn stored<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    let compact = compact(raw.get().as_bytes()).map_err(de::Error::custom)?;
    let text = String::from_utf8(compact).map_err(de::Error::custom)?;
    Ok(Some(Value(text.into_boxed_str())))
}

/// Supports `serde_json` only.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get().as_bytes()).map_err(de::Error::custom)
    }
}

/// Converts the parser's complaint, without the text that some complaints quote.
fn not_json(error: &serde_json::Error) -> InvalidValue {
    let (line, column) = (error.line(), error.column());
    let reason = match error.is_eof() {
        true => format!("it ends too early at line {line} column {column}"),
        false => error.to_string(),
    };
    InvalidValue::NotJson { reason }
}

/// Removes white space outside of strings and checks the depth. The parser checks that the text is
/// JSON.
fn compact(json: &[u8]) -> Result<Vec<u8>, InvalidValue> {
    let mut out = Vec::with_capacity(json.len());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b'"' => in_string = true,
                b'[' | b'{' => {
                    depth += 1;
                    if depth > MAX_VALUE_DEPTH {
                        return Err(InvalidValue::TooDeep);
                    }
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        out.push(byte);
    }
    Ok(out)
}

/// Parses every part of a value. When serde_json skips a value instead, it accepts lone surrogates
/// and numbers out of range.
fn probe(json: &[u8]) -> Result<(), InvalidValue> {
    let mut names = Names::default();
    let mut parser = serde_json::Deserializer::from_slice(json);
    let looked = Probe(&mut names).deserialize(&mut parser);
    match looked.and_then(|()| parser.end()) {
        Ok(()) => Ok(()),
        Err(error) if names.twice => Err(InvalidValue::DuplicateMember {
            line: error.line(),
            column: error.column(),
        }),
        Err(error) => Err(not_json(&error)),
    }
}

/// Member names of all open objects, the innermost last. One list serves all of them, because
/// values have many small objects.
#[derive(Default)]
struct Names<'de> {
    open: Vec<Cow<'de, str>>,
    /// Set once an object has a duplicate name.
    twice: bool,
}

impl Names<'_> {
    /// Closes the innermost object, whose names begin at `from`; returns `true` once there was a
    /// duplicate. Takes O(n log n) comparisons, and no hashes, whose collisions could be provoked.
    fn close(&mut self, from: usize) -> bool {
        let names = &mut self.open[from..];
        names.sort_unstable();
        self.twice |= names.windows(2).any(|pair| pair[0] == pair[1]);
        self.open.truncate(from);
        self.twice
    }
}

/// Visitor of one part of a value, which keeps nothing but names.
struct Probe<'n, 'de>(&'n mut Names<'de>);

impl<'de> DeserializeSeed<'de> for Probe<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! keeps_nothing {
    ($($visit:ident: $part:ty),*) => {
        $(fn $visit<E>(self, _: $part) -> Result<(), E> {
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for Probe<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    keeps_nothing!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Probe(&mut *self.0))?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let from = self.0.open.len();
        // Names are compared after decoding their escapes.
        while let Some(Name(name)) = map.next_key()? {
            self.0.open.push(name);
            map.next_value_seed(Probe(&mut *self.0))?;
        }
        match self.0.close(from) {
            true => Err(de::Error::custom("an object has a member twice")),
            false => Ok(()),
        }
    }
}

/// Decoded name of a member; borrowed if it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
