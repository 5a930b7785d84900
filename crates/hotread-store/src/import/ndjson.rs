//! Rows of newline-delimited JSON: an object on each line.

use super::error::cut;
use super::source::Source;
use super::{ImportError, MAX_ROW_BYTES, MAX_SKIPPED_BYTES, Row, RowError, RowReason};
use hotread_proto::{Category, InvalidName, InvalidTimestamp, Key, Put, Timestamp, Value};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::io::Read;

/// How many lines have been taken.
#[derive(Default)]
pub(super) struct Ndjson {
    lines: u64,
}

impl Ndjson {
    pub(super) fn next_row<R: Read>(
        &mut self,
        source: &mut Source<R>,
    ) -> Result<Option<Result<Row, RowError>>, ImportError> {
        let mut seen = 0;
        loop {
            let unread = source.unread();
            let (bytes, ended) = match memchr::memchr(b'\n', &unread[seen..]) {
                Some(at) => (seen + at, true),
                None if unread.len() > MAX_ROW_BYTES => (unread.len(), false),
                None => {
                    seen = unread.len();
                    if source.more()? {
                        continue;
                    }
                    if seen == 0 {
                        return Ok(None);
                    }
                    (seen, true)
                }
            };
            self.lines += 1;
            let line = self.lines;
            if bytes > MAX_ROW_BYTES {
                source.take(bytes);
                skip(source, bytes, ended, line)?;
                let reason = RowReason::TooLong;
                return Ok(Some(Err(RowError { line, reason })));
            }
            let text = &source.unread()[..bytes];
            let row = if text.iter().all(u8::is_ascii_whitespace) {
                None
            } else {
                Some(record(text))
            };
            source.take(bytes);
            take_line_end(source);
            seen = 0;
            match row {
                Some(Ok(put)) => return Ok(Some(Ok(Row { line, put }))),
                Some(Err(reason)) => return Ok(Some(Err(RowError { line, reason }))),
                None => {}
            }
        }
    }
}

/// The LF, which only the last line may lack.
fn take_line_end<R: Read>(source: &mut Source<R>) {
    if source.unread().first() == Some(&b'\n') {
        source.take(1);
    }
}

/// Skips the rest of a line of which so many bytes were taken; `ended` if that was all of it.
fn skip<R: Read>(
    source: &mut Source<R>,
    mut skipped: usize,
    mut ended: bool,
    line: u64,
) -> Result<(), ImportError> {
    while !ended {
        let unread = source.unread();
        let end = memchr::memchr(b'\n', unread);
        let bytes = end.unwrap_or(unread.len());
        skipped += bytes;
        source.take(bytes);
        if skipped > MAX_SKIPPED_BYTES {
            return Err(ImportError::Endless { line });
        }
        ended = end.is_some() || !source.more()?;
    }
    take_line_end(source);
    Ok(())
}

fn record(line: &[u8]) -> Result<Put, RowReason> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|e| not_json(&e))?;
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

/// A name's text, decoded and checked.
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

/// Milliseconds as a number, or a time as a string.
fn time(json: &RawValue) -> Result<Timestamp, RowReason> {
    let parse = |text: &str| -> Result<Timestamp, InvalidTimestamp> { text.parse() };
    Ok(if json.get().starts_with('"') {
        decode(json, parse)??
    } else {
        parse(json.get())?
    })
}

/// Hands the text of a JSON string to `read`, without a copy of it unless it has escapes.
fn decode<T>(json: &RawValue, read: impl FnOnce(&str) -> T) -> Result<T, RowReason> {
    struct Text<F>(F);

    impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
        type Value = T;
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            deserializer.deserialize_str(self)
        }
    }
    impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E>(self, text: &str) -> Result<T, E> {
            Ok((self.0)(text))
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    Text(read)
        .deserialize(&mut deserializer)
        .map_err(|e| not_json(&e))
}

/// The parser's complaint, with the column only: it counts lines from the row's own.
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

/// A line taken apart.
#[derive(Default)]
struct Fields<'a> {
    key: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    expires_at: Option<&'a RawValue>,
    /// The first field that should not be there. It counts once the line is known to be JSON.
    wrong: Option<RowReason>,
}

enum Field {
    Key,
    Value,
    Category,
    ExpiresAt,
    /// Written by HotRead, and not read: the table that the record comes to decides anew.
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

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LineVisitor;
        impl<'de> Visitor<'de> for LineVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
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
