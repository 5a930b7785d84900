//! `hotread import --dry-run`: the changes that an import would make.

use super::load::{self, Job, Loaded};
use super::{Files, Read, exit_code, say_read};
use crate::commands::{Mode, Session};
use crate::exit::{self, Failure};
use crate::output::{Out, count, grouped};
use anyhow::Result;
use hotread_proto::limits::FREE_DELETIONS;
use hotread_proto::{Code, Put, Record};
use serde::Serialize;
use std::process::ExitCode;

/// Keys that are shown for each kind of change.
const SHOWN: usize = 5;

/// Records with the same kind of change.
#[derive(Debug, Default, Serialize)]
struct Group {
    count: u64,
    /// Keys of the first ones.
    first: Vec<String>,
}

impl Group {
    fn add(&mut self, key: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(key.to_owned());
        }
    }

    /// Formats the group as `3 records: "a", "b", "c"`.
    fn tell(&self) -> String {
        let keys: Vec<_> = self.first.iter().map(|key| format!("{key:?}")).collect();
        let records = count(self.count, "record", "records");
        match (keys.is_empty(), self.count as usize > keys.len()) {
            (true, _) => records,
            (false, false) => format!("{records}: {}", keys.join(", ")),
            (false, true) => format!("{records}: {}, …", keys.join(", ")),
        }
    }
}

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
    let args = job.args;
    let mut loaded = Loaded::default();
    let rows = load::hold(job, &mut files, &mut loaded)?;
    job.bar.finish_and_clear();
    let before = before(session, args)?;
    let created = before.is_none();
    let before = before.unwrap_or_default();
    let (mut added, mut changed, mut unchanged) =
        (Group::default(), Group::default(), Group::default());
    let mut deleted = args.replace.then(Group::default);
    let mut left = before.iter().peekable();
    let mut delete = |record: &Record| {
        if let Some(deleted) = &mut deleted {
            deleted.add(record.key());
        }
    };
    // Rows and records are both in the order of their keys.
    for (key, (_, put)) in &rows {
        while let Some(record) = left.next_if(|record| record.key() < key.as_str()) {
            delete(record);
        }
        match left.next_if(|record| record.key() == key.as_str()) {
            None => added.add(key.as_str()),
            Some(record) if is_same(record, put) => unchanged.add(key.as_str()),
            Some(_) => changed.add(key.as_str()),
        }
    }
    left.for_each(delete);
    let gone = deleted.as_ref().map_or(0, |group| group.count);
    // The same check as that of the table.
    let allowed = match args.max_delete {
        100 => u64::MAX,
        percent => (before.len() as u64 * u64::from(percent) / 100).max(FREE_DELETIONS),
    };
    if args.replace && rows.is_empty() && !args.allow_empty {
        return Err(super::would_empty(&files.names(), "good rows", args));
    }
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
        out.line(&format!("{done}; nothing was changed"))?;
        if created {
            out.line(&format!("would create table {}", args.table))?;
        }
        out.line(&format!("would add {}", added.tell()))?;
        out.line(&format!("would change {}", changed.tell()))?;
        out.line(&format!(
            "would leave {} as they are",
            grouped(unchanged.count)
        ))?;
        if let Some(deleted) = deleted {
            out.line(&format!("would delete {}", deleted.tell()))?;
        }
    }
    if gone > allowed {
        let message = format!(
            "this would delete {} of {} records, and be refused; --max-delete allows it",
            grouped(gone),
            grouped(before.len() as u64)
        );
        return Err(Failure::new(Code::PreconditionFailed, message).into());
    }
    Ok(exit_code(&loaded))
}

/// Returns the records of the table, if it exists.
fn before(session: &Session, args: &crate::args::ImportArgs) -> Result<Option<Vec<Record>>> {
    let read = session
        .tables_for(&args.table, Mode::Read)
        .and_then(|tables| tables.whole(&args.table));
    match read {
        Ok(whole) => Ok(Some(whole.records)),
        Err(error) => match exit::body(&error).code {
            Code::UnknownTable | Code::NoSuchFile => Ok(None),
            _ => Err(error),
        },
    }
}

fn is_same(record: &Record, put: &Put) -> bool {
    record.value() == put.value.as_bytes()
        && record.category() == put.category.as_str()
        && record.expires_at() == put.expires_at
}
