//! The description of the HTTP interface, as OpenAPI 3.1.
//!
//! `openapi.json` has the parts written by hand: summaries, answers, failures specific to an operation, and
//! the forms of bodies. The table of routes adds rights, parameters, the presence of a body, and the
//! failures that follow from them. The tests of the whole server compare the forms with their types, and
//! answers with the description.

use crate::http::etag::Conditions;
use crate::http::request::Takes;
use crate::http::route::{Access, ROUTES, Route};
use serde_json::{Value, json};

/// Returns the description of the HTTP interface as OpenAPI 3.1 in JSON: the body of `/v1/openapi.json`,
/// for programs that generate clients. Takes about a millisecond.
#[must_use]
pub fn openapi() -> String {
    let parsed = serde_json::from_str(include_str!("openapi.json"));
    // The tests parse it.
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

/// Adds the properties of its route to an operation.
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
    let (conditions, failure): (&[&str], _) = match route.conditions {
        Conditions::None => (&[], None),
        Conditions::Cached => (&["If-None-Match"], Some(("304", "NotModified"))),
        Conditions::Record => (
            &["If-Match", "If-Absent"],
            Some(("412", "PreconditionFailed")),
        ),
        Conditions::Existing => (&["If-Match"], Some(("412", "PreconditionFailed"))),
    };
    failures.extend(failure);
    for (status, response) in failures {
        operation["responses"][status] = reference("responses", response);
    }
    let of_path = |segment: &'static str| segment.strip_prefix('{')?.strip_suffix('}');
    let names = route.path.split('/').filter_map(of_path);
    let names = names.chain(route.query.iter().chain(conditions).copied());
    let names = names.chain(route.once.then_some("Idempotency-Key"));
    // The operation's own parameters have a special meaning there.
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
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let doc: Value = serde_json::from_str(&openapi()).unwrap();
        let mut described = 0;
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
            // Each parameter of an operation is one that its route supports.
            let own = operation["parameters"].as_array().unwrap().iter();
            for own in own.filter(|own| own["in"] == "query") {
                assert!(
                    route.query.iter().any(|name| own["name"] == *name),
                    "{what}: {own}"
                );
            }
        }
    }
}
