//! A replica over a socket: the client's end of the protocol, driven in the simplest way.

use futures_util::{SinkExt, StreamExt};
use hotread_proto::session::frame::ServerFrame;
use hotread_proto::session::{
    Cause, Follow, FollowConfig, Mode, Output, SUBPROTOCOL, Status, Target,
};
use hotread_proto::{Code, ErrorBody, Position, Record};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Time after which a test counts as hanging; not a measure.
const HANG: Duration = Duration::from_secs(600);

/// Bytes that the system buffers before a client has read them.
const RECEIVED: u32 = 256 << 10;

/// Opens a connection, or returns the status and the code of the refusal.
pub(crate) async fn connect(
    address: SocketAddr,
    table: &str,
    protocol: Option<&str>,
) -> Result<Socket, (u16, Option<Code>)> {
    connect_as("127.0.0.1", address, table, protocol, None).await
}

/// Opens a connection with a token.
pub(crate) async fn connect_with(
    address: SocketAddr,
    table: &str,
    secret: Option<&str>,
) -> Result<Socket, (u16, Option<Code>)> {
    connect_as("127.0.0.1", address, table, Some(SUBPROTOCOL), secret).await
}

/// Opens a connection from one of this machine's addresses, which is another caller for the limits.
pub(crate) async fn connect_as(
    from: &str,
    address: SocketAddr,
    table: &str,
    protocol: Option<&str>,
    secret: Option<&str>,
) -> Result<Socket, (u16, Option<Code>)> {
    let socket = TcpSocket::new_v4().unwrap();
    // A client that reads nothing must soon stop its server, regardless of what the system could
    // buffer.
    socket.set_recv_buffer_size(RECEIVED).unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let stream = socket.connect(address).await.map_err(|_| (0, None))?;
    let url = format!("ws://{address}/v1/tables/{table}/sync");
    let mut request = url.into_client_request().unwrap();
    if let Some(protocol) = protocol {
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    if let Some(secret) = secret {
        let bearer = format!("Bearer {secret}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body: Option<ErrorBody> = serde_json::from_slice(body).ok();
            Err((response.status().as_u16(), body.map(|body| body.code)))
        }
        Err(_) => Err((0, None)),
    }
}

pub(crate) async fn say(socket: &mut Socket, text: String) {
    socket.send(Message::text(text)).await.unwrap();
}

/// Reads the next frame; `None`: the connection was closed.
pub(crate) async fn next_frame(socket: &mut Socket) -> Option<ServerFrame<'static>> {
    loop {
        let message = tokio::time::timeout(HANG, socket.next()).await.unwrap();
        match message {
            Some(Ok(Message::Text(text))) => return Some(ServerFrame::decode(&text).unwrap()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

/// A type that accepts any value except strings with `poison`.
pub(crate) struct Text;

impl Target for Text {
    type Action = (Arc<str>, Option<String>);

    fn put(&mut self, key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        let value = String::from_utf8(record.value().to_vec()).unwrap();
        if value == "\"poison\"" {
            return Err("poison".to_owned());
        }
        Ok((key.clone(), Some(value)))
    }

    fn delete(&mut self, key: &Arc<str>) -> Self::Action {
        (key.clone(), None)
    }
}

pub(crate) struct Replica {
    /// Address that it connects from, and the server's.
    from: &'static str,
    address: SocketAddr,
    table: String,
    follow: Follow<Text>,
    socket: Option<Socket>,
    began: Instant,
    at: Option<Position>,
    pub(crate) state: HashMap<Arc<str>, String>,
    /// Cause of each publication; equal ones in a row are listed once.
    pub(crate) causes: Vec<Cause>,
}

impl Replica {
    pub(crate) fn new(address: SocketAddr, table: &str) -> Self {
        Self::coming_from("127.0.0.1", address, table)
    }

    pub(crate) fn coming_from(from: &'static str, address: SocketAddr, table: &str) -> Self {
        let config = FollowConfig {
            name: Some("test".to_owned()),
            mode: Mode::Replica { coalesce: true },
            skip_bad_keys: false,
            keep_ops: false,
            ping_every: Duration::from_millis(100),
            max_bytes: 1 << 30,
            waits_for_table: false,
            renews_token: false,
            servers: 1,
            seed: 7,
        };
        Self {
            from,
            address,
            table: table.to_owned(),
            follow: Follow::new(Text, config, Duration::ZERO),
            socket: None,
            began: Instant::now(),
            at: None,
            state: HashMap::new(),
            causes: Vec::new(),
        }
    }

    /// Returns the position of its state.
    pub(crate) fn position(&self) -> Option<Position> {
        self.at
    }

    pub(crate) async fn until(&mut self, seq: u64) {
        self.run(|replica| replica.position().is_some_and(|at| at.seq >= seq))
            .await;
    }

    pub(crate) async fn until_state(&mut self, is: impl Fn(&HashMap<Arc<str>, String>) -> bool) {
        self.run(|replica| is(&replica.state)).await;
    }

    pub(crate) async fn until_rejected(&mut self) {
        self.run(|replica| matches!(replica.follow.status(), Status::Rejected(_)))
            .await;
    }

    async fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let hang = Instant::now() + HANG;
        while !done(self) {
            assert!(Instant::now() < hang, "{:?}", self.follow.status());
            self.step().await;
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn step(&mut self) {
        while let Some(output) = self.follow.poll_output() {
            match output {
                Output::Connect => self.connect().await,
                Output::Send(text) => {
                    if let Some(socket) = &mut self.socket
                        && socket.send(Message::text(text)).await.is_err()
                    {
                        self.lost();
                    }
                }
                Output::Disconnect => self.socket = None,
                Output::Apply(batch) => {
                    for (key, value) in batch.actions {
                        match value {
                            Some(value) => self.state.insert(key, value),
                            None => self.state.remove(&key),
                        };
                    }
                    if self.causes.last() != Some(&batch.cause) {
                        self.causes.push(batch.cause);
                    }
                    let now = self.now();
                    self.at = Some(batch.head.position);
                    self.follow.handle_published(batch.head.position, now);
                }
                other => panic!("{other:?}"),
            }
        }
        let Some(at) = self.follow.poll_timeout() else {
            return;
        };
        let message = async {
            match &mut self.socket {
                Some(socket) => socket.next().await,
                None => std::future::pending().await,
            }
        };
        match tokio::time::timeout_at(self.began + at, message).await {
            Ok(Some(Ok(Message::Text(text)))) => {
                let now = self.now();
                self.follow.handle_text(&text, now);
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(_) => self.lost(),
            Err(_) => {
                let now = self.now();
                self.follow.handle_timeout(now);
            }
        }
    }

    async fn connect(&mut self) {
        match connect_as(
            self.from,
            self.address,
            &self.table,
            Some(SUBPROTOCOL),
            None,
        )
        .await
        {
            Ok(socket) => {
                self.socket = Some(socket);
                let now = self.now();
                self.follow.handle_connected(now);
            }
            Err(_) => self.lost(),
        }
    }

    fn lost(&mut self) {
        self.socket = None;
        let now = self.now();
        self.follow
            .handle_disconnected("the connection was lost", now);
    }
}
