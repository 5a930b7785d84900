//! The arguments of the commands that read and write records, and of `hotread history`.

use super::format::FormatArgs;
use super::values::{Since, at_least_one, duration, page, time};
use clap::{Args, ValueHint};
use hotread_proto::{Category, Key, Note, TableName, Timestamp, TxnId};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const SET_HELP: &str = "\
A record is written whole: without --category, --expires-at and --ttl, its category is general and it
never expires, even if it did before.

Examples:
  hotread set flags dark-mode true
  hotread set prices apple '{\"eur\": 0.4}' --category fruit
  hotread set motd today 'Hello, world' --string
  hotread set sessions s-17 '{}' --ttl 30m
  hotread set sales xmas 0.2 --expires-at 2099-12-27
  # only if it has not changed since
  hotread set prices apple 0.5 --if-seq 12
  hotread set prices apple 0.6 --note 'new harvest'
  hotread set prices pear --file pear.json
  # the bytes as they are, the last newline included
  hotread set docs readme --file README.md --string";

pub(crate) const GET_HELP: &str = "\
An expired record counts as absent, even if it has not been deleted yet.

With one key, its value is printed. With several keys or --prefix, a line has the key, a tab and the value;
with --raw only the value. If some of the keys do not exist, the others are printed, and the exit code is
3. Keys are read one after another.

--raw prints strings as text and ends with a newline, as jq -r does; --string prints the bytes of a
string and nothing else, and refuses other values.

--at shows records as they were after a transaction, within the history; with --prefix, they may take 256
MiB of memory.

Examples:
  hotread get flags dark-mode
  hotread get motd today --raw
  hotread get flags dark-mode light-mode
  hotread get flags --prefix beta/
  hotread get flags dark-mode --at 12
  hotread get flags --prefix beta/ --at 12
  # the whole record, its seq included
  hotread get flags dark-mode --json --pretty";

pub(crate) const RM_HELP: &str = "\
If some of the keys do not exist, the others are deleted, and the exit code is 3. With --prefix, records
are deleted in transactions of at most 1,000, after a confirmation unless --yes is given. --dry-run prints
the keys that would be deleted.

Examples:
  hotread rm flags dark-mode light-mode
  # only if it has not changed since
  hotread rm flags dark-mode --if-seq 12
  hotread rm flags --prefix beta/ --dry-run
  hotread rm flags --prefix beta/ --yes";

pub(crate) const TXN_HELP: &str = "\
The transaction is a JSON object, in the form of docs/wire.md:

  {\"ops\": [{\"put\": {\"key\": \"a\", \"value\": 1}},
           {\"delete\": {\"key\": \"b\"}}],
   \"if\": [{\"key\": \"a\", \"if_seq\": 12}],
   \"note\": \"moved\"}

or lines, each an operation or a condition:

  put a 1
  put \"a key with blanks\" {\"x\": 1.0}
  delete b
  if a seq 12
  if c absent
  if d present
  note moved

All operations are applied, or none: if a condition does not hold, the exit code is 4. Empty lines and
lines that begin with # are skipped.

Examples:
  hotread txn stock move.txt
  hotread txn stock move.json --txn-id move-17
  printf 'put a 1\\ndelete b\\n' | hotread txn stock";

pub(crate) const LS_HELP: &str = "\
The default table shows 100 records; --json and the other formats list all. If a list is cut, stderr says
so, with --json as an object with \"truncated\" and \"after\". On a terminal long values are shortened, and
invisible characters are shown as escapes; elsewhere everything is printed in full.

Records are read page by page: a transaction that is committed in between appears in later pages
only. For one state of a whole table use `hotread export`.

Examples:
  hotread ls flags
  hotread ls flags --prefix beta/ --limit 20
  hotread ls flags --json | jq -r .key
  hotread ls flags --format csv > flags.csv
  hotread ls flags --keys-only";

pub(crate) const SEARCH_HELP: &str = "\
Finds records that contain all the words, ignoring case and accents; a word that ends in * matches
all words that begin with it. The best matches come first. If --limit cuts the list, stderr says so;
there is no next page, since each write may change the order.

Examples:
  hotread search oui cisco
  hotread search oui 'cisco sys*' --limit 20 --json";

pub(crate) const KEYS_HELP: &str = "\
One key per line; the same as `hotread ls --keys-only`.

Examples:
  hotread keys flags
  hotread keys flags --prefix beta/ | wc -l";

pub(crate) const HISTORY_HELP: &str = "\
ACTOR committed the transaction: the name of the token that came with it, `hotread` for this command with
--db, otherwise the name of the program that had the database open. Expiries have no actor. NOTE is the
text given with --note. Both are members of the JSON as well: `actor`, `note`.

--key and --prefix show only the transactions that touched such records, and only their operations on
these. --from takes a sequence number of the table's current epoch, or EPOCH:SEQ.

With --json, the id of a transaction is shown only with --db: a server does not reveal it.

Examples:
  hotread history flags
  hotread history flags --limit 5 --values
  hotread history flags --json --values
  hotread history flags --key dark-mode --values
  # those after 42
  hotread history flags --from 42";

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The table
    pub(crate) table: TableName,
    /// The key
    pub(crate) key: Key,
    /// The value as JSON, or `-` to read it from stdin
    #[arg(allow_negative_numbers = true, required_unless_present = "file")]
    pub(crate) value: Option<String>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "value")]
    pub(crate) file: Option<PathBuf>,
    /// The value is text, to be stored as a JSON string
    #[arg(long)]
    pub(crate) string: bool,
    /// Category of the record
    #[arg(long, default_value = "general")]
    pub(crate) category: Category,
    /// Expiry time: 2026-12-24 (in UTC), 2026-12-24T18:00:00Z, or milliseconds since 1970
    #[arg(long, value_name = "TIME", conflicts_with = "ttl", value_parser = time)]
    pub(crate) expires_at: Option<Timestamp>,
    /// Time until the record expires: 90s, 1h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// Only if the record was last changed by transaction N
    #[arg(long, value_name = "N", conflicts_with = "if_absent")]
    pub(crate) if_seq: Option<u64>,
    /// Only if the record does not exist
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Id of the transaction: repeating the command with it has no further effect
    #[arg(long, value_name = "ID")]
    pub(crate) txn_id: Option<TxnId>,
    /// Reason for the change, in one line; the history keeps it with the transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The table
    pub(crate) table: TableName,
    /// The keys
    #[arg(value_name = "KEY", required_unless_present = "prefix")]
    pub(crate) keys: Vec<Key>,
    /// All records whose keys have this prefix
    #[arg(long, conflicts_with = "keys")]
    pub(crate) prefix: Option<String>,
    /// Show the records as of this transaction: its sequence number, or EPOCH:SEQ
    #[arg(long, value_name = "SEQ")]
    pub(crate) at: Option<Since>,
    /// Print the text of a JSON string as it is: without quotes, escapes or an added newline
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
    #[arg(value_name = "KEY", required_unless_present = "prefix")]
    pub(crate) keys: Vec<Key>,
    /// All records whose keys have this prefix
    #[arg(long, conflicts_with = "keys")]
    pub(crate) prefix: Option<String>,
    /// Print the keys that would be deleted, and delete nothing
    #[arg(long, conflicts_with_all = ["if_seq", "txn_id"])]
    pub(crate) dry_run: bool,
    /// With --prefix: skip the confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Only if the record (give just one key) was last changed by transaction N
    #[arg(long, value_name = "N", conflicts_with = "prefix")]
    pub(crate) if_seq: Option<u64>,
    /// Id of the transaction: repeating the command with it has no further effect
    #[arg(long, value_name = "ID", conflicts_with = "prefix")]
    pub(crate) txn_id: Option<TxnId>,
    /// Reason for the change, in one line; the history keeps it with the transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
}

#[derive(Debug, Args)]
pub(crate) struct TxnArgs {
    /// The table
    pub(crate) table: TableName,
    /// File with the transaction; `-` is stdin
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Id of the transaction: repeating the command with it has no further effect
    #[arg(long, value_name = "ID")]
    pub(crate) txn_id: Option<TxnId>,
    /// Reason for the change, in one line; the history keeps it with the transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Print only the keys, one per line
    #[arg(long)]
    pub(crate) keys_only: bool,
}

/// The records to list, and the format of the list.
#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// The table
    pub(crate) table: TableName,
    /// Only keys with this prefix
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Only records of this category
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// Only keys after this one, which need not exist
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<Key>,
    /// List at most N records [default: 100 with --format table, otherwise all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// List all records
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The table
    pub(crate) table: TableName,
    /// Words to search for
    pub(crate) query: String,
    /// Only records of this category
    #[arg(long)]
    pub(crate) category: Option<Category>,
    /// List at most N records, up to 1000; through a server, up to 100 [default: 100 with
    /// --format table, otherwise the maximum]
    #[arg(long, value_name = "N", value_parser = page)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The table
    pub(crate) table: TableName,
    /// Begin after this transaction: its sequence number, or EPOCH:SEQ [default: show the last ones]
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<Since>,
    /// Only operations on this record
    #[arg(long)]
    pub(crate) key: Option<Key>,
    /// Only operations on records whose keys have this prefix
    #[arg(long, conflicts_with = "key")]
    pub(crate) prefix: Option<String>,
    /// Show at most N transactions [default: 20 with --format table, otherwise all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Show the whole history
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// Show values as well
    #[arg(long)]
    pub(crate) values: bool,
    /// Show all operations of a transaction, not only the first 10
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}
