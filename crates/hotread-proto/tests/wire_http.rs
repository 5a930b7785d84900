//! Examples of the HTTP interface in `docs/wire.md`. The server's tests compare its routes.

#[path = "support/document.rs"]
mod document;

use document::Item;
use hotread_proto::http::{OneRecord, RecordBody, ServerStatus, TokenRequest, Written};
use hotread_proto::{
    Alter, ChangeOp, Changes, Hasher, Key, NewToken, Page, Removal, Replaced, Success, TableInfo,
    TableOptions, Value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::collections::BTreeSet;

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The one example of this kind.
fn example(kind: &str) -> String {
    let mut blocks = document::blocks(&format!("json http {kind}"));
    assert_eq!(blocks.len(), 1, "{kind}");
    blocks.remove(0)
}

/// Checks that the body of a request survives a round trip and is read strictly.
fn request<T: DeserializeOwned + Serialize>(kind: &str) -> T {
    let shown = example(kind);
    let mut changed = json(&shown);
    let read: T = serde_json::from_str(&shown).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), changed);
    for member in changed.clone().as_object().unwrap().keys() {
        let was = std::mem::take(&mut changed[member]);
        // A value is any JSON, and initially so is a schema.
        let null = serde_json::from_str::<T>(&changed.to_string());
        let any = matches!(member.as_str(), "value" | "schema");
        assert!(null.is_err() || any, "{member}");
        changed[member] = was;
    }
    changed["more"] = 1.into();
    assert!(serde_json::from_str::<T>(&changed.to_string()).is_err());
    read
}

/// Checks that an answer survives a round trip and may have more members.
fn answer<T: DeserializeOwned + Serialize>(kind: &str) -> T {
    let shown = example(kind);
    let read: T = serde_json::from_str(&shown).unwrap();
    let text = serde_json::to_string(&Success::new(read)).unwrap();
    let mut changed = json(&shown);
    assert_eq!(json(&text), changed);
    changed["more"] = 1.into();
    serde_json::from_str(&changed.to_string()).unwrap()
}

#[test]
fn every_example_is_checked() {
    let kinds: BTreeSet<String> = document::items()
        .into_iter()
        .filter_map(|item| match item {
            Item::Block(kind, _) => Some(kind.strip_prefix("json http ")?.to_owned()),
            _ => None,
        })
        .collect();
    let checked = [
        "alter",
        "changes",
        "new-token",
        "options",
        "page",
        "put",
        "replaced",
        "status",
        "table",
        "token",
        "written",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), checked);
}

#[test]
fn tables_are_as_shown() {
    let options: TableOptions = request("options");
    let without = TableOptions {
        schema: None,
        ..options
    };
    assert_eq!(without, TableOptions::default(), "the defaults are shown");
    let alter: Alter = request("alter");
    let altered = alter.of(&without);
    let schema = Value::parse(br#"{"type":"object","required":["rate","limit"]}"#).unwrap();
    assert_eq!(altered.schema, Some(schema));
    assert_eq!(altered.history.max_changes, 1_000);
    assert_eq!(altered.history.max_age_s, without.history.max_age_s);
    let table: TableInfo = answer("table");
    assert_eq!(table.options, TableOptions::default());
}

#[test]
fn records_and_changes_are_as_shown() {
    let page: Page = answer("page");
    let first = &page.records[0];
    assert!(page.position.seq >= first.seq() && first.verify(&Hasher::PLAIN));
    assert_eq!(page.next.as_ref().map(Key::as_str), Some(first.key()));
    assert!(example("page").contains(std::str::from_utf8(first.value()).unwrap()));

    let mut one = json(&example("page"));
    one["record"] = one["records"][0].take();
    let one: OneRecord = serde_json::from_str(&one.to_string()).unwrap();
    assert_eq!(one.record.key(), first.key());

    let read: Changes = answer("changes");
    let change = &read.changes[0];
    assert!((read.floor..=read.position.seq).contains(&change.position.seq));
    assert_eq!(change.position.epoch, read.position.epoch);
    assert!(matches!(
        &change.ops[..],
        [ChangeOp::Delete {
            cause: Removal::Expired,
            ..
        }]
    ));
}

#[test]
fn writes_are_as_shown() {
    let put: RecordBody = request("put");
    let put = put.under(Key::new("prefix/44").unwrap());
    assert!(put.expires_at.is_some() && put.value.as_bytes() == br#"{"rate":1.0,"to":"lhr"}"#);

    let replaced: Replaced = answer("replaced");
    assert!(replaced.written + replaced.deleted > 0);
    let written: Written = answer("written");
    assert!(written.committed.position.seq > 0 && written.key.is_tidy());
}

#[test]
fn the_status_is_as_shown() {
    let status: ServerStatus = serde_json::from_str(&example("status")).unwrap();
    // The figures of the store are for people: absent ones read as zero.
    assert_eq!(status.store, Some(Default::default()));
    let (mut shown, store) = (json(&example("status")), status.store.clone());
    shown["store"] = serde_json::to_value(store).unwrap();
    assert_eq!(serde_json::to_value(Success::new(&status)).unwrap(), shown);
    let (table, session) = (&status.tables[0], &status.sessions[0]);
    assert_eq!(session.lag, table.head - session.acked);
    assert_eq!(status.at_risk_count, status.at_risk.len());
}

#[test]
fn tokens_are_as_shown() {
    let asked: TokenRequest = request("token");
    let made: NewToken = answer("new-token");
    let info = &made.info;
    assert_eq!((&asked.name, asked.role), (&info.name, info.role));
    assert_eq!(
        (&asked.tables, asked.expires_at),
        (&info.tables, info.expires_at)
    );
    assert_eq!(made.secret.strip_prefix("hr_").unwrap().len(), 64);
}
