//! A process that commits is killed at any moment, on a real file system: the next one finds every
//! acknowledged transaction, whole, and continues with the same database.
//!
//! `HOTREAD_KILLS` sets the number of processes to kill; the default is 20.

use crate::common::{Scratch, name, put};
use crate::crash::{Acked, Ledger, Spec, WHOLE, check_verify, create_tables, judge};
use hotread_proto::{Committed, Position, Timestamp, Txn};
use hotread_store::{ReadError, Store, Synchronous, TableError, TableOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

/// Variable with the path of the child's database.
const DATABASE: &str = "HOTREAD_KILL_DATABASE";
/// Variable with the first number of the child's transactions.
const FROM: &str = "HOTREAD_KILL_FROM";
/// Threads that commit the workload.
const WORKERS: usize = 3;
/// The table of large batches.
const LARGE: &str = "large";
/// The table that is created and dropped.
const PASSING: &str = "passing";
/// Records in a large batch.
const BATCH: u64 = 300;
/// Rounds with one database.
const ROUNDS_EACH: u64 = 25;

/// Runs in the process that is killed: creates databases, or commits to one, which it opens as `full` or
/// `normal`.
fn child(way: &str) {
    let path = std::env::var(DATABASE).unwrap();
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let out = Mutex::new(std::io::stdout());
    let say = |line: String| {
        let mut out = out.lock().unwrap();
        // Written in one piece; the parent outlives this process.
        let _ = out.write_all(format!("\n{line}\n").as_bytes());
        let _ = out.flush();
    };
    if way == "create" {
        for n in from.. {
            Store::open(format!("{path}-{n}")).unwrap();
            say(format!("opened {n}"));
        }
    }
    let synchronous = match way {
        "full" => Synchronous::Full,
        _ => Synchronous::Normal,
    };
    let store = Store::builder(path)
        .synchronous(synchronous)
        .open()
        .unwrap();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (store, say) = (&store, &say);
            scope.spawn(move || {
                for n in from.. {
                    let spec = Spec {
                        table: match n % 7 {
                            6 if worker == 0 => WHOLE,
                            n => n as usize % 3,
                        },
                        worker,
                        n,
                        pad: 100,
                    };
                    say(format!("begin {} {worker} {n}", spec.table));
                    let Committed { position, at } = spec.commit(store).unwrap();
                    let at = at.millis();
                    say(format!(
                        "ack {} {worker} {n} {} {} {at}",
                        spec.table, position.epoch, position.seq
                    ));
                }
            });
        }
        scope.spawn(|| {
            for n in from.. {
                store.commit(&name(LARGE), batch(n)).unwrap();
                say(format!("large {n}"));
                store
                    .create_table(&name(PASSING), searched())
                    .map(|_| ())
                    .or_else(|e| match e {
                        TableError::Exists { .. } => Ok(()),
                        e => Err(e),
                    })
                    .unwrap();
                say(format!("created {n}"));
                store.commit(&name(PASSING), batch(n)).unwrap();
                say(format!("filled {n}"));
                store.drop_table(&name(PASSING)).unwrap();
                say(format!("dropped {n}"));
            }
        });
    });
}

fn searched() -> TableOptions {
    TableOptions {
        search: true,
        ..TableOptions::default()
    }
}

fn batch(n: u64) -> Txn {
    (0..BATCH).fold(Txn::new(), |txn, at| {
        txn.put(put(&format!("{at}"), &format!("{{\"n\":{n}}}")))
    })
}

/// Lines that the children of one database have printed so far.
#[derive(Default)]
struct Said {
    ledger: Ledger,
    /// The last step of the thread with the large batches, and its number.
    last: Option<(String, u64)>,
    large: Option<u64>,
}

impl Said {
    fn hear(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "begin" | "ack" => {
                let spec = Spec {
                    table: number(1) as usize,
                    worker: number(2) as usize,
                    n: number(3),
                    pad: 100,
                };
                if words[0] == "begin" {
                    self.ledger.begin(spec);
                    return false;
                }
                let position = Position {
                    epoch: words[4].parse().unwrap(),
                    seq: number(5),
                };
                let at = Timestamp::from_millis(words[6].parse().unwrap()).unwrap();
                self.ledger.ack(spec, Committed { position, at });
                true
            }
            "large" | "created" | "filled" | "dropped" | "opened" => {
                if words[0] == "large" {
                    self.large = Some(number(1));
                }
                self.last = Some((words[0].to_owned(), number(1)));
                true
            }
            // The test harness prints lines of its own.
            _ => false,
        }
    }
}

/// Runs a child until it has printed `acks` acknowledgements, and kills it.
fn round(path: &Path, way: &str, from: u64, acks: u64, said: &mut Said) {
    let mut child = hotread_testkit::process(&hotread_testkit::this_test(), way)
        .env(DATABASE, path)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut heard, mut is_killed) = (String::new(), 0, false);
    loop {
        line.clear();
        if out.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // A line without its end was cut off by the kill.
        let Some(whole) = line.strip_suffix('\n') else {
            break;
        };
        if said.hear(whole) {
            heard += 1;
        }
        if heard >= acks && !is_killed {
            // Lines that it prints until it is dead count as well.
            child.kill().unwrap();
            is_killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert!(is_killed, "the child has ended by itself: {status}");
}

/// Checks that the last acknowledged batch, or the one after it, is present whole.
fn check_batches(store: &Store, said: &Said) {
    let number = |table: &str| {
        let records = store.snapshot(&name(table)).unwrap();
        let mut values: Vec<_> = records.iter().map(|r| r.value().to_vec()).collect();
        let len = values.len() as u64;
        values.dedup();
        assert!(values.len() <= 1, "half a batch");
        assert!(len == 0 || len == BATCH, "half a batch");
        values.first().map(|value| {
            let text = std::str::from_utf8(value).unwrap();
            text[5..text.len() - 1].parse::<u64>().unwrap()
        })
    };
    assert!(number(LARGE) >= said.large);
    let Some((what, n)) = &said.last else { return };
    let there = match store.table_info(&name(PASSING)) {
        Ok(_) => Some(number(PASSING)),
        Err(ReadError::UnknownTable { .. }) => None,
        Err(e) => panic!("{e}"),
    };
    // The state after the last printed step, or after the next one.
    let is_possible = match what.as_str() {
        "created" => matches!(there, Some(None)) || there == Some(Some(*n)),
        "filled" => there == Some(Some(*n)) || there.is_none(),
        "dropped" => there.is_none(),
        _ => there.is_none() || matches!(there, Some(None)),
    };
    assert!(is_possible, "after {what} {n}: {there:?}");
}

#[test]
fn a_killed_process_leaves_what_it_has_acknowledged() {
    if let Some(way) = hotread_testkit::part() {
        return child(&way);
    }
    let kills: u64 = std::env::var("HOTREAD_KILLS").map_or(20, |text| text.parse().unwrap());
    let mut rng: u64 = 0x5eed;
    let mut acknowledged = 0;
    for first in (0..kills).step_by(ROUNDS_EACH as usize) {
        let scratch = Scratch::on_disk();
        let mut said = Said::default();
        {
            let store = scratch.open();
            create_tables(&store);
            store.create_table(&name(LARGE), searched()).unwrap();
        }
        for at in first..kills.min(first + ROUNDS_EACH) {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Some are killed before they have done anything, most of them at full speed.
            let acks = (rng >> 33) % 60;
            let before = said.ledger.count();
            // Beyond any number that a killed process may have begun.
            let from = (at - first) * 100_000;
            // A killed process loses nothing, whether or not commits wait for an fsync.
            let way = if at % 2 == 0 { "full" } else { "normal" };
            round(&scratch.path(), way, from, acks, &mut said);
            acknowledged += said.ledger.count() - before;
            let store = scratch.open();
            assert_eq!(store.wal_damage(), None, "round {at}");
            check_batches(&store, &said);
            let (acked, begun): (Vec<Acked>, Vec<Spec>) =
                (said.ledger.acked(), said.ledger.begun());
            assert_eq!(judge(&store, &acked, &begun), 0, "round {at}");
            if store.table_info(&name(PASSING)).is_ok() {
                store.drop_table(&name(PASSING)).unwrap();
            }
            said.last = None;
            // The retried transactions are acknowledged now.
            for spec in begun {
                if !acked.iter().any(|(known, _)| *known == spec) {
                    let committed = spec.commit(&store).unwrap();
                    said.ledger.ack(spec, committed);
                }
            }
            check_verify(&store);
        }
    }
    println!("{kills} processes killed, {acknowledged} transactions acknowledged");
    assert!(acknowledged as u64 >= kills);
}

#[test]
fn a_database_whose_creator_was_killed_can_be_opened() {
    if let Some(way) = hotread_testkit::part() {
        return child(&way);
    }
    for kill in 0..15 {
        let scratch = Scratch::on_disk();
        let mut said = Said::default();
        round(&scratch.path(), "create", 0, 1 + kill % 4, &mut said);
        let (_, last) = said.last.unwrap();
        // The last database that was reported to be open, and the one being created.
        for n in [last, last + 1] {
            let path = format!("{}-{n}", scratch.path().to_str().unwrap());
            let store = Store::open(path).unwrap();
            store.create_table(&name("t"), searched()).unwrap();
            store.commit(&name("t"), batch(n)).unwrap();
            check_verify(&store);
        }
    }
}
