//! Completion of tables and keys. The shell runs the command with `COMPLETE` set.

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

/// Longest wait for an answer: the shell is blocked in the meantime.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Maximum number of keys that are offered, and so the most that are read.
const OFFERED: usize = 200;

/// Returns the command with a completer for each argument that has one.
pub(crate) fn definition() -> Command {
    fn with_offers(command: Command) -> Command {
        let is_new = command.get_name() == "create";
        // For these commands, `key` names a column.
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

/// Returns the tables whose names have this prefix.
fn tables(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |_, session, current| {
        let tables = session.tables(Mode::Read)?.tables()?;
        let names = tables.into_iter().map(|info| info.name.to_string());
        Ok(names.filter(|name| name.starts_with(current)).collect())
    })
}

/// Returns the keys with this prefix, of the table that the line names before.
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

/// Offers the candidates that are found in time, except words that a shell would interpret. An error
/// offers nothing, because there is no place to report it.
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
        // The receiver may have timed out.
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

/// Returns the command line that is being typed: the arguments after `--`.
fn line(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    args.skip_while(|arg| arg != "--").skip(1)
}
