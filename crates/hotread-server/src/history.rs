//! Reads a table's history in pieces of bounded size: for those who are behind, of whom there may be
//! many, and who may be in no hurry to take what was read for them.

use crate::fair::Fair;
use hotread_proto::{Change, Position, TableName};
use hotread_store::{ReadError, Store};
use std::sync::Arc;

/// Those who may hold what was read at a time; the others wait.
const MAX_READERS: usize = 16;
/// Bytes of keys and values that end a piece. It has one change more than that at most.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Most changes of a piece.
pub(crate) const PIECE_CHANGES: usize = 256;
/// Changes that are asked for at once, at most: their size is not known before.
const MAX_STEP: usize = 64;

/// Turns at holding a piece of the history.
pub(crate) fn readers() -> Arc<Fair> {
    Fair::new(MAX_READERS)
}

/// The changes after `from`, oldest first: at most `limit`, and no more once they come to `bytes`.
/// None: `from` is the head.
///
/// # Errors
/// As [`Store::changes`], if it does not have the first of them.
pub(crate) fn read(
    store: &Store,
    table: &TableName,
    mut from: Position,
    limit: usize,
    bytes: usize,
) -> Result<Vec<Change>, ReadError> {
    let (mut found, mut size) = (Vec::new(), 0);
    let mut step = 1;
    while found.len() < limit && size < bytes {
        let some = match store.changes(table, from, step.min(limit - found.len())) {
            Ok(some) => some,
            Err(error) if found.is_empty() => return Err(error),
            // Whoever asks for what comes then is told.
            Err(_) => break,
        };
        let Some(last) = some.last() else { break };
        from = last.position;
        for change in some {
            if size >= bytes {
                break;
            }
            size += change.size();
            found.push(change);
        }
        step = (step * 4).min(MAX_STEP);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{Key, Put, Txn, Value};
    use hotread_store::TableOptions;

    #[test]
    fn a_piece_ends_with_the_change_that_fills_it_and_nothing_is_left_out() {
        const SIZE: usize = 1_000;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let table = TableName::new("t").unwrap();
        let made = store.create_table(&table, TableOptions::default()).unwrap();
        let value = Value::string(&"x".repeat(SIZE)).unwrap();
        for _ in 0..200 {
            let put = Put::new(Key::new("k").unwrap(), value.clone());
            store.commit(&table, Txn::new().put(put)).unwrap();
        }
        let mut at = made.position;
        for (limit, bytes, wanted) in [
            (1_000, 1, 1),
            (3, 1 << 30, 3),
            (1_000, 10 * SIZE, 10),
            (1_000, 1 << 30, 186),
            (1_000, 1 << 30, 0),
        ] {
            let piece = read(&store, &table, at, limit, bytes).unwrap();
            assert_eq!(piece.len(), wanted, "{limit} {bytes}");
            for change in piece {
                assert_eq!(change.position.seq, at.seq + 1);
                at = change.position;
            }
        }
    }
}
