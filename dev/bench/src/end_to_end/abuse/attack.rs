//! Callers that request as much as they can, in a process of their own: the process begins on command, and
//! reports its answers at the end.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::ATTACK;
use super::api::{Answer, Api};
use super::session::{PING, Session, TEXT};
use crate::process::{Failure, Role};

/// Address of attackers.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Pause of an attacker that got no connection.
const AFTER_NOTHING: Duration = Duration::from_millis(500);
/// Priority of attackers, as `nice` counts: a tenth of an honest caller's share of a core that both want.
/// With the lowest one (19), attackers get no time at all where a server keeps both cores busy.
const NICE: i32 = 10;
/// Time between two pings of a session that does not read.
const PING_EVERY: Duration = Duration::from_millis(500);

/// The attacked tables: one with a search index; one with a change of 240 MB; one that is replaced; one that
/// is followed.
pub(super) const SEARCHED: &str = "searched";
pub(super) const LARGE: &str = "large";
pub(super) const REPLACED: &str = "replaced";
pub(super) const FOLLOWED: &str = "followed";
/// The value of every record of the searched table. 32 words begin one of these, and each of them
/// is in all records.
pub(super) const WORDS: [&str; 4] = ["wabcdefgh", "wijklmnop", "wqrstuvwx", "wyzabcdef"];
/// Levels of the schema that explodes: 2^45 evaluations.
const LEVELS: usize = 45;

/// Requests of an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Kind {
    /// Searches whose 32 words are each in every record.
    Searches,
    /// Values under a schema whose evaluation doubles at each level.
    Schema,
    /// The replacement of a table by tiny records.
    Replacement,
    /// A change of the largest permitted size.
    Changes,
    /// Sessions that ping but do not read.
    Sessions,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Searches,
        Self::Schema,
        Self::Replacement,
        Self::Changes,
        Self::Sessions,
    ];
}

/// Attackers at work.
pub(super) struct Attackers(Role);

impl Attackers {
    /// Prepares a number of callers. `bytes` is the size of a replacement.
    pub(super) fn prepare(kind: Kind, server: SocketAddr, callers: usize, bytes: usize) -> Self {
        let mut role = Role::start(ATTACK, (kind, server, callers, bytes));
        assert_eq!(role.hear(), READY);
        Self(role)
    }

    /// Makes the attackers begin.
    pub(super) fn go(&mut self) {
        self.0.say("go");
    }

    /// Returns the answers so far, with their counts, as text. The attack continues until this is dropped.
    pub(super) fn answers(&mut self) -> String {
        self.0.say("answers");
        self.0.hear()
    }
}

const READY: &str = "ready";

/// Answers, counted.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

impl Tally {
    fn add(&self, what: impl Into<String>) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry(what.into()).or_default() += 1;
    }

    async fn note(&self, answer: Result<Answer, Failure>) {
        match answer {
            Ok(answer) => self.add(answer.summary()),
            Err(_) => {
                self.add("no answer");
                sleep(AFTER_NOTHING).await;
            }
        }
    }

    fn text(&self) -> String {
        let tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<_> = tally
            .iter()
            .map(|(what, n)| format!("{what}: {n}"))
            .collect();
        match parts.is_empty() {
            true => "no answer yet".into(),
            false => parts.join(", "),
        }
    }
}

/// Attacks a server, as a child of the benchmark.
pub(in super::super) fn main(
    (kind, server, callers, bytes): (Kind, SocketAddr, usize, usize),
) -> Result<(), Failure> {
    // The body lives until the process ends.
    let body: &'static [u8] = match kind {
        Kind::Replacement => replacement(bytes).leak(),
        _ => &[],
    };
    rustix::process::nice(NICE)?;
    let runtime = super::runtime();
    let mut lines = std::io::stdin().lock().lines();
    println!("{READY}");
    if lines.next().transpose()?.is_none() {
        return Ok(());
    }
    let tally = Tally::default();
    let api = Api::new(server, FROM);
    for number in 0..callers {
        let (api, tally) = (api.clone(), tally.clone());
        match kind {
            Kind::Searches => drop(runtime.spawn(search(api, tally, number))),
            Kind::Schema => drop(runtime.spawn(explode(api, tally))),
            Kind::Replacement => drop(runtime.spawn(replace(api, tally, body))),
            Kind::Changes => drop(runtime.spawn(read_changes(api, tally))),
            Kind::Sessions => drop(runtime.spawn(ignore(server, tally))),
        }
    }
    while lines.next().transpose()?.is_some() {
        println!("{}", tally.text());
    }
    Ok(())
}

async fn again<F: Future<Output = Result<Answer, Failure>>>(
    tally: Tally,
    mut ask: impl FnMut() -> F,
) {
    loop {
        let answer = ask().await;
        tally.note(answer).await;
    }
}

/// Searches for one word 32 times, and for 32 different words, in turn.
async fn search(api: Api, tally: Tally, number: usize) {
    let same = vec!["w*"; 32].join("+");
    let different: Vec<String> = WORDS
        .iter()
        .flat_map(|word| (2..=word.len()).map(|length| format!("{}*", &word[..length])))
        .collect();
    let queries = [same, different.join("+")];
    let mut turn = number;
    again(tally, || {
        turn += 1;
        let path = format!("/{SEARCHED}/search?q={}", queries[turn % 2]);
        let api = api.clone();
        async move { api.get(&path).await }
    })
    .await;
}

fn exploding() -> String {
    let parts: Vec<_> = (0..LEVELS)
        .map(|level| {
            let next = format!(r##"{{"$ref":"#/$defs/p{}"}}"##, level + 1);
            format!(r#""p{level}":{{"allOf":[{next},{next}]}}"#)
        })
        .collect();
    let parts = parts.join(",");
    format!(r##"{{"schema":{{"$ref":"#/$defs/p0","$defs":{{{parts},"p{LEVELS}":true}}}}}}"##)
}

async fn explode(api: Api, tally: Tally) {
    again(tally, || async {
        let made = api.ask(Method::PUT, "/exploding", exploding()).await?;
        // 409: another of these callers created it.
        match made.is_ok() || made.status == 409 {
            true => api.put("exploding", "k", "1").await,
            false => Ok(made),
        }
    })
    .await;
}

/// A body of a number of bytes, of the smallest possible records.
fn replacement(bytes: usize) -> Vec<u8> {
    let mut body = br#"{"records":["#.to_vec();
    body.reserve(bytes);
    let mut number = 0;
    loop {
        let record = format!(r#"{{"key":"{number}","value":1}},"#);
        if body.len() + record.len() + 1 > bytes {
            break;
        }
        body.extend_from_slice(record.as_bytes());
        number += 1;
    }
    body.pop();
    body.extend_from_slice(b"]}");
    body
}

async fn replace(api: Api, tally: Tally, body: &'static [u8]) {
    let path = format!("/{REPLACED}/replace");
    again(tally, || api.ask(Method::POST, &path, body)).await;
}

async fn read_changes(api: Api, tally: Tally) {
    again(tally, || async {
        let table = api.table(LARGE).await?;
        let path = format!("/{LARGE}/changes?from={}:0&limit=1", table.place.epoch);
        api.get(&path).await
    })
    .await;
}

/// Opens a session that pings but does not read, and another one when it ends.
async fn ignore(server: SocketAddr, tally: Tally) {
    loop {
        let ended = ping(server, &tally).await;
        if let Err(error) = ended {
            tally.add(error.to_string());
        }
        sleep(AFTER_NOTHING).await;
    }
}

async fn ping(server: SocketAddr, tally: &Tally) -> std::io::Result<()> {
    let mut session = Session::open_unread(server, FOLLOWED).await?;
    session.say(TEXT, r#"{"hello":{"v":1}}"#).await?;
    tally.add("taken");
    for n in 0.. {
        sleep(PING_EVERY).await;
        session
            .say(TEXT, &format!(r#"{{"ping":{{"n":{n}}}}}"#))
            .await?;
        session.say(PING, "").await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_has_its_size_and_is_json() {
        let body = replacement(10_000);
        assert!((9_960..=10_000).contains(&body.len()));
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let records = json["records"].as_array().expect("records");
        assert_eq!(records[7]["key"], "7");
    }

    #[test]
    fn the_schema_doubles_at_each_level() {
        let json: serde_json::Value = serde_json::from_str(&exploding()).expect("JSON");
        let parts = json["schema"]["$defs"].as_object().expect("parts");
        assert_eq!(parts.len(), LEVELS + 1);
        assert_eq!(parts["p44"]["allOf"][1]["$ref"], "#/$defs/p45");
    }
}
