//! Completion of tables and keys. A shell asks by running the command with `COMPLETE` set.

use super::{Mode, Session};
use crate::args::{self, Needs};
use anyhow::Result;
use clap::{ArgMatches, Command};
use clap_complete::{ArgValueCompleter, CompletionCandidate};
use hotread_proto::{Scan, TableName};
use std::env;
use std::ffi::{OsStr, OsString};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Longest wait for an answer: the shell can do nothing else meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Most keys that are offered: more are not looked through.
const OFFERED: usize = 200;

/// The command with what is offered for its arguments.
pub(crate) fn definition() -> Command {
    fn with_offers(command: Command) -> Command {
        let is_new = command.get_name() == "create";
        // There, a key is the name of a column.
        let is_column = matches!(command.get_name(), "import" | "demo");
        let command = command.mut_args(|arg| match arg.get_id().as_str() {
            "table" if is_new => arg,
            "table" | "tables" => arg.add(ArgValueCompleter::new(tables)),
            "key" if is_column => arg,
            "key" | "keys" | "after" | "prefix" => arg.add(ArgValueCompleter::new(keys)),
            _ => arg,
        });
        command.mut_subcommands(with_offers)
    }
    with_offers(args::definition())
}

/// The tables whose names begin so.
fn tables(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |_, session, current| {
        let tables = session.tables(Mode::Read)?.tables()?;
        let names = tables.into_iter().map(|info| info.name.to_string());
        Ok(names.filter(|name| name.starts_with(current)).collect())
    })
}

/// The keys of the table before on the line that begin so.
fn keys(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |matches, session, current| {
        let mut matches = matches;
        while let Some((_, below)) = matches.subcommand() {
            matches = below;
        }
        let Ok(Some(table)) = matches.try_get_one::<TableName>("table") else {
            return Ok(Vec::new());
        };
        let page = session.tables(Mode::Read)?.scan(
            table,
            &Scan {
                prefix: current.to_owned(),
                limit: OFFERED,
                ..Scan::default()
            },
        )?;
        Ok(page
            .records
            .iter()
            .map(|record| record.key().to_owned())
            .collect())
    })
}

/// Offers what is found within the time, without words that a shell would read as something else. An error
/// offers nothing: there is no place to report it.
fn offer(
    current: &OsStr,
    find: impl FnOnce(&ArgMatches, &Session, &str) -> Result<Vec<String>> + Send + 'static,
) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str().map(str::to_owned) else {
        return Vec::new();
    };
    let (send, found) = channel();
    let ask = move || {
        let words = line(env::args_os());
        let Some((global, matches)) = args::so_far(words) else {
            return;
        };
        let Ok(place) = global.place(Needs::Tables) else {
            return;
        };
        let session = Session {
            global,
            needs: Needs::Tables,
            place,
        };
        // The other end may have stopped waiting.
        let _ = send.send(find(&matches, &session, &current));
    };
    if thread::Builder::new().spawn(ask).is_err() {
        return Vec::new();
    }
    let Ok(Ok(found)) = found.recv_timeout(ANSWER_WITHIN) else {
        return Vec::new();
    };
    let is_word = |text: &String| {
        text.chars()
            .all(|c| c.is_alphanumeric() || "-_./@%+,=:".contains(c))
    };
    found
        .into_iter()
        .filter(is_word)
        .map(CompletionCandidate::new)
        .collect()
}

/// The command line that is being typed: what comes after `--`.
fn line(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.skip_while(|arg| arg != "--").skip(1)
}
