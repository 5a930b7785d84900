//! `hotread status`.

use super::Place;
use super::serving::Serving;
use hotread_client::{HotReadState, MapUpdate, Record, Replicated, blocking::Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after which a command counts as hung.
const HANG: Duration = Duration::from_secs(600);

/// A type that takes only `1`, with a reason that could control a terminal.
#[derive(Clone, Default)]
struct Ones(BTreeMap<Arc<str>, ()>);

impl HotReadState for Ones {
    type Action = MapUpdate<Arc<str>, ()>;

    fn apply_update(&mut self, update: &Self::Action) {
        self.0.apply_update(update);
    }
}

impl Replicated for Ones {
    type Value = u64;

    fn empty() -> Self {
        Self::default()
    }

    fn put(key: &Arc<str>, record: &Record) -> Result<Self::Action, String> {
        match record.value() {
            b"1" => Ok(MapUpdate::Insert(key.clone(), ())),
            _ => Err("no \u{1b}[31mone\n".to_owned()),
        }
    }

    fn delete(key: &Arc<str>) -> Self::Action {
        MapUpdate::Remove(key.clone())
    }
}

/// Asks for the status until `is_so` holds.
fn until(serving: &Serving, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let asked = Instant::now();
    loop {
        let status = serving.run(&["status", "--json"]).json().remove(0);
        if is_so(&status) {
            return status;
        }
        assert!(asked.elapsed() < HANG, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn tables_and_who_follows_them_are_shown() {
    let place = Place::with_table();
    let serving = Serving::start(&place, &[]);
    let idle = serving.run(&["status"]);
    assert_eq!(
        (idle.code, idle.err.as_str()),
        (0, "no client follows a table now\n")
    );
    let words: Vec<Vec<&str>> = idle
        .out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let heading = ["TABLE", "RECORDS", "HEAD", "FLOOR", "SUBSCRIBERS"];
    assert_eq!(words, [&heading[..], &["t", "0", "0", "1", "0"]]);

    let client = Client::builder(&serving.url())
        .name("api-7")
        .build_blocking()
        .unwrap();
    let replica = client.replica::<Ones>("t").unwrap();
    serving.run(&["set", "t", "a", "1"]).ok();
    until(&serving, |status| status["sessions"][0]["acked"] == 1);
    serving.run(&["set", "t", "a", "2"]).ok();
    let status = until(&serving, |status| {
        status["sessions"][0].get("last_nack").is_some()
    });
    let follower = &status["sessions"][0];
    assert_eq!(
        (&follower["name"], &follower["table"]),
        (&json!("api-7"), &json!("t"))
    );
    assert_eq!(
        (&follower["lag"], &follower["last_nack"]["seq"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        (&status["tables"][0]["head"], status.get("ok")),
        (&json!(2), None)
    );

    let shown = serving.run(&["status"]).ok();
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 8, "{shown}");
    let at_risk: Vec<_> = lines[6].split_whitespace().collect();
    assert_eq!(
        at_risk,
        ["AT", "RISK", "PEER", "TABLE", "POSITION", "REASON"]
    );
    let risk: Vec<_> = lines[7].split_whitespace().collect();
    let peer_at_risk = follower["peer"].as_str().unwrap();
    assert_eq!(
        risk[..6],
        ["api-7", peer_at_risk, "t", "1", "refuses", "a:"]
    );
    assert_eq!(
        (&status["at_risk_count"], &status["at_risk"][0]["key"]),
        (&json!(1), &json!("a"))
    );
    let columns: Vec<_> = lines[3].split_whitespace().collect();
    assert_eq!(
        columns[..6],
        ["SUBSCRIBER", "PEER", "TABLE", "POSITION", "LAG", "SINCE"]
    );
    let cells: Vec<_> = lines[4].split_whitespace().collect();
    let peer = follower["peer"].as_str().unwrap();
    assert_eq!(cells[..5], ["api-7", peer, "t", "1", "1"]);
    assert!(
        lines[4].contains("  a at 2: no ") && lines[4].contains("[31mone"),
        "{shown}"
    );
    drop(replica);
}
