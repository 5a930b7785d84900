//! Reads from disk, through a pool of connections: records, pages, searches, history. A read sees every
//! transaction that was acknowledged before it began.

use crate::budget::{self, Budget};
use crate::error::{ReadError, StorageError};
use crate::location::Location;
use crate::rows::{self, CHANGE_COLUMNS, HEAD_COLUMNS, RECORD_COLUMNS, signed};
use crate::search_index;
use crate::table::{OpenTable, TABLE_COLUMNS, TableRow};
use crate::text;
use hotread_proto::{
    Category, Change, ChangeOp, Digest, Hasher, Head, Key, MAX_CHANGES, Position, Record, Records,
    TableName,
};
pub use hotread_proto::{Found, Page, Scan, Search};
use rusqlite::{Connection, Params, ToSql, named_params, params};
use scheduled_thread_pool::ScheduledThreadPool;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Maximum number of records in a page, which is one short read transaction and one answer.
pub const MAX_PAGE: usize = 1_000;
/// Default number of records in a page.
pub const DEFAULT_PAGE: usize = 100;
/// Maximum number of bytes of changes that are read at once, except that a single change may exceed them.
const MAX_CHANGES_BYTES: u64 = 32 << 20;
/// Maximum number of bytes of keys, categories and values in a page or in a search's result, which ends with
/// the record that exceeds them. A page is read in one transaction, whose length this bounds as well: a few
/// tens of milliseconds.
pub const MAX_PAGE_BYTES: usize = 8 << 20;
/// Records that one transaction of a few tens of milliseconds reads while a table is loaded.
const LOAD_PAGE: usize = 50_000;
/// Maximum number of records for which memory is reserved in advance: the number in the file may be damaged.
const RESERVED: usize = 1 << 22;
/// Time for which an unused connection stays open, with its cache.
const IDLE: Duration = Duration::from_secs(30);
/// Time for which a read waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The read connections, and the budget of their use.
#[derive(Clone)]
pub(crate) struct Pool {
    readers: r2d2::Pool<Readers>,
    budget: Option<Budget>,
}

impl Pool {
    /// Returns the same connections for work with another budget, or without one.
    pub(crate) fn within(&self, budget: Option<Budget>) -> Self {
        Self {
            readers: self.readers.clone(),
            budget,
        }
    }
}

/// A read connection. It checks the budget of its work until it is returned to the pool.
pub(crate) struct Reader {
    db: r2d2::PooledConnection<Readers>,
    is_watched: bool,
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.db
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.db
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It fails only for connections that are shared with other code.
        if self.is_watched {
            let _ = budget::unwatch(&mut self.db);
        }
    }
}

/// Opens connections that only read.
#[derive(Debug)]
pub(crate) struct Readers {
    at: Location,
    /// Set once a connection was opened that is good for one read only. From then on each connection is
    /// used once, so that the next one checks whether the database is still in the same condition.
    once: AtomicBool,
}

impl r2d2::ManageConnection for Readers {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        // The other connections may read a file that has another name by now, or none. Looked at before as
        // well: opening another file of this name would truncate the index of the log, which they have mapped.
        let check = || {
            self.at.check_name().map_err(|e| {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
                rusqlite::Error::SqliteFailure(code, Some(e.to_string()))
            })
        };
        check()?;
        let (db, once) = self.at.reader_of()?;
        check()?;
        // ORDERING: a hint, which only the pool's own connections use.
        self.once.fetch_or(once, Ordering::Relaxed);
        Ok(db)
    }

    fn is_valid(&self, db: &mut Connection) -> rusqlite::Result<()> {
        db.execute_batch("")
    }

    fn has_broken(&self, db: &mut Connection) -> bool {
        // Returned in the middle of a transaction, it would keep the WAL from being truncated.
        !db.is_autocommit() || self.once.load(Ordering::Relaxed)
    }
}

/// The thread that opens a pool's connections. Dropped after the pool, it leaves no connection open.
pub(crate) struct Opener(Arc<ScheduledThreadPool>);

impl Opener {
    pub(crate) fn new() -> io::Result<Self> {
        // The pool panics if the system refuses to start its thread; in most cases it refuses this one as
        // well.
        drop(std::thread::Builder::new().spawn(|| ())?.join());
        let threads = std::panic::catch_unwind(|| {
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("hotread-readers")
                .build()
        });
        let threads = threads.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        Ok(Self(Arc::new(threads)))
    }
}

impl Drop for Opener {
    /// Waits until the thread has opened the requested connections, because it keeps the pool and its
    /// connections a moment longer than the caller that waited.
    fn drop(&mut self) {
        let (done, finished) = mpsc::channel::<()>();
        self.0.execute(move || drop(done));
        // Ends with an error once the sender was dropped.
        let _ = finished.recv();
    }
}

/// Creates a pool of at most `readers` connections, opened when they are needed.
pub(crate) fn pool(at: Location, readers: u32, opener: &Opener) -> Result<Pool, StorageError> {
    let readers = r2d2::Pool::builder()
        .max_size(readers)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .connection_timeout(PATIENCE)
        .idle_timeout(Some(IDLE))
        .error_handler(Box::new(Log))
        .thread_pool(opener.0.clone())
        .build(Readers {
            at,
            once: AtomicBool::new(false),
        })?;
    Ok(Pool {
        readers,
        budget: None,
    })
}

/// Logs errors of opening connections; callers that wait for one get a time-out.
#[derive(Debug)]
struct Log;

impl r2d2::HandleError<rusqlite::Error> for Log {
    fn handle_error(&self, error: rusqlite::Error) {
        tracing::warn!(%error, "a read connection could not be opened");
    }
}

fn limit(asked: usize) -> usize {
    match asked {
        0 => DEFAULT_PAGE,
        asked => asked.min(MAX_PAGE),
    }
}

/// Waits for a connection. If opening one fails, returns its error.
pub(crate) fn connection(pool: &Pool) -> Result<Reader, StorageError> {
    let is_watched = pool.budget.is_some();
    let Some(budget) = &pool.budget else {
        let db = pool.readers.get()?;
        return Ok(Reader { db, is_watched });
    };
    budget.check()?;
    let patience = budget.left().unwrap_or(PATIENCE).min(PATIENCE);
    let mut db = pool.readers.get_timeout(patience)?;
    budget.watch(&mut db)?;
    Ok(Reader { db, is_watched })
}

/// Reads in one transaction, to which the head and the floor of the table belong.
pub(crate) fn at_head<R, E: From<ReadError>>(
    pool: &Pool,
    table: &OpenTable,
    read: impl FnOnce(&Connection, Head, u64) -> Result<R, E>,
) -> Result<R, E> {
    let mut db = connection(pool).map_err(ReadError::from)?;
    let txn = db.transaction().map_err(ReadError::from)?;
    let (head, floor) = head(&txn, table)?;
    read(&txn, head, floor)
}

/// Returns the head and the floor of a table in this transaction.
fn head(db: &Connection, table: &OpenTable) -> Result<(Head, u64), ReadError> {
    let sql =
        format!("SELECT {HEAD_COLUMNS}, floor FROM tables WHERE id = ?1 AND dropped_at IS NULL");
    let head = rows::first(db, &sql, [table.id], |row| {
        Ok::<_, StorageError>((rows::read_head(row)?, rows::read_count(row, 5)?))
    })?;
    // If the table was rekeyed in the meantime, its values cannot be read with the old keys.
    head.filter(|(head, _)| head.position.epoch == table.epoch)
        .ok_or_else(|| ReadError::unknown(&table.name))
}

pub(crate) fn get(pool: &Pool, table: &OpenTable, key: &Key) -> Result<Option<Record>, ReadError> {
    let sql =
        format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 AND r.key = ?2");
    let db = connection(pool)?;
    rows::first(&db, &sql, params![table.id, key.as_str()], |row| {
        let record = rows::read_record(row, &table.values())?;
        checked(table, &table.hasher(), record)
    })
}

/// Fails if the value does not match its hash, and so is not the one that was written.
fn checked(table: &OpenTable, hasher: &Hasher, record: Record) -> Result<Record, ReadError> {
    if record.verify(hasher) {
        return Ok(record);
    }
    let (key, name) = (record.key(), &table.name);
    let detail = format!("the value of {key:?} in table {name} is not what its hash says");
    Err(StorageError::corrupt(detail).into())
}

pub(crate) fn scan(pool: &Pool, table: &OpenTable, scan: &Scan) -> Result<Page, ReadError> {
    at_head(pool, table, |txn, head, _| {
        let now = head.position.epoch;
        if let Some(epoch) = scan.epoch.filter(|epoch| *epoch != now) {
            let table = table.name.clone();
            return Err(ReadError::OtherEpoch { table, epoch, now });
        }
        let (records, next) = page(txn, table, scan)?;
        Ok(Page {
            records,
            next,
            position: head.position,
        })
    })
}

/// Returns the records of a page, and the key after which the next page begins.
fn page(
    txn: &Connection,
    table: &OpenTable,
    scan: &Scan,
) -> Result<(Vec<Record>, Option<Key>), ReadError> {
    let limit = limit(scan.limit);
    let after = scan.after.as_ref().map_or("", Key::as_str);
    let from = after.max(scan.prefix.as_str());
    // Strictly after `after`, while a key that equals the prefix belongs to it.
    let compare = match scan.after.is_some() && from == after {
        true => ">",
        false => ">=",
    };
    let mut sql = format!(
        "SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = :table AND r.key {compare} :from"
    );
    // The first text after all texts with the prefix. An empty prefix has no such text.
    let end = prefix_end(&scan.prefix);
    let end = end.as_deref().map(rusqlite::types::ToSqlOutput::from);
    let rows_wanted = limit as i64 + 1;
    let mut params: Vec<(&str, &dyn ToSql)> = vec![
        (":table", &table.id),
        (":from", &from),
        (":limit", &rows_wanted),
    ];
    if let Some(end) = &end {
        sql.push_str(" AND r.key < CAST(:end AS TEXT)");
        params.push((":end", end));
    }
    let category = scan.category.as_ref().map(Category::as_str);
    if let Some(category) = &category {
        sql.push_str(" AND r.category = :category");
        if *category != Category::GENERAL.as_str() {
            // Allows SQLite to use the partial index.
            sql.push_str(" AND r.category <> 'general'");
        }
        params.push((":category", category));
    }
    sql.push_str(" ORDER BY r.key LIMIT :limit");
    let mut records = Vec::new();
    let mut more = read_records(txn, table, &sql, &params[..], MAX_PAGE_BYTES, &mut records)?;
    more |= records.len() > limit;
    records.truncate(limit);
    let last = records.last().filter(|_| more);
    let next = last.map(|last| Key::new(last.key()).map_err(StorageError::corrupt));
    Ok((records, next.transpose()?))
}

/// Returns the bytes that follow directly after all texts with this prefix, in the byte order of
/// SQLite.
fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // A byte of UTF-8 is never 0xff, so the last one can always be incremented.
    *end.last_mut()? += 1;
    Some(end)
}

/// Adds records until they have this number of bytes. Returns `true` if there may be more then.
fn read_records(
    db: &Connection,
    table: &OpenTable,
    sql: &str,
    params: impl Params,
    max_bytes: usize,
    records: &mut Vec<Record>,
) -> Result<bool, ReadError> {
    let (values, hasher) = (table.values(), table.hasher());
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let record = checked(table, &hasher, rows::read_record(row, &values)?)?;
        bytes += record.size();
        records.push(record);
        if bytes >= max_bytes {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn search(pool: &Pool, table: &OpenTable, search: &Search) -> Result<Found, ReadError> {
    if !table.options.search {
        let table = table.name.clone();
        return Err(ReadError::NoSearch { table });
    }
    at_head(pool, table, |txn, head, _| {
        let (mut records, mut more) = (Vec::new(), false);
        let limit = limit(search.limit);
        if let Some(query) = text::fts_query(&search.query) {
            let index = search_index::name(table.id);
            let sql = format!(
                "SELECT {RECORD_COLUMNS} FROM {index} f
             JOIN search_rows s ON s.id = f.rowid
             JOIN records r ON r.table_id = s.table_id AND r.key = s.key
             WHERE {index} MATCH :query AND s.table_id = :table
               AND (:category IS NULL OR r.category = :category)
             ORDER BY f.rank, r.key LIMIT :limit"
            );
            let category = search.category.as_ref().map(Category::as_str);
            let params = named_params! {
                ":query": query, ":table": table.id, ":category": category,
                ":limit": limit as i64 + 1,
            };
            more = read_records(txn, table, &sql, params, MAX_PAGE_BYTES, &mut records)?;
            more |= records.len() > limit;
            records.truncate(limit);
        }
        Ok(Found {
            records,
            more,
            position: head.position,
        })
    })
}

/// Returns the changes after `from`, oldest first, while `admit` accepts their sizes.
pub(crate) fn changes(
    pool: &Pool,
    table: &OpenTable,
    from: Position,
    limit: usize,
    admit: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<Change>, ReadError> {
    at_head(pool, table, |txn, head, floor| {
        let head = head.position;
        if from.epoch != head.epoch || from.seq > head.seq {
            let table = table.name.clone();
            return Err(ReadError::NeverThere { table, from, head });
        }
        if from.seq + 1 < floor {
            let table = table.name.clone();
            return Err(ReadError::Gone { table, floor });
        }
        let after = |columns| {
            format!(
                "SELECT {columns} FROM changes WHERE place > ?1 << 40 | ?2 AND place < (?1 + 1) << 40
             ORDER BY place LIMIT ?3"
            )
        };
        let from_seq = signed(from.seq);
        // Sizes are read first, because SQLite reads each row that it steps to as a whole.
        let mut admitted = 0_i64;
        {
            let mut sizes = txn.prepare_cached(&after("bytes"))?;
            let limit = limit.min(MAX_CHANGES) as i64;
            let mut rows = sizes.query(params![table.id, from_seq, limit])?;
            while let Some(row) = rows.next()?
                && admit(rows::read_count(row, 0)?)
            {
                admitted += 1;
            }
        }
        let (values, hasher) = (table.values(), table.hasher());
        let mut changes = Vec::new();
        let admitted = params![table.id, from_seq, admitted];
        rows::each::<ReadError>(txn, &after(CHANGE_COLUMNS), admitted, |row| {
            let mut change = rows::read_change(row, from.epoch, &values)?;
            let ops = change.ops.into_iter().map(|op| match op {
                ChangeOp::Put(record) => checked(table, &hasher, record).map(ChangeOp::Put),
                delete => Ok(delete),
            });
            change.ops = ops.collect::<Result<_, _>>()?;
            changes.push(change);
            Ok(())
        })?;
        Ok(changes)
    })
}

/// Admits changes up to [`MAX_CHANGES_BYTES`], or a single larger one.
pub(crate) fn some_bytes() -> impl FnMut(u64) -> bool {
    let mut all = 0;
    move |bytes| {
        let is_first = all == 0;
        all += bytes;
        is_first || all <= MAX_CHANGES_BYTES
    }
}

/// Returns the digest after a transaction that the history still has, or that is the head.
pub(crate) fn digest_at(
    pool: &Pool,
    table: &OpenTable,
    at: Position,
) -> Result<Option<Digest>, ReadError> {
    at_head(pool, table, |txn, head, _| {
        if at == head.position {
            return Ok(Some(head.digest));
        }
        if at.epoch != head.position.epoch {
            return Ok(None);
        }
        let sql = "SELECT digest FROM changes WHERE place = ?1 << 40 | ?2";
        let digest = rows::first(txn, sql, params![table.id, signed(at.seq)], |row| {
            rows::read_wide(row, 0)
        })?;
        Ok(digest.map(Digest))
    })
}

/// Returns the whole table, read in parts, at the head of the first part. It may contain parts of later
/// changes, up to the sequence number that is returned with it; those changes must be applied to it
/// again.
pub(crate) fn load(table: &OpenTable, pool: &Pool) -> Result<(Records, u64), ReadError> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 AND r.key > ?2
         ORDER BY r.key LIMIT ?3"
    );
    let mut db = connection(pool)?;
    let mut start = None;
    let mut records: Vec<Record> = Vec::new();
    loop {
        let txn = db.transaction()?;
        let (now, _) = head(&txn, table)?;
        let head = *start.get_or_insert(now);
        if records.is_empty() {
            records.reserve(usize::try_from(head.records).unwrap_or(0).min(RESERVED));
        }
        let before = records.len();
        let last = records.last().map_or("", Record::key).to_owned();
        let params = params![table.id, last, LOAD_PAGE as i64];
        read_records(&txn, table, &sql, params, usize::MAX, &mut records)?;
        if records.len() - before < LOAD_PAGE {
            return Ok((Records::new(head, records), now.position.seq));
        }
    }
}

/// Returns the whole table as of one moment, in one read transaction.
pub(crate) fn snapshot(table: &OpenTable, pool: &Pool) -> Result<Records, ReadError> {
    at_head(pool, table, |txn, head, _| {
        Ok(Records::new(head, all_records(txn, table)?))
    })
}

/// Returns all records of a table, by key, as this connection sees them.
pub(crate) fn all_records(db: &Connection, table: &OpenTable) -> Result<Vec<Record>, ReadError> {
    let sql =
        format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 ORDER BY r.key");
    let mut records = Vec::new();
    read_records(db, table, &sql, [table.id], usize::MAX, &mut records)?;
    Ok(records)
}

/// Returns a table by its name, for stores that only read: other processes may create and drop tables
/// in the meantime.
pub(crate) fn table(pool: &Pool, name: &TableName) -> Result<Option<TableRow>, ReadError> {
    let sql = format!("SELECT {TABLE_COLUMNS} FROM tables WHERE name = ?1");
    let db = connection(pool)?;
    Ok(rows::first(&db, &sql, [name.as_str()], TableRow::read)?)
}
