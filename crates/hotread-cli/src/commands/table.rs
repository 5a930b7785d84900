//! `hotread table`.

use super::{Mode, Session, confirm, new_passphrase, read_passphrase};
use crate::args::{AlterArgs, CreateArgs, FormatArgs, TableCmd};
use crate::output::{Out, count, grouped};
use anyhow::{Context, Result};
use hotread_proto::{TableName, Value};
use hotread_store::{History, TableInfo, TableOptions};
use std::io::Write;
use std::path::Path;

pub(super) fn run(session: &Session, command: TableCmd, out: &mut Out) -> Result<()> {
    match command {
        TableCmd::Create(args) => create(session, args, out),
        TableCmd::Alter(args) => alter(session, &args, out),
        TableCmd::List(format) => list(session, format, out),
        TableCmd::Show { table } => show(session, &table, out),
        TableCmd::Drop { table, yes } => drop_table(session, &table, yes, out),
        TableCmd::Reseal {
            table,
            new_passphrase_file,
        } => reseal(session, &table, new_passphrase_file.as_deref(), out),
    }
}

fn create(session: &Session, args: CreateArgs, out: &mut Out) -> Result<()> {
    let options = TableOptions {
        search: args.search,
        sealed: args.sealed,
        schema: args.schema.as_deref().map(read_schema).transpose()?,
        ..args.history.alter().of(&TableOptions::default())
    };
    let tables = match args.sealed {
        true => session.tables_to_seal(Mode::Create)?,
        false => session.tables(Mode::Create)?,
    };
    let info = tables.create_table(&args.table, options)?;
    if session.json() {
        return out.json(&info);
    }
    out.line(&format!("table {} was created", info.name))
}

fn alter(session: &Session, args: &AlterArgs, out: &mut Out) -> Result<()> {
    let mut alter = args.history.alter();
    if let Some(file) = &args.schema {
        alter = alter.schema(read_schema(file)?);
    }
    if args.no_schema {
        alter = alter.no_schema();
    }
    let info = session.tables(Mode::Write)?.alter(&args.table, &alter)?;
    if session.json() {
        return out.json(&info);
    }
    out.line(&format!("table {} was altered", info.name))
}

fn read_schema(path: &Path) -> Result<Value> {
    let named = || path.display().to_string();
    let text = std::fs::read(path).with_context(named)?;
    Value::parse(&text).with_context(named)
}

/// Columns of CSV.
const COLUMNS: &[&str] = &[
    "name",
    "records",
    "epoch",
    "seq",
    "updated_at",
    "created_at",
];

fn list(session: &Session, format: FormatArgs, out: &mut Out) -> Result<()> {
    let list = session.list(format, COLUMNS)?;
    let tables = session.tables(Mode::Read)?.tables()?;
    if let Some(mut list) = list {
        list.rows(&tables, out)?;
        return list.end(out);
    }
    if tables.is_empty() {
        session.note("there are no tables; `hotread table create` makes one");
        return Ok(());
    }
    let rows = tables.iter().map(|info| {
        vec![
            info.name.to_string(),
            grouped(info.records),
            info.position.seq.to_string(),
            info.updated_at.to_string(),
            kind(&info.options),
        ]
    });
    out.table(
        &["TABLE", "RECORDS", "SEQ", "UPDATED", "OPTIONS"],
        rows.collect(),
    )
}

/// The options that are set, in a word each.
fn kind(options: &TableOptions) -> String {
    let words = [
        (options.search, "search"),
        (options.sealed, "sealed"),
        (options.schema.is_some(), "schema"),
    ];
    let words: Vec<_> = words
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| *word)
        .collect();
    words.join(", ")
}

fn show(session: &Session, table: &TableName, out: &mut Out) -> Result<()> {
    let info = session.tables(Mode::Read)?.table(table)?;
    if session.json() {
        return out.json(&info);
    }
    let TableInfo { options, .. } = &info;
    let History {
        max_changes,
        max_bytes,
        ..
    } = options.history;
    let kept = match info.floor > info.position.seq {
        true => "no transaction".to_owned(),
        false => format!(
            "{}, from seq {}",
            count(
                info.position.seq + 1 - info.floor,
                "transaction",
                "transactions"
            ),
            info.floor
        ),
    };
    let yes = |set| if set { "yes" } else { "no" }.to_owned();
    let rows = [
        ("table", info.name.to_string()),
        ("records", grouped(info.records)),
        ("position", info.position.to_string()),
        ("digest", info.digest.to_string()),
        ("created", info.created_at.to_string()),
        ("updated", info.updated_at.to_string()),
        ("history", kept),
        (
            "history limits",
            format!(
                "{}, {}, {}",
                count(max_changes, "transaction", "transactions"),
                humantime::format_duration(options.history.max_age()),
                indicatif::BinaryBytes(max_bytes)
            ),
        ),
        ("search", yes(options.search)),
        ("sealed", yes(options.sealed)),
        (
            "schema",
            options
                .schema
                .as_ref()
                .map_or("none".into(), |schema| schema.as_str().into()),
        ),
    ];
    rows.iter()
        .try_for_each(|(name, value)| out.line(&format!("{name:14}  {value}")))
}

fn drop_table(session: &Session, table: &TableName, yes: bool, out: &mut Out) -> Result<()> {
    let tables = session.tables(Mode::Write)?;
    let info = tables.table(table)?;
    let records = count(info.records, "record", "records");
    confirm(
        yes,
        &format!("dropping table {table} loses its {records} and its history"),
    )?;
    tables.drop_table(table)?;
    if session.json() {
        return out.json(&info);
    }
    out.line(&format!("table {table} with {records} was dropped"))
}

fn reseal(session: &Session, table: &TableName, new: Option<&Path>, out: &mut Out) -> Result<()> {
    let store = session.store_for(table, Mode::Write)?;
    // Before anybody is asked for a new one.
    let before = store.table_info(table)?;
    let new = match new {
        Some(path) => read_passphrase(path)?,
        None if !before.options.sealed => {
            return Err(hotread_store::TableError::NotSealed {
                table: table.clone(),
            }
            .into());
        }
        None => new_passphrase("a new passphrase is needed; give --new-passphrase-file FILE")?,
    };
    session.warn_if_short(&new);
    let info = store.reseal(table, &new)?;
    if session.json() {
        out.json(&info)?;
    } else {
        out.line(&format!(
            "table {table} was sealed anew, and is at {}",
            info.position
        ))?;
    }
    // It is sealed anew whether or not this works.
    out.flush()?;
    let mib = std::fs::metadata(store.path()).map_or(0, |meta| meta.len() >> 20);
    session.note(&format!(
        "rewriting the file of {mib} MiB, so that no old value is left in it"
    ));
    Ok(store.scrub()?)
}
