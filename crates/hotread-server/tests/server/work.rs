//! Callers that ask for as much work as they may, and honest callers on other tables that measure the
//! service they get in the meantime.

use crate::common::good::{FROM, Good};
use crate::common::peer::{HANG, PING, Peer, TEXT, upgrade};
use crate::common::victim::{BUFFERED, CHECKED, DRAIN, LARGE, REPLACED, SEARCHED, Victim};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

/// Duration of the measurement during an attack, and of the one before it.
const MEASURED: Duration = Duration::from_secs(3);
/// Longest time of the others' reads and puts during an attack, in addition to four times the time before
/// it. Generous: the tests share the machine, and run unoptimised. Without limits and shares the calls are
/// not answered at all.
const MAY_READ: Duration = Duration::from_secs(3);
const MAY_PUT: Duration = Duration::from_secs(5);
/// Growth of memory: the counted memory and a quarter of it, and the cache of SQLite's writer, which fills
/// in the meantime.
const MAY_GROW: usize = BUFFERED + BUFFERED / 4 + (64 << 20);
/// Part of the growth that may remain: 96 MiB of caches of SQLite's connections, writer and readers, and
/// the recent changes of followed tables.
const STAYS: usize = 120 << 20;
/// Longest time until the rest is returned.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// Connections that attackers may have.
const CONNECTIONS: usize = 600;
const HELLO: &str = r#"{"hello":{"v":1}}"#;

/// One attack at a time, because the attacks share the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Times of answers.
#[derive(Default)]
struct Times {
    reads: Vec<Duration>,
    puts: Vec<Duration>,
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99).div_ceil(100).saturating_sub(1)]
}

/// An honest caller that sends one request after another, for a while.
async fn honest(address: SocketAddr, table: &str, until: Duration) -> Times {
    let began = Instant::now();
    let mut times = Times::default();
    let path = format!("/v1/tables/{table}/records/honest");
    while began.elapsed() < until {
        for (method, body) in [("PUT", r#"{"value":1}"#), ("GET", "")] {
            let began = Instant::now();
            let status = ask(FROM, address, method, &path, body).await.0;
            assert!(matches!(status, 200 | 201), "{method}: {status}");
            let took = began.elapsed();
            match method {
                "PUT" => times.puts.push(took),
                _ => times.reads.push(took),
            }
        }
    }
    times
}

/// Returns the status and the body of an answer. Status 0: the connection ended without one.
async fn ask(
    from: &str,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let asked = async {
        let send = async {
            // The request may be refused before it is read to its end.
            let _ = write.write_all(head.as_bytes()).await;
            let _ = write.write_all(body.as_bytes()).await;
        };
        tokio::join!(send, read.read_to_end(&mut answer))
    };
    let _ = tokio::time::timeout(HANG, asked).await.expect("it hangs");
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

/// Asks as [`ask`] does, from the attackers' address. Returns the refusal, if there is one.
async fn attack(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = ask("127.0.0.1", address, method, path, body).await;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let code = answer["code"].as_str().unwrap_or_default().to_owned();
    (status, code)
}

/// A busy server, an honest caller that has measured its service, and attackers.
struct Measured {
    // Dropped before the server.
    attackers: JoinSet<()>,
    good: Good,
    victim: Victim,
    before: usize,
    quiet: Times,
    _alone: MutexGuard<'static, ()>,
}

impl Measured {
    async fn start() -> Self {
        let alone = ALONE.lock().await;
        let victim = Victim::working(CONNECTIONS).await;
        let good = Good::start(victim.address);
        good.is_served().await;
        let quiet = honest(victim.address, LARGE, MEASURED / 2).await;
        let before = victim.resident();
        Self {
            good,
            victim,
            before,
            quiet,
            _alone: alone,
            attackers: JoinSet::new(),
        }
    }

    fn at(&self) -> SocketAddr {
        self.victim.address
    }

    /// Starts `how_many` attackers that repeat the same action.
    fn attack<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        how_many: usize,
        once: impl Fn(SocketAddr) -> F + Send + Clone + 'static,
    ) {
        let address = self.at();
        for _ in 0..how_many {
            let once = once.clone();
            self.attackers.spawn(async move {
                loop {
                    once(address).await;
                }
            });
        }
    }

    /// Checks that the honest caller is served during the attack, and that the memory is bounded.
    async fn holds(&mut self) {
        let address = self.at();
        let measured = tokio::spawn(honest(address, LARGE, MEASURED));
        let mut grown = 0;
        while !measured.is_finished() {
            let now = self.victim.resident();
            grown = grown.max(now.saturating_sub(self.before));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut times = measured.await.unwrap();
        while let Some(ended) = self.attackers.try_join_next() {
            ended.unwrap();
        }
        let reads = (p99(&mut self.quiet.reads), p99(&mut times.reads));
        let puts = (p99(&mut self.quiet.puts), p99(&mut times.puts));
        let mib = grown >> 20;
        println!(
            "p99 quiet and attacked: reads {reads:?}, puts {puts:?}; {} and {} answers; \
             it has grown by {mib} MiB",
            times.reads.len(),
            times.puts.len()
        );
        assert!(reads.1 <= MAY_READ + 4 * reads.0, "reads: {reads:?}");
        assert!(puts.1 <= MAY_PUT + 4 * puts.0, "puts: {puts:?}");
        assert!(grown <= MAY_GROW, "it has grown by {mib} MiB");
        self.good.is_served().await;
    }

    /// Stops the attackers, and checks that the memory is returned.
    async fn recovers(mut self) {
        self.attackers.shutdown().await;
        let began = Instant::now();
        loop {
            let now = self.victim.resident();
            let grown = now.saturating_sub(self.before);
            if grown <= STAYS {
                println!("back to {} MiB after {:?}", grown >> 20, began.elapsed());
                return;
            }
            let mib = grown >> 20;
            assert!(began.elapsed() < BACK_WITHIN, "{mib} MiB stay");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn search() -> String {
    // Each word is another prefix of the same words.
    let words = "w* wa* wab* wabc* wb* wbc* wc* wd* we* wf* wg* wh* wi* wj* wabcd* wbcd* wcd*";
    let words = words.replace(' ', "+");
    format!("/v1/tables/{SEARCHED}/search?q={words}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_leave_the_reads_of_other_tables_alone() {
    let mut measured = Measured::start().await;
    measured.attack(24, |address| async move {
        let (status, code) = attack(address, "GET", &search(), "").await;
        let ended = matches!(
            (status, code.as_str()),
            (422, "TOOK_TOO_LONG") | (503, "BUSY")
        );
        assert!(status == 200 || ended, "{status} {code}");
    });
    measured.holds().await;
    measured.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_leave_other_tables_alone() {
    let mut measured = Measured::start().await;
    let parts: Vec<_> = (0..45)
        .map(|n| {
            let next = n + 1;
            format!(r##""p{n}":{{"allOf":[{{"$ref":"#/$defs/p{next}"}},{{"$ref":"#/$defs/p{next}"}}]}}"##)
        })
        .collect();
    let parts = parts.join(",");
    let exploding =
        format!(r##"{{"schema":{{"$ref":"#/$defs/p0","$defs":{{{parts},"p45":true}}}}}}"##);
    let made = attack(measured.at(), "PUT", "/v1/tables/exploding", &exploding).await;
    assert_eq!(made, (400, "INVALID_OPTIONS".to_owned()));

    // As much as a check may cost, and more.
    measured.attack(16, |address| async move {
        for items in [10_000, 100_000] {
            let body = format!(r#"{{"value":[{}]}}"#, vec!["1"; items].join(","));
            let path = format!("/v1/tables/{CHECKED}/records/k");
            let (status, code) = attack(address, "PUT", &path, &body).await;
            let refused = matches!(
                (status, code.as_str()),
                (422, "SCHEMA_VIOLATION") | (503, "BUSY")
            );
            assert!(matches!(status, 200 | 201) || refused, "{status} {code}");
        }
    });
    measured.holds().await;
    measured.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacements_leave_the_writers_of_other_tables_alone() {
    let mut measured = Measured::start().await;
    let body = |records: usize, value: u8| {
        let records: Vec<_> = (0..records)
            .map(|n| format!(r#"{{"key":"{n}","value":{value}}}"#))
            .collect();
        format!(r#"{{"records":[{}]}}"#, records.join(","))
    };
    let (one, two, large) = (body(REPLACED, 1), body(REPLACED, 2), body(900_000, 1));
    assert!(large.len() < BUFFERED / 4, "only its records are too many");
    let bodies = std::sync::Arc::new([one, large, two]);
    measured.attack(3, move |address| {
        let bodies = bodies.clone();
        async move {
            for (body, least) in bodies.iter().zip([200, 413, 200]) {
                let path = format!("/v1/tables/{CHECKED}/replace");
                let (status, code) = attack(address, "POST", &path, body).await;
                let expected = [least, 413, 503, 0].contains(&status);
                assert!(expected, "{status} {code}");
            }
        }
    });
    measured.holds().await;
    measured.recovers().await;
}

async fn epoch_of_large(address: SocketAddr) -> String {
    let path = format!("/v1/tables/{LARGE}");
    let (_, table) = ask("127.0.0.1", address, "GET", &path, "").await;
    let table: Value = serde_json::from_str(&table).unwrap();
    table["epoch"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_large_answers_are_bounded_in_memory() {
    let mut measured = Measured::start().await;
    let epoch = epoch_of_large(measured.at()).await;
    // The first change is the whole table.
    measured.attack(16, move |address| {
        let path = format!("/v1/tables/{LARGE}/changes?from={epoch}:0");
        async move {
            let (status, code) = attack(address, "GET", &path, "").await;
            let refused = matches!((status, code.as_str()), (503, "BUSY") | (413, "TOO_LARGE"));
            assert!(status == 200 || refused, "{status} {code}");
        }
    });
    measured.attack(16, |address| async move {
        let path = format!("/v1/tables/{LARGE}/records?limit=1000");
        let (status, code) = attack(address, "GET", &path, "").await;
        assert!(status == 200 || code == "BUSY", "{status} {code}");
    });
    measured.holds().await;
    measured.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_sessions_that_do_not_read_are_bounded_in_memory() {
    let mut measured = Measured::start().await;
    let epoch = epoch_of_large(measured.at()).await;
    measured.attack(60, move |address| {
        let request = format!(
            "GET /v1/tables/{LARGE}/events?from={epoch}:0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        async move {
            let mut peer = Peer::connect(address).await;
            let _ = peer.write(request.as_bytes()).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    measured.attack(300, |address| async move {
        let mut peer = Peer::connect(address).await;
        let request = upgrade(LARGE, "hotread.v1+json");
        let mut head = [0; 12];
        let upgraded = async {
            peer.write(request.as_bytes()).await?;
            peer.0.read_exact(&mut head).await
        };
        let upgraded = upgraded.await;
        if upgraded.is_err() || &head != b"HTTP/1.1 101" {
            // The server has reached its limit of calls.
            return tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if peer.say(TEXT, HELLO.as_bytes()).await.is_err() {
            return;
        }
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let ping = format!(r#"{{"ping":{{"n":{n}}}}}"#);
            let pinged = peer.say(TEXT, ping.as_bytes()).await;
            if pinged.is_err() || peer.say(PING, b"").await.is_err() {
                return;
            }
        }
    });
    measured.holds().await;
    measured.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_kept_to_whatever_runs() {
    let mut measured = Measured::start().await;
    for _ in 0..24 {
        let address = measured.at();
        measured.attackers.spawn(async move {
            attack(address, "GET", &search(), "").await;
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let Measured {
        mut victim,
        good,
        attackers: _attackers,
        _alone,
        ..
    } = measured;
    drop(good);
    let stopped = tokio::task::spawn_blocking(move || victim.stop(DRAIN + Duration::from_secs(20)));
    let stopped = stopped.await.unwrap();
    println!("stopped within {stopped:?}");
    assert!(stopped.is_some(), "it continues");
}
