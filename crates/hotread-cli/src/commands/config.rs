//! `hotread config`.

use super::Session;
use crate::args::ConfigCmd;
use crate::config::{self, file};
use crate::exit::Failure;
use crate::output::{Out, count};
use anyhow::Result;
use hotread_proto::Code;
use serde::Serialize;
use std::path::PathBuf;

pub(super) fn run(session: &Session, command: ConfigCmd, out: &mut Out) -> Result<()> {
    match command {
        ConfigCmd::Check { file } => check(session, file, out),
    }
}

fn check(session: &Session, file: Option<PathBuf>, out: &mut Out) -> Result<()> {
    #[derive(Serialize)]
    struct Told<'a> {
        file: String,
        #[serde(flatten)]
        problem: &'a file::Problem,
    }

    let file = file.filter(|path| !path.as_os_str().is_empty());
    let path = file.or_else(file::discover).ok_or_else(|| {
        Failure::usage(format!(
            "which file? there is no {} in this folder; name one",
            file::DISCOVERED
        ))
    })?;
    let name = path.display().to_string();
    let problems = match config::read(&path, true)? {
        Ok(settings) => {
            if !session.json() {
                let settings = count(settings.len() as u64, "setting", "settings");
                out.line(&format!("{name}: {settings}, no problems"))?;
            }
            return Ok(());
        }
        Err(problems) => problems,
    };
    for problem in &problems {
        if session.json() {
            let file = name.clone();
            out.json(&Told { file, problem })?;
        } else {
            out.line(&format!("{name}:{problem}"))?;
        }
    }
    let problems = count(problems.len() as u64, "problem", "problems");
    let message = format!("{name} has {problems}; a server does not start with it");
    Err(Failure::new(Code::BadConfig, message).into())
}
