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
    if let (Some(file), Some(db)) = (file, session.file()) {
        not_the_database(db, file)?;
    }
    if let Some(program) = file.and_then(compressor) {
        let message =
            format!("exports are not compressed; write to stdout, and pipe it through {program}");
        return Err(Failure::usage(message).into());
    }
    let format = match (args.format, file) {
        (None, None) => FileFormat::Ndjson,
        (Some(format), _) => format,
        (None, Some(file)) => format_of(file)?,
    };
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

/// Returns the format for a file's name.
///
/// # Errors
/// If the extension is unknown.
fn format_of(file: &Path) -> Result<FileFormat> {
    match (Format::of_name(file), file.extension()) {
        (Some((Format::Fields, None)), _) => Ok(FileFormat::Csv),
        (Some((Format::Fields, Some(_))), _) => Ok(FileFormat::Tsv),
        (Some((Format::Json, _)), _) => Ok(FileFormat::Json),
        (Some(_), _) | (None, None) => Ok(FileFormat::Ndjson),
        (None, Some(_)) => {
            let message = format!(
                "no format has the extension of {}; give .csv, .tsv, .tab, .ndjson, .jsonl or .json, or \
                 choose with --format csv, tsv, ndjson or json",
                file.display()
            );
            Err(Failure::usage(message).into())
        }
    }
}

/// Returns the program whose files have this extension.
fn compressor(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_ascii_lowercase().to_str()? {
        "gz" => Some("gzip"),
        "zst" => Some("zstd"),
        _ => None,
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
