//! A server's answers to peers that ask too much, too slowly, or not in HTTP, and its way of stopping.

use crate::common::peer::Peer;
use crate::common::{self, Api, Reply, hang, table};
use hotread_proto::{Code, Key, Put, Replace, Txn, Value as Text};
use hotread_server::{Options, ServerBuilder};
use hotread_store::{Role, TableOptions};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn options(change: impl FnOnce(&mut Options)) -> impl FnOnce(ServerBuilder) -> ServerBuilder {
    move |builder| {
        let mut options = Options::default();
        change(&mut options);
        builder.options(options)
    }
}

/// Reads everything until the connection is closed.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset closes the connection, too.
    let _ = hang(stream.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn who_dribbles_a_head_is_cut_off_and_others_are_served() {
    let api = Api::with(options(|o| o.head_timeout_ms = 1_000)).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = api.connect().await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    api.get("/healthz").expect(200).await;
    for stream in slow {
        assert!(
            rest(stream).await.is_empty(),
            "there was no request to answer"
        );
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let api = Api::with(options(|o| o.head_timeout_ms = 1_000)).await;
    assert!(rest(api.connect().await).await.is_empty());
    let mut stream = api.connect().await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(stream).await;
    assert!(
        answer.ends_with(br#"{"ok":true}"#),
        "answered, and then closed"
    );
}

#[tokio::test]
async fn heads_have_a_limit() {
    let api = Api::start().await;
    let fits = "x".repeat(15 << 10);
    api.get("/healthz")
        .header("X-Long", &fits)
        .expect(200)
        .await;
    let long = "x".repeat(17 << 10);
    api.get("/healthz")
        .header("X-Long", &long)
        .refused(431, Code::TooLarge)
        .await;
    let path = format!("/v1/tables/t/records/{long}");
    api.get(&path).refused(431, Code::TooLarge).await;

    let mut stream = api.connect().await;
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let _ = stream.write_all(huge.as_bytes()).await;
    let answer = String::from_utf8(rest(stream).await).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let mut stream = api.connect().await;
    let target = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(70_000)
    );
    let _ = stream.write_all(target.as_bytes()).await;
    let answer = String::from_utf8(rest(stream).await).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or("");
    assert!(matches!(status, "414" | "431" | ""), "{answer}");
    let many = (0..200)
        .map(|n| format!("X-{n}: 1\r\n"))
        .collect::<String>();
    let mut stream = api.connect().await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8(rest(stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    api.get("/healthz").expect(200).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let api = Api::start().await;
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"\0\0\0\0\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\r\nGARBAGE\r\n\r\n",
    ] {
        let mut stream = api.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = String::from_utf8_lossy(&rest(stream).await).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let reply = api.send(b"GET /v1/tables HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        (reply.status, reply.code()),
        (403, "HOST_NOT_ALLOWED".to_owned())
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_until_one_is_free() {
    let api = Api::with(|builder| builder.max_connections(2, 2)).await;
    let held = [api.connect().await, api.connect().await];
    // Accepted one after another: the third is accepted after both.
    let refused = Reply::parse(&rest(api.connect().await).await);
    assert_eq!(
        (refused.status, refused.code()),
        (503, "TOO_MANY_CONNECTIONS".to_owned())
    );
    assert!(refused.header("retry-after").is_some());
    drop(held);
    let served = async {
        loop {
            let mut stream = api.connect().await;
            let _ = stream.write_all(&api.get("/healthz").bytes()).await;
            let answer = rest(stream).await;
            if answer.starts_with(b"HTTP/1.1 200") {
                break;
            }
        }
    };
    hang(served).await;
}

#[tokio::test]
async fn one_peer_leaves_places_for_others() {
    let api = Api::with(|builder| builder.max_connections(10, 1)).await;
    let _held = api.connect().await;
    let refused = Reply::parse(&rest(api.connect().await).await);
    assert_eq!(refused.code(), "TOO_MANY_CONNECTIONS");
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(api.address).await.unwrap();
    other.write_all(&api.get("/healthz").bytes()).await.unwrap();
    assert!(rest(other).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn too_frequent_callers_learn_when_to_retry_and_others_are_served() {
    const REQUESTS: usize = 60;
    let api = Api::with(|builder| builder.rate(1, 2)).await;
    let (one, _) = api.token(Role::Admin, None).await;
    let (other, _) = api.token(Role::Read, None).await;
    // All at once, so that even a slow machine, which takes a minute for them, cannot let all of them pass.
    let ask = api.get("/v1/tables").token(&one).bytes();
    let ask = String::from_utf8(ask).unwrap();
    let keep = ask.replace("Connection: close\r\n", "");
    let mut stream = api.connect().await;
    let all = keep.repeat(REQUESTS - 1) + &ask;
    stream.write_all(all.as_bytes()).await.unwrap();
    let answers = String::from_utf8(rest(stream).await).unwrap();
    let count = |status: &str| answers.matches(&format!("HTTP/1.1 {status}")).count();
    assert_eq!(count("200") + count("429"), REQUESTS, "{answers}");
    assert!(count("200") >= 2 && count("429") > 0, "{answers}");
    assert_eq!(answers.matches("RATE_LIMITED").count(), count("429"));
    assert_eq!(answers.matches("retry-after: ").count(), count("429"));
    api.get("/v1/tables").token(&other).expect(200).await;
}

#[tokio::test]
async fn bodies_have_a_limit_whether_they_say_their_size_or_not() {
    let api = Api::with(options(|o| o.max_replace_body_bytes = 1_000)).await;
    api.create("t", TableOptions::default()).await;
    let body = format!(
        r#"{{"records":[{{"key":"k","value":"{}"}}]}}"#,
        "x".repeat(1_000)
    );
    let path = "/v1/tables/t/replace";
    api.post(path)
        .json(&body)
        .refused(413, Code::TooLarge)
        .await;
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let chunked = async |path: &str, chunk: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}"
        );
        let mut stream = api.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        Reply::parse(&rest(stream).await)
    };
    assert_eq!(chunked(path, &chunk).await.code(), "TOO_LARGE");
    let body = r#"{"ops":[{"put":{"key":"k","value":1}}]}"#;
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(chunked("/v1/tables/t/txn", &chunk).await.status, 200);
    assert_eq!(
        chunked("/v1/tables/t/txn", "0\r\n\r\n").await.code(),
        "BAD_REQUEST"
    );
    assert_eq!(
        chunked("/v1/tables/t/txn", "zz\r\n").await.code(),
        "BAD_REQUEST"
    );
}

#[tokio::test]
async fn a_refusal_arrives_though_the_body_is_sent_to_its_end() {
    let api = Api::with(options(|o| o.max_replace_body_bytes = 1 << 20)).await;
    api.create("t", TableOptions::default()).await;
    let (admin, _) = api.token(Role::Admin, None).await;
    let large = vec![b' '; 30 << 20];
    let post = || {
        let post = api.post("/v1/tables/t/replace");
        post.body("application/json", large.clone())
    };
    for (ask, status, code) in [
        (post().token(&admin), 413, Code::TooLarge),
        (post(), 401, Code::Unauthenticated),
        (
            post().header("Origin", "https://evil.example"),
            403,
            Code::OriginNotAllowed,
        ),
    ] {
        // Like a client that reads nothing before it has sent everything.
        let mut stream = api.connect().await;
        let bytes = ask.bytes();
        let bytes = String::from_utf8(bytes).unwrap();
        let bytes = bytes.replace("Connection: close\r\n", "");
        hang(stream.write_all(bytes.as_bytes())).await.unwrap();
        let mut answer = Vec::new();
        hang(stream.read_to_end(&mut answer)).await.unwrap();
        let reply = Reply::parse(&answer);
        assert_eq!((reply.status, reply.code()), (status, code.to_string()));
        assert_eq!(reply.header("connection"), Some("close"));
    }
    // A small body does not cost the connection.
    let mut stream = api.connect().await;
    let small = api.put("/v1/tables/t/records/k").json(r#"{"value":1}"#);
    let small = String::from_utf8(small.bytes()).unwrap();
    let twice = small.replace("Connection: close\r\n", "") + &small;
    stream.write_all(twice.as_bytes()).await.unwrap();
    let answers = String::from_utf8(rest(stream).await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 401").count(), 2, "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hears_that_its_replacement_is_too_large() {
    let api = Api::with(options(|o| o.max_replace_body_bytes = 1 << 20)).await;
    api.create("t", TableOptions::default()).await;
    let url = format!("http://{}", api.address);
    let client = hotread_client::Client::builder(&url).build().unwrap();
    let value = Text::string(&"x".repeat(900_000)).unwrap();
    let put = |n: u32| Put::new(Key::new(&n.to_string()).unwrap(), value.clone());
    let new = Replace {
        records: (0..30).map(put).collect(),
        ..Replace::default()
    };
    let refused = hang(client.replace("t", new)).await.unwrap_err();
    assert_eq!(refused.code(), Code::TooLarge, "{refused}");
}

#[tokio::test]
async fn who_takes_no_answer_in_loses_the_connection() {
    let api = Api::with(options(|o| o.write_timeout_ms = 200)).await;
    api.create("t", TableOptions::default()).await;
    let store = api.store.clone();
    common::blocking(move || {
        let value = Text::string(&"x".repeat(1_000_000)).unwrap();
        for n in 0..8 {
            let put = Put::new(Key::new(&n.to_string()).unwrap(), value.clone());
            store.commit(&table("t"), Txn::new().put(put)).unwrap();
        }
    })
    .await;
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let mut stream = api.connect().await;
        let ask = api.get("/v1/tables/t/records").bytes();
        stream.write_all(&ask).await.unwrap();
        deaf.push(stream);
    }
    let gone = async {
        loop {
            let text = api.get("/metrics").expect(200).await;
            let text = String::from_utf8(text.body).unwrap();
            if text.contains("\nhotread_connections 1\n")
                && text.contains("hotread_accepted_connections_total")
                && text.contains(r#"route="/v1/tables/{table}/records",status="2xx"} 3"#)
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    hang(gone).await;
    drop(deaf);
}

#[tokio::test]
async fn stopping_finishes_what_was_begun_and_takes_nothing_new() {
    let mut api = Api::with_table("t").await;
    let idle = api.connect().await;
    let mut events = api.connect().await;
    events
        .write_all(&api.get("/v1/tables/t/events").bytes())
        .await
        .unwrap();
    let mut begun = String::new();
    while !begun.contains("event: begin") {
        let mut bytes = [0; 1_000];
        let read = hang(events.read(&mut bytes)).await.unwrap();
        assert_ne!(read, 0, "{begun}");
        begun.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let ask = api.put("/v1/tables/t/records/k").json(r#"{"value":1}"#);
    let ask = ask.header("Expect", "100-continue").bytes();
    let (first, last) = ask.split_at(ask.len() - 3);
    let mut half = api.connect().await;
    half.write_all(first).await.unwrap();
    // The server sends this when it begins to read the body.
    let mut goes_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    hang(half.read_exact(&mut goes_on)).await.unwrap();
    api.stop();

    assert!(rest(idle).await.is_empty());
    let goodbye = String::from_utf8(rest(events).await).unwrap();
    assert!(
        goodbye.contains("event: goodbye") && goodbye.contains("retry: "),
        "{goodbye}"
    );
    let refused = async { while TcpStream::connect(api.address).await.is_ok() {} };
    hang(refused).await;
    half.write_all(last).await.unwrap();
    let reply = Reply::parse(&rest(half).await);
    assert_eq!(reply.status, 201, "{}", reply.text());
    api.stopped().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let api = Api::with(|builder| builder.drain(Duration::from_millis(200))).await;
    api.create("t", TableOptions::default()).await;
    let ask = api.put("/v1/tables/t/records/k").json(r#"{"value":1}"#);
    let ask = ask.bytes();
    let mut half = api.connect().await;
    half.write_all(&ask[..ask.len() - 1]).await.unwrap();
    api.get("/healthz").expect(200).await;
    api.stopped().await;
    rest(half).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_its_connections() {
    let dir = tempfile::tempdir().unwrap();
    let store = hotread_server::Store::open(dir.path().join("test.db")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = hotread_server::Server::builder(store).build().unwrap();
    let serving = tokio::spawn(server.serve(listener, std::future::pending()));
    let stream = TcpStream::connect(address).await.unwrap();
    serving.abort();
    assert!(rest(stream).await.is_empty());
}

#[tokio::test]
async fn a_load_gives_its_turn_back_when_its_last_byte_is_sent() {
    // No heartbeat wakes the sessions, which never acknowledge anything.
    let api = Api::with(|builder| builder.heartbeat(Duration::from_secs(60 * 60))).await;
    api.create("t", TableOptions::default()).await;
    api.put("/v1/tables/t/records/k")
        .json(r#"{"value":1}"#)
        .expect(201)
        .await;
    let mut sessions = Vec::new();
    // More sessions than one caller has permits.
    let load = async {
        for _ in 0..20 {
            let mut peer = Peer::greeted(api.address, "t", r#"{"hello":{"v":1}}"#).await;
            loop {
                let frame = peer.hear().await.expect("the session goes on");
                if frame.starts_with(r#"{"snapshot_end""#) {
                    break;
                }
            }
            sessions.push(peer);
        }
    };
    let loaded = tokio::time::timeout(Duration::from_secs(120), load).await;
    assert!(loaded.is_ok(), "the turns are not given back");
}

#[tokio::test]
async fn one_caller_leaves_event_streams_for_others() {
    let api = Api::with(options(|o| o.max_event_streams = 4)).await;
    api.create("t", TableOptions::default()).await;
    let (one, _) = api.token(Role::Admin, None).await;
    let (other, _) = api.token(Role::Read, None).await;
    let open = async |token: &str| {
        let mut stream = api.connect().await;
        let request = api.get("/v1/tables/t/events").token(token).bytes();
        stream.write_all(&request).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        (stream, String::from_utf8(head.to_vec()).unwrap())
    };
    let mut streams = Vec::new();
    for (token, status) in [(&one, 200), (&one, 200), (&one, 503), (&other, 200)] {
        let (stream, head) = open(token).await;
        assert_eq!(head, format!("HTTP/1.1 {status}"));
        streams.push(stream);
    }
}

#[tokio::test]
async fn a_read_that_takes_too_long_has_an_error_of_its_own() {
    let api = Api::with(options(|o| o.max_read_ms = 1)).await;
    let search = TableOptions {
        search: true,
        ..TableOptions::default()
    };
    api.create("t", search).await;
    let (store, name) = (api.store.clone(), table("t"));
    common::blocking(move || {
        let text = Text::parse(b"\"wa wb wc wd we wf\"").unwrap();
        for from in (0..20_000).step_by(1_000) {
            let puts = (from..from + 1_000).map(|n| {
                let key = Key::new(&n.to_string()).unwrap();
                hotread_proto::Op::Put(Put::new(key, text.clone()))
            });
            let txn = Txn {
                ops: puts.collect(),
                ..Txn::new()
            };
            store.commit(&name, txn).unwrap();
        }
    })
    .await;
    let ended = async {
        loop {
            let search = api.get("/v1/tables/t/search?q=wa+w*+wb*+wc+wd*+we+wf*");
            let reply = search.send().await;
            // The time may also be over before a read connection is open.
            if reply.code() != Code::Busy.as_str() {
                return reply;
            }
        }
    };
    let reply = hang(ended).await;
    assert_eq!(
        (reply.status, reply.code()),
        (422, "TOOK_TOO_LONG".to_owned())
    );
}

#[tokio::test]
async fn a_replacement_that_would_hold_the_writers_up_is_refused() {
    let api = Api::with(options(|o| o.max_replace_changes = 2)).await;
    api.create("t", TableOptions::default()).await;
    let replace = |keys: &[&str]| {
        let records: Vec<_> = keys
            .iter()
            .map(|key| format!(r#"{{"key":"{key}","value":1}}"#))
            .collect();
        let body = format!(r#"{{"records":[{}]}}"#, records.join(","));
        api.post("/v1/tables/t/replace").json(body)
    };
    replace(&["a", "b"]).expect(200).await;
    // Unchanged records do not count; deleted ones do.
    replace(&["a", "b", "c", "d"]).expect(200).await;
    replace(&["d", "c", "b", "a"]).expect(200).await;
    let refused = replace(&["a", "b", "c", "e", "f"]);
    let refused = refused.refused(413, Code::TooLarge).await;
    let text = refused.text();
    assert!(text.contains("changes 3 records, but at most 2"), "{text}");
    assert!(text.contains("several transactions"), "{text}");
    replace(&["a", "c", "d", "e"]).expect(200).await;
}
