//! `hotread status`.

use super::Session;
use crate::backend::Server;
use crate::output::{Out, escape, grouped};
use anyhow::{Context, Result};
use hotread_proto::http::ServerStatus;
use std::io::Write;

pub(super) fn run(session: &Session, out: &mut Out) -> Result<()> {
    let server = Server::new(session.server()?)?;
    let status = server.ask(|client| client.status())?;
    if session.json() {
        return out.json(&status);
    }
    let ServerStatus {
        tables,
        sessions,
        at_risk,
        at_risk_count,
        ..
    } = status;
    if tables.is_empty() {
        session.note("there are no tables; `hotread table create` makes one");
    } else {
        let rows = tables.iter().map(|table| {
            vec![
                table.name.to_string(),
                grouped(table.records),
                table.head.to_string(),
                table.floor.to_string(),
                table.sessions.to_string(),
            ]
        });
        out.table(
            &["TABLE", "RECORDS", "HEAD", "FLOOR", "SUBSCRIBERS"],
            rows.collect(),
        )?;
    }
    if sessions.is_empty() {
        out.flush().context("cannot write to stdout")?;
        session.note("nobody follows a table now");
        return Ok(());
    }
    let rows = sessions.into_iter().map(|subscriber| {
        vec![
            named(subscriber.name),
            subscriber.peer,
            subscriber.table.to_string(),
            subscriber.acked.to_string(),
            grouped(subscriber.lag),
            subscriber.since.to_string(),
            subscriber.last_nack.map_or_else(String::new, |nack| {
                format!("{} at {}: {}", nack.key, nack.seq, escape(&nack.reason))
            }),
        ]
    });
    out.line("")?;
    out.table(
        &[
            "SUBSCRIBER",
            "PEER",
            "TABLE",
            "POSITION",
            "LAG",
            "SINCE",
            "LAST NACK",
        ],
        rows.collect(),
    )?;
    if at_risk.is_empty() {
        return Ok(());
    }
    let listed = at_risk.len();
    let rows = at_risk.into_iter().map(|replica| {
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
    out.table(
        &["AT RISK", "PEER", "TABLE", "POSITION", "REASON"],
        rows.collect(),
    )?;
    if at_risk_count > listed {
        let more = grouped((at_risk_count - listed) as u64);
        session.note(&format!("and {more} more at risk"));
    }
    Ok(())
}

/// What a client calls itself.
fn named(name: String) -> String {
    match name.as_str() {
        "" => "-".to_owned(),
        _ => name,
    }
}
