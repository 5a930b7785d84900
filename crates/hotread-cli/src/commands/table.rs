//! `hotread table`.

use super::{Mode, NO_TABLES, Session, confirm, new_passphrase};
use crate::args::{AlterArgs, CreateArgs, FormatArgs, TableCmd};
use crate::output::{Out, count, grouped};
use anyhow::{Context, Result};
use hotread_proto::{TableName, Value};
use hotread_store::{Passphrase, Store, TableError, TableInfo, TableOptions};
use std::io::Write;
use std::path::Path;

pub(super) fn run(session: &Session, command: TableCmd, out: &mut Out) -> Result<()> {
    match command {
        TableCmd::Create(args) => create(session, args, out),
        TableCmd::Alter(args) => alter(session, &args, out),
        TableCmd::List(format) => list(session, format, out),
        TableCmd::Show { table } => show(session, &table, out),
        TableCmd::Drop { table, yes } => drop_table(session, &table, yes, out),
        TableCmd::Rekey {
            table,
            new_passphrase_file,
        } => rekey(session, &table, new_passphrase_file.as_deref(), out),
    }
}

fn create(session: &Session, args: CreateArgs, out: &mut Out) -> Result<()> {
    let options = TableOptions {
        search: args.search,
        sealed: args.sealed,
        schema: args.schema.as_deref().map(read_schema).transpose()?,
        ..args.history.alter().of(&TableOptions::default())
    };
    if session.begins() {
        Store::check_options(&options)?;
    }
    let tables = match args.sealed {
        true => session.tables_to_seal()?,
        false => session.tables(Mode::Create)?,
    };
    let info = tables.create_table(&args.table, options)?;
    session.answer(&info, &format!("table {} was created", info.name), out)
}

fn alter(session: &Session, args: &AlterArgs, out: &mut Out) -> Result<()> {
    let mut alter = args.history.alter();
    if let Some(file) = &args.schema {
        alter = alter.schema(read_schema(file)?);
    }
    if args.no_schema {
        alter = alter.no_schema();
    }
    if args.search || args.no_search {
        alter = alter.search(args.search);
    }
    if let Some(name) = &args.rename {
        alter = alter.rename(name.clone());
    }
    let info = session.tables(Mode::Write)?.alter(&args.table, &alter)?;
    let now = match &args.rename {
        Some(name) => format!(", and is {name} now"),
        None => String::new(),
    };
    let said = format!("table {} was altered{now}", args.table);
    session.answer(&info, &said, out)
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
    let row = |info: &TableInfo| {
        vec![
            info.name.to_string(),
            grouped(info.records),
            info.position.seq.to_string(),
            info.updated_at.to_string(),
            kind(&info.options),
        ]
    };
    let heading = ["TABLE", "RECORDS", "SEQ", "UPDATED", "OPTIONS"];
    session.print(list, &tables, NO_TABLES, &heading, row, out)
}

/// Returns the options that are set, in a word each.
fn kind(options: &TableOptions) -> String {
    let search = options.search.then_some("search");
    let sealed = options.sealed.then_some("sealed");
    let schema = options.schema.as_ref().map(|_| "schema");
    let words = [search, sealed, schema].into_iter().flatten();
    words.collect::<Vec<_>>().join(", ")
}

fn show(session: &Session, table: &TableName, out: &mut Out) -> Result<()> {
    let info = session.tables(Mode::Read)?.table(table)?;
    if session.json() {
        return out.json(&info);
    }
    let (options, position, floor) = (&info.options, info.position, info.floor);
    let transactions = |number| count(number, "transaction", "transactions");
    let kept = match floor > position.seq {
        true => "no transaction".to_owned(),
        false => format!(
            "{}, from seq {floor}",
            transactions(position.seq + 1 - floor)
        ),
    };
    let history = &options.history;
    let limits = format!(
        "{}, {}, {}",
        transactions(history.max_changes),
        humantime::format_duration(history.max_age()),
        indicatif::BinaryBytes(history.max_bytes)
    );
    let schema = options
        .schema
        .as_ref()
        .map_or("none", |schema| schema.as_str());
    let yes = |set| if set { "yes" } else { "no" }.to_owned();
    let rows = [
        ("table", info.name.to_string()),
        ("records", grouped(info.records)),
        ("position", info.position.to_string()),
        ("digest", info.digest.to_string()),
        ("created", info.created_at.to_string()),
        ("updated", info.updated_at.to_string()),
        ("history", kept),
        ("history limits", limits),
        ("search", yes(options.search)),
        ("sealed", yes(options.sealed)),
        ("schema", schema.to_owned()),
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
    session.answer(
        &info,
        &format!("table {table} with {records} was dropped"),
        out,
    )
}

fn rekey(session: &Session, table: &TableName, new: Option<&Path>, out: &mut Out) -> Result<()> {
    let store = session.store_for(table, Mode::Write)?;
    // Checked before the person is asked for a new passphrase.
    let sealed = store.table_info(table)?.options.sealed;
    let new = match new {
        Some(path) => Passphrase::read_file(path)?,
        None if sealed => {
            new_passphrase("a new passphrase is needed; give --new-passphrase-file FILE")?
        }
        None => {
            let table = table.clone();
            return Err(TableError::NotSealed { table }.into());
        }
    };
    session.warn_if_short(&new);
    let stays = store.has_passphrase(&new);
    let info = store.rekey(table, &new)?;
    if stays {
        session.note(
            "the new passphrase is the old one: the table has new keys, and its passphrase stays",
        );
    }
    let line = format!("table {table} was rekeyed, and is at {}", info.position);
    session.answer(&info, &line, out)?;
    // The table is rekeyed even if this fails.
    out.flush()?;
    let mib = std::fs::metadata(store.path()).map_or(0, |meta| meta.len() >> 20);
    // A smaller file is rewritten before the note could be read.
    if mib > 0 {
        session.note(&format!(
            "rewriting the file of {mib} MiB, so that no old value is left in it"
        ));
    }
    Ok(store.scrub()?)
}
