//! One sync session over a bare socket: frames are read and mostly discarded, since two hundred
//! replicas of a million records would need the memory of a fleet. A session can also stop reading, which
//! our own clients cannot.

use std::io;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Kinds of WebSocket frames (RFC 6455, 5.2), final ones.
pub(super) const TEXT: u8 = 0x81;
pub(super) const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;
/// Size of a read, in bytes.
const BUFFER: usize = 64 << 10;
/// Beginning of the frames that are skipped: parts of snapshots.
const PART: &[u8] = br#"{"snapshot":"#;

/// A session.
pub(super) struct Session {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    frame: Vec<u8>,
}

/// A frame of the server.
pub(super) enum Heard {
    /// A part of a snapshot.
    Part,
    Frame(Frame),
}

/// The members of a server's frame that matter here. Frames of other kinds have none of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Frame {
    pub(super) welcome: Option<Welcome>,
    pub(super) txn: Option<Txn>,
    pub(super) snapshot_end: Option<SnapshotEnd>,
    pub(super) pong: Option<Pong>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Welcome {
    pub(super) mode: String,
    pub(super) epoch: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Txn {
    pub(super) to: u64,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) more: bool,
    #[serde(rename = "ops")]
    _ops: IgnoredAny,
}

#[derive(Debug, Deserialize)]
pub(super) struct SnapshotEnd {
    pub(super) at: u64,
    pub(super) digest: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pong {
    pub(super) n: u64,
    pub(super) head: u64,
}

impl Session {
    /// Opens a connection and upgrades it.
    pub(super) async fn open(server: SocketAddr, from: IpAddr, table: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        Self::upgrade(socket, server, table).await
    }

    /// The same for a peer that will not read: the system buffers little for it.
    pub(super) async fn open_unread(server: SocketAddr, table: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(16 << 10)?;
        Self::upgrade(socket, server, table).await
    }

    async fn upgrade(socket: TcpSocket, server: SocketAddr, table: &str) -> io::Result<Self> {
        let (read, write) = socket.connect(server).await?.into_split();
        let mut session = Self {
            read: BufReader::with_capacity(BUFFER, read),
            write,
            frame: Vec::new(),
        };
        let request = format!(
            "GET /v1/tables/{table}/sync HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: hotread.v1+json\r\n\r\n"
        );
        session.write.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if session.read.read_until(b'\n', &mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        match head.starts_with(b"HTTP/1.1 101") {
            true => Ok(session),
            false => {
                let head = String::from_utf8_lossy(&head);
                let line = head.lines().next().unwrap_or_default();
                Err(io::Error::other(line.to_owned()))
            }
        }
    }

    /// Sends a short message in one frame, masked with zeros.
    pub(super) async fn say(&mut self, kind: u8, payload: &str) -> io::Result<()> {
        const MASKED: u8 = 0x80;
        let mut bytes = vec![kind];
        match payload.len() {
            length @ 0..=125 => bytes.push(MASKED | length as u8),
            length => {
                let length = u16::try_from(length).map_err(io::Error::other)?;
                bytes.push(MASKED | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload.as_bytes());
        self.write.write_all(&bytes).await
    }

    /// Returns the next frame. Cancelling this makes the session unusable.
    pub(super) async fn hear(&mut self) -> io::Result<Heard> {
        loop {
            let kind = self.read.read_u8().await?;
            let length = match self.read.read_u8().await? {
                126 => u64::from(self.read.read_u16().await?),
                127 => self.read.read_u64().await?,
                length => u64::from(length),
            };
            let length = usize::try_from(length).map_err(io::Error::other)?;
            if kind == TEXT {
                return self.text(length).await;
            }
            self.skip(length).await?;
            if kind == CLOSE {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn text(&mut self, length: usize) -> io::Result<Heard> {
        self.frame.clear();
        self.frame.resize(length.min(PART.len()), 0);
        self.read.read_exact(&mut self.frame).await?;
        let begun = self.frame.len();
        if self.frame == PART {
            self.skip(length - begun).await?;
            return Ok(Heard::Part);
        }
        self.frame.resize(length, 0);
        self.read.read_exact(&mut self.frame[begun..]).await?;
        let frame = serde_json::from_slice(&self.frame)?;
        Ok(Heard::Frame(frame))
    }

    async fn skip(&mut self, mut length: usize) -> io::Result<()> {
        while length > 0 {
            let there = self.read.fill_buf().await?.len();
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = there.min(length);
            self.read.consume(taken);
            length -= taken;
        }
        Ok(())
    }
}
