//! Servers small enough to do exactly what a test wants: one that serves a table to sessions, and one that
//! answers requests from a script.

pub mod proxy;
pub mod server;
pub mod tls;

use futures_util::{SinkExt, StreamExt};
use hotread::HotReadState;
use hotread_proto::session::frame::Begin;
use hotread_proto::session::{Answer, Encoded, Event, Part, SUBPROTOCOL, Serve, ServeConfig, Want};
use hotread_proto::{
    Category, Change, ChangeOp, Code, Digest, Epoch, ErrorBody, Hasher, Head, Key, Position,
    Record, Records, Timestamp, Value,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};

/// Time after which a test counts as hanging.
pub const HANG: Duration = Duration::from_secs(600);

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < HANG, "never came about: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Table {
    records: Records,
    history: Vec<Arc<Change>>,
}

/// Beginning of a session.
pub type Begun = (Begin, Option<String>);

struct State {
    table: Mutex<Table>,
    moved: watch::Sender<u64>,
    cut: watch::Sender<u64>,
    silent: watch::Sender<bool>,
    sealed: AtomicBool,
    /// Messages that the next connections send in place of a session.
    garbage: Mutex<Vec<Message>>,
    begun: Mutex<Vec<Begun>>,
    nacks: Mutex<Vec<(String, u64)>>,
    tokens: Mutex<Vec<Option<String>>>,
}

/// A server with a table `t`, of which it keeps the whole history.
pub struct Fake {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn table(epoch: u64) -> Table {
    let head = Head {
        position: Position {
            epoch: Epoch(epoch),
            seq: 0,
        },
        digest: Digest::EMPTY,
        records: 0,
        at: Timestamp::EPOCH,
    };
    Table {
        records: Records::new(head, []),
        history: Vec::new(),
    }
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            table: Mutex::new(table(1)),
            moved: watch::Sender::new(0),
            cut: watch::Sender::new(0),
            silent: watch::Sender::new(false),
            sealed: AtomicBool::new(false),
            garbage: Mutex::default(),
            begun: Mutex::default(),
            nacks: Mutex::default(),
            tokens: Mutex::default(),
        });
        let task = accept(listener, state.clone());
        Self {
            address,
            state,
            task,
        }
    }

    /// Stops accepting connections, until it is started again.
    pub async fn stop(&mut self) {
        self.task.abort();
        // The listener is dropped with the task.
        let _ = (&mut self.task).await;
        self.cut();
        until("sessions end", || self.sessions() == 0).await;
    }

    /// Accepts connections again, at the same address.
    pub async fn restart(&mut self) {
        let listener = hotread_testkit::listen_again(self.address);
        let listener = TcpListener::from_std(listener).unwrap();
        self.task = accept(listener, self.state.clone());
    }

    /// Treats the table as sealed from now on, though its hashes are not keyed.
    pub fn seal(&self) {
        self.state.sealed.store(true, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes records in one transaction; `None` deletes.
    pub fn commit(&self, ops: &[(&str, Option<&str>)]) -> Position {
        let position = {
            let mut table = self.state.table.lock().unwrap();
            let before = table.records.head();
            let position = Position {
                seq: before.position.seq + 1,
                ..before.position
            };
            let at = Timestamp::from_millis(position.seq as i64).unwrap();
            let (mut digest, mut records) = (before.digest, before.records);
            let mut done = Vec::new();
            for (key, value) in ops {
                let name = Key::new(key).unwrap();
                if let Some(old) = table.records.get(key) {
                    digest = digest.without(old.hash());
                    records -= 1;
                }
                done.push(match value {
                    None => ChangeOp::delete(name),
                    Some(json) => {
                        let value = Value::parse(json.as_bytes()).unwrap();
                        let (general, seq) = (Category::GENERAL, position.seq);
                        let record =
                            Record::new(&name, &value, &general, seq, at, None, &Hasher::PLAIN);
                        digest = digest.with(record.hash());
                        records += 1;
                        ChangeOp::Put(record)
                    }
                });
            }
            let change = Arc::new(Change {
                position,
                at,
                digest,
                records,
                ops: done,
                id: None,
                actor: None,
                note: None,
            });
            table.records.apply_update(&change);
            table.history.push(change);
            position
        };
        self.state.moved.send_modify(|moved| *moved += 1);
        position
    }

    pub fn put(&self, key: &str, json: &str) -> Position {
        self.commit(&[(key, Some(json))])
    }

    /// Drops the table and re-creates it, empty.
    pub fn recreate(&self, epoch: u64) {
        *self.state.table.lock().unwrap() = table(epoch);
        self.cut();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.state.cut.send_modify(|cut| *cut += 1);
    }

    /// Stops or resumes sending, while connections stay open.
    pub fn set_silent(&self, silent: bool) {
        self.state.silent.send_replace(silent);
    }

    pub fn send_garbage(&self, garbage: Vec<Message>) {
        *self.state.garbage.lock().unwrap() = garbage;
    }

    /// Returns the beginnings of all sessions.
    pub fn begun(&self) -> Vec<Begun> {
        self.state.begun.lock().unwrap().clone()
    }

    pub fn nacks(&self) -> Vec<(String, u64)> {
        self.state.nacks.lock().unwrap().clone()
    }

    /// Returns the `Authorization` of each connection.
    pub fn tokens(&self) -> Vec<Option<String>> {
        self.state.tokens.lock().unwrap().clone()
    }

    /// Returns the number of open sessions.
    pub fn sessions(&self) -> usize {
        self.state.cut.receiver_count()
    }
}

fn accept(listener: TcpListener, state: Arc<State>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(state.clone(), stream));
        }
    })
}

impl State {
    fn head(&self) -> Head {
        self.table.lock().unwrap().records.head()
    }

    /// Returns an answer; `None`: it is not available yet.
    fn answer(&self, want: &Want) -> Option<Answer> {
        let table = self.table.lock().unwrap();
        Some(match want {
            Want::Digest { at } => {
                let mut changes = table.history.iter();
                let change = changes.find(|change| change.position == *at);
                Answer::Digest(change.map(|change| change.digest))
            }
            Want::Part { number, after } => Answer::Part(Arc::new(Part::read(
                &table.records,
                *number,
                after.as_deref(),
            ))),
            Want::Changes { after } => {
                let behind = table.history.get(*after as usize..).unwrap_or_default();
                if behind.is_empty() {
                    return None;
                }
                Answer::Changes(
                    behind
                        .iter()
                        .cloned()
                        .map(Encoded::new)
                        .map(Arc::new)
                        .collect(),
                )
            }
        })
    }
}

async fn connection(state: Arc<State>, stream: TcpStream) {
    let mut cut = state.cut.subscribe();
    if *state.silent.borrow() {
        // Never answers.
        let _ = cut.changed().await;
        return;
    }
    let seen = state.clone();
    #[expect(clippy::result_large_err, reason = "the callback's type is given")]
    let greet = move |request: &Request, mut response: Response| {
        let token = request.headers().get(header::AUTHORIZATION);
        let token = token.map(|token| token.to_str().unwrap().to_owned());
        seen.tokens.lock().unwrap().push(token);
        assert_eq!(
            request.headers()[header::SEC_WEBSOCKET_PROTOCOL],
            SUBPROTOCOL
        );
        if request.uri().path() != "/v1/tables/t/sync" {
            let body = ErrorBody::new(Code::UnknownTable, "there is no such table here");
            let mut refusal = ErrorResponse::new(Some(serde_json::to_string(&body).unwrap()));
            *refusal.status_mut() = 404.try_into().unwrap();
            return Err(refusal);
        }
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, greet).await else {
        return;
    };
    let garbage = state.garbage.lock().unwrap().pop();
    if let Some(garbage) = garbage {
        let _ = socket.send(garbage).await;
        while let Some(Ok(_)) = socket.next().await {}
        return;
    }
    tokio::select! {
        biased; // what is committed after a cut is not sent on the old connection
        _ = cut.changed() => {}
        () = session(&state, socket) => {}
    }
}

async fn session(state: &State, mut socket: WebSocketStream<TcpStream>) {
    let began = Instant::now();
    let config = ServeConfig {
        heartbeat: Duration::from_secs(1),
        sealed: state.sealed.load(Ordering::Relaxed),
    };
    let mut serve = Serve::new(config, state.head(), 1, began.elapsed());
    let mut moved = state.moved.subscribe();
    let mut silent = state.silent.subscribe();
    let mut wanted = None;
    loop {
        serve.handle_head(state.head(), 1);
        loop {
            wanted = wanted.take().or_else(|| serve.poll_want());
            let answer = wanted.as_ref().and_then(|want| state.answer(want));
            let answered = answer.is_some();
            if let Some(answer) = answer {
                wanted = None;
                serve.handle_answer(answer);
            }
            match serve.poll_frame() {
                Some(frame) if !*silent.borrow() => {
                    if socket.send(Message::text(&*frame)).await.is_err() {
                        return;
                    }
                }
                Some(_) => {}
                None if answered => {}
                None => break,
            }
        }
        while let Some(event) = serve.poll_event() {
            match event {
                Event::Begun { mode, reason, .. } => {
                    state.begun.lock().unwrap().push((mode, reason));
                }
                Event::Nack(nack) => {
                    let nack = (nack.key.as_str().to_owned(), nack.seq);
                    state.nacks.lock().unwrap().push(nack);
                }
                _ => {}
            }
        }
        if serve.is_over() {
            return;
        }
        let at = serve.poll_timeout().unwrap_or(HANG);
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    serve.handle_head(state.head(), 1);
                    serve.handle_text(&text, began.elapsed());
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            _ = moved.changed() => {}
            _ = silent.changed() => {}
            () = tokio::time::sleep_until((began + at).into()) => {
                serve.handle_timeout(began.elapsed());
            }
        }
    }
}

/// Answer to a request.
pub enum Reply {
    Answer(u16, String),
    /// Closes the connection without an answer.
    Nothing,
}

/// A server that answers from a script, and records the requests.
pub struct Scripted {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<(String, String)>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    pub async fn start(replies: Vec<Reply>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), replies)
    }

    pub fn on(listener: TcpListener, replies: Vec<Reply>) -> Self {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = request(&mut stream).await;
                seen.lock().unwrap().push(request);
                if let Reply::Answer(status, body) = reply {
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n\
                         content-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
            std::future::pending().await
        });
        Self {
            address,
            requests,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns head and body of each request.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().unwrap().clone()
    }
}

pub async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1);
            let length = length.map_or(0, |l| l.lines().next().unwrap().parse().unwrap());
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
        let read = stream.read_buf(&mut bytes).await.unwrap();
        assert_ne!(read, 0, "the request is not complete: {text}");
    }
}
