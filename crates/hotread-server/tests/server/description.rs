//! The server's description: its routes are those of `docs/wire.md`, and its bodies have the members of
//! their types.

#[path = "../../../hotread-proto/tests/support/document.rs"]
mod document;

use crate::common::DOC;
use hotread_proto::http::{
    AtRisk, Histogram, RecordBody, SessionStatus, Stats, TableStatus, TokenRequest,
};
use hotread_proto::session::frame::{self, Nack};
use hotread_proto::{
    Alter, ErrorBody, History, Position, Record, Replace, TableInfo, TableOptions, TokenInfo, Txn,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the right that a route needs, in the document's words.
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
    let mut described = BTreeMap::new();
    for (path, methods) in DOC["paths"].as_object().unwrap() {
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

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Checks that the members of a type are those of its description, and that those that are always present
/// are required.
fn compare<T: DeserializeOwned + Serialize>(name: &str, full: &str) {
    let schema = &DOC["components"]["schemas"][name];
    // Raw values can be parsed from text only.
    let read = |body: &str| serde_json::from_str::<T>(body);
    let written = serde_json::to_value(read(full).unwrap()).unwrap();
    assert_eq!(names(&written), names(&schema["properties"]), "{name}");
    let strict = schema["additionalProperties"] == false;
    let always = names(&written).into_iter().filter(|member| {
        let mut without = written.clone();
        without.as_object_mut().unwrap().remove(member);
        // A request must have the member; an answer always has it.
        match read(&without.to_string()) {
            Err(_) => true,
            Ok(read) => !strict && serde_json::to_value(read).unwrap().get(member).is_some(),
        }
    });
    let required = schema["required"].as_array().unwrap().iter();
    let required: Vec<_> = required.map(|it| it.as_str().unwrap().to_owned()).collect();
    assert_eq!(
        always.collect::<BTreeSet<_>>(),
        required.into_iter().collect(),
        "{name}"
    );
}

/// Compares types with the descriptions of these names, by a body of each with all members.
macro_rules! compare_all {
    ($($type:ty, $name:literal = $body:tt;)*) => {
        $(compare::<$type>($name, &json!($body).to_string());)*
    };
}

#[test]
fn bodies_have_the_members_of_their_types() {
    compare_all! {
        Position, "Position" = {"epoch": "00c0ffee00c0ffee", "seq": 7};
        Record, "Record" = {"key": "k", "value": 1, "category": "c", "seq": 7, "updated_at": 0, "expires_at": 1, "h": "00000000000000000000000000000000"};
        RecordBody, "RecordBody" = {"value": 1, "category": "c", "expires_at": 1};
        TokenRequest, "NewToken" = {"name": "n", "role": "read", "tables": ["t"], "expires_at": 1};
        TokenInfo, "TokenInfo" = {"id": "5f0c9a1e", "name": "n", "role": "read", "tables": ["t"], "created_at": 0, "expires_at": 1};
        TableStatus, "TableStatus" = {"name": "t", "epoch": "00c0ffee00c0ffee", "head": 7, "floor": 1, "records": 1, "sessions": 1};
        Nack, "Nack" = {"key": "k", "seq": 7, "reason": "r"};
        SessionStatus, "Session" = {"id": 1, "name": "n", "peer": "p", "table": "t", "mode": "resume", "position": 7, "acked": 6, "lag": 1, "since": 0, "last_nack": {"key": "k", "seq": 7, "reason": "r"}};
        AtRisk, "AtRisk" = {"session": 1, "name": "n", "peer": "p", "table": "t", "acked": 6, "key": "k", "reason": "r"};
        Stats, "Stats" = {};
        Histogram, "Histogram" = {};
        ErrorBody, "Error" = {"code": "BUSY", "message": "m", "key": "k", "seq": 7};
        TableOptions, "TableOptions" = {"search": true, "sealed": true, "schema": {}, "history": {}};
        Alter, "Alter" = {"schema": null, "search": true, "name": "t", "history": {}};
        History, "History" = {};
        TableInfo, "TableInfo" = {"name": "t", "epoch": "00c0ffee00c0ffee", "seq": 7, "floor": 1, "digest": "00000000000000000000000000000000", "records": 1, "created_at": 0, "updated_at": 0, "options": {}};
        Txn, "Txn" = {"id": "i", "ops": [{"delete": {"key": "k"}}], "if": [{"key": "k", "if_absent": true}], "note": "w"};
        Replace, "Replace" = {"id": "i", "records": [], "if_seq": 7, "max_delete_percent": 5, "allow_empty": true, "note": "w"};
        frame::Txn<'static>, "Change" = {"from": 7, "to": 7, "at": 0, "digest": "00000000000000000000000000000000", "count": 1, "ops": [], "more": false, "actor": "a", "note": "w"};
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value) {
        if let Some(to) = value["$ref"].as_str() {
            let found = DOC.pointer(to.trim_start_matches('#'));
            assert!(found.is_some(), "{to} leads nowhere");
        }
        match value {
            Value::Array(items) => items.iter().for_each(walk),
            Value::Object(members) => members.values().for_each(walk),
            _ => {}
        }
    }
    walk(&DOC);
}
