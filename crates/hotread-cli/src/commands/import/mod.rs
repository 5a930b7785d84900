//! `hotread import`: which file, read how, into which table, and what is said in the end. How the
//! rows get there is in `load.rs`.

mod failures;
mod load;

use super::{Mode, Session};
use crate::args::{FileFormat, ImportArgs};
use crate::backend::Tables;
use crate::exit::{self, Exit, Failure};
use crate::output::{Out, count, grouped};
use anyhow::{Context, Result};
use failures::{bad_row, unreadable, would_empty};
use hotread_proto::{Code, Digest, Epoch, TableName};
use hotread_store::TableOptions;
use hotread_store::import::{CsvOptions, Format, Rows};
use indicatif::{ProgressBar, ProgressStyle};
use load::Bad;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What was done, as JSON.
#[derive(Serialize)]
struct Imported<'a> {
    table: &'a str,
    created: bool,
    rows: u64,
    bad_rows: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bad: &'a Vec<Bad>,
    /// Of a replacement: records that were new or different, and that are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    records: u64,
    epoch: Epoch,
    seq: u64,
    digest: Digest,
    seconds: f64,
}

pub(super) fn run(session: &Session, args: ImportArgs, out: &mut Out) -> Result<ExitCode> {
    session.check_place()?;
    let start = Instant::now();
    let name = match args.file == Path::new("-") {
        true => "stdin".to_owned(),
        false => args.file.display().to_string(),
    };
    let format = format(&args)?;
    let (input, size) = open(&args.file)?;
    let mut rows = Rows::new(input, format).map_err(|error| unreadable(&error, &name, ""))?;
    // Before anything is created: a file that is not what it should be shows in its first row.
    let first = rows
        .next_row()
        .map_err(|error| unreadable(&error, &name, ""))?;
    if let Some(Err(error)) = &first
        && !args.skip_bad
    {
        return Err(bad_row(error, &name, "nothing was imported"));
    }
    if first.is_none() && args.replace && !args.allow_empty {
        return Err(would_empty(&name, "rows", &args));
    }

    let (tables, created) = table(session, &args.table)?;
    let bar = progress(session, size);
    let source = load::Source {
        rows,
        first,
        name: &name,
        bar: &bar,
    };
    let loaded = match args.replace {
        true => load::replace(&tables, &args, source, &|text| session.note(text)),
        false => load::commit(&tables, &args, source),
    };
    bar.finish_and_clear();
    let loaded = loaded?;

    let info = tables.table(&args.table)?;
    let seconds = start.elapsed().as_secs_f64();
    let bad_rows = loaded.bad_rows;
    if session.json() {
        out.json(&Imported {
            table: args.table.as_str(),
            created,
            rows: loaded.rows,
            bad_rows,
            bad: &loaded.bad,
            written: loaded.replaced.map(|(written, _)| written),
            deleted: loaded.replaced.map(|(_, deleted)| deleted),
            records: info.records,
            epoch: info.position.epoch,
            seq: info.position.seq,
            digest: info.digest,
            seconds,
        })?;
    } else {
        for bad in &loaded.bad {
            session.note(&format!("{name}, line {}: {}", bad.line, bad.message));
        }
        let listed = loaded.bad.len() as u64;
        if bad_rows > listed {
            session.note(&format!(
                "{name}: and {} more bad rows",
                grouped(bad_rows - listed)
            ));
        }
        let mut done = count(loaded.rows, "row", "rows") + " read";
        if bad_rows > 0 {
            done.push_str(&format!(", {} left out", grouped(bad_rows)));
        }
        if let Some((written, deleted)) = loaded.replaced {
            done.push_str(&format!(", {} written", grouped(written)));
            done.push_str(&format!(", {} deleted", grouped(deleted)));
        }
        let records = count(info.records, "record", "records");
        let rate = grouped((loaded.rows as f64 / seconds) as u64);
        out.line(&format!(
            "{done}; {records} in {}; {seconds:.1} s, {rate} rows/s; digest {}",
            info.name, info.digest
        ))?;
    }
    Ok(if bad_rows > 0 {
        Exit::Partial.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// The tables, and whether the one that is meant had to be created.
fn table(session: &Session, name: &TableName) -> Result<(Tables, bool)> {
    let tables = session.tables_for(name, Mode::Create)?;
    match tables.table(name) {
        Ok(_) => Ok((tables, false)),
        Err(error) if exit::body(&error).code == Code::UnknownTable => {
            tables.create_table(name, TableOptions::default())?;
            session.note(&format!("table {name} was created"));
            Ok((tables, true))
        }
        Err(error) => Err(error),
    }
}

/// The input, and its size if that is known.
fn open(file: &Path) -> Result<(Box<dyn Read>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let named = || format!("cannot read {}", file.display());
    let input = File::open(file).map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::NoSuchFile,
            _ => Code::BadRequest,
        };
        let message = format!("{}: {error}; check the path", named());
        Failure::with(Exit::Error, hotread_proto::ErrorBody::new(code, message))
    })?;
    let meta = input.metadata().with_context(named)?;
    if meta.is_dir() {
        let message = format!("{}: it is a directory; give a file", named());
        return Err(Failure::new(Code::BadRequest, message).into());
    }
    let size = meta.is_file().then_some(meta.len());
    Ok((Box::new(input), size))
}

fn format(args: &ImportArgs) -> Result<Format> {
    let guessed = Format::guess(&args.file);
    let format = match (args.format, guessed) {
        (Some(FileFormat::Ndjson), _) => Format::Ndjson,
        (Some(FileFormat::Csv), Some(Format::Csv(options))) => Format::Csv(options),
        (Some(FileFormat::Csv), _) => Format::Csv(CsvOptions::default()),
        (None, Some(format)) => format,
        (None, None) => {
            let message = "what the file is cannot be told from its name; \
                           give --format csv or --format ndjson";
            return Err(Failure::usage(message).into());
        }
    };
    match format {
        Format::Csv(options) => Ok(Format::Csv(CsvOptions {
            key: args.key.clone().unwrap_or(options.key),
            columns: args.columns.clone(),
            delimiter: args.delimiter.unwrap_or(options.delimiter),
            comment: args.comment,
        })),
        format => {
            let of_csv = [
                ("--key", args.key.is_some()),
                ("--no-header", args.no_header),
                ("--comment", args.comment.is_some()),
                ("--delimiter", args.delimiter.is_some()),
            ];
            match of_csv.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(Failure::usage(format!(
                    "{option} is for CSV, and this is NDJSON; leave it out, or give --format csv"
                ))
                .into()),
                None => Ok(format),
            }
        }
    }
}

/// How far it is, for those who watch.
fn progress(session: &Session, size: Option<u64>) -> ProgressBar {
    if session.json() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{bar:30} {percent:>3}% {bytes} of {total_bytes}, {msg}, {eta} left",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {bytes}, {msg}, {elapsed}",
        ),
    };
    // The templates are right: a test draws both.
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_the_progress_bar_are_well_formed() {
        for template in [
            "{bar:30} {percent:>3}% {bytes} of {total_bytes}, {msg}, {eta} left",
            "{spinner} {bytes}, {msg}, {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
