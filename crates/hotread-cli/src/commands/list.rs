//! Lists of records: `hotread ls` and `search`.

use super::record::expired;
use super::{Mode, Session};
use crate::args::{LsArgs, SearchArgs};
use crate::output::{Out, pick};
use anyhow::Result;
use hotread_proto::{Category, Record};
use hotread_store::{MAX_PAGE, Scan, Search};
use std::io::Write;

/// Said where there is nothing to print.
const NONE: &str = "no records";

pub(super) fn ls(session: &Session, args: LsArgs, out: &mut Out) -> Result<()> {
    let tables = session.tables_for(&args.table, Mode::Read)?;
    let mut left = if args.all { usize::MAX } else { args.limit };
    let mut scan = Scan {
        prefix: args.prefix,
        after: args.after,
        category: args.category,
        limit: left.min(MAX_PAGE),
        ..Scan::default()
    };
    let mut shown = false;
    loop {
        let mut page = tables.scan(&args.table, &scan)?;
        page.records.retain(|record| !expired(record));
        left -= page.records.len();
        if !page.records.is_empty() {
            print(session, &page.records, !shown, out)?;
            shown = true;
        }
        let Some(key) = page.next else {
            if !shown {
                session.note(NONE);
            }
            return Ok(());
        };
        if left == 0 {
            out.flush()?;
            session.note(&format!(
                "there may be more: go on with --after '{key}', or give --limit N or --all"
            ));
            return Ok(());
        }
        scan.after = Some(key);
        scan.epoch = Some(page.position.epoch);
        scan.limit = left.min(MAX_PAGE);
    }
}

pub(super) fn search(session: &Session, args: SearchArgs, out: &mut Out) -> Result<()> {
    let limit = args.limit;
    let search = Search {
        query: args.query,
        category: args.category,
        limit,
    };
    let tables = session.tables_for(&args.table, Mode::Read)?;
    let mut records = tables.search(&args.table, &search)?;
    let cut = records.len() == limit;
    records.retain(|record| !expired(record));
    print(session, &records, true, out)?;
    if cut {
        out.flush()?;
        session.note(&format!(
            "there may be more than these {limit}; give --limit N, or narrow it"
        ));
    }
    Ok(())
}

fn print(session: &Session, records: &[Record], heading: bool, out: &mut Out) -> Result<()> {
    let general = Category::GENERAL.as_str();
    let filed = records.iter().any(|record| record.category() != general);
    let expire = records.iter().any(|record| record.expires_at().is_some());
    let shown = [true, true, filed, expire, true];
    let row = |record: &Record| {
        let expires = record.expires_at().map(|at| at.to_string());
        let row = [
            record.key().to_owned(),
            record.seq().to_string(),
            record.category().to_owned(),
            expires.unwrap_or_default(),
            String::from_utf8_lossy(record.value()).into_owned(),
        ];
        pick(row, shown)
    };
    let heading = match heading {
        true => pick(["KEY", "SEQ", "CATEGORY", "EXPIRES", "VALUE"], shown),
        false => Vec::new(),
    };
    session.list(records, NONE, &heading, row, out)
}
