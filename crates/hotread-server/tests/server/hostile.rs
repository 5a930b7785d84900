//! A malicious peer: whatever it does, the server answers as specified, stays within a stated amount of
//! memory, and serves the others.

use crate::common::good::Good;
use crate::common::peer::{BINARY, HANG, PING, PONG, Peer, TEXT, head, message, upgrade};
use crate::common::replica::Replica;
use crate::common::victim::{BUFFERED, BUSY, LARGE, PATIENCE, RECORDS, Victim};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

const HELLO: &str = r#"{"hello":{"v":1}}"#;
/// The hello of an events consumer, which loads no snapshot.
const EVENTS: &str = r#"{"hello":{"v":1,"snapshot":false}}"#;
/// Connections of one address that suffice for most tests.
const CONNECTIONS: usize = 600;

/// Growth of the server's memory that an attack may cause, in bytes: the counted memory, and an allowance
/// for the rest. That is the parts that snapshots share, the recent changes of two tables, 20 KiB for each
/// of some hundred connections, and memory that the allocator keeps.
const MAY_GROW: usize = BUFFERED + (32 << 20);

/// A server under attack, with clients that must be served.
struct Attacked {
    // Dropped before the server, which is the next field.
    good: Good,
    victim: Victim,
    before: usize,
}

impl Attacked {
    async fn start() -> Self {
        Self::with(CONNECTIONS, PATIENCE).await
    }

    async fn with(connections: usize, patience: Duration) -> Self {
        let victim = Victim::start(connections, patience).await;
        let good = Good::start(victim.address);
        good.is_served().await;
        let before = victim.resident();
        assert!(before > 12 << 20, "the large table is in memory: {before}");
        Self {
            good,
            victim,
            before,
        }
    }

    fn at(&self) -> SocketAddr {
        self.victim.address
    }

    /// Checks the guarantees. Call it during the attack, and after it.
    async fn holds(&mut self) {
        self.good.is_served().await;
        assert!(self.victim.is_running());
        let now = self.victim.resident();
        let grown = now.saturating_sub(self.before);
        let (mib, may) = (grown >> 20, MAY_GROW >> 20);
        println!("it has grown by {mib} MiB");
        assert!(
            grown <= MAY_GROW,
            "it has grown by {mib} MiB; at most {may}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_ends_the_session_and_says_so() {
    let mut attacked = Attacked::start().await;
    let deep = |of: usize| format!(r#"{{"hello":{}"#, "[".repeat(of));
    let mut unmasked = message(TEXT, HELLO.as_bytes());
    unmasked.drain(2..6);
    unmasked[1] &= 0x7f;
    let reserved = message(TEXT | 0x70, HELLO.as_bytes());
    let long_control = message(PING, &[0; 126]);
    let continued = message(0x80, b"more");
    for (what, bytes) in [
        ("no JSON", message(TEXT, b"hello")),
        ("no object", message(TEXT, b"[]")),
        ("nothing", message(TEXT, b"")),
        (
            "two kinds",
            message(TEXT, br#"{"ack":{"seq":1},"ping":{"n":1}}"#),
        ),
        ("ack before hello", message(TEXT, br#"{"ack":{"seq":0}}"#)),
        ("deeply nested", message(TEXT, deep(8_000).as_bytes())),
        (
            "not UTF-8",
            message(TEXT, b"{\"hello\":{\"v\":1,\"name\":\"\xff\xfe\"}}"),
        ),
        ("binary", message(BINARY, HELLO.as_bytes())),
        ("not masked", unmasked),
        ("reserved bits", reserved),
        ("a kind that there is not", message(0x83, b"x")),
        ("a long control message", long_control),
        ("the rest of nothing", continued),
        (
            "one byte too large",
            message(TEXT, " ".repeat(8_193).as_bytes()),
        ),
        ("a gibibyte", head(TEXT, 1 << 30)),
        ("all that can be said", head(TEXT, u64::MAX >> 1)),
    ] {
        let mut peer = Peer::upgraded(attacked.at(), BUSY).await;
        peer.write(&bytes).await.unwrap();
        let end = peer.end().await;
        assert_eq!(end, ("error".into(), "PROTOCOL_ERROR".into()), "{what}");
    }
    // In fragments that together exceed the largest frame, and without an end.
    let mut peer = Peer::upgraded(attacked.at(), BUSY).await;
    let mut fragments = message(0x01, &[b' '; 4_000]);
    for _ in 0..4 {
        fragments.extend(message(0x00, &[b' '; 4_000]));
    }
    peer.write(&fragments).await.unwrap();
    assert_eq!(peer.end().await.1, "PROTOCOL_ERROR");
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_the_session_and_cost_the_others_nothing() {
    let mut attacked = Attacked::start().await;
    let nack = r#"{"nack":{"seq":1,"key":"k","reason":"no"}}"#;
    let floods = [
        (
            "pings",
            message(TEXT, br#"{"ping":{"n":1}}"#),
            "RATE_LIMITED",
        ),
        (
            "acks",
            message(TEXT, br#"{"ack":{"seq":0}}"#),
            "RATE_LIMITED",
        ),
        ("nacks", message(TEXT, nack.as_bytes()), "RATE_LIMITED"),
        ("unknown", message(TEXT, br#"{"x":1}"#), "RATE_LIMITED"),
        ("hellos", message(TEXT, EVENTS.as_bytes()), "PROTOCOL_ERROR"),
        ("WebSocket pings", message(PING, b""), "RATE_LIMITED"),
        ("WebSocket pongs", message(PONG, b""), "RATE_LIMITED"),
    ];
    let mut attack = JoinSet::new();
    for (what, flood, code) in floods {
        for _ in 0..5 {
            let (address, flood) = (attacked.at(), flood.repeat(5_000));
            attack.spawn(async move {
                let mut peer = Peer::greeted(address, BUSY, EVENTS).await;
                // The connection may be closed before all of it is sent.
                let _ = peer.write(&flood).await;
                (what, peer.end().await.1, code)
            });
        }
    }
    attacked.good.is_served().await;
    while let Some(ended) = attack.join_next().await {
        let (what, got, wanted) = ended.unwrap();
        assert_eq!(got, wanted, "{what}");
    }
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_empty_fragments_end_the_session() {
    let mut attacked = Attacked::start().await;
    let mut attack = JoinSet::new();
    for _ in 0..10 {
        let address = attacked.at();
        attack.spawn(async move {
            let mut peer = Peer::greeted(address, BUSY, EVENTS).await;
            // The beginning of a message that never ends, and has no content.
            peer.write(&message(0x01, b"")).await.unwrap();
            let flood = message(0x00, b"").repeat(100_000);
            let _ = peer.write(&flood).await;
            peer.end().await.1
        });
    }
    attacked.good.is_served().await;
    while let Some(ended) = attack.join_next().await {
        assert_eq!(ended.unwrap(), "RATE_LIMITED");
    }
    // A few fragments are harmless.
    let mut peer = Peer::greeted(attacked.at(), BUSY, EVENTS).await;
    let ping = br#"{"ping":{"n":77}}"#;
    peer.write(&message(0x01, b"")).await.unwrap();
    for byte in ping {
        peer.write(&message(0x00, &[*byte])).await.unwrap();
    }
    peer.write(&message(0x80, b"")).await.unwrap();
    loop {
        let frame = peer.hear().await.expect("it goes on");
        if frame.contains(r#""n":77"#) {
            break;
        }
    }
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_nested_bodies_are_refused_and_not_kept() {
    let mut attacked = Attacked::start().await;
    let put = |length: usize| {
        format!(
            "PUT /v1/tables/{BUSY}/records/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut requests = Vec::new();
    for open in ["[", r#"{"a":"#] {
        let deep = format!(r#"{{"value":{}"#, open.repeat(2_000_000 / open.len()));
        requests.push((put(deep.len()) + &deep, 400, "INVALID_VALUE BAD_REQUEST"));
        let deep = deep.replacen("value", "other", 1);
        requests.push((put(deep.len()) + &deep, 400, "BAD_REQUEST"));
    }
    let deep = format!(r#"{{"value":{}1{}}}"#, "[".repeat(101), "]".repeat(101));
    requests.push((put(deep.len()) + &deep, 400, "INVALID_VALUE"));
    requests.push((put(3 << 20), 413, "TOO_LARGE"));
    requests.push((put(i64::MAX as usize), 413, "TOO_LARGE"));
    let chunked = put(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    requests.push((chunked + &chunk.repeat(4), 413, "TOO_LARGE"));
    let header = "x".repeat(20_000);
    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {header}\r\nConnection: close\r\n\r\n"
    );
    requests.push((long, 431, "TOO_LARGE"));
    let mut attack = JoinSet::new();
    for _ in 0..8 {
        for (request, status, codes) in requests.clone() {
            let address = attacked.at();
            attack.spawn(async move {
                let (got, code) = Peer::asks(address, request.as_bytes()).await;
                // The requests together may need more than the server's memory.
                let busy = code == "BUSY";
                let as_said = got == status && codes.contains(&code);
                assert!(as_said || busy, "{got} {code}; {status} {codes}");
            });
        }
    }
    attacked.good.is_served().await;
    while let Some(ended) = attack.join_next().await {
        ended.unwrap();
    }
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_peers_are_cut_off_wherever_they_stop() {
    let mut attacked = Attacked::start().await;
    let address = attacked.at();
    let mut attack = JoinSet::new();
    let up = upgrade(BUSY, "hotread.v1+json");
    let body = format!(
        "PUT /v1/tables/{BUSY}/records/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"value\""
    );
    for _ in 0..40 {
        // No bytes; half a head; half an upgrade; half a body. One byte more from time to time.
        for (begin, drip, status) in [
            (String::new(), "", ""),
            ("GET /healthz HTTP/1.1\r\nX: ".to_owned(), "x", ""),
            (up[..up.len() - 9].to_owned(), "x", ""),
            (body.clone(), " ", "408"),
        ] {
            attack.spawn(async move {
                let mut peer = Peer::connect(address).await;
                peer.write(begin.as_bytes()).await.unwrap();
                let (mut read, mut write) = peer.0.split();
                let dribble = async {
                    loop {
                        tokio::time::sleep(PATIENCE / 4).await;
                        if tokio::io::AsyncWriteExt::write_all(&mut write, drip.as_bytes())
                            .await
                            .is_err()
                        {
                            std::future::pending::<()>().await;
                        }
                    }
                };
                let mut answer = Vec::new();
                tokio::select! {
                    () = dribble => {}
                    read = tokio::time::timeout(HANG, tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer)) => {
                        let _ = read.expect("it hangs");
                    }
                }
                let answer = String::from_utf8(answer).unwrap();
                assert_eq!(answer.split(' ').nth(1).unwrap_or_default(), status, "{answer}");
            });
        }
        // An upgrade, and no frame; half a frame; hello, and no further frame.
        for said in [
            Vec::new(),
            message(TEXT, HELLO.as_bytes())[..9].to_vec(),
            message(TEXT, EVENTS.as_bytes()),
        ] {
            attack.spawn(async move {
                let mut peer = Peer::upgraded(address, BUSY).await;
                peer.write(&said).await.unwrap();
                assert_eq!(peer.end().await, ("error".into(), "TIMEOUT".into()));
            });
        }
    }
    attacked.holds().await;
    while let Some(ended) = attack.join_next().await {
        ended.unwrap();
    }
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_made_while_the_server_is_stopped_are_accepted() {
    let mut attacked = Attacked::start().await;
    let address = attacked.at();
    attacked.victim.signal(Signal::STOP);
    let mut silent = JoinSet::new();
    for _ in 0..CONNECTIONS / 2 {
        let mut peer = Peer::connect(address).await;
        silent.spawn(async move { peer.rest().await });
    }
    attacked.victim.signal(Signal::CONT);
    // Connections are accepted in the order of arrival, so that the last is cut off last.
    let began = Instant::now();
    let last = Peer::connect(address).await.rest().await;
    assert!(last.is_empty(), "nothing is said to those who say nothing");
    let within = 10 * began.elapsed();
    let all = tokio::time::timeout(within, async {
        while let Some(ended) = silent.join_next().await {
            ended.unwrap();
        }
    });
    let left = all.await.err().map_or(0, |_| silent.len());
    assert_eq!(left, 0, "connections of which the server does not know");
    attacked.holds().await;
}

/// The server's patience with slow peers, and the bytes that honest peers on a slow link read.
const SLOW_PATIENCE: Duration = Duration::from_secs(8);
const SLOW_BYTES: usize = 300_000;

/// Reads at most `most` bytes at `rate` bytes a second, and shows that it is alive. Returns the number of
/// bytes received.
async fn reads_slowly(mut peer: Peer, session: bool, rate: usize, most: usize) -> usize {
    const STEPS: u32 = 10;
    let mut some = vec![0; rate / STEPS as usize];
    let (mut bytes, mut pinged) = (0, Instant::now());
    while bytes < most {
        let read = tokio::time::timeout(HANG, peer.0.read(&mut some)).await;
        match read.expect("it hangs") {
            Ok(read @ 1..) => bytes += read,
            _ => break,
        }
        if session && pinged.elapsed() >= Duration::from_secs(1) {
            pinged = Instant::now();
            let _ = peer.say(TEXT, br#"{"ping":{"n":1}}"#).await;
        }
        tokio::time::sleep(Duration::from_secs(1) / STEPS).await;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_trickle_are_cut_off_and_slow_links_are_served() {
    let mut attacked = Attacked::with(CONNECTIONS, SLOW_PATIENCE).await;
    let address = attacked.at();
    // One after another, so that each finds the memory for its page.
    let asks = async |records: usize| {
        let request = format!(
            "GET /v1/tables/{LARGE}/records?limit={records} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let mut peer = Peer::connect(address).await;
        peer.write(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        peer.0.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        peer
    };
    let (mut trickling, mut slow) = (JoinSet::new(), JoinSet::new());
    for n in 0..5 {
        // Fewer than may load at a time.
        let peer = asks(1_000).await;
        trickling.spawn(reads_slowly(peer, false, 1_000, usize::MAX));
        let peer = Peer::greeted(address, LARGE, HELLO).await;
        trickling.spawn(reads_slowly(peer, true, 1_000, usize::MAX));
        if n < 2 {
            let peer = asks(100).await;
            slow.spawn(reads_slowly(peer, false, 20_000, SLOW_BYTES));
            let peer = Peer::greeted(address, LARGE, HELLO).await;
            slow.spawn(reads_slowly(peer, true, 20_000, SLOW_BYTES));
        }
    }
    attacked.holds().await;
    while let Some(read) = slow.join_next().await {
        let read = read.unwrap();
        assert!(read >= SLOW_BYTES, "cut off after {read} bytes");
    }
    // Slow peers continue to read what the system has buffered; the server has dropped them.
    let open = open_connections(address).await;
    assert!(open < 8, "{open} connections");
    assert_eq!(trickling.len(), 10);
    attacked.holds().await;
}

/// Returns the number of the server's connections.
async fn open_connections(address: SocketAddr) -> usize {
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut peer = Peer::connect(address).await;
    peer.write(ask.as_bytes()).await.unwrap();
    let answer = String::from_utf8(peer.rest().await).unwrap();
    let mut lines = answer.lines();
    let open = lines.find_map(|line| line.strip_prefix("hotread_connections "));
    open.expect("a gauge of connections")
        .trim()
        .parse()
        .unwrap()
}

/// Returns the number of sessions, as the server reports them.
async fn sessions(address: SocketAddr) -> usize {
    let ask = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut peer = Peer::connect(address).await;
    peer.write(ask.as_bytes()).await.unwrap();
    let answer = String::from_utf8(peer.rest().await).unwrap();
    answer.matches(r#""peer":"127.0.0.1:"#).count()
}

async fn none_left(address: SocketAddr) {
    let gone = async {
        while sessions(address).await > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(HANG, gone).await.expect("it hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_never_read_and_never_close_lose_their_sessions() {
    let mut attacked = Attacked::start().await;
    let address = attacked.at();
    let mut deaf = Vec::new();
    for _ in 0..32 {
        deaf.push(Peer::greeted(address, LARGE, HELLO).await);
    }
    // The peers do not read, but show that they are alive while the server listens.
    let mut lives = JoinSet::new();
    for mut peer in deaf {
        lives.spawn(async move {
            let ping = message(TEXT, br#"{"ping":{"n":1}}"#);
            while peer.write(&ping).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    attacked.holds().await;
    while let Some(ended) = lives.join_next().await {
        ended.unwrap();
    }
    none_left(address).await;
    // A session that the server has ended, whose peer does not answer the close.
    let mut stays = Vec::new();
    for _ in 0..50 {
        let mut peer = Peer::greeted(address, BUSY, EVENTS).await;
        peer.say(TEXT, EVENTS.as_bytes()).await.unwrap();
        assert_eq!(peer.end().await.1, "PROTOCOL_ERROR");
        stays.push(peer);
    }
    none_left(address).await;
    for mut peer in stays {
        assert!(
            peer.rest().await.is_empty(),
            "the connection is closed as well"
        );
    }
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_abandoned_midway_keep_no_session_from_loading() {
    let mut attacked = Attacked::start().await;
    let address = attacked.at();
    let mut attack = JoinSet::new();
    for _ in 0..150 {
        attack.spawn(async move {
            let mut peer = Peer::greeted(address, LARGE, HELLO).await;
            // Some leave before they get a permit, some with a part half read.
            for _ in 0..3 {
                let heard = tokio::time::timeout(Duration::from_millis(300), peer.hear()).await;
                if !matches!(heard, Ok(Some(_))) {
                    break;
                }
            }
        });
    }
    attacked.holds().await;
    let mut loads = Replica::coming_from("127.0.0.2", address, LARGE);
    loads.until_state(|state| state.len() >= RECORDS).await;
    while let Some(ended) = attack.join_next().await {
        ended.unwrap();
    }
    none_left(address).await;
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_the_history_who_take_nothing_in_hold_little() {
    let mut attacked = Attacked::start().await;
    let address = attacked.at();
    let epoch = {
        let mut peer = Peer::greeted(address, BUSY, EVENTS).await;
        let welcome = peer.hear().await.unwrap();
        let welcome: serde_json::Value = serde_json::from_str(&welcome).unwrap();
        welcome["welcome"]["epoch"].as_str().unwrap().to_owned()
    };
    // As far back as the history reaches, and beyond the changes kept in memory.
    let hello =
        format!(r#"{{"hello":{{"v":1,"snapshot":false,"from":{{"epoch":"{epoch}","seq":1}}}}}}"#);
    let events =
        format!("GET /v1/tables/{BUSY}/events?from={epoch}:1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..150 {
        held.push(Peer::greeted(address, BUSY, &hello).await);
        let mut peer = Peer::connect(address).await;
        peer.write(events.as_bytes()).await.unwrap();
        held.push(peer);
    }
    attacked.holds().await;
    drop(held);
    none_left(address).await;
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_up_to_the_limit_leave_room_for_others() {
    // As many as this process may open, and as the server accepts from one address by default.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files = files.unwrap().split_whitespace().nth(3).unwrap();
    let files: usize = files.parse().unwrap_or(usize::MAX);
    let most = (files / 2).saturating_sub(100).min(2_048);
    let mut attacked = Attacked::with(most, HANG).await;
    let address = attacked.at();
    let mut open = Vec::new();
    for n in 0..most + 50 {
        let mut peer = Peer::connect(address).await;
        if n % 4 == 0 {
            let _ = peer
                .write(upgrade(BUSY, "hotread.v1+json").as_bytes())
                .await;
        }
        open.push(peer);
    }
    attacked.holds().await;
    let mut refused = 0;
    for mut peer in open.drain(most..) {
        let answer = String::from_utf8_lossy(&peer.rest().await).into_owned();
        refused += usize::from(answer.contains("TOO_MANY_CONNECTIONS"));
    }
    // Some of the earlier ones, which were silent after the upgrade, may have been closed.
    assert!(refused > 0, "the limit was met");
    drop(open);
    none_left(address).await;
    attacked.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_does_not_offer_the_protocol_is_refused() {
    let attacked = Attacked::start().await;
    let right = upgrade(BUSY, "hotread.v1+json");
    for (request, status) in [
        (upgrade(BUSY, "hotread.v2+json"), 400),
        (upgrade(BUSY, ""), 400),
        (
            right.replace("Sec-WebSocket-Protocol: hotread.v1+json\r\n", ""),
            400,
        ),
        (right.replace("Version: 13", "Version: 12"), 400),
        (right.replace("Upgrade: websocket", "Upgrade: h2c"), 400),
        (right.replace("GET", "POST"), 405),
        (right.replace(BUSY, "none"), 404),
    ] {
        let request = request.replace("Host:", "X: \r\nHost:");
        let closes = request.replace("Connection: Upgrade", "Connection: Upgrade, close");
        let (got, code) = Peer::asks(attacked.at(), closes.as_bytes()).await;
        assert_eq!(got, status, "{code}: {request}");
        assert!(!code.is_empty());
    }
}
