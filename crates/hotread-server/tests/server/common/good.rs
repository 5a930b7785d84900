//! Clients that follow the rules, and must be served whatever the others do.

use crate::common::replica::Replica;
use crate::common::victim::BUSY;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

/// Address of the honest clients, which differs from the attackers'.
pub(crate) const FROM: &str = "127.0.0.2";
/// Time after which a test counts as hanging.
const HANG: Duration = Duration::from_secs(600);

/// A replica that follows the busy table, and a caller that writes and reads over HTTP.
pub(crate) struct Good {
    followed: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    tasks: [JoinHandle<()>; 2],
}

impl Good {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (followed, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (at, answers) = (followed.clone(), asked.clone());
        let follow = tokio::spawn(async move {
            let mut replica = Replica::coming_from(FROM, address, BUSY);
            for seq in 1.. {
                replica.until(seq).await;
                let seq = replica.position().unwrap().seq;
                assert!(at.fetch_max(seq, Ordering::Relaxed) <= seq);
            }
        });
        let ask = tokio::spawn(async move {
            for n in 0.. {
                ask(address, n).await;
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            followed,
            asked,
            tasks: [follow, ask],
        }
    }

    /// Waits until both have made progress.
    pub(crate) async fn is_served(&self) {
        let now = || {
            let (followed, asked) = (&self.followed, &self.asked);
            (
                followed.load(Ordering::Relaxed),
                asked.load(Ordering::Relaxed),
            )
        };
        let (followed, asked) = now();
        let served = async {
            loop {
                let task = self.tasks.iter().find(|task| task.is_finished());
                assert!(task.is_none(), "a client that keeps to the rules failed");
                let (to, answers) = now();
                if to >= followed + 10 && answers >= asked + 3 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(HANG, served).await.expect("it hangs");
    }
}

impl Drop for Good {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Writes a record, and reads it.
async fn ask(address: SocketAddr, n: u64) {
    let body = format!(r#"{{"value":{n}}}"#);
    let length = body.len();
    let put = format!(
        "PUT /v1/tables/{BUSY}/records/good HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}\
         GET /v1/tables/{BUSY}/records/good HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{FROM}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(put.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(HANG, read).await.unwrap().unwrap();
    assert_eq!(answer.matches("HTTP/1.1 20").count(), 2, "{answer}");
    assert!(answer.contains(&format!(r#""value":{n},"#)), "{answer}");
}
