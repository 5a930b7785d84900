//! `hotread status`.

use super::{NO_TABLES, Session};
use crate::backend::Server;
use crate::output::{Out, escape, grouped};
use anyhow::{Context, Result};
use std::io::Write;

pub(super) fn run(session: &Session, out: &mut Out) -> Result<()> {
    let server = Server::new(session.server()?)?;
    let status = server.ask(|client| client.status())?;
    if session.json() {
        return out.json(&status);
    }
    let rows = status.tables.iter().map(|table| {
        vec![
            table.name.to_string(),
            grouped(table.records),
            table.head.to_string(),
            table.floor.to_string(),
            table.sessions.to_string(),
        ]
    });
    match status.tables.is_empty() {
        true => session.note(NO_TABLES),
        false => out.table(&["TABLE", "RECORDS", "HEAD", "FLOOR", "SUBSCRIBERS"], rows)?,
    }
    if status.sessions.is_empty() {
        out.flush().context("cannot write to stdout")?;
        session.note("no client follows a table now");
        return Ok(());
    }
    let rows = status.sessions.into_iter().map(|subscriber| {
        let nack = subscriber
            .last_nack
            .map(|nack| format!("{} at {}: {}", nack.key, nack.seq, escape(&nack.reason)));
        vec![
            named(subscriber.name),
            subscriber.peer,
            subscriber.table.to_string(),
            subscriber.acked.to_string(),
            grouped(subscriber.lag),
            subscriber.since.to_string(),
            nack.unwrap_or_default(),
        ]
    });
    out.line("")?;
    let heading = [
        "SUBSCRIBER",
        "PEER",
        "TABLE",
        "POSITION",
        "LAG",
        "SINCE",
        "LAST NACK",
    ];
    out.table(&heading, rows)?;
    if status.at_risk.is_empty() {
        return Ok(());
    }
    let unlisted = status.at_risk_count.saturating_sub(status.at_risk.len());
    let rows = status.at_risk.into_iter().map(|replica| {
        let reason = escape(&replica.reason).into_owned();
        vec![
            named(replica.name),
            replica.peer,
            replica.table.to_string(),
            replica.acked.to_string(),
            match replica.key {
                Some(key) => format!("refuses {key}: {reason}"),
                None => reason,
            },
        ]
    });
    out.line("")?;
    out.table(&["AT RISK", "PEER", "TABLE", "POSITION", "REASON"], rows)?;
    if unlisted > 0 {
        let more = grouped(unlisted as u64);
        session.note(&format!("and {more} more at risk"));
    }
    Ok(())
}

/// Quotes the name of a client, if needed.
fn named(name: String) -> String {
    if name.is_empty() {
        "-".to_owned()
    } else {
        name
    }
}
