//! Brings rows into a table: in transactions that are committed while the next are read, or all in
//! one step.

use super::failures::{bad_row, stopped, unreadable, would_empty};
use crate::args::{DEFAULT_LISTED, ImportArgs};
use crate::backend::{Pending, Tables};
use crate::exit::{self, Failure};
use crate::output::{count, grouped};
use anyhow::Result;
use hotread_proto::limits::{MAX_TXN_BYTES, MAX_TXN_OPS};
use hotread_proto::{Code, ErrorBody, Key, Note, Op, Put, Replace, TableName, Txn};
use hotread_store::import::{ImportError, Row, RowError, Rows};
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::Read;
use std::time::Instant;

/// Transactions that are on their way to the disk while the next is read: enough for the store to
/// commit several with one fsync, few enough that they do not take much memory.
const MAX_IN_FLIGHT: usize = 16;
/// Rows between two looks at the clock for the progress bar.
const PROGRESS_ROWS: u64 = 1_000;

/// A row that was left out.
#[derive(Debug, Serialize)]
pub(super) struct Bad {
    pub(super) line: u64,
    pub(super) message: String,
}

/// Where rows come from.
pub(super) struct Source<'a> {
    pub(super) rows: Rows<Box<dyn Read>>,
    /// The first row, which was read already.
    pub(super) first: Option<Result<Row, RowError>>,
    /// The file's name, for messages.
    pub(super) name: &'a str,
    pub(super) bar: &'a ProgressBar,
}

/// How it went.
#[derive(Default)]
pub(super) struct Loaded {
    /// Rows that were read, bad ones included.
    pub(super) rows: u64,
    pub(super) bad_rows: u64,
    /// The first of them.
    pub(super) bad: Vec<Bad>,
    /// Of a replacement: records written and deleted.
    pub(super) replaced: Option<(u64, u64)>,
}

impl Loaded {
    fn leave_out(&mut self, line: u64, reason: impl std::fmt::Display) {
        self.bad_rows += 1;
        if self.bad.len() < DEFAULT_LISTED {
            self.bad.push(Bad {
                line,
                message: reason.to_string(),
            });
        }
    }
}

/// Why reading ended.
enum End {
    /// There are no more rows.
    Done,
    /// A row is bad, and those are not to be left out.
    Bad(RowError),
    /// What comes after it cannot be read.
    Unreadable(ImportError),
}

impl End {
    /// An error, unless all was read; `done` says what has become of the rows so far.
    fn check(&self, name: &str, done: &str) -> Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Bad(error) => Err(bad_row(error, name, done)),
            Self::Unreadable(error) => Err(unreadable(error, name, done)),
        }
    }
}

/// Reads all rows. `each` takes the good ones; bad ones are left out, or end it.
fn read(
    source: Source<'_>,
    skip_bad: bool,
    loaded: &mut Loaded,
    mut each: impl FnMut(Row, &mut Loaded) -> Result<()>,
) -> Result<End> {
    let Source {
        mut rows,
        first,
        bar,
        ..
    } = source;
    let start = Instant::now();
    let mut next = first;
    while let Some(row) = next {
        loaded.rows += 1;
        if loaded.rows.is_multiple_of(PROGRESS_ROWS) {
            let rate = (loaded.rows as f64 / start.elapsed().as_secs_f64()) as u64;
            bar.set_position(rows.bytes_read());
            bar.set_message(format!(
                "{} rows, {} rows/s",
                grouped(loaded.rows),
                grouped(rate)
            ));
        }
        match row {
            Ok(row) => each(row, loaded)?,
            Err(error) if skip_bad => loaded.leave_out(error.line, &error.reason),
            Err(error) => return Ok(End::Bad(error)),
        }
        next = match rows.next_row() {
            Ok(next) => next,
            Err(error) => return Ok(End::Unreadable(error)),
        };
    }
    Ok(End::Done)
}

/// Commits the rows in transactions, in their order.
pub(super) fn commit(tables: &Tables, args: &ImportArgs, source: Source<'_>) -> Result<Loaded> {
    let name = source.name;
    let mut loaded = Loaded::default();
    let schema = tables.table(&args.table)?.options.schema.is_some();
    let mut batches = Batches::new(tables, args, name, schema);
    let end = read(source, args.skip_bad, &mut loaded, |row, loaded| {
        batches.add(row, loaded)
    })?;
    // What stands before a bad row, or before the end of what can be read, is good.
    batches.submit(&mut loaded)?;
    batches.wait(0)?;
    end.check(name, &batches.so_far())?;
    Ok(loaded)
}

/// Rows on their way to the disk.
struct Batches<'a> {
    tables: &'a Tables,
    table: &'a TableName,
    name: &'a str,
    skip_bad: bool,
    note: Option<&'a Note>,
    /// The keys of the transaction at hand, if the table has a schema: then no key stands twice in a
    /// transaction, so that an error that names a key names a row.
    keys: Option<HashSet<Key>>,
    txn: Txn,
    /// The lines of the operations, if the table has a schema.
    lines: Vec<u64>,
    bytes: usize,
    in_flight: VecDeque<(Pending, u64)>,
    /// Rows that are committed.
    committed: u64,
}

impl<'a> Batches<'a> {
    fn new(tables: &'a Tables, args: &'a ImportArgs, name: &'a str, schema: bool) -> Self {
        Self {
            tables,
            table: &args.table,
            name,
            skip_bad: args.skip_bad,
            note: args.note.as_ref(),
            keys: schema.then(HashSet::new),
            txn: Txn::new(),
            lines: Vec::new(),
            bytes: 0,
            in_flight: VecDeque::new(),
            committed: 0,
        }
    }

    fn add(&mut self, row: Row, loaded: &mut Loaded) -> Result<()> {
        let Row { line, put } = row;
        let bytes = put.size();
        let room = MAX_TXN_BYTES - self.note.map_or(0, |note| note.as_str().len());
        let again = self
            .keys
            .as_ref()
            .is_some_and(|keys| keys.contains(&put.key));
        if again || self.txn.ops.len() == MAX_TXN_OPS || self.bytes + bytes > room {
            self.submit(loaded)?;
        }
        if let Some(keys) = &mut self.keys {
            keys.insert(put.key.clone());
            self.lines.push(line);
        }
        self.bytes += bytes;
        self.txn.ops.push(Op::Put(put));
        Ok(())
    }

    /// Hands the transaction at hand over. Rows that the schema refuses are left out, or end it.
    fn submit(&mut self, loaded: &mut Loaded) -> Result<()> {
        while !self.txn.ops.is_empty() {
            let mut txn = match &self.keys {
                Some(_) => self.txn.clone(),
                None => std::mem::take(&mut self.txn),
            };
            txn.note = self.note.cloned();
            let rows = txn.ops.len() as u64;
            match self.tables.submit(self.table, txn) {
                Ok(pending) => {
                    self.in_flight.push_back((pending, rows));
                    self.txn.ops.clear();
                    break;
                }
                Err(error) => match misfit(&error) {
                    Some((key, reason)) if self.keys.is_some() => {
                        self.refused(&key, &reason, loaded)?;
                    }
                    _ => return Err(self.failed(error)),
                },
            }
        }
        self.lines.clear();
        self.bytes = 0;
        if let Some(keys) = &mut self.keys {
            keys.clear();
        }
        self.wait(MAX_IN_FLIGHT)
    }

    /// The row with this key is not for this table.
    fn refused(&mut self, key: &Key, reason: &str, loaded: &mut Loaded) -> Result<()> {
        let Some(at) = self.txn.ops.iter().position(|op| op.key() == key) else {
            return Err(anyhow::anyhow!("{}: {reason}", self.name));
        };
        if self.skip_bad {
            self.txn.ops.remove(at);
            let line = self.lines.remove(at);
            loaded.leave_out(line, reason);
            return Ok(());
        }
        // The rows before it are committed, if there is nothing wrong with them.
        let line = self.lines[at];
        self.txn.ops.truncate(at);
        self.lines.truncate(at);
        self.submit(loaded)?;
        self.wait(0)?;
        let code = Code::SchemaViolation;
        Err(stopped(code, self.name, line, &reason, &self.so_far()))
    }

    /// Waits until no more than so many transactions are under way.
    fn wait(&mut self, in_flight: usize) -> Result<()> {
        while self.in_flight.len() > in_flight {
            let Some((pending, rows)) = self.in_flight.pop_front() else {
                break;
            };
            match pending.wait() {
                Ok(_) => self.committed += rows,
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// A transaction was not committed. Those behind it may have been.
    fn failed(&mut self, error: anyhow::Error) -> anyhow::Error {
        let others = std::mem::take(&mut self.in_flight);
        for (pending, rows) in others {
            if pending.wait().is_ok() {
                self.committed += rows;
            }
        }
        let name = self.name;
        error.context(match self.committed {
            0 => format!("{name}, in the first rows"),
            // Rows that are imported twice do no harm.
            rows => {
                let rows = count(rows, "row", "rows");
                format!("{name}, after {rows}, all of which may be imported again")
            }
        })
    }

    fn so_far(&self) -> String {
        match self.committed {
            0 => "nothing was imported".to_owned(),
            rows => {
                let (rows, were) = (
                    count(rows, "row", "rows"),
                    if rows == 1 { "was" } else { "were" },
                );
                format!("{rows} before it {were} imported")
            }
        }
    }
}

/// The key whose value the table's schema refuses, and what is said of it, if that is the error.
fn misfit(error: &anyhow::Error) -> Option<(Key, String)> {
    match exit::body(error) {
        ErrorBody {
            code: Code::SchemaViolation,
            message,
            key: Some(key),
            ..
        } => Some((key, message)),
        _ => None,
    }
}

/// What becomes of a replacement that is refused; with the option that allows it, if it deletes too much.
fn refused(error: anyhow::Error, name: &str) -> anyhow::Error {
    match exit::body(&error) {
        ErrorBody {
            code: code @ Code::PreconditionFailed,
            message,
            seq: None,
            ..
        } => Failure::new(code, format!("{name}: {message}: here with --max-delete")).into(),
        _ => error.context(name.to_owned()),
    }
}

/// Makes the table what the file is, in one step. If that is too much for a server, and the table is empty,
/// in several: then nothing of it was there before, and `say` is told.
pub(super) fn replace(
    tables: &Tables,
    args: &ImportArgs,
    source: Source<'_>,
    say: &dyn Fn(&str),
) -> Result<Loaded> {
    const DONE: &str = "nothing was changed";
    let name = source.name;
    let mut loaded = Loaded::default();
    let mut records: BTreeMap<Key, (u64, Put)> = BTreeMap::new();
    let end = read(
        source,
        args.skip_bad,
        &mut loaded,
        |Row { line, put }, _| {
            records.insert(put.key.clone(), (line, put));
            Ok(())
        },
    )?;
    end.check(name, DONE)?;
    let info = tables.table(&args.table)?;
    let schema = info.options.schema.is_some();
    // A condition on the table holds for one step.
    let may_split = info.records == 0 && args.if_seq.is_none() && tables.is_remote();
    loop {
        if records.is_empty() && !args.allow_empty {
            return Err(would_empty(name, "good rows", args));
        }
        let new = match schema || may_split {
            true => records.values().map(|(_, put)| put.clone()).collect(),
            false => std::mem::take(&mut records)
                .into_values()
                .map(|(_, put)| put)
                .collect(),
        };
        let new = Replace {
            id: None,
            records: new,
            if_seq: args.if_seq,
            max_delete_percent: Some(args.max_delete),
            allow_empty: args.allow_empty,
            note: args.note.clone(),
        };
        let error = match tables.replace(&args.table, new) {
            Ok(replaced) => {
                loaded.replaced = Some((replaced.written, replaced.deleted));
                return Ok(loaded);
            }
            Err(error) => error,
        };
        if may_split && exit::body(&error).code == Code::TooLarge {
            let rows = count(records.len() as u64, "record", "records");
            say(&format!(
                "table {} is empty, and {rows} are too many for one step of the server: they are \
                 imported in pieces, which readers see one after the other",
                args.table
            ));
            let mut batches = Batches::new(tables, args, name, schema);
            for (line, put) in std::mem::take(&mut records).into_values() {
                batches.add(Row { line, put }, &mut loaded)?;
            }
            batches.submit(&mut loaded)?;
            batches.wait(0)?;
            loaded.replaced = Some((batches.committed, 0));
            return Ok(loaded);
        }
        let Some((reason, line)) =
            misfit(&error).and_then(|(key, reason)| Some((reason, records.remove(&key)?.0)))
        else {
            return Err(refused(error, name));
        };
        if !args.skip_bad {
            return Err(stopped(Code::SchemaViolation, name, line, &reason, DONE));
        }
        // Each costs another look at all of them.
        if loaded.bad.len() == DEFAULT_LISTED {
            let message = format!(
                "{name}: more than {DEFAULT_LISTED} rows are bad, the last one that was looked at \
                 in line {line}: {reason}; {DONE}; correct the file"
            );
            return Err(Failure::new(Code::SchemaViolation, message).into());
        }
        loaded.leave_out(line, reason);
    }
}
