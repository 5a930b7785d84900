//! The check that an answer agrees with the OpenAPI description.

use super::Reply;
use hotread_proto::Code;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

pub static DOC: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&hotread_server::openapi()).unwrap());

/// Statuses that any operation may have in an emergency.
const ANY: [u16; 4] = [408, 431, 500, 507];

type Validators = HashMap<(String, String, u16), Arc<Validator>>;
static VALIDATORS: LazyLock<Mutex<Validators>> = LazyLock::new(Mutex::default);

/// Returns the path as it is described.
fn described_path(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap();
    let segments: Vec<_> = path.split('/').collect();
    let fits = |described: &str| {
        let described: Vec<_> = described.split('/').collect();
        let same = |(a, b): (&&str, &&str)| a == b || (a.starts_with('{') && !b.is_empty());
        described.len() == segments.len() && described.iter().zip(&segments).all(same)
    };
    let paths = DOC["paths"].as_object().unwrap().keys();
    paths.map(String::as_str).find(|described| fits(described))
}

fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(to) => DOC.pointer(to.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn validator(path: &str, method: &str, status: u16, schema: &Value) -> Arc<Validator> {
    let key = (path.to_owned(), method.to_owned(), status);
    let mut validators = VALIDATORS.lock().unwrap();
    let validator = validators.entry(key).or_insert_with(|| {
        let schema = json!({
            "components": DOC["components"], "allOf": [schema], "unevaluatedProperties": false,
        });
        let options = jsonschema::options().should_validate_formats(true);
        Arc::new(options.build(&schema).unwrap())
    });
    validator.clone()
}

/// Panics if the answer disagrees.
pub fn check(method: &str, path: &str, of_page: bool, reply: &Reply) {
    let what = format!("{method} {path}: {} {}", reply.status, reply.text());
    if method == "HEAD" {
        assert!(reply.body.is_empty(), "{what}");
    } else if !(200..400).contains(&reply.status) {
        check_error(&what, reply);
    }
    let shared = reply.header("access-control-allow-origin").is_some();
    assert!(
        !shared || of_page,
        "{what}: shared with pages, and none asked"
    );
    let Some(described) = described_path(path) else {
        return;
    };
    let method = method.to_lowercase();
    let operation = &DOC["paths"][described][&method];
    if operation.is_null() {
        return;
    }
    let responses = &operation["responses"];
    let response = match &responses[reply.status.to_string()] {
        Value::Null if ANY.contains(&reply.status) => &responses["default"],
        Value::Null => panic!("{what}: the status is not described"),
        response => response,
    };
    let response = resolved(response);
    let headers = response["headers"].as_object().into_iter().flatten();
    for (name, _) in headers {
        let there = reply.header(&name.to_lowercase());
        assert!(there.is_some(), "{what}: {name} is missing");
    }
    let Some((kind, content)) = response["content"]
        .as_object()
        .and_then(|c| c.iter().next())
    else {
        assert!(reply.body.is_empty(), "{what}: a body is not described");
        return;
    };
    let given = reply.header("content-type").unwrap_or_default();
    assert_eq!(given.split(';').next().unwrap(), kind, "{what}");
    if kind == "application/json" && !described.ends_with("openapi.json") {
        let body = reply.json();
        let validator = validator(described, &method, reply.status, &content["schema"]);
        let errors: Vec<_> = validator
            .iter_errors(&body)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:?}");
    }
}

fn check_error(what: &str, reply: &Reply) {
    let body = reply.json();
    let code: Code = serde_json::from_value(body["code"].clone()).unwrap();
    assert!(Code::ALL.contains(&code), "{what}: an unknown code");
    let message = body["message"].as_str().unwrap();
    assert!(!message.is_empty() && !message.contains('\n'), "{what}");
    assert_eq!(body.get("ok"), None, "{what}");
    let waits = matches!(reply.status, 429 | 503);
    assert_eq!(reply.header("retry-after").is_some(), waits, "{what}");
}
