//! `hotread history`.

use super::{Mode, Session};
use crate::args::HistoryArgs;
use crate::output::{Out, count};
use anyhow::Result;
use hotread_proto::{
    Actor, Change, ChangeOp, Digest, Epoch, Note, Position, Record, Removal, Timestamp,
};
use serde::{Serialize, Serializer};

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
    #[serde(serialize_with = "record")]
    Put(&'a Record),
    #[serde(rename = "put")]
    PutKey { key: &'a str },
    Delete {
        key: &'a str,
        #[serde(skip_serializing_if = "Removal::is_deleted")]
        cause: Removal,
    },
}

fn record<S: Serializer>(record: &&Record, serializer: S) -> Result<S::Ok, S::Error> {
    record.serialize(serializer)
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
            changes
                .iter()
                .try_for_each(|change| out.json(&json(change, args.values)))?;
        } else {
            let columns = Columns::of(&changes, args);
            let heading = match shown == Some(columns) {
                true => Vec::new(),
                false => columns.heading(),
            };
            let rows = changes
                .iter()
                .flat_map(|change| rows(change, args, columns))
                .collect();
            out.table(&heading, rows)?;
            shown = Some(columns);
        }
        first = false;
    }
    if first {
        session.note("no transactions");
    }
    Ok(())
}

/// Columns of the table that are not always there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Columns {
    value: bool,
    actor: bool,
    note: bool,
}

impl Columns {
    /// Those that these transactions need.
    fn of(changes: &[Change], args: &HistoryArgs) -> Self {
        Self {
            value: args.values,
            actor: changes.iter().any(|change| change.actor.is_some()),
            note: changes.iter().any(|change| change.note.is_some()),
        }
    }

    fn heading(self) -> Vec<&'static str> {
        let mut heading = vec!["SEQ", "TIME", "", "KEY"];
        heading.extend(self.value.then_some("VALUE"));
        heading.extend(self.actor.then_some("ACTOR"));
        heading.extend(self.note.then_some("NOTE"));
        heading
    }
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

fn rows(change: &Change, args: &HistoryArgs, columns: Columns) -> Vec<Vec<String>> {
    let shown = if args.full {
        change.ops.len()
    } else {
        change.ops.len().min(SHOWN)
    };
    let mut cells: Vec<_> = change.ops[..shown]
        .iter()
        .map(|op| match op {
            ChangeOp::Put(record) => {
                let value = String::from_utf8_lossy(record.value()).into_owned();
                (verb(op), record.key().to_owned(), value)
            }
            ChangeOp::Delete { key, .. } => (verb(op), key.to_string(), String::new()),
        })
        .collect();
    if change.ops.is_empty() {
        cells.push(("nothing", String::new(), String::new()));
    }
    if shown < change.ops.len() {
        let more = count((change.ops.len() - shown) as u64, "other", "others");
        cells.push(("…", format!("and {more}; --full shows all"), String::new()));
    }
    let row = |(at, (what, key, value)): (usize, (&str, String, String))| {
        // Said once for each transaction.
        let once = |text: Option<String>| text.filter(|_| at == 0).unwrap_or_default();
        let seq = once(Some(change.position.seq.to_string()));
        let time = once(Some(change.at.to_string()));
        let mut row = vec![seq, time, what.to_owned(), key];
        row.extend(columns.value.then_some(value));
        let actor = || once(change.actor.as_ref().map(Actor::to_string));
        row.extend(columns.actor.then(actor));
        let note = || once(change.note.as_ref().map(Note::to_string));
        row.extend(columns.note.then(note));
        row
    };
    cells.into_iter().enumerate().map(row).collect()
}
