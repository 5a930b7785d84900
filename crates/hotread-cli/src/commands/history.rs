//! `hotread history`.

use super::{Mode, Session};
use crate::args::HistoryArgs;
use crate::output::{Out, count, pick};
use anyhow::Result;
use hotread_proto::{
    Actor, Change, ChangeOp, Digest, Epoch, Note, Position, Record, Removal, Timestamp,
};
use serde::Serialize;
use std::mem::take;

/// Columns of the table; those of values, actors and notes are not always there.
const HEADING: [&str; 7] = ["SEQ", "TIME", "", "KEY", "VALUE", "ACTOR", "NOTE"];
/// Operations of a transaction that are shown unless all are asked for.
const SHOWN: usize = 10;

/// A transaction as JSON. The digest and the number of records are those after it.
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

pub(super) fn run(session: &Session, args: &HistoryArgs, out: &mut Out) -> Result<()> {
    let table = &args.table;
    let tables = session.tables_for(table, Mode::Read)?;
    let mut from = match args.from {
        Some(from) => from,
        None => {
            let info = tables.table(table)?;
            let last = info.position.seq.saturating_sub(args.limit as u64);
            // The history may be cut while it is read; then the store says so.
            let seq = last.max(info.floor.saturating_sub(1));
            Position {
                seq,
                ..info.position
            }
        }
    };
    let (mut left, mut first, mut shown) = (args.limit, true, None);
    while left > 0 {
        let changes = tables.changes(table, from, left)?;
        let Some(last) = changes.last() else { break };
        from = last.position;
        left = left.saturating_sub(changes.len());
        if session.json() {
            for change in &changes {
                out.json(&json(change, args.values))?;
            }
        } else {
            let actor = changes.iter().any(|change| change.actor.is_some());
            let note = changes.iter().any(|change| change.note.is_some());
            let columns = [true, true, true, true, args.values, actor, note];
            let heading = match shown == Some(columns) {
                true => Vec::new(),
                false => pick(HEADING, columns),
            };
            let rows = changes.iter().flat_map(|change| rows(change, args.full));
            out.table(&heading, rows.map(|row| pick(row, columns)))?;
            shown = Some(columns);
        }
        first = false;
    }
    if first {
        session.note("no transactions");
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

/// An operation in a word, for people.
pub(super) fn verb(op: &ChangeOp) -> &'static str {
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
    // Said once for each transaction.
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
