//! Reading what is on disk, through a pool of connections: single records, pages, searches, history.
//! Whatever was acknowledged is seen by a read that begins after it.

use crate::budget::{self, Budget};
use crate::error::{ReadError, StorageError};
use crate::location::Location;
use crate::rows::{self, CHANGE_COLUMNS, HEAD_COLUMNS, RECORD_COLUMNS, signed};
use crate::table::{self, OpenTable, TableRow};
use crate::text;
use hotread_proto::{
    Category, Change, ChangeOp, Hasher, Head, Key, MAX_CHANGES, Position, Record, Records,
};
pub use hotread_proto::{Found, Page, Scan, Search};
use rusqlite::{Connection, OptionalExtension, ToSql, named_params, params};
use scheduled_thread_pool::ScheduledThreadPool;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Most records in a page, which is one short read transaction and one answer.
pub const MAX_PAGE: usize = 1_000;
/// Records in a page unless something else is asked for.
pub const DEFAULT_PAGE: usize = 100;
/// Most bytes of changes that are read at once; one larger change comes alone.
const MAX_CHANGES_BYTES: u64 = 32 << 20;
/// Most bytes of keys, categories and values in a page or in a search's answer, which ends with the record
/// that fills it. A page is read in one transaction, whose length this bounds as well: some tens of
/// milliseconds.
pub const MAX_PAGE_BYTES: usize = 8 << 20;
/// Records that are read in one transaction while a table is loaded: some tens of milliseconds, so
/// that the WAL does not wait for it.
const LOAD_PAGE: usize = 50_000;
/// Most records that room is made for before they are seen: the number in the file may be damaged.
const RESERVED: usize = 1 << 22;
/// How long a connection that is not used stays open, with what it caches.
const IDLE: Duration = Duration::from_secs(30);
/// How long a read waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The read connections, and the budget within which they are used.
#[derive(Clone)]
pub(crate) struct Pool {
    readers: r2d2::Pool<Readers>,
    budget: Option<Budget>,
}

impl Pool {
    /// The same connections, for work with a budget or without one.
    pub(crate) fn within(&self, budget: Option<Budget>) -> Self {
        Self {
            readers: self.readers.clone(),
            budget,
        }
    }
}

/// A read connection. It looks at the budget of the work it was taken for, until it is given back.
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
        // It fails only for connections that others own.
        if self.is_watched {
            let _ = budget::unwatch(&mut self.db);
        }
    }
}

/// Makes connections that only read.
#[derive(Debug)]
pub(crate) struct Readers {
    at: Location,
    /// A connection was opened that is good for one read only: each is used once from then on, so that the
    /// next one sees whether the database still is as it was.
    once: AtomicBool,
}

impl r2d2::ManageConnection for Readers {
    type Connection = Connection;
    type Error = rusqlite::Error;

    fn connect(&self) -> rusqlite::Result<Connection> {
        let (db, once) = self.at.reader_of()?;
        // What the other connections read has another name, or none.
        self.at.check_name().map_err(|e| {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            rusqlite::Error::SqliteFailure(code, Some(e.to_string()))
        })?;
        // ORDERING: a hint, of which only the pool's own connections make use.
        self.once.fetch_or(once, Ordering::Relaxed);
        Ok(db)
    }

    fn is_valid(&self, db: &mut Connection) -> rusqlite::Result<()> {
        db.execute_batch("")
    }

    fn has_broken(&self, db: &mut Connection) -> bool {
        // Given back in the middle of a transaction, which would keep the WAL from being cut.
        !db.is_autocommit() || self.once.load(Ordering::Relaxed)
    }
}

/// The thread that opens a pool's connections.
#[derive(Clone)]
pub(crate) struct Opener(Arc<ScheduledThreadPool>);

impl Opener {
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn new() -> io::Result<Self> {
        // The pool panics if the system refuses its thread, mostly where it refuses this one, too.
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

    /// Waits until what it was asked to open is open. The thread keeps the pool alive a moment
    /// longer than whoever waited for the connection, and the connections with it.
    pub(crate) fn finish(&self) {
        let (done, finished) = mpsc::channel::<()>();
        self.0.execute(move || drop(done));
        // An error: it was dropped, which is what is waited for.
        let _ = finished.recv();
    }
}

/// At most `readers` connections, opened when they are needed.
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

/// Errors of opening connections; whoever waited for one is told by the time-out.
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

/// All tables, as they stand now.
pub(crate) fn tables(pool: &Pool) -> Result<Vec<TableRow>, StorageError> {
    table::read_all(&*connection(pool)?)
}

/// Waits for a connection. If none can be opened, what that fails with is said.
pub(crate) fn connection(pool: &Pool) -> Result<Reader, StorageError> {
    let Some(budget) = &pool.budget else {
        let db = pool.readers.get()?;
        return Ok(Reader {
            db,
            is_watched: false,
        });
    };
    budget.check()?;
    let patience = budget.left().unwrap_or(PATIENCE).min(PATIENCE);
    let mut db = pool.readers.get_timeout(patience)?;
    budget.watch(&mut db)?;
    Ok(Reader {
        db,
        is_watched: true,
    })
}

/// Where a table stands in this transaction, and where its history begins.
pub(crate) fn head(db: &Connection, table: &OpenTable) -> Result<(Head, u64), ReadError> {
    let sql =
        format!("SELECT {HEAD_COLUMNS}, floor FROM tables WHERE id = ?1 AND dropped_at IS NULL");
    let unknown = || ReadError::UnknownTable {
        table: table.name.clone(),
    };
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([table.id])?;
    let row = rows.next()?.ok_or_else(unknown)?;
    let head = rows::read_head(row)?;
    // Sealed anew meanwhile: the values cannot be read with the old keys.
    if head.position.epoch != table.epoch {
        return Err(unknown());
    }
    Ok((head, rows::read_count(row, 5)?))
}

pub(crate) fn get(pool: &Pool, table: &OpenTable, key: &Key) -> Result<Option<Record>, ReadError> {
    let sql =
        format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 AND r.key = ?2");
    let db = connection(pool)?;
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![table.id, key.as_str()])?;
    rows.next()?
        .map(|row| {
            checked(
                table,
                &table.hasher(),
                rows::read_record(row, &table.values())?,
            )
        })
        .transpose()
}

/// A record whose value is the one that was written, as its hash shows. What others take from here, they
/// take for true.
fn checked(table: &OpenTable, hasher: &Hasher, record: Record) -> Result<Record, ReadError> {
    if record.verify(hasher) {
        return Ok(record);
    }
    let (key, name) = (record.key(), &table.name);
    let detail = format!("the value of {key:?} in table {name} is not what its hash says");
    Err(StorageError::corrupt(detail).into())
}

pub(crate) fn scan(pool: &Pool, table: &OpenTable, scan: &Scan) -> Result<Page, ReadError> {
    let limit = limit(scan.limit);
    let mut db = connection(pool)?;
    let txn = db.transaction()?;
    let (head, _) = head(&txn, table)?;
    let now = head.position.epoch;
    if let Some(epoch) = scan.epoch.filter(|epoch| *epoch != now) {
        let table = table.name.clone();
        return Err(ReadError::OtherEpoch { table, epoch, now });
    }
    let after = scan.after.as_ref().map_or("", Key::as_str);
    let from = if after < scan.prefix.as_str() {
        scan.prefix.as_str()
    } else {
        after
    };
    // Strictly after `after`, but a key that is the prefix belongs to it.
    let strictly = scan.after.is_some() && from == after;
    let compare = if strictly { ">" } else { ">=" };
    // The first text after all that begin with the prefix. There is none if it is empty.
    let end = prefix_end(&scan.prefix);
    let mut sql = format!(
        "SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = :table AND r.key {compare} :from"
    );
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
            // Lets SQLite use the partial index.
            sql.push_str(" AND r.category <> 'general'");
        }
        params.push((":category", category));
    }
    sql.push_str(" ORDER BY r.key LIMIT :limit");
    let (mut records, mut more) = read_records(&txn, table, &sql, &params, MAX_PAGE_BYTES)?;
    more |= records.len() > limit;
    records.truncate(limit);
    let next = match records.last() {
        Some(last) if more => Some(key(last)?),
        _ => None,
    };
    Ok(Page {
        records,
        next,
        position: head.position,
    })
}

fn key(record: &Record) -> Result<Key, StorageError> {
    Key::new(record.key()).map_err(|e| StorageError::corrupt(e.to_string()))
}

/// The bytes that come right after all texts with this prefix: not text in general, and compared as
/// bytes, which is how SQLite compares text.
fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xff, so that the last one can always be raised.
    *end.last_mut()? += 1;
    Some(end)
}

/// Records until they have this number of bytes, and whether there may be more then.
fn read_records(
    db: &Connection,
    table: &OpenTable,
    sql: &str,
    params: &[(&str, &dyn ToSql)],
    max_bytes: usize,
) -> Result<(Vec<Record>, bool), ReadError> {
    let (values, hasher) = (table.values(), table.hasher());
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let record = checked(table, &hasher, rows::read_record(row, &values)?)?;
        bytes += record.size();
        records.push(record);
        if bytes >= max_bytes {
            return Ok((records, true));
        }
    }
    Ok((records, false))
}

pub(crate) fn search(pool: &Pool, table: &OpenTable, search: &Search) -> Result<Found, ReadError> {
    if !table.options.search {
        return Err(ReadError::NoSearch {
            table: table.name.clone(),
        });
    }
    let mut db = connection(pool)?;
    let txn = db.transaction()?;
    let (head, _) = head(&txn, table)?;
    let mut records = Vec::new();
    if let Some(query) = text::fts_query(&search.query) {
        let index = table.search_table();
        let sql = format!(
            "SELECT {RECORD_COLUMNS} FROM {index} f
             JOIN search_rows s ON s.id = f.rowid
             JOIN records r ON r.table_id = s.table_id AND r.key = s.key
             WHERE {index} MATCH :query AND s.table_id = :table
               AND (:category IS NULL OR r.category = :category)
             ORDER BY f.rank, r.key LIMIT :limit"
        );
        let category = search.category.as_ref().map(Category::as_str);
        (records, _) = read_records(
            &txn,
            table,
            &sql,
            named_params! {
                ":query": query, ":table": table.id, ":category": category,
                ":limit": limit(search.limit) as i64,
            },
            MAX_PAGE_BYTES,
        )?;
    }
    Ok(Found {
        records,
        position: head.position,
    })
}

/// The changes after `from`, oldest first, as far as `admit` takes them, which is told the size of each
/// before it is read.
pub(crate) fn changes(
    pool: &Pool,
    table: &OpenTable,
    from: Position,
    limit: usize,
    admit: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<Change>, ReadError> {
    let mut db = connection(pool)?;
    let txn = db.transaction()?;
    let (head, floor) = head(&txn, table)?;
    if from.epoch != head.position.epoch || from.seq > head.position.seq {
        let (table, head) = (table.name.clone(), head.position);
        return Err(ReadError::NeverThere { table, from, head });
    }
    if from.seq + 1 < floor {
        return Err(ReadError::Gone {
            table: table.name.clone(),
            floor,
        });
    }
    let after = |columns| {
        format!(
            "SELECT {columns} FROM changes WHERE place > ?1 << 40 | ?2 AND place < (?1 + 1) << 40
             ORDER BY place LIMIT ?3"
        )
    };
    let from_seq = signed(from.seq);
    // The sizes first: a row that is stepped to is read whole.
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
    let mut statement = txn.prepare_cached(&after(CHANGE_COLUMNS))?;
    let mut rows = statement.query(params![table.id, from_seq, admitted])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let mut change = rows::read_change(row, from.epoch, &values)?;
        change.ops = change
            .ops
            .into_iter()
            .map(|op| match op {
                ChangeOp::Put(record) => checked(table, &hasher, record).map(ChangeOp::Put),
                delete => Ok(delete),
            })
            .collect::<Result<_, _>>()?;
        changes.push(change);
    }
    Ok(changes)
}

/// Admits changes up to [`MAX_CHANGES_BYTES`], and one that is larger alone.
pub(crate) fn some_bytes() -> impl FnMut(u64) -> bool {
    let mut all = 0;
    move |bytes| {
        let is_first = all == 0;
        all += bytes;
        is_first || all <= MAX_CHANGES_BYTES
    }
}

/// The digest after a transaction that the history still has, or that is the head.
pub(crate) fn digest_at(
    pool: &Pool,
    table: &OpenTable,
    at: Position,
) -> Result<Option<hotread_proto::Digest>, ReadError> {
    let mut db = connection(pool)?;
    let txn = db.transaction()?;
    let (head, _) = head(&txn, table)?;
    if at == head.position {
        return Ok(Some(head.digest));
    }
    if at.epoch != head.position.epoch {
        return Ok(None);
    }
    let mut statement =
        txn.prepare_cached("SELECT digest FROM changes WHERE place = ?1 << 40 | ?2")?;
    let mut rows = statement.query(params![table.id, signed(at.seq)])?;
    let digest = rows
        .next()?
        .map(|row| rows::read_wide(row, 0))
        .transpose()?;
    Ok(digest.map(hotread_proto::Digest))
}

/// The whole table, read in parts. It stands where the first part stood; what was written meanwhile,
/// up to the transaction that is given with it, may be in it already, and is to be applied to it
/// again.
pub(crate) fn load(table: &OpenTable, pool: &Pool) -> Result<(Records, u64), ReadError> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = ?1 AND r.key > ?2
         ORDER BY r.key LIMIT ?3"
    );
    let (values, hasher) = (table.values(), table.hasher());
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
        {
            let mut statement = txn.prepare_cached(&sql)?;
            let last = records.last().map_or("", Record::key).to_owned();
            let mut rows = statement.query(params![table.id, last, LOAD_PAGE as i64])?;
            while let Some(row) = rows.next()? {
                records.push(checked(table, &hasher, rows::read_record(row, &values)?)?);
            }
        }
        if records.len() - before < LOAD_PAGE {
            return Ok((Records::new(head, records), now.position.seq));
        }
    }
}

/// The whole table as of one moment, in one read transaction.
pub(crate) fn snapshot(table: &OpenTable, pool: &Pool) -> Result<Records, ReadError> {
    let mut db = connection(pool)?;
    let txn = db.transaction()?;
    let (head, _) = head(&txn, table)?;
    Ok(Records::new(head, all_records(&txn, table)?))
}

/// All records of a table, by key, as this connection sees them.
pub(crate) fn all_records(db: &Connection, table: &OpenTable) -> Result<Vec<Record>, ReadError> {
    let sql =
        format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.table_id = :table ORDER BY r.key");
    read_records(
        db,
        table,
        &sql,
        named_params! { ":table": table.id },
        usize::MAX,
    )
    .map(|(records, _)| records)
}

/// A table by its name, for stores that only read: others may create and drop tables meanwhile.
pub(crate) fn table(
    pool: &Pool,
    name: &hotread_proto::TableName,
) -> Result<Option<TableRow>, ReadError> {
    let sql = format!(
        "SELECT {} FROM tables WHERE name = ?1",
        table::TABLE_COLUMNS
    );
    let db = connection(pool)?;
    let mut statement = db.prepare_cached(&sql)?;
    let row = statement
        .query_row([name.as_str()], |row| Ok(TableRow::read(row)))
        .optional()?;
    row.transpose().map_err(ReadError::Storage)
}
