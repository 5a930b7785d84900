//! The encoding of records, changes and tables in rows, in both directions. Rows are not trusted:
//! malformed content is reported as damage.

use crate::error::{CommitError, ReadError, StorageError};
use crate::seal::{Place, Seal};
use hotread_proto::{
    Actor, Category, Change, ChangeOp, Digest, Epoch, Head, ItemHash, Key, Note, Position, Record,
    Removal, TableName, Timestamp,
};
use rusqlite::{Connection, Params, Row};
use std::borrow::Cow;

/// Version of the encoding of a change's operations, its first byte.
const OPS_VERSION: u8 = 1;
const PUT: u8 = 1;
const DELETE: u8 = 2;
/// A record that was removed because it had expired.
const EXPIRE: u8 = 3;
/// The encoding of "does not expire".
const NEVER: i64 = i64::MAX;

fn damaged(what: &str) -> StorageError {
    StorageError::corrupt(format!("a row is malformed: {what}"))
}

/// Passes each row of a statement to `visit`. The connection keeps the statement.
pub(crate) fn each<E: From<rusqlite::Error>>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut visit: impl FnMut(&Row<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        visit(row)?;
    }
    Ok(())
}

/// Reads the first row of a statement, if it has one. The connection keeps the statement.
pub(crate) fn first<T, E: From<rusqlite::Error>>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, E>,
) -> Result<Option<T>, E> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// Runs a statement without rows, and returns the number of rows that it changed. The connection keeps
/// it.
pub(crate) fn execute(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

/// Encodes a 128-bit number as a blob, the most significant byte first.
pub(crate) fn wide(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

pub(crate) fn read_wide(row: &Row<'_>, column: usize) -> Result<u128, StorageError> {
    let bytes = row.get_ref(column)?.as_blob().ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(u128::from_be_bytes(bytes.ok_or_else(|| damaged("a hash"))?))
}

/// Reads a number that must not be negative.
pub(crate) fn read_count(row: &Row<'_>, column: usize) -> Result<u64, StorageError> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| damaged("a negative number"))
}

pub(crate) fn read_time(row: &Row<'_>, column: usize) -> Result<Timestamp, StorageError> {
    Timestamp::from_millis(row.get(column)?).map_err(|_| damaged("a time"))
}

pub(crate) fn read_expiry(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, StorageError> {
    let millis: Option<i64> = row.get(column)?;
    let expires_at = millis.map(Timestamp::from_millis).transpose();
    expires_at.map_err(|_| damaged("a time"))
}

/// Reinterprets an unsigned number as SQLite's signed one; sequence numbers stay far below the sign
/// bit.
pub(crate) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// The encoding of a table's values: plain, or sealed.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) table: &'a TableName,
    /// The keys, and the epoch in which the table was sealed, to which its values are bound.
    pub(crate) seal: Option<(&'a Seal, Epoch)>,
}

impl<'a> Values<'a> {
    fn sealing(&self, key: Option<&'a str>, seq: u64) -> Option<(&'a Seal, Place<'a>)> {
        let (seal, epoch) = self.seal?;
        let table = self.table;
        let place = Place {
            table,
            epoch,
            key,
            seq,
        };
        Some((seal, place))
    }

    /// Decodes a stored value of a record, or without a key a note. The flag is set if it is secret.
    fn open<R>(
        &self,
        key: Option<&'a str>,
        seq: u64,
        stored: &[u8],
        with: impl FnOnce(&[u8], bool) -> R,
    ) -> Result<R, ReadError> {
        let Some((seal, place)) = self.sealing(key, seq) else {
            return Ok(with(stored, false));
        };
        let text = seal.decrypt(place, stored);
        Ok(with(&text.map_err(ReadError::seal(self.table))?, true))
    }

    /// Encodes a record's value, or without a key a transaction's note.
    pub(crate) fn close<'v>(
        &self,
        key: Option<&'a str>,
        seq: u64,
        text: &'v [u8],
    ) -> Result<Cow<'v, [u8]>, CommitError> {
        let Some((seal, place)) = self.sealing(key, seq) else {
            return Ok(Cow::Borrowed(text));
        };
        let sealed = seal.encrypt(place, text);
        Ok(Cow::Owned(sealed.map_err(CommitError::seal(self.table))?))
    }
}

/// `key, seq, updated_at, hash, value, category, expires_at`, in this order.
pub(crate) const RECORD_COLUMNS: &str =
    "r.key, r.seq, r.updated_at, r.hash, r.value, r.category, r.expires_at";

/// Reads a record from the columns of [`RECORD_COLUMNS`].
pub(crate) fn read_record(row: &Row<'_>, values: &Values<'_>) -> Result<Record, ReadError> {
    let key = row.get_ref(0).map_err(StorageError::from)?.as_bytes().ok();
    let key = key
        .and_then(|key| Key::from_bytes(key).ok())
        .ok_or_else(|| damaged("a key"))?;
    let seq = read_count(row, 1)?;
    let updated_at = read_time(row, 2)?;
    let hash = ItemHash(read_wide(row, 3)?);
    let stored = row.get_ref(4).map_err(StorageError::from)?;
    let stored = stored.as_blob().map_err(|_| damaged("a value"))?;
    let category = row.get_ref(5).map_err(StorageError::from)?;
    let category = read_category(category.as_bytes().unwrap_or_default())?;
    let expires_at = read_expiry(row, 6)?;
    values.open(Some(key.as_str()), seq, stored, |value, secret| {
        Record::from_parts(
            &key, value, &category, seq, updated_at, expires_at, hash, secret,
        )
    })
}

fn read_category(text: &[u8]) -> Result<Category, StorageError> {
    let category = std::str::from_utf8(text).ok().map(Category::new);
    let category = category.and_then(Result::ok);
    category.ok_or_else(|| damaged("a category"))
}

/// The columns for [`read_head`].
pub(crate) const HEAD_COLUMNS: &str = "epoch, head, digest, records, updated_at";

/// Reads the head of a table from the columns of [`HEAD_COLUMNS`].
pub(crate) fn read_head(row: &Row<'_>) -> Result<Head, StorageError> {
    let epoch = Epoch(row.get::<_, i64>(0)?.cast_unsigned());
    Ok(Head {
        position: Position {
            epoch,
            seq: read_count(row, 1)?,
        },
        digest: Digest(read_wide(row, 2)?),
        records: read_count(row, 3)?,
        at: read_time(row, 4)?,
    })
}

/// Writes the operations of a change, each with the stored form of its value.
pub(crate) fn write_ops<'a>(
    ops: impl IntoIterator<Item = (&'a ChangeOp, &'a [u8])>,
    out: &mut Vec<u8>,
) {
    out.push(OPS_VERSION);
    for (op, stored) in ops {
        let key = op.key();
        out.push(match op {
            ChangeOp::Put(_) => PUT,
            ChangeOp::Delete { cause, .. } if *cause == Removal::Expired => EXPIRE,
            ChangeOp::Delete { .. } => DELETE,
        });
        out.extend_from_slice(&u16::try_from(key.len()).expect("at most 512").to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        if let ChangeOp::Put(record) = op {
            let category = record.category();
            out.push(u8::try_from(category.len()).expect("at most 64"));
            out.extend_from_slice(category.as_bytes());
            let expires_at = record.expires_at().map_or(NEVER, Timestamp::millis);
            out.extend_from_slice(&expires_at.to_le_bytes());
            out.extend_from_slice(&wide(record.hash().0));
            out.extend_from_slice(
                &u32::try_from(stored.len())
                    .expect("about 1 MiB")
                    .to_le_bytes(),
            );
            out.extend_from_slice(stored);
        }
    }
}

/// Condition for the history of the table `?1`, whose places are numbered from `table_id << 40` on.
pub(crate) const CHANGES_OF_TABLE: &str = "place > ?1 << 40 AND place < (?1 + 1) << 40";

/// The columns for [`read_change`].
pub(crate) const CHANGE_COLUMNS: &str = "seq, at, digest, records, ops, actor, note";

/// Reads a change from the columns of [`CHANGE_COLUMNS`]. Transaction ids are not part of the history.
pub(crate) fn read_change(
    row: &Row<'_>,
    epoch: Epoch,
    values: &Values<'_>,
) -> Result<Change, ReadError> {
    let position = Position {
        epoch,
        seq: read_count(row, 0)?,
    };
    let at = read_time(row, 1)?;
    let blob = row.get_ref(4).map_err(StorageError::from)?;
    let blob = blob.as_blob().map_err(|_| damaged("a change"))?;
    Ok(Change {
        position,
        at,
        digest: Digest(read_wide(row, 2)?),
        records: read_count(row, 3)?,
        ops: read_ops(blob, position.seq, at, values)?,
        id: None,
        actor: read_actor(row)?,
        note: read_note(row, position.seq, values)?,
    })
}

fn read_actor(row: &Row<'_>) -> Result<Option<Actor>, StorageError> {
    let actor = row.get_ref(5)?.as_str_or_null();
    let actor = actor.map_err(|_| damaged("an actor"))?.map(Actor::new);
    actor.transpose().map_err(|_| damaged("an actor"))
}

fn read_note(row: &Row<'_>, seq: u64, values: &Values<'_>) -> Result<Option<Note>, ReadError> {
    let stored = row.get_ref(6).map_err(StorageError::from)?;
    let Some(stored) = stored.as_blob_or_null().map_err(|_| damaged("a note"))? else {
        return Ok(None);
    };
    let note = values.open(None, seq, stored, |note, _| Note::from_bytes(note))?;
    Ok(Some(note.map_err(|_| damaged("a note"))?))
}

/// Reads the output of [`write_ops`], from untrusted bytes.
pub(crate) fn read_ops(
    blob: &[u8],
    seq: u64,
    at: Timestamp,
    values: &Values<'_>,
) -> Result<Vec<ChangeOp>, ReadError> {
    let mut ops = Vec::new();
    each_op::<ReadError>(blob, |_, tag, key, put| {
        let key = Key::from_bytes(key).map_err(|_| damaged("a key"))?;
        let Some(put) = put else {
            let cause = match tag {
                EXPIRE => Removal::Expired,
                _ => Removal::Deleted,
            };
            ops.push(ChangeOp::Delete { key, cause });
            return Ok(());
        };
        let category = read_category(put.category)?;
        let expires_at = match put.expires_at {
            NEVER => None,
            millis => Some(Timestamp::from_millis(millis).map_err(|_| damaged("a time"))?),
        };
        let hash = ItemHash(put.hash);
        let record = values.open(Some(key.as_str()), seq, put.value, |value, secret| {
            Record::from_parts(&key, value, &category, seq, at, expires_at, hash, secret)
        })?;
        ops.push(ChangeOp::Put(record));
        Ok(())
    })?;
    Ok(ops)
}

/// Reads the keys in the output of [`write_ops`], without their records.
pub(crate) fn read_keys(blob: &[u8], mut visit: impl FnMut(Key)) -> Result<(), StorageError> {
    each_op(blob, |_, _, key, _| {
        visit(Key::from_bytes(key).map_err(|_| damaged("a key"))?);
        Ok(())
    })
}

/// Returns the operations with all removals without a cause, as before schema version 6, or `None` if
/// no removal has one. Stored values are unchanged.
pub(crate) fn forget_causes(blob: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
    let mut plain: Option<Vec<u8>> = None;
    each_op::<StorageError>(blob, |at, tag, _, _| {
        if tag == EXPIRE {
            plain.get_or_insert_with(|| blob.to_vec())[at] = DELETE;
        }
        Ok(())
    })?;
    Ok(plain)
}

/// The stored parts of a put other than its key.
struct StoredPut<'a> {
    category: &'a [u8],
    expires_at: i64,
    hash: u128,
    value: &'a [u8],
}

/// Passes the offset, tag and key of each operation, and the rest of a put, to `visit`.
fn each_op<E: From<StorageError>>(
    blob: &[u8],
    mut visit: impl FnMut(usize, u8, &[u8], Option<StoredPut<'_>>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = Bytes(blob);
    if rest.array::<1>()? != [OPS_VERSION] {
        return Err(damaged("a change of unknown form").into());
    }
    while !rest.0.is_empty() {
        let at = blob.len() - rest.0.len();
        let [tag] = rest.array()?;
        let key = usize::from(u16::from_le_bytes(rest.array()?));
        let key = rest.take(key)?;
        let put = match tag {
            PUT => {
                let [category] = rest.array()?;
                let category = rest.take(category.into())?;
                let expires_at = i64::from_le_bytes(rest.array()?);
                let hash = u128::from_be_bytes(rest.array()?);
                let stored = u32::from_le_bytes(rest.array()?) as usize;
                let value = rest.take(stored)?;
                Some(StoredPut {
                    category,
                    expires_at,
                    hash,
                    value,
                })
            }
            DELETE | EXPIRE => None,
            _ => return Err(damaged("an unknown operation").into()),
        };
        visit(at, tag, key, put)?;
    }
    Ok(())
}

/// Bytes that have not been read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], StorageError> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or_else(|| damaged("a change that ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        Ok(self.take(N)?.try_into().expect("a slice of N bytes"))
    }
}
