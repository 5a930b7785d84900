//! Calls through proxies that answer in the server's place, and that change paths.

use crate::common::proxy::Says::{Instead, Nothing, Truth};
use crate::common::proxy::{Cable, Proxy, Says};
use crate::common::server::Api;
use hotread_client::{
    Client, Code, Error, Key, Put, Replace, Role, Scan, TableOptions, Txn, TxnId, Value,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const GATEWAY_TIMEOUT: Says = Instead(
    "HTTP/1.1 504 Gateway Timeout\r\nconnection: close\r\ncontent-length: 7\r\n\r\ntimeout",
);

/// Answers of proxies when a server takes too long, restarts, or answers something that the proxy rejects.
const LIES: [Says; 8] = [
    GATEWAY_TIMEOUT,
    Instead("HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    Instead("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
    Instead(
        "HTTP/1.1 500 x\r\nconnection: close\r\ncontent-length: 21\r\n\r\n{\"message\":\"upstream\"}",
    ),
    Instead("HTTP/1.1 403 x\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>"),
    Instead(
        "HTTP/1.1 302 Found\r\nlocation: /login\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    ),
    Instead("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>"),
    Nothing,
];

/// Returns a server, a proxy before it that leaves paths unchanged, and a client of the proxy.
async fn proxied() -> (Api, Proxy, Client) {
    let api = Api::start().await;
    let proxy = Proxy::start(api.address, str::to_owned).await;
    let client = Client::builder(&proxy.url()).build().unwrap();
    (api, proxy, client)
}

fn put(key: &str) -> Put {
    Put::new(Key::new(key).unwrap(), Value::parse(b"1").unwrap())
}

#[tokio::test]
async fn a_write_that_a_proxy_answers_for_is_done_once() {
    let (api, proxy, client) = proxied().await;
    for (n, lie) in (1_u64..).step_by(4).zip(LIES) {
        let again = || proxy.says(std::slice::from_ref(&lie));
        again();
        let at = client.put("t", "a", &n).await.unwrap();
        assert_eq!(at.seq, n, "{lie:?}");
        again();
        assert_eq!(client.delete("t", "a").await.unwrap().seq, n + 1, "{lie:?}");
        again();
        let txn = Txn::new().put(put("b")).put(put("c"));
        let committed = client.txn("t", txn).await.unwrap();
        assert_eq!(committed.position.seq, n + 2, "{lie:?}");
        again();
        let new = Replace {
            records: vec![put("d")],
            ..Replace::default()
        };
        let replaced = client.replace("t", new).await.unwrap();
        assert_eq!(replaced.committed.position.seq, n + 3, "{lie:?}");
    }
    let table = api.client(None).await.table_info("t").await.unwrap();
    assert_eq!(table.position.seq, 4 * LIES.len() as u64);
}

#[tokio::test]
async fn a_read_that_a_proxy_answers_for_is_asked_again() {
    let (_api, proxy, client) = proxied().await;
    client.put("t", "a", &1).await.unwrap();
    for lie in LIES {
        proxy.says(std::slice::from_ref(&lie));
        let record = client.get("t", "a").await.unwrap().unwrap();
        assert_eq!(record.value(), b"1", "{lie:?}");
    }
}

#[tokio::test]
async fn a_write_that_only_a_proxy_answers_is_unknown_and_its_id_finds_out() {
    let (api, proxy, client) = proxied().await;
    proxy.says(&[const { GATEWAY_TIMEOUT }; 6]);
    let unknown = client.put("t", "a", &1).await.unwrap_err();
    assert_eq!(unknown.code(), Code::CommitUnknown);
    assert!(unknown.to_string().contains("retry it with this id"));
    let Error::CommitUnknown { id, cause } = unknown else {
        panic!("{unknown:?}")
    };
    assert!(cause.contains("504"), "{cause}");
    let txn = Txn {
        id: Some(id),
        ..Txn::new().put(put("a"))
    };
    let found = client.txn("t", txn).await.unwrap();
    assert_eq!(found.position.seq, 1);
    assert_eq!(
        api.client(None)
            .await
            .table_info("t")
            .await
            .unwrap()
            .position
            .seq,
        1
    );
}

#[tokio::test]
async fn a_change_without_an_id_that_a_proxy_answers_for_is_unknown() {
    let (api, proxy, client) = proxied().await;
    let admin = api.client(None).await;
    let unknown = |result: Result<(), Error>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        assert_eq!(error.code(), Code::CommitUnknown);
        assert!(error.to_string().contains(what), "{error}");
    };
    let lie = || proxy.says(&[GATEWAY_TIMEOUT]);
    lie();
    let created = client.create_table("new", &TableOptions::default()).await;
    unknown(created.map(drop), "whether it exists");
    assert!(admin.table_info("new").await.is_ok());
    lie();
    unknown(client.drop_table("new").await, "still exists");
    assert_eq!(
        admin.table_info("new").await.unwrap_err().code(),
        Code::UnknownTable
    );
    lie();
    let created = client.create_token("root", Role::Admin, None).await;
    unknown(created.map(drop), "revoke it");
}

/// Rewrites a path as nginx does when it forwards a rewritten one.
fn normalised(path: &str) -> String {
    let path = path
        .replace("%2F", "/")
        .replace("%2E", ".")
        .replace("%25", "%");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[tokio::test]
async fn each_key_is_read_as_it_is_through_a_proxy_that_normalises_paths() {
    let api = Api::start().await;
    let proxy = Proxy::start(api.address, normalised).await;
    let client = Client::builder(&proxy.url()).build().unwrap();
    for key in [".", ".."] {
        // No path can contain them.
        let refused = client.get("t", key).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidName);
    }
    let keys = [
        "b", "a/../b", "a//b", "a/b", "a%2Fb", "a%2fb", "/", "a\\b", "a b", "é", "b/", "b?c#d",
    ];
    for (n, key) in keys.iter().enumerate() {
        assert!(client.get("t", key).await.unwrap().is_none(), "{key}");
        client.put("t", key, &n).await.unwrap();
    }
    for (n, key) in keys.iter().enumerate() {
        let record = client.get("t", key).await.unwrap().unwrap();
        assert_eq!(
            (record.key(), record.value()),
            (*key, n.to_string().as_bytes())
        );
    }
    // The first key with this prefix is another one.
    assert!(client.get("t", "a/").await.unwrap().is_none());
    for key in keys {
        client.delete("t", key).await.unwrap();
        assert!(client.get("t", key).await.unwrap().is_none(), "{key}");
    }
    let refused = client.revoke_token("..").await.unwrap_err();
    assert_eq!(refused.code(), Code::UnknownToken);
}

#[tokio::test]
async fn another_record_than_was_asked_for_is_no_answer() {
    let api = Api::start().await;
    let always_b = |path: &str| match path.split_once("/records/") {
        Some((table, _)) => format!("{table}/records/b"),
        None => path.to_owned(),
    };
    let proxy = Proxy::start(api.address, always_b).await;
    let client = Client::builder(&proxy.url()).build().unwrap();
    client.put("t", "b", &1).await.unwrap();
    let strange = client.get("t", "a").await.unwrap_err();
    assert_eq!(strange.code(), Code::ProtocolError);
    assert!(client.get("t", "b").await.unwrap().is_some());
}

#[tokio::test]
async fn an_answer_that_comes_while_the_body_is_still_being_sent_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"code":"TOO_LARGE","message":"the body has more than 10 bytes"}"#;
    let answered = tokio::spawn(async move {
        let mut attempts = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            attempts += 1;
            // The head, and no more: unread bytes make the system reset the connection.
            let mut head = [0; 64];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head)
                .await
                .unwrap();
            let answer = format!(
                "HTTP/1.1 413 x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            assert!(attempts < 10);
        }
    });
    let client = Client::builder(&url).build().unwrap();
    let mut records = Vec::new();
    for n in 0..200 {
        let value = Value::serialize(&"x".repeat(100_000)).unwrap();
        records.push(Put::new(Key::new(&n.to_string()).unwrap(), value));
    }
    let id = Some(TxnId::new("large").unwrap());
    let new = Replace {
        id,
        records,
        ..Replace::default()
    };
    let refused = client.replace("t", new).await;
    assert_eq!(refused.unwrap_err().code(), Code::TooLarge);
    answered.abort();
}

/// Shorter than any of the transfers below.
const SILENCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_large_page_comes_over_a_slow_link() {
    let api = Api::start().await;
    let text = "x".repeat(1_000);
    let puts = (0..300).map(|n| {
        let value = Value::serialize(&text).unwrap();
        Put::new(Key::new(&format!("{n:03}")).unwrap(), value)
    });
    let txn = puts.fold(Txn::new(), Txn::put);
    api.client(None).await.txn("t", txn).await.unwrap();
    // 300 kB, which take six seconds.
    let cable = Cable::slow(api.address, 50_000).await;
    let client = Client::builder(&format!("http://{}", cable.address));
    let client = client.max_silence(SILENCE).build().unwrap();
    let scan = Scan {
        limit: 300,
        ..Scan::default()
    };
    let page = client.scan("t", &scan).await.unwrap();
    assert_eq!(page.records.len(), 300);
}

#[tokio::test]
async fn a_large_body_is_sent_over_a_slow_link() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let takes = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut part = vec![0; 128 << 10];
            let mut bytes = 0;
            while bytes < 3_000_000 {
                tokio::time::sleep(Duration::from_millis(300)).await;
                match stream.read(&mut part).await {
                    Ok(more @ 1..) => bytes += more,
                    _ => break,
                }
            }
            told.send(bytes).unwrap();
            let answer = "HTTP/1.1 413 x\r\nconnection: close\r\ncontent-length: 35\r\n\r\n\
                          {\"code\":\"TOO_LARGE\",\"message\":\"it\"}";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let client = Client::builder(&url).max_silence(SILENCE).build().unwrap();
    let text = Value::serialize(&"x".repeat(100_000)).unwrap();
    let records = (0..30).map(|n| Put::new(Key::new(&n.to_string()).unwrap(), text.clone()));
    let new = Replace {
        records: records.collect(),
        ..Replace::default()
    };
    let refused = client.replace("t", new).await.unwrap_err();
    assert_eq!(refused.code(), Code::TooLarge, "{refused}");
    assert!(
        taken.recv().await.unwrap() >= 3_000_000,
        "at the first attempt"
    );
    takes.abort();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::builder(&url).max_silence(Duration::from_millis(100));
    let client = client.build().unwrap();
    let error = client.table_info("t").await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
}

#[tokio::test]
async fn a_proxy_that_passes_everything_on_is_not_noticed() {
    let (_api, proxy, client) = proxied().await;
    proxy.says(&[Truth]);
    client.put("t", "a", &1).await.unwrap();
    let missing = client.get("nope", "a").await.unwrap_err();
    assert_eq!(missing.code(), Code::UnknownTable);
}
