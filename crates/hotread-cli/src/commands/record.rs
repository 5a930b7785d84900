//! Single records: `hotread set`, `get` and `rm`.

use super::{Mode, Session};
use crate::args::{GetArgs, RmArgs, SetArgs};
use crate::exit::Failure;
use crate::output::{Out, count};
use anyhow::{Context, Result};
use hotread_proto::limits::MAX_VALUE_BYTES;
use hotread_proto::{
    Code, ErrorBody, InvalidValue, Key, Put, Record, TableName, Timestamp, Txn, Value,
};
use serde_json::value::RawValue;
use std::io::Read;
use std::time::SystemTime;

/// Longer input is refused without being read to its end: white space between the parts of a value
/// included, it is none.
const MAX_INPUT_BYTES: u64 = 2 * MAX_VALUE_BYTES as u64 + 1;

pub(super) fn set(session: &Session, args: SetArgs, out: &mut Out) -> Result<()> {
    let SetArgs {
        table,
        key,
        category,
        ..
    } = args;
    let value = read_value(&args.value, args.string)?;
    let expires_at = args.expires_at.or_else(|| {
        args.ttl
            .map(|ttl| Timestamp::from(SystemTime::now()).saturating_add(ttl))
    });
    let mut txn = Txn::new().put(Put {
        key: key.clone(),
        value,
        category,
        expires_at,
    });
    if let Some(seq) = args.if_seq {
        txn = txn.if_seq(key.clone(), seq);
    }
    if args.if_absent {
        txn = txn.if_absent(key.clone());
    }
    txn.id = args.txn_id;
    txn.note = args.note;
    let committed = session
        .tables_for(&table, Mode::Write)?
        .commit(&table, txn)?;
    if session.json() {
        return out.json(&committed);
    }
    out.line(&format!("{key} was set, seq {}", committed.position.seq))
}

fn read_value(given: &str, string: bool) -> Result<Value> {
    let mut input = Vec::new();
    let bytes = match given {
        "-" => {
            let stdin = std::io::stdin().lock();
            stdin
                .take(MAX_INPUT_BYTES)
                .read_to_end(&mut input)
                .context("cannot read stdin")?;
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
    let GetArgs { table, key, .. } = args;
    let tables = session.tables_for(table, Mode::Read)?;
    let record = tables.get(table, key)?.filter(|record| !expired(record));
    let Some(record) = record else {
        let more = "; `hotread ls` lists those that there are";
        return Err(not_found(table, key, more));
    };
    print(session, &record, args, out)
}

/// Prints a record's value, or with `--json` the record.
fn print(session: &Session, record: &Record, args: &GetArgs, out: &mut Out) -> Result<()> {
    if session.json() {
        return match args.pretty {
            true => out.pretty(record),
            false => out.json(record),
        };
    }
    let text = || record.value_as::<String>();
    if args.string {
        let text = text().map_err(|_| {
            let key = record.key();
            let message = format!("the value of {key:?} is not a string; leave out --string");
            Failure::new(Code::InvalidValue, message)
        })?;
        return out.lines(&text);
    }
    if args.raw && record.value().starts_with(b"\"") {
        let text = text().context("the value is not JSON")?;
        return out.lines(&(text + "\n"));
    }
    if args.pretty {
        return out.pretty(
            &record
                .value_as::<&RawValue>()
                .context("the value is not JSON")?,
        );
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
        let mut txn = Txn {
            id: txn_id,
            note,
            ..Txn::new()
        };
        if let (Some(seq), [key]) = (if_seq, &keys[..]) {
            txn = txn.if_seq(key.clone(), seq);
        }
        let txn = keys.into_iter().fold(txn, Txn::delete);
        let committed = tables.commit(&table, txn)?;
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
    Err(not_found(
        &table,
        key,
        &format!("{others}; {deleted} deleted"),
    ))
}
