//! Lists of records: `hotread ls`, `keys` and `search`.

use super::record::expired;
use super::{Mode, Session, shell_word};
use crate::args::{DEFAULT_LIMIT, LsArgs, RangeArgs, SearchArgs};
use crate::backend::Tables;
use crate::exit::Failure;
use crate::output::{List, Out, pick};
use anyhow::Result;
use hotread_proto::{Category, Found, Key, Record, TableName};
use hotread_store::export::CSV_COLUMNS;
use hotread_store::{MAX_PAGE, Scan, Search};
use serde::Serialize;
use std::io::Write;

/// Note for an empty answer.
pub(super) const NONE: &str = "no records";

/// Columns of CSV for keys alone.
pub(super) const KEY: &[&str] = &["key"];

/// A key alone, for programs.
#[derive(Serialize)]
struct KeyRow<'a> {
    key: &'a str,
}

/// Prints keys: a line each, or what the format makes of them.
pub(super) fn print_keys<'a>(
    keys: impl IntoIterator<Item = &'a str>,
    list: Option<&mut List>,
    out: &mut Out,
) -> Result<()> {
    let mut keys = keys.into_iter();
    match list {
        Some(list) => keys.try_for_each(|key| list.row(&KeyRow { key }, out)),
        None => keys.try_for_each(|key| out.line(key)),
    }
}

/// Passes pages of the live records to the caller, at most `limit` records in all. Returns the key to
/// continue after, if there may be more.
pub(super) fn scan(
    tables: &Tables,
    table: &TableName,
    mut scan: Scan,
    limit: usize,
    mut each: impl FnMut(&[Record]) -> Result<()>,
) -> Result<Option<Key>> {
    let mut left = limit;
    loop {
        scan.limit = left.min(MAX_PAGE);
        let mut page = tables.scan(table, &scan)?;
        page.records.retain(|record| !expired(record));
        left -= page.records.len();
        if !page.records.is_empty() {
            each(&page.records)?;
        }
        if left == 0 || page.next.is_none() {
            return Ok(page.next);
        }
        scan.after = page.next;
        scan.epoch = Some(page.position.epoch);
    }
}

pub(super) fn ls(session: &Session, args: LsArgs, out: &mut Out) -> Result<()> {
    let RangeArgs {
        table,
        prefix,
        category,
        after,
        limit,
        all,
        format,
    } = args.range;
    let columns = if args.keys_only { KEY } else { &CSV_COLUMNS };
    let mut list = session.list(format, columns)?;
    let usual = match &list {
        None if !all && !args.keys_only => DEFAULT_LIMIT,
        _ => usize::MAX,
    };
    let tables = session.tables_for(&table, Mode::Read)?;
    let range = Scan {
        prefix,
        after,
        category,
        ..Scan::default()
    };
    let mut shown = false;
    let rest = scan(&tables, &table, range, limit.unwrap_or(usual), |page| {
        let heading = !std::mem::replace(&mut shown, true);
        if args.keys_only {
            return print_keys(page.iter().map(Record::key), list.as_mut(), out);
        }
        match &mut list {
            Some(list) => list.rows(page, out),
            None => print(page, heading, out),
        }
    })?;
    if let Some(list) = list {
        list.end(out)?;
    }
    out.flush()?;
    if let Some(key) = rest {
        let word = shell_word(key.as_str());
        session.tell_cut(
            &format!("there may be more: continue with --after {word}, or give --limit N or --all"),
            Some(key.as_str()),
        );
    } else if !shown {
        session.note(NONE);
    }
    Ok(())
}

pub(super) fn search(session: &Session, args: SearchArgs, out: &mut Out) -> Result<()> {
    let SearchArgs {
        table,
        query,
        category,
        format,
        ..
    } = args;
    // The index would find nothing, as if the table had no such records.
    if query.chars().all(|c| c.is_whitespace() || c == '*') {
        return Err(Failure::usage("give a word to search for").into());
    }
    let list = session.list(format, &CSV_COLUMNS)?;
    let tables = session.tables_for(&table, Mode::Read)?;
    let limit = args.limit.unwrap_or(match &list {
        None => DEFAULT_LIMIT,
        Some(_) => tables.max_found(),
    });
    let search = Search {
        query,
        category,
        limit,
    };
    let Found {
        mut records, more, ..
    } = tables.search(&table, &search)?;
    records.retain(|record| !expired(record));
    match list {
        Some(mut list) => {
            list.rows(&records, out)?;
            list.end(out)?;
        }
        None if records.is_empty() => {}
        None => print(&records, true, out)?,
    }
    out.flush()?;
    if more {
        let found = records.len();
        let rest = match limit < tables.max_found() {
            true => "give a higher --limit, or more words",
            false => "give more words",
        };
        let text = format!("there are more than these {found}; {rest}");
        session.tell_cut(&text, None);
    } else if records.is_empty() {
        session.note(NONE);
    }
    Ok(())
}

fn print(records: &[Record], heading: bool, out: &mut Out) -> Result<()> {
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
    out.table(&heading, records.iter().map(row))
}
