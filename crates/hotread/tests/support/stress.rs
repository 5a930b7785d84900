//! Readers, writers and holders on real threads, and a state that detects a torn read, a lost or
//! repeated update, a split batch, or a write to a copy that a reader holds.
//!
//! Uses plain spawn and join, and no lock or channel of its own: ThreadSanitizer cannot see into
//! the precompiled ones, and the order that they impose would hide races as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};
use std::thread;

use hotread::{HotRead, HotReadState};

pub const WRITERS: usize = 3;

pub struct Ledger {
    /// Numbers that all equal the number of updates applied.
    mirror: [u64; 48],
    /// The last number from each writer.
    last: [Box<u64>; WRITERS],
    /// Set between the beginning and the end of a batch. Readers never see it set.
    open: bool,
    /// Set if an update was out of order, or applied twice.
    wrong: bool,
    live: Arc<AtomicIsize>,
}

#[derive(Clone)]
pub enum Entry {
    Open,
    Next { writer: usize, number: Box<u64> },
    Close,
}

impl Ledger {
    fn new(live: &Arc<AtomicIsize>) -> Self {
        live.fetch_add(1, Relaxed);
        Self {
            mirror: [0; 48],
            last: std::array::from_fn(|_| Box::new(0)),
            open: false,
            wrong: false,
            live: Arc::clone(live),
        }
    }

    fn count(&mut self) {
        for number in &mut self.mirror {
            *number += 1;
        }
    }

    fn next(&mut self, writer: usize, number: Box<u64>) {
        self.wrong |= *number != *self.last[writer] + 1;
        self.last[writer] = number;
    }

    fn set_open(&mut self, open: bool) {
        self.wrong |= self.open == open;
        self.open = open;
    }

    /// Checks the state, and returns a number that summarizes it.
    fn check(&self) -> u64 {
        assert!(
            self.mirror.iter().all(|&number| number == self.mirror[0]),
            "torn"
        );
        assert!(!self.open, "a batch is split");
        assert!(!self.wrong, "updates are lost, repeated or out of order");
        let last = self
            .last
            .iter()
            .fold(0, |sum, number| sum * 1_000_003 + **number);
        last * 31 + self.mirror[0]
    }
}

impl Clone for Ledger {
    fn clone(&self) -> Self {
        let mut clone = Self::new(&self.live);
        clone.mirror = self.mirror;
        clone.last = self.last.clone();
        (clone.open, clone.wrong) = (self.open, self.wrong);
        clone
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
    }
}

impl HotReadState for Ledger {
    type Action = Entry;

    fn apply_update(&mut self, update: &Entry) {
        self.count();
        match update {
            Entry::Open => self.set_open(true),
            Entry::Next { writer, number } => self.next(*writer, number.clone()),
            Entry::Close => self.set_open(false),
        }
    }

    fn apply_owned(&mut self, update: Entry) {
        self.count();
        match update {
            Entry::Open => self.set_open(true),
            Entry::Next { writer, number } => self.next(writer, number),
            Entry::Close => self.set_open(false),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Stress {
    pub max_copies: usize,
    /// Updates by each writer.
    pub updates: u64,
    /// Number of readers of each kind.
    pub readers: usize,
    pub maintainer: bool,
}

/// Pseudo-random numbers, the same in every run.
struct Chance(u64);

impl Chance {
    fn one_in(&mut self, n: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.is_multiple_of(n)
    }
}

impl Stress {
    pub fn run(self) {
        let live = Arc::new(AtomicIsize::new(0));
        let hot = HotRead::builder(Ledger::new(&live))
            .max_copies(self.max_copies)
            .build();
        let stop = Arc::new(AtomicBool::new(false));
        let maintainer = self.maintainer.then(|| hot.spawn_maintainer().unwrap());
        let mut readers = Vec::new();
        for number in 0..self.readers {
            let seed = number as u64 * 77 + 1;
            for code in [keep_a_handle, change_handles, read_without] {
                let (hot, stop) = (hot.clone(), Arc::clone(&stop));
                readers.push(thread::spawn(move || code(&hot, &stop, Chance(seed))));
            }
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let hot = hot.clone();
                thread::spawn(move || write(&hot, writer, self.updates, Chance(writer as u64 + 5)))
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
        drop(maintainer);
        // The maintainer may be in the middle of its last piece.
        while hot.maintain().busy {
            thread::yield_now();
        }
        assert_eq!(hot.published_seq(), hot.latest_seq());
        assert_eq!(hot.queued_update_count(), 0);
        assert!(hot.workers().is_empty());
        hot.read(|ledger| {
            ledger.check();
            assert!(
                ledger.last.iter().all(|last| **last == self.updates),
                "updates are lost"
            );
            assert_eq!(ledger.mirror[0], hot.latest_seq());
        });
        assert!(live.load(Relaxed) as usize <= self.max_copies);
        drop(hot);
        assert_eq!(live.load(Relaxed), 0);
    }
}

fn write(hot: &HotRead<Ledger>, writer: usize, updates: u64, mut chance: Chance) {
    let mut number = 0;
    let mut next = || {
        number += 1;
        Entry::Next {
            writer,
            number: Box::new(number),
        }
    };
    let mut done = 0;
    while done < updates {
        if chance.one_in(4) && done + 3 <= updates {
            let batch = [Entry::Open, next(), next(), next(), Entry::Close];
            let result = hot.queue_updates(batch);
            assert_eq!(result.last_seq - result.first_seq, 4);
            done += 3;
        } else {
            hot.queue_update(next());
            done += 1;
        }
        if chance.one_in(16) {
            hot.maintain();
        }
        if chance.one_in(64) {
            thread::yield_now();
        }
    }
}

/// A reader with a handle of its own, which occasionally keeps its copy for longer.
fn keep_a_handle(hot: &HotRead<Ledger>, stop: &AtomicBool, mut chance: Chance) {
    let mut handle = hot.create_handle();
    let mut newest = 0;
    while !stop.load(Relaxed) {
        let now = handle.current().check();
        let generation = handle.generation().unwrap();
        assert!(generation >= newest, "generations go backwards");
        newest = generation;
        if chance.one_in(50) {
            for _ in 0..20 {
                thread::yield_now();
            }
        }
        if chance.one_in(2) {
            assert_eq!(handle.get().unwrap().check(), now, "a held copy changed");
        }
        if chance.one_in(20) {
            handle.quiescent();
        }
    }
}

/// A reader that creates, clones and drops handles all the time.
fn change_handles(hot: &HotRead<Ledger>, stop: &AtomicBool, mut chance: Chance) {
    let mut handle = hot.create_handle();
    while !stop.load(Relaxed) {
        handle.current().check();
        handle = if chance.one_in(2) {
            hot.create_handle()
        } else {
            handle.clone()
        };
        if chance.one_in(100) {
            thread::yield_now();
        }
    }
}

/// A reader without a handle.
fn read_without(hot: &HotRead<Ledger>, stop: &AtomicBool, mut chance: Chance) {
    let mut newest = 0;
    while !stop.load(Relaxed) {
        let seen = hot.read(|ledger| {
            let outer = ledger.check();
            if chance.one_in(8) {
                thread::yield_now();
                assert_eq!(
                    hot.read(Ledger::check),
                    outer,
                    "a nested read sees the same"
                );
            }
            assert_eq!(ledger.check(), outer, "a held copy changed");
            ledger.mirror[0]
        });
        assert!(seen >= newest, "the state went backwards");
        newest = seen;
    }
}
