//! All routes of the OpenAPI description, with a valid request for each.

use super::{Api, Ask, DOC, Reply};
use hotread_proto::Code;
use hotread_store::Role;

/// A route, and a valid request for it.
pub struct Route {
    pub method: String,
    pub path: String,
    /// `open`, `token`, or `any`, `table`, `server` with a role.
    pub access: String,
    pub body: Option<&'static str>,
}

pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, methods) in DOC["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let body = match operation["operationId"].as_str().unwrap() {
                "createToken" => Some(r#"{"name":"n","role":"read"}"#),
                "putRecord" => Some(r#"{"value":1}"#),
                "commit" => Some(r#"{"ops":[{"put":{"key":"k","value":1}}]}"#),
                "replace" => Some(r#"{"records":[{"key":"k","value":1}]}"#),
                "createTable" | "alterTable" => Some("{}"),
                _ => None,
            };
            let query = match operation["operationId"].as_str().unwrap() {
                "search" => "?q=a",
                "changes" => "?from=0000000000000000:0",
                _ => "",
            };
            let path = path
                .replace("{table}", "mine")
                .replace("{key}", "k")
                .replace("{id}", "00000000");
            routes.push(Route {
                method: method.to_uppercase(),
                path: path + query,
                access: operation["x-access"].as_str().unwrap().to_owned(),
                body,
            });
        }
    }
    assert!(routes.len() >= 23);
    routes
}

impl Route {
    pub fn ask(&self, api: &Api) -> Ask {
        let ask = api.ask(&self.method, &self.path);
        match self.body {
            Some(body) => ask.json(body),
            None => ask,
        }
    }

    pub fn role(&self) -> Option<Role> {
        let (_, role) = self.access.split_once(':')?;
        Some(role.parse().unwrap())
    }

    pub fn scope(&self) -> &str {
        self.access.split(':').next().unwrap()
    }

    pub fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

pub fn is(reply: &Reply, status: u16, code: Code, what: &str) {
    let got = (reply.status, reply.code());
    assert_eq!(
        got,
        (status, code.as_str().to_owned()),
        "{what}: {}",
        reply.text()
    );
}
