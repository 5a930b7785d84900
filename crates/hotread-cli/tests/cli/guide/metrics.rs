//! Metrics and routes that pages name are those of a server.

use super::super::Place;
use super::super::serving::Serving;
use super::page::{guide, rows};
use hotread_testkit::certificates::Authority;
use std::collections::BTreeSet;

/// The families of a server's metrics, each as it is counted: counters end in `_total`.
fn families(serving: &Serving) -> BTreeSet<String> {
    let (status, text) = serving.ask("GET", "/metrics", "", "");
    assert_eq!(status, 200);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.map(|line| match line.split_once(' ').unwrap() {
        (name, "counter") => format!("{name}_total"),
        (name, _) => name.to_owned(),
    });
    names.collect()
}

/// The words of a text that begin as the metrics do.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("hotread_"))
}

#[test]
fn the_metrics_of_the_page_and_of_the_alerts_are_those_of_a_server() {
    let place = Place::with_table();
    let authority = Authority::new();
    let files = authority
        .issue(&["127.0.0.1"])
        .write(&place.path(""), "server");
    let [chain, key] = [&files.chain, &files.key].map(|path| path.to_str().unwrap());
    // With everything that has metrics.
    let serving = Serving::start(&place, &["--tls-cert", chain, "--tls-key", key]);
    let families = families(&serving.trusting(&authority));
    let page = guide("deployment.md");
    let cells = rows(&page).filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`'));
    let of_page: BTreeSet<_> = cells
        .filter(|cell| cell.starts_with("hotread_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(of_page, families);

    let alerts = guide("deploy/alerts.yml");
    let expressions: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    assert!(expressions.len() >= 10, "{expressions:?}");
    for name in expressions.iter().flat_map(|line| named(line)) {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(families.contains(family), "there is no metric {name}");
    }
}

/// The route that a path belongs to, if one does.
fn route<'a>(routes: &'a BTreeSet<String>, method: &str, path: &str) -> Option<&'a String> {
    let parts: Vec<_> = path.split('/').collect();
    let fits = |route: &&String| {
        let (of_route, pattern) = route.split_once(' ').unwrap();
        let pattern: Vec<_> = pattern.split('/').collect();
        let mut pairs = pattern.iter().zip(&parts);
        of_route == method
            && pattern.len() == parts.len()
            && pairs.all(|(pattern, part)| pattern.starts_with('{') || pattern == part)
    };
    // A route without a parameter there goes first.
    routes
        .iter()
        .filter(fits)
        .min_by_key(|route| route.matches('{').count())
}

#[test]
fn the_http_cookbook_asks_for_every_route() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let (_, description) = serving.ask("GET", "/v1/openapi.json", "", "");
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    let mut routes = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    // A WebSocket, which the page leaves to wire.md.
    let mut missing = routes.clone();
    assert!(missing.remove("GET /v1/tables/{table}/sync"));
    for line in guide("http.md").lines() {
        let words: Vec<_> = line
            .split([' ', '(', ')'])
            .map(|word| word.trim_matches(['"', '\'']))
            .collect();
        if !words.contains(&"curl") {
            continue;
        }
        let after = |flag: &str| {
            words
                .iter()
                .position(|word| *word == flag)
                .map(|at| words[at + 1])
        };
        let has_body = words.iter().any(|word| ["-d", "$J"].contains(word));
        let method = after("-X").unwrap_or(if has_body { "POST" } else { "GET" });
        for word in &words {
            let path = word
                .strip_prefix("$T")
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .map(|rest| format!("/v1/tables{rest}"))
                .or_else(|| {
                    word.strip_prefix("http://127.0.0.1:7400")
                        .map(str::to_owned)
                });
            let Some(path) = path else {
                continue;
            };
            let path = path.split('?').next().unwrap_or_default();
            // An id that another command finds.
            let path = path
                .strip_suffix('$')
                .map_or(path.to_owned(), |path| format!("{path}ID"));
            let route = route(&routes, method, &path);
            let route = route.unwrap_or_else(|| panic!("no route {method} {path}: {line}"));
            missing.remove(route);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
