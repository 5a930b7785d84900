//! What a session wants to go on: parts of a snapshot, changes, digests; and what it holds meanwhile.

use super::Session;
use crate::caller::Who;
use crate::error::Failure;
use crate::fair::Turn;
use crate::fanout::{Fanout, Recently};
use crate::limits;
use crate::parts::Place;
use crate::state::AppState;
use crate::work::Unit;
use futures_util::FutureExt;
use hotread_proto::session::{Answer, Part, Want};
use hotread_proto::{Code, Position, TableName};
use hotread_store::{Pin, ReadError};
use std::sync::Arc;

/// What was wanted, what the session holds for it from now on, and the memory of what is not sent yet.
pub(super) type Fetched = (Answer, Option<Held>, Unsent);

/// What a session holds beyond its place in the sequence.
#[derive(Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    /// It loads the table.
    Snapshot(Snapshot),
    /// It reads the history.
    History(#[expect(dead_code, reason = "given back when dropped")] Turn),
}

/// What a session holds as long as it loads the table.
pub(super) struct Snapshot {
    fanout: Arc<Fanout>,
    /// Parts read before this transaction are of no use.
    since: u64,
    pub(super) catching_up: Option<CatchingUp>,
    _turn: Turn,
}

/// The memory of a piece of the history that was read and is not sent yet.
pub(super) type Unsent = Option<limits::Held>;

/// The history from a snapshot on, for a client that has not caught up since: it would pass by one that takes
/// long to read a large snapshot, which would load the table again and again.
pub(super) struct CatchingUp {
    _history: Pin,
    /// The head of the table when the client acknowledged something last.
    head: u64,
}

impl CatchingUp {
    /// The client's readers have `acked`, while the table has `head`. True: it has caught up, since it is
    /// less behind than from one acknowledgement to the next.
    pub(super) fn acked(&mut self, acked: u64, head: u64) -> bool {
        let before = std::mem::replace(&mut self.head, head);
        acked >= before.min(head)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.fanout.parts.leave();
    }
}

impl Session {
    /// Begins to fetch what is wanted, if it is not at hand. What was held for the want before is
    /// given back, unless it is of use for this one: all that came of it was taken.
    pub(super) fn fetch(&mut self, want: Want) {
        let (state, table, who) = (self.state.clone(), self.table.clone(), self.caller.who());
        let fanout = self.fanout.clone();
        match want {
            Want::Digest { at } => {
                if let Some(digest) = fanout.digest_at(at.seq) {
                    return self.serve.handle_answer(Answer::Digest(Some(digest)));
                }
                self.fetch_by(async move {
                    let unit = Unit::of(who).on(&table);
                    let read = state.blocking(unit, move |store| store.digest_at(&table, at));
                    Ok((Answer::Digest(read.await??), None, None))
                });
            }
            Want::Changes { after } => {
                // A snapshot is held until it is complete: it pins the history that is wanted here. It stays
                // with the session, which gives its turn back once it is sent, whatever is read meanwhile.
                let loads = matches!(self.held, Held::Snapshot(_));
                // All that was read before was sent.
                self.sent_all();
                match fanout.after(after) {
                    Recently::Here(changes) => self.serve.handle_answer(Answer::Changes(changes)),
                    Recently::Later => self.waiting_after = Some(after),
                    Recently::Earlier => self.fetch_by(async move {
                        let turn = match loads {
                            true => None,
                            false => Some(state.history.next(who, None).await),
                        };
                        let unit = Unit::of(who).on(&table);
                        let budget = state.budgets.of(who);
                        let read =
                            state.blocking(unit, move |store| fanout.read(store, after, &budget));
                        let (changes, unsent) = read.await??;
                        if changes.is_empty() {
                            return Ok((Answer::Gone, None, None));
                        }
                        let held = turn.map(Held::History);
                        Ok((Answer::Changes(changes), held, Some(unsent)))
                    }),
                }
            }
            Want::Part { number, after } => {
                let place = (number, after);
                let since = match &self.held {
                    Held::Snapshot(snapshot) => Some(snapshot.since),
                    _ => None,
                };
                self.fetch_by(async move {
                    let (since, held) = match since {
                        Some(since) => (since, None),
                        None => {
                            let snapshot = begin_snapshot(&state, &fanout, &table, who).await?;
                            (snapshot.since, Some(Held::Snapshot(snapshot)))
                        }
                    };
                    let part = read_part(&state, who, &fanout, table, place, since).await;
                    Ok((part.map_or_else(refused, Answer::Part), held, None))
                });
            }
        }
    }

    /// Goes on with what was wanted.
    pub(super) fn fetched(&mut self, (answer, held, unsent): Fetched) {
        self.fetching = None;
        if let Some(held) = held {
            self.held = held;
        }
        self.unsent = unsent;
        self.serve.handle_answer(answer);
    }

    /// Gives back what was held for changes that were read: the connection has taken all of them.
    pub(super) fn sent_all(&mut self) {
        self.unsent = None;
        if matches!(self.held, Held::History(_)) {
            self.held = Held::Nothing;
        }
    }

    fn fetch_by<F>(&mut self, fetched: F)
    where
        F: Future<Output = Result<Fetched, Failure>> + Send + 'static,
    {
        let fetched = fetched.map(|it| it.unwrap_or_else(|failure| (refused(failure), None, None)));
        self.fetching = Some(fetched.boxed());
    }
}

/// A turn at loading the table, and the history from where on shared parts may have been read.
async fn begin_snapshot(
    state: &AppState,
    fanout: &Arc<Fanout>,
    table: &TableName,
    who: Who,
) -> Result<Snapshot, Failure> {
    let turn = state.snapshots.next(who, None).await;
    let (floor, head) = (state.store.floor(table)?, state.store.head(table)?);
    let (epoch, head) = (fanout.epoch, head.position.seq);
    let since = fanout.shared_since(head).max(floor - 1);
    let history = state.store.pin(table, Position { epoch, seq: since })?;
    fanout.parts.join();
    Ok(Snapshot {
        fanout: fanout.clone(),
        since,
        catching_up: Some(CatchingUp {
            _history: history,
            head: u64::MAX,
        }),
        _turn: turn,
    })
}

/// A part, which is read once for all sessions that want it at about this time.
async fn read_part(
    state: &AppState,
    who: Who,
    fanout: &Fanout,
    table: TableName,
    place: Place,
    since: u64,
) -> Result<Arc<Part>, Failure> {
    let cell = fanout.parts.cell(&place, since);
    let part = cell.get_or_try_init(|| async {
        let unit = Unit::of(who).on(&table);
        let read = state.blocking(unit, move |store| -> Result<Arc<Part>, ReadError> {
            let (number, after) = place;
            let live = store.live(&table)?;
            Ok(live.read(|table| Arc::new(Part::read(table, number, after.as_deref()))))
        });
        Ok(read.await??)
    });
    part.await.cloned()
}

/// A failure, of which some mean that the table is to be taken whole.
fn refused(failure: Failure) -> Answer {
    let body = failure.body();
    match body.code {
        // The last one: there never is memory for the next change.
        Code::Gone | Code::EpochChanged | Code::UnknownTable | Code::TooLarge => Answer::Gone,
        _ => Answer::Failed(body.clone()),
    }
}
