//! `/v1/tables/{table}/changes`.

use super::route::Answer;
use super::{Call, answer};
use crate::error::Failure;
use crate::history::{self, Piece};
use crate::limits::CHANGES_BYTES;
use hotread_proto::Position;
use hotread_proto::session::frame;
use hotread_store::{DEFAULT_PAGE, MAX_CHANGES, ReadError};
use serde::Serialize;

/// `GET /v1/tables/{table}/changes`: the transactions after a position, oldest first.
pub(super) async fn get(call: Call) -> Answer {
    #[derive(Serialize)]
    struct Changes<'a> {
        changes: Vec<frame::Txn<'a>>,
        /// Where the table stands.
        position: Position,
        /// The first transaction that the history keeps.
        floor: u64,
    }
    let table = call.table()?;
    let missing = || {
        let message = "from is missing; give the position after which to begin, as epoch:seq";
        Failure::bad_request(message)
    };
    let from: Position = call.query.read("from")?.ok_or_else(missing)?;
    let limit = call.query.limit(DEFAULT_PAGE, MAX_CHANGES)?;
    let budget = call.budget();
    let json = call.blocking(move |store| {
        let Piece { changes, held } =
            history::read(store, &table, from, limit, CHANGES_BYTES, &budget)?;
        // Before the head, beyond which it does not lie then.
        let floor = store.floor(&table)?;
        let position = store.head(&table)?.position;
        if position.epoch != from.epoch {
            // Dropped and made again meanwhile: an answer is about one incarnation.
            let head = position;
            return Err(ReadError::NeverThere { table, from, head }.into());
        }
        let body = Changes {
            changes: changes.iter().map(frame::Txn::of).collect(),
            position,
            floor,
        };
        answer::large(held, &body)
    });
    json.await?.map(answer::encoded)
}
