//! Sync sessions: drives the server's end of the protocol, [`Serve`], over a WebSocket. It fetches the data
//! that the session wants, and sends frames as fast as the connection takes them.

mod socket;
mod want;

use crate::caller::Caller;
use crate::clock::millis;
use crate::fanout::Fanout;
use crate::limits;
use crate::log::Line;
use crate::metrics::count;
use crate::registry::Listed;
use crate::socket::Wire;
use crate::state::{AppState, Drain};
use axum::extract::ws::{Utf8Bytes, WebSocket};
use futures_util::Sink;
use hotread_proto::session::frame::{Begin, Reset, ServerFrame};
use hotread_proto::session::{End, Event, Serve, ServeConfig, Want};
use hotread_proto::{Code, ErrorBody, TableName};
use socket::{CLOSE_WITHIN, Controls};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use want::{CatchingUp, Fetched, Held, Unsent};

/// Size of the pieces in which frames are handed to the connection, in bytes.
pub(crate) const WRITE_BUFFER: usize = 16 << 10;
/// Reason of a session that ends for lack of memory, and the time after which its client may reconnect.
const CROWDED: &str = "requests, answers and sessions take all the memory that is set aside for them; \
                       reconnect later";
const CROWDED_RETRY: Duration = Duration::from_secs(1);
/// Reason of a session that ends before it has begun; the next attempt learns more.
const DROPPED: &str = "the table was dropped or re-created";

/// A next event.
enum Step {
    Text(Utf8Bytes),
    Want(Want),
    Fetched(Fetched),
    /// The table has changed.
    Moved,
    /// The table has ended.
    Ended,
    /// A heartbeat is due, or a time limit is over.
    Time,
    /// The server was told to stop.
    Drain(Duration),
    Tokens,
    /// The session cannot continue.
    Fail(Code, String),
    /// The connection is gone.
    Lost(String),
    /// All frames are sent.
    Over,
}

struct Session {
    state: Arc<AppState>,
    caller: Caller,
    /// Generation of tokens at which the caller was last checked.
    checked: Option<u64>,
    table: TableName,
    fanout: Arc<Fanout>,
    listed: Listed,
    serve: Serve,
    begun: Instant,
    /// Fetch in progress.
    fetching: Option<Pin<Box<dyn Future<Output = Fetched> + Send>>>,
    /// Transaction after which changes are awaited.
    waiting_after: Option<u64>,
    held: Held,
    unsent: Unsent,
    /// History for a client that has not caught up with the table after a snapshot.
    catching_up: Option<CatchingUp>,
    /// Memory of the connection's buffer: the size of the largest frame, which the connection keeps
    /// allocated.
    buffer: limits::Held,
    controls: Controls,
    /// `true` if the connection has unsent frames.
    unflushed: bool,
    /// Time at which the session ended, except for its last frames.
    ending_since: Option<Instant>,
}

/// Serves a session on an upgraded connection.
pub(crate) async fn serve(
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    sealed: bool,
    socket: WebSocket,
    wire: Arc<Wire>,
) {
    let (store, fanout) = (&state.store, state.tables.join(&state.store, &table));
    let begun = (fanout, store.floor(&table), store.head(&table));
    let (Ok(fanout), Ok(floor), Ok(head)) = begun else {
        return turn_away(socket, wire, DROPPED, Duration::ZERO).await;
    };
    if fanout.epoch != head.position.epoch {
        return turn_away(socket, wire, DROPPED, Duration::ZERO).await;
    }
    let Ok(buffer) = state.budgets.of(caller.who()).take(2 * WRITE_BUFFER) else {
        // The client will reconnect.
        return turn_away(socket, wire, CROWDED, CROWDED_RETRY).await;
    };
    let listed = state.sessions.enter(caller.peer, &table);
    let config = ServeConfig {
        heartbeat: state.settings().options.heartbeat(),
        sealed,
    };
    let session = Session {
        serve: Serve::new(config, head, floor, Duration::ZERO),
        begun: Instant::now(),
        checked: None,
        fetching: None,
        waiting_after: None,
        held: Held::Nothing,
        unsent: None,
        catching_up: None,
        buffer,
        controls: Controls::new(wire.clone()),
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
async fn turn_away(mut socket: WebSocket, wire: Arc<Wire>, reason: &str, retry_after: Duration) {
    let reset = Reset {
        reason: reason.to_owned(),
        retry_after_ms: millis(retry_after),
    };
    let last = socket::text(ServerFrame::Reset(reset).encode().into());
    if let Ok(Ok(())) = timeout(CLOSE_WITHIN, socket.send(last)).await {
        socket::close(socket, wire).await;
    }
}

impl Session {
    async fn run(mut self, mut socket: WebSocket, wire: Arc<Wire>) {
        let mut moved = self.fanout.moved.subscribe();
        let mut shutdown = self.state.shutdown.clone();
        let mut tokens = self.state.tokens.subscribe();
        loop {
            self.note_events();
            // Checked whenever tokens have changed, in any way, and before anything else is sent.
            if !self.state.is_still(&self.caller, &mut self.checked) {
                let message = "the token was revoked, or tokens are needed now";
                self.fail(Code::Unauthenticated, message);
            }
            let step = self
                .next(&mut socket, &mut moved, &mut shutdown, &mut tokens)
                .await;
            match step {
                Step::Text(text) => {
                    count(&self.state.metrics.frames_received);
                    // The head is refreshed first, because a pong reports it.
                    self.look_at_head();
                    self.serve.handle_text(text.as_str(), self.begun.elapsed());
                }
                Step::Want(want) => self.fetch(want),
                Step::Fetched(fetched) => self.fetched(fetched),
                Step::Moved => {
                    self.look_at_head();
                    if let Some(after) = self.waiting_after.take() {
                        self.fetch(Want::Changes { after });
                    }
                }
                Step::Ended => self.serve.handle_end(End::Dropped),
                Step::Time => {
                    self.look_at_head();
                    self.serve.handle_timeout(self.begun.elapsed());
                }
                Step::Drain(spread) => {
                    let reason = "the server is shutting down".to_owned();
                    self.serve.handle_end(End::Goodbye { reason, spread });
                }
                Step::Tokens => {}
                Step::Fail(code, message) => self.fail(code, &message),
                Step::Lost(why) => {
                    self.note_events();
                    count(&self.state.metrics.lost_sessions);
                    let (who, table) = (self.listed.who(), &self.table);
                    tracing::debug!(who, %table, why, "a session's connection is gone");
                    return;
                }
                Step::Over => break,
            }
            self.listed.sent(self.serve.sent());
            if self.serve.poll_timeout().is_none() {
                self.ending_since.get_or_insert_with(Instant::now);
            }
        }
        self.note_events();
        // Removed from the lists, with all permits returned, before the peer gets its time to close.
        drop(self);
        socket::close(socket, wire).await;
    }

    fn fail(&mut self, code: Code, message: &str) {
        self.serve
            .handle_end(End::Error(ErrorBody::new(code, message)));
    }

    /// Returns the first event. Reading continues while the connection does not accept writes.
    async fn next(
        &mut self,
        socket: &mut WebSocket,
        moved: &mut watch::Receiver<bool>,
        shutdown: &mut watch::Receiver<Drain>,
        tokens: &mut watch::Receiver<u64>,
    ) -> Step {
        let over = self.serve.is_over();
        let deadline = match (self.ending_since, self.serve.poll_timeout()) {
            (Some(since), _) => since + CLOSE_WITHIN,
            (None, Some(at)) => self.begun + at,
            (None, None) => Instant::now() + CLOSE_WITHIN,
        };
        let is_ending = self.serve.poll_timeout().is_none();
        let has_ended = *moved.borrow();
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
                if has_ended || moves.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(match *self.fanout.moved.borrow() {
                        true => Step::Ended,
                        false => Step::Moved,
                    });
                }
                if let Poll::Ready(spread) = drains.as_mut().poll(cx) {
                    return Poll::Ready(Step::Drain(spread));
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
            time.as_mut().poll(cx).map(|()| match is_ending {
                true => Step::Lost("the peer did not receive the last frames".to_owned()),
                false => Step::Time,
            })
        })
        .await
    }

    /// Hands over frames while the connection accepts them. Ready if there is something else to do.
    fn write(&mut self, to: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Step> {
        let lost = |error: axum::Error| Poll::Ready(Step::Lost(error.to_string()));
        loop {
            if let Err(error) = ready!(Pin::new(&mut *to).poll_ready(cx)) {
                return lost(error);
            }
            let Some(frame) = self.serve.poll_frame() else {
                break;
            };
            // The last frame is sent in any case: it is small.
            let memory = frame.len() + 2 * WRITE_BUFFER;
            let is_crowded = memory > self.buffer.bytes() && self.buffer.resize(memory).is_err();
            if is_crowded && !self.serve.is_over() {
                return Poll::Ready(Step::Fail(Code::Busy, CROWDED.to_owned()));
            }
            let metrics = &self.state.metrics;
            // ORDERING: independent counters.
            count(&metrics.frames_sent);
            let bytes = frame.len() as u64;
            metrics.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
            if let Err(error) = Pin::new(&mut *to).start_send(socket::text(frame)) {
                return lost(error);
            }
            self.unflushed = true;
        }
        if let Some(want) = self.serve.poll_want() {
            return Poll::Ready(Step::Want(want));
        }
        if self.unflushed {
            if let Err(error) = ready!(Pin::new(to).poll_flush(cx)) {
                return lost(error);
            }
            self.unflushed = false;
        }
        // A snapshot that is completely sent returns its permit now, not at the next event.
        self.note_events();
        self.sent_all();
        if self.serve.is_over() {
            return Poll::Ready(Step::Over);
        }
        Poll::Pending
    }

    fn look_at_head(&mut self) {
        // The floor is read first, so that it is not ahead of the head.
        let store = &self.state.store;
        match (store.floor(&self.table), store.head(&self.table)) {
            (Ok(floor), Ok(head)) => self.serve.handle_head(head, floor),
            _ => self.serve.handle_end(End::Dropped),
        }
    }

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
                    if let Some(left_out) = state.lines.take(Line::Nack) {
                        let (who, table) = (self.listed.who(), &self.table);
                        let (seq, key, reason) = (nack.seq, &nack.key, &nack.reason);
                        tracing::warn!(who, %table, seq, ?key, reason, left_out, "a client refuses a value");
                    }
                    self.listed.nacked(nack);
                }
                Event::SnapshotSent { parts } => {
                    count(&metrics.snapshots);
                    if let Held::Snapshot(mut snapshot) = std::mem::take(&mut self.held) {
                        self.catching_up = snapshot.catching_up.take();
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
}
