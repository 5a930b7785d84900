//! The error of an unreadable body: its place, and a code for the part of the vocabulary that it violates.
//! No value is quoted: values may be secret, and errors are logged.

use crate::error::Failure;
use hotread_proto::{Category, ErrorBody, Key, Note, TableName, Timestamp, TxnId, Value};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::error::Category as Kind;
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// Returns the failure of a body in which `error` was found.
pub(super) fn failure(body: &[u8], error: &serde_json::Error) -> Failure {
    let at = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Kind::Eof | Kind::Io => {
            Failure::bad_request(format!("the body is not JSON: it ends too early at {at}"))
        }
        Kind::Syntax => Failure::bad_request(format!("the body is not JSON: {error}")),
        Kind::Data => misformed(body).unwrap_or_else(|| {
            let message = unquoted(&error.to_string());
            Failure::bad_request(format!("the body is malformed: {message}"))
        }),
    }
}

/// Returns the parser's message without its quotes from the text: `invalid type: string "…", expected u64`.
fn unquoted(message: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: "];
    let start = quotes.iter().find(|quote| message.starts_with(**quote));
    let (Some(start), Some(expected)) = (start, message.rfind(", expected ")) else {
        return message.to_owned();
    };
    let given = &message[start.len()..expected];
    let kind = given.split(['"', '`']).next().unwrap_or_default();
    format!("{start}{}{}", kind.trim_end(), &message[expected..])
}

/// Members whose forms have codes of their own, at any depth, as raw JSON.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Loose<'a> {
    id: Option<&'a RawValue>,
    note: Option<&'a RawValue>,
    tables: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    expires_at: Option<&'a RawValue>,
    value: Option<&'a RawValue>,
    ops: Option<&'a RawValue>,
    put: Option<&'a RawValue>,
    delete: Option<&'a RawValue>,
    #[serde(rename = "if")]
    conditions: Option<&'a RawValue>,
    records: Option<&'a RawValue>,
}

/// Returns the failure of the first member that violates the vocabulary.
fn misformed(body: &[u8]) -> Option<Failure> {
    let body: Loose<'_> = serde_json::from_slice(body).ok()?;
    let record = |raw| record(&parsed(Some(raw))?);
    let op = |raw| {
        let op: Loose<'_> = parsed(Some(raw))?;
        op.put.and_then(record).or_else(|| record(op.delete?))
    };
    self::record(&body)
        .or_else(|| misnamed::<TxnId>(body.id))
        .or_else(|| misnamed::<Note>(body.note))
        .or_else(|| first(body.tables, |raw| misnamed::<TableName>(Some(raw))))
        .or_else(|| first(body.ops, op))
        .or_else(|| first(body.records, record))
        .or_else(|| first(body.conditions, record))
}

/// Returns the failure of a record, with its key.
fn record(record: &Loose<'_>) -> Option<Failure> {
    if let misnamed @ Some(_) = misnamed::<Key>(record.key) {
        return misnamed;
    }
    let failure = misnamed::<Category>(record.category)
        .or_else(|| mistimed(record.expires_at?))
        .or_else(|| Some(Value::parse(record.value?.get().as_bytes()).err()?.into()))?;
    let (key, body) = (parsed(record.key), failure.body().clone());
    Some(ErrorBody { key, ..body }.into())
}

fn parsed<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Returns the failure of a string that is not a valid name.
fn misnamed<T: FromStr<Err: Into<Failure>>>(raw: Option<&RawValue>) -> Option<Failure> {
    Some(parsed::<String>(raw)?.parse::<T>().err()?.into())
}

/// Returns the failure of a string or a number that is not a time.
fn mistimed(raw: &RawValue) -> Option<Failure> {
    let text = raw.get();
    match text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        true => Some(text.parse::<Timestamp>().err()?.into()),
        false => misnamed::<Timestamp>(Some(raw)),
    }
}

/// Returns the first failure among the items of an array, without keeping the items, of which there may be
/// any number.
fn first<'a, F>(array: Option<&'a RawValue>, failure: F) -> Option<Failure>
where
    F: Fn(&'a RawValue) -> Option<Failure>,
{
    struct Items<F>(F);
    impl<'de, F: Fn(&'de RawValue) -> Option<Failure>> Visitor<'de> for Items<F> {
        type Value = Option<Failure>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(item) = items.next_element()? {
                found = found.or_else(|| (self.0)(item));
            }
            Ok(found)
        }
    }
    let mut array = serde_json::Deserializer::from_str(array?.get());
    array.deserialize_seq(Items(failure)).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{Code, Replace, Txn};

    fn txn(body: &str) -> ErrorBody {
        let error = serde_json::from_str::<Txn>(body).unwrap_err();
        failure(body.as_bytes(), &error).body().clone()
    }

    #[test]
    fn each_part_of_the_vocabulary_has_its_code() {
        let deep = format!(r#""value":{}{}"#, "[".repeat(101), "]".repeat(101));
        for (member, code) in [
            (r#""value":1,"category":"""#, Code::InvalidName),
            (r#""value":1,"expires_at":"soon""#, Code::InvalidTime),
            (r#""value":1,"expires_at":-1"#, Code::InvalidTime),
            (r#""value":1,"expires_at":1e300"#, Code::InvalidTime),
            (r#""value":{"a":1,"a":2}"#, Code::InvalidValue),
            (r#""value":"\ud800""#, Code::InvalidValue),
            (&deep, Code::InvalidValue),
        ] {
            let failed = txn(&format!(r#"{{"ops":[{{"put":{{"key":"k",{member}}}}}]}}"#));
            assert_eq!(failed.code, code, "{member}: {}", failed.message);
            assert_eq!(failed.key.as_ref().map(Key::as_str), Some("k"), "{member}");
        }
        for (body, code) in [
            (r#"{"id":"a b","ops":[]}"#, Code::InvalidName),
            (r#"{"ops":[{"delete":{"key":".."}}]}"#, Code::InvalidName),
            (
                r#"{"ops":[],"if":[{"key":"\n","if_seq":1}]}"#,
                Code::InvalidName,
            ),
            (r#"{"ops":[{"putt":{"key":"k"}}]}"#, Code::BadRequest),
            (r#"{"ops":[{"put":{"key":"k"}}]}"#, Code::BadRequest),
            (r#"{"ops":[{"put":{"key":5,"value":1}}]}"#, Code::BadRequest),
            (r#"[]"#, Code::BadRequest),
            (r#"{"ops":["#, Code::BadRequest),
        ] {
            let failed = txn(body);
            assert_eq!(failed.code, code, "{body}: {}", failed.message);
            assert_eq!(failed.key, None, "{body}");
        }
        let body = r#"{"records":[{"key":"","value":1}]}"#;
        let error = serde_json::from_str::<Replace>(body).unwrap_err();
        let failed = failure(body.as_bytes(), &error);
        assert_eq!(failed.body().code, Code::InvalidName);
    }

    #[test]
    fn the_place_is_said_and_no_value_is_quoted() {
        let failed = txn("{\"ops\": [\n{\"put\": {\"key\": \"k\", \"value\": \"secret\", }}]}");
        assert!(failed.message.contains("line 2 column"), "{failed}");
        for body in [
            r#"{"ops":"secret"}"#,
            r#"{"ops":[],"if":[{"key":"k","if_seq":"secret, expected nothing"}]}"#,
            r#"{"ops":[{"put":{"key":"k","value":1,"expires_at":true}},"secret"]}"#,
            r#"{"ops":[{"put":{"key":{"secret":1},"value":"secret"}}]}"#,
        ] {
            let failed = txn(body);
            assert!(!failed.message.contains("secret"), "{failed}");
            assert!(failed.message.contains("expected"), "{failed}");
        }
    }
}
