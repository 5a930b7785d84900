//! The data that a session wants in order to continue: parts of a snapshot, changes, digests; and the
//! permits that it holds in the meantime.

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

/// An answer, the permit that the session holds for it from now on, and the memory of unsent changes.
pub(super) type Fetched = (Answer, Option<Held>, Unsent);

/// Permit of a session, in addition to its position.
#[derive(Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    /// The session loads the table.
    Snapshot(Snapshot),
    /// The session reads the history.
    History(#[expect(dead_code, reason = "given back when dropped")] Turn),
}

/// Resources of a session while it loads the table.
pub(super) struct Snapshot {
    fanout: Arc<Fanout>,
    /// Parts read before this transaction are useless.
    since: u64,
    pub(super) catching_up: Option<CatchingUp>,
    _turn: Turn,
}

/// Memory of a piece of the history that was read and is not sent yet.
pub(super) type Unsent = Option<limits::Held>;

/// The history from a snapshot on, for a client that has not caught up since. Without it, the history could
/// move past a client that takes long to read a large snapshot, which would load the table again and again.
pub(super) struct CatchingUp {
    _history: Pin,
    /// Head of the table at the client's last acknowledgement.
    head: u64,
}

impl CatchingUp {
    /// Records that the client's readers have `acked`, while the table has `head`. Returns `true` once the
    /// client has caught up: it is less behind than from one acknowledgement to the next.
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
    /// Begins to fetch what the session wants, if it is not in memory. The permit of the previous want is
    /// returned, unless it is useful for this one, because all data under it was taken.
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
                // A snapshot is held until it is complete: it pins the history that is wanted here. It
                // stays with the session, which returns its permit once the snapshot is sent, whatever is
                // read in the meantime.
                let loads = matches!(self.held, Held::Snapshot(_));
                // Everything read before was sent.
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

    /// Continues with the fetched data.
    pub(super) fn fetched(&mut self, (answer, held, unsent): Fetched) {
        self.fetching = None;
        if let Some(held) = held {
            self.held = held;
        }
        self.unsent = unsent;
        self.serve.handle_answer(answer);
    }

    /// Releases the memory of changes that were read: the connection has taken all of them.
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

/// Waits for a permit to load the table, and pins the history from the first position at which shared parts
/// may have been read.
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

/// Reads a part, once for all sessions that want it at about this time.
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

/// Returns the answer for a failure. Some failures mean that the client has to load the whole table.
fn refused(failure: Failure) -> Answer {
    let body = failure.body();
    match body.code {
        // `TOO_LARGE`: there will never be enough memory for the next change.
        Code::Gone | Code::EpochChanged | Code::UnknownTable | Code::TooLarge => Answer::Gone,
        _ => Answer::Failed(body.clone()),
    }
}
