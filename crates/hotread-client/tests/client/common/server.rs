//! The real server, over a store that is dropped with it.

use super::HANG;
use hotread_client::{Client, TableName, TableOptions};
use hotread_server::{Server, Tls};
use hotread_store::Store;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server over a store in a temporary directory, with a table `t`.
pub struct Api {
    pub address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    dir: TempDir,
    tls: Option<Tls>,
}

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
        let mut builder = Server::builder(open(&self.dir).await);
        if let Some(tls) = &self.tls {
            builder = builder.tls(tls.clone());
        }
        let server = builder
            .heartbeat(Duration::from_millis(200))
            .goodbye_spread(Duration::from_millis(100))
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.serve(listener, stopped).await.unwrap();
        });
        self.running = Some((stop, served));
    }

    pub async fn stop(&mut self) {
        let (stop, served) = self.running.take().unwrap();
        stop.send(()).unwrap();
        served.await.unwrap();
    }

    pub async fn start_again(&mut self) {
        let listener = hotread_testkit::listen_again(self.address);
        let listener = TcpListener::from_std(listener).unwrap();
        self.serve(listener).await;
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
