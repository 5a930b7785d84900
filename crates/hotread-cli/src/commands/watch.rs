//! `hotread watch`.

use super::record::expired;
use super::{Session, position};
use crate::args::WatchArgs;
use crate::backend::{Server, Tables};
use crate::exit::Failure;
use crate::output::{Out, hang_up};
use anyhow::{Context, Result};
use hotread_client::{Client, Event, Events};
use hotread_proto::{
    Actor, ChangeOp, Code, Epoch, Key, Note, Position, Record, Removal, Scan, Timestamp,
};
use hotread_store::MAX_PAGE;
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::Write;
use std::process::{Command, Stdio};

/// Change of a record, as JSON.
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
    /// Reason for a deletion by the store itself; `None` if a transaction deleted the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Removal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a Note>,
    /// `true` for a record of the initial state, which is no change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    state: bool,
    /// `true` if the next line belongs to the same transaction, or to the same state.
    more: bool,
    /// `true` for the first change of its transaction.
    #[serde(skip)]
    first: bool,
}

/// End of the initial state, as JSON.
#[derive(Serialize)]
struct LiveJson {
    epoch: Epoch,
    /// Sequence number after which the following changes come.
    seq: u64,
    op: &'static str,
    more: bool,
}

pub(super) fn run(session: &Session, args: &WatchArgs, out: &mut Out) -> Result<()> {
    let remote = session.server()?;
    // The stream would wait for a server that is unreachable; at the start, the command must report it.
    let tables = Tables::Server(Server::new(remote.clone())?);
    tables.table(&args.table)?;
    let from = args.from.map(|from| position(&tables, &args.table, from));
    let from = from.transpose()?;
    // The runtime's thread follows the table, and this one prints: pings are answered even if the reader
    // of the output is slow.
    let runtime = super::runtime(1).context("a thread could not be started")?;
    runtime.block_on(async {
        let explain = |error| remote.explain(error);
        let client = remote.builder("hotread-watch").build().map_err(explain)?;
        let table = args.table.as_str();
        let events = client.events(table, from).await.map_err(explain)?;
        session.note(&format!(
            "watching {table} after {}; end with ctrl-C",
            events.from()
        ));
        let mut watch = Watch {
            session,
            args,
            out,
            told: Vec::new(),
        };
        tokio::select! {
            done = watch.all(&client, events) => done.map_err(|error| match error.downcast() {
                Ok(error) => explain(error),
                Err(error) => error,
            }),
            () = hang_up() => Ok(()),
        }
    })
}

/// A page of the initial state: changes up to `seq` are included.
struct Told {
    /// The last key that the page covers; `None`: all remaining keys.
    until: Option<Key>,
    seq: u64,
}

struct Watch<'a> {
    session: &'a Session,
    args: &'a WatchArgs,
    out: &'a mut Out,
    /// Pages in the order of their keys. Empty once none of them can include a change.
    told: Vec<Told>,
}

impl Watch<'_> {
    /// Prints the initial state if requested, and then all changes, until the stream ends or fails.
    async fn all(&mut self, client: &Client, mut events: Events) -> Result<()> {
        if self.args.state {
            self.state(client, events.from()).await?;
        }
        while let Some(event) = events.next().await {
            self.event(&event?)?;
        }
        Ok(())
    }

    /// Prints the existing records, as of this position or later.
    async fn state(&mut self, client: &Client, from: Position) -> Result<()> {
        let mut scan = Scan {
            prefix: self.args.prefix.clone(),
            epoch: Some(from.epoch),
            limit: MAX_PAGE,
            ..Scan::default()
        };
        loop {
            let page = client.scan(self.args.table.as_str(), &scan).await?;
            for record in page.records.iter().filter(|record| !expired(record)) {
                self.tell(ChangeJson {
                    state: true,
                    ..ChangeJson::put(from.epoch, record)?
                })?;
            }
            self.told.push(Told {
                until: page.next.clone(),
                seq: page.position.seq,
            });
            scan.after = page.next;
            if scan.after.is_none() {
                break;
            }
        }
        if self.session.json() {
            let Position { epoch, seq } = from;
            self.out.json(&LiveJson {
                epoch,
                seq,
                op: "live",
                more: false,
            })?;
        }
        self.flush()
    }

    /// Prints a whole transaction.
    fn event(&mut self, event: &Event) -> Result<()> {
        let Event { head, ops, .. } = event;
        let Position { epoch, seq } = head.position;
        if self.told.iter().all(|told| told.seq < seq) {
            self.told.clear();
        }
        let is_new = |key: &str| {
            let within = |told: &&Told| {
                told.until
                    .as_ref()
                    .is_none_or(|until| key <= until.as_str())
            };
            self.told
                .iter()
                .find(within)
                .is_none_or(|told| told.seq < seq)
        };
        let ops = ops
            .iter()
            .filter(|op| op.key().starts_with(&self.args.prefix) && is_new(op.key()));
        let ops: Vec<_> = ops.collect();
        for (at, op) in ops.iter().enumerate() {
            let change = match op {
                ChangeOp::Put(record) => ChangeJson::put(epoch, record)?,
                ChangeOp::Delete { key, cause } => ChangeJson::delete(epoch, key, *cause),
            };
            self.tell(ChangeJson {
                seq,
                time: head.at,
                actor: event.actor.as_ref(),
                note: event.note.as_ref(),
                more: at + 1 < ops.len(),
                first: at == 0,
                ..change
            })?;
        }
        self.flush()
    }

    /// Prints a change, or passes it to the command.
    fn tell(&mut self, change: ChangeJson<'_>) -> Result<()> {
        if let Some(command) = &self.args.exec {
            return execute(command, &change);
        }
        if self.session.json() {
            return self.out.json(&change);
        }
        let ChangeJson { seq, time, key, .. } = change;
        let value = change.value.map_or_else(String::new, |value| {
            format!("  {}", self.out.shortened(value.get()))
        });
        // Printed on the first line of the transaction.
        let mut said = String::new();
        if change.first {
            said.extend(change.actor.map(|actor| format!("  by {actor}")));
            said.extend(change.note.map(|note| format!("  note: {note}")));
        }
        let verb = change.verb();
        self.out
            .line(&format!("{seq}  {time}  {verb:6}  {key}{value}{said}"))
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush().context("cannot write to stdout")
    }
}

impl<'a> ChangeJson<'a> {
    /// Returns a record in the form of its last change.
    fn put(epoch: Epoch, record: &'a Record) -> Result<Self> {
        let value = record.value_as().context("the value is not JSON")?;
        Ok(Self {
            value: Some(value),
            category: Some(record.category()),
            expires_at: record.expires_at(),
            time: record.updated_at(),
            seq: record.seq(),
            ..Self::of(epoch, "put", record.key())
        })
    }

    fn delete(epoch: Epoch, key: &'a Key, cause: Removal) -> Self {
        Self {
            cause: (!cause.is_deleted()).then_some(cause),
            ..Self::of(epoch, "delete", key.as_str())
        }
    }

    fn of(epoch: Epoch, op: &'static str, key: &'a str) -> Self {
        Self {
            epoch,
            seq: 0,
            time: Timestamp::EPOCH,
            op,
            key,
            value: None,
            category: None,
            expires_at: None,
            cause: None,
            actor: None,
            note: None,
            state: false,
            more: true,
            first: true,
        }
    }

    /// Returns the change in a word; human-readable.
    fn verb(&self) -> &'static str {
        match self.cause {
            Some(Removal::Expired) => "expire",
            _ if self.state => "state",
            _ => self.op,
        }
    }
}

/// Runs a command with the change on its stdin, and waits for it to end.
fn execute(command: &str, change: &ChangeJson<'_>) -> Result<()> {
    let started = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .spawn();
    let mut child = started.context("cannot start sh")?;
    if let Some(mut stdin) = child.stdin.take() {
        let json = serde_json::to_string(change).context("the change cannot be written as JSON")?;
        // The command need not read it.
        let _ = writeln!(stdin, "{json}");
    }
    let status = child.wait().context("cannot wait for the command")?;
    if status.success() {
        return Ok(());
    }
    let ChangeJson {
        epoch, seq, key, ..
    } = change;
    let again = match change.state {
        true => "start again with --state".to_owned(),
        false => format!("continue with --from {epoch}:{}", seq.saturating_sub(1)),
    };
    let message = format!("the command ended with {status} for {key:?} at seq {seq}; {again}");
    Err(Failure::new(Code::BadRequest, message).into())
}
