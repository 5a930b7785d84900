//! Records over HTTP: written values are read again, under every possible key; conditions, ids, expiry,
//! pages.

use crate::common::{self, Api, Reply, table};
use hotread_proto::Code;
use hotread_proto::{Key, Put, Timestamp, Txn, Value as Text};
use hotread_store::TableOptions;
use serde_json::{Value, json};

async fn api() -> Api {
    Api::with_table("t").await
}

fn etag(reply: &Reply) -> String {
    reply.header("etag").unwrap().to_owned()
}

#[tokio::test]
async fn a_record_is_read_as_it_was_written() {
    let api = api().await;
    let body = r#"{"value": {"rate": 1.0, "big": 9007199254740993}, "category": "c", "expires_at": "2099-01-01T00:00:00Z"}"#;
    let put = api
        .put("/v1/tables/t/records/k")
        .json(body)
        .expect(201)
        .await;
    assert_eq!(put.json()["key"], "k");
    let got = api.get("/v1/tables/t/records/k").expect(200).await;
    assert_eq!(etag(&got), etag(&put));
    assert_eq!(got.position(), put.position());
    let text = String::from_utf8(got.body.clone()).unwrap();
    assert!(
        text.contains(r#""value":{"rate":1.0,"big":9007199254740993}"#),
        "{text}"
    );
    let record = &got.json()["record"];
    assert_eq!(record["category"], "c");
    assert_eq!(record["expires_at"], "2099-01-01T00:00:00.000Z");
    assert_eq!(record["updated_at"], put.json()["at"]);

    // Written whole; the earlier category and expiry are gone.
    api.put("/v1/tables/t/records/k")
        .json(r#"{"value":null}"#)
        .expect(200)
        .await;
    let record = api.get("/v1/tables/t/records/k").expect(200).await.json();
    assert_eq!(record["record"]["value"], Value::Null);
    assert_eq!(record["record"]["category"], "general");
    assert_eq!(record["record"].get("expires_at"), None);

    let deleted = api.delete("/v1/tables/t/records/k").expect(200).await;
    assert_eq!(deleted.json()["key"], "k");
    assert!(deleted.position().ends_with(":3"));
    let gone = api
        .get("/v1/tables/t/records/k")
        .refused(404, Code::NotFound)
        .await;
    assert_eq!(gone.json()["key"], "k");
    api.delete("/v1/tables/t/records/k")
        .refused(404, Code::NotFound)
        .await;
    let at = api.get("/v1/tables/t").expect(200).await.json()["seq"].clone();
    assert_eq!(at, 3, "nothing was committed for what is not there");
}

#[tokio::test]
async fn every_key_has_a_url() {
    let api = api().await;
    let long = "x".repeat(512);
    for (url, key) in [
        ("a%2Fb%2fc", "a/b/c"),
        ("100%25", "100%"),
        ("%2541", "%41"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%D0%BA%D0%BB%D1%8E%D1%87%F0%9F%98%80", "ключ😀"),
        ("a%3Fb%23c", "a?b#c"),
        ("...", "..."),
        ("%2e%2E.", "..."),
        ("a.%2F...%2F.b", "a./.../.b"),
        ("{table}", "{table}"),
        ("a:b;c,d=e&f@g!$'()*", "a:b;c,d=e&f@g!$'()*"),
        (&long, &long),
    ] {
        let path = format!("/v1/tables/t/records/{url}");
        let put = api.put(&path).json(json!({"value": key}));
        assert_eq!(put.expect(201).await.json()["key"], key);
        let got = api.get(&path).expect(200).await.json();
        assert_eq!(got["record"]["key"], key);
        let (store, wanted) = (api.store.clone(), Key::new(key).unwrap());
        let stored = common::blocking(move || store.get(&table("t"), &wanted).unwrap()).await;
        assert_eq!(stored.unwrap().value(), json!(key).to_string().as_bytes());
        assert_eq!(api.delete(&path).expect(200).await.json()["key"], key);
    }
    for (url, code) in [
        ("%2F", Code::InvalidName),
        ("a%2F", Code::InvalidName),
        ("%2Fa", Code::InvalidName),
        ("a%2F%2Fb", Code::InvalidName),
        ("a%2F..%2Fb", Code::InvalidName),
        ("a%2F%2e%2E%2Fb", Code::InvalidName),
        (".%2Fb", Code::InvalidName),
        (".", Code::InvalidName),
        ("..", Code::InvalidName),
        ("%2e", Code::InvalidName),
        ("%2E%2e", Code::InvalidName),
        ("a%00b", Code::InvalidName),
        ("a%0Ab", Code::InvalidName),
        ("%C2%85", Code::InvalidName),
        ("%FF", Code::InvalidName),
        ("%C3", Code::InvalidName),
        ("%", Code::BadRequest),
        ("%4", Code::BadRequest),
        ("%zz", Code::BadRequest),
        (&"x".repeat(513), Code::InvalidName),
        (&"%C3%A4".repeat(257), Code::InvalidName),
    ] {
        for method in ["GET", "DELETE"] {
            let path = format!("/v1/tables/t/records/{url}");
            api.ask(method, &path).refused(400, code).await;
        }
    }
    api.get("/v1/tables/T%2F/records/k")
        .refused(400, Code::InvalidName)
        .await;
    api.get("/v1/tables/none/records/k")
        .refused(404, Code::UnknownTable)
        .await;
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_done() {
    let api = api().await;
    let path = "/v1/tables/t/records/k";
    let put = |value: u32| api.put(path).json(json!({"value": value}));
    let none = put(1).header("If-Match", "*");
    let none = none.refused(412, Code::PreconditionFailed).await;
    assert_eq!(none.json().get("seq"), None);
    let none = api.delete(path).header("If-Match", "*");
    none.refused(412, Code::PreconditionFailed).await;
    let first = put(1).header("If-None-Match", "*").expect(201).await;
    let again = put(2).header("If-None-Match", "*");
    let again = again.refused(412, Code::PreconditionFailed).await;
    assert_eq!(
        (&again.json()["key"], &again.json()["seq"]),
        (&json!("k"), &json!(1))
    );

    let first = etag(&first);
    let second = etag(&put(3).header("If-Match", &first).expect(200).await);
    assert_ne!(first, second);
    for stale in [
        &first,
        &format!("W/{first}"),
        &first.replace("-1", "-1-gzip"),
        "\"other\"",
        "\"0000000000000000-2\"",
    ] {
        let reply = put(4).header("If-Match", stale);
        reply.refused(412, Code::PreconditionFailed).await;
        let reply = api.delete(path).header("If-Match", stale);
        reply.refused(412, Code::PreconditionFailed).await;
    }
    let unquoted = put(4).header("If-Match", second.trim_matches('"'));
    let message = unquoted.refused(412, Code::PreconditionFailed).await.json();
    let shown = "such as \"00c0ffee00c0ffee-42\", with its quotes";
    assert!(
        message["message"].as_str().unwrap().contains(shown),
        "{message}"
    );
    let got = api.get(path).expect(200).await;
    assert_eq!(
        (got.json()["record"]["value"].clone(), etag(&got)),
        (json!(3), second.clone())
    );

    for (name, value) in [
        ("If-Match", "\"a\", \"b\""),
        ("If-None-Match", "\"a\""),
        ("If-Unmodified-Since", "Sat, 21 Nov 2026 09:30:00 GMT"),
    ] {
        put(5)
            .header(name, value)
            .refused(400, Code::BadRequest)
            .await;
    }
    let elsewhere = [
        api.delete("/v1/tables/t"),
        api.put("/v1/tables/u"),
        api.post("/v1/tables/t/txn")
            .json(r#"{"ops":[{"delete":{"key":"k"}}]}"#),
        api.post("/v1/tables/t/replace").json(r#"{"records":[]}"#),
    ];
    for ask in elsewhere {
        ask.header("If-Match", &second)
            .refused(400, Code::BadRequest)
            .await;
    }
    // In the form of nginx and Apache when they compress an answer.
    let weak = put(6).header("If-Match", &format!("W/{second}"));
    let third = etag(&weak.expect(200).await);
    let suffixed = third.replace("-3\"", "-3-gzip\"");
    let fourth = etag(&put(7).header("If-Match", &suffixed).expect(200).await);
    let any = put(8)
        .header("If-Match", "*")
        .header("Idempotency-Key", "any");
    let fifth = etag(&any.clone().expect(200).await);
    assert_ne!(fourth, fifth);
    assert_eq!(etag(&any.expect(200).await), fifth, "the same id again");
    let second = fifth;
    api.delete(path)
        .header("If-Match", &second)
        .expect(200)
        .await;
    let reply = api.delete(path).header("If-Match", &second);
    reply.refused(412, Code::PreconditionFailed).await;
}

#[tokio::test]
async fn a_tag_of_a_table_that_is_gone_matches_nothing_in_its_successor() {
    let api = api().await;
    let path = "/v1/tables/t/records/k";
    let old = etag(&api.put(path).json(r#"{"value":1}"#).expect(201).await);
    api.delete("/v1/tables/t").expect(200).await;
    api.put("/v1/tables/t").expect(201).await;
    api.put(path).json(r#"{"value":2}"#).expect(201).await;
    let put = api
        .put(path)
        .json(r#"{"value":3}"#)
        .header("If-Match", &old);
    put.refused(412, Code::PreconditionFailed).await;
    let got = api
        .get(path)
        .header("If-None-Match", &old)
        .expect(200)
        .await;
    assert_eq!(got.json()["record"]["value"], 2);
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again() {
    let api = api().await;
    let path = "/v1/tables/t/records/k";
    let tag = etag(&api.put(path).json(r#"{"value":1}"#).expect(201).await);
    api.put("/v1/tables/t/records/other")
        .json(r#"{"value":1}"#)
        .expect(201)
        .await;
    let suffixed = tag.replace("-1\"", "-1-br\"");
    for has in [&tag, "*", &format!("\"x\", W/{tag}"), &suffixed] {
        let reply = api.get(path).header("If-None-Match", has).expect(304).await;
        assert_eq!(etag(&reply), tag);
    }
    api.get(path)
        .header("If-None-Match", "\"x\"")
        .expect(200)
        .await;

    let tag = etag(&api.get("/v1/tables/t").expect(200).await);
    let again = || api.get("/v1/tables/t").header("If-None-Match", &tag);
    again().expect(304).await;
    api.put(path).json(r#"{"value":2}"#).expect(200).await;
    again().expect(200).await;
}

#[tokio::test]
async fn trying_again_with_the_same_id_does_it_once() {
    let api = api().await;
    let path = "/v1/tables/t/records/k";
    let put = |value: u32| api.put(path).json(json!({"value": value}));
    let first = put(1).header("Idempotency-Key", "a-1").expect(201).await;
    put(2).expect(200).await;
    let again = put(1).header("Idempotency-Key", "a-1").expect(200).await;
    assert_eq!(again.body, first.body);
    let got = api.get(path).expect(200).await.json();
    assert_eq!(got["record"]["value"], 2);
    let other = put(3).header("Idempotency-Key", "a-1");
    other.refused(409, Code::TxnIdReused).await;
    for bad in ["", "a b", "é", &"x".repeat(65)] {
        put(3)
            .header("Idempotency-Key", bad)
            .refused(400, Code::InvalidName)
            .await;
    }
    // With an id, the deletion of an absent record is a transaction that can be repeated.
    let delete = || {
        api.delete("/v1/tables/t/records/none")
            .header("Idempotency-Key", "d")
    };
    let first = delete().expect(200).await;
    assert_eq!(delete().expect(200).await.body, first.body);
}

#[tokio::test]
async fn expired_records_are_gone_before_they_are_swept() {
    let api = api().await;
    let at = |millis| Timestamp::from_millis(millis).unwrap();
    let put = |key: &str, expires_at| Put {
        expires_at,
        ..Put::new(Key::new(key).unwrap(), Text::parse(b"1").unwrap())
    };
    let txn = Txn::new()
        .put(put("a", Some(at(1))))
        .put(put("b", None))
        .put(put("c", Some(Timestamp::MAX)));
    let store = api.store.clone();
    common::blocking(move || store.commit(&table("t"), txn).unwrap()).await;
    let gone = api
        .get("/v1/tables/t/records/a")
        .refused(404, Code::NotFound)
        .await;
    let text = gone.text();
    // Unless the sweep was faster.
    assert!(
        text.contains("expired at 1970-01-01") || text.contains("no record"),
        "{text}"
    );
    assert_eq!(
        keys(&api.get("/v1/tables/t/records").expect(200).await),
        ["b", "c"]
    );
    let put = api
        .put("/v1/tables/t/records/s")
        .json(r#"{"value":1,"expires_at":"soon"}"#);
    put.refused(400, Code::InvalidTime).await;
}

#[tokio::test]
async fn an_expired_record_is_absent_before_it_is_swept() {
    let api = api().await;
    let long_ago = Timestamp::from_millis(1).unwrap();
    for round in 0..10 {
        let path = |what: &str| format!("/v1/tables/t/records/{what}-{round}");
        let old = |what: &str| Put {
            expires_at: Some(long_ago),
            ..Put::new(
                Key::new(&format!("{what}-{round}")).unwrap(),
                Text::parse(b"1").unwrap(),
            )
        };
        let txn = ["get", "put", "new", "match", "delete"].map(old);
        let txn = txn.into_iter().fold(Txn::new(), Txn::put);
        let store = api.store.clone();
        common::blocking(move || store.commit(&table("t"), txn).unwrap()).await;
        let put = |what: &str| api.put(&path(what)).json(r#"{"value":2}"#);
        api.get(&path("get")).refused(404, Code::NotFound).await;
        put("put").expect(201).await;
        put("put").expect(200).await;
        put("new").header("If-None-Match", "*").expect(201).await;
        let matched = put("match").header("If-Match", "*");
        matched.refused(412, Code::PreconditionFailed).await;
        let deleted = api.delete(&path("delete"));
        deleted.refused(404, Code::NotFound).await;
        let there = keys(&api.get("/v1/tables/t/records?limit=100").expect(200).await);
        assert_eq!(there.len(), 2 * (round + 1), "{there:?}");
    }
}

fn keys(reply: &Reply) -> Vec<String> {
    let json = reply.json();
    let records = json["records"].as_array().unwrap();
    records
        .iter()
        .map(|record| record["key"].as_str().unwrap().to_owned())
        .collect()
}

async fn put_all(api: &Api, puts: Vec<Put>) {
    let store = api.store.clone();
    common::blocking(move || {
        for puts in puts.chunks(1_000) {
            let txn = puts.iter().cloned().fold(Txn::new(), Txn::put);
            store.commit(&table("t"), txn).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn pages_together_are_the_table() {
    let api = api().await;
    let names: Vec<_> = (0..250).map(|n| format!("p/{n:03}")).collect();
    let puts = names
        .iter()
        .map(|name| Put::new(Key::new(name).unwrap(), Text::parse(b"1").unwrap()));
    put_all(&api, puts.collect()).await;
    for limit in [1_usize, 63, 64, 65, 100, 249, 250, 1000] {
        let mut seen = Vec::new();
        let mut path = format!("/v1/tables/t/records?prefix=p%2F&limit={limit}");
        loop {
            let page = api.get(&path).expect(200).await;
            assert!(keys(&page).len() <= limit);
            seen.extend(keys(&page));
            match page.json()["next"].as_str() {
                Some(next) => {
                    let next = next.replace('/', "%2F");
                    path = format!("/v1/tables/t/records?prefix=p/&limit={limit}&after={next}");
                }
                None => break,
            }
            if limit == 1 && seen.len() == 3 {
                seen.clone_from(&names);
                break;
            }
        }
        assert_eq!(seen, names, "limit {limit}");
    }
    assert_eq!(
        keys(&api.get("/v1/tables/t/records").expect(200).await).len(),
        100
    );
    let none = api
        .get("/v1/tables/t/records?prefix=q")
        .expect(200)
        .await
        .json();
    assert_eq!(
        (&none["records"], &none["next"]),
        (&json!([]), &Value::Null)
    );
    for query in [
        "limit=0",
        "limit=1001",
        "after=..",
        "after=",
        "category=",
        "prefix=%FF",
        "x=1",
    ] {
        let path = format!("/v1/tables/t/records?{query}");
        assert_eq!(api.get(&path).expect(400).await.status, 400);
    }
    let long = format!("/v1/tables/t/records?prefix={}", "x".repeat(513));
    api.get(&long).refused(400, Code::BadRequest).await;
}

#[tokio::test]
async fn a_page_of_large_records_ends_early_and_goes_on() {
    let api = api().await;
    let value = Text::string(&"x".repeat(500_000)).unwrap();
    let puts = (0..40).map(|n| Put::new(Key::new(&format!("{n:02}")).unwrap(), value.clone()));
    for puts in puts.collect::<Vec<_>>().chunks(10) {
        put_all(&api, puts.to_vec()).await;
    }
    let mut seen = 0;
    let mut after = String::new();
    loop {
        let path = format!("/v1/tables/t/records?limit=1000{after}");
        let page = api.get(&path).expect(200).await;
        seen += keys(&page).len();
        match page.json()["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 40);
}

#[tokio::test]
async fn categories_and_words_find_records() {
    let api = Api::start().await;
    let options = TableOptions {
        search: true,
        ..TableOptions::default()
    };
    api.create("t", options).await;
    api.create("plain", TableOptions::default()).await;
    for (key, category, value) in [
        ("a", "x", "red fish"),
        ("b", "y", "red bird"),
        ("c", "x", "blue"),
    ] {
        let path = format!("/v1/tables/t/records/{key}");
        let body = json!({"value": value, "category": category});
        api.put(&path).json(body).expect(201).await;
    }
    let found = async |path: &str| keys(&api.get(path).expect(200).await);
    assert_eq!(found("/v1/tables/t/records?category=x").await, ["a", "c"]);
    assert_eq!(found("/v1/tables/t/search?q=red").await.len(), 2);
    assert_eq!(found("/v1/tables/t/search?q=red+fish").await, ["a"]);
    assert_eq!(found("/v1/tables/t/search?q=red&category=y").await, ["b"]);
    assert_eq!(found("/v1/tables/t/search?q=re*&limit=1").await.len(), 1);
    for (limit, more) in [(1, true), (2, false)] {
        let path = format!("/v1/tables/t/search?q=red&limit={limit}");
        assert_eq!(api.get(&path).expect(200).await.json()["more"], more);
    }
    assert!(
        found("/v1/tables/t/search?q=%22%27%3B--%20OR%20NEAR(")
            .await
            .is_empty()
    );
    api.get("/v1/tables/t/search")
        .refused(400, Code::BadRequest)
        .await;
    api.get("/v1/tables/t/search?q=a&limit=101")
        .refused(400, Code::BadRequest)
        .await;
    let long = format!("/v1/tables/t/search?q={}", "x".repeat(1_025));
    api.get(&long).refused(400, Code::BadRequest).await;
    api.get("/v1/tables/plain/search?q=a")
        .refused(400, Code::NoSearch)
        .await;
}

#[tokio::test]
async fn bodies_that_are_wrong_are_named_as_what_they_are() {
    let api = api().await;
    let deep = format!("{{\"value\":{}1{}}}", "[".repeat(101), "]".repeat(101));
    let abyss = format!("{{\"value\":{}", "[".repeat(100_000));
    for (body, code) in [
        ("{", Code::BadRequest),
        ("", Code::BadRequest),
        ("[]", Code::BadRequest),
        (r#"[1,"c",null]"#, Code::BadRequest),
        ("null", Code::BadRequest),
        ("{}", Code::BadRequest),
        (r#"{"value":1}{"value":2}"#, Code::BadRequest),
        (r#"{"value":1,"value":2}"#, Code::BadRequest),
        (r#"{"value":1,"valu":2}"#, Code::BadRequest),
        (r#"{"value":1,"key":"k"}"#, Code::BadRequest),
        (r#"{"value":1,"category":5}"#, Code::BadRequest),
        (r#"{"value":1,"category":""}"#, Code::InvalidName),
        (r#"{"value":1,"expires_at":-1}"#, Code::InvalidTime),
        (
            r#"{"value":1,"expires_at":253402300800000}"#,
            Code::InvalidTime,
        ),
        (r#"{"value":1,"expires_at":1.5}"#, Code::InvalidTime),
        (r#"{"value":1,"expires_at":true}"#, Code::BadRequest),
        (r#"{"value":"\ud800"}"#, Code::InvalidValue),
        (r#"{"value":1e999}"#, Code::InvalidValue),
        (&deep, Code::InvalidValue),
        (&abyss, Code::BadRequest),
    ] {
        let reply = api
            .put("/v1/tables/t/records/k")
            .json(body)
            .expect(400)
            .await;
        let cut: String = body.chars().take(60).collect();
        assert_eq!(reply.code(), code.as_str(), "{cut}: {}", reply.text());
    }
    let latin = api.put("/v1/tables/t/records/k");
    let latin = latin.body("application/json", b"{\"value\":\"\xff\"}".to_vec());
    latin.refused(400, Code::BadRequest).await;
    let place = api.put("/v1/tables/t/records/k").json("{\n\"value\": 1,,}");
    let place = place.refused(400, Code::BadRequest).await;
    assert!(place.text().contains("line 2 column"), "{}", place.text());

    let large = format!(r#"{{"value":"{}"}}"#, "x".repeat(1 << 20));
    api.put("/v1/tables/t/records/k")
        .json(large)
        .refused(413, Code::TooLarge)
        .await;
    let huge = " ".repeat(3 << 20);
    api.put("/v1/tables/t/records/k")
        .json(huge)
        .refused(413, Code::TooLarge)
        .await;
}
