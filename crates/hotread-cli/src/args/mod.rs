//! What can stand on the command line, and the texts of `--help`. Nothing is done here.

mod demo;
mod follow;
mod global;
mod import;
mod serve;
mod values;

pub(crate) use demo::{Child, DemoArgs, ShowArgs};
pub(crate) use follow::WatchArgs;
pub(crate) use global::{Global, Needs, Place, Secret};
pub(crate) use import::{EmptyField, FileFormat, ImportArgs, Quote, TypeOf};
pub(crate) use serve::{ConfigCmd, LogFormat, ServeArgs, TokenCmd};

use clap::{
    ArgGroup, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint,
};
use global::Given;
use hotread_proto::{Alter, Category, Key, Note, Position, TableName, Timestamp, TxnId};
use std::path::PathBuf;
use std::time::Duration;
use values::{at_least_one, bytes, page};

/// Listed where no `--limit` is given: a few screens.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Transactions of the history that are shown where no `--limit` is given: one screen.
pub(crate) const DEFAULT_CHANGES: usize = 20;
/// Bad rows that an import lists one by one; the others are only counted.
pub(crate) const DEFAULT_LISTED: usize = 100;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  an error, such as a value that is not JSON
  2  wrong usage
  3  no such table, key or token
  4  refused: a precondition, the schema, a transaction id, a right, a position that is gone, or it
     exists already
  5  the database cannot be used: missing, in use, read-only, foreign, newer, sealed; or the server:
     it cannot be reached or is none, its address is in use, its configuration is wrong
  6  storage: damaged, full, not readable, or it is not known whether a commit took place
  7  import --skip-bad left rows out";

/// Durable tables, kept in one file, read and changed from the shell.
///
/// A database is one file with tables of records. A record has a key, a JSON value, a category and,
/// if it is to vanish by itself, a time of expiry. Each change is a transaction with a number, kept
/// in the table's history for a while.
#[derive(Debug, Parser)]
#[command(
    name = "hotread",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  export HOTREAD_DB=app.db
  hotread table create flags
  hotread set flags dark-mode '{\"enabled\": true}'
  hotread get flags dark-mode
  hotread import countries countries.csv --key code
  hotread ls countries --prefix F
  hotread serve   in another shell; then
  hotread --url http://127.0.0.1:7400 set flags dark-mode false

Commands that only read work while another program has the database open for writing. Those that
write go through that program if it is a server: with --url instead of --db.
With --json, answers are JSON, lists one object on each line, and an error is one line of JSON on
stderr: {\"code\", \"message\", …}."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Cmd,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cmd {
    /// Bring a database's schema to another version, or show its version
    #[command(subcommand)]
    Migrate(MigrateCmd),
    /// Create, list, show, alter, drop or reseal tables
    #[command(subcommand)]
    Table(TableCmd),
    /// Write a record
    #[command(after_help = "\
A record is written whole. Category and expiry that are not given here are general and never, whatever
the record had before.

Examples:
  hotread set flags dark-mode true
  hotread set prices apple '{\"eur\": 0.4}' --category fruit
  hotread set motd today 'Hello, world' --string
  hotread set sessions s-17 '{}' --ttl 30m
  hotread set prices apple 0.5 --if-seq 12        only if nobody changed it since
  hotread set prices apple 0.6 --note 'new harvest'
  hotread set docs readme - --string < README.md  the bytes as they are, the last newline included")]
    Set(SetArgs),
    /// Print a record's value
    #[command(after_help = "\
A record whose time of expiry has passed is not there, even if it has not been deleted yet.

Examples:
  hotread get flags dark-mode
  hotread get motd today --string
  hotread get flags dark-mode --json   the whole record, its seq included")]
    Get(GetArgs),
    /// Delete records, all in one transaction
    #[command(after_help = "\
If some of the keys are not there, the others are deleted, and the exit code is 3.

Examples:
  hotread rm flags dark-mode light-mode
  hotread rm flags dark-mode --if-seq 12   only if nobody changed it since")]
    Rm(RmArgs),
    /// List records in the order of their keys
    #[command(after_help = "\
Examples:
  hotread ls flags
  hotread ls flags --prefix beta/ --limit 20
  hotread ls flags --all --json | jq -r .key

Records are read page by page: a transaction that is committed in between shows in later pages
only. For one state of a whole table use `hotread export`.")]
    Ls(LsArgs),
    /// Search keys and values; the table needs an index (--search of `table create` or `table alter`)
    #[command(after_help = "\
Examples:
  hotread search oui cisco
  hotread search oui 'cisco systems' --limit 20 --json")]
    Search(SearchArgs),
    /// Import records from CSV, TSV, NDJSON or JSON files
    #[command(after_help = import::IMPORT_HELP)]
    Import(ImportArgs),
    /// Write all records of a table to a file or to stdout
    #[command(after_help = "\
One state of the table is written, whatever is committed meanwhile; with -v or -o, its position is
told on stderr. The table is held in memory for that. Through a server (--url), the state is that
of a replica, checked by its digest; a transaction that is committed at the very moment may be in
it without being counted in the position.

NDJSON has one {\"key\", \"value\", \"category\"?, \"expires_at\"?} on each line, JSON an array of these.
CSV and TSV have a column for each, and the column `value` holds JSON. An import reads each of them back
to the byte, without --key.
A file given with -o is replaced when all has been written, not before.

Examples:
  hotread export flags > flags.ndjson
  hotread export flags -o flags.csv
  hotread export flags | hotread --db other.db import flags - --format ndjson")]
    Export(ExportArgs),
    /// Show a table's last transactions, the newest last
    #[command(after_help = "\
ACTOR is who made the transaction: the name of the token that it came with, `hotread` if it was made by
this command with --db, otherwise the name of the program that had the database open. Expiries have no
actor. NOTE is what was given with --note. Both are members of the JSON as well: `actor`, `note`.

With --json, a transaction that has an id shows it only with --db: a server does not tell it.

Examples:
  hotread history flags
  hotread history flags --limit 5 --values
  hotread history flags --from 00c0ffee00c0ffee:42 --json   those after 42")]
    History(HistoryArgs),
    /// Copy the database to a file, while others read and write it
    #[command(after_help = "\
The copy is one state of all tables, and a database itself.

Examples:
  hotread backup /var/backups/app-monday.db")]
    Backup {
        /// Where to; nothing may be there
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make a database (--db) from a backup
    #[command(after_help = "\
The database given with --db must not exist. Its tables begin new epochs, so that nobody takes them
for the continuation of what was there before.

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
ones, also in different databases. Problems make the exit code 6.

Examples:
  hotread verify
  hotread verify --json | jq -r '.tables[] | [.name, .content] | @tsv'")]
    Verify,
    /// Print a table's changes as they are committed, one on each line
    #[command(after_help = follow::WATCH_HELP)]
    Watch(WatchArgs),
    /// Show a server's tables, and who follows them
    #[command(after_help = follow::STATUS_HELP)]
    Status,
    /// Serve the database over HTTP and WebSocket
    #[command(after_help = serve::SERVE_HELP)]
    Serve(ServeArgs),
    /// Check a configuration file
    #[command(subcommand)]
    Config(ConfigCmd),
    /// Create, list or revoke the tokens that a server asks for
    #[command(subcommand)]
    Token(TokenCmd),
    /// Show on this machine, in a quarter of a minute, what all of this is for
    #[command(after_help = demo::DEMO_HELP)]
    Demo(DemoArgs),
    /// Print a script that completes this command's arguments in a shell
    #[command(after_help = "\
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
            | Self::Table(TableCmd::Reseal { .. })
            | Self::Backup { .. }
            | Self::Restore { .. }
            | Self::Verify
            | Self::Serve(_) => Needs::File,
            Self::Watch(_) | Self::Status => Needs::Server,
            Self::Config(_) | Self::Demo(_) | Self::Completions { .. } => Needs::Nothing,
            _ => Needs::Tables,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCmd {
    /// Bring the database to the newest version, as opening it for writing does
    #[command(after_help = "Examples:\n  hotread migrate up")]
    Up,
    /// Bring the database back to an older version; tells what that loses
    #[command(after_help = "\
Make a backup first.

Examples:
  hotread migrate down 2         asks, after telling what is lost
  hotread migrate down 2 --yes")]
    Down {
        /// The version
        to: i32,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Show the database's version, and what the versions are
    #[command(after_help = "Examples:\n  hotread migrate status")]
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TableCmd {
    /// Create a table, and the database if it is not there
    #[command(after_help = "\
Sealed tables keep their values encrypted on disk. All sealed tables of a command have the passphrase
that --passphrase-file or the terminal gives; through a server, the server's. Keys and categories
are not encrypted.

The history is kept as long as none of its three limits is exceeded; sizes are given as 256MiB, ages
as 7d or 12h.

Examples:
  hotread table create flags
  hotread table create oui --search
  hotread table create keys --sealed --passphrase-file /etc/app/passphrase
  hotread table create prices --schema price.schema.json --history-changes 1000 --history-age 1d")]
    Create(CreateArgs),
    /// Give a table another schema, or another length of history
    #[command(after_help = "\
A new schema is checked against every record. If one does not fit, its key is told, and the table stays
as it was. Position, history and readers of the table stay in any case.

Examples:
  hotread table alter prices --schema price.schema.json
  hotread table alter prices --no-schema
  hotread table alter flags --history-changes 1000 --history-age 1d")]
    Alter(AlterArgs),
    /// List the tables
    #[command(
        after_help = "Examples:\n  hotread table list\n  hotread table list --json | jq -r .name"
    )]
    List,
    /// Show what can be said of a table
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
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Give a sealed table a new passphrase
    #[command(after_help = "\
Every value is encrypted anew, and the table begins a new epoch. The old passphrase comes from
--passphrase-file. Backups made before keep the old one.

Examples:
  hotread table reseal keys --passphrase-file old.txt --new-passphrase-file new.txt")]
    Reseal {
        /// The table
        table: TableName,
        /// A file with the new passphrase; without it, it is asked for on a terminal
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        new_passphrase_file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name: lower-case letters, digits, `-` and `_`
    pub(crate) table: TableName,
    /// Keep a full-text index of keys and values; about doubles the cost of a write
    #[arg(long)]
    pub(crate) search: bool,
    /// Keep values encrypted on disk
    #[arg(long)]
    pub(crate) sealed: bool,
    /// A file with a JSON Schema that every value must fit
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) schema: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) history: KeptArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["schema", "no_schema", "search", "no_search", "rename", "history_changes", "history_age", "history_bytes"]).required(true).multiple(true))]
pub(crate) struct AlterArgs {
    /// The table
    pub(crate) table: TableName,
    /// A file with a JSON Schema that every value must fit
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_schema")]
    pub(crate) schema: Option<PathBuf>,
    /// Have no schema any more
    #[arg(long)]
    pub(crate) no_schema: bool,
    /// Build a full-text index; writers go on meanwhile
    #[arg(long, conflicts_with = "no_search")]
    pub(crate) search: bool,
    /// Have no full-text index any more
    #[arg(long)]
    pub(crate) no_search: bool,
    /// Give the table another name; under the old one it is gone for programs that follow it
    #[arg(long, value_name = "NAME")]
    pub(crate) rename: Option<TableName>,
    #[command(flatten)]
    pub(crate) history: KeptArgs,
}

/// How much of a table's past is kept: what is not given is the default of a new table, or stays.
#[derive(Debug, Args)]
pub(crate) struct KeptArgs {
    /// Keep at most so many transactions in the history [default for a new table: 10000]
    #[arg(long, value_name = "N")]
    pub(crate) history_changes: Option<u64>,
    /// Keep transactions in the history for so long [default for a new table: 7days]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) history_age: Option<Duration>,
    /// Keep at most so many bytes of keys and values in the history [default for a new table: 256MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) history_bytes: Option<u64>,
}

impl KeptArgs {
    /// The alteration that sets what is given.
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
pub(crate) struct SetArgs {
    /// The table
    pub(crate) table: TableName,
    /// The key
    pub(crate) key: Key,
    /// The value as JSON, or `-` to read it from stdin
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: String,
    /// The value is text, to be stored as a JSON string
    #[arg(long)]
    pub(crate) string: bool,
    /// What the record is filed under
    #[arg(long, default_value = "general")]
    pub(crate) category: Category,
    /// When the record vanishes: 2026-12-24T18:00:00Z, or milliseconds since 1970
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    pub(crate) expires_at: Option<Timestamp>,
    /// In how much time the record vanishes: 90s, 1h, 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Only if the record was last changed by transaction N
    #[arg(long, value_name = "N", conflicts_with = "if_absent")]
    pub(crate) if_seq: Option<u64>,
    /// Only if there is no such record
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Names the transaction: the same command again does nothing more
    #[arg(long, value_name = "ID")]
    pub(crate) txn_id: Option<TxnId>,
    /// Says why, in one line: the history keeps it with the transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The table
    pub(crate) table: TableName,
    /// The key
    pub(crate) key: Key,
    /// Print the text of a JSON string as it is: without quotes, escapes and an added newline
    #[arg(long, conflicts_with = "json")]
    pub(crate) string: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The table
    pub(crate) table: TableName,
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<Key>,
    /// Only if the record (just one may be named) was last changed by transaction N
    #[arg(long, value_name = "N")]
    pub(crate) if_seq: Option<u64>,
    /// Names the transaction: the same command again does nothing more
    #[arg(long, value_name = "ID")]
    pub(crate) txn_id: Option<TxnId>,
    /// Says why, in one line: the history keeps it with the transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The table
    pub(crate) table: TableName,
    /// Only keys that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Only records of this category
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// Only keys behind this one, which need not exist
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<Key>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The table
    pub(crate) table: TableName,
    /// Words to be found
    pub(crate) query: String,
    /// Only records of this category
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// At most so many, up to 1000; through a server, up to 100
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = page)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The table
    pub(crate) table: TableName,
    /// The format [default: by the ending of the file's name; else ndjson]
    #[arg(long)]
    pub(crate) format: Option<FileFormat>,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The table
    pub(crate) table: TableName,
    /// Begin after this position, as EPOCH:SEQ; without it, the last transactions are shown
    #[arg(long, value_name = "EPOCH:SEQ")]
    pub(crate) from: Option<Position>,
    /// At most so many transactions
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHANGES, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// Show values, too
    #[arg(long)]
    pub(crate) values: bool,
    /// Show all operations of a transaction, not only the first 10
    #[arg(long)]
    pub(crate) full: bool,
}

/// Reads the command line and the environment.
///
/// # Errors
/// If they are wrong, or ask for help.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.given = Given::of(&matches);
    Ok(cli)
}

/// The command, with the exit codes in each help text, and without the values of variables.
pub(crate) fn command() -> Command {
    fn explain(command: Command) -> Command {
        let text = match command.get_after_help() {
            Some(text) => format!("{text}\n\n{EXIT_CODES}"),
            None => EXIT_CODES.to_owned(),
        };
        // Variables may hold secrets.
        let command = command.mut_args(|arg| arg.hide_env_values(true));
        command.after_help(text).mut_subcommands(explain)
    }
    explain(Cli::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        command().debug_assert();
    }
}
