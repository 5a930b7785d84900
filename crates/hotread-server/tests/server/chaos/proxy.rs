//! A connection between replicas and the server that delays, cuts, truncates and repeats bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Number of each fault: delayed, cut, truncated, repeated.
pub(crate) type Done = Arc<[AtomicU64; 4]>;
/// Divisor of the share of pieces with a fault.
const ONE_IN: u64 = 12;
/// Longest delay.
const DELAY_MS: u64 = 40;

/// Starts the proxy, which listens at the returned address until the runtime ends.
pub(crate) async fn start(to: SocketAddr, seed: u64) -> (SocketAddr, Done) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let done = Done::default();
    let count = done.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((from, _)) = listener.accept().await else {
                continue;
            };
            let (count, random) = (count.clone(), Random(seed ^ (n << 32)));
            tokio::spawn(async move {
                // While the server is away, the connection is closed.
                let Ok(to) = TcpStream::connect(to).await else {
                    return;
                };
                let (mut a, mut b) = (random, Random(random.0 ^ 1));
                let ((r1, w1), (r2, w2)) = (from.into_split(), to.into_split());
                tokio::select! {
                    () = pass(r1, w2, &mut a, &count) => {}
                    () = pass(r2, w1, &mut b, &count) => {}
                }
            });
        }
    });
    (address, done)
}

/// Forwards bytes, one way, until one end is gone or they are cut.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    random: &mut Random,
    done: &Done,
) {
    let mut bytes = [0; 4_096];
    loop {
        // Of any size, so that data is torn anywhere.
        let most = 1 + random.below(bytes.len() as u64) as usize;
        let Ok(read @ 1..) = from.read(&mut bytes[..most]).await else {
            return;
        };
        let mut piece = &bytes[..read];
        let fault = random.below(4 * ONE_IN) as usize;
        if let Some(done) = done.get(fault) {
            done.fetch_add(1, Ordering::Relaxed);
        }
        match fault {
            0 => tokio::time::sleep(Duration::from_millis(random.below(DELAY_MS))).await,
            1 => return,
            2 => {
                piece = &piece[..random.below(read as u64) as usize];
                let _ = to.write_all(piece).await;
                return;
            }
            3 if to.write_all(piece).await.is_err() => return,
            _ => {}
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// SplitMix64.
#[derive(Clone, Copy)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
