//! The database as a whole: `hotread backup`, `restore` and `verify`.

use super::{Mode, Session};
use crate::exit::Failure;
use crate::output::{Out, count, grouped};
use anyhow::Result;
use hotread_proto::Code;
use hotread_store::{Report, Store};
use serde::Serialize;
use std::path::Path;

/// Answer to a backup or a restoration.
#[derive(Serialize)]
struct Written {
    file: String,
    bytes: u64,
}

pub(super) fn backup(session: &Session, file: &Path, out: &mut Out) -> Result<()> {
    if file == Path::new("-") {
        let message = "a backup is a file, and is not written to stdout; name the file";
        return Err(Failure::usage(message).into());
    }
    session.store(Mode::Read)?.backup(file)?;
    written(session, file, "backup written", out)
}

pub(super) fn restore(session: &Session, from: &Path, out: &mut Out) -> Result<()> {
    let db = session.db()?;
    Store::restore(from, db)?;
    written(session, db, "restored", out)
}

fn written(session: &Session, file: &Path, what: &str, out: &mut Out) -> Result<()> {
    let bytes = std::fs::metadata(file).map_or(0, |meta| meta.len());
    let file = file.display().to_string();
    let line = format!("{what}: {file}, {}", indicatif::BinaryBytes(bytes));
    session.answer(&Written { file, bytes }, &line, out)
}

pub(super) fn verify(session: &Session, out: &mut Out) -> Result<()> {
    let report = session.store(Mode::Read)?.verify()?;
    if session.json() {
        out.json(&report)?;
    } else {
        print(&report, out)?;
    }
    if report.problems.is_empty() {
        return Ok(());
    }
    let problems = count(report.problems.len() as u64, "problem was", "problems were");
    let message = format!(
        "{problems} found in {}; restore a backup, or export what can still be read",
        session.db()?.display()
    );
    Err(Failure::new(Code::Corrupt, message).into())
}

fn print(report: &Report, out: &mut Out) -> Result<()> {
    if !report.tables.is_empty() {
        let rows = report.tables.iter().map(|table| {
            let info = &table.info;
            vec![
                info.name.to_string(),
                grouped(info.records),
                info.position.to_string(),
                info.digest.to_string(),
                match table.content {
                    Some(content) => content.to_string(),
                    None if info.options.sealed => "sealed, not opened".to_owned(),
                    None => "not readable".to_owned(),
                },
            ]
        });
        let heading = ["TABLE", "RECORDS", "POSITION", "DIGEST", "CONTENT"];
        out.table(&heading, rows)?;
    }
    for problem in &report.problems {
        out.line(&format!("problem: {problem}"))?;
    }
    if report.problems.is_empty() {
        let tables = count(report.tables.len() as u64, "table", "tables");
        out.line(&format!("{tables}, no problems"))?;
    }
    Ok(())
}
