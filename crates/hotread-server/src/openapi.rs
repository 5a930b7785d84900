//! The description of the HTTP interface, as OpenAPI 3.1.
//!
//! `openapi.json` has what only people know: summaries, answers, failures of an operation's own, and the forms
//! of bodies. The table of routes adds rights, parameters, whether there is a body, and the failures that
//! follow from them. The tests here compare forms with their types, and those of the whole server compare
//! answers with the description.

use crate::http::etag::Conditions;
use crate::http::request::Takes;
use crate::http::route::{Access, ROUTES, Route};
use serde_json::{Value, json};

/// The description of the HTTP interface as OpenAPI 3.1 in JSON: what `/v1/openapi.json` answers, for programs
/// that make a client of it. It takes about a millisecond.
#[must_use]
pub fn openapi() -> String {
    let parsed = serde_json::from_str(include_str!("openapi.json"));
    // The tests read it.
    let mut doc: Value = parsed.expect("openapi.json is JSON");
    doc["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for route in &ROUTES {
        let method = route.method.as_str().to_lowercase();
        complete(&mut doc["paths"][route.path][method], route);
    }
    format!("{doc:#}")
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// Adds to an operation what its route says.
fn complete(operation: &mut Value, route: &Route) {
    let access = match route.access {
        Access::Open => "open".to_owned(),
        Access::Token => "token".to_owned(),
        Access::Any(role) => format!("any:{role}"),
        Access::Table(role) => format!("table:{role}"),
        Access::Server(role) => format!("server:{role}"),
    };
    operation["x-access"] = access.into();
    let mut failures = vec![
        ("400", "BadRequest"),
        ("403", "Forbidden"),
        ("429", "TooManyRequests"),
        ("503", "Unavailable"),
        ("default", "Failed"),
    ];
    match route.access {
        Access::Open => operation["security"] = json!([]),
        _ => failures.push(("401", "Unauthenticated")),
    }
    if route.takes != Takes::Nothing {
        let is_needed = !matches!(route.takes, Takes::Perhaps(_));
        operation["requestBody"]["required"] = is_needed.into();
        failures.extend([("413", "TooLarge"), ("415", "UnsupportedMediaType")]);
    }
    let conditions: &[&str] = match route.conditions {
        Conditions::None => &[],
        Conditions::Cached => &["If-None-Match"],
        Conditions::Record => &["If-Match", "If-Absent"],
        Conditions::Existing => &["If-Match"],
    };
    match route.conditions {
        Conditions::None => {}
        Conditions::Cached => failures.push(("304", "NotModified")),
        Conditions::Record | Conditions::Existing => failures.push(("412", "PreconditionFailed")),
    }
    for (status, response) in failures {
        operation["responses"][status] = reference("responses", response);
    }
    let of_path = |segment: &'static str| segment.strip_prefix('{')?.strip_suffix('}');
    let names = route.path.split('/').filter_map(of_path);
    let names = names.chain(route.query.iter().chain(conditions).copied());
    let names = names.chain(route.once.then_some("Idempotency-Key"));
    // The operation's own: what such a parameter means nowhere else.
    let mut parameters = operation["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for name in names {
        if parameters.iter().all(|own| own["name"] != name) {
            parameters.push(reference("parameters", name));
        }
    }
    operation["parameters"] = parameters.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::http::{
        AtRisk, Histogram, RecordBody, SessionStatus, Stats, TableStatus, TokenRequest,
    };
    use hotread_proto::session::frame::{self, Nack};
    use hotread_proto::{
        Alter, ErrorBody, History, Position, Record, Replace, TableInfo, TableOptions, TokenInfo,
        Txn,
    };
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use std::collections::BTreeSet;

    fn doc() -> Value {
        serde_json::from_str(&openapi()).unwrap()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let (doc, mut described) = (doc(), 0);
        for methods in doc["paths"].as_object().unwrap().values() {
            described += methods.as_object().unwrap().len();
        }
        assert_eq!(described, ROUTES.len());
        let mut ids = BTreeSet::new();
        for route in &ROUTES {
            let what = format!("{} {}", route.method, route.path);
            let operation = &doc["paths"][route.path][route.method.as_str().to_lowercase()];
            assert!(
                ids.insert(operation["operationId"].as_str().expect(&what)),
                "{what}"
            );
            assert!(operation["summary"].is_string(), "{what}");
            let body = &operation["requestBody"]["content"];
            assert_eq!(body.is_object(), route.takes != Takes::Nothing, "{what}");
            let of_table = matches!(route.access, Access::Table(_));
            assert_eq!(of_table, route.path.contains("{table}"), "{what}");
            // What an operation says of a parameter is of one that its route takes.
            let own = operation["parameters"].as_array().unwrap().iter();
            for own in own.filter(|own| own["in"] == "query") {
                assert!(
                    route.query.iter().any(|name| own["name"] == *name),
                    "{what}: {own}"
                );
            }
        }
    }

    fn names(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    /// The members of a type are those of its description, and those that are always there are required.
    fn compare<T: DeserializeOwned + Serialize>(doc: &Value, name: &str, full: &str) {
        let schema = &doc["components"]["schemas"][name];
        // Raw values are read from text only.
        let read = |body: &str| serde_json::from_str::<T>(body);
        let written = serde_json::to_value(read(full).unwrap()).unwrap();
        assert_eq!(names(&written), names(&schema["properties"]), "{name}");
        let strict = schema["additionalProperties"] == false;
        let always = names(&written).into_iter().filter(|member| {
            let mut without = written.clone();
            without.as_object_mut().unwrap().remove(member);
            // A request has to have it; an answer always has it.
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

    /// Types with the names of their descriptions, and a body of each with all that it may have.
    macro_rules! compare_all {
        ($doc:ident: $($type:ty, $name:literal = $body:tt;)*) => {
            $(compare::<$type>(&$doc, $name, &json!($body).to_string());)*
        };
    }

    #[test]
    fn bodies_have_the_members_of_their_types() {
        let doc = doc();
        compare_all! { doc:
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
            Alter, "Alter" = {"schema": null, "history": {}};
            History, "History" = {};
            TableInfo, "TableInfo" = {"name": "t", "epoch": "00c0ffee00c0ffee", "seq": 7, "floor": 1, "digest": "00000000000000000000000000000000", "records": 1, "created_at": 0, "updated_at": 0, "options": {}};
            Txn, "Txn" = {"id": "i", "ops": [{"delete": {"key": "k"}}], "if": [{"key": "k", "if_absent": true}], "note": "w"};
            Replace, "Replace" = {"id": "i", "records": [], "if_seq": 7, "max_delete_percent": 5, "allow_empty": true, "note": "w"};
            frame::Txn<'static>, "Change" = {"from": 7, "to": 7, "at": 0, "digest": "00000000000000000000000000000000", "count": 1, "ops": [], "more": false, "actor": "a", "note": "w"};
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(doc: &Value, value: &Value) {
            if let Some(to) = value["$ref"].as_str() {
                let found = doc.pointer(to.trim_start_matches('#'));
                assert!(found.is_some(), "{to} leads nowhere");
            }
            match value {
                Value::Array(items) => items.iter().for_each(|item| walk(doc, item)),
                Value::Object(members) => members.values().for_each(|member| walk(doc, member)),
                _ => {}
            }
        }
        let doc = doc();
        walk(&doc, &doc);
    }
}
