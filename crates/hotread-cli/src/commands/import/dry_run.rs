//! `hotread import --dry-run`: the changes that an import would make. `compare.rs` compares the rows with
//! the table.

use super::compare::{Comparison, Group};
use super::failures::{interrupted, stopped, too_many};
use super::load::{self, Job, Loaded, MAX_HELD_BYTES};
use super::{Files, Read, exit_code, interrupt, say_read};
use crate::args::ImportArgs;
use crate::backend::Tables;
use crate::commands::{Mode, Session};
use crate::exit::{self, Failure};
use crate::output::{Out, grouped};
use anyhow::Result;
use hotread_proto::limits::FREE_DELETIONS;
use hotread_proto::{Code, TableInfo};
use hotread_store::TableSchema;
use serde::Serialize;
use std::process::ExitCode;

/// Planned changes, as JSON.
#[derive(Serialize)]
struct Plan<'a> {
    table: &'a str,
    dry_run: bool,
    /// `true` if the table would be created.
    created: bool,
    #[serde(flatten)]
    read: Read<'a>,
    added: Group,
    changed: Group,
    /// Records that are equal to their rows. Without `--replace`, they are written again.
    unchanged: Group,
    /// Records that a replacement would delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<Group>,
}

pub(super) fn run(
    session: &Session,
    job: &Job<'_>,
    mut files: Files,
    out: &mut Out,
) -> Result<ExitCode> {
    const DONE: &str = "nothing was changed";
    let args = job.args;
    let before = before(session, args)?;
    let schema = match &before {
        Some((_, info)) => TableSchema::of(info)?,
        None => None,
    };
    let created = before.is_none();
    let records = before.as_ref().map_or(0, |(_, info)| info.records);
    let mut comparison = Comparison::new(before.as_ref(), &args.table);
    let mut loaded = Loaded::default();
    let end = load::read(
        job,
        &mut files,
        &mut loaded,
        |origin, put, files, loaded| {
            if let Some(schema) = &schema
                && let Err(misfit) = schema.check(&put.key, &put.value)
            {
                if !args.skip_bad {
                    return Err(stopped(misfit.code(), origin, files, &misfit, DONE));
                }
                loaded.leave_out(files, origin, misfit);
                return Ok(());
            }
            comparison.add(put)?;
            if args.replace && comparison.held_bytes() > MAX_HELD_BYTES {
                return Err(too_many(&files.names(), MAX_HELD_BYTES));
            }
            Ok(())
        },
    )?;
    end.check(&files, DONE)?;
    comparison.finish()?;
    job.bar.finish_and_clear();
    if args.replace && comparison.is_empty() && !args.allow_empty {
        return Err(super::would_empty(&files.names(), "good rows", args));
    }
    let deleted = match args.replace {
        true => Some(comparison.deleted()?),
        false => None,
    };
    if interrupt::came() {
        return Err(interrupted(&files.names(), DONE));
    }
    let gone = deleted.as_ref().map_or(0, |group| group.count);
    // The same check as that of the table.
    let allowed = match args.max_delete {
        100 => u64::MAX,
        percent => (records * u64::from(percent) / 100).max(FREE_DELETIONS),
    };
    let [added, changed, unchanged] = comparison.groups();
    if session.json() {
        out.json(&Plan {
            table: args.table.as_str(),
            dry_run: true,
            created,
            read: Read::of(&loaded),
            added,
            changed,
            unchanged,
            deleted,
        })?;
    } else {
        let done = say_read(session, &loaded);
        out.line(&format!("{done}; {DONE}"))?;
        if created {
            out.line(&format!("would create table {}", args.table))?;
        }
        out.line(&format!("would add {}", added.tell()))?;
        out.line(&format!("would change {}", changed.tell()))?;
        let equal = grouped(unchanged.count);
        match args.replace {
            true => out.line(&format!("would leave {equal} as they are"))?,
            false if unchanged.count == 0 => {}
            // Each row is written, and so has a new sequence number and an entry in the history.
            false => out.line(&format!(
                "would write {equal} again with the values that they have"
            ))?,
        }
        if let Some(deleted) = deleted {
            out.line(&format!("would delete {}", deleted.tell()))?;
        }
    }
    if gone > allowed {
        let message = format!(
            "this would delete {} of {} records, and be refused; --max-delete allows it",
            grouped(gone),
            grouped(records)
        );
        return Err(Failure::new(Code::PreconditionFailed, message).into());
    }
    Ok(exit_code(&loaded))
}

/// Returns the table as it is now, if it exists.
fn before(session: &Session, args: &ImportArgs) -> Result<Option<(Tables, TableInfo)>> {
    let read = session
        .tables_for(&args.table, Mode::Read)
        .and_then(|tables| {
            let info = tables.table(&args.table)?;
            Ok((tables, info))
        });
    match read {
        Ok(before) => Ok(Some(before)),
        Err(error) => match exit::body(&error).code {
            Code::UnknownTable | Code::NoSuchFile => Ok(None),
            _ => Err(error),
        },
    }
}
