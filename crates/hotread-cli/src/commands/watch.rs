//! `hotread watch`.

use super::Session;
use super::history::verb;
use crate::args::WatchArgs;
use crate::output::{Out, hang_up};
use anyhow::{Context, Result};
use hotread_client::Event;
use hotread_proto::{Actor, ChangeOp, Epoch, Note, Position, Removal, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::Write;

/// What became of a record, as JSON.
#[derive(Serialize)]
struct ChangeJson<'a> {
    epoch: Epoch,
    seq: u64,
    time: Timestamp,
    op: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Why the record is gone, unless a transaction deleted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Removal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a Note>,
    /// The next line is of the same transaction.
    more: bool,
}

pub(super) fn run(session: &Session, args: &WatchArgs, out: &mut Out) -> Result<()> {
    let remote = session.server()?;
    // One thread follows the table, and this one prints: a reader of the output that is slow does
    // not keep pings from being answered.
    let runtime = super::runtime(1).context("a thread could not be started")?;
    runtime.block_on(async {
        let explain = |error| remote.explain(error);
        let client = remote.builder("hotread-watch").build().map_err(explain)?;
        // The stream waits for a server that is not there; who begins should hear of it.
        let table = args.table.as_str();
        client.table_info(table).await.map_err(explain)?;
        let events = client.events(table, args.from).await;
        let mut events = events.map_err(explain)?;
        session.note(&format!(
            "watching {table} after {}; end with ctrl-C",
            events.from()
        ));
        // All changes, until there are no more, and why.
        let print_all = async {
            while let Some(event) = events.next().await {
                print(session, args, &event.map_err(explain)?, out)?;
            }
            Ok(())
        };
        tokio::select! {
            printed = print_all => printed,
            () = hang_up() => Ok(()),
        }
    })
}

/// Prints a transaction, whole.
fn print(session: &Session, args: &WatchArgs, event: &Event, out: &mut Out) -> Result<()> {
    // For people, on the first line of the transaction.
    let mut said = String::new();
    said.extend(event.actor.iter().map(|actor| format!("  by {actor}")));
    said.extend(event.note.iter().map(|note| format!("  note: {note}")));
    let Position { epoch, seq } = event.head.position;
    let wanted = |op: &&ChangeOp| op.key().starts_with(&args.prefix);
    let mut ops = event.ops.iter().filter(wanted).peekable();
    while let Some(op) = ops.next() {
        let (name, record, cause) = match op {
            ChangeOp::Put(record) => ("put", Some(record), None),
            ChangeOp::Delete { cause, .. } => ("delete", None, Some(*cause)),
        };
        if !session.json() {
            let value = record.map_or_else(String::new, |record| {
                format!("  {}", String::from_utf8_lossy(record.value()))
            });
            let (time, name, key) = (event.head.at, verb(op), op.key());
            out.line(&format!("{seq}  {time:24}  {name:6}  {key}{value}{said}"))?;
            said.clear();
            continue;
        }
        let value = record.map(|record| record.value_as());
        out.json(&ChangeJson {
            epoch,
            seq,
            time: event.head.at,
            op: name,
            key: op.key(),
            value: value.transpose().context("the value is not JSON")?,
            category: record.map(|record| record.category()),
            expires_at: record.and_then(|record| record.expires_at()),
            cause: cause.filter(|cause| !cause.is_deleted()),
            actor: event.actor.as_ref(),
            note: event.note.as_ref(),
            more: ops.peek().is_some(),
        })?;
    }
    out.flush().context("cannot write to stdout")
}
