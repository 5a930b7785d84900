//! Sync sessions: drives the server's end of the protocol, [`Serve`], over a WebSocket. It brings what
//! the session wants, and frames as long as the connection takes them.

mod socket;
mod want;

use crate::caller::Caller;
use crate::error::Failure;
use crate::fanout::{Fanout, Moved};
use crate::limits;
use crate::log::Line;
use crate::metrics::count;
use crate::registry::Listed;
use crate::socket::Wire;
use crate::state::{AppState, Drain};
use crate::work::Unit;
use axum::extract::ws::{Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::Sink;
use hotread_proto::session::frame::{Begin, Nack, Reset, ServerFrame};
use hotread_proto::session::{
    End, Event, MAX_CLIENT_FRAME_BYTES, SUBPROTOCOL, Serve, ServeConfig, Want,
};
use hotread_proto::{Code, ErrorBody, Head, TableName};
use hotread_store::{ReadError, TableInfo};
use socket::{CLOSE_WITHIN, Controls};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use want::{CatchingUp, Fetched, Held, Unsent};

/// Frames are handed to the connection in pieces of this many bytes.
const WRITE_BUFFER: usize = 16 << 10;
/// A connection buffers at most one frame beyond that.
const MAX_WRITE_BUFFER: usize = 8 << 20;
/// Messages of a client are read in pieces of this many bytes.
const READ_BUFFER: usize = 4 << 10;
/// Why a session ends for which there is no memory, and after how long its client may come back.
const CROWDED: &str = "requests, answers and sessions take all the memory that is set aside for them; \
                       come back later";
const CROWDED_RETRY: Duration = Duration::from_secs(1);

/// Answers the request for a session. What can be refused is refused here, with a status.
///
/// # Errors
/// If there is no such table, or it cannot be read, or the client does not speak the protocol.
pub(crate) async fn upgrade(
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    upgrade: WebSocketUpgrade,
    wire: Wire,
) -> Result<Response, Failure> {
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = format!("ask for the subprotocol {SUBPROTOCOL}, the only one there is");
        return Err(Failure::bad_request(message));
    }
    if state.is_draining() {
        let message = "the server is shutting down";
        return Err(Failure::new(Code::Closed, message));
    }
    let (name, unit) = (table.clone(), Unit::of(caller.who()).on(&table));
    // Also opens the table if it is sealed, or says that it cannot be.
    let info = state
        .blocking(unit, move |store| -> Result<TableInfo, ReadError> {
            let info = store.table_info(&name)?;
            store.digest_at(&name, info.position)?;
            Ok(info)
        })
        .await??;
    let sealed = info.options.sealed;
    Ok(upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_CLIENT_FRAME_BYTES)
        .max_frame_size(MAX_CLIENT_FRAME_BYTES)
        .on_upgrade(move |socket| serve(state, caller, table, sealed, socket, wire)))
}

/// What may happen next.
enum Step {
    /// A frame came.
    Text(Utf8Bytes),
    /// Something is wanted.
    Want(Want),
    /// It is here.
    Fetched(Fetched),
    /// The table has moved, or ended.
    Moved(Moved),
    /// It is time for a heartbeat, or something did not happen in time.
    Time,
    /// The server was told to stop.
    Drain(Option<Drain>),
    /// Tokens have changed.
    Tokens,
    /// Something came that is no frame.
    Unreadable(String),
    /// There is no memory for the next frame.
    Crowded,
    /// The connection's own messages come too fast.
    Flooded,
    /// The connection is gone.
    Lost(String),
    /// Everything is said.
    Over,
}

struct Session {
    state: Arc<AppState>,
    caller: Caller,
    /// The generation of tokens at which the caller was last looked at.
    checked: u64,
    table: TableName,
    fanout: Arc<Fanout>,
    listed: Listed,
    serve: Serve,
    begun: Instant,
    /// What is being fetched.
    fetching: Option<Pin<Box<dyn Future<Output = Fetched> + Send>>>,
    /// Changes that did not come yet.
    waiting_after: Option<u64>,
    held: Held,
    unsent: Unsent,
    /// Until the client has caught up with the table after a snapshot.
    catching_up: Option<CatchingUp>,
    /// The memory of the connection's buffer: as much as the largest frame, which it keeps.
    buffer: limits::Held,
    /// Its size, in bytes.
    buffered: usize,
    controls: Controls,
    /// Frames that the connection has not sent yet.
    unflushed: bool,
    /// When the session was over, but for its last frames.
    ending_since: Option<Instant>,
}

async fn serve(
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    sealed: bool,
    socket: WebSocket,
    wire: Wire,
) {
    let begin = || -> Result<_, ReadError> {
        let fanout = state.sessions.tables.join(&state.store, &table)?;
        let floor = state.store.floor(&table)?;
        Ok((fanout, state.store.head(&table)?, floor))
    };
    let (fanout, head, floor) = match begin() {
        Ok(begun) if begun.0.epoch() == begun.1.position.epoch => begun,
        // Dropped a moment ago: the next attempt finds out.
        _ => {
            let reason = "the table was dropped, or began again";
            return turn_away(socket, wire, reason, Duration::ZERO).await;
        }
    };
    let config = ServeConfig {
        heartbeat: state.settings().options.heartbeat(),
        sealed,
    };
    let buffered = 2 * WRITE_BUFFER;
    let Ok(buffer) = state.budgets.of(caller.who()).take(buffered) else {
        // The client comes back later.
        return turn_away(socket, wire, CROWDED, CROWDED_RETRY).await;
    };
    let listed = state.sessions.enter(caller.peer(), &table);
    let now = Instant::now();
    let session = Session {
        serve: Serve::new(config, head, floor, Duration::ZERO),
        begun: now,
        // Whatever it is now, the request may have been let in before: looked at once more.
        checked: state.store.token_generation().wrapping_sub(1),
        fetching: None,
        waiting_after: None,
        held: Held::Nothing,
        unsent: None,
        catching_up: None,
        buffer,
        buffered,
        controls: Controls::new(now, wire.clone()),
        unflushed: false,
        ending_since: None,
        listed,
        fanout,
        table,
        caller,
        state,
    };
    session.run(socket, wire).await;
}

/// Ends a session before it has begun.
async fn turn_away(mut socket: WebSocket, wire: Wire, reason: &str, retry_after: Duration) {
    let reset = Reset {
        reason: reason.to_owned(),
        retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
    };
    let last = socket::text(ServerFrame::Reset(reset).encode().into());
    if let Ok(Ok(())) = timeout(CLOSE_WITHIN, socket.send(last)).await {
        socket::close(socket, wire).await;
    }
}

impl Session {
    async fn run(mut self, mut socket: WebSocket, wire: Wire) {
        let mut moved = self.fanout.moved();
        let mut shutdown = self.state.shutdown.clone();
        let mut tokens = self.state.tokens.subscribe();
        loop {
            self.note_events();
            self.check_token();
            let step = self
                .next(&mut socket, &mut moved, &mut shutdown, &mut tokens)
                .await;
            match step {
                Step::Text(text) => {
                    count(&self.state.metrics.frames_received);
                    // Newest first: a pong says how far the table is.
                    self.look_at_head();
                    self.serve.handle_text(text.as_str(), self.now());
                }
                Step::Want(want) => self.fetch(want),
                Step::Fetched(fetched) => self.fetched(fetched),
                Step::Moved(Moved::To(_)) => {
                    self.look_at_head();
                    if let Some(after) = self.waiting_after.take() {
                        self.fetch(Want::Changes { after });
                    }
                }
                Step::Moved(Moved::Over) => self.serve.handle_end(End::Dropped),
                Step::Time => {
                    self.look_at_head();
                    self.serve.handle_timeout(self.now());
                }
                Step::Drain(drain) => {
                    let spread = drain.map_or(Duration::ZERO, |drain| drain.spread);
                    let reason = "the server is shutting down".to_owned();
                    self.serve.handle_end(End::Goodbye { reason, spread });
                }
                Step::Tokens => {}
                Step::Unreadable(what) => {
                    let message = format!("what came is no frame: {what}");
                    self.fail(Code::ProtocolError, &message);
                }
                Step::Flooded => {
                    let message =
                        "too many pings or fragments of the WebSocket in a short time; send fewer";
                    self.fail(Code::RateLimited, message);
                }
                Step::Crowded => {
                    self.fail(Code::Busy, CROWDED);
                }
                Step::Lost(why) => return self.lost(&why),
                Step::Over => break,
            }
            self.listed.sent(self.serve.sent());
            if self.serve.poll_timeout().is_none() {
                self.ending_since.get_or_insert_with(Instant::now);
            }
        }
        self.note_events();
        // Gone from the lists, and nothing held, before the peer has its time to close.
        drop(self);
        socket::close(socket, wire).await;
    }

    /// The connection does not live any more.
    fn lost(&mut self, why: &str) {
        self.note_events();
        count(&self.state.metrics.lost_sessions);
        let (who, table) = (self.listed.who(), &self.table);
        tracing::debug!(who, %table, why, "a session's connection is gone");
    }

    fn fail(&mut self, code: Code, message: &str) {
        let body = ErrorBody::new(code, message);
        self.serve.handle_end(End::Error(body));
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whatever happens first. Reading goes on while the connection does not take what is written.
    async fn next(
        &mut self,
        socket: &mut WebSocket,
        moved: &mut watch::Receiver<Moved>,
        shutdown: &mut watch::Receiver<Option<Drain>>,
        tokens: &mut watch::Receiver<u64>,
    ) -> Step {
        let over = self.serve.is_over();
        let deadline = match (self.ending_since, self.serve.poll_timeout()) {
            (Some(since), _) => since + CLOSE_WITHIN,
            (None, Some(at)) => self.begun + at,
            (None, None) => Instant::now() + CLOSE_WITHIN,
        };
        let is_ending = self.serve.poll_timeout().is_none();
        let was_moved = *moved.borrow();
        let mut time = pin!(tokio::time::sleep_until(deadline));
        let mut moves = pin!(moved.changed());
        let mut drains = pin!(crate::state::stopping(shutdown));
        let mut tokens = pin!(tokens.changed());
        poll_fn(|cx| {
            if !is_ending {
                if let Poll::Ready(step) = socket::read(socket, &mut self.controls, cx) {
                    return Poll::Ready(step);
                }
                if let Some(fetching) = &mut self.fetching
                    && let Poll::Ready(fetched) = fetching.as_mut().poll(cx)
                {
                    return Poll::Ready(Step::Fetched(fetched));
                }
                if was_moved == Moved::Over || moves.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Step::Moved(self.fanout.now()));
                }
                if let Poll::Ready(drain) = drains.as_mut().poll(cx) {
                    return Poll::Ready(Step::Drain(drain));
                }
                if let Poll::Ready(Ok(())) = tokens.as_mut().poll(cx) {
                    return Poll::Ready(Step::Tokens);
                }
            }
            if let Poll::Ready(step) = self.write(socket, cx) {
                return Poll::Ready(step);
            }
            if over && !self.unflushed {
                return Poll::Ready(Step::Over);
            }
            time.as_mut().poll(cx).map(|()| {
                if is_ending {
                    Step::Lost("it did not take the last frames".to_owned())
                } else {
                    Step::Time
                }
            })
        })
        .await
    }

    /// Hands over frames as long as the connection takes them. Ready only if there is something else
    /// to be done.
    fn write(&mut self, to: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Step> {
        let lost = |error: axum::Error| Poll::Ready(Step::Lost(error.to_string()));
        loop {
            match Pin::new(&mut *to).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return lost(error),
                Poll::Pending => return Poll::Pending,
            }
            let Some(frame) = self.serve.poll_frame() else {
                break;
            };
            // The last one is sent in any case: it is small.
            if !self.serve.is_over() && !self.has_room_for(frame.len()) {
                return Poll::Ready(Step::Crowded);
            }
            let metrics = &self.state.metrics;
            // ORDERING: counters, each for itself.
            metrics.frames_sent.fetch_add(1, Ordering::Relaxed);
            metrics
                .bytes_sent
                .fetch_add(frame.len() as u64, Ordering::Relaxed);
            if let Err(error) = Pin::new(&mut *to).start_send(socket::text(frame)) {
                return lost(error);
            }
            self.unflushed = true;
        }
        if let Some(want) = self.serve.poll_want() {
            return Poll::Ready(Step::Want(want));
        }
        if self.unflushed {
            match ready!(Pin::new(to).poll_flush(cx)) {
                Ok(()) => self.unflushed = false,
                Err(error) => return lost(error),
            }
        }
        // A snapshot that is sent whole gives its turn back now, not when something happens next.
        self.note_events();
        self.sent_all();
        if self.serve.is_over() {
            return Poll::Ready(Step::Over);
        }
        Poll::Pending
    }

    /// Takes memory for a frame larger than those before it.
    fn has_room_for(&mut self, frame: usize) -> bool {
        let wanted = frame + 2 * WRITE_BUFFER;
        if wanted > self.buffered {
            if self.buffer.resize(wanted).is_err() {
                return false;
            }
            self.buffered = wanted;
        }
        true
    }

    fn look_at_head(&mut self) {
        // The floor first: then it is not ahead of the head.
        let store = &self.state.store;
        let now = |table| -> Result<(u64, Head), ReadError> {
            Ok((store.floor(table)?, store.head(table)?))
        };
        match now(&self.table) {
            Ok((floor, head)) => self.serve.handle_head(head, floor),
            Err(_) => self.serve.handle_end(End::Dropped),
        }
    }

    // ---- what happened ----

    fn note_events(&mut self) {
        let state = self.state.clone();
        let metrics = &state.metrics;
        while let Some(event) = self.serve.poll_event() {
            match event {
                Event::Begun { name, mode, reason } => {
                    let mode = match mode {
                        Begin::Snapshot => "snapshot",
                        Begin::Resume => {
                            count(&metrics.resumes);
                            "resume"
                        }
                    };
                    self.listed.begun(name, mode);
                    let (who, table) = (self.listed.who(), &self.table);
                    tracing::debug!(who, %table, mode, reason, "a session begins");
                }
                Event::Ack { seq } => {
                    self.listed.acked(seq);
                    // Without a head the table is gone, and the session is about to end.
                    if let Ok(head) = state.store.head(&self.table) {
                        let head = head.position.seq;
                        self.catching_up.take_if(|it| it.acked(seq, head));
                    }
                }
                Event::Nack(nack) => {
                    count(&metrics.nacks);
                    self.nacked(nack);
                }
                Event::SnapshotSent { parts } => {
                    count(&metrics.snapshots);
                    if let Held::Snapshot(snapshot) = std::mem::take(&mut self.held) {
                        self.catching_up = snapshot.sent();
                    }
                    tracing::debug!(who = self.listed.who(), parts, "a snapshot was sent");
                }
                Event::Folded { .. } => count(&metrics.folds),
                Event::Failed(body) => {
                    count(&metrics.failed_sessions);
                    let (who, table) = (self.listed.who(), &self.table);
                    let (code, reason) = (body.code, body.message);
                    if let Some(left_out) = state.lines.take(Line::Session(code)) {
                        tracing::warn!(who, %table, %code, reason, left_out, "a session ends");
                    }
                }
                _ => {}
            }
        }
    }

    fn nacked(&mut self, nack: Nack) {
        if let Some(left_out) = self.state.lines.take(Line::Nack) {
            let (who, table) = (self.listed.who(), &self.table);
            let (seq, key, reason) = (nack.seq, &nack.key, &nack.reason);
            tracing::warn!(who, %table, seq, ?key, reason, left_out, "a client refuses a value");
        }
        self.listed.nacked(nack);
    }

    /// Is the client still who it was? Looked at whenever tokens have changed, by whatever means, and
    /// before anything else is sent.
    fn check_token(&mut self) {
        let now = self.state.store.token_generation();
        if std::mem::replace(&mut self.checked, now) != now && !self.state.is_still(&self.caller) {
            let message = "the token was revoked, or tokens are needed now";
            self.fail(Code::Unauthenticated, message);
        }
    }
}
