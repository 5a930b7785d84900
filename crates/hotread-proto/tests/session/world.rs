//! World of the simulation: a server that crashes, slow and unreliable links, and clients.

use crate::client::{Client, Kind, Todo};
use crate::link::{Link, Session};
use crate::rng::Rng;
use crate::seen::Seen;
use crate::table::Table;
use hotread_proto::session::frame::Begin;
use hotread_proto::session::{
    Answer, Event, MAX_SERVER_FRAME_BYTES, Serve, ServeConfig, Status, Want,
};
use hotread_proto::{Code, ErrorBody};
use std::time::Duration;

pub const MS: fn(u64) -> Duration = Duration::from_millis;
const HEARTBEAT: Duration = Duration::from_millis(400);
const LONGEST_STEP: Duration = Duration::from_millis(25);

pub struct World {
    pub rng: Rng,
    pub now: Duration,
    pub table: Table,
    pub clients: Vec<Client>,
    pub links: Vec<Link>,
    pub server_up_at: Duration,
    pub healed: bool,
    pub keep: usize,
    connects: u64,
    pub seed: u64,
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
        let link = |rng: &mut Rng| Link::new(200 << rng.below(14), 1 + rng.below(60), now);
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
        while !self.is_done() {
            self.step();
            steps += 1;
            assert!(steps < 20_000, "it does not converge: {}", self.describe());
        }
        // The state must remain the same, and be known to be fresh.
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
            let fresh_at = client.follow.fresh_at();
            assert!(
                fresh_at.is_some_and(|fresh| fresh > now) || client.kind == Kind::Events,
                "{:?} is fresh as of {fresh_at:?} only, at {:?}: {}",
                client.kind,
                self.now,
                self.describe()
            );
        }
        self.seen.restored = self.clients.iter().map(|client| client.restored).sum();
        self.seen.repeated_nacks = self
            .clients
            .iter()
            .map(|client| client.repeated_nacks)
            .sum();
        self.seen.ended = self.clients.iter().map(|client| client.ended).sum();
    }

    /// Returns `true` if every client has the table's state over an intact connection with few
    /// frames in flight.
    fn is_done(&self) -> bool {
        let mut all = self.clients.iter().zip(&self.links);
        all.all(|(client, link)| {
            let connected = link.is_sound(Duration::ZERO, self.now);
            connected && client.is_done(&self.table) && link.down.len() + link.up.len() < 20
        })
    }

    fn describe(&self) -> String {
        let mut text = format!("the table is at {:?}", self.table.now());
        for (client, link) in self.clients.iter().zip(&self.links) {
            text += &format!(
                "\n{:?}: {:?}, {:?}, {} frames under way, {:?}",
                client.kind,
                client.follow.status(),
                client.follow.trouble(),
                link.down.len() + link.up.len(),
                link.session.as_ref().map(|session| &session.serve)
            );
        }
        text
    }

    // ---- what happens in between ----

    fn step(&mut self) {
        self.now += MS(1 + self.rng.below(LONGEST_STEP.as_millis() as u64));
        let pinned = self
            .links
            .iter()
            .filter_map(|link| link.session.as_ref()?.pin)
            .min();
        // A pin occasionally has no effect.
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
        let sound = link.is_sound(HEARTBEAT * 6, now);
        let Some(session) = &mut link.session else {
            return;
        };
        let told = rng.one_in(3);
        while link.up.front().is_some_and(|(at, _)| *at <= now) && link.silent_until <= now {
            let (_, text) = link.up.pop_front().unwrap();
            session.hears(&text, table);
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
            if frame.starts_with("{\"heartbeat\"") || frame.starts_with("{\"welcome\"") {
                session.beats(now);
            }
            seen.resets += u64::from(frame.starts_with("{\"reset\""));
            seen.goodbyes += u64::from(frame.starts_with("{\"goodbye\""));
            seen.pieces += u64::from(frame.ends_with("\"more\":true}}"));
            let delay = MS(rng.below(link.speed));
            let due = link.down.back().map_or(now, |(last, _)| now.max(*last)) + delay;
            link.down.push_back((due, frame));
        }
        if waiting >= link.room || !session.has_begun() || session.serve.is_over() {
            session.beats(now);
        }
        session.check_heartbeat(HEARTBEAT + LONGEST_STEP, now);
        if let Some(want) = session.serve.poll_want() {
            session.want = Some((now + MS(rng.below(60)), want));
        }
        while let Some(event) = session.serve.poll_event() {
            match event {
                Event::Begun { mode, reason, .. } => {
                    session.check_beginning(mode, table);
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
                    let silent = body.code == Code::Timeout;
                    assert!(!silent || !sound, "nothing was heard of a client");
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
                link.session = Some(Session::new(serve, now));
                link.client = true;
                client.follow.handle_connected(now);
            } else if self.rng.one_in(2) {
                client.follow.handle_disconnected("no server", now);
            } else {
                let busy = ErrorBody::new(Code::Busy, "not now");
                client.follow.handle_refused(busy, now);
            }
        }
        // Frames in flight are lost when the connection is closed.
        'frames: while let Some(texts) = link.next_down(client.kind, now) {
            for text in texts {
                if client.hears(&text, now) {
                    // An intact server and connection give no reason to.
                    assert!(link.damaged || link.ended, "{:?}", client.follow.trouble());
                    self.seen.noticed += u64::from(link.damaged && !link.ended);
                    break 'frames;
                }
            }
        }
        let sound = link.is_sound(HEARTBEAT * 4, now);
        for todo in client.poll(&self.table, &mut self.rng, now) {
            match todo {
                Todo::Connect => {
                    self.connects += 1;
                    link.clear();
                    let up = self.healed || !self.rng.one_in(6);
                    link.opening = Some((now + MS(self.rng.below(80)), up));
                }
                Todo::Disconnect => {
                    let trouble = client.follow.trouble();
                    let reason = link.damaged || link.ended || !sound;
                    assert!(reason, "it left a healthy session: {trouble:?}");
                    link.clear();
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
        if matches!(client.follow.status(), Status::Failed(_)) {
            client.restart(&self.table, &mut self.rng, now);
        }
        let live = client.follow.status() == Status::Live;
        assert!(!live || link.client, "live without a connection");
        let up = self.server_up_at <= now;
        link.check_progress(self.table.now().position, true, up, now);
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
        Want::Changes { after } => {
            let most = if rng.one_in(4) { 600 } else { 40 };
            match table.changes(after, 1 + rng.below(most) as usize) {
                // The answer may be about another table, which the session is about to learn.
                Some(changes) if !changes.is_empty() => Answer::Changes(changes),
                _ => Answer::Gone,
            }
        }
    }
}
