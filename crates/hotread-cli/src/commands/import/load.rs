//! Loading rows into a table: in transactions that are committed while the next rows are read, or all in
//! one step.

use super::failures::{
    bad_row, interrupted, not_unique, stopped, too_many, unreadable, would_empty,
};
use super::files::{Bad, Broken, Files, Origin};
use super::interrupt;
use super::seen::Seen;
use crate::args::{DEFAULT_LISTED, ImportArgs};
use crate::backend::{Pending, Tables};
use crate::exit::{self, Failure};
use crate::output::{count, grouped};
use anyhow::Result;
use hotread_proto::limits::{MAX_TXN_BYTES, MAX_TXN_OPS};
use hotread_proto::{Code, ErrorBody, Key, Note, Op, Put, Replace, TableName, Txn};
use hotread_store::import::RowReason;
use indicatif::ProgressBar;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

/// Maximum number of transactions in flight: enough for the store to commit several with one fsync, few
/// enough to take little memory.
const MAX_IN_FLIGHT: usize = 16;
/// Rows between two updates of the progress bar.
const PROGRESS_ROWS: u64 = 1_000;
/// Maximum memory that the rows of a replacement take, in bytes: four times the most that a replacement may
/// change, since rows that stay as they are count here but not there.
pub(super) const MAX_HELD_BYTES: usize = 1 << 30;
/// Memory that a row takes in addition to its text: the key twice, and its place in a tree.
pub(super) const RECORD_BYTES: usize = 200;

/// Arguments of one import.
pub(super) struct Job<'a> {
    pub(super) args: &'a ImportArgs,
    /// `true` if rows with repeated keys are listed.
    pub(super) list: bool,
    pub(super) bar: &'a ProgressBar,
}

/// Result of an import.
#[derive(Default)]
pub(super) struct Loaded {
    /// Rows that were read, bad ones included.
    pub(super) rows: u64,
    pub(super) bad_rows: u64,
    /// Number of rows of the files, if more were to be skipped.
    pub(super) all_skipped: Option<u64>,
    /// The first bad rows.
    pub(super) bad: Vec<Bad>,
    pub(super) seen: Seen,
    /// Records that a replacement wrote, and those that it deleted.
    pub(super) replaced: Option<(u64, u64)>,
}

impl Loaded {
    pub(super) fn leave_out(
        &mut self,
        files: &Files,
        origin: Origin,
        reason: impl std::fmt::Display,
    ) {
        self.bad_rows += 1;
        if self.bad.len() < DEFAULT_LISTED {
            self.bad.push(files.bad(origin, reason.to_string()));
        }
    }
}

/// Reason for the end of reading.
pub(super) enum End {
    /// There are no more rows.
    Done,
    /// A bad row, where such rows are not skipped.
    Bad(Origin, RowReason),
    /// A repeated key, under `--unique`.
    Again(Origin, Key),
    /// An input that cannot be read any further.
    Broken(Broken),
    /// A signal.
    Interrupted,
}

impl End {
    /// Returns an error unless all rows were read; `done` describes the rows so far.
    pub(super) fn check(&self, files: &Files, done: &str) -> Result<()> {
        Err(match self {
            Self::Done => return Ok(()),
            Self::Bad(origin, reason) => bad_row(reason, *origin, files, done),
            Self::Again(origin, key) => not_unique(key.as_str(), *origin, files, done),
            Self::Broken(Broken { name, error }) => unreadable(error, name, done),
            Self::Interrupted => interrupted(&files.names(), done),
        })
    }
}

/// Reads all rows except those that are passed over. `each` takes the good rows; a bad row is skipped,
/// or ends reading.
pub(super) fn read(
    job: &Job<'_>,
    files: &mut Files,
    loaded: &mut Loaded,
    mut each: impl FnMut(Origin, Put, &Files, &mut Loaded) -> Result<()>,
) -> Result<End> {
    let Job { args, list, bar } = *job;
    let start = Instant::now();
    let mut last = 0;
    loop {
        let next = files.next(args);
        if interrupt::came() {
            return Ok(End::Interrupted);
        }
        let (origin, row) = match next {
            Ok(Some(row)) => row,
            Ok(None) => {
                loaded.all_skipped = (last < args.skip_rows).then_some(last);
                return Ok(End::Done);
            }
            Err(broken) => return Ok(End::Broken(broken)),
        };
        last = origin.number;
        if last <= args.skip_rows {
            continue;
        }
        loaded.rows += 1;
        if loaded.rows.is_multiple_of(PROGRESS_ROWS) {
            let rate = (loaded.rows as f64 / start.elapsed().as_secs_f64()) as u64;
            bar.set_message(format!(
                "{} rows, {} rows/s",
                grouped(loaded.rows),
                grouped(rate)
            ));
        }
        let put = match row {
            Ok(put) => put,
            Err(reason) if args.skip_bad => {
                loaded.leave_out(files, origin, reason);
                continue;
            }
            Err(reason) => return Ok(End::Bad(origin, reason)),
        };
        if !loaded.seen.first(&put.key) {
            if args.unique {
                return Ok(End::Again(origin, put.key));
            }
            if list {
                let row = || {
                    format!(
                        "{}: the key {:?} appeared before",
                        files.place(origin),
                        put.key.as_str()
                    )
                };
                loaded.seen.list(row);
            }
        }
        each(origin, put, files, loaded)?;
    }
}

/// The records of all files, in the order of their keys, with their origins.
pub(super) struct Held {
    files: Files,
    loaded: Loaded,
    records: BTreeMap<Key, (Origin, Put)>,
}

impl Held {
    /// Reads all files.
    pub(super) fn read(job: &Job<'_>, mut files: Files) -> Result<Self> {
        let mut loaded = Loaded::default();
        let mut records: BTreeMap<Key, (Origin, Put)> = BTreeMap::new();
        let mut bytes = 0;
        let end = read(job, &mut files, &mut loaded, |origin, put, files, _| {
            bytes += put.size() + RECORD_BYTES;
            if let Some((_, before)) = records.insert(put.key.clone(), (origin, put)) {
                bytes -= before.size() + RECORD_BYTES;
            }
            match bytes > MAX_HELD_BYTES {
                true => Err(too_many(&files.names(), MAX_HELD_BYTES)),
                false => Ok(()),
            }
        })?;
        end.check(&files, "nothing was changed")?;
        if records.is_empty() && !job.args.allow_empty {
            return Err(would_empty(&files.names(), "good rows", job.args));
        }
        Ok(Self {
            files,
            loaded,
            records,
        })
    }
}

/// Commits the rows in transactions, in their order.
pub(super) fn commit(tables: &Tables, job: &Job<'_>, mut files: Files) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let schema = tables.table(&job.args.table)?.options.schema.is_some();
    let mut batches = Batches::new(tables, job.args, schema);
    let end = read(
        job,
        &mut files,
        &mut loaded,
        |origin, put, files, loaded| batches.add(origin, put, files, loaded),
    )?;
    // The rows before a bad row, or before the end of readable input, are good.
    batches.submit(&files, &mut loaded)?;
    batches.wait(0, &files)?;
    end.check(&files, &batches.so_far())?;
    Ok(loaded)
}

/// Rows on their way to the disk.
struct Batches<'a> {
    tables: &'a Tables,
    table: &'a TableName,
    skip_bad: bool,
    /// Set if the rows come in their order, so that an import of the later ones continues this one.
    in_order: bool,
    note: Option<&'a Note>,
    /// Keys of the current transaction, if the table has a schema. Such a transaction has no key twice,
    /// so that an error that names a key names a row.
    keys: Option<HashSet<Key>>,
    txn: Txn,
    /// Origins of the operations, if the table has a schema.
    origins: Vec<Origin>,
    /// Number of the last row in the current transaction.
    last: u64,
    bytes: usize,
    in_flight: VecDeque<Flight>,
    /// Number of committed rows.
    committed: u64,
    /// Number of the last row up to which all rows are committed or skipped.
    settled: u64,
}

/// A submitted transaction.
struct Flight {
    pending: Pending,
    rows: u64,
    /// Number of its last row.
    last: u64,
}

impl<'a> Batches<'a> {
    fn new(tables: &'a Tables, args: &'a ImportArgs, schema: bool) -> Self {
        Self {
            tables,
            table: &args.table,
            skip_bad: args.skip_bad,
            in_order: !args.replace,
            note: args.note.as_ref(),
            keys: schema.then(HashSet::new),
            txn: Txn::new(),
            origins: Vec::new(),
            last: 0,
            bytes: 0,
            in_flight: VecDeque::new(),
            committed: 0,
            settled: 0,
        }
    }

    fn add(&mut self, origin: Origin, put: Put, files: &Files, loaded: &mut Loaded) -> Result<()> {
        let bytes = put.size();
        let room = MAX_TXN_BYTES - self.note.map_or(0, |note| note.as_str().len());
        let again = self
            .keys
            .as_ref()
            .is_some_and(|keys| keys.contains(&put.key));
        if again || self.txn.ops.len() == MAX_TXN_OPS || self.bytes + bytes > room {
            self.submit(files, loaded)?;
        }
        if let Some(keys) = &mut self.keys {
            keys.insert(put.key.clone());
            self.origins.push(origin);
        }
        self.last = origin.number;
        self.bytes += bytes;
        self.txn.ops.push(Op::Put(put));
        Ok(())
    }

    /// Submits the current transaction. Rows that the schema refuses are skipped, or end the import.
    fn submit(&mut self, files: &Files, loaded: &mut Loaded) -> Result<()> {
        while !self.txn.ops.is_empty() {
            let mut txn = match &self.keys {
                Some(_) => self.txn.clone(),
                None => std::mem::take(&mut self.txn),
            };
            txn.note = self.note.cloned();
            let rows = txn.ops.len() as u64;
            match self.tables.submit(self.table, txn) {
                Ok(pending) => {
                    let last = self.last;
                    self.in_flight.push_back(Flight {
                        pending,
                        rows,
                        last,
                    });
                    self.txn.ops.clear();
                    break;
                }
                Err(error) => match misfit(&error) {
                    Some((key, reason)) if self.keys.is_some() => {
                        self.refused(&key, &reason, files, loaded)?;
                    }
                    _ => return Err(self.failed(error, files)),
                },
            }
        }
        self.origins.clear();
        self.bytes = 0;
        if let Some(keys) = &mut self.keys {
            keys.clear();
        }
        self.wait(MAX_IN_FLIGHT, files)
    }

    /// Handles a row that the schema refuses.
    fn refused(
        &mut self,
        key: &Key,
        reason: &str,
        files: &Files,
        loaded: &mut Loaded,
    ) -> Result<()> {
        let Some(at) = self.txn.ops.iter().position(|op| op.key() == key) else {
            return Err(anyhow::anyhow!("{}: {reason}", files.names()));
        };
        if self.skip_bad {
            self.txn.ops.remove(at);
            let origin = self.origins.remove(at);
            loaded.leave_out(files, origin, reason);
            return Ok(());
        }
        // The rows before it are committed, if they are good.
        let origin = self.origins[at];
        self.txn.ops.truncate(at);
        self.origins.truncate(at);
        self.last = origin.number - 1;
        self.submit(files, loaded)?;
        self.wait(0, files)?;
        let code = Code::SchemaViolation;
        Err(stopped(code, origin, files, &reason, &self.so_far()))
    }

    /// Waits until at most `in_flight` transactions are under way.
    fn wait(&mut self, in_flight: usize, files: &Files) -> Result<()> {
        while self.in_flight.len() > in_flight {
            let Some(flight) = self.in_flight.pop_front() else {
                break;
            };
            match flight.pending.wait() {
                Ok(_) => {
                    self.committed += flight.rows;
                    self.settled = flight.last;
                }
                Err(error) => return Err(self.failed(error, files)),
            }
        }
        Ok(())
    }

    /// Returns the error for a transaction that was not committed. Later ones may have been committed.
    fn failed(&mut self, error: anyhow::Error, files: &Files) -> anyhow::Error {
        for flight in std::mem::take(&mut self.in_flight) {
            // Their rows are imported again, which does no harm.
            let _ = flight.pending.wait();
        }
        let name = files.names();
        error.context(match self.committed {
            0 => format!("{name}, in the first rows"),
            rows if !self.in_order => format!(
                "{name}, after {}, which are in the table; import without --replace to add the others",
                count(rows, "row", "rows")
            ),
            rows => format!(
                "{name}, after {}, --skip-rows {} continues after them",
                count(rows, "row", "rows"),
                self.settled
            ),
        })
    }

    fn so_far(&self) -> String {
        match self.committed {
            0 => "nothing was imported".to_owned(),
            rows => format!(
                "{} before it {} imported, --skip-rows {} continues after them",
                count(rows, "row", "rows"),
                if rows == 1 { "was" } else { "were" },
                self.settled
            ),
        }
    }
}

/// Returns the key whose value the table's schema refuses, and the message, if that is the error.
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

/// Adds to the error of a refused replacement; names the option that allows more deletions, if those are
/// the reason.
fn refused(error: anyhow::Error, name: &str) -> anyhow::Error {
    match exit::body(&error) {
        ErrorBody {
            code: code @ Code::PreconditionFailed,
            message,
            seq: None,
            ..
        } => {
            let message = message.replace("max_delete_percent", "--max-delete");
            Failure::new(code, format!("{name}: {message}")).into()
        }
        ErrorBody {
            code: code @ Code::TooLarge,
            message,
            ..
        } if message.ends_with("allow more changes") => {
            let option = "server.max_replace_changes, `hotread serve --max-replace-changes`";
            Failure::new(code, format!("{name}: {message} ({option})")).into()
        }
        _ => error.context(name.to_owned()),
    }
}

/// Makes the table equal the files in one step. If that is too much for a server and the table is empty,
/// uses several steps, which `say` reports; no earlier content is lost.
pub(super) fn replace(
    tables: &Tables,
    job: &Job<'_>,
    held: Held,
    say: &dyn Fn(&str),
) -> Result<Loaded> {
    const DONE: &str = "nothing was changed";
    let args = job.args;
    let Held {
        files,
        mut loaded,
        mut records,
    } = held;
    let info = tables.table(&args.table)?;
    let schema = info.options.schema.is_some();
    // A condition on the table holds for one step only.
    let may_split = info.records == 0 && args.if_seq.is_none() && tables.is_remote();
    loop {
        if records.is_empty() && !args.allow_empty {
            return Err(would_empty(&files.names(), "good rows", args));
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
                 imported in pieces, which readers see one after another",
                args.table
            ));
            let mut batches = Batches::new(tables, args, schema);
            for (origin, put) in std::mem::take(&mut records).into_values() {
                batches.add(origin, put, &files, &mut loaded)?;
            }
            batches.submit(&files, &mut loaded)?;
            batches.wait(0, &files)?;
            loaded.replaced = Some((batches.committed, 0));
            return Ok(loaded);
        }
        let Some((reason, origin)) =
            misfit(&error).and_then(|(key, reason)| Some((reason, records.remove(&key)?.0)))
        else {
            return Err(refused(error, &files.names()));
        };
        if !args.skip_bad {
            return Err(stopped(
                Code::SchemaViolation,
                origin,
                &files,
                &reason,
                DONE,
            ));
        }
        // Each bad row costs another pass over the files.
        if loaded.bad.len() == DEFAULT_LISTED {
            let message = format!(
                "more than {DEFAULT_LISTED} rows are bad, the last one that was looked at \
                 at {}: {reason}; {DONE}; correct the file",
                files.place(origin)
            );
            return Err(Failure::new(Code::SchemaViolation, message).into());
        }
        loaded.leave_out(&files, origin, reason);
    }
}
