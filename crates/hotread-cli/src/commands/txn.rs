//! `hotread txn`: a transaction as JSON or in lines.

use super::{Mode, Session, read_input};
use crate::args::TxnArgs;
use crate::exit::Failure;
use crate::output::{Out, count};
use anyhow::Result;
use hotread_proto::limits::MAX_TXN_BYTES;
use hotread_proto::{Code, Key, Note, Object, Put, Txn, TxnId, Value};
use std::fmt::Display;
use std::path::Path;

/// Longest input, in bytes: a transaction of the largest size with every byte as an escape of six, and
/// room for the names of its members.
const MAX_INPUT_BYTES: u64 = 7 * MAX_TXN_BYTES as u64;

pub(super) fn run(session: &Session, args: TxnArgs, out: &mut Out) -> Result<()> {
    let TxnArgs { table, file, .. } = args;
    let mut txn = read(&file)?;
    txn.id = args.txn_id.or(txn.id);
    txn.note = args.note.or(txn.note);
    let ops = txn.ops.len() as u64;
    let tables = session.tables_for(&table, Mode::Write)?;
    let committed = tables.submit(&table, txn)?.wait()?;
    if session.json() {
        return out.json(&committed);
    }
    let done = count(ops, "operation was", "operations were");
    out.line(&format!("{done} committed, seq {}", committed.position.seq))
}

fn read(file: &Path) -> Result<Txn> {
    let input = read_input(file, MAX_INPUT_BYTES)?;
    let bad = |what: String| Failure::new(Code::BadRequest, what);
    if input.len() as u64 > MAX_INPUT_BYTES {
        return Err(bad(format!(
            "the transaction is longer than {MAX_INPUT_BYTES} bytes"
        ))
        .into());
    }
    if input.trim_ascii_start().starts_with(b"{") {
        let Object(txn) = serde_json::from_slice(&input).map_err(|error| {
            bad(format!(
                "the transaction cannot be read: {error}; `hotread txn --help` shows its form"
            ))
        })?;
        return Ok(txn);
    }
    let text = std::str::from_utf8(&input).map_err(|e| bad(format!("not UTF-8: {e}")))?;
    let mut txn = Txn::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        txn = add(txn, line).map_err(|error| bad(format!("line {}: {error}", at + 1)))?;
    }
    Ok(txn)
}

/// Adds the operation or condition of a line to a transaction.
fn add(mut txn: Txn, line: &str) -> Result<Txn, String> {
    let (word, rest) = word(line);
    match word {
        "put" | "set" => {
            let (key, value) = key(rest)?;
            let value = Value::parse(value.as_bytes()).map_err(said)?;
            Ok(txn.put(Put::new(key, value)))
        }
        "delete" | "del" | "rm" => match key(rest)? {
            (key, "") => Ok(txn.delete(key)),
            (_, more) => Err(format!(
                "{more:?} is not expected; put a key with blanks in \"\""
            )),
        },
        "if" => {
            let (key, condition) = key(rest)?;
            match self::word(condition) {
                ("absent", "") => Ok(txn.if_absent(key)),
                ("present", "") => Ok(txn.if_present(key)),
                ("seq", seq) => match seq.parse() {
                    Ok(seq) => Ok(txn.if_seq(key, seq)),
                    Err(_) => Err(format!("{seq:?} is not a sequence number")),
                },
                _ => Err("a condition is `if KEY absent`, `present` or `seq N`".to_owned()),
            }
        }
        "note" => {
            txn.note = Some(Note::new(rest).map_err(said)?);
            Ok(txn)
        }
        "id" => {
            txn.id = Some(TxnId::new(rest).map_err(said)?);
            Ok(txn)
        }
        _ => Err(format!(
            "{word:?} is not one of put, delete, if, note and id"
        )),
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}

/// Splits off the first word.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Splits off a key, as a word or as a JSON string.
fn key(text: &str) -> Result<(Key, &str), String> {
    if !text.starts_with('"') {
        let (name, rest) = word(text);
        return Ok((Key::new(name).map_err(said)?, rest));
    }
    let mut parts = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = parts.next().and_then(Result::ok);
    let name = name.ok_or("the key is not a JSON string")?;
    let rest = text[parts.byte_offset()..].trim_start();
    Ok((Key::new(&name).map_err(said)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Txn, String> {
        text.lines().try_fold(Txn::new(), add)
    }

    #[test]
    fn lines_say_what_json_says() {
        let text = "put a {\"x\": 1.0}\nput \"b c\" [1]\ndelete d\nrm \"e \\\"f\\\"\"\n\
                    if a seq 12\nif b absent\nif \"c d\" present\nnote moved one\nid deploy-7";
        let json = r#"{"id":"deploy-7","note":"moved one",
            "ops":[{"put":{"key":"a","value":{"x":1.0}}},{"put":{"key":"b c","value":[1]}},
                   {"delete":{"key":"d"}},{"delete":{"key":"e \"f\""}}],
            "if":[{"key":"a","if_seq":12},{"key":"b","if_absent":true},{"key":"c d","if_present":true}]}"#;
        let expected: Txn = serde_json::from_str(json).unwrap();
        assert_eq!(lines(text), Ok(expected));
    }

    #[test]
    fn lines_that_say_nothing_are_refused() {
        for line in [
            "put a",
            "put a oops",
            "put",
            "delete a b",
            "delete \"a",
            "if a",
            "if a seq x",
            "if a seq 1 2",
            "get a",
            "note",
            "id a b",
        ] {
            assert!(lines(line).is_err(), "{line}");
        }
    }
}
