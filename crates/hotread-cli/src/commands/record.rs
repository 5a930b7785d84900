//! Single records: `hotread set`, `get` and `rm`.

use super::{Mode, Session, from_now};
use crate::args::{GetArgs, RmArgs, SetArgs};
use crate::exit::Failure;
use crate::output::{Out, count};
use anyhow::{Context, Result};
use hotread_proto::limits::MAX_VALUE_BYTES;
use hotread_proto::{Code, ErrorBody, InvalidValue, Key, Put, Record, TableName, Txn, Value};
use std::io::Read;
use std::time::SystemTime;

/// Longer input is refused without being read to its end: white space between the parts of a value
/// included, it is none.
const MAX_INPUT_BYTES: u64 = 2 * MAX_VALUE_BYTES as u64 + 1;

pub(super) fn set(session: &Session, args: SetArgs, out: &mut Out) -> Result<()> {
    let (table, key) = (args.table, args.key);
    let value = read_value(&args.value, args.string)?;
    let expires_at = args.expires_at.or_else(|| args.ttl.map(from_now));
    let mut txn = Txn::new().put(Put {
        key: key.clone(),
        value,
        category: args.category,
        expires_at,
    });
    if let Some(seq) = args.if_seq {
        txn = txn.if_seq(key.clone(), seq);
    }
    if args.if_absent {
        txn = txn.if_absent(key.clone());
    }
    (txn.id, txn.note) = (args.txn_id, args.note);
    let tables = session.tables_for(&table, Mode::Write)?;
    let committed = tables.submit(&table, txn)?.wait()?;
    let line = format!("{key} was set, seq {}", committed.position.seq);
    session.answer(&committed, &line, out)
}

fn read_value(given: &str, string: bool) -> Result<Value> {
    let mut input = Vec::new();
    let bytes = match given {
        "-" => {
            let mut stdin = std::io::stdin().lock().take(MAX_INPUT_BYTES);
            stdin.read_to_end(&mut input).context("cannot read stdin")?;
            &input
        }
        given => given.as_bytes(),
    };
    if string {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let message = format!(
                "the text is not UTF-8 (byte {}); encode it, for example as base64",
                e.valid_up_to()
            );
            Failure::new(Code::InvalidValue, message)
        })?;
        return Ok(Value::string(text)?);
    }
    Value::parse(bytes).map_err(|error| match &error {
        InvalidValue::NotJson { reason } => {
            let message = format!(
                "the value is not JSON: {reason}; give --string if it is meant as text, \
                 or quote it as JSON: '\"text\"'"
            );
            Failure::new(Code::InvalidValue, message).into()
        }
        _ => error.into(),
    })
}

/// Has it expired, and was not deleted yet? That takes a process that writes.
pub(super) fn expired(record: &Record) -> bool {
    record.is_expired(SystemTime::now())
}

fn not_found(table: &TableName, key: &Key, more: &str) -> anyhow::Error {
    Failure::from(ErrorBody::no_record(table, key, more)).into()
}

pub(super) fn get(session: &Session, args: &GetArgs, out: &mut Out) -> Result<()> {
    let GetArgs { table, key, string } = args;
    let tables = session.tables_for(table, Mode::Read)?;
    let record = tables.get(table, key)?.filter(|record| !expired(record));
    let record =
        record.ok_or_else(|| not_found(table, key, "; `hotread ls` lists those that there are"))?;
    if session.json() {
        return out.json(&record);
    }
    if *string {
        let text: String = record.value_as().map_err(|_| {
            let message = format!("the value of {key:?} is not a string; leave out --string");
            Failure::new(Code::InvalidValue, message)
        })?;
        return out.lines(&text);
    }
    out.line(&String::from_utf8_lossy(record.value()))
}

pub(super) fn rm(session: &Session, args: RmArgs, out: &mut Out) -> Result<()> {
    let RmArgs {
        table,
        mut keys,
        if_seq,
        txn_id,
        note,
    } = args;
    if if_seq.is_some() && keys.len() != 1 {
        return Err(Failure::usage("--if-seq is about one record; name just one key").into());
    }
    let tables = session.tables_for(&table, Mode::Write)?;
    let mut absent = Vec::new();
    // With a precondition or an id, the store itself says what it makes of a record that is gone.
    if if_seq.is_none() && txn_id.is_none() {
        let mut there = Vec::with_capacity(keys.len());
        for key in keys {
            match tables.get(&table, &key)? {
                Some(record) if !expired(&record) => there.push(key),
                _ => absent.push(key),
            }
        }
        keys = there;
    }
    keys.sort_unstable();
    keys.dedup();
    let deleted = count(keys.len() as u64, "record was", "records were");
    if !keys.is_empty() {
        let mut txn = Txn::new();
        (txn.id, txn.note) = (txn_id, note);
        if let (Some(seq), [key]) = (if_seq, &keys[..]) {
            txn = txn.if_seq(key.clone(), seq);
        }
        let txn = keys.into_iter().fold(txn, Txn::delete);
        let committed = tables.submit(&table, txn)?.wait()?;
        if session.json() {
            out.json(&committed)?;
        } else if absent.is_empty() {
            out.line(&format!(
                "{deleted} deleted, seq {}",
                committed.position.seq
            ))?;
        }
    }
    let Some(key) = absent.first() else {
        return Ok(());
    };
    let others = match absent.len() as u64 - 1 {
        0 => String::new(),
        others => format!(", nor {}", count(others, "other", "others")),
    };
    let more = format!("{others}; {deleted} deleted");
    Err(not_found(&table, key, &more))
}
