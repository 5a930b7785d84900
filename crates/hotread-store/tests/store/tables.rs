//! Tables of the program that opened the store.

use crate::common::{Scratch, category, key, name, put, value};
use hotread_proto::{Condition, Digest, Hasher, Position, Refusal, Replace, Timestamp, Txn, TxnId};
use hotread_store::{CommitError, ReadError, Scan, Search, Store, TableError, TableOptions};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn what_is_committed_is_read_back_and_survives_reopening() {
    let scratch = Scratch::new();
    let table = name("flags");
    let committed = {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        let txn = Txn::new()
            .put(put("a", "1.0"))
            .put(put("b", r#"{"x": [1, 2]}"#));
        store.commit(&table, txn).unwrap();
        store
            .commit(&table, Txn::new().delete(key("a")).put(put("c", "null")))
            .unwrap()
    };
    assert_eq!(committed.position.seq, 2);
    let store = scratch.open();
    assert_eq!(store.get(&table, &key("a")).unwrap().map(|r| r.seq()), None);
    let b = store.get(&table, &key("b")).unwrap().unwrap();
    assert_eq!((b.value(), b.seq()), (&br#"{"x":[1,2]}"#[..], 1));
    let info = store.table_info(&table).unwrap();
    assert_eq!(info.position, committed.position);
    assert_eq!(info.records, 2);
    let records = store.snapshot(&table).unwrap();
    assert!(records.verify(&Hasher::PLAIN));
    assert_eq!(
        info.digest,
        records.iter().map(|r| r.hash()).collect::<Digest>()
    );
}

#[test]
fn a_live_table_shows_what_was_committed() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    store
        .commit(&table, Txn::new().put(put("before", "1")))
        .unwrap();
    let mut reader = store.handle(&table).unwrap();
    assert!(reader.current().get("before").is_some());
    reader.quiescent();
    let committed = store
        .commit(&table, Txn::new().put(put("after", "2")))
        .unwrap();
    assert_eq!(reader.current().position(), committed.position);
    assert_eq!(reader.current().get("after").unwrap().value(), b"2");
    assert!(reader.current().verify(&Hasher::PLAIN));
}

#[test]
fn a_table_is_loaded_while_it_is_written() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    for n in 0..200 {
        let mut txn = Txn::new();
        for m in 0..50 {
            txn = txn.put(put(&format!("{m}-{n}"), "0"));
        }
        store.commit(&table, txn).unwrap();
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = None;
            for n in 0..300 {
                let txn = Txn::new()
                    .put(put(&format!("{}-{}", n % 50, n % 200), "1"))
                    .delete(key(&format!("{}-{}", n % 50, (n * 7) % 200)));
                last = Some(store.commit(&table, txn).unwrap());
            }
            last.unwrap().position
        });
        let live = store.live(&table).unwrap();
        let last = writer.join().unwrap();
        live.wait_published(live.latest_seq(), PATIENCE).unwrap();
        let records = live.snapshot();
        assert_eq!(records.position(), last);
        assert!(records.verify(&Hasher::PLAIN));
    });
}

#[test]
fn a_failed_precondition_names_key_and_seq_and_applies_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    store.commit(&table, Txn::new().put(put("a", "1"))).unwrap();
    let txn = Txn::new()
        .put(put("b", "2"))
        .put(put("a", "2"))
        .if_seq(key("a"), 7);
    let error = store.commit(&table, txn).unwrap_err();
    let expected = Refusal::Precondition {
        key: key("a"),
        condition: Condition::Seq(7),
        actual: Some(1),
    };
    assert_eq!(error, CommitError::Refused(expected));
    assert!(error.to_string().contains("\"a\"") && error.to_string().contains("seq 1"));
    assert!(store.get(&table, &key("b")).unwrap().is_none());
    let txn = Txn::new().put(put("a", "2")).if_absent(key("a"));
    assert!(matches!(
        store.commit(&table, txn),
        Err(CommitError::Refused(_))
    ));
    assert_eq!(store.table_info(&table).unwrap().position.seq, 1);
    store
        .commit(&table, Txn::new().put(put("a", "2")).if_seq(key("a"), 1))
        .unwrap();
}

#[test]
fn a_transaction_id_makes_a_retry_harmless_also_after_reopening() {
    let scratch = Scratch::new();
    let table = name("t");
    let txn = || Txn::new().id(TxnId::new("one").unwrap()).put(put("a", "1"));
    let first = {
        let store = scratch.open();
        store.create_table(&table, TableOptions::default()).unwrap();
        let first = store.commit(&table, txn()).unwrap();
        store.commit(&table, Txn::new().put(put("a", "2"))).unwrap();
        assert_eq!(store.commit(&table, txn()).unwrap(), first);
        first
    };
    let store = scratch.open();
    assert_eq!(store.commit(&table, txn()).unwrap(), first);
    assert_eq!(store.get(&table, &key("a")).unwrap().unwrap().value(), b"2");
    let other = Txn::new().id(TxnId::new("one").unwrap()).put(put("a", "3"));
    let error = store.commit(&table, other).unwrap_err();
    assert!(
        matches!(
            error,
            CommitError::Refused(Refusal::IdReused { seq: 1, .. })
        ),
        "{error}"
    );
}

#[test]
fn a_replacement_keeps_what_is_the_same() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let txn = Txn::new()
        .put(put("a", "1"))
        .put(put("b", "2"))
        .put(put("c", "3"));
    store.commit(&table, txn).unwrap();
    let new = Replace::new(vec![
        put("d", "4"),
        put("b", "0"),
        put("a", "1"),
        put("b", "20"),
    ]);
    let mut reader = store.handle(&table).unwrap();
    let done = store.replace(&table, new.clone()).unwrap();
    assert_eq!(
        (done.written, done.deleted, done.committed.position.seq),
        (2, 1, 2)
    );
    let seen: Vec<_> = reader
        .current()
        .iter()
        .map(|r| (r.key().to_owned(), r.value().to_vec(), r.seq()))
        .collect();
    let expected = [("a", "1", 1), ("b", "20", 2), ("d", "4", 2)];
    assert_eq!(
        seen,
        expected.map(|(k, v, s)| (k.to_owned(), v.as_bytes().to_vec(), s))
    );
    assert!(reader.current().verify(&Hasher::PLAIN));
}

#[test]
fn pages_go_through_a_prefix_and_a_category() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let mut txn = Txn::new();
    for n in 0..50 {
        let mut one = put(&format!("eu/{n:02}"), "1");
        if n % 5 == 0 {
            one.category = category("fifth");
        }
        txn = txn.put(one).put(put(&format!("us/{n:02}"), "2"));
    }
    txn = txn
        .put(put("eu/", "0"))
        .put(put("eu", "0"))
        .put(put("eu0", "0"))
        .put(put("eu/\u{10ffff}", "9"));
    store.commit(&table, txn).unwrap();
    let mut scan = Scan {
        prefix: "eu/".into(),
        limit: 7,
        ..Scan::default()
    };
    let mut keys = Vec::new();
    loop {
        let page = store.scan(&table, &scan).unwrap();
        assert!(page.records.len() <= 7);
        assert_eq!(page.position.seq, 1);
        keys.extend(page.records.iter().map(|r| r.key().to_owned()));
        let Some(next) = page.next else { break };
        scan.after = Some(next);
    }
    let mut expected: Vec<_> = (0..50).map(|n| format!("eu/{n:02}")).collect();
    expected.insert(0, "eu/".into());
    expected.push("eu/\u{10ffff}".into());
    assert_eq!(keys, expected);

    let scan = Scan {
        category: Some(category("fifth")),
        limit: 1000,
        ..Scan::default()
    };
    assert_eq!(store.scan(&table, &scan).unwrap().records.len(), 10);
    let scan = Scan {
        category: Some(category("general")),
        limit: 1000,
        ..Scan::default()
    };
    assert_eq!(store.scan(&table, &scan).unwrap().records.len(), 94);
}

#[test]
fn a_search_finds_what_has_all_words_and_follows_changes() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store
        .create_table(
            &table,
            TableOptions {
                search: true,
                ..TableOptions::default()
            },
        )
        .unwrap();
    let mut filed = put("c", r#""Zürich airport""#);
    filed.category = category("airports");
    let txn = Txn::new()
        .put(put("a", r#"{"name": "Zürich", "line\nbreak": 12}"#))
        .put(put("b", r#"["Genève", "airport"]"#))
        .put(filed);
    store.commit(&table, txn).unwrap();
    let find = |query: &str, category| {
        let search = Search {
            query: query.into(),
            category,
            limit: 10,
        };
        let page = store.search(&table, &search).unwrap();
        let mut keys: Vec<_> = page.records.iter().map(|r| r.key().to_owned()).collect();
        keys.sort();
        keys.concat()
    };
    assert_eq!(find("zurich", None), "ac");
    for (limit, more) in [(1, true), (2, false), (3, false)] {
        let search = Search {
            query: "zurich".into(),
            limit,
            ..Search::default()
        };
        let found = store.search(&table, &search).unwrap();
        assert_eq!((found.records.len(), found.more), (limit.min(2), more));
    }
    assert_eq!(find("AIRPORT", None), "bc");
    assert_eq!(find("airp*", None), "bc");
    assert_eq!(find("airp", None), "");
    assert_eq!(find("zurich airport", None), "c");
    assert_eq!(find("break", None), "a");
    assert_eq!(find("airport", Some(category("airports"))), "c");
    for odd in [
        "",
        "\"",
        "a OR",
        "NEAR(",
        "*",
        "a:b",
        "-",
        "(",
        "'; DROP TABLE x",
    ] {
        find(odd, None);
    }
    let txn = Txn::new().put(put("a", "\"Basel\"")).delete(key("c"));
    store.commit(&table, txn).unwrap();
    assert_eq!(find("zurich", None), "");
    assert_eq!(find("basel", None), "a");
    store
        .commit(&table, Txn::new().put(put("c", "\"Zürich again\"")))
        .unwrap();
    assert_eq!(find("zurich", None), "c");
    assert!(store.verify().unwrap().problems.is_empty());
    store.drop_table(&table).unwrap();
    store.create_table(&table, TableOptions::default()).unwrap();
    let refused = store.search(
        &table,
        &Search {
            query: "x".into(),
            ..Search::default()
        },
    );
    assert!(matches!(refused, Err(ReadError::NoSearch { .. })));
}

#[test]
fn a_value_that_does_not_fit_the_schema_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    let schema =
        r#"{"type": "object", "required": ["on"], "properties": {"on": {"type": "boolean"}}}"#;
    let options = TableOptions {
        schema: Some(value(schema)),
        ..TableOptions::default()
    };
    store.create_table(&table, options).unwrap();
    store
        .commit(&table, Txn::new().put(put("a", r#"{"on": true}"#)))
        .unwrap();
    let txn = Txn::new()
        .put(put("b", r#"{"on": true}"#))
        .put(put("c", r#"{"on": "secret"}"#));
    match store.commit(&table, txn).unwrap_err() {
        CommitError::Schema {
            key: at,
            path,
            reason,
            ..
        } => {
            assert_eq!((at, path.as_str()), (key("c"), "/on"));
            assert!(!reason.contains("secret"), "{reason}");
        }
        other => panic!("{other}"),
    }
    assert!(store.get(&table, &key("b")).unwrap().is_none());
    let refused = store.replace(&table, Replace::new(vec![put("a", "1")]));
    assert!(matches!(refused, Err(CommitError::Schema { .. })));
    drop(store);
    let store = scratch.open();
    assert!(store.commit(&table, Txn::new().put(put("c", "1"))).is_err());
    for bad in [
        r#"{"type": "no such type"}"#,
        r#"{"$ref": "http://localhost/x.json"}"#,
        "1",
    ] {
        let options = TableOptions {
            schema: Some(value(bad)),
            ..TableOptions::default()
        };
        let refused = store.create_table(&name("bad"), options);
        assert!(
            matches!(refused, Err(TableError::InvalidSchema { .. })),
            "{bad}: {refused:?}"
        );
    }
}

#[test]
fn expired_records_are_swept() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let table = name("t");
    store.create_table(&table, TableOptions::default()).unwrap();
    let mut old = put("old", "1");
    old.expires_at = Some(Timestamp::from_millis(1_000).unwrap());
    let mut later = put("later", "1");
    later.expires_at = Some(Timestamp::MAX);
    store
        .commit(&table, Txn::new().put(old).put(later).put(put("kept", "1")))
        .unwrap();
    let mut following = store
        .subscribe(
            &table,
            Position {
                seq: 1,
                ..store.table_info(&table).unwrap().position
            },
        )
        .unwrap();
    let swept = following
        .next(PATIENCE)
        .unwrap()
        .expect("it is swept within a second or two");
    assert_eq!(swept.ops.len(), 1);
    assert_eq!(swept.ops[0].key(), "old");
    assert!(store.get(&table, &key("old")).unwrap().is_none());
    assert!(store.get(&table, &key("later")).unwrap().is_some());
}

#[test]
fn tables_are_created_listed_and_dropped() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let (a, b) = (name("a"), name("b"));
    let info = store.create_table(&b, TableOptions::default()).unwrap();
    store.create_table(&a, TableOptions::default()).unwrap();
    let names: Vec<_> = store
        .tables()
        .unwrap()
        .into_iter()
        .map(|t| t.name)
        .collect();
    assert_eq!(names, [a.clone(), b.clone()]);
    let again = store.create_table(&b, TableOptions::default());
    assert!(matches!(again, Err(TableError::Exists { .. })));
    let mut reader = store.handle(&b).unwrap();
    let mut following = store.subscribe(&b, info.position).unwrap();
    store.drop_table(&b).unwrap();
    assert!(matches!(
        store.table_info(&b),
        Err(ReadError::UnknownTable { .. })
    ));
    assert!(matches!(
        store.drop_table(&b),
        Err(TableError::Commit(CommitError::UnknownTable { .. }))
    ));
    assert!(matches!(
        following.next(PATIENCE),
        Err(ReadError::UnknownTable { .. })
    ));
    assert!(reader.current().is_empty());
    let txn = || Txn::new().put(put("x", "1"));
    assert!(matches!(
        store.commit(&b, txn()),
        Err(CommitError::UnknownTable { .. })
    ));
    let new = store.create_table(&b, TableOptions::default()).unwrap();
    assert_ne!(new.position.epoch, info.position.epoch);
    assert!(matches!(
        store.changes(&b, info.position, 1),
        Err(ReadError::NeverThere { .. })
    ));
    store.commit(&b, txn()).unwrap();
    assert!(store.handle(&b).unwrap().current().get("x").is_some());
}

#[test]
fn a_read_only_store_sees_what_another_writes_and_writes_nothing() {
    let scratch = Scratch::new();
    let writer = scratch.open();
    let table = name("t");
    writer
        .create_table(&table, TableOptions::default())
        .unwrap();
    let reader = Store::builder(scratch.path())
        .read_only(true)
        .open()
        .unwrap();
    writer
        .commit(&table, Txn::new().put(put("a", "1")))
        .unwrap();
    assert!(reader.get(&table, &key("a")).unwrap().is_some());
    let refused = reader.commit(&table, Txn::new().put(put("a", "1")));
    assert_eq!(refused, Err(CommitError::ReadOnly));
    assert_eq!(reader.snapshot(&table).unwrap().len(), 1);
}
