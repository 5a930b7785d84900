//! A server on a port of its own over a store in a temporary directory, and a client that sends given
//! bytes. Every answer is compared with the OpenAPI description.

mod described;
pub mod good;
pub mod peer;
pub mod replica;
pub mod routes;
pub mod secure;
pub mod victim;

pub use described::DOC;
use hotread_proto::{Code, TableName};
use hotread_server::{Server, ServerBuilder, ServerHandle, Store};
use hotread_store::{Role, TableOptions};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Time after which a test counts as hanging.
pub const HANG: Duration = Duration::from_secs(600);

/// A running server.
pub struct Api {
    pub address: SocketAddr,
    pub store: Store,
    pub handle: ServerHandle,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    _dir: TempDir,
}

pub fn table(name: &str) -> TableName {
    TableName::new(name).unwrap()
}

impl Api {
    pub async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let dir = hotread_testkit::folder();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = change(Server::builder(store.clone())).build().unwrap();
        let handle = server.handle();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(listener, stopped).await.unwrap();
        });
        Self {
            address,
            store,
            handle,
            stop: Some(stop),
            served,
            _dir: dir,
        }
    }

    /// Starts a server with a table.
    pub async fn with_table(name: &str) -> Self {
        let api = Self::start().await;
        api.create(name, TableOptions::default()).await;
        api
    }

    pub async fn create(&self, name: &str, options: TableOptions) {
        let (store, name) = (self.store.clone(), table(name));
        blocking(move || store.create_table(&name, options).unwrap()).await;
    }

    /// Creates a token, and returns its secret and its id.
    pub async fn token(&self, role: Role, tables: Option<&[&str]>) -> (String, String) {
        let tables = tables.map(|tables| tables.iter().map(|name| table(name)).collect());
        let store = self.store.clone();
        let token = blocking(move || store.create_token("t", role, tables).unwrap()).await;
        (token.secret, token.info.id)
    }

    /// Tells the server to stop, without waiting.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it has stopped.
    pub async fn stopped(mut self) {
        self.stop();
        hang(self.served).await.unwrap();
    }

    pub fn get(&self, path: &str) -> Ask {
        self.ask("GET", path)
    }

    pub fn put(&self, path: &str) -> Ask {
        self.ask("PUT", path)
    }

    pub fn post(&self, path: &str) -> Ask {
        self.ask("POST", path)
    }

    pub fn delete(&self, path: &str) -> Ask {
        self.ask("DELETE", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask {
            address: self.address,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: vec![("Host".to_owned(), self.address.to_string())],
            body: None,
        }
    }

    /// Sends these bytes, and reads until the connection is closed.
    pub async fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        hang(stream.read_to_end(&mut answer)).await.unwrap();
        Reply::parse(&answer)
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Fails if the future hangs.
pub async fn hang<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, future).await.expect("it hangs")
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A request to be sent.
#[derive(Clone)]
pub struct Ask {
    address: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes the headers of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn host(self, host: &str) -> Self {
        self.without("Host").header("Host", host)
    }

    pub fn token(self, secret: &str) -> Self {
        self.header("Authorization", &format!("Bearer {secret}"))
    }

    pub fn json(self, body: impl ToString) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", kind)
    }

    /// Returns the bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    pub async fn send(self) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.over(stream).await.unwrap()
    }

    /// Sends it over this connection, and reads up to its end.
    pub async fn over(self, stream: impl AsyncRead + AsyncWrite) -> std::io::Result<Reply> {
        let bytes = self.bytes();
        let (mut read, mut write) = tokio::io::split(stream);
        let mut answer = Vec::new();
        let write = async {
            write.write_all(&bytes).await?;
            write.flush().await
        };
        // A body that is refused early is not read to its end.
        let (_, read) = hang(async { tokio::join!(write, read.read_to_end(&mut answer)) }).await;
        if answer.is_empty() {
            read?;
        }
        let reply = Reply::parse(&answer);
        let of_page = self.headers.iter().any(|(name, _)| name == "Origin");
        described::check(&self.method, &self.path, of_page, &reply);
        Ok(reply)
    }

    /// Sends it, and expects this status.
    pub async fn expect(self, status: u16) -> Reply {
        let what = format!("{} {}", self.method, self.path);
        let reply = self.send().await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        reply
    }

    /// Sends a put, and expects its success, whether the record is new or not.
    pub async fn written(self) -> Reply {
        let reply = self.send().await;
        assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
        reply
    }

    /// Sends it, and expects this error.
    pub async fn refused(self, status: u16, code: Code) -> Reply {
        let what = format!("{} {}", self.method, self.path);
        let reply = self.expect(status).await;
        assert_eq!(reply.code(), code.as_str(), "{what}: {}", reply.text());
        reply
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        };
        Self {
            status: status.parse().unwrap(),
            headers: lines.map(header).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body)
            .chars()
            .take(500)
            .collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns the `epoch:seq` of an answer to a commit.
    pub fn position(&self) -> String {
        let position = &self.json()["position"];
        format!(
            "{}:{}",
            position["epoch"].as_str().unwrap(),
            position["seq"]
        )
    }
}
