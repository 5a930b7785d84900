//! Failures in the simulation, and events of its table.

use crate::damage::Damage;
use crate::world::{MS, World};
use hotread_proto::session::End;
use hotread_proto::{Body, Key};

impl World {
    pub fn trouble(&mut self) {
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
            94 if self.seed % 4 == 1 && self.rng.one_in(2) => {
                for _ in 0..1_100 {
                    self.table.random_txn(&mut self.rng, self.now);
                }
                // The whole history may be kept.
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
                let old = self.table.head;
                self.table.recreate(self.now);
                self.seen.recreations += 1;
                if self.rng.one_in(2) {
                    self.table.replay(old, 30, self.now);
                }
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
                self.links[at].clear();
                self.clients[at].restart(&self.table, &mut self.rng, self.now);
            }
            108..=112 => {
                let state = self.table.state();
                if let Some(record) = state.iter().next() {
                    let key = Key::new(record.key()).unwrap();
                    let body = Body::Expire(vec![(key, record.seq())]);
                    self.table.commit(body, self.now);
                }
            }
            113..=114 => {
                let damage = Damage::ALL[self.rng.below(Damage::ALL.len() as u64) as usize];
                self.links[at].damage = Some(damage);
            }
            _ => {}
        }
    }

    pub fn end_all(&mut self, end: &End) {
        for link in &mut self.links {
            if let Some(session) = &mut link.session {
                session.serve.handle_end(end.clone());
            }
        }
    }

    /// Breaks the connection. Each end may or may not be told.
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

    fn crash(&mut self) {
        self.seen.crashes += 1;
        for at in 0..self.links.len() {
            self.cut(at);
        }
        self.table.forget_parts();
        self.server_up_at = self.now + MS(self.rng.below(3_000));
    }

    pub fn heal(&mut self) {
        self.healed = true;
        self.table.fix(&mut self.rng, true, self.now);
        self.server_up_at = self.now;
        for link in &mut self.links {
            link.silent_until = self.now;
            link.damage = None;
            link.room = link.room.max(4_096);
        }
    }
}
