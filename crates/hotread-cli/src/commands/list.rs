//! Lists of records: `hotread ls` and `search`.

use super::record::expired;
use super::{Mode, Session};
use crate::args::{LsArgs, SearchArgs};
use crate::output::Out;
use anyhow::Result;
use hotread_proto::{Category, Record};
use hotread_store::{MAX_PAGE, Scan, Search};
use std::io::Write;

/// Said where there is nothing to print.
const NONE: &str = "no records";

pub(super) fn ls(session: &Session, args: LsArgs, out: &mut Out) -> Result<()> {
    let LsArgs {
        table,
        prefix,
        category,
        after,
        ..
    } = args;
    let tables = session.tables_for(&table, Mode::Read)?;
    let mut left = if args.all { usize::MAX } else { args.limit };
    let mut scan = Scan {
        prefix,
        after,
        category,
        limit: left.min(MAX_PAGE),
        ..Scan::default()
    };
    let mut shown = false;
    loop {
        let mut page = tables.scan(&table, &scan)?;
        page.records.retain(|record| !expired(record));
        left -= page.records.len();
        if !page.records.is_empty() {
            print(session, &page.records, !shown, out)?;
            shown = true;
        }
        match page.next {
            Some(key) if left > 0 => {
                scan.after = Some(key);
                scan.epoch = Some(page.position.epoch);
                scan.limit = left.min(MAX_PAGE);
            }
            Some(key) => {
                out.flush()?;
                session.note(&format!(
                    "there may be more: go on with --after '{key}', or give --limit N or --all"
                ));
                return Ok(());
            }
            None => {
                if !shown {
                    session.note(NONE);
                }
                return Ok(());
            }
        }
    }
}

pub(super) fn search(session: &Session, args: SearchArgs, out: &mut Out) -> Result<()> {
    let SearchArgs {
        table,
        query,
        category,
        limit,
    } = args;
    let tables = session.tables_for(&table, Mode::Read)?;
    let mut records = tables.search(
        &table,
        &Search {
            query,
            category,
            limit,
        },
    )?;
    let cut = records.len() == limit;
    records.retain(|record| !expired(record));
    if records.is_empty() {
        session.note(NONE);
    } else {
        print(session, &records, true, out)?;
    }
    if cut {
        out.flush()?;
        session.note(&format!(
            "there may be more than these {limit}; give --limit N, or narrow it"
        ));
    }
    Ok(())
}

fn print(session: &Session, records: &[Record], heading: bool, out: &mut Out) -> Result<()> {
    if session.json() {
        return records.iter().try_for_each(|record| out.json(record));
    }
    let expire = records.iter().any(|record| record.expires_at().is_some());
    let filed = records
        .iter()
        .any(|record| record.category() != Category::GENERAL.as_str());
    let mut columns = vec!["KEY", "SEQ"];
    columns.extend(filed.then_some("CATEGORY"));
    columns.extend(expire.then_some("EXPIRES"));
    columns.push("VALUE");
    let rows = records.iter().map(|record| {
        let mut row = vec![record.key().to_owned(), record.seq().to_string()];
        if filed {
            row.push(record.category().to_owned());
        }
        if expire {
            row.push(
                record
                    .expires_at()
                    .map(|at| at.to_string())
                    .unwrap_or_default(),
            );
        }
        row.push(String::from_utf8_lossy(record.value()).into_owned());
        row
    });
    out.table(if heading { &columns } else { &[] }, rows.collect())
}
