//! `/v1/tables/{table}/events`: a table's transactions as server-sent events, which every browser and many
//! tools can follow. A stream has no queue of its own: what is read is sent, and a slow client reads the
//! history on disk.

use super::answer::Answer;
use super::call::Call;
use crate::access::one;
use crate::caller::Caller;
use crate::clock::millis;
use crate::error::Failure;
use crate::fair::Turn;
use crate::history::{self, PIECE_BYTES, cost};
use crate::limits::Held;
use crate::log::Line;
use crate::metrics::count;
use crate::state::{AppState, Drain, stopping};
use crate::work::Unit;
use axum::body::Body;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use hotread_proto::session::frame::Txn;
use hotread_proto::{Change, Code, ErrorBody, Position, TableName};
use hotread_store::{Recent, Subscription};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Number of changes below which a stream usually takes the rest from memory.
const NEAR: usize = 64;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks nginx and others not to buffer an answer.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /v1/tables/{table}/events`.
pub(super) async fn get(call: Call) -> Answer {
    let table = call.table()?;
    let state = call.state.clone();
    state.check_running()?;
    let who = call.caller.who();
    let turn = state.streams.try_next(who, None).ok_or_else(|| {
        let message = "there are too many streams of events, of all callers or of this one; close \
                       some, or try again later";
        Failure::new(Code::TooManyConnections, message)
    })?;
    let sending = call.budget().take(0)?;
    let from = match begin(&call)? {
        Some(from) => from,
        None => state.store.head(&table)?.position,
    };
    let piece = Piece::read(&state, &call.caller, &table, from).await?;
    count(&state.metrics.event_streams);
    let events = Events {
        shutdown: state.shutdown.clone(),
        tokens: state.tokens.subscribe(),
        checked: None,
        caller: call.caller,
        begin: Some(from),
        rest: None,
        at: from,
        source: Source::History(piece),
        table,
        state,
        sending,
        _turn: turn,
    };
    let stream = stream::unfold(events, |mut events| async {
        let event = events.next().await?;
        count(&events.state.metrics.events_sent);
        Some((Ok::<_, Infallible>(Bytes::from(event)), events))
    });
    // Neither stored nor compressed, and forwarded immediately, even by proxies that buffer.
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (ACCEL_BUFFERING, "no"),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// Returns the position after which to begin: that of a returning client, or that of the query.
fn begin(call: &Call) -> Result<Option<Position>, Failure> {
    let last = one(&call.parts.headers, &LAST_EVENT_ID)
        .map_err(|()| Failure::bad_request("Last-Event-ID must be given once, as epoch:seq"))?;
    // A client reconnects with the same URL, so the header takes precedence over the query.
    match last {
        Some(last) if !last.is_empty() => Ok(Some(last.parse()?)),
        _ => call.query.read("from"),
    }
}

/// A stream of events.
struct Events {
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    /// Position of the last change taken from the source.
    at: Position,
    source: Source,
    /// Position at which the stream begins, until it has been sent.
    begin: Option<Position>,
    /// Rest of a change, from an operation on.
    rest: Option<(Arc<Change>, usize)>,
    shutdown: watch::Receiver<Drain>,
    tokens: watch::Receiver<u64>,
    /// Generation of tokens at which the caller was last checked.
    checked: Option<u64>,
    /// Memory of the event that is being sent, and of the rest of its change.
    sending: Held,
    _turn: Turn,
}

/// Source of changes.
enum Source {
    /// The history, a piece at a time, while the stream is behind.
    History(Piece),
    /// Recent changes in memory.
    Recent(Subscription),
    /// No source: the stream is over.
    Nothing,
}

/// A piece of the history, with its permit.
struct Piece {
    changes: VecDeque<Arc<Change>>,
    /// Size of the largest change.
    largest: usize,
    _held: Held,
    _turn: Turn,
}

impl Piece {
    async fn read(
        state: &AppState,
        caller: &Caller,
        table: &TableName,
        from: Position,
    ) -> Result<Self, Failure> {
        let turn = state.history.next(caller.who(), None).await;
        let unit = Unit::of(caller.who()).on(table);
        let (table, budget) = (table.clone(), state.budgets.of(caller.who()));
        let read = state.blocking(unit, move |store| {
            history::read_piece(store, &table, from, &budget)
        });
        let history::Piece { changes, held } = read.await??;
        Ok(Self {
            largest: changes.iter().map(Change::size).max().unwrap_or(0),
            changes: changes.into_iter().map(Arc::new).collect(),
            _held: held,
            _turn: turn,
        })
    }
}

impl Events {
    /// Returns the next event; `None`: the stream ends.
    async fn next(&mut self) -> Option<String> {
        let next = self.try_next().await;
        next.unwrap_or_else(|failure| Some(self.failed(failure)))
    }

    async fn try_next(&mut self) -> Result<Option<String>, Failure> {
        if let Some(from) = self.begin.take() {
            return Ok(Some(event("begin", Some(from), &from)));
        }
        if let Some((change, at)) = self.rest.take() {
            return self.change(change, at).map(Some);
        }
        while !matches!(self.source, Source::Nothing) {
            if !self.state.is_still(&self.caller, &mut self.checked) {
                let message = "the token was revoked, or one is needed now";
                return Err(Failure::new(Code::Unauthenticated, message));
            }
            let subscription = match &mut self.source {
                Source::Nothing => break,
                Source::History(piece) => {
                    if let Some(change) = piece.changes.pop_front() {
                        return self.change(change, 0).map(Some);
                    }
                    let largest = piece.largest;
                    self.go_on(largest).await?;
                    continue;
                }
                Source::Recent(subscription) => subscription,
            };
            tokio::select! {
                biased;
                spread = stopping(&mut self.shutdown) => return Ok(Some(self.goodbye(spread))),
                Ok(()) = self.tokens.changed() => {}
                recent = poll_fn(|cx| subscription.poll_next(cx)) => match recent? {
                    Recent::Change(change) => return self.change(change, 0).map(Some),
                    Recent::Behind => self.read_history().await?,
                },
                () = tokio::time::sleep(self.state.settings().options.heartbeat()) => {
                    return Ok(Some(": heartbeat\n\n".to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Continues after a piece of the history: with the next piece, or from memory if little is left. A
    /// subscription reads everything it has missed at once, which must be no more than a piece; the
    /// remaining changes are assumed to be as large as those before.
    async fn go_on(&mut self, largest: usize) -> Result<(), Failure> {
        let head = self.state.store.head(&self.table)?.position;
        let behind = usize::try_from(head.seq.saturating_sub(self.at.seq)).unwrap_or(usize::MAX);
        let near = behind <= NEAR && behind * largest <= PIECE_BYTES;
        if head.epoch == self.at.epoch && !near {
            return self.read_history().await;
        }
        let (table, at) = (self.table.clone(), self.at);
        let unit = Unit::of(self.caller.who()).on(&table);
        let state = &self.state;
        let subscribed = state.blocking(unit, move |store| store.subscribe(&table, at));
        self.source = Source::Recent(subscribed.await??);
        Ok(())
    }

    async fn read_history(&mut self) -> Result<(), Failure> {
        // Releases the piece before waiting for a permit.
        self.source = Source::Nothing;
        let piece = Piece::read(&self.state, &self.caller, &self.table, self.at).await?;
        self.source = Source::History(piece);
        Ok(())
    }

    /// Returns the event of a change, or of as much of it as fits into an event. Only the last part has an
    /// id, so that a returning client begins with whole transactions.
    fn change(&mut self, change: Arc<Change>, at: usize) -> Result<String, Failure> {
        self.at = change.position;
        let whole = Txn::of(&change);
        let piece = whole.piece(at);
        let (fits, more) = (piece.ops.len(), piece.more);
        // Counts the whole change while a part of it remains, because other streams may have released it.
        let memory = match more || at > 0 {
            true => cost(&change),
            false => change.size(),
        };
        self.sending.resize(memory)?;
        let id = (!more).then_some(change.position);
        let event = event("txn", id, &piece);
        self.rest = more.then_some((change, at + fits));
        Ok(event)
    }

    fn failed(&mut self, failure: Failure) -> String {
        let body = failure.body();
        let kind = match body.code {
            // The client has to load the table again.
            Code::Gone | Code::EpochChanged | Code::UnknownTable => "reset",
            _ => "error",
        };
        let (peer, name, table) = (self.caller.peer, self.caller.name(), &self.table);
        let (code, reason) = (body.code, &body.message);
        if let Some(left_out) = self.state.lines.take(Line::Stream(code)) {
            tracing::info!(%peer, name, %table, %code, reason, left_out, "a stream of events ends");
        }
        self.end(kind, body)
    }

    fn end(&mut self, kind: &str, body: &ErrorBody) -> String {
        self.source = Source::Nothing;
        event(kind, None, body)
    }

    /// Returns the last event of a stopping server. Browsers reconnect after `retry` milliseconds, a random
    /// time.
    fn goodbye(&mut self, spread: Duration) -> String {
        let retry = RandomState::new().build_hasher().finish() % millis(spread).max(1);
        let body = ErrorBody::new(Code::Closed, "the server is shutting down; reconnect");
        format!("retry: {retry}\n{}", self.end("goodbye", &body))
    }
}

/// Formats an event. Compact JSON has no line breaks, which would end the event.
fn event(kind: &str, id: Option<Position>, data: &impl Serialize) -> String {
    // Events have no maps with keys other than strings.
    let data = serde_json::to_string(data).unwrap_or_default();
    match id {
        Some(id) => format!("event: {kind}\nid: {id}\ndata: {data}\n\n"),
        None => format!("event: {kind}\ndata: {data}\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_browsers_read() {
        let at: Position = "00c0ffee00c0ffee:7".parse().unwrap();
        let begin = "event: begin\nid: 00c0ffee00c0ffee:7\n\
                     data: {\"epoch\":\"00c0ffee00c0ffee\",\"seq\":7}\n\n";
        assert_eq!(event("begin", Some(at), &at), begin);
        assert_eq!(event("x", None, &"a\nb"), "event: x\ndata: \"a\\nb\"\n\n");
    }
}
