//! The arguments of `hotread import`.

use clap::{Args, ValueEnum, ValueHint};
use hotread_proto::{Note, TableName};
use std::path::PathBuf;

pub(crate) const IMPORT_HELP: &str = "\
CSV: the column named with --key holds the keys; the others become a JSON object of strings. NDJSON:
one {\"key\": …, \"value\": …, \"category\"?: …, \"expires_at\"?: …} on each line. Of rows with the same
key the last counts.

Rows are committed in transactions of at most 1,000. At the first bad row the import stops; the rows
before it stay. With --skip-bad it goes on, and the exit code is 7. With --replace nothing is changed
until the whole file has been read, and then all at once; the file is held in memory for that. A file
that was cut off looks like a smaller table: a replacement that would delete more than half of the
records (and more than 10) is refused unless --max-delete allows more; --if-seq refuses one that was
worked out from an older state.

The database and the table are created if they are not there. Through a server (--url), each
transaction is committed before the next is sent; if an answer is lost, it is asked for again, and
nothing is done twice. A server bounds what a replacement may change (100,000 records by default, in a
body of 64 MiB). If an empty table is to get more than that, it is loaded in transactions, which is said;
with --if-seq it is refused.

Examples:
  hotread import oui oui.csv --key Assignment
  hotread import flags flags.ndjson --replace
  hotread import flags flags.ndjson --replace --max-delete 5% --if-seq 42
  hotread import geoip geoip.txt --format csv --no-header --columns start,end,country --comment '#' --key start
  zcat log.ndjson.gz | hotread import log - --format ndjson --skip-bad";

/// A file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Comma-separated values
    Csv,
    /// A JSON object on each line
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The table
    pub(crate) table: TableName,
    /// The file, or `-` for stdin
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The file's format [default: by the ending of its name: .csv, .tsv, .ndjson, .jsonl]
    #[arg(long)]
    pub(crate) format: Option<FileFormat>,
    /// CSV: the column that holds the keys
    #[arg(long, value_name = "COLUMN")]
    pub(crate) key: Option<String>,
    /// CSV: the file does not begin with the columns' names; give them with --columns
    #[arg(long, requires = "columns")]
    pub(crate) no_header: bool,
    /// CSV: the columns' names, for files that do not begin with them
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        requires = "no_header"
    )]
    pub(crate) columns: Option<Vec<String>>,
    /// CSV: skip lines that begin with this character
    #[arg(long, value_name = "CHAR", value_parser = ascii)]
    pub(crate) comment: Option<u8>,
    /// CSV: what stands between fields; `\t` is a tab [default: `,`, or a tab for .tsv]
    #[arg(long, value_name = "CHAR", value_parser = ascii)]
    pub(crate) delimiter: Option<u8>,
    /// Make the table equal the file, in one step: what is not in the file is deleted
    #[arg(long)]
    pub(crate) replace: bool,
    /// With --replace: empty the table if the file has no good rows
    #[arg(long, requires = "replace")]
    pub(crate) allow_empty: bool,
    /// With --replace: refuse it if more than this share of the records would be deleted
    #[arg(long, value_name = "PERCENT", requires = "replace", default_value = "50%", value_parser = percent)]
    pub(crate) max_delete: u8,
    /// With --replace: only if the table's last transaction is N
    #[arg(long, value_name = "N", requires = "replace")]
    pub(crate) if_seq: Option<u64>,
    /// Says why, in one line: the history keeps it with each transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
    /// Leave bad rows out and go on; they are listed, the first 100 of them
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

/// A share in percent, with or without the sign.
fn percent(text: &str) -> Result<u8, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => Err("give a share from 0% to 100%".to_owned()),
    }
}

/// A single ASCII character; `\t` stands for a tab.
fn ascii(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(r"give one ASCII character, or \t for a tab".to_owned()),
    }
}
