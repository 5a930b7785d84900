//! `hotread history`.

use super::{Mode, Session, position};
use crate::args::{DEFAULT_CHANGES, HistoryArgs};
use crate::output::{List, Out, count, pick};
use anyhow::{Context, Result};
use hotread_proto::{
    Actor, Change, ChangeOp, Digest, Epoch, MAX_CHANGES, Note, Position, Record, Removal, Timestamp,
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::io::Write;
use std::mem::take;

/// Columns of the table; those for values, actors and notes are optional.
const HEADING: [&str; 7] = ["SEQ", "TIME", "", "KEY", "VALUE", "ACTOR", "NOTE"];
/// Operations of a transaction that are shown without `--full`.
const SHOWN: usize = 10;

/// A transaction as JSON. The digest and the number of records are those after the transaction.
#[derive(Serialize)]
struct ChangeJson<'a> {
    epoch: Epoch,
    seq: u64,
    at: Timestamp,
    digest: Digest,
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a Note>,
    ops: Vec<OpJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum OpJson<'a> {
    Put(&'a Record),
    #[serde(rename = "put")]
    PutKey {
        key: &'a str,
    },
    Delete {
        key: &'a str,
        #[serde(skip_serializing_if = "Removal::is_deleted")]
        cause: Removal,
    },
}

/// Columns of CSV, with a row for each operation.
const COLUMNS: &[&str] = &[
    "epoch", "seq", "at", "op", "key", "value", "cause", "actor", "note",
];

/// An operation as a row.
#[derive(Serialize)]
struct OpRow<'a> {
    epoch: Epoch,
    seq: u64,
    at: Timestamp,
    op: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Removal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a Note>,
}

pub(super) fn run(session: &Session, args: &HistoryArgs, out: &mut Out) -> Result<()> {
    let table = &args.table;
    let mut list = session.list(args.format, COLUMNS)?;
    let tables = session.tables_for(table, Mode::Read)?;
    let usual = match &list {
        None if !args.all => DEFAULT_CHANGES,
        _ => usize::MAX,
    };
    let limit = args.limit.unwrap_or(usual);
    let info = tables.table(table)?;
    let head = info.position;
    // If the history is cut during the read, the store returns an error.
    let kept = info.floor.saturating_sub(1).min(head.seq);
    let chosen = args.key.is_some() || args.prefix.is_some();
    // The last matching transactions are known only when all have been read.
    let tail = chosen && args.from.is_none() && limit < usize::MAX;
    // Transactions that precede those shown.
    let mut earlier = 0;
    let mut from = match args.from {
        Some(from) => position(&tables, table, from)?,
        None if tail => Position { seq: kept, ..head },
        None => {
            let seq = head.seq.saturating_sub(limit as u64).max(kept);
            earlier = seq - kept;
            Position { seq, ..head }
        }
    };
    let mut shown = Shown::default();
    let mut last = VecDeque::new();
    let mut left = limit;
    while left > 0 || tail {
        let most = if chosen {
            MAX_CHANGES
        } else {
            left.min(MAX_CHANGES)
        };
        let mut changes = tables.changes(table, from, most)?;
        let Some(end) = changes.last() else { break };
        from = end.position;
        if chosen {
            changes.retain_mut(|change| {
                change.ops.retain(|op| is_chosen(op.key(), args));
                !change.ops.is_empty()
            });
        }
        if tail {
            last.extend(changes);
            let too_many = last.len().saturating_sub(limit);
            earlier += too_many as u64;
            last.drain(..too_many);
            continue;
        }
        if changes.len() > left {
            changes.truncate(left);
            from = changes.last().map_or(from, |change| change.position);
        }
        left -= changes.len();
        shown.add(&changes, args, list.as_mut(), out)?;
    }
    shown.add(last.make_contiguous(), args, list.as_mut(), out)?;
    if let Some(list) = list {
        list.end(out)?;
    }
    out.flush()?;
    if !shown.some {
        session.note("no transactions");
    }
    if earlier > 0 {
        let earlier = count(earlier, "earlier transaction", "earlier transactions");
        let text = format!("the history has {earlier}; give --limit N or --all");
        session.tell_cut(&text, None);
    } else if left == 0 && from.epoch == head.epoch && from.seq < head.seq {
        session.tell_cut(
            &format!("there may be more: continue with --from {from}"),
            None,
        );
    }
    Ok(())
}

/// Returns `true` if `--key` or `--prefix` selects operations on this key.
fn is_chosen(key: &str, args: &HistoryArgs) -> bool {
    let named = args.key.as_ref().is_none_or(|it| it.as_str() == key);
    named
        && args
            .prefix
            .as_ref()
            .is_none_or(|prefix| key.starts_with(prefix))
}

/// State of a history that is being printed.
#[derive(Default)]
struct Shown {
    some: bool,
    /// Columns of the table's last heading.
    columns: Option<[bool; HEADING.len()]>,
}

impl Shown {
    fn add(
        &mut self,
        changes: &[Change],
        args: &HistoryArgs,
        list: Option<&mut List>,
        out: &mut Out,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.some = true;
        if let Some(list) = list {
            let mut changes = changes.iter();
            return changes.try_for_each(|change| print(change, args.values, list, out));
        }
        let actor = changes.iter().any(|change| change.actor.is_some());
        let note = changes.iter().any(|change| change.note.is_some());
        let columns = [true, true, true, true, args.values, actor, note];
        let heading = match self.columns == Some(columns) {
            true => Vec::new(),
            false => pick(HEADING, columns),
        };
        let rows = changes.iter().flat_map(|change| rows(change, args.full));
        out.table(&heading, rows.map(|row| pick(row, columns)))?;
        self.columns = Some(columns);
        Ok(())
    }
}

/// Prints a transaction for programs.
fn print(change: &Change, values: bool, list: &mut List, out: &mut Out) -> Result<()> {
    if !list.is_csv() {
        return list.row(&json(change, values), out);
    }
    for op in &change.ops {
        let (record, cause) = match op {
            ChangeOp::Put(record) => (Some(record), None),
            ChangeOp::Delete { cause, .. } => (None, Some(*cause)),
        };
        let value = record.filter(|_| values).map(|record| record.value_as());
        let row = OpRow {
            epoch: change.position.epoch,
            seq: change.position.seq,
            at: change.at,
            op: name(op),
            key: op.key(),
            value: value.transpose().context("the value is not JSON")?,
            cause: cause.filter(|cause| !cause.is_deleted()),
            actor: change.actor.as_ref(),
            note: change.note.as_ref(),
        };
        list.row(&row, out)?;
    }
    Ok(())
}

fn json(change: &Change, values: bool) -> ChangeJson<'_> {
    let ops = change.ops.iter().map(|op| match op {
        ChangeOp::Put(record) if values => OpJson::Put(record),
        ChangeOp::Put(record) => OpJson::PutKey { key: record.key() },
        ChangeOp::Delete { key, cause } => OpJson::Delete {
            key: key.as_str(),
            cause: *cause,
        },
    });
    ChangeJson {
        epoch: change.position.epoch,
        seq: change.position.seq,
        at: change.at,
        digest: change.digest,
        records: change.records,
        id: change.id.as_ref().map(|(id, _)| id.as_str()),
        actor: change.actor.as_ref(),
        note: change.note.as_ref(),
        ops: ops.collect(),
    }
}

/// Returns an operation in a word, for programs.
fn name(op: &ChangeOp) -> &'static str {
    match op {
        ChangeOp::Put(_) => "put",
        ChangeOp::Delete { .. } => "delete",
    }
}

/// Returns an operation in a word; human-readable.
fn verb(op: &ChangeOp) -> &'static str {
    match op {
        ChangeOp::Put(_) => "put",
        ChangeOp::Delete { cause, .. } if *cause == Removal::Expired => "expire",
        ChangeOp::Delete { .. } => "delete",
    }
}

fn rows(change: &Change, full: bool) -> Vec<[String; 7]> {
    let shown = if full { usize::MAX } else { SHOWN };
    let cell = |op: &ChangeOp| {
        let value = match op {
            ChangeOp::Put(record) => String::from_utf8_lossy(record.value()).into_owned(),
            ChangeOp::Delete { .. } => String::new(),
        };
        (verb(op), op.key().to_owned(), value)
    };
    let mut cells: Vec<_> = change.ops.iter().take(shown).map(cell).collect();
    if change.ops.is_empty() {
        cells.push(("nothing", String::new(), String::new()));
    }
    if let more @ 1.. = change.ops.len().saturating_sub(shown) {
        let more = count(more as u64, "other", "others");
        cells.push(("…", format!("and {more}; --full shows all"), String::new()));
    }
    // Printed once for each transaction.
    let mut seq = change.position.seq.to_string();
    let mut time = change.at.to_string();
    let mut actor = change
        .actor
        .as_ref()
        .map_or_else(String::new, Actor::to_string);
    let mut note = change
        .note
        .as_ref()
        .map_or_else(String::new, Note::to_string);
    let row = |(what, key, value): (&str, String, String)| {
        let [seq, time, actor, note] = [&mut seq, &mut time, &mut actor, &mut note].map(take);
        [seq, time, what.to_owned(), key, value, actor, note]
    };
    cells.into_iter().map(row).collect()
}
