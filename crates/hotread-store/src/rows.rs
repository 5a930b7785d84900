//! How records, changes and tables stand in rows; both directions. What is read is not trusted:
//! whatever does not have the form that is written here is reported as damage.

use crate::error::{ReadError, StorageError};
use crate::seal::Seal;
use hotread_proto::{
    Actor, Category, Change, ChangeOp, Digest, Epoch, Head, ItemHash, Key, Note, Position, Record,
    Removal, TableName, Timestamp,
};
use rusqlite::Row;

/// Version of the form of a change's operations, its first byte.
const OPS_VERSION: u8 = 1;
const PUT: u8 = 1;
const DELETE: u8 = 2;
/// A record that was removed because it had expired.
const EXPIRE: u8 = 3;
/// Stands for a record that does not expire.
const NEVER: i64 = i64::MAX;

fn damaged(what: &str) -> StorageError {
    StorageError::corrupt(format!(
        "a row does not have the form it was written in: {what}"
    ))
}

/// A 128-bit number as a blob, the most significant byte first.
pub(crate) fn wide(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

pub(crate) fn read_wide(row: &Row<'_>, column: usize) -> Result<u128, StorageError> {
    let bytes = row
        .get_ref(column)?
        .as_blob()
        .map_err(|_| damaged("a hash"))?;
    Ok(u128::from_be_bytes(
        bytes.try_into().map_err(|_| damaged("a hash"))?,
    ))
}

/// A number that is never negative.
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

/// SQLite's integers have a sign, ours do not; sequence numbers do not come that far.
pub(crate) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// How values of a table are read and written: as they are, or sealed.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) table: &'a TableName,
    /// With the epoch in which the table was sealed, to which its values are bound.
    pub(crate) seal: Option<(&'a Seal, Epoch)>,
}

impl Values<'_> {
    fn open_note(&self, seq: u64, stored: &[u8]) -> Result<Note, ReadError> {
        let read = |note: &[u8]| Note::from_bytes(note).map_err(|_| damaged("a note"));
        let Some((seal, epoch)) = self.seal else {
            return Ok(read(stored)?);
        };
        let note = seal
            .decrypt_note(self.table, epoch, seq, stored)
            .map_err(|source| ReadError::Seal {
                table: self.table.clone(),
                source,
            })?;
        Ok(read(&note)?)
    }

    fn open(
        &self,
        key: &Key,
        seq: u64,
        stored: &[u8],
        with: impl FnOnce(&[u8], bool) -> Record,
    ) -> Result<Record, ReadError> {
        match self.seal {
            None => Ok(with(stored, false)),
            Some((seal, epoch)) => {
                let value = seal
                    .decrypt(self.table, epoch, key.as_str(), seq, stored)
                    .map_err(|source| ReadError::Seal {
                        table: self.table.clone(),
                        source,
                    })?;
                Ok(with(&value, true))
            }
        }
    }
}

/// `key, seq, updated_at, hash, value, category, expires_at`, in this order.
pub(crate) const RECORD_COLUMNS: &str =
    "r.key, r.seq, r.updated_at, r.hash, r.value, r.category, r.expires_at";

/// A record from the columns of [`RECORD_COLUMNS`].
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
    let category = row.get_ref(5).map_err(StorageError::from)?.as_str().ok();
    let category = category.and_then(|text| Category::new(text).ok());
    let category = category.ok_or_else(|| damaged("a category"))?;
    let expires_at = read_expiry(row, 6)?;
    values.open(&key, seq, stored, |value, secret| {
        Record::from_parts(
            &key, value, &category, seq, updated_at, expires_at, hash, secret,
        )
    })
}

/// What [`read_head`] reads.
pub(crate) const HEAD_COLUMNS: &str = "epoch, head, digest, records, updated_at";

/// Where a table stands, from the columns of [`HEAD_COLUMNS`].
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

/// Writes the operations of a change. `stored` gives what stands for a record's value.
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

/// What [`read_change`] reads.
pub(crate) const CHANGE_COLUMNS: &str = "seq, at, digest, records, ops, actor, note";

/// A change from the columns of [`CHANGE_COLUMNS`]. Ids are not part of the history.
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
        actor: read_actor(row, 5)?,
        note: read_note(row, 6, position.seq, values)?,
    })
}

fn read_actor(row: &Row<'_>, column: usize) -> Result<Option<Actor>, StorageError> {
    let actor = row.get_ref(column)?.as_str_or_null();
    let actor = actor.map_err(|_| damaged("an actor"))?.map(Actor::new);
    actor.transpose().map_err(|_| damaged("an actor"))
}

fn read_note(
    row: &Row<'_>,
    column: usize,
    seq: u64,
    values: &Values<'_>,
) -> Result<Option<Note>, ReadError> {
    let stored = row.get_ref(column).map_err(StorageError::from)?;
    let stored = stored.as_blob_or_null().map_err(|_| damaged("a note"))?;
    let note = stored.map(|stored| values.open_note(seq, stored));
    note.transpose()
}

/// Reads what [`write_ops`] wrote, from bytes that may be anything.
pub(crate) fn read_ops(
    blob: &[u8],
    seq: u64,
    at: Timestamp,
    values: &Values<'_>,
) -> Result<Vec<ChangeOp>, ReadError> {
    let mut rest = Bytes(blob);
    if rest.array::<1>()? != [OPS_VERSION] {
        return Err(damaged("a change of unknown form").into());
    }
    let mut ops = Vec::new();
    while !rest.0.is_empty() {
        let [tag] = rest.array()?;
        let key = usize::from(u16::from_le_bytes(rest.array()?));
        let key = Key::from_bytes(rest.take(key)?).map_err(|_| damaged("a key"))?;
        match tag {
            DELETE => ops.push(ChangeOp::delete(key)),
            EXPIRE => ops.push(ChangeOp::Delete {
                key,
                cause: Removal::Expired,
            }),
            PUT => {
                let [category] = rest.array()?;
                let category = std::str::from_utf8(rest.take(category.into())?).ok();
                let category = category.and_then(|text| Category::new(text).ok());
                let category = category.ok_or_else(|| damaged("a category"))?;
                let expires_at = match i64::from_le_bytes(rest.array()?) {
                    NEVER => None,
                    millis => Some(Timestamp::from_millis(millis).map_err(|_| damaged("a time"))?),
                };
                let hash = ItemHash(u128::from_be_bytes(rest.array()?));
                let stored = u32::from_le_bytes(rest.array()?) as usize;
                let stored = rest.take(stored)?;
                ops.push(ChangeOp::Put(values.open(
                    &key,
                    seq,
                    stored,
                    |value, secret| {
                        Record::from_parts(
                            &key, value, &category, seq, at, expires_at, hash, secret,
                        )
                    },
                )?));
            }
            _ => return Err(damaged("an unknown operation").into()),
        }
    }
    Ok(ops)
}

/// The keys of what [`write_ops`] wrote, without their records.
pub(crate) fn read_keys(blob: &[u8], mut visit: impl FnMut(Key)) -> Result<(), StorageError> {
    skim_ops(blob, |_, _, key| {
        visit(Key::from_bytes(key).map_err(|_| damaged("a key"))?);
        Ok(())
    })
}

/// Operations in which removals have no cause, as they were written before schema version 6; `None`
/// if no removal has one. Values stay as they are stored.
pub(crate) fn forget_causes(blob: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
    let mut plain: Option<Vec<u8>> = None;
    skim_ops(blob, |at, tag, _| {
        if tag == EXPIRE {
            plain.get_or_insert_with(|| blob.to_vec())[at] = DELETE;
        }
        Ok(())
    })?;
    Ok(plain)
}

/// Gives each operation's place, tag and key, and passes over its record.
fn skim_ops(
    blob: &[u8],
    mut visit: impl FnMut(usize, u8, &[u8]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut rest = Bytes(blob);
    if rest.array::<1>()? != [OPS_VERSION] {
        return Err(damaged("a change of unknown form"));
    }
    while !rest.0.is_empty() {
        let at = blob.len() - rest.0.len();
        let [tag] = rest.array()?;
        let key = usize::from(u16::from_le_bytes(rest.array()?));
        visit(at, tag, rest.take(key)?)?;
        match tag {
            PUT => {
                let [category] = rest.array()?;
                rest.take(category.into())?;
                // The expiry and the hash.
                rest.take(8 + 16)?;
                let stored = u32::from_le_bytes(rest.array()?) as usize;
                rest.take(stored)?;
            }
            DELETE | EXPIRE => {}
            _ => return Err(damaged("an unknown operation")),
        }
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
