//! Single records by key: `hotread set`, `get` and `rm`.

use super::list::{KEY, NONE, print_keys, scan};
use super::{Mode, Session, confirm, from_now, past, position, read_input};
use crate::args::{GetArgs, RmArgs, SetArgs};
use crate::backend::Tables;
use crate::exit::Failure;
use crate::output::{List, Machine, Out, count};
use anyhow::{Context, Result};
use hotread_proto::limits::{MAX_TXN_OPS, MAX_VALUE_BYTES};
use hotread_proto::{
    Code, ErrorBody, InvalidValue, Key, Put, Record, TableName, Timestamp, Txn, Value,
};
use hotread_store::Scan;
use serde_json::value::RawValue;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

/// Longest input, in bytes. No valid value is longer, even with whitespace between its parts; a longer
/// input is not read to its end.
const MAX_INPUT_BYTES: u64 = 2 * MAX_VALUE_BYTES as u64;

pub(super) fn set(session: &Session, args: SetArgs, out: &mut Out) -> Result<()> {
    let (table, key) = (args.table, args.key);
    let value = match (args.value.as_deref(), args.file.as_deref()) {
        (_, Some(file)) => value_of(&read_input(file, MAX_INPUT_BYTES)?, args.string)?,
        (None | Some("-"), None) => {
            value_of(&read_input(Path::new("-"), MAX_INPUT_BYTES)?, args.string)?
        }
        (Some(value), None) => value_of(value.as_bytes(), args.string)?,
    };
    let expires_at = args.expires_at.or_else(|| args.ttl.map(from_now));
    let now = Timestamp::from(SystemTime::now());
    let is_expired = expires_at.is_some_and(|at| at <= now);
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
    session.answer(&committed, &line, out)?;
    if is_expired {
        out.flush()?;
        session.note("the record has expired already, and reads treat it as absent");
    }
    Ok(())
}

fn value_of(bytes: &[u8], string: bool) -> Result<Value> {
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

/// Returns `true` if a record has expired but is not deleted yet, which takes a process that writes.
pub(super) fn expired(record: &Record) -> bool {
    record.is_expired(SystemTime::now())
}

fn not_found(table: &TableName, key: &Key, more: &str) -> anyhow::Error {
    Failure::from(ErrorBody::no_record(table, key, more)).into()
}

pub(super) fn get(session: &Session, args: &GetArgs, out: &mut Out) -> Result<()> {
    let GetArgs { table, keys, .. } = args;
    let several = keys.len() != 1;
    if several && args.string {
        let message = "--string is about one record; name just one key, or give --raw";
        return Err(Failure::usage(message).into());
    }
    let tables = session.tables_for(table, Mode::Read)?;
    if let (Some(prefix), Some(at)) = (&args.prefix, args.at) {
        let at = position(&tables, table, at)?;
        let records = past::with_prefix(&tables, table, prefix.clone(), at)?;
        if records.is_empty() {
            session.note(NONE);
        }
        let mut records = records.iter();
        return records.try_for_each(|record| print(session, record, true, args, out));
    }
    if let Some(prefix) = &args.prefix {
        let range = Scan {
            prefix: prefix.clone(),
            ..Scan::default()
        };
        let mut some = false;
        scan(&tables, table, range, usize::MAX, |page| {
            some = true;
            let mut page = page.iter();
            page.try_for_each(|record| print(session, record, true, args, out))
        })?;
        if !some {
            session.note(NONE);
        }
        return Ok(());
    }
    let records = match args.at {
        Some(at) => past::records(&tables, table, keys, position(&tables, table, at)?)?,
        None => {
            let there = |key: &Key| -> Result<Option<Record>> {
                Ok(tables.get(table, key)?.filter(|record| !expired(record)))
            };
            keys.iter().map(there).collect::<Result<_>>()?
        }
    };
    let mut absent = Vec::new();
    for (key, record) in keys.iter().zip(&records) {
        match record {
            Some(record) => print(session, record, several, args, out)?,
            None => absent.push(key),
        }
    }
    let more = match args.at {
        Some(_) => " at that position",
        None => "; `hotread ls` lists the keys",
    };
    match absent[..] {
        [] => Ok(()),
        [key] => Err(not_found(table, key, more)),
        [key, ..] => {
            let others = count(absent.len() as u64 - 1, "other", "others");
            Err(not_found(table, key, &format!(", nor {others}{more}")))
        }
    }
}

/// Prints a record's value, or with `--json` the record. If there are several, the key comes first.
fn print(
    session: &Session,
    record: &Record,
    several: bool,
    args: &GetArgs,
    out: &mut Out,
) -> Result<()> {
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
            let message = format!("the value of {key:?} is not a string; omit --string");
            Failure::new(Code::InvalidValue, message)
        })?;
        return out.lines(&text);
    }
    if args.raw && record.value().starts_with(b"\"") {
        let text = text().context("the value is not JSON")?;
        return out.lines(&(text + "\n"));
    }
    if several && !args.raw {
        out.word(record.key())?;
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
    let RmArgs { keys, if_seq, .. } = &args;
    if if_seq.is_some() && keys.len() != 1 {
        return Err(Failure::usage("--if-seq is about one record; name just one key").into());
    }
    let mode = if args.dry_run {
        Mode::Read
    } else {
        Mode::Write
    };
    let tables = session.tables_for(&args.table, mode)?;
    if args.prefix.is_some() {
        return rm_prefix(session, &tables, args, out);
    }
    let mut absent = Vec::new();
    let mut keys = args.keys;
    // With a precondition or an id, the store decides about a record that does not exist.
    if args.if_seq.is_none() && args.txn_id.is_none() {
        let mut there = Vec::with_capacity(keys.len());
        for key in keys {
            match tables.get(&args.table, &key)? {
                Some(record) if !expired(&record) => there.push(key),
                _ => absent.push(key),
            }
        }
        keys = there;
    }
    keys.sort_unstable();
    keys.dedup();
    let deleted = count(keys.len() as u64, "record was", "records were");
    if args.dry_run {
        would_delete(session, &keys, out)?;
    } else if !keys.is_empty() {
        let mut txn = Txn::new();
        (txn.id, txn.note) = (args.txn_id, args.note);
        if let (Some(seq), [key]) = (args.if_seq, &keys[..]) {
            txn = txn.if_seq(key.clone(), seq);
        }
        let txn = keys.into_iter().fold(txn, Txn::delete);
        let committed = tables.submit(&args.table, txn)?.wait()?;
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
    let done = match args.dry_run {
        true => String::new(),
        false => format!("; {deleted} deleted"),
    };
    Err(not_found(&args.table, key, &format!("{others}{done}")))
}

/// Prints the keys of the records that would be deleted without `--dry-run`.
fn would_delete(session: &Session, keys: &[Key], out: &mut Out) -> Result<()> {
    let mut list = session
        .json()
        .then(|| List::new(Machine::Ndjson, false, KEY));
    print_keys(keys.iter().map(Key::as_str), list.as_mut(), out)?;
    out.flush()?;
    let would = count(keys.len() as u64, "record", "records");
    session.note(&format!("{would} would be deleted; nothing was done"));
    Ok(())
}

/// Deletes the records whose keys have this prefix.
fn rm_prefix(session: &Session, tables: &Tables, args: RmArgs, out: &mut Out) -> Result<()> {
    let RmArgs { table, note, .. } = args;
    let prefix = args.prefix.unwrap_or_default();
    if prefix.is_empty() {
        let message = "an empty prefix is that of every record; `hotread table drop` drops the table, \
                       and `hotread import --replace --allow-empty` with an empty file empties it";
        return Err(Failure::usage(message).into());
    }
    let range = Scan {
        prefix: prefix.clone(),
        ..Scan::default()
    };
    let mut keys = Vec::new();
    scan(tables, &table, range, usize::MAX, |page| {
        for record in page {
            keys.push(Key::new(record.key())?);
        }
        Ok(())
    })?;
    if args.dry_run {
        return would_delete(session, &keys, out);
    }
    let records = count(keys.len() as u64, "record", "records");
    if !keys.is_empty() {
        let question =
            format!("{records} of table {table} with keys from {prefix:?} will be deleted");
        confirm(args.yes, &question)?;
    }
    let mut last = None;
    for some in keys.chunks(MAX_TXN_OPS) {
        let mut txn = some.iter().cloned().fold(Txn::new(), Txn::delete);
        txn.note = note.clone();
        let committed = tables.submit(&table, txn)?.wait()?;
        if session.json() {
            out.json(&committed)?;
        }
        last = Some(committed.position.seq);
    }
    match last {
        _ if session.json() => Ok(()),
        Some(seq) => out.line(&format!(
            "{} deleted, seq {seq}",
            count(keys.len() as u64, "record was", "records were")
        )),
        None => {
            session.note(NONE);
            Ok(())
        }
    }
}
