//! `hotread import`: opening the files and the table, and reporting the result. `load.rs` does the work.

mod compare;
mod dry_run;
mod failures;
mod files;
mod interrupt;
mod load;
mod seen;

use super::{Mode, Session};
use crate::args::ImportArgs;
use crate::backend::Tables;
use crate::exit::{self, Exit, Failure};
use crate::output::{Out, count, grouped};
use anyhow::Result;
use failures::{interrupted, would_empty};
use files::{Bad, Files};
use hotread_proto::{Code, Digest, Epoch};
use hotread_store::TableOptions;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use load::{Held, Job, Loaded};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Result of an import, as JSON.
#[derive(Serialize)]
struct Imported<'a> {
    table: &'a str,
    created: bool,
    #[serde(flatten)]
    read: Read<'a>,
    /// Records that a replacement wrote because they were new or different.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<u64>,
    /// Records that a replacement deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    records: u64,
    epoch: Epoch,
    seq: u64,
    digest: Digest,
    seconds: f64,
}

/// Rows that were read, as JSON.
#[derive(Serialize)]
struct Read<'a> {
    rows: u64,
    bad_rows: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bad: &'a Vec<Bad>,
    /// Rows with a key that appeared before.
    duplicates: u64,
}

impl<'a> Read<'a> {
    fn of(loaded: &'a Loaded) -> Self {
        Self {
            rows: loaded.rows,
            bad_rows: loaded.bad_rows,
            bad: &loaded.bad,
            duplicates: loaded.seen.again,
        }
    }
}

/// Rows to be imported.
enum Rows {
    Unread(Files),
    /// Read whole, for a replacement.
    Held(Held),
}

pub(super) fn run(session: &Session, args: ImportArgs, out: &mut Out) -> Result<ExitCode> {
    session.check_place()?;
    let start = Instant::now();
    let bar = ProgressBar::hidden();
    interrupt::watch()?;
    let done = checked(&args, &bar).and_then(|files| {
        let job = Job {
            args: &args,
            list: session.verbose(),
            bar: &bar,
        };
        if !session.json() {
            show(&bar, files.bytes());
        }
        match args.dry_run {
            true => dry_run::run(session, &job, files, out),
            false => import(session, &job, files, start, out),
        }
    });
    bar.finish_and_clear();
    match done {
        Err(error) if interrupt::came() => {
            exit::report(&error, session.json());
            Ok(interrupt::exit_code().into())
        }
        done => done,
    }
}

/// Opens the files, and checks them as far as possible before anything is created: a file of the wrong kind
/// fails at its first row.
fn checked(args: &ImportArgs, bar: &ProgressBar) -> Result<Files> {
    let mut files = Files::open(args, bar)?;
    let empty = files
        .check_arrays(args)
        .and_then(|()| files.tell_types(args))
        .and_then(|()| files.check_first(args));
    if interrupt::came() {
        return Err(interrupted(&files.names(), "nothing was imported"));
    }
    if empty? && args.replace && !args.allow_empty {
        return Err(would_empty(&files.names(), "rows", args));
    }
    Ok(files)
}

fn import(
    session: &Session,
    job: &Job<'_>,
    files: Files,
    start: Instant,
    out: &mut Out,
) -> Result<ExitCode> {
    let args = job.args;
    let read = match args.replace {
        // All rows are read before anything is created.
        true => Rows::Held(Held::read(job, files)?),
        false => Rows::Unread(files),
    };
    let (tables, created) = table(session, args)?;
    let loaded = match read {
        Rows::Held(held) => load::replace(&tables, job, held, &|text| session.note(text)),
        Rows::Unread(files) => load::commit(&tables, job, files),
    }?;
    job.bar.finish_and_clear();

    let info = tables.table(&args.table)?;
    let seconds = start.elapsed().as_secs_f64();
    if session.json() {
        out.json(&Imported {
            table: args.table.as_str(),
            created,
            read: Read::of(&loaded),
            written: loaded.replaced.map(|(written, _)| written),
            deleted: loaded.replaced.map(|(_, deleted)| deleted),
            records: info.records,
            epoch: info.position.epoch,
            seq: info.position.seq,
            digest: info.digest,
            seconds,
        })?;
    } else {
        let mut done = say_read(session, &loaded);
        if let Some((written, deleted)) = loaded.replaced {
            done.push_str(&format!(", {} written", grouped(written)));
            done.push_str(&format!(", {} deleted", grouped(deleted)));
        }
        let records = count(info.records, "record", "records");
        let rate = match loaded.rows {
            0 => String::new(),
            rows => format!(", {} rows/s", grouped((rows as f64 / seconds) as u64)),
        };
        out.line(&format!(
            "{done}; {records} in {}; {seconds:.1} s{rate}; digest {}",
            info.name, info.digest
        ))?;
    }
    Ok(exit_code(&loaded))
}

fn exit_code(loaded: &Loaded) -> ExitCode {
    match loaded.bad_rows {
        0 => ExitCode::SUCCESS,
        _ => Exit::Partial.into(),
    }
}

/// Lists bad and repeated rows, and returns a summary of the rows that were read.
fn say_read(session: &Session, loaded: &Loaded) -> String {
    let list = |listed: &mut dyn Iterator<Item = String>, all: u64, what: &str| {
        let mut left = all;
        for line in listed {
            session.note(&line);
            left -= 1;
        }
        if left > 0 && left < all {
            session.note(&format!("and {} more {what}", grouped(left)));
        }
    };
    let Loaded { bad, seen, .. } = loaded;
    if let Some(rows) = loaded.all_skipped {
        session.note(&format!(
            "nothing was read: --skip-rows is more than the {} of the files",
            count(rows, "row", "rows")
        ));
    }
    let (mut bad, mut again) = (bad.iter().map(Bad::to_string), seen.listed.iter().cloned());
    list(&mut bad, loaded.bad_rows, "bad rows");
    list(
        &mut again,
        seen.again,
        "rows with keys that appeared before",
    );
    if !seen.is_exact() {
        session.note("there are more keys than fit in memory: more of them may be repeated");
    }
    let mut done = count(loaded.rows, "row", "rows") + " read";
    if loaded.bad_rows > 0 {
        done.push_str(&format!(", {} left out", grouped(loaded.bad_rows)));
    }
    if seen.again > 0 {
        let keys = count(seen.again, "row had a key", "rows had keys");
        done.push_str(&format!(", {keys} that appeared before"));
    }
    done
}

/// Returns the tables; `true` if the table of the import had to be created.
fn table(session: &Session, args: &ImportArgs) -> Result<(Tables, bool)> {
    let name = &args.table;
    let tables = session.tables_for(name, Mode::Create)?;
    match tables.table(name) {
        Ok(_) => Ok((tables, false)),
        Err(error) if exit::body(&error).code == Code::UnknownTable => {
            // A table that is created now would not meet it, and stay behind empty.
            if let Some(seq) = args.if_seq.filter(|seq| *seq > 0) {
                let message = format!(
                    "there is no table {name}, so its last transaction is not {seq}, as --if-seq expects; \
                     check the name, or omit --if-seq"
                );
                return Err(Failure::new(Code::PreconditionFailed, message).into());
            }
            tables.create_table(name, TableOptions::default())?;
            session.note(&format!("table {name} was created"));
            Ok((tables, true))
        }
        Err(error) if exit::body(&error).code == Code::Forbidden => {
            // The lookup needs less than the import.
            let message = exit::body(&error).message;
            let message = message.replace("needs the role read", "needs the role write");
            Err(Failure::new(Code::Forbidden, message).into())
        }
        Err(error) => Err(error),
    }
}

const OF_FILES: &str = "{bar:30} {percent:>3}% {bytes} of {total_bytes}, {msg}, {eta} left";
const OF_PIPES: &str = "{spinner} {bytes}, {msg}, {elapsed}";

/// Shows progress on a terminal.
fn show(bar: &ProgressBar, size: Option<u64>) {
    let template = match size {
        Some(bytes) => {
            bar.set_length(bytes);
            OF_FILES
        }
        None => OF_PIPES,
    };
    // The templates are valid: a test draws both.
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(200));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_the_progress_bar_are_well_formed() {
        for template in [OF_FILES, OF_PIPES] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
