//! `hotread watch`.

use super::Session;
use super::history::{name, verb};
use crate::args::WatchArgs;
use crate::backend::{Server, Tables};
use crate::output::{Out, hang_up};
use anyhow::{Context, Result};
use hotread_client::{Event, Events};
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
    // The stream waits for a server that is not there; whoever begins should hear of it.
    Server::new(remote.clone())?.table(&args.table)?;
    // One thread follows the table, and this one prints: a reader of the output that is slow does
    // not keep pings from being answered.
    let runtime = super::runtime(1).context("a thread could not be started")?;
    runtime.block_on(async {
        let client = remote.builder("hotread-watch").build();
        let explain = |error| remote.explain(error);
        let client = client.map_err(explain)?;
        let events = client.events(args.table.as_str(), args.from).await;
        let mut events = events.map_err(explain)?;
        session.note(&format!(
            "watching {} after {}; end with ctrl-C",
            args.table,
            events.from()
        ));
        tokio::select! {
            printed = print_all(session, args, &mut events, out) => {
                printed?.map_or(Ok(()), |error| Err(explain(error)))
            }
            () = hang_up() => Ok(()),
        }
    })
}

/// Prints all changes, until there are no more, and says why.
async fn print_all(
    session: &Session,
    args: &WatchArgs,
    events: &mut Events,
    out: &mut Out,
) -> Result<Option<hotread_client::Error>> {
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => print(session, args, &event, out)?,
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

/// Prints a transaction, whole.
fn print(session: &Session, args: &WatchArgs, event: &Event, out: &mut Out) -> Result<()> {
    let Event {
        head,
        ops,
        actor,
        note,
        ..
    } = event;
    // For people, on the first line of the transaction.
    let mut said = String::new();
    said.extend(actor.iter().map(|actor| format!("  by {actor}")));
    said.extend(note.iter().map(|note| format!("  note: {note}")));
    let Position { epoch, seq } = head.position;
    let mut ops = ops
        .iter()
        .filter(|op| op.key().starts_with(&args.prefix))
        .peekable();
    while let Some(op) = ops.next() {
        let (record, cause) = match op {
            ChangeOp::Put(record) => (Some(record), None),
            ChangeOp::Delete { cause, .. } => (None, Some(*cause)),
        };
        if !session.json() {
            let value = record.map_or_else(String::new, |record| {
                format!("  {}", String::from_utf8_lossy(record.value()))
            });
            let (time, name, key) = (head.at, verb(op), op.key());
            out.line(&format!("{seq}  {time:24}  {name:6}  {key}{value}{said}"))?;
            said.clear();
            continue;
        }
        let value = record.map(|record| record.value_as());
        out.json(&ChangeJson {
            epoch,
            seq,
            time: head.at,
            op: name(op),
            key: op.key(),
            value: value.transpose().context("the value is not JSON")?,
            category: record.map(|record| record.category()),
            expires_at: record.and_then(|record| record.expires_at()),
            cause: cause.filter(|cause| !cause.is_deleted()),
            actor: actor.as_ref(),
            note: note.as_ref(),
            more: ops.peek().is_some(),
        })?;
    }
    flush(out)
}

fn flush(out: &mut Out) -> Result<()> {
    out.flush().context("cannot write to stdout")
}
