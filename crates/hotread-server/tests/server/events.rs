//! Server-sent events: every transaction once, in order, from the client's position; and an end with a
//! reason.

use crate::common::{self, Api, Ask, hang, table};
use hotread_proto::{Code, Key, Put, Txn, Value as Text};
use hotread_server::Options;
use hotread_store::{Role, TableOptions};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An event as a browser reads it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Event {
    kind: String,
    id: Option<String>,
    data: Value,
    retry: Option<u64>,
}

/// A stream of events.
struct Stream {
    socket: TcpStream,
    /// Received bytes that were not read yet, with chunk heads.
    bytes: Vec<u8>,
    /// The text of the chunks.
    text: String,
}

impl Stream {
    async fn open(api: &Api, ask: Ask) -> Self {
        let mut socket = api.connect().await;
        socket.write_all(&ask.bytes()).await.unwrap();
        let mut stream = Self {
            socket,
            bytes: Vec::new(),
            text: String::new(),
        };
        let head = stream.until(b"\r\n\r\n").await.expect("a head");
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        assert!(
            head.contains("cache-control: no-store, no-transform\r\n"),
            "{head}"
        );
        assert!(head.contains("x-accel-buffering: no\r\n"), "{head}");
        stream
    }

    /// Reads up to and including `end`; `None` at the end of the stream.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|w| w == end) {
                let rest = self.bytes.split_off(at + end.len());
                let mut read = std::mem::replace(&mut self.bytes, rest);
                read.truncate(at);
                return Some(read);
            }
            if hang(self.socket.read_buf(&mut self.bytes)).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Reads the next event, without comments; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with(':') {
                    continue;
                }
                return Some(parse(&block));
            }
            let size = self.until(b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap(), 16).unwrap();
            while self.bytes.len() < size + 2 {
                if hang(self.socket.read_buf(&mut self.bytes)).await.ok()? == 0 {
                    return None;
                }
            }
            let rest = self.bytes.split_off(size + 2);
            let chunk = std::mem::replace(&mut self.bytes, rest);
            self.text
                .push_str(std::str::from_utf8(&chunk[..size]).unwrap());
            if size == 0 {
                return None;
            }
        }
    }

    async fn expect(&mut self, kind: &str) -> Event {
        let event = self.next().await.expect("another event");
        assert_eq!(event.kind, kind, "{event:?}");
        event
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "event" => event.kind = value.to_owned(),
            "id" => event.id = Some(value.to_owned()),
            "data" => event.data = serde_json::from_str(value).unwrap(),
            "retry" => event.retry = Some(value.parse().unwrap()),
            _ => panic!("{line}"),
        }
    }
    event
}

const EVENTS: &str = "/v1/tables/t/events";

async fn put(api: &Api, value: u32) -> String {
    let put = api
        .put("/v1/tables/t/records/k")
        .json(json!({ "value": value }));
    put.written().await.position()
}

#[tokio::test]
async fn every_transaction_comes_once_and_in_order() {
    let api = Api::with_table("t").await;
    put(&api, 1).await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    let begin = stream.expect("begin").await;
    assert_eq!(begin.data["seq"], 1, "from the head on");
    for value in 2..50 {
        let position = put(&api, value).await;
        let event = stream.expect("txn").await;
        assert_eq!(event.id.as_ref(), Some(&position));
        assert_eq!(event.data["ops"][0]["put"]["value"], value);
        assert_eq!(event.data["more"], false);
    }
    let changes = format!("/v1/tables/t/changes?from={}", begin.id.unwrap());
    let changes = api.get(&changes).expect(200).await.json();
    assert_eq!(changes["changes"].as_array().unwrap().len(), 48);
}

#[tokio::test]
async fn an_expiry_says_that_it_is_one() {
    let api = Api::with_table("t").await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    let begin = stream.expect("begin").await.id.unwrap();
    let old = json!({ "value": 1, "expires_at": "1970-01-01T00:00:00.001Z" });
    api.put("/v1/tables/t/records/old")
        .json(old)
        .written()
        .await;
    put(&api, 1).await;
    api.delete("/v1/tables/t/records/k").written().await;
    let mut removals = Vec::new();
    while removals.len() < 2 {
        let data = stream.expect("txn").await.data;
        removals.extend(data["ops"][0].get("delete").cloned());
    }
    // The sweep may run at any time.
    removals.sort_by_key(|removal| removal["key"].to_string());
    let expected = [
        json!({ "key": "k" }),
        json!({ "key": "old", "cause": "expired" }),
    ];
    assert_eq!(removals, expected);
    let changes = format!("/v1/tables/t/changes?from={begin}");
    let changes = api.get(&changes).expect(200).await.json();
    let changes = changes["changes"].as_array().unwrap();
    let mut again: Vec<Value> = changes
        .iter()
        .filter_map(|change| change["ops"][0].get("delete").cloned())
        .collect();
    again.sort_by_key(|removal| removal["key"].to_string());
    assert_eq!(again, expected);
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing() {
    let api = Api::with_table("t").await;
    let mut positions = Vec::new();
    for value in 0..5 {
        positions.push(put(&api, value).await);
    }
    let from = format!("{EVENTS}?from={}", positions[0]);
    let mut stream = Stream::open(&api, api.get(&from)).await;
    assert_eq!(
        stream.expect("begin").await.id.as_ref(),
        Some(&positions[0])
    );
    assert_eq!(stream.expect("txn").await.id.as_ref(), Some(&positions[1]));
    drop(stream);
    // A browser repeats the URL, and sends its position.
    let again = api.get(&from).header("Last-Event-ID", &positions[2]);
    let mut stream = Stream::open(&api, again).await;
    stream.expect("begin").await;
    for position in &positions[3..] {
        assert_eq!(stream.expect("txn").await.id.as_ref(), Some(position));
    }
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_with_a_status() {
    let api = Api::with_table("t").await;
    let at = put(&api, 1).await;
    api.get("/v1/tables/none/events")
        .refused(404, Code::UnknownTable)
        .await;
    for from in ["0000000000000000:1", &at.replace(":1", ":2")] {
        let path = format!("{EVENTS}?from={from}");
        api.get(&path).refused(410, Code::EpochChanged).await;
        let last = api.get(EVENTS).header("Last-Event-ID", from);
        last.refused(410, Code::EpochChanged).await;
    }
    api.get(&format!("{EVENTS}?from=x"))
        .refused(400, Code::BadRequest)
        .await;
    let last = api.get(EVENTS).header("Last-Event-ID", "x");
    last.refused(400, Code::BadRequest).await;
}

#[tokio::test]
async fn a_slow_client_reads_the_history_and_misses_nothing() {
    let api = Api::with_table("t").await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    stream.expect("begin").await;
    let store = api.store.clone();
    // More than memory keeps for subscribers, and than the connection can hold unread.
    common::blocking(move || {
        let value = Text::string(&"x".repeat(20_000)).unwrap();
        let put = Put::new(Key::new("k").unwrap(), value);
        for _ in 0..3_000 {
            store
                .submit(&table("t"), Txn::new().put(put.clone()))
                .unwrap();
        }
        store
            .commit(&table("t"), Txn::new().delete(put.key.clone()))
            .unwrap();
    })
    .await;
    for seq in 1..=3_001 {
        let event = stream.expect("txn").await;
        assert_eq!(event.data["to"], seq);
    }
}

#[tokio::test]
async fn a_large_change_comes_in_pieces_with_one_id() {
    let api = Api::with_table("t").await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    stream.expect("begin").await;
    let records: Vec<_> = (0..10_000)
        .map(|n| json!({"key": format!("{n:05}"), "value": n}))
        .collect();
    let replaced = api
        .post("/v1/tables/t/replace")
        .json(json!({ "records": records }));
    let position = replaced.expect(200).await.position();
    let (mut keys, mut pieces) = (0, 0);
    loop {
        let event = stream.expect("txn").await;
        pieces += 1;
        keys += event.data["ops"].as_array().unwrap().len();
        if event.data["more"] == false {
            assert_eq!(event.id, Some(position));
            break;
        }
        assert_eq!(event.id, None);
    }
    assert_eq!(keys, 10_000);
    assert!(pieces > 1);
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_is_alive() {
    let api = Api::with(|builder| builder.heartbeat(Duration::from_millis(20))).await;
    api.create("t", TableOptions::default()).await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    stream.expect("begin").await;
    stream.until(b": heartbeat\n\n").await.unwrap();
    stream.until(b": heartbeat\n\n").await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_dropped_ends_the_stream_with_a_reset() {
    let api = Api::with_table("t").await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    stream.expect("begin").await;
    api.delete("/v1/tables/t").expect(200).await;
    let reset = stream.expect("reset").await;
    assert_eq!(reset.data["code"], Code::UnknownTable.as_str());
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_token_that_is_revoked_ends_the_streams_that_it_began() {
    let api = Api::with_table("t").await;
    let mut anonymous = Stream::open(&api, api.get(EVENTS)).await;
    anonymous.expect("begin").await;
    let admin = api
        .post("/v1/tokens")
        .json(r#"{"name":"root","role":"admin"}"#);
    let admin = admin.expect(201).await.json()["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let end = anonymous.expect("error").await;
    assert_eq!(end.data["code"], Code::Unauthenticated.as_str());
    assert_eq!(anonymous.next().await, None);

    let (read, id) = api.token(Role::Read, Some(&["t"])).await;
    let mut theirs = Stream::open(&api, api.get(EVENTS).token(&read)).await;
    let mut ours = Stream::open(&api, api.get(EVENTS).token(&admin)).await;
    theirs.expect("begin").await;
    ours.expect("begin").await;
    let path = format!("/v1/tokens/{id}");
    api.delete(&path).token(&admin).expect(200).await;
    theirs.expect("error").await;
    let put = api.put("/v1/tables/t/records/k").token(&admin);
    put.json(r#"{"value":1}"#).written().await;
    ours.expect("txn").await;
}

#[tokio::test]
async fn streams_are_limited_in_number() {
    let mut options = Options::default();
    options.max_event_streams = 1;
    let api = Api::with(|builder| builder.options(options)).await;
    api.create("t", TableOptions::default()).await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    stream.expect("begin").await;
    api.get(EVENTS).refused(503, Code::TooManyConnections).await;
    drop(stream);
    let again = async {
        loop {
            let mut socket = api.connect().await;
            socket.write_all(&api.get(EVENTS).bytes()).await.unwrap();
            let mut head = [0; 12];
            socket.read_exact(&mut head).await.unwrap();
            if &head == b"HTTP/1.1 200" {
                break;
            }
        }
    };
    hang(again).await;
}

/// Returns actor and note of a transaction in an event or in a list of changes.
fn said(txn: &Value) -> (Option<&str>, Option<&str>) {
    let text = |name: &str| txn.get(name).map(|text| text.as_str().unwrap());
    (text("actor"), text("note"))
}

#[tokio::test]
async fn a_transaction_has_the_tokens_name_and_the_callers_note() {
    let api = Api::with_table("t").await;
    let mut stream = Stream::open(&api, api.get(EVENTS)).await;
    let begin = stream.expect("begin").await.id.unwrap();
    // Without tokens any program of this machine may be the caller.
    let record = "/v1/tables/t/records/k";
    let put = |value: u32| json!({ "value": value });
    let open = api
        .put(&format!("{record}?note=without+a+token"))
        .json(put(1));
    open.written().await;
    let event = stream.expect("txn").await.data;
    assert_eq!(said(&event), (None, Some("without a token")));
    drop(stream);

    let (admin, _) = api.token(Role::Admin, None).await;
    let store = api.store.clone();
    let made = move || store.create_token("deploy-7", Role::Write, None).unwrap();
    let deploy = common::blocking(made).await.secret;
    let ask = api.get(&format!("{EVENTS}?from={begin}")).token(&admin);
    let mut stream = Stream::open(&api, ask).await;
    stream.expect("begin").await;
    stream.expect("txn").await;
    let (txn, replace) = ("/v1/tables/t/txn", "/v1/tables/t/replace");
    let ops = json!([{ "put": { "key": "k", "value": 4 } }]);
    let records = json!([{ "key": "k", "value": 5 }, { "key": "l", "value": "x".repeat(20_000) }]);
    let large = json!([{ "put": { "key": "l", "value": "y".repeat(20_000) } }]);
    let asks = [
        (api.put(record).json(put(2)), None),
        (
            api.put(&format!("{record}?note=a%20%22b%22")).json(put(3)),
            Some("a \"b\""),
        ),
        (
            api.post(txn)
                .json(json!({ "ops": ops, "note": "in the body" })),
            Some("in the body"),
        ),
        (
            api.post(txn).json(json!({ "ops": large, "note": "large" })),
            Some("large"),
        ),
        (
            api.post(replace)
                .json(json!({ "records": records, "note": "weekly" })),
            Some("weekly"),
        ),
        (
            api.post(&format!("{replace}?note=again"))
                .json(json!({ "records": records })),
            Some("again"),
        ),
        (
            api.post(&format!("{replace}?note=same"))
                .json(json!({ "records": records, "note": "same" })),
            Some("same"),
        ),
        (api.delete(&format!("{record}?note=gone")), Some("gone")),
    ];
    let mut wanted = vec![(None, Some("without a token"))];
    for (ask, note) in asks {
        ask.token(&deploy).written().await;
        let event = stream.expect("txn").await.data;
        assert_eq!(said(&event), (Some("deploy-7"), note));
        wanted.push((Some("deploy-7"), note));
    }
    let changes = api.get(&format!("/v1/tables/t/changes?from={begin}"));
    let changes = changes.token(&admin).expect(200).await.json();
    let changes = changes["changes"].as_array().unwrap().clone();
    assert_eq!(changes.iter().map(said).collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn who_asks_is_not_for_the_caller_to_say() {
    let api = Api::with_table("t").await;
    let start = api.store.table_info(&table("t")).unwrap().position;
    let (token, _) = api.token(Role::Admin, None).await;
    let (record, txn, replace) = (
        "/v1/tables/t/records/k",
        "/v1/tables/t/txn",
        "/v1/tables/t/replace",
    );
    let bodies = [
        (
            api.put(record),
            json!({ "value": 1, "actor": "ops" }),
            Code::BadRequest,
        ),
        (
            api.put(&format!("{record}?actor=ops")),
            json!({ "value": 1 }),
            Code::BadRequest,
        ),
        (
            api.post(txn),
            json!({ "ops": [{ "delete": { "key": "k" } }], "actor": "ops" }),
            Code::BadRequest,
        ),
        (
            api.post(replace),
            json!({ "records": [{ "key": "k", "value": 1 }], "actor": "ops" }),
            Code::BadRequest,
        ),
        // A note must have the right form, and occur once.
        (
            api.put(&format!("{record}?note=")),
            json!({ "value": 1 }),
            Code::InvalidName,
        ),
        (
            api.put(&format!("{record}?note=a%0Ab")),
            json!({ "value": 1 }),
            Code::InvalidName,
        ),
        (
            api.post(txn),
            json!({ "ops": [{ "delete": { "key": "k" } }], "note": "n".repeat(513) }),
            Code::InvalidName,
        ),
        (
            api.post(txn),
            json!({ "ops": [{ "delete": { "key": "k" } }], "note": null }),
            Code::BadRequest,
        ),
        (
            api.post(&format!("{txn}?note=a")),
            json!({ "ops": [{ "delete": { "key": "k" } }] }),
            Code::BadRequest,
        ),
        (
            api.post(&format!("{replace}?note=a")),
            json!({ "records": [{ "key": "k", "value": 1 }], "note": "b" }),
            Code::BadRequest,
        ),
    ];
    for (ask, body, code) in bodies {
        ask.token(&token).json(body).refused(400, code).await;
    }
    let now = api.store.table_info(&table("t")).unwrap().position;
    assert_eq!(now, start, "nothing was written");
}
