//! A server whose system refuses it threads, or a time that HTTP can write. A small library, which is
//! compiled here with the system's C compiler and preloaded, acts as the system.

#![cfg(target_os = "linux")]

use crate::common::peer::Peer;
use crate::common::victim::{BUSY, KEEP_ALIVE, Victim};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const HELLO: &str = r#"{"hello":{"v":1}}"#;
/// Longer than the server keeps an idle thread.
const IDLE: Duration = KEEP_ALIVE.saturating_mul(4);

/// Time between two looks at the server's standard error.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Compiles the library that acts as the system.
fn compile(library: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/preload/faults.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(library)
        .args([source, "-ldl"])
        .status();
    assert!(compiled.expect("there is a C compiler").success());
}

/// A server with the library, and the file whose presence activates the library.
struct Troubled {
    victim: Victim,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Troubled {
    async fn start(by: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (library, file) = (dir.path().join("faults.so"), dir.path().join("file"));
        // The server's process runs this code, too.
        if hotread_testkit::part().is_none() {
            compile(&library);
        }
        let environment = vec![("LD_PRELOAD", library.into()), (by, file.clone().into())];
        Self {
            victim: Victim::with(environment).await,
            file,
            _dir: dir,
        }
    }

    fn begin(&self) {
        std::fs::write(&self.file, "").unwrap();
    }

    fn end(&self) {
        std::fs::remove_file(&self.file).unwrap();
    }

    fn has_not_panicked(&mut self) {
        let said = self.victim.errors();
        assert!(!said.contains("panicked"), "{said}");
        assert!(self.victim.is_running());
    }

    /// Returns the output of `asked`, unless the server panics in the meantime: then there may be no answer.
    async fn answers<T>(&mut self, asked: impl Future<Output = T>) -> T {
        let mut asked = std::pin::pin!(asked);
        loop {
            match tokio::time::timeout(LOOK_EVERY, asked.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) => self.has_not_panicked(),
            }
        }
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Peer::asks(address, request.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_further_threads_tables_are_followed_or_refused() {
    let mut troubled = Troubled::start("HOTREAD_NO_THREADS").await;
    let address = troubled.victim.address;
    let names: Vec<_> = (0..8).map(|n| format!("further{n}")).collect();
    for name in &names {
        let (status, code) = ask(address, "PUT", &format!("/v1/tables/{name}"), "{}").await;
        assert_eq!(status, 201, "{code}");
    }
    // By then the threads for all of this are gone.
    tokio::time::sleep(IDLE).await;
    troubled.begin();
    let follow = async {
        for name in names.iter().chain([&BUSY.to_owned()]) {
            let mut peer = Peer::greeted(address, name, HELLO).await;
            let frame = peer.hear().await.expect("an answer");
            let answered = frame.starts_with(r#"{"welcome""#) || frame.starts_with(r#"{"error""#);
            assert!(answered, "{frame}");
            let path = format!("/v1/tables/{name}/records/k");
            let (status, code) = ask(address, "PUT", &path, r#"{"value":1}"#).await;
            assert!(matches!(status, 200 | 201 | 503), "{status} {code}");
        }
    };
    troubled.answers(follow).await;
    troubled.has_not_panicked();
    troubled.end();
    for name in &names {
        let mut peer = Peer::greeted(address, name, HELLO).await;
        let frame = peer.hear().await.expect("an answer");
        assert!(frame.starts_with(r#"{"welcome""#), "{frame}");
    }
    troubled.has_not_panicked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_beyond_the_year_9999_is_an_answer() {
    let mut troubled = Troubled::start("HOTREAD_FAR_CLOCK").await;
    let address = troubled.victim.address;
    let path = format!("/v1/tables/{BUSY}/records/k");
    let put = || ask(address, "PUT", &path, r#"{"value":1}"#);
    assert_eq!(put().await.0, 201);
    let mut follows = Peer::greeted(address, BUSY, HELLO).await;
    troubled.begin();
    assert_eq!(put().await, (503, "INTERNAL".to_owned()));
    // Sessions continue, and so does the writer.
    for _ in 0..20 {
        follows.hear().await.expect("it goes on");
    }
    troubled.has_not_panicked();
    troubled.end();
    assert_eq!(put().await.0, 200);
    troubled.has_not_panicked();
}
