//! The world of the simulation: a server that crashes, links that are slow and break, clients.

use crate::client::{Client, Kind, Todo};
use crate::rng::Rng;
use crate::table::Table;
use hotread_proto::session::frame::Begin;
use hotread_proto::session::{
    Answer, End, Event, MAX_SERVER_FRAME_BYTES, Serve, ServeConfig, Want,
};
use hotread_proto::{Code, ErrorBody};
use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

const MS: fn(u64) -> Duration = Duration::from_millis;
const HEARTBEAT: Duration = Duration::from_millis(400);

/// How often what happened.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub resumes: u64,
    pub snapshots: u64,
    pub reasons: u64,
    pub folds: u64,
    pub nacks: u64,
    pub fixes: u64,
    pub resets: u64,
    pub goodbyes: u64,
    pub cuts: u64,
    pub partitions: u64,
    pub crashes: u64,
    pub losses: u64,
    pub recreations: u64,
    pub restored: u64,
    pub ended: u64,
    pub pieces: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.resumes += other.resumes;
        self.snapshots += other.snapshots;
        self.reasons += other.reasons;
        self.folds += other.folds;
        self.nacks += other.nacks;
        self.fixes += other.fixes;
        self.resets += other.resets;
        self.goodbyes += other.goodbyes;
        self.cuts += other.cuts;
        self.partitions += other.partitions;
        self.crashes += other.crashes;
        self.losses += other.losses;
        self.recreations += other.recreations;
        self.restored += other.restored;
        self.ended += other.ended;
        self.pieces += other.pieces;
    }
}

/// The server's end of a connection with its driver.
struct Session {
    serve: Serve,
    /// Changes after this one are kept for it.
    pin: Option<u64>,
    want: Option<(Duration, Want)>,
}

/// One client's connection. Frames wait in it in their order.
struct Link {
    /// When the client hears that it is open, or, with false, that it cannot be.
    opening: Option<(Duration, bool)>,
    session: Option<Session>,
    /// Does the client believe that there is a connection?
    client: bool,
    up: VecDeque<(Duration, String)>,
    down: VecDeque<(Duration, Arc<str>)>,
    /// Nothing comes through before this time.
    silent_until: Duration,
    room: usize,
    speed: u64,
}

pub struct World {
    rng: Rng,
    now: Duration,
    table: Table,
    clients: Vec<Client>,
    links: Vec<Link>,
    server_up_at: Duration,
    healed: bool,
    keep: usize,
    connects: u64,
    seed: u64,
    pub seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let now = MS(1_000);
        let kinds = [
            Kind::Plain,
            Kind::Refusing,
            Kind::Skipping,
            Kind::Events,
            Kind::Refusing,
        ];
        let link = |rng: &mut Rng| Link {
            opening: None,
            session: None,
            client: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            silent_until: now,
            room: 200 << rng.below(14),
            speed: 1 + rng.below(60),
        };
        Self {
            links: kinds.iter().map(|_| link(&mut rng)).collect(),
            clients: kinds.map(|kind| Client::new(kind, &mut rng, now)).into(),
            keep: 5 + rng.below(60) as usize,
            rng,
            now,
            table: Table::new(),
            server_up_at: now,
            healed: false,
            connects: 0,
            seed,
            seen: Seen::default(),
        }
    }

    pub fn run(&mut self) {
        for _ in 0..1_500 {
            self.trouble();
            self.step();
        }
        self.heal();
        let mut steps = 0;
        while !self
            .clients
            .iter()
            .all(|client| client.is_done(&self.table))
        {
            self.step();
            steps += 1;
            assert!(steps < 20_000, "it does not converge: {}", self.describe());
        }
        // And it stays so, and is known to be fresh.
        let (now, connects) = (self.now, self.connects);
        while self.now < now + MS(8_000) {
            self.step();
        }
        assert_eq!(
            self.connects,
            connects,
            "a healthy session ended: {}",
            self.describe()
        );
        for client in &self.clients {
            assert!(client.is_done(&self.table), "{}", self.describe());
            let fresh = client.follow.fresh_at().is_some_and(|fresh| fresh > now);
            assert!(fresh || client.kind == Kind::Events, "{}", self.describe());
        }
        self.seen.restored = self.clients.iter().map(|client| client.restored).sum();
        self.seen.ended = self.clients.iter().map(|client| client.ended).sum();
    }

    fn describe(&self) -> String {
        let mut text = format!("the table is at {:?}", self.table.now());
        for (client, link) in self.clients.iter().zip(&self.links) {
            text += &format!(
                "\n{:?}: {:?}, {:?}, {:?}",
                client.kind,
                client.follow.status(),
                client.follow.trouble(),
                link.session.as_ref().map(|session| &session.serve)
            );
        }
        text
    }

    // ---- what goes wrong ----

    fn trouble(&mut self) {
        let at = self.rng.below(self.links.len() as u64) as usize;
        match self.rng.below(400) {
            0..=79 => self.table.random_txn(&mut self.rng, self.now),
            80..=85 => {
                let large = self.seed.is_multiple_of(4) && self.rng.one_in(8);
                self.table.random_replace(&mut self.rng, large, self.now);
            }
            86..=93 => {
                self.table.fix(&mut self.rng, false, self.now);
            }
            94 if self.seed % 4 == 1 && self.rng.one_in(3) => {
                for _ in 0..1_100 {
                    self.table.random_txn(&mut self.rng, self.now);
                }
                // All of it may be kept.
                self.keep = self.keep.max(if self.rng.one_in(4) { 5 } else { 2_500 });
            }
            95..=97 => self.cut(at),
            98..=99 => {
                self.links[at].silent_until = self.now + MS(self.rng.below(6_000));
                self.seen.partitions += 1;
            }
            100 if self.rng.one_in(3) => self.crash(),
            101 if self.rng.one_in(3) => {
                self.crash();
                let last = 1 + self.rng.below(6);
                self.table.lose(last);
                self.seen.losses += 1;
            }
            102 if self.rng.one_in(3) => {
                self.table.recreate(self.now);
                self.seen.recreations += 1;
                if self.rng.one_in(2) {
                    self.end_all(&End::Dropped);
                }
            }
            103 if self.rng.one_in(3) => {
                let (reason, spread) = ("going away".to_owned(), MS(self.rng.below(2_000)));
                self.end_all(&End::Goodbye { reason, spread });
            }
            104..=105 => {
                let link = &mut self.links[at];
                link.room = 200 << self.rng.below(14);
                link.speed = 1 + self.rng.below(60);
            }
            106..=107 => {
                self.drop_connection(at);
                self.clients[at].restart(&self.table, &mut self.rng, self.now);
            }
            108..=112 => {
                let state = self.table.state();
                if let Some(record) = state.iter().next() {
                    let key = hotread_proto::Key::new(record.key()).unwrap();
                    let body = hotread_proto::Body::Expire(vec![(key, record.seq())]);
                    self.table.commit(body, self.now);
                }
            }
            _ => {}
        }
    }

    fn end_all(&mut self, end: &End) {
        for link in &mut self.links {
            if let Some(session) = &mut link.session {
                session.serve.handle_end(end.clone());
            }
        }
    }

    /// The connection breaks. Each end is told, or not.
    fn cut(&mut self, at: usize) {
        let link = &mut self.links[at];
        if link.session.is_none() {
            return;
        }
        self.seen.cuts += 1;
        link.up.clear();
        link.down.clear();
        link.session = None;
        if link.client && !self.rng.one_in(3) {
            link.client = false;
            self.clients[at]
                .follow
                .handle_disconnected("the connection broke", self.now);
        }
    }

    fn drop_connection(&mut self, at: usize) {
        let link = &mut self.links[at];
        link.opening = None;
        link.session = None;
        link.client = false;
        link.up.clear();
        link.down.clear();
    }

    fn crash(&mut self) {
        self.seen.crashes += 1;
        for at in 0..self.links.len() {
            self.cut(at);
        }
        self.table.forget_parts();
        self.server_up_at = self.now + MS(self.rng.below(3_000));
    }

    fn heal(&mut self) {
        self.healed = true;
        self.table.fix(&mut self.rng, true, self.now);
        self.server_up_at = self.now;
        for link in &mut self.links {
            link.silent_until = self.now;
            link.room = link.room.max(4_096);
        }
    }

    // ---- what happens in between ----

    fn step(&mut self) {
        self.now += MS(1 + self.rng.below(25));
        let pinned = self
            .links
            .iter()
            .filter_map(|link| link.session.as_ref()?.pin)
            .min();
        // Now and then a pin does not help.
        let pinned = if self.rng.one_in(500) {
            u64::MAX
        } else {
            pinned.unwrap_or(u64::MAX)
        };
        self.table.trim(self.keep, pinned);
        for at in 0..self.links.len() {
            self.serve(at);
            self.client(at);
        }
    }

    fn serve(&mut self, at: usize) {
        let Self {
            links,
            table,
            rng,
            now,
            healed,
            seen,
            ..
        } = self;
        let (link, now) = (&mut links[at], *now);
        let Some(session) = &mut link.session else {
            return;
        };
        let told = rng.one_in(3);
        while link.up.front().is_some_and(|(at, _)| *at <= now) && link.silent_until <= now {
            let (_, text) = link.up.pop_front().unwrap();
            session.serve.handle_head(table.now(), table.floor);
            session.serve.handle_text(&text, now);
        }
        if told {
            session.serve.handle_head(table.now(), table.floor);
        }
        if session.serve.poll_timeout().is_some_and(|at| at <= now) {
            session.serve.handle_timeout(now);
            assert!(
                session.serve.poll_timeout().is_none_or(|at| at > now),
                "it spins"
            );
        }
        if session.want.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, want)) = session.want.take()
        {
            let answer = answer(table, session, want, rng, *healed);
            session.serve.handle_answer(answer);
        }
        let mut waiting: usize = link.down.iter().map(|(_, frame)| frame.len()).sum();
        while waiting < link.room
            && let Some(frame) = session.serve.poll_frame()
        {
            assert!(frame.len() <= MAX_SERVER_FRAME_BYTES);
            waiting += frame.len();
            seen.resets += u64::from(frame.starts_with("{\"reset\""));
            seen.goodbyes += u64::from(frame.starts_with("{\"goodbye\""));
            seen.pieces += u64::from(frame.ends_with("\"more\":true}}"));
            let delay = MS(rng.below(link.speed));
            let due = link.down.back().map_or(now, |(last, _)| now.max(*last)) + delay;
            link.down.push_back((due, frame));
        }
        if let Some(want) = session.serve.poll_want() {
            session.want = Some((now + MS(rng.below(60)), want));
        }
        while let Some(event) = session.serve.poll_event() {
            match event {
                Event::Begun { mode, reason, .. } => {
                    seen.resumes += u64::from(mode == Begin::Resume);
                    seen.snapshots += u64::from(mode == Begin::Snapshot);
                    seen.reasons += u64::from(reason.is_some());
                }
                Event::Folded { .. } => seen.folds += 1,
                Event::Nack(_) => seen.nacks += 1,
                Event::SnapshotSent { .. } => session.pin = None,
                Event::Failed(body) => {
                    let expected = [Code::Timeout, Code::Busy, Code::Gone, Code::EpochChanged];
                    assert!(expected.contains(&body.code), "{body:?}");
                }
                _ => {}
            }
        }
        if session.serve.is_over() && link.down.is_empty() {
            link.session = None;
            link.up.clear();
            if link.client {
                link.client = false;
                self.clients[at].follow.handle_disconnected("closed", now);
            }
        }
    }

    fn client(&mut self, at: usize) {
        let (now, link, client) = (self.now, &mut self.links[at], &mut self.clients[at]);
        let refused = client.refused();
        if let Some((due, up)) = link.opening
            && due <= now
        {
            link.opening = None;
            if up && self.server_up_at <= now {
                let config = ServeConfig {
                    heartbeat: HEARTBEAT,
                    sealed: false,
                };
                let serve = Serve::new(config, self.table.now(), self.table.floor, now);
                link.session = Some(Session {
                    serve,
                    pin: None,
                    want: None,
                });
                link.client = true;
                client.follow.handle_connected(now);
            } else if self.rng.one_in(2) {
                client.follow.handle_disconnected("nobody is there", now);
            } else {
                let busy = ErrorBody::new(Code::Busy, "not now");
                client.follow.handle_refused(busy, now);
            }
        }
        // What is on its way when the connection is closed does not come.
        while link.client
            && link.silent_until <= now
            && link.down.front().is_some_and(|(at, _)| *at <= now)
        {
            let (_, text) = link.down.pop_front().unwrap();
            client.follow.handle_text(&text, now);
        }
        for todo in client.poll(&self.table, &mut self.rng, now) {
            match todo {
                Todo::Connect => {
                    self.connects += 1;
                    let up = self.healed || !self.rng.one_in(6);
                    link.opening = Some((now + MS(self.rng.below(80)), up));
                    link.session = None;
                    link.up.clear();
                    link.down.clear();
                }
                Todo::Disconnect => {
                    link.opening = None;
                    link.client = false;
                    link.session = None;
                    link.up.clear();
                    link.down.clear();
                }
                Todo::Send(text) if link.client && link.session.is_some() => {
                    let delay = MS(self.rng.below(link.speed));
                    let due = link.up.back().map_or(now, |(last, _)| now.max(*last)) + delay;
                    link.up.push_back((due, text));
                }
                Todo::Send(_) => {}
            }
        }
        let fixed = refused.is_some() && client.refused().is_none();
        self.seen.fixes += u64::from(fixed);
        if matches!(
            client.follow.status(),
            hotread_proto::session::Status::Failed(_)
        ) {
            client.restart(&self.table, &mut self.rng, now);
        }
    }
}

fn answer(
    table: &mut Table,
    session: &mut Session,
    want: Want,
    rng: &mut Rng,
    healed: bool,
) -> Answer {
    if !healed && rng.one_in(150) {
        return Answer::Failed(ErrorBody::new(Code::Busy, "too much is waiting"));
    }
    match want {
        Want::Digest { at } => Answer::Digest(table.digest_at(at)),
        Want::Part { number, after } => {
            let oldest = table.floor - 1;
            let pin = *session.pin.get_or_insert(oldest);
            Answer::Part(table.part(number, after, pin))
        }
        Want::Changes { after } => match table.changes(after, 1 + rng.below(40) as usize) {
            // Of another table, perhaps: then the session is about to hear of that.
            Some(changes) if !changes.is_empty() => Answer::Changes(changes),
            _ => Answer::Gone,
        },
    }
}
