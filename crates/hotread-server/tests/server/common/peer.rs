//! A peer that sends any bytes over a socket.

use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Time after which a test counts as hanging.
pub(crate) const HANG: Duration = Duration::from_secs(600);

/// Kinds of WebSocket frames (RFC 6455, 5.2), final ones.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

pub(crate) struct Peer<S = TcpStream>(pub(crate) S);

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // The system buffers little when the peer does not read.
        socket.set_recv_buffer_size(16 << 10).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    /// Returns the status and the code of the answer to this request, and checks that the connection was
    /// closed.
    pub(crate) async fn asks(address: SocketAddr, request: &[u8]) -> (u16, String) {
        let mut peer = Self::connect(address).await;
        // The request may be refused before it is read to its end.
        let _ = peer.write(request).await;
        let answer = peer.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Opens an upgraded connection.
    pub(crate) async fn upgraded(address: SocketAddr, table: &str) -> Self {
        let mut peer = Self::connect(address).await;
        peer.upgrade(table).await;
        peer
    }

    /// Opens an upgraded connection that has sent hello.
    pub(crate) async fn greeted(address: SocketAddr, table: &str, hello: &str) -> Self {
        let mut peer = Self::upgraded(address, table).await;
        peer.say(TEXT, hello.as_bytes()).await.unwrap();
        peer
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Writes until the server closes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let write = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        let written = tokio::time::timeout(HANG, write);
        written.await.expect("it hangs")
    }

    /// Reads everything up to the end of the connection, or its failure.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(HANG, self.0.read_to_end(&mut bytes));
        let _ = read.await.expect("it hangs");
        bytes
    }

    /// Upgrades the connection.
    pub(crate) async fn upgrade(&mut self, table: &str) {
        let request = upgrade(table, "hotread.v1+json");
        self.write(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(HANG, self.0.read_u8());
            head.push(byte.await.expect("it hangs").unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    }

    pub(crate) async fn say(&mut self, kind: u8, payload: &[u8]) -> std::io::Result<()> {
        self.write(&message(kind, payload)).await
    }

    /// Reads the next text message. `None`: the connection was closed.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        loop {
            let (kind, payload) = tokio::time::timeout(HANG, self.message())
                .await
                .expect("it hangs")
                .ok()?;
            match kind {
                TEXT => return Some(String::from_utf8(payload).unwrap()),
                CLOSE => return None,
                PING | PONG => {}
                kind => panic!("the server sends {kind:#x}"),
            }
        }
    }

    async fn message(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await?;
        let length = match self.0.read_u8().await? {
            126 => u64::from(self.0.read_u16().await?),
            127 => self.0.read_u64().await?,
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await?;
        Ok((kind, payload))
    }

    /// Returns the kind of the last frame, and its code if it has one. Checks that it is the last one.
    pub(crate) async fn end(&mut self) -> (String, String) {
        let mut last = String::new();
        while let Some(frame) = self.hear().await {
            last = frame;
        }
        let frame: Value = serde_json::from_str(&last).unwrap_or_default();
        let Some((kind, body)) = frame.as_object().and_then(|frame| frame.iter().next()) else {
            return Default::default();
        };
        let code = body["code"].as_str().unwrap_or_default();
        (kind.clone(), code.to_owned())
    }
}

/// Returns a request to upgrade.
pub(crate) fn upgrade(table: &str, protocol: &str) -> String {
    format!(
        "GET /v1/tables/{table}/sync HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

/// Returns a WebSocket message in one frame, masked with zeros.
pub(crate) fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(kind, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns the head of a frame.
pub(crate) fn head(kind: u8, length: u64) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut bytes = vec![kind];
    match length {
        0..=125 => bytes.push(MASKED | length as u8),
        126..=0xffff => {
            bytes.push(MASKED | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(MASKED | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}
