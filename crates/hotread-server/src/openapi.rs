//! The description of the HTTP interface, as OpenAPI 3.1. It is written by hand. The tests here compare it
//! with the table of routes and its bodies with their types, and those of the whole server compare
//! answers with it.
//!
//! Generating it would not be less: of its 1,309 lines, 900 are what only people know of a route (summaries,
//! descriptions, which failures it has), and of 390 lines of bodies most are forms that types with JSON of
//! their own would have to say by hand again, patterns and bounds of names, times, hashes and values.

/// The document.
pub(crate) const DESCRIPTION: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::etag::Conditions;
    use crate::http::request::Takes;
    use crate::http::route::{Access, ROUTES, Route};
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
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn doc() -> Value {
        serde_json::from_str(DESCRIPTION).unwrap()
    }

    fn operation<'a>(doc: &'a Value, route: &Route) -> &'a Value {
        let method = route.method.as_str().to_lowercase();
        let operation = &doc["paths"][route.path][&method];
        assert!(operation.is_object(), "{method} {} is missing", route.path);
        operation
    }

    /// What a member says, by way of a reference if it is one.
    fn resolved<'a>(doc: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(to) => {
                let found = doc.pointer(to.trim_start_matches('#'));
                found.unwrap_or_else(|| panic!("{to} leads nowhere"))
            }
            None => value,
        }
    }

    fn parameters(doc: &Value, route: &Route, place: &str) -> BTreeSet<String> {
        let given = operation(doc, route)["parameters"].as_array();
        let given = given
            .into_iter()
            .flatten()
            .map(|given| resolved(doc, given));
        given
            .filter(|given| given["in"] == place)
            .map(|given| given["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let doc = doc();
        let described: BTreeSet<_> = doc["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let there: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.path.to_owned(), route.method.to_string()))
            .collect();
        assert_eq!(there.len(), ROUTES.len(), "a route is there twice");
        assert_eq!(described, there);
        assert_eq!(doc["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn access_is_as_described() {
        let doc = doc();
        for route in &ROUTES {
            let access = match route.access {
                Access::Open => "open".to_owned(),
                Access::Token => "token".to_owned(),
                Access::Any(role) => format!("any:{role}"),
                Access::Table(role) => format!("table:{role}"),
                Access::Server(role) => format!("server:{role}"),
            };
            let operation = operation(&doc, route);
            assert_eq!(operation["x-access"], access, "{}", route.path);
            let open = operation["security"] == serde_json::json!([]);
            assert_eq!(open, route.access == Access::Open, "{}", route.path);
            let named = route.path.contains("{table}");
            assert_eq!(
                matches!(route.access, Access::Table(_)),
                named,
                "{}",
                route.path
            );
        }
    }

    #[test]
    fn what_a_route_takes_is_as_described() {
        let doc = doc();
        for route in &ROUTES {
            let what = format!("{} {}", route.method, route.path);
            assert_eq!(parameters(&doc, route, "query"), set(route.query), "{what}");
            let in_path = route.path.split('/').filter_map(|segment| {
                segment
                    .strip_prefix('{')
                    .and_then(|name| name.strip_suffix('}'))
            });
            let in_path: Vec<_> = in_path.collect();
            assert_eq!(parameters(&doc, route, "path"), set(&in_path), "{what}");

            let headers = parameters(&doc, route, "header");
            let conditions: BTreeSet<_> = headers
                .iter()
                .filter(|name| name.starts_with("If-"))
                .map(String::as_str)
                .collect();
            let understood: &[&str] = match route.conditions {
                Conditions::None => &[],
                Conditions::Cached => &["If-None-Match"],
                Conditions::Record => &["If-Match", "If-None-Match"],
                Conditions::Existing => &["If-Match"],
            };
            assert_eq!(conditions, understood.iter().copied().collect(), "{what}");
            assert_eq!(headers.contains("Idempotency-Key"), route.once, "{what}");

            let body = &operation(&doc, route)["requestBody"];
            match route.takes {
                Takes::Nothing => assert!(body.is_null(), "{what}"),
                Takes::Perhaps(_) => assert_eq!(body["required"], false, "{what}"),
                Takes::Json(_) | Takes::Replacement => assert_eq!(body["required"], true, "{what}"),
            }
        }
    }

    /// A body of a type as JSON, with all that it may have.
    const BODIES: &str = r#"{
        "Position": {"epoch": "00c0ffee00c0ffee", "seq": 7},
        "Record": {"key": "k", "value": 1, "category": "c", "seq": 7, "updated_at": 0, "expires_at": 1, "h": "00000000000000000000000000000000"},
        "RecordBody": {"value": 1, "category": "c", "expires_at": 1},
        "NewToken": {"name": "n", "role": "read", "tables": ["t"], "expires_at": 1},
        "TokenInfo": {"id": "5f0c9a1e", "name": "n", "role": "read", "tables": ["t"], "created_at": 0, "expires_at": 1},
        "TableStatus": {"name": "t", "epoch": "00c0ffee00c0ffee", "head": 7, "floor": 1, "records": 1, "sessions": 1},
        "Nack": {"key": "k", "seq": 7, "reason": "r"},
        "Session": {"id": 1, "name": "n", "peer": "p", "table": "t", "mode": "resume", "position": 7, "acked": 6, "lag": 1, "since": 0, "last_nack": {"key": "k", "seq": 7, "reason": "r"}},
        "AtRisk": {"session": 1, "name": "n", "peer": "p", "table": "t", "acked": 6, "key": "k", "reason": "r"},
        "TableOptions": {"search": true, "sealed": true, "schema": {}, "history": {}},
        "Alter": {"schema": null, "search": true, "name": "t", "history": {}},
        "History": {},
        "TableInfo": {"name": "t", "epoch": "00c0ffee00c0ffee", "seq": 7, "floor": 1, "digest": "00000000000000000000000000000000", "records": 1, "created_at": 0, "updated_at": 0, "options": {}},
        "Txn": {"id": "i", "ops": [{"delete": {"key": "k"}}], "if": [{"key": "k", "if_absent": true}], "note": "w"},
        "Replace": {"id": "i", "records": [], "if_seq": 7, "max_delete_percent": 5, "allow_empty": true, "note": "w"},
        "Change": {"from": 7, "to": 7, "at": 0, "digest": "00000000000000000000000000000000", "count": 1, "ops": [], "more": false, "actor": "a", "note": "w"},
        "Stats": {},
        "Histogram": {},
        "Error": {"code": "BUSY", "message": "m", "key": "k", "seq": 7}
    }"#;

    fn names(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    fn required(schema: &Value) -> BTreeSet<String> {
        let required = schema["required"].as_array().unwrap();
        required
            .iter()
            .map(|it| it.as_str().unwrap().to_owned())
            .collect()
    }

    /// The members of a type are those of its description, and those that are always there are required.
    fn compare<T: DeserializeOwned + Serialize>(name: &str) {
        let (doc, bodies): (Value, Value) = (doc(), serde_json::from_str(BODIES).unwrap());
        let (schema, full) = (&doc["components"]["schemas"][name], &bodies[name]);
        // Raw values are read from text only.
        let read = |body: &Value| serde_json::from_str::<T>(&body.to_string());
        let written = serde_json::to_value(read(full).unwrap()).unwrap();
        assert_eq!(names(&written), names(&schema["properties"]), "{name}");
        let mut always = BTreeSet::new();
        for member in names(&written) {
            let mut without = written.clone();
            without.as_object_mut().unwrap().remove(&member);
            let strict = schema["additionalProperties"] == false;
            let again = read(&without);
            // A request has to have it; an answer always has it.
            let needed = match again {
                Err(_) => true,
                Ok(read) => !strict && serde_json::to_value(read).unwrap().get(&member).is_some(),
            };
            if needed {
                always.insert(member);
            }
        }
        assert_eq!(always, required(schema), "{name}");
    }

    #[test]
    fn bodies_have_the_members_of_their_types() {
        compare::<Position>("Position");
        compare::<Record>("Record");
        compare::<RecordBody>("RecordBody");
        compare::<TokenRequest>("NewToken");
        compare::<TokenInfo>("TokenInfo");
        compare::<TableStatus>("TableStatus");
        compare::<Nack>("Nack");
        compare::<SessionStatus>("Session");
        compare::<AtRisk>("AtRisk");
        compare::<Stats>("Stats");
        compare::<Histogram>("Histogram");
        compare::<ErrorBody>("Error");
        compare::<TableOptions>("TableOptions");
        compare::<Alter>("Alter");
        compare::<History>("History");
        compare::<TableInfo>("TableInfo");
        compare::<Txn>("Txn");
        compare::<Replace>("Replace");
        compare::<frame::Txn<'static>>("Change");
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_a_name() {
        fn walk(doc: &Value, value: &Value) {
            if value["$ref"].is_string() {
                resolved(doc, value);
            }
            match value {
                Value::Array(items) => items.iter().for_each(|item| walk(doc, item)),
                Value::Object(members) => members.values().for_each(|member| walk(doc, member)),
                _ => {}
            }
        }
        let doc = doc();
        walk(&doc, &doc);
        let names: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| operation(&doc, route)["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), ROUTES.len());
    }
}
