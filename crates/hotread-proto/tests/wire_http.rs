//! `docs/wire.md` says what is asked and answered over HTTP: its examples, and that it has the routes
//! of the server's description.

#[path = "support/document.rs"]
mod document;

use document::Item;
use hotread_proto::session::frame;
use hotread_proto::{
    ChangeOp, Committed, Hasher, Key, Position, Put, Record, Removal, Success, TableInfo,
    TableOptions, TxnId,
};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The one example of this kind.
fn example(kind: &str) -> String {
    let mut blocks = document::blocks(&format!("json http {kind}"));
    assert_eq!(blocks.len(), 1, "{kind}");
    blocks.remove(0)
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
    // Those that the server alone has types for: they are at least JSON, and answers are marked.
    assert_eq!(json(&example("status"))["ok"], true);
    assert_eq!(json(&example("new-token"))["ok"], true);
    let (asked, made) = (json(&example("token")), json(&example("new-token")));
    for (name, value) in asked.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    let secret = made["secret"]
        .as_str()
        .unwrap()
        .strip_prefix("hr_")
        .unwrap();
    assert_eq!(secret.len(), 64);
}

#[test]
fn tables_are_as_shown() {
    let shown = example("options");
    let options: TableOptions = serde_json::from_str(&shown).unwrap();
    assert_eq!(serde_json::to_value(&options).unwrap(), json(&shown));
    let without = TableOptions {
        schema: None,
        ..options
    };
    assert_eq!(without, TableOptions::default(), "the defaults are shown");

    let shown = example("table");
    let table: TableInfo = serde_json::from_str(&shown).unwrap();
    assert_eq!(table.options, TableOptions::default());
    let again = serde_json::to_value(Success::new(table)).unwrap();
    assert_eq!(again, json(&shown));
}

#[test]
fn records_and_changes_are_as_shown() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        ok: bool,
        records: Vec<Record>,
        next: Option<String>,
        position: Position,
    }
    let shown = example("page");
    let page: Page = serde_json::from_str(&shown).unwrap();
    assert!(page.ok && page.position.seq >= page.records[0].seq());
    assert_eq!(page.next.as_deref(), Some(page.records[0].key()));
    let again = serde_json::to_value(&page.records).unwrap();
    assert_eq!(again, json(&shown)["records"]);
    assert!(page.records.iter().all(|it| it.verify(&Hasher::PLAIN)));

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Changes {
        ok: bool,
        changes: Vec<frame::Txn<'static>>,
        position: Position,
        floor: u64,
    }
    let shown = example("changes");
    let read: Changes = serde_json::from_str(&shown).unwrap();
    assert!(read.ok && (read.floor..=read.position.seq).contains(&read.changes[0].to));
    assert!(matches!(
        &read.changes[0].ops[..],
        [ChangeOp::Delete {
            cause: Removal::Expired,
            ..
        }]
    ));
    let again = serde_json::to_value(&read.changes).unwrap();
    assert_eq!(again, json(&shown)["changes"]);
}

#[test]
fn writes_are_as_shown() {
    // A put of a transaction without its key, which the path has.
    let mut shown = json(&example("put"));
    shown["key"] = "prefix/44".into();
    let put: Put = serde_json::from_str(&shown.to_string()).unwrap();
    assert!(put.expires_at.is_some());

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Replaced {
        ok: bool,
        position: Position,
        at: hotread_proto::Timestamp,
        written: u64,
        deleted: u64,
    }
    let read: Replaced = serde_json::from_str(&example("replaced")).unwrap();
    assert!(read.ok && read.written + read.deleted > 0);
    let committed = Committed {
        position: read.position,
        at: read.at,
    };
    let again = serde_json::to_value(committed).unwrap();
    assert_eq!(again["position"], json(&example("replaced"))["position"]);
    assert!(TxnId::new("deploy-7f3a").is_ok());

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        ok: bool,
        position: Position,
        at: hotread_proto::Timestamp,
        key: Key,
    }
    let read: Written = serde_json::from_str(&example("written")).unwrap();
    assert!(read.ok && read.position.seq > 0 && read.at > hotread_proto::Timestamp::EPOCH);
    assert!(read.key.is_tidy());
}

/// What the server's description says a route needs, in the document's words.
fn needs(access: &str) -> String {
    match access.split_once(':') {
        None if access == "open" => "–".to_owned(),
        None => "a token".to_owned(),
        Some(("any", role)) => format!("`{role}`"),
        Some(("table", role)) => format!("`{role}` of the table"),
        Some(("server", role)) => format!("`{role}` of all tables"),
        Some(_) => panic!("{access}"),
    }
}

#[test]
fn the_routes_are_those_of_the_servers_description() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../hotread-server/src/openapi.json"
    );
    let description = json(&std::fs::read_to_string(path).unwrap());
    let mut described = BTreeMap::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let route = format!("`{} {path}`", method.to_uppercase());
            described.insert(route, needs(operation["x-access"].as_str().unwrap()));
        }
    }
    let listed: BTreeMap<_, _> = document::rows(&["route", "needs"])
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    assert_eq!(listed, described);
}
