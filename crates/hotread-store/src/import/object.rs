//! JSON objects as records.

use super::RowReason;
use super::error::cut;
use super::keys::Keys;
use super::options::Options;
use super::types::json_string;
use hotread_proto::{Category, InvalidName, InvalidTimestamp, Key, Put, Timestamp, Value};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The conversion of objects to records.
pub(super) struct Objects {
    /// The members of the key, unless the objects are in the form of exports.
    names: Vec<String>,
    keys: Keys,
    keep_key: bool,
    /// The value of the current row, as JSON.
    json: Vec<u8>,
}

impl Objects {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            names: options.key.clone(),
            keys: Keys::new(options, (0..options.key.len()).collect()),
            keep_key: options.keep_key,
            json: Vec::new(),
        }
    }

    pub(super) fn record(&mut self, row: &[u8]) -> Result<Put, RowReason> {
        let record = match self.names.is_empty() {
            true => exported(row),
            false => self.keyed(row),
        };
        // The parser's message would not name the encoding as the cause.
        record.map_err(|reason| match (&reason, std::str::from_utf8(row)) {
            (RowReason::NotJson { .. }, Err(error)) => RowReason::RowNotUtf8 {
                at: error.valid_up_to(),
            },
            _ => reason,
        })
    }

    /// Converts a row whose key is one or more of its members.
    fn keyed(&mut self, row: &[u8]) -> Result<Put, RowReason> {
        let mut members = Members {
            names: &self.names,
            parts: vec![None; self.names.len()],
            twice: None,
            others: (!self.keep_key).then_some(&mut self.json),
        };
        let mut parser = serde_json::Deserializer::from_slice(row);
        let read = members.visit(&mut parser).and_then(|()| parser.end());
        read.map_err(|e| not_json(&e))?;
        let Members { parts, twice, .. } = members;
        let cut_name = |at: usize| cut(&self.names[at]).to_owned();
        if let Some(at) = twice {
            let member = cut_name(at);
            return Err(RowReason::KeyTwice { member });
        }
        let part = |&at: &usize| match parts[at].map(RawValue::get) {
            None => Err(RowReason::NoKey {
                member: cut_name(at),
            }),
            Some(text) => match text.as_bytes()[0] {
                b'"' => serde_json::from_str(text)
                    .map(|Text(text)| text)
                    .map_err(|e| not_json(&e)),
                b'-' | b'0'..=b'9' => Ok(Cow::Borrowed(text)),
                _ => Err(RowReason::KeyType {
                    member: cut_name(at),
                }),
            },
        };
        let key = self.keys.join(part)?;
        let value = if self.keep_key { row } else { &self.json };
        Ok(Put::new(key, Value::parse(value)?))
    }

    /// Returns the bytes of all buffers.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.json.capacity()
    }
}

/// The members of a row, of which some are the key, and the others the value.
struct Members<'n, 'de> {
    names: &'n [String],
    /// The members with these names.
    parts: Vec<Option<&'de RawValue>>,
    /// A duplicate member of the key.
    twice: Option<usize>,
    /// The other members, as an object.
    others: Option<&'n mut Vec<u8>>,
}

impl<'de> Members<'_, 'de> {
    fn visit(
        &mut self,
        parser: impl Deserializer<'de, Error = serde_json::Error>,
    ) -> serde_json::Result<()> {
        if let Some(json) = &mut self.others {
            json.clear();
            json.push(b'{');
        }
        parser.deserialize_map(&mut *self)?;
        if let Some(json) = &mut self.others {
            json.push(b'}');
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            if let Some(at) = self.names.iter().position(|key| *key == name) {
                if self.parts[at].replace(value).is_some() {
                    self.twice = Some(at);
                }
            } else if let Some(json) = &mut self.others {
                if json.len() > 1 {
                    json.push(b',');
                }
                json_string(json, &name);
                json.push(b':');
                json.extend_from_slice(value.get().as_bytes());
            }
        }
        Ok(())
    }
}

/// A name, decoded; borrowed if it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Converts a row in the form of exports.
fn exported(row: &[u8]) -> Result<Put, RowReason> {
    let fields: Exported<'_> = serde_json::from_slice(row).map_err(|e| not_json(&e))?;
    if let Some(reason) = fields.wrong {
        return Err(reason);
    }
    let missing = |field| RowReason::MissingField { field };
    let key = fields.key.ok_or_else(|| missing("key"))?;
    let value = fields.value.ok_or_else(|| missing("value"))?;
    Ok(Put {
        key: name("key", key, Key::new)?,
        category: match fields.category {
            Some(category) => name("category", category, Category::new)?,
            None => Category::GENERAL,
        },
        expires_at: match fields.expires_at {
            Some(at) if at.get() != "null" => Some(time(at)?),
            _ => None,
        },
        value: Value::parse(value.get().as_bytes())?,
    })
}

/// Decodes and checks a name.
fn name<T>(
    field: &'static str,
    json: &RawValue,
    check: impl FnOnce(&str) -> Result<T, InvalidName>,
) -> Result<T, RowReason> {
    if !json.get().starts_with('"') {
        return Err(RowReason::NotString { field });
    }
    Ok(decode(json, check)??)
}

/// Reads a time from milliseconds as a number, or from a string.
fn time(json: &RawValue) -> Result<Timestamp, RowReason> {
    let parse = |text: &str| -> Result<Timestamp, InvalidTimestamp> { text.parse() };
    Ok(if json.get().starts_with('"') {
        decode(json, parse)??
    } else {
        parse(json.get())?
    })
}

/// Passes the text of a JSON string to `read`, without a copy unless it has escapes.
fn decode<T>(json: &RawValue, read: impl FnOnce(&str) -> T) -> Result<T, RowReason> {
    let text: Text<'_> = serde_json::from_str(json.get()).map_err(|e| not_json(&e))?;
    Ok(read(&text.0))
}

/// Returns the parser's message, with the column only: the parser counts lines from the row's own.
fn not_json(error: &serde_json::Error) -> RowReason {
    if error.is_data() {
        return RowReason::NotObject;
    }
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    RowReason::NotJson {
        reason: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
        column,
    }
}

/// The members of a row in the form of exports.
#[derive(Default)]
struct Exported<'a> {
    key: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    expires_at: Option<&'a RawValue>,
    /// The first unknown or duplicate member. It is reported once the row is known to be JSON.
    wrong: Option<RowReason>,
}

enum Field {
    Key,
    Value,
    Category,
    ExpiresAt,
    /// Written by exports, and ignored: the target table sets it.
    Ignored,
    Unknown(String),
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl Visitor<'_> for FieldVisitor {
            type Value = Field;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Field, E> {
                Ok(match name {
                    "key" => Field::Key,
                    "value" => Field::Value,
                    "category" => Field::Category,
                    "expires_at" => Field::ExpiresAt,
                    "seq" | "updated_at" | "h" => Field::Ignored,
                    _ => Field::Unknown(cut(name).to_owned()),
                })
            }
        }
        deserializer.deserialize_identifier(FieldVisitor)
    }
}

impl<'de> Deserialize<'de> for Exported<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineVisitor;
        impl<'de> Visitor<'de> for LineVisitor {
            type Value = Exported<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Exported<'de>, A::Error> {
                let mut fields = Exported::default();
                while let Some(field) = map.next_key()? {
                    let (field, place) = match field {
                        Field::Key => ("key", &mut fields.key),
                        Field::Value => ("value", &mut fields.value),
                        Field::Category => ("category", &mut fields.category),
                        Field::ExpiresAt => ("expires_at", &mut fields.expires_at),
                        Field::Ignored => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                        Field::Unknown(field) => {
                            map.next_value::<IgnoredAny>()?;
                            let unknown = RowReason::UnknownField { field };
                            fields.wrong.get_or_insert(unknown);
                            continue;
                        }
                    };
                    if place.replace(map.next_value()?).is_some() {
                        let twice = RowReason::DuplicateField { field };
                        fields.wrong.get_or_insert(twice);
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(LineVisitor)
    }
}
