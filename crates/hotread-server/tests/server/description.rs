//! `docs/wire.md` has the routes of the server's description.

#[path = "../../../hotread-proto/tests/support/document.rs"]
mod document;

use crate::common::DOC;
use std::collections::BTreeMap;

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
