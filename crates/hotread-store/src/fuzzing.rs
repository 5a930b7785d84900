//! Readers of stored rows, for the fuzz target `stored_rows` and the test that replays its corpus. Not
//! part of the public API.

use crate::rows::{self, Values};
use crate::seal::SealHeader;
use crate::table::TableRow;
use hotread_proto::{ChangeOp, Epoch, TableName, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Reads bytes as the content of a row, whose kind is the first byte. A row that is read without an
/// error is written back and compared.
///
/// # Panics
/// If the result differs.
pub fn stored_row(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let table = TableName::new("t").expect("a name");
    let values = Values {
        table: &table,
        seal: None,
    };
    match kind % 5 {
        0 => change(data, &values),
        1 => {
            if let Ok(header) = SealHeader::decode(data) {
                assert_eq!(header.encode(), data, "a header is written in one way only");
            }
        }
        2 => row(data, 7, |row| {
            if let Ok(record) = rows::read_record(row, &values) {
                let shown = (record.key(), record.category(), record.value().len());
                let _ = (shown, record.updated_at(), record.expires_at());
            }
        }),
        3 => row(data, 7, |row| {
            let _ = rows::read_change(row, Epoch(1), &values);
        }),
        _ => row(data, 12, |row| {
            if let Ok(table) = TableRow::read(row) {
                let _ = table.info();
            }
        }),
    }
}

fn change(data: &[u8], values: &Values<'_>) {
    let Ok(ops) = rows::read_ops(data, 7, Timestamp::EPOCH, values) else {
        return;
    };
    let stored = ops.iter().map(|op| match op {
        ChangeOp::Put(record) => (op, record.value()),
        ChangeOp::Delete { .. } => (op, &[][..]),
    });
    let mut again = Vec::new();
    rows::write_ops(stored, &mut again);
    assert_eq!(again, data, "a change is written in one way only");
}

/// Reads a row of columns, each given by a byte for its type, one for its length, and its bytes.
fn row(mut data: &[u8], columns: usize, read: impl FnOnce(&rusqlite::Row<'_>)) {
    let mut take = |bytes: usize| data.split_off(..bytes.min(data.len())).unwrap_or_default();
    let (mut select, mut values) = (Vec::new(), Vec::new());
    for _ in 0..columns {
        let (kind, length) = match take(2) {
            [kind, length] => (*kind, usize::from(*length)),
            _ => (0, 0),
        };
        let bytes = take(length);
        let mut number = [0; 8];
        let digits = bytes.len().min(8);
        number[..digits].copy_from_slice(&bytes[..digits]);
        // Text in a damaged file need not be UTF-8. Binding it as text would make it so.
        select.push(match kind % 5 {
            3 => "CAST(? AS TEXT)",
            _ => "?",
        });
        values.push(match kind % 5 {
            0 => Value::Null,
            1 => Value::Integer(i64::from_le_bytes(number)),
            2 => Value::Real(f64::from_le_bytes(number)),
            _ => Value::Blob(bytes.to_vec()),
        });
    }
    let db = Connection::open_in_memory().expect("SQLite works");
    let sql = format!("SELECT {}", select.join(", "));
    let mut statement = db.prepare(&sql).expect("a sound statement");
    let mut rows = statement
        .query(params_from_iter(values))
        .expect("as many values");
    let row = rows.next().expect("no table is read").expect("a row");
    read(row);
}
