//! A client of the simulation: the replica's end, the state of its readers, and the invariants.

use crate::rng::Rng;
use crate::table::{POISON, Table};
use hotread_proto::session::frame::{Begin, ClientFrame, ServerFrame};
use hotread_proto::session::{
    Batch, Cause, Follow, FollowConfig, MAX_CLIENT_FRAME_BYTES, Mode, Output, Refused, Target,
};
use hotread_proto::{Code, Head, Position, Record, Records};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub struct Picky {
    refuses: bool,
}

#[derive(Debug)]
pub enum Write {
    Put(Record),
    Delete(Arc<str>),
}

impl Target for Picky {
    type Action = Write;

    fn put(&mut self, _: &Arc<str>, record: &Record) -> Result<Write, String> {
        if self.refuses && record.value().starts_with(POISON.as_bytes()) {
            return Err("poison".to_owned());
        }
        Ok(Write::Put(record.clone()))
    }

    fn delete(&mut self, key: &Arc<str>) -> Write {
        Write::Delete(key.clone())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Plain,
    Refusing,
    Skipping,
    Events,
}

/// Next action of a driver.
pub enum Todo {
    Connect,
    Disconnect,
    Send(String),
}

pub struct Client {
    pub kind: Kind,
    coalesce: bool,
    pub follow: Follow<Picky>,
    /// State that readers see, and its identity in the table.
    state: BTreeMap<String, Record>,
    pub seen: Option<(usize, Head)>,
    batches: VecDeque<(Duration, Batch<Write>)>,
    reports: VecDeque<(Duration, Position)>,
    /// Last transaction, for clients that want events.
    event: Option<usize>,
    from: Option<Position>,
    outputs: Vec<Output<Write>>,
    /// Value whose refusal must be reported to the server at once.
    owes_nack: Option<Refused>,
    pub repeated_nacks: u64,
    pub ended: u64,
    pub restored: u64,
}

fn config(kind: Kind, coalesce: bool, from: Option<Position>, rng: &mut Rng) -> FollowConfig {
    FollowConfig {
        name: Some("sim".to_owned()),
        mode: match kind {
            Kind::Events => Mode::Events { from },
            _ => Mode::Replica { coalesce },
        },
        skip_bad_keys: kind == Kind::Skipping,
        keep_ops: true,
        ping_every: Duration::from_millis(100 + rng.below(400)),
        max_bytes: 64 << 20,
        waits_for_table: false,
        renews_token: false,
        servers: 1,
        seed: rng.next(),
    }
}

impl Client {
    pub fn new(kind: Kind, rng: &mut Rng, now: Duration) -> Self {
        let coalesce = rng.one_in(2);
        let config = config(kind, coalesce, None, rng);
        let refuses = matches!(kind, Kind::Refusing | Kind::Skipping);
        Self {
            kind,
            coalesce,
            follow: Follow::new(Picky { refuses }, config, now),
            state: BTreeMap::new(),
            seen: None,
            batches: VecDeque::new(),
            reports: VecDeque::new(),
            event: None,
            from: None,
            outputs: Vec::new(),
            owes_nack: None,
            repeated_nacks: 0,
            ended: 0,
            restored: 0,
        }
    }

    /// Ends the process and starts it again, perhaps with the saved copy.
    pub fn restart(&mut self, table: &Table, rng: &mut Rng, now: Duration) {
        // A position between the history's beginning and the head, or the head.
        self.from = rng.one_in(2).then(|| table.now().position);
        let config = config(self.kind, self.coalesce, self.from, rng);
        let refuses = matches!(self.kind, Kind::Refusing | Kind::Skipping);
        self.follow = Follow::new(Picky { refuses }, config, now);
        self.batches.clear();
        self.reports.clear();
        self.event = None;
        self.outputs.clear();
        self.owes_nack = None;
        let kept = self.seen.take();
        let records = std::mem::take(&mut self.state).into_values();
        if let Some((id, head)) = kept
            && matches!(self.kind, Kind::Plain | Kind::Refusing)
            && rng.one_in(2)
        {
            let records = Records::new(head, records);
            assert!(records.verify(&hotread_proto::Hasher::PLAIN));
            let batch = self.follow.restore(&records).expect("it had this");
            assert_eq!(batch.cause, Cause::First);
            assert_eq!(table.find(&batch.head), Some(id));
            self.batches.push_back((now, batch));
            self.restored += 1;
        }
    }

    /// Handles a frame. Returns `true` if the client then gives up the connection.
    pub fn hears(&mut self, text: &str, now: Duration) -> bool {
        let welcome = ServerFrame::decode(text);
        let refused = self.refused();
        self.follow.handle_text(text, now);
        let mut left = false;
        while let Some(output) = self.follow.poll_output() {
            left |= matches!(output, Output::Disconnect);
            self.outputs.push(output);
        }
        if let Ok(ServerFrame::Welcome(welcome)) = welcome
            && welcome.mode == Begin::Resume
            && !left
        {
            self.owes_nack = refused;
        }
        left
    }

    /// Carries out what is due, and returns the driver's next action.
    pub fn poll(&mut self, table: &Table, rng: &mut Rng, now: Duration) -> Vec<Todo> {
        let mut tries = 0;
        while self.follow.poll_timeout().is_some_and(|at| at <= now) {
            self.follow.handle_timeout(now);
            tries += 1;
            assert!(tries < 4, "it spins: {:?}", self.follow);
        }
        while self.batches.front().is_some_and(|(at, _)| *at <= now) {
            let (_, batch) = self.batches.pop_front().unwrap();
            let position = batch.head.position;
            match self.kind {
                Kind::Events => self.check_event(table, &batch),
                _ => self.publish(table, batch),
            }
            self.reports
                .push_back((later(rng, now, &self.reports), position));
        }
        while self.reports.front().is_some_and(|(at, _)| *at <= now) {
            let (_, position) = self.reports.pop_front().unwrap();
            self.follow.handle_published(position, now);
        }
        self.check_freshness(table);
        let mut todo = Vec::new();
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(std::iter::from_fn(|| self.follow.poll_output()));
        for output in outputs {
            match output {
                Output::Connect => todo.push(Todo::Connect),
                Output::Disconnect => {
                    self.owes_nack = None;
                    todo.push(Todo::Disconnect);
                }
                Output::Send(text) => {
                    self.check_sent(&text);
                    todo.push(Todo::Send(text));
                }
                Output::Apply(batch) => {
                    self.batches
                        .push_back((later(rng, now, &self.batches), batch));
                }
                Output::Failed(body) => {
                    let events = self.kind == Kind::Events;
                    let told = matches!(body.code, Code::Gone | Code::EpochChanged);
                    assert!(events && told, "{body:?}");
                    self.ended += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        if let Some(refused) = self.owes_nack.take() {
            panic!("the server of a resumed session is not told of {refused:?}");
        }
        todo
    }

    fn check_sent(&mut self, text: &str) {
        assert!(text.len() <= MAX_CLIENT_FRAME_BYTES);
        match ClientFrame::decode(text).expect("a frame that cannot be read") {
            ClientFrame::Nack(nack) => {
                let owed =
                    |refused: &mut Refused| (&refused.key, refused.seq) == (&nack.key, nack.seq);
                if self.owes_nack.take_if(owed).is_some() {
                    self.repeated_nacks += 1;
                }
            }
            ClientFrame::Ack { seq } if self.kind != Kind::Events => {
                let (_, head) = self.seen.expect("an acknowledgement without a state");
                assert!(seq <= head.position.seq, "readers do not have {seq} yet");
            }
            _ => {}
        }
    }

    fn publish(&mut self, table: &Table, batch: Batch<Write>) {
        let id = table.find(&batch.head).expect("no state of the table");
        if let Some((old, _)) = self.seen {
            assert!(
                table.leads_to(old, id) || table.is_dead(old),
                "it went back"
            );
            assert_ne!(batch.cause, Cause::First);
        } else {
            assert_eq!(batch.cause, Cause::First);
        }
        for action in batch.actions {
            match action {
                Write::Put(record) => {
                    self.state.insert(record.key().to_owned(), record);
                }
                Write::Delete(key) => {
                    self.state.remove(&*key);
                }
            }
        }
        self.seen = Some((id, batch.head));
        self.check_state(table, id);
    }

    fn check_state(&self, table: &Table, id: usize) {
        let poisoned = |record: &Record| record.value().starts_with(POISON.as_bytes());
        let skips = self.kind == Kind::Skipping;
        let wanted = table.commits[id].state.iter();
        let wanted: Vec<_> = wanted
            .filter(|record| !(skips && poisoned(record)))
            .map(all)
            .collect();
        let has: Vec<_> = self.state.values().map(all).collect();
        assert!(
            has == wanted,
            "another state than the table's:\n{has:?}\n{wanted:?}"
        );
        let bad = self.state.values().any(poisoned);
        assert!(
            !bad || self.kind == Kind::Plain,
            "a refused value was given out"
        );
    }

    fn check_event(&mut self, table: &Table, batch: &Batch<Write>) {
        let id = table.find(&batch.head).expect("no state of the table");
        let commit = &table.commits[id];
        let seq = batch.head.position.seq;
        assert_eq!(
            (batch.from, &batch.cause),
            (seq, &Cause::Txn),
            "not one transaction"
        );
        let change = commit.change.as_ref().unwrap().change();
        let all = |ops| serde_json::to_string::<[hotread_proto::ChangeOp]>(ops).unwrap();
        assert_eq!(all(&batch.ops), all(&change.ops));
        let before = commit.parent.unwrap();
        match (self.event, self.from) {
            (Some(last), _) => {
                let digest = |id: usize| table.commits[id].state.digest();
                let same = table.is_dead(last) && digest(last) == digest(before);
                assert!(last == before || same, "an event is missing, or came twice");
            }
            (None, Some(from)) => assert_eq!(table.commits[before].state.position(), from),
            (None, None) => {}
        }
        self.event = Some(id);
    }

    fn check_freshness(&self, table: &Table) {
        if let Some(fresh) = self.follow.fresh_at()
            && let Some(claimed) = table.before(fresh)
            && !table.is_dead(claimed)
            && self.kind != Kind::Events
        {
            let (seen, _) = self.seen.expect("fresh without a state");
            assert!(table.leads_to(claimed, seen), "it is older than it says");
        }
    }

    pub fn refused(&self) -> Option<Refused> {
        match self.follow.status() {
            hotread_proto::session::Status::Rejected(refused) => Some(refused),
            _ => None,
        }
    }

    /// Returns `true` if the client has the table's state.
    pub fn is_done(&self, table: &Table) -> bool {
        let live = self.follow.status() == hotread_proto::session::Status::Live;
        let at = match self.kind {
            Kind::Events => self.follow.position() == Some(table.now().position),
            _ => self.seen.is_some_and(|(_, head)| {
                let now = table.now();
                (head.position, head.digest) == (now.position, now.digest)
            }),
        };
        live && at && self.batches.is_empty()
    }
}

fn all(record: &Record) -> (&str, u64, &[u8], &str, hotread_proto::Timestamp) {
    let (key, seq, value) = (record.key(), record.seq(), record.value());
    (key, seq, value, record.category(), record.updated_at())
}

/// Returns a time after now and after everything that waits already.
fn later<T>(rng: &mut Rng, now: Duration, waiting: &VecDeque<(Duration, T)>) -> Duration {
    let delay = if rng.one_in(20) { 1_500 } else { 40 };
    let at = now + Duration::from_millis(rng.below(delay));
    waiting.back().map_or(at, |(last, _)| at.max(*last))
}
