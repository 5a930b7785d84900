//! `/v1/tables/{table}/events`: a table's transactions as server-sent events, which every browser and
//! many a tool can follow. There is no queue for each stream: what is read is sent, and who is slow
//! reads the history on disk.

use super::answer::{self, Answer};
use super::call::Call;
use crate::access::one;
use crate::caller::Caller;
use crate::error::Failure;
use crate::fair::Turn;
use crate::history::{self, PIECE_BYTES, PIECE_CHANGES, cost};
use crate::limits::{Budget, Held};
use crate::log::Line;
use crate::metrics::count;
use crate::state::{AppState, Drain, stopping};
use crate::work::Unit;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use hotread_proto::session::frame::Txn;
use hotread_proto::{Change, Code, ErrorBody, Position, TableName};
use hotread_store::{ReadError, Recent, Subscription};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A stream that is behind by no more changes than this takes them from memory, as a rule.
const NEAR: usize = 64;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx and others not to buffer an answer.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /v1/tables/{table}/events`.
pub(super) async fn get(call: Call) -> Answer {
    let table = call.table()?;
    let state = call.state.clone();
    if state.is_draining() {
        return Err(Failure::new(Code::Closed, "the server is shutting down"));
    }
    let who = call.caller.who();
    let turn = state.streams.try_next(who, None).ok_or_else(|| {
        let message = "there are as many streams of events as the server takes, of all or of one \
                       caller; close some, or try again later";
        Failure::new(Code::TooManyConnections, message)
    })?;
    let budget = call.budget();
    let sending = budget.take(0)?;
    let from = match begin(&call)? {
        Some(from) => from,
        None => state.store.head(&table)?.position,
    };
    let piece = Piece::read(&state, &call.caller, &budget, &table, from).await?;
    count(&state.metrics.event_streams);
    let events = Events {
        heartbeat: state.settings().options.heartbeat(),
        shutdown: state.shutdown.clone(),
        tokens: state.tokens.subscribe(),
        checked: None,
        caller: call.caller,
        next: Next::Begin(from),
        at: from,
        source: Source::History(piece),
        table,
        state,
        budget,
        sending,
        _turn: turn,
    };
    let stream = stream::unfold(events, |mut events| async {
        let event = events.next().await?;
        count(&events.state.metrics.events_sent);
        Some((Ok::<_, Infallible>(Bytes::from(event)), events))
    });
    let mut response = answer::with_type(StatusCode::OK, "text/event-stream", Bytes::new());
    *response.body_mut() = Body::from_stream(stream);
    let headers = response.headers_mut();
    // Neither kept nor compressed, and passed on at once, also by proxies that buffer.
    let pass_on = HeaderValue::from_static("no-store, no-transform");
    headers.insert(header::CACHE_CONTROL, pass_on);
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// Where to begin: where a client was that comes back, or where it says.
fn begin(call: &Call) -> Result<Option<Position>, Failure> {
    let last = one(&call.parts.headers, &LAST_EVENT_ID)
        .map_err(|()| Failure::bad_request("Last-Event-ID is to be there once, as epoch:seq"))?;
    // Comes with the same URL again, so that it counts more than the query.
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
    /// The last change that was taken from the source.
    at: Position,
    source: Source,
    next: Next,
    heartbeat: Duration,
    shutdown: watch::Receiver<Option<Drain>>,
    tokens: watch::Receiver<u64>,
    /// The generation of tokens at which the caller was last looked at.
    checked: Option<u64>,
    budget: Budget,
    /// The memory of the event that is sent, and of the rest of its change.
    sending: Held,
    _turn: Turn,
}

/// Where changes come from.
enum Source {
    /// The history, a piece at a time, as long as the stream is behind.
    History(Piece),
    /// Memory.
    Recent(Subscription),
    /// Nowhere: it is over.
    Nothing,
}

/// A piece of the history, with the turn at holding one.
struct Piece {
    changes: VecDeque<Arc<Change>>,
    /// The size of the largest one.
    largest: usize,
    _held: Held,
    _turn: Turn,
}

impl Piece {
    async fn read(
        state: &AppState,
        caller: &Caller,
        budget: &Budget,
        table: &TableName,
        from: Position,
    ) -> Result<Self, Failure> {
        let turn = state.history.next(caller.who(), None).await;
        let unit = Unit::of(caller.who()).on(table);
        let (table, budget) = (table.clone(), budget.clone());
        let read = state.blocking(unit, move |store| {
            history::read(store, &table, from, PIECE_CHANGES, PIECE_BYTES, &budget)
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

/// What comes next.
enum Next {
    /// That the stream begins, and where.
    Begin(Position),
    /// Whatever comes.
    Any,
    /// The rest of a change, from this operation on.
    Rest(Arc<Change>, usize),
    /// Nothing any more.
    Nothing,
}

/// What may happen while there is nothing to send.
enum Step {
    Recent(Result<Recent, ReadError>),
    Tokens,
    Heartbeat,
    Drain(Option<Drain>),
}

impl Events {
    /// The next event, or the end of the stream.
    async fn next(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.next, Next::Any) {
            Next::Nothing => {
                self.next = Next::Nothing;
                return None;
            }
            Next::Begin(from) => return Some(event("begin", Some(from), &from)),
            Next::Rest(change, at) => return Some(self.change(change, at)),
            Next::Any => {}
        }
        loop {
            let now = self.state.store.token_generation();
            if self.checked != Some(now) {
                if !self.state.is_still(&self.caller) {
                    let message = "the token was revoked, or one is needed now";
                    let body = ErrorBody::new(Code::Unauthenticated, message);
                    return Some(self.failed(body.into()));
                }
                self.checked = Some(now);
            }
            if let Source::History(piece) = &mut self.source {
                if let Some(change) = piece.changes.pop_front() {
                    return Some(self.change(change, 0));
                }
                let largest = piece.largest;
                if let Err(failure) = self.go_on(largest).await {
                    return Some(self.failed(failure));
                }
                continue;
            }
            match self.step().await? {
                Step::Recent(Ok(Recent::Change(change))) => return Some(self.change(change, 0)),
                Step::Recent(Ok(Recent::Behind)) => {
                    if let Err(failure) = self.read_history().await {
                        return Some(self.failed(failure));
                    }
                }
                Step::Recent(Err(error)) => return Some(self.failed(error.into())),
                Step::Tokens => {}
                Step::Heartbeat => return Some(": heartbeat\n\n".to_owned()),
                Step::Drain(drain) => return Some(self.goodbye(drain)),
            }
        }
    }

    async fn step(&mut self) -> Option<Step> {
        let Source::Recent(subscription) = &mut self.source else {
            return None;
        };
        Some(tokio::select! {
            biased;
            drain = stopping(&mut self.shutdown) => Step::Drain(drain),
            Ok(()) = self.tokens.changed() => Step::Tokens,
            recent = poll_fn(|cx| subscription.poll_next(cx)) => Step::Recent(recent),
            () = tokio::time::sleep(self.heartbeat) => Step::Heartbeat,
        })
    }

    /// A piece of the history was sent: the next one, or if there is not much left, from memory.
    /// A subscription reads what it has missed at once, which is to be as little as a piece; the last
    /// ones are taken to be as large as those before.
    async fn go_on(&mut self, largest: usize) -> Result<(), Failure> {
        let head = self.state.store.head(&self.table)?.position;
        let behind = usize::try_from(head.seq.saturating_sub(self.at.seq)).unwrap_or(usize::MAX);
        let near = behind <= NEAR && behind * largest <= PIECE_BYTES;
        if head.epoch == self.at.epoch && !near {
            return self.read_history().await;
        }
        let (table, at) = (self.table.clone(), self.at);
        let unit = Unit::of(self.caller.who()).on(&table);
        let subscribed = self
            .state
            .blocking(unit, move |store| store.subscribe(&table, at));
        self.source = Source::Recent(subscribed.await??);
        Ok(())
    }

    async fn read_history(&mut self) -> Result<(), Failure> {
        // What is held is given back before a turn is waited for.
        self.source = Source::Nothing;
        let piece = Piece::read(
            &self.state,
            &self.caller,
            &self.budget,
            &self.table,
            self.at,
        );
        let piece = piece.await?;
        self.source = Source::History(piece);
        Ok(())
    }

    /// A change, or as much of it as makes an event. Only the last piece has an id, so that a client
    /// that comes back begins with whole transactions.
    fn change(&mut self, change: Arc<Change>, at: usize) -> String {
        self.at = change.position;
        let whole = Txn::of(&change);
        let piece = whole.piece(at);
        let (fits, more) = (piece.ops.len(), piece.more);
        // All of the change, for as long as a part of it is to be sent. Of one that comes from memory,
        // others may have let go.
        let memory = match more || at > 0 {
            true => cost(&change),
            false => change.size(),
        };
        if let Err(failure) = self.sending.resize(memory) {
            return self.failed(failure);
        }
        let id = (!more).then_some(change.position);
        let event = event("txn", id, &piece);
        if more {
            self.next = Next::Rest(change, at + fits);
        }
        event
    }

    fn failed(&mut self, failure: Failure) -> String {
        let body = failure.body();
        let kind = match body.code {
            // The table is to be taken whole.
            Code::Gone | Code::EpochChanged | Code::UnknownTable => "reset",
            _ => "error",
        };
        let (peer, name, table) = (self.caller.peer(), self.caller.name(), &self.table);
        let (code, reason) = (body.code, &body.message);
        if let Some(left_out) = self.state.lines.take(Line::Stream(code)) {
            tracing::info!(%peer, name, %table, %code, reason, left_out, "a stream of events ends");
        }
        self.end(kind, body)
    }

    fn end(&mut self, kind: &str, body: &ErrorBody) -> String {
        self.next = Next::Nothing;
        self.source = Source::Nothing;
        event(kind, None, body)
    }

    /// The server stops. Browsers come back after `retry` milliseconds, each after another time.
    fn goodbye(&mut self, drain: Option<Drain>) -> String {
        let spread = drain.map_or(Duration::ZERO, |drain| drain.spread);
        let spread = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        let retry = RandomState::new().build_hasher().finish() % spread.max(1);
        let body = ErrorBody::new(Code::Closed, "the server is shutting down; come back");
        format!("retry: {retry}\n{}", self.end("goodbye", &body))
    }
}

/// An event. JSON that is written compactly has no line breaks, which would end it.
fn event(kind: &str, id: Option<Position>, data: &impl Serialize) -> String {
    let mut event = format!("event: {kind}\n");
    if let Some(id) = id {
        // Writing to a String cannot fail.
        let _ = writeln!(event, "id: {id}");
    }
    // Nothing that is sent has maps with other keys than strings.
    let data = serde_json::to_string(data).unwrap_or_default();
    event.push_str("data: ");
    event.push_str(&data);
    event.push_str("\n\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_browsers_read() {
        let at: Position = "00c0ffee00c0ffee:7".parse().unwrap();
        assert_eq!(
            event("begin", Some(at), &at),
            "event: begin\nid: 00c0ffee00c0ffee:7\n\
             data: {\"epoch\":\"00c0ffee00c0ffee\",\"seq\":7}\n\n"
        );
        assert_eq!(event("x", None, &"a\nb"), "event: x\ndata: \"a\\nb\"\n\n");
    }
}
