//! Calls against a server that answers from a script.

use crate::common::Reply::{Answer, Nothing};
use crate::common::Scripted;
use hotread_client::{
    Client, Code, Condition, Error, Key, Put, Role, Scan, Search, TableOptions, Txn, Value,
};
use std::time::Duration;
use tokio::net::TcpSocket;

const COMMITTED: &str = r#"{"ok":true,"position":{"epoch":"0000000000000001","seq":7},"at":"2026-01-02T03:04:05.678Z"}"#;

async fn client(server: &Scripted) -> Client {
    let builder = Client::builder(&server.url()).token("hr_x");
    builder.build().unwrap()
}

fn error(code: &str) -> String {
    format!(r#"{{"code":"{code}","message":"no"}}"#)
}

#[tokio::test]
async fn a_write_is_repeated_with_the_same_id_until_it_is_answered() {
    let server = Scripted::start(vec![
        Nothing,
        Answer(503, error("BUSY")),
        Answer(429, error("RATE_LIMITED")),
        Answer(500, error("COMMIT_UNKNOWN")),
        Answer(200, COMMITTED.to_owned()),
    ])
    .await;
    let at = client(&server).await.put("t", "k", &[1, 2]).await.unwrap();
    assert_eq!(at.seq, 7);
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| request.1 == requests[0].1));
    let (head, body) = &requests[0];
    assert!(head.starts_with("POST /v1/tables/t/txn "), "{head}");
    assert!(head.contains("authorization: Bearer hr_x"), "{head}");
    let txn: Txn = serde_json::from_str(body).unwrap();
    assert_eq!(txn.id.unwrap().as_str().len(), 32);
}

#[tokio::test]
async fn a_write_whose_outcome_stays_unknown_says_so_with_its_id() {
    let server = Scripted::start((0..6).map(|_| Nothing).collect()).await;
    let failed = client(&server).await.delete("t", "k").await.unwrap_err();
    let Error::CommitUnknown { id, .. } = failed else {
        panic!("{failed:?}");
    };
    let requests = server.requests();
    assert_eq!(requests.len(), 6);
    assert!(
        requests
            .iter()
            .all(|request| request.1.contains(id.as_str()))
    );
}

#[tokio::test]
async fn a_definite_no_is_not_tried_again() {
    let server = Scripted::start(vec![Answer(412, error("PRECONDITION_FAILED"))]).await;
    let put = Put::new(Key::new("k").unwrap(), Value::parse(b"1").unwrap());
    let put = client(&server)
        .await
        .put_record("t", put, Some(Condition::Seq(3)))
        .await;
    assert!(
        matches!(put, Err(Error::Api { status: Some(412), ref body })
        if body.code == Code::PreconditionFailed),
        "{put:?}"
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].1.contains(r#""if":[{"key":"k","if_seq":3}]"#),
        "{}",
        requests[0].1
    );
}

#[tokio::test]
async fn a_refusal_that_is_not_about_the_transaction_leaves_it_unknown() {
    let strange = || Answer(504, "<html>".to_owned());
    for (code, status, known) in [
        ("UNAUTHENTICATED", 401, false),
        ("STORAGE_FULL", 507, false),
        ("SCHEMA_VIOLATION", 422, false),
        ("PRECONDITION_FAILED", 412, true),
        ("TXN_ID_REUSED", 409, true),
    ] {
        // The first attempt may have been committed before the answer was lost.
        let server = Scripted::start(vec![strange(), Answer(status, error(code))]).await;
        let failed = client(&server).await.put("t", "k", &1).await.unwrap_err();
        let expected = if known { code } else { "COMMIT_UNKNOWN" };
        assert_eq!(failed.code().as_str(), expected);
        let server = Scripted::start(vec![Answer(status, error(code))]).await;
        let failed = client(&server).await.put("t", "k", &1).await.unwrap_err();
        assert_eq!(failed.code().as_str(), code, "the only attempt");
    }
}

#[tokio::test]
async fn what_is_not_harmless_is_sent_once() {
    let server = Scripted::start(vec![Nothing, Nothing]).await;
    let client = client(&server).await;
    let made = client.create_table("t", &TableOptions::default()).await;
    assert_eq!(made.unwrap_err().code(), Code::CommitUnknown);
    assert_eq!(server.requests().len(), 1);
    let made = client.create_token("n", Role::Read, None).await;
    assert_eq!(made.unwrap_err().code(), Code::CommitUnknown);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_change_without_an_id_waits_for_a_server_that_restarts() {
    // Bound without listening: connections are refused.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", reserved.local_addr().unwrap());
    let client = Client::builder(&url).build().unwrap();
    let made = async { client.create_table("t", &TableOptions::default()).await };
    let restarted = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Scripted::on(
            reserved.listen(16).unwrap(),
            vec![Answer(403, error("FORBIDDEN"))],
        )
    };
    let (made, server) = tokio::join!(made, restarted);
    assert_eq!(made.unwrap_err().code(), Code::Forbidden);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_even_for_writes() {
    let server = Scripted::start(vec![]).await;
    let url = server.url();
    drop(server);
    let client = Client::builder(&url).build().unwrap();
    // The listener is dropped with its task.
    loop {
        let failed = client.put("t", "k", &1).await.unwrap_err();
        if matches!(failed, Error::Unreachable(_)) {
            break;
        }
    }
}

fn words(query: &str) -> Search {
    Search {
        query: query.to_owned(),
        ..Search::default()
    }
}

#[tokio::test]
async fn records_are_read_with_their_values_as_they_are() {
    let record = r#"{"key":"a.b","value":1.0,"category":"general","seq":3,"updated_at":"2026-01-02T03:04:05.678Z","h":"00000000000000000000000000000005"}"#;
    let position = r#""position":{"epoch":"0000000000000001","seq":7}"#;
    let mut replies = vec![
        Answer(
            200,
            format!(r#"{{"ok":true,"record":{record},{position}}}"#),
        ),
        Answer(404, error("NOT_FOUND")),
        Answer(404, error("UNKNOWN_TABLE")),
        Answer(
            200,
            format!(r#"{{"ok":true,"records":[{record}],"next":"a.b",{position}}}"#),
        ),
        Answer(200, format!(r#"{{"ok":true,"records":[],{position}}}"#)),
    ];
    replies.extend((0..6).map(|_| Answer(200, "<html>".to_owned())));
    let server = Scripted::start(replies).await;
    let client = client(&server).await;
    let record = client.get("t", "a.b").await.unwrap().unwrap();
    assert_eq!((record.key(), record.value()), ("a.b", &b"1.0"[..]));
    assert!(client.get("t", "a.b").await.unwrap().is_none());
    let refused = client.get("t", "a.b").await.unwrap_err();
    assert_eq!(refused.code(), Code::UnknownTable);
    let scan = Scan {
        prefix: "a b".to_owned(),
        limit: 1,
        ..Scan::default()
    };
    let page = client.scan("t", &scan).await.unwrap();
    assert_eq!(
        (page.records.len(), page.next.unwrap().as_str()),
        (1, "a.b")
    );
    let found = client.search("t", &words("x y")).await.unwrap();
    assert!(found.records.is_empty());
    let strange = client.search("t", &words("x")).await.unwrap_err();
    assert_eq!(strange.code(), Code::ProtocolError);
    let heads = server.requests();
    let line = |n: usize| heads[n].0.lines().next().unwrap().to_owned();
    assert_eq!(line(0), "GET /v1/tables/t/records/a.b HTTP/1.1");
    assert_eq!(
        line(3),
        "GET /v1/tables/t/records?prefix=a%20b&limit=1 HTTP/1.1"
    );
    assert_eq!(line(4), "GET /v1/tables/t/search?q=x%20y HTTP/1.1");
}

#[tokio::test]
async fn what_is_wrong_from_the_start_is_not_sent() {
    let server = Scripted::start(vec![]).await;
    let client = client(&server).await;
    let code = |result: Result<_, Error>| result.unwrap_err().code();
    assert_eq!(code(client.put("T", "k", &1).await), Code::InvalidName);
    assert_eq!(code(client.put("t", "", &1).await), Code::InvalidName);
    let empty = client
        .txn("t", Txn::new())
        .await
        .map(|committed| committed.position);
    assert_eq!(code(empty), Code::BadRequest);
    assert!(server.requests().is_empty());
}
