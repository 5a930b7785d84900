//! Records as of an earlier transaction: `hotread get --at`.

use crate::backend::Tables;
use crate::exit::Failure;
use anyhow::Result;
use hotread_proto::{ChangeOp, Code, Key, MAX_CHANGES, Position, Record, TableName};
use std::collections::HashMap;

/// Operations of the history on one key.
#[derive(Default)]
struct Trace {
    /// Last operation up to the position: the record, or its deletion.
    then: Option<Option<Record>>,
    /// `true` if an operation came later.
    later: bool,
}

/// Returns the records with these keys as of a position, in the order of the keys.
///
/// # Errors
/// If the history does not go back far enough.
pub(super) fn records(
    tables: &Tables,
    table: &TableName,
    keys: &[Key],
    at: Position,
) -> Result<Vec<Option<Record>>> {
    let info = tables.table(table)?;
    if at.epoch != info.position.epoch || at.seq > info.position.seq {
        // This call returns the error for such a position.
        tables.changes(table, at, 1)?;
    }
    let now = |key| tables.get(table, key);
    let now: Vec<Option<Record>> = keys.iter().map(now).collect::<Result<_>>()?;
    let unchanged = |record: &Option<Record>| matches!(record, Some(it) if it.seq() <= at.seq);
    let mut traces: HashMap<&str, Trace> = HashMap::new();
    if !now.iter().all(unchanged) {
        let wanted = keys.iter().zip(&now).filter(|(_, now)| !unchanged(now));
        traces = wanted
            .map(|(key, _)| (key.as_str(), Trace::default()))
            .collect();
        // The later operations on a key that is absent now show that it was absent then.
        let all = keys.iter().zip(&now).any(|(_, now)| now.is_none());
        let until = if all { info.position.seq } else { at.seq };
        let seq = info.floor.saturating_sub(1);
        trace(
            tables,
            table,
            Position { seq, ..at },
            at.seq,
            until,
            &mut traces,
        )?;
    }
    let mut records = Vec::with_capacity(keys.len());
    for (key, now) in keys.iter().zip(now) {
        if unchanged(&now) {
            records.push(now);
            continue;
        }
        let trace = traces.get(key.as_str());
        let later = trace.is_some_and(|trace| trace.later);
        records.push(match trace.and_then(|trace| trace.then.clone()) {
            Some(then) => then,
            None if info.floor <= 1 || now.is_none() && !later => None,
            None => {
                let message = format!(
                    "the history of table {table} begins at seq {}, and does not show {key:?} at seq \
                     {}; ask for a later one",
                    info.floor, at.seq
                );
                return Err(Failure::new(Code::Gone, message).into());
            }
        });
    }
    Ok(records)
}

/// Reads the history after `from`, up to `until`.
fn trace(
    tables: &Tables,
    table: &TableName,
    mut from: Position,
    at: u64,
    until: u64,
    traces: &mut HashMap<&str, Trace>,
) -> Result<()> {
    while from.seq < until {
        let left = usize::try_from(until - from.seq).unwrap_or(MAX_CHANGES);
        let changes = tables.changes(table, from, left.min(MAX_CHANGES))?;
        let Some(last) = changes.last() else { break };
        from = last.position;
        for change in changes {
            for op in change.ops {
                let Some(trace) = traces.get_mut(op.key()) else {
                    continue;
                };
                if change.position.seq > at {
                    trace.later = true;
                    continue;
                }
                trace.then = Some(match op {
                    ChangeOp::Put(record) => Some(record),
                    ChangeOp::Delete { .. } => None,
                });
            }
        }
    }
    Ok(())
}
