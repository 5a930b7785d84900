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
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub(super) fn run(session: &Session, args: &ExportArgs, out: &mut Out) -> Result<()> {
    let file = args
        .output
        .as_deref()
        .filter(|file| *file != Path::new("-"));
    let format = args
        .format
        .or_else(|| file.and_then(guess))
        .unwrap_or(FileFormat::Ndjson);
    if let (Some(file), Some(db)) = (file, session.file()) {
        not_the_database(db, file)?;
    }
    let Whole { position, records } = session
        .tables_for(&args.table, Mode::Read)?
        .whole(&args.table)?;
    match file {
        None => write(&records, format, out).context("cannot write to stdout")?,
        Some(file) => write_file(&records, format, file)
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
    match Format::guess(file)? {
        Format::Csv(options) if options.delimiter == b',' => Some(FileFormat::Csv),
        Format::Ndjson => Some(FileFormat::Ndjson),
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
    match format {
        FileFormat::Ndjson => records
            .iter()
            .try_for_each(|record| export::ndjson(record, out))?,
        FileFormat::Csv => {
            export::csv_header(out)?;
            records
                .iter()
                .try_for_each(|record| export::csv(record, out))?;
        }
    }
    out.flush()
}

/// Writes beside the file, which is replaced when all of it is there. Devices and pipes are written
/// to directly.
fn write_file(records: &[Record], format: FileFormat, file: &Path) -> io::Result<()> {
    if file.metadata().is_ok_and(|meta| !meta.is_file()) {
        return write(records, format, &mut BufWriter::new(File::create(file)?));
    }
    let part = Part::beside(file);
    let mut out = BufWriter::with_capacity(64 << 10, File::create(&part.0)?);
    write(records, format, &mut out)?;
    out.get_ref().sync_all()?;
    std::fs::rename(&part.0, file)
}

/// A file that is not finished; removed unless it was renamed.
struct Part(PathBuf);

impl Part {
    fn beside(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        Self(name.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
