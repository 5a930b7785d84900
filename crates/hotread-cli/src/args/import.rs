//! The arguments of `hotread import`.

use clap::{Args, ValueEnum, ValueHint};
use hotread_proto::{Note, TableName};
use hotread_store::import::{Delimiter, Encoding, Kind};
use std::path::PathBuf;

pub(crate) const IMPORT_HELP: &str = "\
Formats: CSV and TSV, with a header unless --columns or --no-header says otherwise; the delimiter is
detected from a first line `sep=;` or from the header. A field that begins with a quote ends with its
closing quote: `\"a\"b` is a bad row. NDJSON: an object on each line. JSON: an array of objects, or an object
one member of which is such an array; if there are several arrays, or the object has the members of the
key itself, nothing is imported without --member. JSON is read twice for that, which also finds text after
its end; of a pipe, the first 8 MiB are checked. NDJSON without a line is no rows,
and any other empty file an error. gzip and zstd are detected by their
first bytes, UTF-8 and UTF-16 by a byte order mark.

Keys: --key names the column or member, or several. All others become the value, an object. Without
--key, each row is a record as `hotread export` writes it: {\"key\": …, \"value\": …, \"category\"?: …,
\"expires_at\"?: …}, or the same as columns; a single column is the key. A row replaces its record whole,
category and expiry included. If several rows have the same key, the last one wins; the others are
counted, and listed with -v.

Types: a column of CSV is integer, number or boolean if all its fields are, in all files; otherwise it is
text. Numbers must be written as they would be printed: 007, +1, 1.50, 1e5 and integers beyond 2^53 are
text. With --types number, 1.50, 1e5 and such integers are numbers, digit by digit; 007 and +1 are bad rows,
since JSON has no such numbers. An empty field is an empty string in a column of text, and null in
any other. Files are read twice to detect types. Of a pipe, the first 8 MiB decide; a later row that does
not fit is a bad row.

Rows are committed in transactions of at most 1,000. The import stops at the first bad row; the rows
before it stay. With --skip-bad it continues, and the exit code is 7. An import that ends early reports
how many rows are in, and --skip-rows continues after them; importing them again does no harm. Ctrl-C ends
an import in the same way, with the exit code 130, and SIGTERM with 143; the code in JSON is CLOSED.

With --replace nothing is changed until all rows have been read, and then everything at once; until then
the rows are held in memory, 1 GiB at most. A truncated file looks like a smaller table: a replacement
that would delete more than half of the records (and more than 10) is refused, unless --max-delete allows
more. --if-seq refuses a replacement that was computed from an older state. The same members in another
order are a different value.

With --dry-run all rows are read, checked against the table's schema and compared with its records, also
through a server; memory does not grow with the table. A dry run does not check --if-seq, the limits of a
server, or the free space of the disk. With --replace it checks every row, not only the last one of each
key. A row that equals its record is written again by an import without --replace, and left as it is by one
with it.

The database and the table are created if they do not exist. Through a server (--url), each transaction is
committed before the next is sent; if an answer is lost, the transaction is sent again, and takes effect
once. A server limits what a replacement may change (100,000 records by default, in a body of 64 MiB). A
larger replacement of an empty table is loaded in several transactions, which the import reports; with
--if-seq it is refused.

Examples:
  hotread import oui oui.csv --key Assignment
  hotread import countries iso_3166-1.json --key alpha_2
  hotread import log monday.ndjson.gz tuesday.ndjson.zst --key host,time --skip-bad
  hotread import geoip geoip.csv --columns start,end,country --comment '#' --key start
  hotread import ports /etc/services --delimiter blanks --comment '#' --columns name,port,aliases --flexible --key port
  hotread import flags flags.ndjson --replace --dry-run
  hotread import flags flags.ndjson --replace --max-delete 5% --if-seq 42
  curl https://example.org/prices.csv | hotread import prices - --format csv --key sku --types price=number";

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Comma-separated values
    Csv,
    /// Tab-separated values
    Tsv,
    /// A JSON object per line
    Ndjson,
    /// A JSON array of objects
    Json,
}

/// Value of an empty field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmptyField {
    /// An empty string; null in columns that are not text
    Text,
    /// null
    Null,
    /// No member
    Missing,
}

/// Type that `--types` gives a column, or all columns that it does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypeOf {
    /// Detected from the fields.
    Told,
    /// Text for all of them.
    Text,
    Column(String, Kind),
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The table
    pub(crate) table: TableName,
    /// The files, or `-` for stdin
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Format of the files [default: by the extension: .csv, .tsv, .tab, .ndjson, .jsonl,
    /// .json, each also with .gz or .zst; otherwise JSON by the first bytes]
    #[arg(long)]
    pub(crate) format: Option<FileFormat>,
    /// Column or member that is the key; several are joined
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub(crate) key: Vec<String>,
    /// Separator between the parts of a key
    #[arg(
        long,
        value_name = "TEXT",
        default_value = ":",
        hide_default_value = true
    )]
    pub(crate) key_separator: String,
    /// Keep the key in the value as well
    #[arg(long, requires = "key")]
    pub(crate) keep_key: bool,
    /// JSON: the member that holds the array, if there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,
    /// CSV: names of the columns, for files without a header
    #[arg(
        long,
        visible_alias = "header",
        value_name = "A,B,…",
        value_delimiter = ','
    )]
    pub(crate) columns: Option<Vec<String>>,
    /// CSV: the files have no header; without --columns, the names are 1, 2, 3, …
    #[arg(long)]
    pub(crate) no_header: bool,
    /// CSV: separator of fields; `\t` is a tab, `blanks` any number of spaces and tabs, where the last
    /// column takes the rest of the line [default: comma, semicolon, tab or `|`, by the
    /// header]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<Delimiter>,
    /// CSV: the quotation mark around fields, or `none`
    #[arg(long, value_name = "CHAR", value_parser = quote)]
    pub(crate) quote: Option<Quote>,
    /// CSV: skip lines that begin with this
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) comment: Option<String>,
    /// CSV: allow rows with fewer fields, which then lack members, and with more, which go into the
    /// member `_rest`
    #[arg(long)]
    pub(crate) flexible: bool,
    /// CSV: strip blanks around fields, on both sides of their quotes
    #[arg(long)]
    pub(crate) trim: bool,
    /// CSV: value of an empty field
    #[arg(long, value_name = "WHAT")]
    pub(crate) empty: Option<EmptyField>,
    /// CSV: types of columns, text, integer, number, boolean or json; `text` alone makes all other columns
    /// text, `auto` alone detects their types [default: auto]
    #[arg(long, value_name = "COLUMN=TYPE,…", value_delimiter = ',', value_parser = type_of)]
    pub(crate) types: Vec<TypeOf>,
    /// Encoding of files without a byte order mark, such as utf-16le or latin1 [default: utf-8]
    #[arg(long, value_name = "NAME")]
    pub(crate) encoding: Option<Encoding>,
    /// Skip the first N rows, which an earlier import committed
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        conflicts_with = "replace"
    )]
    pub(crate) skip_rows: u64,
    /// Refuse two rows with the same key
    #[arg(long)]
    pub(crate) unique: bool,
    /// Change nothing; check the rows, and show what would be added, changed and, with --replace, deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Make the table equal the files in one step: records that are not in the files are deleted
    #[arg(long)]
    pub(crate) replace: bool,
    /// With --replace: empty the table if there are no good rows
    #[arg(long, requires = "replace")]
    pub(crate) allow_empty: bool,
    /// With --replace: refuse it if more than this share of the records would be deleted
    #[arg(long, value_name = "PERCENT", requires = "replace", default_value = "50%", value_parser = percent)]
    pub(crate) max_delete: u8,
    /// With --replace: only if the table's last transaction is N
    #[arg(long, value_name = "N", requires = "replace")]
    pub(crate) if_seq: Option<u64>,
    /// Reason for the change, in one line; the history keeps it with each transaction
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<Note>,
    /// Skip bad rows and continue; the first 100 of them are listed
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

impl ImportArgs {
    /// Returns the first given option that is for CSV only.
    pub(crate) fn of_fields(&self) -> Option<&'static str> {
        let given = [
            ("--columns", self.columns.is_some()),
            ("--no-header", self.no_header),
            ("--delimiter", self.delimiter.is_some()),
            ("--quote", self.quote.is_some()),
            ("--comment", self.comment.is_some()),
            ("--flexible", self.flexible),
            ("--trim", self.trim),
            ("--empty", self.empty.is_some()),
            ("--types", !self.types.is_empty()),
        ];
        given
            .into_iter()
            .find_map(|(name, given)| given.then_some(name))
    }
}

/// Parses a share in percent, with or without the sign.
fn percent(text: &str) -> Result<u8, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => Err("give a share from 0% to 100%".to_owned()),
    }
}

fn delimiter(text: &str) -> Result<Delimiter, String> {
    match text.as_bytes() {
        b"blanks" => Ok(Delimiter::Blanks),
        b"\\t" => Ok(Delimiter::Byte(b'\t')),
        [byte] if byte.is_ascii() => Ok(Delimiter::Byte(*byte)),
        _ => Err(r"give one ASCII character, \t for a tab, or blanks".to_owned()),
    }
}

/// The quotation mark, if fields are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote(pub(crate) Option<u8>);

fn quote(text: &str) -> Result<Quote, String> {
    match text.as_bytes() {
        b"none" => Ok(Quote(None)),
        [byte] if byte.is_ascii() => Ok(Quote(Some(*byte))),
        _ => Err("give one ASCII character, or none".to_owned()),
    }
}

fn type_of(text: &str) -> Result<TypeOf, String> {
    match (text, text.rsplit_once('=')) {
        ("auto", _) => Ok(TypeOf::Told),
        ("text", _) => Ok(TypeOf::Text),
        (_, Some((column, kind))) => match kind.parse() {
            Ok(kind) => Ok(TypeOf::Column(column.to_owned(), kind)),
            Err(error) => Err(format!("{error}")),
        },
        _ => Err("give COLUMN=TYPE, or text or auto for all other columns".to_owned()),
    }
}
