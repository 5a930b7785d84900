//! `hotread migrate`.

use super::{Session, confirm};
use crate::args::MigrateCmd;
use crate::output::Out;
use anyhow::Result;
use hotread_store::migrate::{self, ALL, LATEST, MigrateError};
use serde::Serialize;

/// Answer to each of the commands.
#[derive(Serialize)]
struct Status {
    version: i32,
    latest: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    migrations: Vec<Migration>,
}

#[derive(Serialize)]
struct Migration {
    version: i32,
    title: &'static str,
    loses: &'static str,
    applied: bool,
}

pub(super) fn run(session: &Session, command: &MigrateCmd, out: &mut Out) -> Result<()> {
    let db = session.db()?;
    match *command {
        MigrateCmd::Status => status(session, out),
        MigrateCmd::Up => {
            let before = migrate::status(db)?.version;
            let version = migrate::up(db)?.version;
            answer(session, before, version, out)
        }
        MigrateCmd::Down { to, yes } => {
            let before = migrate::status(db)?.version;
            if to < 1 || to >= before {
                return Err(MigrateError::NoSuchVersion { from: before, to }.into());
            }
            let steps = ALL
                .iter()
                .filter(|step| (to + 1..=before).contains(&step.version));
            let lost: Vec<_> = steps.map(|step| step.loses).collect();
            let lost = lost.join(", and ");
            confirm(
                yes,
                &format!("going from version {before} to {to} loses {lost}"),
            )?;
            let version = migrate::down(db, to)?.version;
            session.note(&format!("lost: {lost}"));
            answer(session, before, version, out)
        }
    }
}

fn answer(session: &Session, before: i32, version: i32, out: &mut Out) -> Result<()> {
    let line = match version == before {
        true => format!("schema version {version}, as before"),
        false => format!("schema version {version}, was {before}"),
    };
    let status = Status {
        version,
        latest: LATEST,
        migrations: Vec::new(),
    };
    session.answer(&status, &line, out)
}

fn status(session: &Session, out: &mut Out) -> Result<()> {
    let version = migrate::status(session.db()?)?.version;
    let migration = |step: &migrate::Migration| Migration {
        version: step.version,
        title: step.title,
        loses: step.loses,
        applied: step.version <= version,
    };
    let status = Status {
        version,
        latest: LATEST,
        migrations: ALL.iter().map(migration).collect(),
    };
    let line = match version == LATEST {
        true => format!("schema version {version}, the newest"),
        false => format!(
            "schema version {version}; {LATEST} is the newest, and `hotread migrate up` migrates to it"
        ),
    };
    session.answer(&status, &line, out)?;
    if session.json() {
        return Ok(());
    }
    status.migrations.iter().try_for_each(|step| {
        let applied = if step.applied { "applied" } else { "missing" };
        let (version, title, loses) = (step.version, step.title, step.loses);
        out.line(&format!(
            "{version}  {applied}  adds {title}; going back loses {loses}"
        ))
    })
}
