//! The grammar of the command line, and the texts of `--help`. Commands are run elsewhere.

mod demo;
mod follow;
mod format;
mod global;
mod help;
mod import;
mod records;
mod serve;
mod values;

pub(crate) use demo::{Child, DemoArgs, ShowArgs};
pub(crate) use follow::WatchArgs;
pub(crate) use format::{FormatArgs, ListFormat};
pub(crate) use global::{Global, Needs, Place, Secret, TlsFiles};
pub(crate) use help::{exit_codes, notes_and_examples, plain};
pub(crate) use import::{EmptyField, FileFormat, ImportArgs, Quote, TypeOf};
pub(crate) use records::{
    GetArgs, HistoryArgs, LsArgs, RangeArgs, RmArgs, SearchArgs, SetArgs, TxnArgs,
};
pub(crate) use serve::{ConfigCmd, LogFormat, ServeArgs, TokenCmd};
pub(crate) use values::Since;

use crate::output::colour::When;
use clap::builder::Resettable;
use clap::{
    ArgGroup, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueEnum, ValueHint,
};
use global::Given;
use hotread_proto::{Alter, TableName};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use values::{bytes, duration};

/// Records listed in a table if no `--limit` is given: a few screens.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Transactions listed in a table if no `--limit` is given: one screen.
pub(crate) const DEFAULT_CHANGES: usize = 20;
/// Bad rows that an import lists individually; the others are only counted.
pub(crate) const DEFAULT_LISTED: usize = 100;

/// Durable tables in one file, read and changed from the shell.
///
/// A database is one file with tables of records. A record has a key, a JSON value, a category and, if
/// it is to expire, an expiry time. Each change is a transaction with a number, kept in the table's
/// history for a while.
#[derive(Debug, Parser)]
#[command(
    name = "hotread",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Commands that only read work while another program has the database open for writing. Commands that
write go through that program if it is a server: give --url instead of --db.

With --json, answers are JSON, lists are one object per line, and an error is one line of JSON on
stderr: {\"code\", \"message\", …}.

Examples:
  export HOTREAD_DB=app.db
  hotread table create flags
  hotread set flags dark-mode '{\"enabled\": true}'
  hotread get flags dark-mode
  hotread import countries countries.csv --key code
  hotread ls countries --prefix F
  # in another shell
  hotread serve
  hotread --url 127.0.0.1:7400 set flags dark-mode false"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Cmd,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cmd {
    /// Migrate a database's schema to another version, or show its version
    #[command(subcommand)]
    Migrate(MigrateCmd),
    /// Create, list, show, alter, drop or rekey tables
    #[command(subcommand)]
    Table(TableCmd),
    /// Write a record
    #[command(visible_alias = "put", after_help = records::SET_HELP)]
    Set(SetArgs),
    /// Print the values of records
    #[command(after_help = records::GET_HELP)]
    Get(GetArgs),
    /// Delete records
    #[command(visible_alias = "del", after_help = records::RM_HELP)]
    Rm(RmArgs),
    /// Apply several changes at once, if conditions hold
    #[command(after_help = records::TXN_HELP)]
    Txn(TxnArgs),
    /// List records in the order of their keys
    #[command(visible_alias = "list", after_help = records::LS_HELP)]
    Ls(LsArgs),
    /// List the keys of records
    #[command(after_help = records::KEYS_HELP)]
    Keys(RangeArgs),
    /// Search keys and values; the table needs an index (--search of `table create` or `table alter`)
    #[command(after_help = records::SEARCH_HELP)]
    Search(SearchArgs),
    /// Import records from CSV, TSV, NDJSON or JSON files
    #[command(after_help = import::IMPORT_HELP)]
    Import(ImportArgs),
    /// Write all records of a table to a file or to stdout
    #[command(after_help = "\
The export is one state of the table, even if others commit meanwhile; with -v or -o, its position is
reported on stderr. The table is held in memory for that. Through a server (--url), the state is that
of a replica, checked by its digest; a transaction that is committed during the read may be included
without being counted in the position.

NDJSON has one {\"key\", \"value\", \"category\"?, \"expires_at\"?} on each line, JSON an array of these.
CSV and TSV have a column for each of these, in which `value` holds JSON, and the columns seq and updated_at,
which an import ignores. Apart from these two, an import reads each format back to the byte, without --key.
A file given with -o is replaced only when everything has been written.

Examples:
  hotread export flags > flags.ndjson
  hotread export flags -o flags.csv
  hotread export flags | hotread --db other.db import flags - --format ndjson")]
    Export(ExportArgs),
    /// Show a table's last transactions, the newest last
    #[command(after_help = records::HISTORY_HELP)]
    History(HistoryArgs),
    /// Copy the database to a file, while other processes read and write it
    #[command(after_help = "\
The copy is one state of all tables, and a database itself.

Examples:
  hotread backup /var/backups/app-monday.db")]
    Backup {
        /// The file to write; it must not exist
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Create a database (--db) from a backup
    #[command(after_help = "\
The database given with --db must not exist. Its tables begin new epochs, so that replicas do not take
them for a continuation of the old ones.

Examples:
  hotread --db app.db restore /var/backups/app-monday.db")]
    Restore {
        /// The backup
        #[arg(value_hint = ValueHint::FilePath)]
        from: PathBuf,
    },
    /// Check the whole database, and show the tables' digests
    #[command(after_help = "\
Reads everything. CONTENT is a digest of keys and values alone: tables with equal content have equal
digests, even in different databases. The exit code is 6 if there are problems.

Examples:
  hotread verify
  hotread verify --json | jq -r '.tables[] | [.name, .content] | @tsv'")]
    Verify,
    /// Print a table's changes as they are committed, one per line
    #[command(after_help = follow::WATCH_HELP)]
    Watch(WatchArgs),
    /// Show a server's tables and the clients that follow them
    #[command(after_help = follow::STATUS_HELP)]
    Status,
    /// Serve the database over HTTP and WebSocket
    #[command(after_help = serve::SERVE_HELP)]
    Serve(ServeArgs),
    /// Check a configuration file
    #[command(subcommand)]
    Config(ConfigCmd),
    /// Create, list or revoke the tokens that a server requires
    #[command(subcommand)]
    Token(TokenCmd),
    /// Demonstrate HotRead on this machine, in about 15 seconds
    #[command(after_help = demo::DEMO_HELP)]
    Demo(DemoArgs),
    /// Write manual pages of all commands to a folder
    #[command(after_help = "\
Examples:
  hotread man ~/.local/share/man/man1
  man hotread-get")]
    Man {
        /// The folder, created if it does not exist
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Print a script that completes this command's arguments in a shell
    #[command(after_help = "\
The script knows commands and options. To complete tables and keys as well, those of --db, --url or the
environment, the shell must ask the command each time: put the first or second of these lines into the
file that the shell reads at its start. (The third is for fish.)

  source <(COMPLETE=bash hotread)
  source <(COMPLETE=zsh hotread)
  COMPLETE=fish hotread | source

Examples:
  hotread completions bash > /etc/bash_completion.d/hotread
  hotread completions zsh > \"${fpath[1]}/_hotread\"
  hotread completions fish > ~/.config/fish/completions/hotread.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Cmd {
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Self::Migrate(_)
            | Self::Table(TableCmd::Rekey { .. })
            | Self::Backup { .. }
            | Self::Restore { .. }
            | Self::Verify
            | Self::Serve(_) => Needs::File,
            Self::Watch(_) | Self::Status => Needs::Server,
            Self::Config(_) | Self::Demo(_) | Self::Man { .. } | Self::Completions { .. } => {
                Needs::Nothing
            }
            _ => Needs::Tables,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCmd {
    /// Migrate to the newest version, as opening the database for writing does
    #[command(after_help = "Examples:\n  hotread migrate up")]
    Up,
    /// Migrate back to an older version; says what is lost
    #[command(after_help = "\
Make a backup first.

Examples:
  # says what is lost, and asks
  hotread migrate down 2
  hotread migrate down 2 --yes")]
    Down {
        /// The version
        to: i32,
        /// Skip the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Show the database's version, and list all versions
    #[command(after_help = "Examples:\n  hotread migrate status")]
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TableCmd {
    /// Create a table, and the database if it does not exist
    #[command(after_help = "\
Sealed tables keep their values encrypted on disk. All sealed tables that a command uses have the
passphrase that --passphrase-file or the terminal gives; through a server, that of the server. Keys and
categories are not encrypted.

The history is kept within all of its three limits; sizes are given as 256MiB, ages as 7d or 12h.

Examples:
  hotread table create flags
  hotread table create oui --search
  hotread table create keys --sealed --passphrase-file /etc/app/passphrase
  hotread table create prices --schema price.schema.json --history-changes 1000 --history-age 1d")]
    Create(CreateArgs),
    /// Change a table's schema, index, name or history limits
    #[command(after_help = "\
A new schema is checked against every record. If a record does not fit, the error names its key, and the
table stays as it was. The table's position, history and readers stay in any case.

Examples:
  hotread table alter prices --schema price.schema.json
  hotread table alter prices --no-schema
  hotread table alter oui --search
  hotread table alter flags --rename switches
  hotread table alter flags --history-changes 1000 --history-age 1d")]
    Alter(AlterArgs),
    /// List the tables
    #[command(
        after_help = "Examples:\n  hotread table list\n  hotread table list --json | jq -r .name"
    )]
    List(FormatArgs),
    /// Show the details of a table
    #[command(
        after_help = "Examples:\n  hotread table show flags\n  hotread table show flags --json | jq .seq"
    )]
    Show {
        /// The table
        table: TableName,
    },
    /// Drop a table with its records and its history
    #[command(
        after_help = "Examples:\n  hotread table drop flags\n  hotread table drop flags --yes"
    )]
    Drop {
        /// The table
        table: TableName,
        /// Skip the confirmation
        #[arg(long, short)]
        yes: bool,
    },
    /// Rekey a sealed table with a new passphrase
    #[command(after_help = "\
Every value is encrypted again, and the table begins a new epoch. The old passphrase comes from
--passphrase-file. Backups made before keep the old one. The same passphrase again gives the table new
keys only.

Examples:
  hotread table rekey keys --passphrase-file old.txt --new-passphrase-file new.txt")]
    Rekey {
        /// The table
        table: TableName,
        /// File with the new passphrase [default: ask on the terminal]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        new_passphrase_file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name: lower-case letters, digits, `-` and `_`
    pub(crate) table: TableName,
    /// Keep a full-text index of keys and values; about doubles the cost of a write
    #[arg(long)]
    pub(crate) search: bool,
    /// Keep values encrypted on disk
    #[arg(long)]
    pub(crate) sealed: bool,
    /// File with a JSON Schema that every value must fit
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) schema: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) history: KeptArgs,
}

#[derive(Debug, Args)]
#[command(override_usage = "hotread table alter [OPTIONS] <TABLE>")]
#[command(group = ArgGroup::new("what").args(["schema", "no_schema", "search", "no_search", "rename", "history_changes", "history_age", "history_bytes"]).required(true).multiple(true))]
pub(crate) struct AlterArgs {
    /// The table
    pub(crate) table: TableName,
    /// File with a JSON Schema that every value must fit
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_schema")]
    pub(crate) schema: Option<PathBuf>,
    /// Remove the schema
    #[arg(long)]
    pub(crate) no_schema: bool,
    /// Build a full-text index, while writers continue
    #[arg(long, conflicts_with = "no_search")]
    pub(crate) search: bool,
    /// Remove the full-text index
    #[arg(long)]
    pub(crate) no_search: bool,
    /// Rename the table; programs that follow the old name see the table as dropped
    #[arg(long, value_name = "NAME")]
    pub(crate) rename: Option<TableName>,
    #[command(flatten)]
    pub(crate) history: KeptArgs,
}

/// Limits of a table's history. A limit that is not given is the default for a new table, and stays as
/// it is for an existing one.
#[derive(Debug, Args)]
pub(crate) struct KeptArgs {
    /// Maximum number of transactions to keep in the history [default: 10000 in a new table,
    /// otherwise unchanged]
    #[arg(long, value_name = "N")]
    pub(crate) history_changes: Option<u64>,
    /// Longest time to keep transactions in the history [default: 7d in a new table, otherwise
    /// unchanged]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) history_age: Option<Duration>,
    /// Maximum bytes of keys and values to keep in the history [default: 256MiB in a new table,
    /// otherwise unchanged]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) history_bytes: Option<u64>,
}

impl KeptArgs {
    /// Returns the alteration that sets the given limits.
    pub(crate) fn alter(&self) -> Alter {
        let age_s = self.history_age.map(|age| age.as_secs());
        let alter = self
            .history_changes
            .into_iter()
            .fold(Alter::new(), Alter::max_changes);
        let alter = age_s.into_iter().fold(alter, Alter::max_age_s);
        self.history_bytes.into_iter().fold(alter, Alter::max_bytes)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The table
    pub(crate) table: TableName,
    /// Format of the export [default: by the file's extension: .csv, .tsv, .tab, .ndjson, .jsonl,
    /// .json; ndjson for stdout and files without extension]
    #[arg(long)]
    pub(crate) format: Option<FileFormat>,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

/// Parses the command line and the environment.
///
/// # Errors
/// If they are wrong, or ask for help.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let [help, flag] = &words[..]
        && help == "help"
        && (flag == "--help" || flag == "-h")
    {
        // The parser's own `help` takes commands only.
        command().try_get_matches_from(["hotread", "--help"])?;
    }
    // Laying out all help texts takes longer than parsing, so it waits until one of them is shown.
    let matches = definition()
        .try_get_matches()
        .or_else(|_| command().try_get_matches())?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.given = Given::of(&matches);
    Ok(cli)
}

/// Returns the use of colour that a command line asks for which cannot be parsed, or asks for help.
pub(crate) fn colour_so_far() -> When {
    let words: Vec<_> = std::env::args()
        .skip(1)
        .take_while(|word| word != "--")
        .collect();
    let given = words.iter().enumerate().rev().find_map(|(at, word)| {
        let name = word
            .strip_prefix("--color")
            .or(word.strip_prefix("--colour"))?;
        match name.strip_prefix('=') {
            Some(value) => Some(value),
            None => words
                .get(at + 1)
                .map(String::as_str)
                .filter(|_| name.is_empty()),
        }
    });
    let when = given.map(|value| When::from_str(value, false));
    when.and_then(Result::ok).unwrap_or_default()
}

/// Returns the command as it is parsed and explained.
pub(crate) fn command() -> Command {
    help::explain(definition())
}

/// Returns the one definition of which parsing, help, manual pages and completion are made.
pub(crate) fn definition() -> Command {
    fn with_variables(command: Command) -> Command {
        let command = command.mut_args(|arg| {
            // They may hold secrets.
            let arg = arg.hide_env_values(true);
            let value = arg.get_env().and_then(std::env::var_os);
            match value.is_some_and(|value| value.is_empty()) {
                // One that is empty counts as unset.
                true => arg.env(Resettable::Reset),
                false => arg,
            }
        });
        command.mut_subcommands(with_variables)
    }
    with_variables(Cli::command())
}

/// Parses an incomplete command line: the options for all commands, and the other arguments as far as
/// they are valid.
pub(crate) fn so_far(words: impl Iterator<Item = OsString>) -> Option<(Global, ArgMatches)> {
    let matches = definition()
        .ignore_errors(true)
        .try_get_matches_from(words)
        .ok()?;
    let mut global = Global::from_arg_matches(&matches).ok()?;
    global.given = Given::of(&matches);
    Some((global, matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        command().debug_assert();
    }

    /// Splits a line of a shell into the words of each command, as far as help texts use the syntax.
    fn commands(line: &str) -> Vec<Vec<String>> {
        let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
        let mut quote = None;
        for c in line.chars().chain([' ']) {
            match (quote, c) {
                (Some(end), c) if c == end => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, ' ' | '|') => {
                    words.extend(word.take());
                    if c == '|' {
                        commands.push(std::mem::take(&mut words));
                    }
                }
                // A comment, or a redirection.
                (None, '#' | '>' | '<') if word.is_none() => break,
                _ => word.get_or_insert_default().push(c),
            }
        }
        commands.push(words);
        commands
    }

    #[test]
    fn lines_are_read_as_a_shell_reads_them() {
        let line = "a 'b | c' \"\" | hotread x-#1 > f.txt  # d";
        let expected = [vec!["a", "b | c", ""], vec!["hotread", "x-#1"]];
        assert_eq!(commands(line), expected);
    }

    #[test]
    fn each_example_is_a_command_line() {
        fn check(command: &Command, checked: &mut usize) {
            let text = command.get_after_help().map(ToString::to_string);
            let lines = text.iter().flat_map(|text| text.lines());
            for line in lines.filter(|line| line.starts_with(' ')) {
                for words in commands(line) {
                    if words.first().is_some_and(|word| word == "hotread") {
                        let parsed = super::command().try_get_matches_from(&words);
                        assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
                        *checked += 1;
                    }
                }
            }
            command
                .get_subcommands()
                .for_each(|command| check(command, checked));
        }
        let mut checked = 0;
        check(&definition(), &mut checked);
        assert!(checked > 40, "{checked}");
    }
}
