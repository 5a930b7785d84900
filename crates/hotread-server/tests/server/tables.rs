//! Tables, transactions, replacements, history, and the server's status.

use crate::common::{self, Api, table};
use hotread_proto::{Code, Key, Put, Txn, Value as Text};
use hotread_store::{History, Role, TableOptions};
use serde_json::{Value, json};

#[tokio::test]
async fn a_table_is_made_shown_listed_and_dropped() {
    let api = Api::start().await;
    let options = r#"{"search":true,"schema":{"type":"integer"},"history":{"max_changes":5}}"#;
    let made = api.put("/v1/tables/t").json(options).expect(201).await;
    let info = made.json();
    assert_eq!(
        (&info["name"], &info["seq"], &info["records"]),
        (&json!("t"), &json!(0), &json!(0))
    );
    assert_eq!(info["options"]["history"]["max_changes"], 5);
    let epoch = info["epoch"].as_str().unwrap();
    assert_eq!(made.header("etag").unwrap(), format!("\"{epoch}-0\""));
    api.put("/v1/tables/t")
        .refused(409, Code::TableExists)
        .await;
    api.put("/v1/tables/other").expect(201).await;

    let shown = api.get("/v1/tables/t").expect(200).await.json();
    assert_eq!(shown, info);
    let listed = api.get("/v1/tables").expect(200).await.json();
    assert_eq!(listed["tables"].as_array().unwrap().len(), 2);
    assert_eq!(listed["tables"][1]["digest"], info["digest"]);

    let put = api
        .put("/v1/tables/t/records/k")
        .json(r#"{"value":"text"}"#);
    let refused = put.refused(422, Code::SchemaViolation).await;
    assert_eq!(refused.json()["key"], "k");
    assert!(!refused.text().contains("text"), "values are not quoted");

    assert_eq!(
        api.delete("/v1/tables/t").expect(200).await.text(),
        r#"{"ok":true}"#
    );
    for ask in [api.get("/v1/tables/t"), api.delete("/v1/tables/t")] {
        ask.refused(404, Code::UnknownTable).await;
    }
    let put = api.put("/v1/tables/t/records/k").json(r#"{"value":1}"#);
    put.refused(404, Code::UnknownTable).await;
}

#[tokio::test]
async fn a_table_is_altered_while_it_is_used() {
    let api = Api::with_table("t").await;
    let path = "/v1/tables/t";
    let alter = |body: &str| api.ask("PATCH", path).json(body);
    let put = |value: &str| {
        let body = format!(r#"{{"value":{value}}}"#);
        api.put("/v1/tables/t/records/k").json(body)
    };
    put(r#""a secret""#).expect(201).await;
    let integers = r#"{"schema":{"type":"integer"},"history":{"max_changes":5}}"#;
    let refused = alter(integers).refused(422, Code::SchemaViolation).await;
    assert_eq!(refused.json()["key"], "k");
    assert!(!refused.text().contains("secret"), "values are not quoted");
    let before = api.get(path).expect(200).await.json();
    assert_eq!(before["options"]["history"]["max_changes"], 10_000);

    put("1").expect(200).await;
    let altered = alter(integers).expect(200).await;
    let info = altered.json();
    assert_eq!(info["options"]["history"]["max_changes"], 5);
    assert_eq!(
        (&info["epoch"], &info["seq"]),
        (&before["epoch"], &json!(2))
    );
    let etag = format!("\"{}-2\"", before["epoch"].as_str().unwrap());
    assert_eq!(altered.header("etag").unwrap(), etag);
    put("2").expect(200).await;
    put(r#""text""#).refused(422, Code::SchemaViolation).await;
    alter(r#"{"schema":null}"#).expect(200).await;
    put(r#""text""#).expect(200).await;

    for (body, code) in [
        (r#"{"schema":{"type":"nothing"}}"#, Code::InvalidOptions),
        (r#"{"sealed":true}"#, Code::BadRequest),
        (r#"{"history":null}"#, Code::BadRequest),
        (r#"{"history":{"max_changes":-1}}"#, Code::BadRequest),
        (r#"{"schema":1,"schema":2}"#, Code::BadRequest),
        (r#"{"search":null}"#, Code::BadRequest),
        (r#"{"name":""}"#, Code::BadRequest),
        ("", Code::BadRequest),
    ] {
        alter(body).refused(400, code).await;
    }
    let unknown = api.ask("PATCH", "/v1/tables/other").json("{}");
    unknown.refused(404, Code::UnknownTable).await;
    api.token(Role::Admin, None).await;
    let (writer, _) = api.token(Role::Write, Some(&["t"])).await;
    let forbidden = alter("{}").token(&writer);
    forbidden.refused(403, Code::Forbidden).await;
}

#[tokio::test]
async fn a_table_gets_an_index_and_another_name() {
    let api = Api::with_table("t").await;
    let alter =
        |table: &str, body: &str| api.ask("PATCH", &format!("/v1/tables/{table}")).json(body);
    let put = api
        .put("/v1/tables/t/records/k")
        .json(r#"{"value":"a word"}"#);
    put.expect(201).await;
    alter("t", r#"{"search":true}"#).expect(200).await;
    let found = api
        .get("/v1/tables/t/search?q=word")
        .expect(200)
        .await
        .json();
    assert_eq!(found["records"][0]["key"], "k");

    let (admin, _) = api.token(Role::Admin, None).await;
    let (of_one, _) = api.token(Role::Admin, Some(&["t"])).await;
    let rename = r#"{"name":"u"}"#;
    let forbidden = alter("t", rename).token(&of_one);
    forbidden.refused(403, Code::Forbidden).await;
    let renamed = alter("t", rename).token(&admin).expect(200).await.json();
    assert_eq!(
        (&renamed["name"], &renamed["seq"]),
        (&json!("u"), &json!(1))
    );
    let gone = api.get("/v1/tables/t").token(&admin);
    gone.refused(404, Code::UnknownTable).await;
    let there = api.get("/v1/tables/u/records/k").token(&admin);
    let record = there.expect(200).await.json();
    assert_eq!(record["record"]["value"], "a word");
    alter("u", r#"{"search":false}"#)
        .token(&admin)
        .expect(200)
        .await;
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused() {
    let api = Api::start().await;
    for (options, status, code) in [
        (
            r#"{"sealed":true,"search":true}"#,
            400,
            Code::InvalidOptions,
        ),
        (
            r#"{"schema":{"type":"nothing"}}"#,
            400,
            Code::InvalidOptions,
        ),
        (r#"{"sealed":true}"#, 409, Code::Sealed),
        (r#"{"serach":true}"#, 400, Code::BadRequest),
        (r#"{"history":{"max_age":1}}"#, 400, Code::BadRequest),
        ("[]", 400, Code::BadRequest),
    ] {
        api.put("/v1/tables/t")
            .json(options)
            .refused(status, code)
            .await;
    }
    let sealed = api.put("/v1/tables/t").json(r#"{"sealed":true}"#);
    let message = sealed.refused(409, Code::Sealed).await.text();
    let advice = "it is sealed; give its passphrase when starting the server\"";
    assert!(message.contains(advice), "{message}");
    api.put("/v1/tables/T")
        .refused(400, Code::InvalidName)
        .await;
    api.put(&format!("/v1/tables/{}", "x".repeat(65)))
        .refused(400, Code::InvalidName)
        .await;
}

#[tokio::test]
async fn a_transaction_is_done_whole_or_not_at_all() {
    let api = Api::with_table("t").await;
    let path = "/v1/tables/t/txn";
    let txn = json!({
        "id": "one",
        "ops": [{"put": {"key": "a", "value": 1}}, {"put": {"key": "b", "value": 1.0}}, {"delete": {"key": "c"}}],
        "if": [{"key": "a", "if_absent": true}],
    });
    let first = api.post(path).json(&txn).expect(200).await;
    assert_eq!(api.post(path).json(&txn).expect(200).await.body, first.body);
    let by_header = api.post(path).header("Idempotency-Key", "one").json(&txn);
    assert_eq!(by_header.expect(200).await.body, first.body);
    let two = api.post(path).header("Idempotency-Key", "two").json(&txn);
    two.refused(400, Code::BadRequest).await;

    let failing = json!({
        "ops": [{"put": {"key": "d", "value": 1}}],
        "if": [{"key": "a", "if_seq": 1}, {"key": "b", "if_absent": true}],
    });
    let failed = api
        .post(path)
        .json(failing)
        .refused(412, Code::PreconditionFailed)
        .await;
    assert_eq!(
        (&failed.json()["key"], &failed.json()["seq"]),
        (&json!("b"), &json!(1))
    );
    api.get("/v1/tables/t/records/d")
        .refused(404, Code::NotFound)
        .await;

    let op = json!({"delete": {"key": "k"}});
    let many = json!({"ops": vec![op; 1_001]});
    for (body, status, code) in [
        (json!({"ops": []}), 400, Code::BadRequest),
        (many, 413, Code::TooLarge),
        (
            json!({"ops": [{"put": {"key": "", "value": 1}}]}),
            400,
            Code::InvalidName,
        ),
        (
            json!({"ops": [{"delete": {"key": "k", "if_seq": 1}}]}),
            400,
            Code::BadRequest,
        ),
        (
            json!({"ops": [{"delete": {"key": "k"}}], "id": "a b"}),
            400,
            Code::InvalidName,
        ),
        (
            json!({"ops": [{"delete": {"key": "k"}}], "iff": []}),
            400,
            Code::BadRequest,
        ),
    ] {
        api.post(path).json(body).refused(status, code).await;
    }
}

#[tokio::test]
async fn large_transactions_take_the_same_way() {
    let api = Api::with_table("t").await;
    let value = "x".repeat(8_000);
    let ops: Vec<_> = (0..500)
        .map(|n| json!({"put": {"key": format!("{n}"), "value": value}}))
        .collect();
    let committed = api
        .post("/v1/tables/t/txn")
        .json(json!({ "ops": ops }))
        .expect(200)
        .await;
    assert!(committed.position().ends_with(":1"));
    let info = api.get("/v1/tables/t").expect(200).await.json();
    assert_eq!(info["records"], 500);
    let too_large: Vec<_> = (0..9)
        .map(|n| json!({"put": {"key": format!("{n}"), "value": "x".repeat(1_000_000)}}))
        .collect();
    let too_large = api
        .post("/v1/tables/t/txn")
        .json(json!({ "ops": too_large }));
    too_large.refused(413, Code::TooLarge).await;
}

#[tokio::test]
async fn a_replacement_that_would_delete_most_is_refused() {
    let api = Api::with_table("t").await;
    let path = "/v1/tables/t/replace";
    let body = |count: u32, max: Option<u32>| {
        let record = |n: u32| json!({"key": n.to_string(), "value": 1});
        let records: Vec<_> = (0..count).map(record).collect();
        match max {
            Some(max) => json!({"records": records, "max_delete_percent": max}),
            None => json!({"records": records}),
        }
    };
    api.post(path).json(body(100, None)).expect(200).await;
    for (count, max) in [(49, None), (98, Some(1)), (80, Some(19)), (1, Some(98))] {
        let ask = api.post(path).json(body(count, max));
        let deleted = 100 - count;
        // Ten deletions are always allowed.
        if deleted <= 10 {
            ask.expect(200).await;
            api.post(path).json(body(100, None)).expect(200).await;
            continue;
        }
        let refused = ask.refused(412, Code::PreconditionFailed).await.json();
        let message = refused["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("delete {deleted} of 100")),
            "{message}"
        );
    }
    api.post(path).json(body(1, Some(100))).expect(200).await;
}

#[tokio::test]
async fn a_replacement_changes_what_differs() {
    let api = Api::with_table("t").await;
    let path = "/v1/tables/t/replace";
    let records = |keys: &[&str]| {
        let record = |key: &&str| json!({"key": key, "value": 1});
        json!({"records": keys.iter().map(record).collect::<Vec<_>>()})
    };
    let answer = api
        .post(path)
        .json(records(&["a", "b", "c"]))
        .expect(200)
        .await
        .json();
    assert_eq!(
        (&answer["written"], &answer["deleted"]),
        (&json!(3), &json!(0))
    );
    let again = || {
        api.post(path)
            .header("Idempotency-Key", "r")
            .json(records(&["b", "c", "d"]))
    };
    let answer = again().expect(200).await;
    let counts = (&answer.json()["written"], &answer.json()["deleted"]);
    assert_eq!(counts, (&json!(1), &json!(1)));
    assert_eq!(again().expect(200).await.position(), answer.position());
    let list = api.get("/v1/tables/t/records").expect(200).await.json();
    let seqs: Vec<_> = list["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["seq"])
        .collect();
    assert_eq!(seqs, [1, 1, 2], "what stays as it is keeps its seq");
    api.post(path)
        .json(records(&[]))
        .refused(400, Code::BadRequest)
        .await;
    let empty = json!({"records": [], "allow_empty": true, "if_seq": 1});
    let refused = api.post(path).json(empty);
    let refused = refused.refused(412, Code::PreconditionFailed).await;
    assert_eq!(refused.json()["seq"], 2);
    let empty = json!({"records": [], "allow_empty": true, "if_seq": 2});
    let empty = api.post(path).json(empty).expect(200).await.json();
    assert_eq!(empty["deleted"], 3);
    let bad = json!({"records": [{"key": "a", "value": 1, "category": ""}]});
    let bad = api
        .post(path)
        .json(bad)
        .refused(400, Code::InvalidName)
        .await;
    assert_eq!(bad.json()["key"], "a", "it says which record it is");
}

#[tokio::test]
async fn changes_are_those_after_a_position() {
    let api = Api::with_table("t").await;
    let mut positions = vec![{
        let info = api.get("/v1/tables/t").expect(200).await.json();
        format!("{}:0", info["epoch"].as_str().unwrap())
    }];
    for n in 1..=3 {
        let put = api
            .put("/v1/tables/t/records/k")
            .json(json!({ "value": n }));
        positions.push(put.written().await.position());
    }
    let deleted = api.delete("/v1/tables/t/records/k").expect(200).await;
    positions.push(deleted.position());

    let path = |from: &str, more: &str| format!("/v1/tables/t/changes?from={from}{more}");
    let all = api.get(&path(&positions[0], "")).expect(200).await.json();
    let changes = all["changes"].as_array().unwrap();
    let seqs: Vec<_> = changes
        .iter()
        .map(|change| change["to"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(changes[1]["ops"][0]["put"]["value"], 2);
    assert_eq!(changes[3]["ops"], json!([{"delete": {"key": "k"}}]));
    assert_eq!(
        (&changes[2]["count"], &changes[3]["count"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        (&all["position"]["seq"], &all["floor"]),
        (&json!(4), &json!(1))
    );
    let info = api.get("/v1/tables/t").expect(200).await.json();
    assert_eq!(changes[3]["digest"], info["digest"]);

    let some = api
        .get(&path(&positions[1], "&limit=2"))
        .expect(200)
        .await
        .json();
    let some = some["changes"].as_array().unwrap();
    assert_eq!((some.len(), &some[0]["from"]), (2, &json!(2)));
    let none = api.get(&path(&positions[4], "")).expect(200).await.json();
    assert_eq!(none["changes"], json!([]));

    let future = positions[4].replace(":4", ":5");
    api.get(&path(&future, ""))
        .refused(410, Code::EpochChanged)
        .await;
    api.get(&path("0000000000000000:1", ""))
        .refused(410, Code::EpochChanged)
        .await;
    api.get("/v1/tables/t/changes")
        .refused(400, Code::BadRequest)
        .await;
    for bad in ["1", "x:1", "0000000000000000", "0000000000000000:-1"] {
        api.get(&path(bad, "")).refused(400, Code::BadRequest).await;
    }
}

#[tokio::test]
async fn below_the_floor_the_history_is_gone() {
    let api = Api::start().await;
    let options = TableOptions {
        history: History {
            max_changes: 1,
            ..History::default()
        },
        ..TableOptions::default()
    };
    api.create("t", options).await;
    let first = api.put("/v1/tables/t/records/k").json(r#"{"value":0}"#);
    let first = first.written().await.position();
    let path = format!("/v1/tables/t/changes?from={first}");
    // The history is trimmed from time to time.
    let gone = async {
        loop {
            let store = api.store.clone();
            common::blocking(move || {
                let put = Put::new(Key::new("k").unwrap(), Text::parse(b"1").unwrap());
                for _ in 0..100 {
                    store
                        .commit(&table("t"), Txn::new().put(put.clone()))
                        .unwrap();
                }
            })
            .await;
            let reply = api.get(&path).send().await;
            if reply.status == 410 {
                break reply;
            }
        }
    };
    let gone = common::hang(gone).await;
    assert_eq!(gone.code(), Code::Gone.as_str());
    let events = api.get(&format!("/v1/tables/t/events?from={first}"));
    events.refused(410, Code::Gone).await;
}

#[tokio::test]
async fn the_status_is_that_of_tables_sessions_and_the_store() {
    let api = Api::with_table("t").await;
    api.put("/v1/tables/t/records/k")
        .json(r#"{"value":1}"#)
        .written()
        .await;
    let status = api.get("/v1/status").expect(200).await.json();
    let here = &status["tables"][0];
    assert_eq!(
        (&here["head"], &here["records"], &here["floor"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&here["sessions"], &status["sessions"]),
        (&json!(0), &json!([]))
    );
    assert_eq!(status["store"]["committed"], 1);
    assert_eq!(status["store"]["halted"], Value::Null);
}

#[tokio::test]
async fn health_readiness_and_the_description_are_there() {
    let api = Api::start().await;
    api.get("/healthz").expect(200).await;
    api.get("/readyz").expect(200).await;
    let doc = api.get("/v1/openapi.json").expect(200).await;
    assert_eq!(doc.json()["openapi"], "3.1.0");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "private, no-cache"),
    ] {
        assert_eq!(doc.header(name), Some(value));
    }
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_no_client() {
    let api = Api::with_table("t").await;
    api.put("/v1/tables/t/records/k")
        .json(r#"{"value":1}"#)
        .written()
        .await;
    api.get("/v1/tables/t/records/none").expect(404).await;
    api.get("/nothing").refused(404, Code::UnknownRoute).await;
    let reply = api.get("/metrics").expect(200).await;
    let text = String::from_utf8(reply.body).unwrap();
    let record = "/v1/tables/{table}/records/{key}";
    for line in [
        "hotread_commits_total 1".to_owned(),
        "hotread_commit_groups_total 1".to_owned(),
        "hotread_sqlite_commit_seconds_count 1".to_owned(),
        r#"hotread_sqlite_commit_seconds_bucket{le="+Inf"} 1"#.to_owned(),
        r#"hotread_commit_group_size_bucket{le="1.0"} 1"#.to_owned(),
        "hotread_connections 1".to_owned(),
        "hotread_nacks_total 0".to_owned(),
        "hotread_wal_held 0".to_owned(),
        format!(r#"hotread_http_requests_total{{method="PUT",route="{record}",status="2xx"}} 1"#),
        format!(r#"hotread_http_requests_total{{method="GET",route="{record}",status="4xx"}} 1"#),
        r#"hotread_http_requests_total{method="any",route="unknown",status="4xx"} 1"#.to_owned(),
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line} is missing in\n{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains("127.0.0.1"), "{text}");
    let wal = text
        .lines()
        .find(|line| line.starts_with("hotread_wal_bytes "))
        .unwrap();
    assert_ne!(wal, "hotread_wal_bytes 0");

    let (limited, _) = {
        api.token(Role::Admin, None).await;
        api.token(Role::Read, Some(&["t"])).await
    };
    api.get("/metrics")
        .token(&limited)
        .refused(403, Code::Forbidden)
        .await;
}
