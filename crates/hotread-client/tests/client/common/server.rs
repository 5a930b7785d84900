//! The real server, over a store that is dropped with it.

use super::HANG;
use hotread_client::{Client, TableName, TableOptions};
use hotread_server::{Server, Tls};
use hotread_store::Store;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server over a store in a temporary directory, with a table `t`.
pub struct Api {
    pub address: SocketAddr,
    running: Option<Running>,
    dir: TempDir,
    tls: Option<Tls>,
}

/// Sender that stops a server, and its task.
type Running = (oneshot::Sender<()>, JoinHandle<()>);

impl Api {
    pub fn url(&self) -> String {
        let s = if self.tls.is_some() { "s" } else { "" };
        format!("http{s}://{}", self.address)
    }

    pub async fn start() -> Self {
        Self::with_table(&TableOptions::default()).await
    }

    pub async fn with_table(options: &TableOptions) -> Self {
        Self::of(options, None).await
    }

    /// Starts a server that speaks TLS.
    pub async fn secure(options: &TableOptions, tls: Tls) -> Self {
        Self::of(options, Some(tls)).await
    }

    async fn of(options: &TableOptions, tls: Option<Tls>) -> Self {
        let dir = hotread_testkit::folder();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut api = Self {
            address,
            running: None,
            dir,
            tls,
        };
        let table = TableName::new("t").unwrap();
        let store = open(&api.dir).await;
        store.create_table(&table, options.clone()).unwrap();
        drop(store);
        api.serve(listener).await;
        api
    }

    async fn serve(&mut self, listener: TcpListener) {
        let store = open(&self.dir).await;
        let goodbye = Duration::from_millis(100);
        self.running = Some(serve(store, listener, self.tls.clone(), goodbye));
    }

    pub async fn stop(&mut self) {
        let (stop, served) = self.running.take().unwrap();
        stop.send(()).unwrap();
        served.await.unwrap();
    }

    pub async fn start_again(&mut self) {
        self.serve(listen_again(self.address)).await;
    }

    pub async fn client(&self, token: Option<&str>) -> Client {
        let url = self.url();
        let often = Duration::from_millis(50);
        let mut builder = Client::builder(&url).name("test").ping_every(often);
        if let Some(token) = token {
            builder = builder.token(token);
        }
        builder.build().unwrap()
    }
}

/// Two servers over one store, and so with the same epochs and positions.
pub struct Pair {
    pub addresses: Vec<SocketAddr>,
    running: Vec<Option<Running>>,
    store: Store,
}

impl Pair {
    /// Starts both, with a table `t`.
    pub async fn start() -> Self {
        let store = Store::temporary().unwrap();
        let table = TableName::new("t").unwrap();
        store.create_table(&table, TableOptions::default()).unwrap();
        let mut pair = Self {
            addresses: Vec::new(),
            running: Vec::new(),
            store,
        };
        for at in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            pair.addresses.push(listener.local_addr().unwrap());
            pair.running.push(None);
            pair.serve(at, listener);
        }
        pair
    }

    fn serve(&mut self, at: usize, listener: TcpListener) {
        // Longer than any test: a client that waits for it hangs.
        self.running[at] = Some(serve(self.store.clone(), listener, None, HANG));
    }

    /// Returns the addresses as a client takes them.
    pub fn url(&self) -> String {
        list(&self.addresses)
    }

    /// Returns the server with this address, as a client names it.
    pub fn named(&self, name: &str) -> usize {
        let mut names = self
            .addresses
            .iter()
            .map(|address| format!("http://{address}"));
        names.position(|other| other == name).unwrap()
    }

    /// Ends a server without a word.
    pub async fn kill(&mut self, at: usize) {
        let (_stop, served) = self.running[at].take().unwrap();
        served.abort();
        assert!(served.await.unwrap_err().is_cancelled());
    }

    /// Stops a server, which takes leave of its clients.
    pub async fn stop(&mut self, at: usize) {
        let (stop, served) = self.running[at].take().unwrap();
        stop.send(()).unwrap();
        served.await.unwrap();
    }

    pub fn start_again(&mut self, at: usize) {
        self.serve(at, listen_again(self.addresses[at]));
    }
}

/// Returns addresses as a client takes them.
pub fn list(addresses: &[SocketAddr]) -> String {
    let urls = addresses.iter().map(|address| format!("http://{address}"));
    urls.collect::<Vec<_>>().join(", ")
}

/// Returns the number of snapshots that a server has sent.
pub async fn snapshots(server: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let mut lines = answer.lines();
    let count = lines.find_map(|line| line.strip_prefix("hotread_snapshots_total "));
    let count = count.expect("a counter of snapshots");
    count.trim().parse().unwrap()
}

fn listen_again(address: SocketAddr) -> TcpListener {
    let listener = hotread_testkit::listen_again(address);
    TcpListener::from_std(listener).unwrap()
}

fn serve(
    store: Store,
    listener: TcpListener,
    tls: Option<Tls>,
    goodbye_spread: Duration,
) -> Running {
    let mut builder = Server::builder(store);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let server = builder
        .heartbeat(Duration::from_millis(200))
        .goodbye_spread(goodbye_spread)
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        server.serve(listener, stopped).await.unwrap();
    });
    (stop, served)
}

/// Opens the store, as soon as the previous server has closed it.
async fn open(dir: &TempDir) -> Store {
    let path = dir.path().join("test.db");
    let opening = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        loop {
            match Store::open(&path) {
                Ok(store) => return store,
                Err(error) => assert!(began.elapsed() < HANG, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    opening.await.unwrap()
}
