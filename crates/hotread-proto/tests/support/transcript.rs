//! Runs a transcript of `docs/wire.md`: applies what happens to the table, and requires that both
//! ends send exactly what is shown, when it is shown.

use crate::support::view::MapView;
use hotread_proto::session::{
    Answer, Encoded, End, Follow, FollowConfig, Mode, Output, Part, Serve, ServeConfig, Target,
    Want,
};
use hotread_proto::{
    Body, ChangeOp, Entry, Epoch, Key, Op, Outcome, Record, Records, Timestamp, Txn, evaluate,
};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Accepts objects with a number `rate`.
#[derive(Debug)]
pub struct Rates;

impl Target for Rates {
    type Action = ();

    fn put(&mut self, _key: &Arc<str>, record: &Record) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Rated {
            rate: Json,
        }
        match record.value_as::<Rated>() {
            Ok(rated) if rated.rate.is_number() => Ok(()),
            _ => Err("rate: expected a number".to_owned()),
        }
    }

    fn delete(&mut self, _key: &Arc<str>) {}
}

const HEARTBEAT: Duration = Duration::from_secs(2);
/// Time until a frame must be shown: times are in milliseconds, and no frame takes longer.
const SHOWN: Duration = Duration::from_millis(1);

/// Both ends, the table, and the frames that were not shown yet.
pub struct Transcript {
    follow: Follow<Rates>,
    serve: Option<Serve>,
    table: MapView,
    history: Vec<Arc<Encoded>>,
    floor: u64,
    now: Duration,
    from_client: VecDeque<Output<()>>,
    from_server: VecDeque<Arc<str>>,
    /// The server's want, and its answer as of now, if known. It is answered as late as allowed.
    wanted: Option<(Want, Option<Answer>)>,
}

/// A record that was found to have expired.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expired {
    key: Key,
    seq: u64,
}

/// An event of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Happens {
    /// A transaction is committed.
    #[serde(default)]
    ops: Vec<Op>,
    /// These records have expired.
    #[serde(default)]
    expire: Vec<Expired>,
    #[serde(default)]
    at: Option<Timestamp>,
    /// The history begins here.
    #[serde(default)]
    floor: Option<u64>,
    /// The table was dropped and re-created.
    #[serde(default)]
    epoch: Option<Epoch>,
}

impl Transcript {
    pub fn new(mode: Mode) -> Self {
        let config = FollowConfig {
            name: Some("api-7".to_owned()),
            mode,
            skip_bad_keys: false,
            keep_ops: true,
            ping_every: HEARTBEAT,
            max_bytes: 1 << 20,
            waits_for_table: false,
            renews_token: false,
            servers: 1,
            seed: 7,
        };
        let mut table = MapView::new(&None);
        table.head.position.epoch = Epoch(0x00c0_ffee_00c0_ffee);
        Self {
            follow: Follow::new(Rates, config, Duration::ZERO),
            serve: None,
            table,
            history: Vec::new(),
            floor: 1,
            now: Duration::ZERO,
            from_client: VecDeque::new(),
            from_server: VecDeque::new(),
            wanted: None,
        }
    }

    pub fn run(mut self, text: &str) {
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match (line.starts_with(' '), lines.last_mut()) {
                (true, Some(last)) => last.push_str(line),
                _ => lines.push(line.to_owned()),
            }
        }
        assert!(lines.len() > 10, "that is no transcript");
        for line in lines.iter().filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, char::is_whitespace);
            let at: f64 = words.next().unwrap().parse().expect(line);
            let at = Duration::from_millis((at * 1_000.0).round() as u64);
            let (who, what) = (words.next().unwrap(), words.next().unwrap().trim());
            self.advance(at, line);
            match who {
                "table" => self.happens(serde_json::from_str(what).expect(line)),
                "network" => {
                    self.serve = None;
                    self.wanted = None;
                    self.follow.handle_disconnected("it is gone", self.now);
                }
                "readers" => self.published(what),
                "client" => self.client(what, line),
                "server" => self.server(what, line),
                _ => panic!("unknown participant: {line}"),
            }
            self.collect();
        }
        self.nothing_is_left("the end");
        assert!(self.wanted.is_none());
    }

    fn nothing_is_left(&self, before: &str) {
        let (client, server) = (&self.from_client, &self.from_server);
        // A connection takes some time to open.
        let shown = client
            .iter()
            .all(|output| matches!(output, Output::Connect));
        assert!(shown, "not shown before {before}: {client:?}");
        assert!(server.is_empty(), "not shown before {before}: {server:?}");
    }

    fn collect(&mut self) {
        self.from_client
            .extend(std::iter::from_fn(|| self.follow.poll_output()));
        let Some(serve) = &mut self.serve else { return };
        self.from_server
            .extend(std::iter::from_fn(|| serve.poll_frame()));
        if let Some(want) = serve.poll_want() {
            let answer = match &want {
                Want::Part { number, after } => {
                    let table = Records::new(self.table.head, self.table.records.values().cloned());
                    let part = Part::read(&table, *number, after.as_deref());
                    Some(Answer::Part(Arc::new(part)))
                }
                _ => None,
            };
            assert!(self.wanted.replace((want, answer)).is_none());
        }
    }

    fn advance(&mut self, to: Duration, line: &str) {
        assert!(to >= self.now, "back in time: {line}");
        if to > self.now + SHOWN {
            self.nothing_is_left(line);
        }
        for _ in 0..100 {
            let due = self.follow.poll_timeout().filter(|due| *due <= to);
            let served = self.serve.as_ref().and_then(Serve::poll_timeout);
            let served = served.filter(|due| *due <= to);
            let Some(due) = due.into_iter().chain(served).min() else {
                break;
            };
            let due = due.max(self.now);
            self.follow.handle_timeout(due);
            if let Some(serve) = &mut self.serve {
                serve.handle_timeout(due);
            }
            self.collect();
            if to > due + SHOWN {
                self.nothing_is_left(line);
            }
        }
        self.now = to;
    }

    fn happens(&mut self, what: Happens) {
        if let Some(epoch) = what.epoch {
            self.table = MapView::new(&None);
            self.table.head.position.epoch = epoch;
            self.table.head.at = what.at.unwrap();
            self.history.clear();
            self.floor = 1;
        } else if let Some(floor) = what.floor {
            self.floor = floor;
        } else {
            let (at, ops) = (what.at.unwrap(), what.ops);
            let expired = what.expire.into_iter().map(|it| (it.key, it.seq));
            let body = match expired.len() {
                0 => Body::Txn(Txn { ops, ..Txn::new() }),
                _ => Body::Expire(expired.collect()),
            };
            let Outcome::Committed(change) = evaluate(
                &mut self.table,
                &Entry {
                    at,
                    actor: None,
                    body,
                },
            )
            .unwrap() else {
                panic!("the table refuses it");
            };
            self.table.apply(&change);
            self.history.push(Arc::new(Encoded::new(Arc::new(change))));
        }
        let head = self.table.head;
        if let Some(serve) = &mut self.serve {
            serve.handle_head(head, self.floor);
        }
    }

    fn published(&mut self, what: &str) {
        let Some(Output::Apply(batch)) = self.from_client.pop_front() else {
            panic!("nothing is given out, and not {what}");
        };
        let mut ops: Vec<String> = batch.ops.iter().map(given_out).collect();
        ops.sort_unstable_by(|one, other| one[1..].cmp(&other[1..]));
        let ops = ops.join(" ");
        assert_eq!(what, format!("have {}: {ops}", batch.head.position.seq));
        self.follow.handle_published(batch.head.position, self.now);
    }

    fn client(&mut self, what: &str, line: &str) {
        let output = self.from_client.pop_front();
        match (what, output) {
            ("connects", Some(Output::Connect)) => {
                let config = ServeConfig {
                    heartbeat: HEARTBEAT,
                    sealed: false,
                };
                let serve = Serve::new(config, self.table.head, self.floor, self.now);
                self.serve = Some(serve);
                self.follow.handle_connected(self.now);
            }
            ("closes", Some(Output::Disconnect)) => {
                self.serve = None;
                self.wanted = None;
            }
            ("stops", Some(Output::Failed(_))) => {}
            (shown, Some(Output::Send(frame))) => {
                same(shown, &frame, line);
                let serve = self.serve.as_mut().expect("a connection");
                serve.handle_text(&frame, self.now);
            }
            (_, output) => panic!("{output:?}, and not {line}"),
        }
    }

    fn server(&mut self, what: &str, line: &str) {
        let serve = self.serve.as_mut().expect("a connection");
        let shown: Json = serde_json::from_str(what).unwrap_or_default();
        if let Some(goodbye) = shown.get("goodbye") {
            serve.handle_end(End::Goodbye {
                reason: goodbye["reason"].as_str().unwrap().to_owned(),
                spread: Duration::from_millis(goodbye["spread_ms"].as_u64().unwrap()),
            });
        }
        if self.from_server.is_empty()
            && let Some((want, answer)) = self.wanted.take()
        {
            let answer = answer.unwrap_or_else(|| match want {
                Want::Changes { after } => {
                    let behind = |it: &&Arc<Encoded>| it.change().position.seq > after;
                    Answer::Changes(self.history.iter().filter(behind).cloned().collect())
                }
                Want::Digest { at } => {
                    let there = |it: &&Arc<Encoded>| it.change().position == at;
                    let change = self.history.iter().find(there);
                    let kept = change.filter(|it| it.change().position.seq >= self.floor);
                    Answer::Digest(kept.map(|it| it.change().digest))
                }
                want => panic!("{want:?}"),
            });
            serve.handle_answer(answer);
        }
        self.collect();
        let frame = self.from_server.pop_front();
        let Some(frame) = frame else {
            panic!("the server says nothing, and not {line}");
        };
        same(what, &frame, line);
        let said: Json = serde_json::from_str(&frame).unwrap();
        let ends = ["reset", "goodbye", "error"]
            .iter()
            .any(|kind| said.get(kind).is_some());
        assert_eq!(
            self.serve.as_ref().is_some_and(Serve::is_over),
            ends,
            "{line}"
        );
        self.follow.handle_text(&frame, self.now);
    }
}

/// Formats an operation that was published.
fn given_out(op: &ChangeOp) -> String {
    match op {
        ChangeOp::Put(record) => format!("+{}", record.key()),
        ChangeOp::Delete { key, .. } => format!("-{key}"),
    }
}

fn same(shown: &str, said: &str, line: &str) {
    let read =
        |text: &str| serde_json::from_str::<Json>(text).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(read(said), read(shown), "{line}\nis not {said}");
}
