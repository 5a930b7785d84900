//! Sync sessions: drives the server's end of the protocol, [`Serve`], over a WebSocket. It brings what
//! the session wants, and frames as long as the connection takes them.

use crate::access::Caller;
use crate::error::Failure;
use crate::fanout::{Fanout, Moved, Recently};
use crate::parts::Place;
use crate::registry::Listed;
use crate::state::{AppState, Drain};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use hotread_proto::session::frame::Begin;
use hotread_proto::session::{
    Answer, End, Event, MAX_CLIENT_FRAME_BYTES, Part, SUBPROTOCOL, Serve, ServeConfig, Want,
};
use hotread_proto::{ErrorBody, Head, Position, TableName};
use hotread_store::{Pin, ReadError, TableInfo};
use std::future::{Future, poll_fn};
use std::pin::{Pin as Pinned, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// Frames are handed to the connection in pieces of this many bytes.
const WRITE_BUFFER: usize = 64 << 10;
/// A connection buffers at most one frame beyond that.
const MAX_WRITE_BUFFER: usize = 8 << 20;
/// Messages of a client are read in pieces of this many bytes.
const READ_BUFFER: usize = 4 << 10;
/// A connection that takes no whole frame in this time is cut: it holds memory, and perhaps a turn at
/// snapshots.
const FRAME_WITHIN: Duration = Duration::from_secs(30);
/// How long a session that is over waits for its last frames to be taken.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Answers the request for a session. What can be refused is refused here, with a status.
///
/// # Errors
/// If there is no such table, or it cannot be read, or the client does not speak the protocol.
pub(crate) async fn upgrade(
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = format!("ask for the subprotocol {SUBPROTOCOL}, the only one there is");
        return Err(Failure::bad_request(message));
    }
    if state.is_draining() {
        let message = "the server is shutting down";
        return Err(Failure::new(hotread_proto::Code::Closed, message));
    }
    let name = table.clone();
    // Also opens the table if it is sealed, or says that it cannot be.
    let info = state
        .blocking(move |store| -> Result<TableInfo, ReadError> {
            let info = store.table(&name)?;
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
        .on_upgrade(move |socket| serve(state, caller, table, sealed, socket)))
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
    /// The connection is gone.
    Lost(String),
    /// Everything is said.
    Over,
}

struct Session {
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    fanout: Arc<Fanout>,
    listed: Listed,
    serve: Serve,
    begun: Instant,
    /// What is being fetched.
    fetching: Option<Pinned<Box<dyn Future<Output = Fetched> + Send>>>,
    /// Changes that did not come yet.
    waiting_after: Option<u64>,
    snapshot: Option<Snapshot>,
    /// Frames that the connection has not sent yet.
    unflushed: bool,
    /// When the connection last took a frame.
    taken_at: Instant,
}

/// What was wanted, and what is held for what will be wanted next.
struct Fetched {
    answer: Answer,
    snapshot: Option<Snapshot>,
}

impl From<Answer> for Fetched {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            snapshot: None,
        }
    }
}

/// What a session holds as long as it loads the table.
struct Snapshot {
    fanout: Arc<Fanout>,
    /// Parts read before this transaction are of no use.
    since: u64,
    _history: Pin,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.fanout.parts.leave();
    }
}

async fn serve(
    state: Arc<AppState>,
    caller: Caller,
    table: TableName,
    sealed: bool,
    mut socket: WebSocket,
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
            let _ = socket.send(Message::Close(None)).await;
            return;
        }
    };
    let config = ServeConfig {
        heartbeat: state.options.heartbeat(),
        sealed,
    };
    let listed = state.sessions.enter(caller.peer(), &table);
    let now = Instant::now();
    let session = Session {
        serve: Serve::new(config, head, floor, Duration::ZERO),
        begun: now,
        fetching: None,
        waiting_after: None,
        snapshot: None,
        unflushed: false,
        taken_at: now,
        listed,
        fanout,
        table,
        caller,
        state,
    };
    session.run(socket).await;
}

impl Session {
    async fn run(mut self, mut socket: WebSocket) {
        let mut moved = self.fanout.moved();
        let mut shutdown = self.state.shutdown.clone();
        let mut tokens = self.state.tokens.subscribe();
        loop {
            self.note_events();
            match self
                .next(&mut socket, &mut moved, &mut shutdown, &mut tokens)
                .await
            {
                Step::Text(text) => {
                    // Newest first: a pong says how far the table is.
                    self.look_at_head();
                    self.serve.handle_text(text.as_str(), self.now());
                }
                Step::Want(want) => self.fetch(want),
                Step::Fetched(Fetched { answer, snapshot }) => {
                    self.fetching = None;
                    self.snapshot = snapshot;
                    self.serve.handle_answer(answer);
                }
                Step::Moved(Moved::To(_)) => {
                    self.look_at_head();
                    if let Some(after) = self.waiting_after.take() {
                        self.fetch(Want::Changes { after });
                    }
                }
                Step::Moved(Moved::Over) => self.serve.handle_end(End::Dropped),
                Step::Time => {
                    if self.taken_at.elapsed() > FRAME_WITHIN && self.unflushed {
                        tracing::info!(
                            who = self.listed.who(),
                            "a session was cut: it takes nothing in"
                        );
                        return;
                    }
                    self.look_at_head();
                    self.serve.handle_timeout(self.now());
                }
                Step::Drain(drain) => {
                    let spread = drain.map_or(Duration::ZERO, |drain| drain.spread);
                    let reason = "the server is shutting down".to_owned();
                    self.serve.handle_end(End::Goodbye { reason, spread });
                }
                Step::Tokens => self.check_token().await,
                Step::Lost(why) => {
                    tracing::debug!(
                        who = self.listed.who(),
                        why,
                        "a session's connection is gone"
                    );
                    return;
                }
                Step::Over => break,
            }
            self.listed.sent(self.serve.sent());
        }
        self.note_events();
        let close = CloseFrame {
            code: close_code::NORMAL,
            reason: Utf8Bytes::from_static("the last frame says why"),
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN, socket.send(Message::Close(Some(close)))).await;
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
        let deadline = match self.serve.poll_timeout() {
            Some(at) => (self.begun + at).min(Instant::now() + FRAME_WITHIN),
            None => self.taken_at + CLOSE_WITHIN,
        };
        let is_ending = self.serve.poll_timeout().is_none();
        let was_moved = *moved.borrow();
        let mut time = pin!(tokio::time::sleep_until(deadline));
        let mut moves = pin!(moved.changed());
        let mut drains = pin!(crate::state::stopping(shutdown));
        let mut tokens = pin!(tokens.changed());
        poll_fn(|cx| {
            if !is_ending {
                if let Poll::Ready(step) = read(socket, cx) {
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
    fn write(&mut self, socket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Step> {
        let lost = |error: axum::Error| Poll::Ready(Step::Lost(error.to_string()));
        loop {
            match Pinned::new(&mut *socket).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return lost(error),
                Poll::Pending => return Poll::Pending,
            }
            let Some(frame) = self.serve.poll_frame() else {
                break;
            };
            let metrics = &self.state.metrics;
            // ORDERING: counters, each for itself.
            metrics.frames_sent.fetch_add(1, Ordering::Relaxed);
            metrics
                .bytes_sent
                .fetch_add(frame.len() as u64, Ordering::Relaxed);
            if let Err(error) = Pinned::new(&mut *socket).start_send(text(frame)) {
                return lost(error);
            }
            self.taken_at = Instant::now();
            self.unflushed = true;
        }
        if let Some(want) = self.serve.poll_want() {
            return Poll::Ready(Step::Want(want));
        }
        if self.unflushed {
            match ready!(Pinned::new(socket).poll_flush(cx)) {
                Ok(()) => self.unflushed = false,
                Err(error) => return lost(error),
            }
            self.taken_at = Instant::now();
        }
        if self.serve.is_over() {
            return Poll::Ready(Step::Over);
        }
        Poll::Pending
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

    // ---- what is wanted ----

    fn fetch(&mut self, want: Want) {
        let (state, table) = (self.state.clone(), self.table.clone());
        match want {
            Want::Digest { at } => {
                if let Some(digest) = self.fanout.digest_at(at.seq) {
                    return self.serve.handle_answer(Answer::Digest(Some(digest)));
                }
                self.fetch_by(async move {
                    let read = state.blocking(move |store| store.digest_at(&table, at));
                    answer(read.await, Answer::Digest)
                });
            }
            Want::Changes { after } => match self.fanout.after(after) {
                Recently::Here(changes) => self.serve.handle_answer(Answer::Changes(changes)),
                Recently::Later => self.waiting_after = Some(after),
                Recently::Earlier => {
                    let fanout = self.fanout.clone();
                    self.fetch_by(async move {
                        let read = state.blocking(move |store| fanout.read(store, after));
                        answer(read.await, |changes| match changes.is_empty() {
                            true => Answer::Gone,
                            false => Answer::Changes(changes),
                        })
                    });
                }
            },
            Want::Part { number, after } => {
                let (fanout, held) = (self.fanout.clone(), self.snapshot.take());
                let place = Place { number, after };
                self.fetching = Some(Box::pin(async move {
                    let held = match held {
                        Some(held) => Ok(held),
                        None => begin_snapshot(&state, &fanout, &table).await,
                    };
                    match held {
                        Ok(held) => Fetched {
                            answer: read_part(&state, &fanout, table, place, held.since).await,
                            snapshot: Some(held),
                        },
                        Err(answer) => answer.into(),
                    }
                }));
            }
        }
    }

    fn fetch_by(&mut self, answer: impl Future<Output = Answer> + Send + 'static) {
        self.fetching = Some(Box::pin(async move { answer.await.into() }));
    }

    // ---- what happened ----

    fn note_events(&mut self) {
        let metrics = &self.state.metrics;
        // ORDERING: counters, each for itself.
        let count = |counter: &std::sync::atomic::AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
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
                Event::Ack { seq } => self.listed.acked(seq),
                Event::Nack(nack) => {
                    count(&metrics.nacks);
                    let (who, table) = (self.listed.who(), &self.table);
                    tracing::warn!(
                        who, %table, seq = nack.seq, key = ?nack.key, reason = nack.reason,
                        "a client refuses a value"
                    );
                    self.listed.nacked(nack);
                }
                Event::SnapshotSent { parts } => {
                    count(&metrics.snapshots);
                    self.snapshot = None;
                    tracing::debug!(who = self.listed.who(), parts, "a snapshot was sent");
                }
                Event::Folded { .. } => count(&metrics.folds),
                Event::Failed(body) => {
                    count(&metrics.resets);
                    let code = body.code;
                    tracing::warn!(who = self.listed.who(), %code, reason = body.message, "a session ends");
                }
                _ => {}
            }
        }
    }

    async fn check_token(&mut self) {
        let caller = self.caller.clone();
        let still = self.state.blocking(move |store| caller.is_still(store));
        if !still.await.unwrap_or(false) {
            let message = "the token was revoked, or tokens are needed now";
            let body = ErrorBody::new(hotread_proto::Code::Unauthenticated, message);
            self.serve.handle_end(End::Error(body));
        }
    }
}

/// A turn at loading the table, and the history from where on shared parts may have been read.
async fn begin_snapshot(
    state: &Arc<AppState>,
    fanout: &Arc<Fanout>,
    table: &TableName,
) -> Result<Snapshot, Answer> {
    let turn = state.sessions.snapshots.clone().acquire_owned().await;
    let turn = turn.map_err(|_| Answer::Gone)?;
    let pin = || -> Result<(Pin, u64), ReadError> {
        let (floor, head) = (state.store.floor(table)?, state.store.head(table)?);
        let seq = fanout.shared_since(head.position.seq).max(floor - 1);
        let epoch = fanout.epoch();
        Ok((state.store.pin(table, Position { epoch, seq })?, seq))
    };
    let (history, since) = pin().map_err(|error| failed(&error))?;
    fanout.parts.join();
    Ok(Snapshot {
        fanout: fanout.clone(),
        since,
        _history: history,
        _turn: turn,
    })
}

/// A part, which is read once for all sessions that want it at about this time.
async fn read_part(
    state: &AppState,
    fanout: &Fanout,
    table: TableName,
    place: Place,
    since: u64,
) -> Answer {
    let cell = fanout.parts.cell(&place, since);
    let read = cell.get_or_try_init(|| async {
        let read = state.blocking(move |store| -> Result<Arc<Part>, ReadError> {
            let Place { number, after } = place;
            let live = store.live(&table)?;
            Ok(live.read(|table| Arc::new(Part::read(table, number, after.as_deref()))))
        });
        match read.await {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(error)) => Err(failed(&error)),
            Err(busy) => Err(Answer::Failed(busy.body().clone())),
        }
    });
    match read.await {
        Ok(part) => Answer::Part(part.clone()),
        Err(answer) => answer,
    }
}

fn answer<T>(
    read: Result<Result<T, ReadError>, Failure>,
    answer: impl FnOnce(T) -> Answer,
) -> Answer {
    match read {
        Ok(Ok(found)) => answer(found),
        Ok(Err(error)) => failed(&error),
        Err(busy) => Answer::Failed(busy.body().clone()),
    }
}

fn failed(error: &ReadError) -> Answer {
    match error {
        ReadError::Gone { .. } | ReadError::NeverThere { .. } | ReadError::UnknownTable { .. } => {
            Answer::Gone
        }
        error => Answer::Failed(ErrorBody::new(error.code(), error)),
    }
}

/// The next message that says anything.
fn read(socket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Step> {
    loop {
        let step = match ready!(Pinned::new(&mut *socket).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => Step::Text(text),
            // Answered by the connection itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            // No frame of ours; the session says so.
            Some(Ok(Message::Binary(_))) => Step::Text(Utf8Bytes::from_static("")),
            Some(Ok(Message::Close(_))) | None => Step::Lost("it was closed".to_owned()),
            Some(Err(error)) => Step::Lost(error.to_string()),
        };
        return Poll::Ready(step);
    }
}

/// A shared frame as a message, without copying it.
fn text(frame: Arc<str>) -> Message {
    let bytes = Bytes::from_owner(Shared(frame));
    match Utf8Bytes::try_from(bytes) {
        Ok(text) => Message::Text(text),
        Err(_) => unreachable!("a str is UTF-8"),
    }
}

struct Shared(Arc<str>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
