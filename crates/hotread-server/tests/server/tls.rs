//! TLS: what a server accepts and refuses, peers that do not speak it, and new certificates under load.

use crate::common::peer::{Peer, TEXT};
use crate::common::secure::{CHECK_EVERY, Client, HOST, Secure, der};
use crate::common::{Api, Reply, hang, table};
use hotread_proto::{Code, Key, Op, Put, Txn, Value};
use hotread_server::{Options, ServeError, Server, ServerBuilder, Store, Tls, TlsError};
use hotread_store::{Role, TableOptions};
use hotread_testkit::certificates::{Authority, Certificate};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::version::TLS12;

/// Time that is far more than a second, and less than that of a test.
const LONG: Duration = Duration::from_secs(60);

fn head_timeout(millis: u64) -> impl FnOnce(ServerBuilder) -> ServerBuilder {
    move |builder| {
        let mut options = Options::default();
        options.head_timeout_ms = millis;
        builder.options(options)
    }
}

/// Reads everything until the connection is closed.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset closes the connection, too.
    let _ = hang(stream.read_to_end(&mut bytes)).await;
    bytes
}

/// Waits until the condition holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(CHECK_EVERY / 5).await;
        }
    };
    hang(wait).await;
}

/// Waits until this number of handshakes has failed: the server counts them once their connections are closed.
async fn failed(server: &Secure, number: u64) {
    let count = async || {
        server
            .metric("hotread_failed_handshakes_total")
            .await
            .unwrap()
    };
    until(async || count().await >= number).await;
    assert_eq!(count().await, number);
}

/// Waits for several checks of the files.
async fn checked() {
    tokio::time::sleep(CHECK_EVERY * 10).await;
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served() {
    let server = Secure::start().await;
    for client in [
        server.client(),
        Client::speaking(&[&TLS12], &server.authority, None),
    ] {
        let stream = client.connect(&server.api).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let reply = server.api.get("/healthz").over(stream).await.unwrap();
        assert_eq!((reply.status, reply.text()), (200, r#"{"ok":true}"#.into()));
    }
    let stranger = Client::new(&Authority::new(), None);
    let refused = stranger.connect(&server.api).await.unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
}

#[tokio::test]
async fn large_bodies_and_answers_pass_in_both_directions() {
    let server = Secure::start().await;
    server.api.create("t", TableOptions::default()).await;
    let value = format!(r#"{{"value":"{}"}}"#, "x".repeat((1 << 20) - 2));
    for key in 0..3 {
        let put = server.api.put(&format!("/v1/tables/t/records/{key}"));
        assert_eq!(server.send(put.json(&value)).await.status, 201);
    }
    let page = server.send(server.api.get("/v1/tables/t/records")).await;
    assert!(page.body.len() >= 3 << 20, "{}", page.body.len());
    // The answer arrives although the body is not read.
    let too_large = server
        .api
        .put("/v1/tables/t/records/k")
        .json("x".repeat(8 << 20));
    let refused = server.send(too_large).await;
    assert_eq!(
        (refused.status, refused.code()),
        (413, Code::TooLarge.to_string())
    );
}

#[tokio::test]
async fn a_host_without_a_port_has_that_of_https() {
    let server = Secure::with(|builder| builder.allowed_hosts(["flags.example:443"])).await;
    let asked = async |host: &str| {
        let ask = server.api.get("/v1/tables").host(host);
        server.send(ask).await.status
    };
    assert_eq!(asked("flags.example").await, 200);
    assert_eq!(asked("flags.example:80").await, 403);
}

#[tokio::test]
async fn a_request_without_tls_is_told_to_use_it() {
    let server = Secure::start().await;
    for bytes in [server.api.get("/healthz").bytes(), b"G".to_vec()] {
        let reply = server.api.send(&bytes).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, Code::TlsFailed.to_string())
        );
        assert!(reply.text().contains("use https://"), "{}", reply.text());
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(
            reply.header("retry-after"),
            None,
            "trying again does not help"
        );
    }
    failed(&server, 2).await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_ended_and_counted() {
    let server = Secure::with(head_timeout(1_000)).await;
    // The head of a record of 500 bytes with a ClientHello, of which little follows.
    let part = b"\x16\x03\x01\x01\xf4\x01\x00\x01\xf0\x03\x03";
    let mut stalled = Vec::new();
    for bytes in [b"".as_slice(), b"\x16", part] {
        for _ in 0..10 {
            let mut stream = server.api.connect().await;
            stream.write_all(bytes).await.unwrap();
            stalled.push(stream);
        }
    }
    let reply = server.send(server.api.get("/healthz")).await;
    assert_eq!(reply.status, 200, "others are served meanwhile");
    for mut stream in stalled {
        let closed = tokio::time::timeout(LONG, rest(&mut stream)).await;
        assert_eq!(closed.expect("the handshake may take any time"), b"");
    }
    failed(&server, 30).await;
    // One that trickles does not get more time.
    let mut stream = server.api.connect().await;
    let began = tokio::time::Instant::now();
    while stream.write_all(b"\x16").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < LONG);
    }
}

#[tokio::test]
async fn a_probe_of_the_port_is_no_failed_handshake() {
    let server = Secure::start().await;
    for _ in 0..3 {
        let mut stream = server.api.connect().await;
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
    }
    failed(&server, 0).await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let server = Secure::start().await;
    let mut number = 1_u64;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let mut next = || {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (number >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    };
    let record = |kind: u8, length: u16, rest: Vec<u8>| {
        let [high, low] = length.to_be_bytes();
        [vec![kind, 3, 1, high, low], rest].concat()
    };
    // A ClientHello that claims 16 MiB, in full records.
    let endless = || {
        let first = [vec![1, 0xff, 0xff, 0xff], vec![0; (16 << 10) - 4]].concat();
        let next = record(22, 16 << 10, vec![0; 16 << 10]);
        [record(22, 16 << 10, first), next.repeat(8)].concat()
    };
    let mut number_failed = 0;
    for bytes in [
        vec![0; 5_000],
        [vec![0], noise(9_999)].concat(),
        [vec![0xff], noise(100_000)].concat(),
        record(22, 0xffff, noise(70_000)),
        record(22, 0, Vec::new()).repeat(1_000),
        record(22, 500, noise(5_000)),
        record(23, 500, noise(5_000)),
        record(21, 2, vec![2, 40]),
        endless(),
    ] {
        let mut peer = Peer(server.api.connect().await);
        // It may be closed before all is sent.
        let _ = peer.write(&bytes).await;
        let _ = hang(peer.0.shutdown()).await;
        let answer = peer.rest().await;
        assert!(answer.len() <= 64, "an alert at most: {answer:?}");
        number_failed += 1;
        failed(&server, number_failed).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_in_tls() {
    let server = Secure::with(|builder| builder.max_connections(2, 2)).await;
    let held = [server.connect().await, server.connect().await];
    let mut stream = server.connect().await;
    let mut answer = Vec::new();
    let _ = hang(stream.read_to_end(&mut answer)).await;
    let reply = Reply::parse(&answer);
    assert_eq!(
        (reply.status, reply.code()),
        (503, Code::TooManyConnections.to_string())
    );
    assert_eq!(reply.header("retry-after"), Some("1"));
    let plain = server.api.send(&server.api.get("/healthz").bytes()).await;
    assert_eq!(
        (plain.status, plain.code()),
        (400, Code::TlsFailed.to_string())
    );
    drop(held);
    until(async || {
        let connected = server.client().connect(&server.api).await;
        let reply = server.api.get("/healthz").over(connected.unwrap()).await;
        reply.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_handshake() {
    let server = Secure::with(|builder| builder.drain(Duration::from_secs(300))).await;
    let mut idle = server.api.connect().await;
    let mut begun = server.api.connect().await;
    begun.write_all(b"\x16\x03\x01").await.unwrap();
    assert_eq!(server.send(server.api.get("/healthz")).await.status, 200);
    let stopping = tokio::time::timeout(LONG, server.api.stopped());
    stopping.await.expect("it waits for a handshake");
    assert_eq!(rest(&mut idle).await, b"");
    assert_eq!(rest(&mut begun).await, b"");
}

/// A transaction that puts a number.
fn put(key: &str, number: u64) -> Txn {
    let value = Value::parse(number.to_string().as_bytes()).unwrap();
    Txn {
        ops: vec![Op::Put(Put::new(Key::new(key).unwrap(), value))],
        ..Txn::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_under_load_drop_no_session_and_no_request() {
    let server = Arc::new(Secure::start().await);
    server.api.create("t", TableOptions::default()).await;
    let mut session = Peer(server.connect().await);
    session.upgrade("t").await;
    session.say(TEXT, br#"{"hello":{"v":1}}"#).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let load = (0..4).map(|_| {
        let (server, over, answered) = (server.clone(), over.clone(), answered.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let reply = server.send(server.api.get("/v1/tables/t")).await;
                assert_eq!(reply.status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    for round in 0..5 {
        let before = answered.load(Ordering::Relaxed);
        let new = server.authority.issue(&[HOST]);
        server.replace(&new);
        let expected = der(&new.chain).to_vec();
        until(async || server.presented().await == expected).await;
        // The session that began with the first certificate goes on.
        let store = server.api.store.clone();
        let committed =
            tokio::task::spawn_blocking(move || store.commit(&table("t"), put("k", round)));
        committed.await.unwrap().unwrap();
        let seq = format!(r#""seq":{}"#, round + 1);
        loop {
            let frame = hang(session.hear()).await.expect("the session goes on");
            if frame.starts_with(r#"{"txn""#) {
                assert!(frame.contains(&seq), "{frame}");
                break;
            }
        }
        until(async || answered.load(Ordering::Relaxed) > before + 4).await;
    }
    over.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("every request is answered");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_certificate_as_it_is() {
    let server = Secure::start().await;
    let handle = server.api.handle.clone();
    let first = server.presented().await;
    let other = server.authority.issue(&[HOST]);
    let written = |path: &std::path::Path, text: &str| {
        let new = server.folder().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    };
    let (chain, key) = (&server.files.chain, &server.files.key);
    let good = std::fs::read_to_string(chain).unwrap();
    let good_key = std::fs::read_to_string(key).unwrap();
    let expired = server.authority.issue_expired(&[HOST]);
    let early = server.authority.issue_for_tomorrow(&[HOST]);
    let half = |text: &str| text[..text.len() / 2].to_owned();
    type Expected = fn(&TlsError) -> bool;
    let cases: [(&str, String, &str, Expected); 8] = [
        ("another's key", good.clone(), &other.key, |e| {
            matches!(e, TlsError::Mismatch { .. })
        }),
        ("half written", half(&other.chain), &other.key, |e| {
            matches!(e, TlsError::Unreadable { .. })
        }),
        ("half a key", other.chain.clone(), &other.key[..100], |e| {
            matches!(e, TlsError::Unreadable { .. })
        }),
        ("empty", String::new(), &other.key, |e| {
            matches!(e, TlsError::NoCertificate { .. })
        }),
        ("no key", other.chain.clone(), &other.chain, |e| {
            matches!(e, TlsError::NoKey { .. })
        }),
        ("expired", expired.chain.clone(), &expired.key, |e| {
            matches!(e, TlsError::NotValid { .. })
        }),
        ("early", early.chain.clone(), &early.key, |e| {
            matches!(e, TlsError::NotValid { .. })
        }),
        (
            "not a certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            &other.key,
            |e| matches!(e, TlsError::Unusable { .. }),
        ),
    ];
    for (what, new_chain, new_key, expected) in cases {
        written(chain, &new_chain);
        written(key, new_key);
        checked().await;
        assert!(server.presented().await == first, "{what}: by itself");
        let error = handle.reload_tls().unwrap_err();
        assert!(expected(&error), "{what}: {error}");
        let said = error.to_string();
        assert!(said.contains(chain.to_str().unwrap()) || said.contains(key.to_str().unwrap()));
        assert!(
            !said.contains(new_key.get(40..80).unwrap_or("?")),
            "{what}: {said}"
        );
        assert!(server.presented().await == first, "{what}");
    }
    written(chain, &good);
    std::fs::remove_file(key).unwrap();
    checked().await;
    let error = handle.reload_tls().unwrap_err();
    assert!(matches!(error, TlsError::Unreadable { .. }), "{error}");
    assert!(server.presented().await == first);
    // What fits again is used without being asked to.
    written(key, &good_key);
    let renewed = server.authority.issue(&[HOST]);
    server.replace(&renewed);
    let expected = der(&renewed.chain).to_vec();
    until(async || server.presented().await == expected).await;
}

#[tokio::test]
async fn the_time_of_expiry_is_in_the_metrics_and_changes_with_the_certificate() {
    const NAME: &str = "hotread_tls_certificate_expires_seconds";
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (authority, day) = (Authority::new(), Duration::from_secs(24 * 60 * 60));
    let first = SystemTime::now() + 3 * day;
    let certificate = authority.issue_until(&[HOST], first);
    let server = Secure::of(authority, &certificate, |tls, _| tls, |builder| builder).await;
    assert_eq!(server.metric(NAME).await, Some(seconds(first)));
    let second = SystemTime::now() + 20 * day;
    server.replace(&server.authority.issue_until(&[HOST], second));
    until(async || server.metric(NAME).await == Some(seconds(second))).await;

    let plain = Api::start().await;
    let text = plain.get("/metrics").expect(200).await;
    let text = String::from_utf8(text.body).unwrap();
    assert!(!text.contains(NAME), "no certificate, no expiry");
}

#[tokio::test]
async fn an_expired_certificate_is_no_reason_not_to_start() {
    let authority = Authority::new();
    let expired = authority.issue_expired(&[HOST]);
    let server = Secure::of(authority, &expired, |tls, _| tls, |builder| builder).await;
    let refused = server.client().connect(&server.api).await.unwrap_err();
    assert!(refused.to_string().contains("xpired"), "{refused}");
    let good = server.authority.issue(&[HOST]);
    server.replace(&good);
    until(async || server.client().connect(&server.api).await.is_ok()).await;
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_authority_that_is_named() {
    let clients = Authority::new();
    let server = Secure::for_clients_of(&clients).await;
    let asked = async |identity: Option<&Certificate>| {
        let client = Client::new(&server.authority, identity);
        let reply = client.send(&server.api, server.api.get("/healthz")).await;
        reply
            .map(|reply| reply.status)
            .map_err(|error| error.to_string())
    };
    let good = clients.issue_client("billing");
    assert_eq!(asked(Some(&good)).await, Ok(200));
    let hour = Duration::from_secs(60 * 60);
    let expired = clients.issue_client_until("billing", SystemTime::now() - hour);
    let others = Authority::new().issue_client("billing");
    let of_a_server = clients.issue(&["billing"]);
    for (identity, alert) in [
        (None, "CertificateRequired"),
        (Some(&expired), "CertificateExpired"),
        (Some(&others), "UnknownCA"),
        (Some(&of_a_server), "UnsupportedCertificate"),
    ] {
        let refused = asked(identity).await.unwrap_err();
        assert!(refused.contains(alert), "{alert}: {refused}");
    }
    // Requests without TLS are not a way around.
    let reply = server.api.send(&server.api.get("/healthz").bytes()).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn a_new_authority_of_clients_counts_for_new_connections() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = Secure::for_clients_of(&old).await;
    let (first, second) = (old.issue_client("a"), new.issue_client("a"));
    let is_served = async |identity: &Certificate| {
        let client = Client::new(&server.authority, Some(identity));
        let reply = client.send(&server.api, server.api.get("/healthz")).await;
        reply.is_ok_and(|reply| reply.status == 200)
    };
    assert!(is_served(&first).await && !is_served(&second).await);
    new.write(server.folder());
    until(async || is_served(&second).await).await;
    assert!(!is_served(&first).await);
}

#[tokio::test]
async fn a_certificate_names_the_actor_where_no_token_does() {
    let clients = Authority::new();
    let server = Secure::for_clients_of(&clients).await;
    server.api.create("t", TableOptions::default()).await;
    let written = async |identity: &Certificate, token: Option<&str>| {
        let client = Client::new(&server.authority, Some(identity));
        let with = |ask: crate::common::Ask| match token {
            Some(token) => ask.token(token),
            None => ask,
        };
        let put = server
            .api
            .put("/v1/tables/t/records/k")
            .json(r#"{"value":1}"#);
        let put = client.send(&server.api, with(put)).await.unwrap();
        if !matches!(put.status, 200 | 201) {
            return Err(put.status);
        }
        let position = put.position();
        let (epoch, seq) = position.split_once(':').unwrap();
        let before = seq.parse::<u64>().unwrap() - 1;
        let path = format!("/v1/tables/t/changes?from={epoch}:{before}");
        let history = with(server.api.get(&path));
        let history = client.send(&server.api, history).await.unwrap().json();
        let last = history["changes"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        Ok(last["actor"].as_str().unwrap_or_default().to_owned())
    };
    let billing = clients.issue_client("billing");
    assert_eq!(written(&billing, None).await, Ok("billing".to_owned()));
    let spoken = clients.issue_client("Abrechnung, Köln");
    assert_eq!(
        written(&spoken, None).await,
        Ok("Abrechnung, Köln".to_owned())
    );
    // Names that no actor may have.
    for name in ["", "two\nlines", &"x".repeat(65)] {
        let actor = written(&clients.issue_client(name), None).await.unwrap();
        let digits = actor.strip_prefix("certificate ").expect(&actor);
        assert!(digits.len() >= 16, "{actor}");
        let is_digit = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
        assert!(digits.chars().all(is_digit), "{actor}");
    }
    // A certificate gives no rights, and a token's name comes first.
    let (secret, _) = server.api.token(Role::Admin, None).await;
    assert_eq!(written(&billing, None).await, Err(401));
    assert_eq!(written(&billing, Some(&secret)).await, Ok("t".to_owned()));
}

#[tokio::test]
async fn other_machines_are_served_in_tls_with_tokens() {
    let folder = hotread_testkit::folder();
    let files = Authority::new()
        .issue(&[HOST])
        .write(folder.path(), "server");
    let store = Store::open(folder.path().join("test.db")).unwrap();
    let everywhere = "0.0.0.0:7400".parse().unwrap();
    let secure = || {
        let tls = Tls::from_files(&files.chain, &files.key);
        Server::builder(store.clone()).tls(tls).build().unwrap()
    };
    let refused = secure().check_address(everywhere).unwrap_err();
    let ServeError::OtherMachines {
        no_tokens,
        no_plaintext,
        ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((no_tokens, no_plaintext), (true, false));
    store.create_token("t", Role::Admin, None).unwrap();
    secure().check_address(everywhere).unwrap();
    let plain = Server::builder(store.clone()).build().unwrap();
    let refused = plain.check_address(everywhere).unwrap_err().to_string();
    assert!(
        refused.contains("give the server a certificate"),
        "{refused}"
    );
}
