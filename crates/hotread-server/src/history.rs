//! Reads a table's history in pieces of bounded size, for sessions and streams that are behind and may be
//! slow.

use crate::error::Failure;
use crate::limits::{Budget, Held};
use hotread_proto::{Change, ChangeOp, Position, TableName};
use hotread_store::Store;

/// Bytes of keys and values that end a piece, which may exceed them by one change.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Maximum number of changes of a piece.
const PIECE_CHANGES: usize = 256;
/// Memory of a change for each byte in the history: as stored, as records, and as JSON.
const STORED_COST: usize = 3;
/// Memory of an operation in addition to its bytes: as a record, and as JSON in a buffer that doubles.
const OP_COST: usize = 400;

/// Some changes, and the memory that they take in every form in which they are sent.
pub(crate) struct Piece {
    pub(crate) changes: Vec<Change>,
    pub(crate) held: Held,
}

/// Returns the memory that a change takes, as records and as JSON.
pub(crate) fn cost(change: &Change) -> usize {
    let ops: &[ChangeOp] = &change.ops;
    STORED_COST * change.size() + OP_COST * (ops.len() + 1)
}

/// Reads the changes after `from`, oldest first: at most `limit`, ending once they reach `bytes`. Returns
/// `None` if `from` is the head. Memory is taken from the caller's budget before they are read; if it does
/// not suffice for all, there are fewer changes.
///
/// # Errors
/// Same as [`Store::changes`]; also if there is no memory for the first change.
pub(crate) fn read(
    store: &Store,
    table: &TableName,
    from: Position,
    limit: usize,
    bytes: usize,
    budget: &Budget,
) -> Result<Piece, Failure> {
    let mut held = budget.take(0)?;
    let (mut size, mut refused) = (0_usize, None);
    let changes = store.changes_admitted(table, from, limit, |next| {
        let next = size.saturating_add(usize::try_from(next).unwrap_or(usize::MAX));
        if size >= bytes {
            return false;
        }
        match held.resize(next.saturating_mul(STORED_COST)) {
            Ok(()) => size = next,
            Err(failure) => refused = Some(failure),
        }
        refused.is_none()
    })?;
    if let (Some(failure), true) = (refused, changes.is_empty()) {
        return Err(failure);
    }
    held.resize(changes.iter().map(cost).sum())?;
    Ok(Piece { changes, held })
}

/// Reads a piece, for a caller that reads the history to its end.
pub(crate) fn read_piece(
    store: &Store,
    table: &TableName,
    from: Position,
    budget: &Budget,
) -> Result<Piece, Failure> {
    read(store, table, from, PIECE_CHANGES, PIECE_BYTES, budget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Who;
    use crate::limits::Budgets;
    use hotread_proto::{Code, Key, Put, Replace, Txn, Value};
    use hotread_store::TableOptions;

    const SIZE: usize = 1_000;

    fn store() -> (tempfile::TempDir, Store, TableName, Position) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let table = TableName::new("t").unwrap();
        let made = store.create_table(&table, TableOptions::default()).unwrap();
        (dir, store, table, made.position)
    }

    fn value(bytes: usize) -> Value {
        Value::string(&"x".repeat(bytes)).unwrap()
    }

    #[test]
    fn a_piece_ends_with_the_change_that_fills_it_and_nothing_is_left_out() {
        let (_dir, store, table, mut at) = store();
        for _ in 0..200 {
            let put = Put::new(Key::new("k").unwrap(), value(SIZE));
            store.commit(&table, Txn::new().put(put)).unwrap();
        }
        let budget = Budgets::new(128 << 20).of(Who::Token(1));
        for (limit, bytes, wanted) in [
            (1_000, 1, 1),
            (3, 1 << 30, 3),
            (1_000, 10 * SIZE, 10),
            (1_000, 1 << 30, 186),
            (1_000, 1 << 30, 0),
        ] {
            let piece = read(&store, &table, at, limit, bytes, &budget).unwrap();
            assert_eq!(piece.changes.len(), wanted, "{limit} {bytes}");
            for change in piece.changes {
                assert_eq!(change.position.seq, at.seq + 1);
                at = change.position;
            }
        }
    }

    #[test]
    fn a_change_for_which_there_never_is_memory_is_an_error_that_stays() {
        let (_dir, store, table, at) = store();
        let records = (0..20).map(|n| Put::new(Key::new(&n.to_string()).unwrap(), value(1 << 19)));
        let new = Replace {
            records: records.collect(),
            ..Replace::default()
        };
        store.replace(&table, new).unwrap();
        let budgets = Budgets::new(32 << 20);
        let budget = budgets.of(Who::Token(1));
        let read = |budget| read(&store, &table, at, 10, PIECE_BYTES, budget);
        let failure = read(&budget).map(|_| ()).unwrap_err();
        assert_eq!(failure.body().code, Code::TooLarge);
        assert!(failure.body().message.contains("max_buffered_bytes"));
        let enough = Budgets::new(128 << 20);
        assert_eq!(read(&enough.of(Who::Token(1))).unwrap().changes.len(), 1);
    }
}
