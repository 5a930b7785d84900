//! SQLite without the store: only the statements of its write path, in a loop.
//!
//! A [`Mirror`] computes the statements' parameters beforehand; it keeps the data of a table that `evaluate`
//! needs in a hash map.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;

use super::data;
use hotread_proto::{
    Actor, Body, Change, ChangeOp, Digest, Entry, Epoch, Existing, Hasher, Head, ItemHash, Key,
    Outcome, Position, Remembered, TableView, Timestamp, Txn, TxnId, evaluate,
};
use hotread_store::{Synchronous, sql};
use rusqlite::{Connection, OpenFlags, Result, Statement, params};

/// The pragmas of the store's writing connection, the same as in `hotread_store`'s `open` module; the
/// database is already in WAL mode.
const PRAGMAS: &str = "
    PRAGMA foreign_keys = ON;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -65536;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;";
/// The pragmas of its reading connections.
const READER_PRAGMAS: &str = "
    PRAGMA query_only = ON;
    PRAGMA cache_size = -2048;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;";

/// Opens a connection with the committer's settings.
///
/// # Errors
/// If the file cannot be opened.
pub fn writer(path: &Path, synchronous: Synchronous) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.execute_batch(PRAGMAS)?;
    db.execute_batch(match synchronous {
        Synchronous::Full => "PRAGMA synchronous = FULL",
        Synchronous::Normal => "PRAGMA synchronous = NORMAL",
    })?;
    Ok(db)
}

/// Opens a connection with the settings of the store's readers.
///
/// # Errors
/// If the file cannot be opened.
pub fn reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.execute_batch(READER_PRAGMAS)?;
    Ok(db)
}

/// Moves the WAL into the database, and both to the disk.
///
/// # Errors
/// If the file cannot be opened, or another process has it open.
pub fn bring_to_rest(path: &Path) -> Result<()> {
    let db = writer(path, Synchronous::Full)?;
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    assert_eq!(busy, 0, "a reader holds the WAL of {}", path.display());
    Ok(())
}

/// A record's row.
struct Row {
    key: String,
    seq: i64,
    updated_at: i64,
    hash: [u8; 16],
    value: Vec<u8>,
    category: String,
    expires_at: Option<i64>,
}

enum Op {
    Put(Row),
    Delete(String),
}

/// A transaction as parameters of the statements.
pub struct Prepared {
    seq: i64,
    at: i64,
    digest: [u8; 16],
    records: i64,
    floor: i64,
    history_bytes: i64,
    /// For the history.
    bytes: i64,
    encoded: Vec<u8>,
    actor: Option<Actor>,
    ops: Vec<Op>,
}

/// The data of a table that `evaluate` needs, in memory.
pub struct Mirror {
    head: Head,
    existing: HashMap<Key, Existing>,
    floor: u64,
    history_bytes: u64,
    hasher: Hasher,
}

impl Mirror {
    /// Reads the only table of a database.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(db: &Connection) -> Result<Self> {
        let columns = "epoch, head, digest, records, updated_at, floor, history_bytes";
        let sql = format!("SELECT {columns} FROM tables WHERE id = {TABLE}");
        let mut mirror = db.query_row(&sql, [], |row| {
            Ok(Self {
                head: Head {
                    position: Position {
                        epoch: Epoch(row.get::<_, i64>(0)?.cast_unsigned()),
                        seq: unsigned(row.get(1)?),
                    },
                    digest: Digest(u128::from_be_bytes(row.get(2)?)),
                    records: unsigned(row.get(3)?),
                    at: Timestamp::from_millis(row.get(4)?).expect("the store wrote it"),
                },
                existing: HashMap::new(),
                floor: unsigned(row.get(5)?),
                history_bytes: unsigned(row.get(6)?),
                hasher: Hasher::PLAIN,
            })
        })?;
        let mut statement = db.prepare("SELECT key, seq, hash FROM records WHERE table_id = ?1")?;
        let mut rows = statement.query([TABLE])?;
        while let Some(row) = rows.next()? {
            let key = Key::new(row.get_ref(0)?.as_str()?).expect("the store wrote it");
            let hash = ItemHash(u128::from_be_bytes(row.get(2)?));
            mirror
                .existing
                .insert(key, existing(unsigned(row.get(1)?), hash));
        }
        Ok(mirror)
    }

    /// Computes the rows that a transaction writes, and records them as written.
    ///
    /// # Panics
    /// If it is refused.
    pub fn prepare(&mut self, txn: Txn, at: Timestamp) -> Prepared {
        let body = Body::Txn(txn);
        let actor = Some(data::actor());
        let Ok(outcome) = evaluate(self, &Entry { at, actor, body });
        let Outcome::Committed(change) = outcome else {
            panic!("only what commits can be compared: {outcome:?}");
        };
        self.head = change.head();
        for op in &change.ops {
            let key = Key::new(op.key()).expect("it was a key before");
            match op {
                ChangeOp::Put(record) => {
                    let existing = existing(record.seq(), record.hash());
                    self.existing.insert(key, existing);
                }
                ChangeOp::Delete { .. } => {
                    self.existing.remove(&key);
                }
            }
        }
        let encoded = encode(&change);
        let bytes = (encoded.len() + change.said_bytes()) as u64;
        self.history_bytes += bytes;
        Prepared {
            seq: signed(change.position.seq),
            at: change.at.millis(),
            digest: change.digest.0.to_be_bytes(),
            records: signed(change.records),
            floor: signed(self.floor),
            history_bytes: signed(self.history_bytes),
            bytes: signed(bytes),
            encoded,
            actor: change.actor,
            ops: change.ops.into_iter().map(op).collect(),
        }
    }
}

fn op(op: ChangeOp) -> Op {
    match op {
        ChangeOp::Put(record) => Op::Put(Row {
            key: record.key().to_owned(),
            seq: signed(record.seq()),
            updated_at: record.updated_at().millis(),
            hash: record.hash().0.to_be_bytes(),
            value: record.value().to_owned(),
            category: record.category().to_owned(),
            expires_at: record.expires_at().map(Timestamp::millis),
        }),
        ChangeOp::Delete { key, .. } => Op::Delete(key.as_str().to_owned()),
    }
}

fn existing(seq: u64, hash: ItemHash) -> Existing {
    Existing {
        seq,
        hash,
        category: String::new(),
        expires_at: None,
    }
}

impl TableView for Mirror {
    type Error = Infallible;

    fn head(&self) -> Head {
        self.head
    }

    fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    fn get(&mut self, key: &Key) -> std::result::Result<Option<Existing>, Infallible> {
        Ok(self.existing.get(key).cloned())
    }

    fn get_filed(&mut self, key: &Key) -> std::result::Result<Option<Existing>, Infallible> {
        self.get(key)
    }

    fn scan(
        &mut self,
        _visit: &mut dyn FnMut(&str, Existing),
    ) -> std::result::Result<(), Infallible> {
        unimplemented!("only replacements scan, and none is measured")
    }

    fn remembered(&mut self, _id: &TxnId) -> std::result::Result<Option<Remembered>, Infallible> {
        Ok(None)
    }
}

/// Encodes a change for the history.
fn encode(change: &Change) -> Vec<u8> {
    let mut out = vec![1];
    let short = |length: usize| u16::try_from(length).expect("keys are short");
    for op in &change.ops {
        let key = op.key();
        out.push(match op {
            ChangeOp::Put(_) => 1,
            ChangeOp::Delete { .. } => 2,
        });
        out.extend(short(key.len()).to_le_bytes());
        out.extend(key.as_bytes());
        if let ChangeOp::Put(record) = op {
            out.push(u8::try_from(record.category().len()).expect("categories are short"));
            out.extend(record.category().as_bytes());
            let expires_at = record.expires_at().map_or(i64::MAX, Timestamp::millis);
            out.extend(expires_at.to_le_bytes());
            out.extend(record.hash().0.to_be_bytes());
            let length = u32::try_from(record.value().len()).expect("values are about 100 bytes");
            out.extend(length.to_le_bytes());
            out.extend(record.value());
        }
    }
    out
}

/// The id of a database's first table.
const TABLE: i64 = 1;

/// The loop: its statements are prepared once.
pub struct Loop<'db> {
    begin: Statement<'db>,
    existing: Statement<'db>,
    put: Statement<'db>,
    delete: Statement<'db>,
    change: Statement<'db>,
    head: Statement<'db>,
    applied: Statement<'db>,
    commit: Statement<'db>,
}

impl<'db> Loop<'db> {
    /// Prepares the statements.
    ///
    /// # Errors
    /// If the schema does not fit them.
    pub fn new(db: &'db Connection) -> Result<Self> {
        Ok(Self {
            begin: db.prepare("BEGIN IMMEDIATE")?,
            existing: db.prepare(sql::EXISTING)?,
            put: db.prepare(sql::PUT)?,
            delete: db.prepare(sql::DELETE)?,
            change: db.prepare(sql::CHANGE)?,
            head: db.prepare(sql::HEAD)?,
            applied: db.prepare(sql::APPLIED)?,
            commit: db.prepare("COMMIT")?,
        })
    }

    /// Writes transactions under one COMMIT.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn group(&mut self, group: &[Prepared]) -> Result<()> {
        self.begin.execute([])?;
        for txn in group {
            self.txn(txn)?;
        }
        if let Some(last) = group.last() {
            self.head.execute(params![
                TABLE,
                last.seq,
                last.digest,
                last.records,
                last.at,
                last.floor,
                last.history_bytes,
            ])?;
        }
        self.applied.execute([signed(group.len() as u64)])?;
        self.commit.execute([])?;
        Ok(())
    }

    fn txn(&mut self, txn: &Prepared) -> Result<()> {
        for op in &txn.ops {
            let (Op::Put(Row { key, .. }) | Op::Delete(key)) = op;
            let mut rows = self.existing.query(params![TABLE, key])?;
            if let Some(row) = rows.next()? {
                let found: (i64, [u8; 16]) = (row.get(0)?, row.get(1)?);
                std::hint::black_box(found);
            }
        }
        for op in &txn.ops {
            match op {
                Op::Put(row) => self.put.execute(params![
                    TABLE,
                    row.key,
                    row.seq,
                    row.updated_at,
                    row.hash,
                    row.value,
                    row.category,
                    row.expires_at,
                ])?,
                Op::Delete(key) => self.delete.execute(params![TABLE, key])?,
            };
        }
        self.change.execute(params![
            TABLE,
            txn.seq,
            txn.at,
            txn.digest,
            txn.records,
            txn.bytes,
            txn.encoded,
            txn.actor.as_ref().map(Actor::as_str),
            // No note.
            None::<&[u8]>,
        ])?;
        Ok(())
    }
}

fn signed(number: u64) -> i64 {
    number.cast_signed()
}

fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}
