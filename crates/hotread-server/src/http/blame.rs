//! What is wrong with a body that could not be read: its place, and a code that says which part of
//! the vocabulary it breaks. No value is quoted: values may be secret, and errors are logged.

use crate::error::Failure;
use hotread_proto::{
    Category, ErrorBody, InvalidTimestamp, Key, Note, TableName, Timestamp, TxnId, Value,
};
use serde::Deserialize;
use serde_json::error::Category as Kind;
use serde_json::value::RawValue;

/// The failure of a body that `error` was found in.
pub(super) fn failure(body: &[u8], error: &serde_json::Error) -> Failure {
    let at = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Kind::Eof | Kind::Io => {
            Failure::bad_request(format!("the body is not JSON: it ends too early at {at}"))
        }
        Kind::Syntax => Failure::bad_request(format!("the body is not JSON: {error}")),
        Kind::Data => name(body).unwrap_or_else(|| {
            let message = unquoted(&error.to_string());
            Failure::bad_request(format!("the body does not have the right form: {message}"))
        }),
    }
}

/// The parser's words without what they quote of the text: `invalid type: string "…", expected u64`.
fn unquoted(message: &str) -> String {
    let quotes = ["invalid type: ", "invalid value: "];
    let expected = message.rfind(", expected ");
    match (
        quotes.iter().find(|quote| message.starts_with(**quote)),
        expected,
    ) {
        (Some(start), Some(expected)) => {
            let given = &message[start.len()..expected];
            let kind = given.split(['"', '`']).next().unwrap_or_default();
            format!("{start}{}{}", kind.trim_end(), &message[expected..])
        }
        _ => message.to_owned(),
    }
}

/// The members whose forms have codes of their own, wherever they may stand, read without looking at
/// them.
#[derive(Deserialize)]
struct Loose<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    note: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ops: Vec<LooseOp<'a>>,
    #[serde(borrow, default, rename = "if")]
    conditions: Vec<LooseFields<'a>>,
    #[serde(borrow, default)]
    records: Vec<LooseFields<'a>>,
    #[serde(borrow, default)]
    tables: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct LooseOp<'a> {
    #[serde(borrow, default)]
    put: Option<LooseFields<'a>>,
    #[serde(borrow, default)]
    delete: Option<LooseFields<'a>>,
}

#[derive(Deserialize)]
struct LooseFields<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    category: Option<&'a RawValue>,
    #[serde(borrow, default)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// The first member that breaks the vocabulary.
fn name(body: &[u8]) -> Option<Failure> {
    // Of a record's own body, the members stand outside.
    let outside = serde_json::from_slice::<LooseFields<'_>>(body).ok();
    let inside = serde_json::from_slice::<Loose<'_>>(body).ok();
    let outside = outside.into_iter().filter_map(|fields| fields.failure());
    let inside = inside.into_iter().filter_map(|loose| loose.failure());
    outside.chain(inside).next()
}

/// A string that does not have the form of a name.
fn misnamed<T: std::str::FromStr>(raw: Option<&RawValue>) -> Option<T::Err> {
    let text: String = serde_json::from_str(raw?.get()).ok()?;
    text.parse::<T>().err()
}

/// A string or a number that is no time.
fn mistimed(raw: Option<&RawValue>) -> Option<InvalidTimestamp> {
    let text = raw?.get();
    match text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        true => text.parse::<Timestamp>().err(),
        false => misnamed::<Timestamp>(raw),
    }
}

impl Loose<'_> {
    fn failure(&self) -> Option<Failure> {
        if let Some(error) = misnamed::<TxnId>(self.id) {
            return Some(error.into());
        }
        if let Some(error) = misnamed::<Note>(self.note) {
            return Some(error.into());
        }
        let tables = self.tables.iter().flatten();
        if let Some(error) = tables
            .filter_map(|raw| misnamed::<TableName>(Some(raw)))
            .next()
        {
            return Some(error.into());
        }
        let ops = self.ops.iter().flat_map(|op| [&op.put, &op.delete]);
        let all = ops.flatten().chain(&self.records).chain(&self.conditions);
        all.filter_map(LooseFields::failure).next()
    }
}

impl LooseFields<'_> {
    fn failure(&self) -> Option<Failure> {
        if let Some(error) = misnamed::<Key>(self.key) {
            return Some(error.into());
        }
        let failure = self.rest()?;
        // Of many records, which one it is.
        let key = self
            .key
            .and_then(|raw| serde_json::from_str(raw.get()).ok());
        Some(Failure::from(ErrorBody {
            key,
            ..failure.body().clone()
        }))
    }

    fn rest(&self) -> Option<Failure> {
        if let Some(error) = misnamed::<Category>(self.category) {
            return Some(error.into());
        }
        if let Some(error) = mistimed(self.expires_at) {
            return Some(error.into());
        }
        let value = self.value?.get();
        Value::parse(value.as_bytes()).err().map(Failure::from)
    }
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
        let deep = "[".repeat(101) + &"]".repeat(101);
        for (body, code, key) in [
            (r#"{"id":"a b","ops":[]}"#, Code::InvalidName, None),
            (
                r#"{"ops":[{"delete":{"key":".."}}]}"#,
                Code::InvalidName,
                None,
            ),
            (
                r#"{"ops":[{"put":{"key":"k","value":1,"category":""}}]}"#,
                Code::InvalidName,
                Some("k"),
            ),
            (
                r#"{"ops":[{"put":{"key":"k","value":1,"expires_at":"soon"}}]}"#,
                Code::InvalidTime,
                Some("k"),
            ),
            (
                r#"{"ops":[{"put":{"key":"k","value":1,"expires_at":-1}}]}"#,
                Code::InvalidTime,
                Some("k"),
            ),
            (
                r#"{"ops":[{"put":{"key":"k","value":1,"expires_at":1e300}}]}"#,
                Code::InvalidTime,
                Some("k"),
            ),
            (
                r#"{"ops":[{"put":{"key":"k","value":{"a":1,"a":2}}}]}"#,
                Code::InvalidValue,
                Some("k"),
            ),
            (
                r#"{"ops":[{"put":{"key":"k","value":"\ud800"}}]}"#,
                Code::InvalidValue,
                Some("k"),
            ),
            (
                &format!(r#"{{"ops":[{{"put":{{"key":"k","value":{deep}}}}}]}}"#),
                Code::InvalidValue,
                Some("k"),
            ),
            (
                r#"{"ops":[],"if":[{"key":"\n","if_seq":1}]}"#,
                Code::InvalidName,
                None,
            ),
            (r#"{"ops":[{"putt":{"key":"k"}}]}"#, Code::BadRequest, None),
            (r#"{"ops":[{"put":{"key":"k"}}]}"#, Code::BadRequest, None),
            (
                r#"{"ops":[{"put":{"key":5,"value":1}}]}"#,
                Code::BadRequest,
                None,
            ),
            (r#"[]"#, Code::BadRequest, None),
            (r#"{"ops":["#, Code::BadRequest, None),
        ] {
            let failed = txn(body);
            assert_eq!(failed.code, code, "{body}: {}", failed.message);
            assert_eq!(failed.key.as_ref().map(Key::as_str), key, "{body}");
        }
        let body = r#"{"records":[{"key":"","value":1}]}"#;
        let error = serde_json::from_str::<Replace>(body).unwrap_err();
        assert_eq!(
            failure(body.as_bytes(), &error).body().code,
            Code::InvalidName
        );
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
