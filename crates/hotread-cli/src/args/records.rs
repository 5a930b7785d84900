//! The arguments of the commands that read and write records, and of `hotread history`.

use super::format::FormatArgs;
use super::values::{at_least_one, page};
use clap::Args;
use hotread_proto::{Category, Key, Note, Position, TableName, Timestamp, TxnId};
use std::time::Duration;

pub(crate) const SET_HELP: &str = "\
A record is written whole. Category and expiry that are not given here are general and never, whatever
the record had before.

Examples:
  hotread set flags dark-mode true
  hotread set prices apple '{\"eur\": 0.4}' --category fruit
  hotread set motd today 'Hello, world' --string
  hotread set sessions s-17 '{}' --ttl 30m
  hotread set prices apple 0.5 --if-seq 12        only if nobody changed it since
  hotread set prices apple 0.6 --note 'new harvest'
  hotread set docs readme - --string < README.md  the bytes as they are, the last newline included";

pub(crate) const GET_HELP: &str = "\
A record whose time of expiry has passed is not there, even if it has not been deleted yet.

--raw prints strings as text and ends with a new line, as jq -r does; --string prints the bytes of a
string and nothing else, and refuses other values.

Examples:
  hotread get flags dark-mode
  hotread get motd today --raw
  # the whole record, its seq included
  hotread get flags dark-mode --json --pretty";

pub(crate) const RM_HELP: &str = "\
If some of the keys are not there, the others are deleted, and the exit code is 3.

Examples:
  hotread rm flags dark-mode light-mode
  hotread rm flags dark-mode --if-seq 12   only if nobody changed it since";

pub(crate) const LS_HELP: &str = "\
A table for people shows 100 records; --json and the other formats have all. A list that is cut says so
on stderr, with --json as an object with \"truncated\" and \"after\". On a terminal long values are
shortened, and characters that do not show are shown as escapes; elsewhere everything is whole.

Examples:
  hotread ls flags
  hotread ls flags --prefix beta/ --limit 20
  hotread ls flags --json | jq -r .key
  hotread ls flags --format csv > flags.csv

Records are read page by page: a transaction that is committed in between shows in later pages
only. For one state of a whole table use `hotread export`.";

pub(crate) const SEARCH_HELP: &str = "\
Finds records that have all the words, in any case, with or without accents; a word that ends in *
stands for all that begin so.

Examples:
  hotread search oui cisco
  hotread search oui 'cisco sys*' --limit 20 --json";

pub(crate) const HISTORY_HELP: &str = "\
ACTOR is who made the transaction: the name of the token that it came with, `hotread` if it was made by
this command with --db, otherwise the name of the program that had the database open. Expiries have no
actor. NOTE is what was given with --note. Both are members of the JSON as well: `actor`, `note`.

With --json, a transaction that has an id shows it only with --db: a server does not tell it.

Examples:
  hotread history flags
  hotread history flags --limit 5 --values
  hotread history flags --json --values
  # those after 42
  hotread history flags --from 00c0ffee00c0ffee:42";

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
    /// Print a JSON string as its text, without quotes and escapes, and any other value as JSON
    #[arg(long, conflicts_with_all = ["json", "string", "pretty"])]
    pub(crate) raw: bool,
    /// Indent JSON
    #[arg(long, conflicts_with = "string")]
    pub(crate) pretty: bool,
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
    /// At most so many [default: 100 of a table for people, else all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
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
    /// At most so many, up to 1000; through a server, up to 100 [default: 100 of a table for people,
    /// else as many as there can be]
    #[arg(long, value_name = "N", value_parser = page)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The table
    pub(crate) table: TableName,
    /// Begin after this position, as EPOCH:SEQ; without it, the last transactions are shown
    #[arg(long, value_name = "EPOCH:SEQ")]
    pub(crate) from: Option<Position>,
    /// At most so many transactions [default: 20 of a table for people, else all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// All that the history has
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// Show values, too
    #[arg(long)]
    pub(crate) values: bool,
    /// Show all operations of a transaction, not only the first 10
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}
