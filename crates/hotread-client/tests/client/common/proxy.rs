//! A proxy that treats requests and answers as the test wants.

use super::request;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Answer of the proxy to a request that it has forwarded.
#[derive(Debug, Clone)]
pub enum Says {
    /// The server's answer.
    Truth,
    /// Status line, headers and body of its own.
    Instead(&'static str),
    /// No answer: it closes the connection.
    Nothing,
}

pub struct Proxy {
    pub address: SocketAddr,
    /// Answers to the next requests, in order; later ones get the truth.
    pub script: Arc<Mutex<Vec<Says>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy before a server. `path` transforms the paths.
    pub async fn start(server: SocketAddr, path: fn(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Vec<Says>>> = Arc::default();
        let theirs = script.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(stream, server, path, theirs.clone()));
            }
        });
        Self {
            address,
            script,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn says(&self, script: &[Says]) {
        *self.script.lock().unwrap() = script.to_vec();
    }
}

/// Forwards one request, whole, and then decides.
async fn pass(
    mut stream: TcpStream,
    server: SocketAddr,
    path: fn(&str) -> String,
    script: Arc<Mutex<Vec<Says>>>,
) {
    let (head, body) = request(&mut stream).await;
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().unwrap(), parts.next().unwrap());
    let target = match target.split_once('?') {
        Some((way, query)) => format!("{}?{query}", path(way)),
        None => path(target),
    };
    let mut upstream = TcpStream::connect(server).await.unwrap();
    let passed =
        format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n\r\n{body}");
    upstream.write_all(passed.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.unwrap();
    let says = {
        let mut script = script.lock().unwrap();
        match script.is_empty() {
            true => Says::Truth,
            false => script.remove(0),
        }
    };
    // The client may have given up.
    let _ = match says {
        Says::Truth => stream.write_all(&answer).await,
        Says::Instead(own) => stream.write_all(own.as_bytes()).await,
        Says::Nothing => Ok(()),
    };
}

/// A connection to a server that can be interrupted.
pub struct Cable {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    task: JoinHandle<()>,
}

/// State of a connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Plugged,
    /// Open connections are closed, and further ones at once.
    Cut,
    /// Connections are open, and nothing passes.
    Silent,
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cable {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = watch::Sender::new(Line::Plugged);
        let theirs = line.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut line = theirs.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else {
                        return;
                    };
                    loop {
                        let now = *line.borrow_and_update();
                        tokio::select! {
                            // Either end may close first.
                            _ = tokio::io::copy_bidirectional(&mut near, &mut far),
                                if now == Line::Plugged => return,
                            _ = line.changed(), if now != Line::Cut => {}
                            else => return,
                        }
                    }
                });
            }
        });
        Self {
            address,
            line,
            task,
        }
    }

    /// Returns a connection over which `bytes_per_second` arrive from the server.
    pub async fn slow(server: SocketAddr, bytes_per_second: usize) -> Self {
        const PAUSE: Duration = Duration::from_millis(50);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(server).await.unwrap();
                let (mut from_client, mut to_client) = near.into_split();
                let (mut from_server, mut to_server) = far.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                tokio::spawn(async move {
                    let mut some = vec![0; bytes_per_second / 20];
                    while let Ok(bytes @ 1..) = from_server.read(&mut some).await {
                        if to_client.write_all(&some[..bytes]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        });
        Self {
            address,
            line: watch::Sender::new(Line::Plugged),
            task,
        }
    }

    /// Cuts open connections, and lets none through until it is plugged in again.
    pub fn plug(&self, plugged: bool) {
        self.line
            .send_replace(if plugged { Line::Plugged } else { Line::Cut });
    }

    /// Lets nothing through any more, while connections stay open.
    pub fn silence(&self) {
        self.line.send_replace(Line::Silent);
    }
}
