//! `hotread export`.

use super::{Mode, Session};
use crate::args::{ExportArgs, FileFormat};
use crate::backend::Whole;
use crate::exit::Failure;
use crate::output::{Out, count};
use anyhow::{Context, Result};
use hotread_proto::Record;
use hotread_store::export;
use hotread_store::import::Format;
use std::io::{self, Write};
use std::path::Path;

pub(super) fn run(session: &Session, args: &ExportArgs, out: &mut Out) -> Result<()> {
    let file = args
        .output
        .as_deref()
        .filter(|file| *file != Path::new("-"));
    let format = args
        .format
        .or_else(|| file.and_then(guess))
        .unwrap_or(FileFormat::Ndjson);
    let ending = file.and_then(|file| file.extension()?.to_str());
    if let Some(ending @ ("gz" | "zst")) = ending {
        let message = format!(
            "exports are not compressed; write to stdout, and pipe it through {}",
            if ending == "gz" { "gzip" } else { "zstd" }
        );
        return Err(Failure::usage(message).into());
    }
    if let (Some(file), Some(db)) = (file, session.file()) {
        not_the_database(db, file)?;
    }
    let Whole { position, records } = session
        .tables_for(&args.table, Mode::Read)?
        .whole(&args.table)?;
    match file {
        None => write(&records, format, out).context("cannot write to stdout")?,
        Some(file) => export::write_file(file, |out| write(&records, format, out))
            .with_context(|| format!("cannot write {}", file.display()))?,
    }
    if session.verbose() || file.is_some() {
        let records_written = count(records.len() as u64, "record", "records");
        let table = &args.table;
        session.note(&format!("{records_written} of {table} at {position}"));
    }
    Ok(())
}

fn guess(file: &Path) -> Option<FileFormat> {
    match Format::of_name(file)? {
        (Format::Fields, None) => Some(FileFormat::Csv),
        (Format::Fields, Some(_)) => Some(FileFormat::Tsv),
        (Format::Json, _) => Some(FileFormat::Json),
        _ => Some(FileFormat::Ndjson),
    }
}

fn not_the_database(db: &Path, file: &Path) -> Result<()> {
    let same = match (file.canonicalize(), db.canonicalize()) {
        (Ok(file), Ok(db)) => file == db,
        _ => false,
    };
    if same {
        let message = format!(
            "{} is the database itself; write to another file",
            file.display()
        );
        return Err(Failure::usage(message).into());
    }
    Ok(())
}

fn write(records: &[Record], format: FileFormat, out: &mut impl Write) -> io::Result<()> {
    let format = match format {
        FileFormat::Csv => export::Format::Csv,
        FileFormat::Tsv => export::Format::Tsv,
        FileFormat::Ndjson => export::Format::Ndjson,
        FileFormat::Json => export::Format::Json,
    };
    export::write(format, records, out)?;
    out.flush()
}
