//! `/v1/tables/{table}/changes`.

use super::answer::{self, Answer};
use super::call::Call;
use crate::error::Failure;
use crate::history::{self, Piece};
use crate::limits::CHANGES_BYTES;
use hotread_proto::{Changes, Position};
use hotread_store::{DEFAULT_PAGE, MAX_CHANGES, ReadError};

/// `GET /v1/tables/{table}/changes`: the transactions after a position, oldest first.
pub(super) async fn get(call: Call) -> Answer {
    let table = call.table()?;
    let missing = || {
        let message = "from is missing; give the position after which to begin, as epoch:seq";
        Failure::bad_request(message)
    };
    let from: Position = call.query.read("from")?.ok_or_else(missing)?;
    let limit = call.query.limit(DEFAULT_PAGE, MAX_CHANGES)?;
    let budget = call.budget();
    let answer = call.blocking(move |store| {
        let Piece { changes, held } =
            history::read(store, &table, from, limit, CHANGES_BYTES, &budget)?;
        // Read before the head, so that the floor is at most the head.
        let floor = store.floor(&table)?;
        let position = store.head(&table)?.position;
        if position.epoch != from.epoch {
            // The table was dropped and re-created in the meantime; an answer is about one
            // incarnation.
            let head = position;
            return Err(ReadError::NeverThere { table, from, head }.into());
        }
        let body = Changes {
            changes,
            position,
            floor,
        };
        answer::large(held, &body)
    });
    answer.await?
}
