//! Sessions of a table that keep no records and otherwise act like a replica: they check their position,
//! acknowledge, ping for a proof of freshness, and reconnect by the rules after a loss. They can be cut off.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::super::clock;
use super::REPLICAS;
use super::api::{Place, Table};
use super::session::{Heard, Pong, Session, TEXT};
use crate::process::{Failure, Role};
use crate::stats::percentiles;

/// Number of client addresses: a server shares its work among callers.
const HOSTS: usize = 20;
/// A heartbeat of the server, by default.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Time without any frame after which a connection counts as lost.
const SILENCE: Duration = HEARTBEAT.saturating_mul(3);
/// Time between two acknowledgements.
const ACK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait before reconnecting: the first time, and after many failures.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Sessions in a process of their own.
pub(super) struct Sessions(Role);

/// Times and loads after the sessions could reconnect.
pub(super) struct Back {
    /// Nanoseconds since they could, p50 and maximum; sessions that were not live in time count with the whole
    /// wait.
    pub(super) p50: f64,
    pub(super) last: f64,
    /// Number of live sessions.
    pub(super) live: f64,
    /// Snapshots that were begun, in total, and by the session with the most.
    pub(super) loads: f64,
    pub(super) most_loads: f64,
}

impl Sessions {
    /// Starts sessions with the current state of the table, and waits until all are live.
    pub(super) fn start(server: SocketAddr, name: &str, table: &Table, how_many: usize) -> Self {
        let mut role = Role::start(REPLICAS, (server, name, &table.place, how_many));
        assert_eq!(role.hear(), READY);
        Self(role)
    }

    /// Drops their connections and refuses new ones.
    pub(super) fn cut(&mut self) {
        self.0.say(CUT);
    }

    /// Lets the sessions reconnect, and waits until all are live, for at most `patience`.
    pub(super) fn reconnect(&mut self, patience: Duration) -> Back {
        self.0.say(&patience.as_millis().to_string());
        let [p50, last, live, loads, most_loads] = self.0.hear_numbers();
        Back {
            p50,
            last,
            live,
            loads,
            most_loads,
        }
    }
}

/// Message of a child whose sessions are all live.
const READY: &str = "ready";
/// Command that drops all connections; a number of milliseconds lets the sessions reconnect.
const CUT: &str = "cut";

/// Measurements of one session.
#[derive(Default)]
struct Seen {
    /// Time at which it was first live since it could, on the clock of all processes; 0 if it was not.
    live: AtomicU64,
    loads: AtomicU32,
}

/// State that all sessions share.
struct Shared {
    server: SocketAddr,
    table: String,
    /// `true` if connections are possible.
    connected: watch::Sender<bool>,
    /// Beginning of that, on the clock of all processes. Proofs of an earlier time do not count.
    since: AtomicU64,
}

/// Follows a table with many sessions, as a child of the benchmark.
pub(in super::super) fn main(
    (server, table, place, how_many): (SocketAddr, String, Place, usize),
) -> Result<(), Failure> {
    let shared = Arc::new(Shared {
        server,
        table,
        connected: watch::Sender::new(true),
        since: AtomicU64::new(0),
    });
    super::super::runtime().block_on(async {
        let seen: Vec<Arc<Seen>> = (0..how_many).map(|_| Arc::default()).collect();
        for (number, seen) in seen.iter().enumerate() {
            let host = (number % HOSTS) as u8 + 1;
            let from = Ipv4Addr::new(127, 0, 1, host).into();
            let session = live(Arc::clone(&shared), from, place.clone(), Arc::clone(seen));
            tokio::spawn(session);
        }
        until_live(&seen, crate::process::PATIENCE).await;
        println!("{READY}");
        let mut told = super::super::told();
        while let Some(line) = told.recv().await {
            if line == CUT {
                shared.connected.send_replace(false);
                continue;
            }
            let patience = Duration::from_millis(line.parse()?);
            for seen in &seen {
                seen.live.store(0, Ordering::Relaxed);
                seen.loads.store(0, Ordering::Relaxed);
            }
            let since = clock::now();
            shared.since.store(since, Ordering::Relaxed);
            shared.connected.send_replace(true);
            until_live(&seen, patience).await;
            report(&seen, since, patience)?;
        }
        Ok(())
    })
}

async fn until_live(seen: &[Arc<Seen>], patience: Duration) {
    let end = Instant::now() + patience;
    let is_live = |seen: &Arc<Seen>| seen.live.load(Ordering::Relaxed) != 0;
    while !seen.iter().all(is_live) && Instant::now() < end {
        sleep(Duration::from_millis(10)).await;
    }
}

fn report(seen: &[Arc<Seen>], since: u64, patience: Duration) -> Result<(), Failure> {
    let live = seen.iter().map(|seen| seen.live.load(Ordering::Relaxed));
    let live: Vec<f64> = live
        .filter(|live| *live != 0)
        .map(|live| (live - since) as f64)
        .collect();
    let mut after = live.clone();
    after.resize(seen.len(), patience.as_nanos() as f64);
    let loads: Vec<u32> = seen
        .iter()
        .map(|seen| seen.loads.load(Ordering::Relaxed))
        .collect();
    let [p50, last] = percentiles(&after, [50.0, 100.0]);
    let live = live.len();
    let (all, most) = (loads.iter().sum::<u32>(), loads.iter().max().unwrap_or(&0));
    let mut out = std::io::stdout().lock();
    writeln!(out, "{p50} {last} {live} {all} {most}")?;
    Ok(out.flush()?)
}

/// Runs one session after another.
async fn live(shared: Arc<Shared>, from: IpAddr, mut place: Place, seen: Arc<Seen>) {
    let mut connected = shared.connected.subscribe();
    let mut longest = FIRST_WAIT;
    loop {
        // As if the connection was refused.
        if *connected.borrow() {
            let began = Instant::now();
            tokio::select! {
                ended = follow(&shared, from, &mut place, &seen) => drop(ended),
                () = cut(&mut connected) => {}
            }
            if began.elapsed() > Duration::from_secs(60) {
                longest = FIRST_WAIT;
            }
        }
        sleep(longest.mul_f64(fastrand::f64())).await;
        longest = (2 * longest).min(LONGEST_WAIT);
    }
}

async fn cut(connected: &mut watch::Receiver<bool>) {
    // An error: the process ends.
    let _ = connected.wait_for(|connected| !connected).await;
}

async fn follow(
    shared: &Shared,
    from: IpAddr,
    place: &mut Place,
    seen: &Seen,
) -> Result<(), Failure> {
    let open = Session::open(shared.server, from, &shared.table);
    let mut session = timeout(Duration::from_secs(10), open).await??;
    let Place { epoch, seq, digest } = &*place;
    let hello = format!(
        r#"{{"hello":{{"v":1,"coalesce":true,"from":{{"epoch":"{epoch}","seq":{seq},"digest":"{digest}"}}}}}}"#
    );
    session.say(TEXT, &hello).await?;
    let (mut acked, mut acked_at) = (place.seq, Instant::now());
    let (mut epoch, mut has_state) = (place.epoch.clone(), false);
    let mut pings = Pings::default();
    loop {
        let heard = timeout(SILENCE, session.hear()).await??;
        if let Heard::Frame(frame) = heard {
            if let Some(welcome) = frame.welcome {
                has_state = welcome.mode == "resume";
                if !has_state {
                    seen.loads.fetch_add(1, Ordering::Relaxed);
                }
                epoch = welcome.epoch;
                session.say(TEXT, &pings.ping()).await?;
            }
            // The end of a snapshot includes the transactions before it.
            if let Some(txn) = frame.txn.filter(|txn| !txn.more && has_state) {
                (place.seq, place.digest) = (txn.to, txn.digest);
            }
            if let Some(end) = frame.snapshot_end {
                place.epoch.clone_from(&epoch);
                (place.seq, place.digest) = (end.at, end.digest);
                has_state = true;
            }
            if let Some(pong) = frame.pong {
                pings.answered(&pong);
            }
        }
        if has_state {
            let since = shared.since.load(Ordering::Relaxed);
            let proves = pings.proved(place.seq).is_some_and(|sent| sent >= since);
            if proves && seen.live.load(Ordering::Relaxed) == 0 {
                seen.live.store(clock::now(), Ordering::Relaxed);
            }
            if place.seq > acked && acked_at.elapsed() >= ACK_EVERY {
                (acked, acked_at) = (place.seq, Instant::now());
                let ack = format!(r#"{{"ack":{{"seq":{acked}}}}}"#);
                session.say(TEXT, &ack).await?;
            }
        }
        // A heartbeat arrives at least every two seconds, so this runs often enough.
        if pings.are_due() {
            session.say(TEXT, &pings.ping()).await?;
        }
    }
}

/// Pings without a proof, oldest first.
#[derive(Default)]
struct Pings {
    sent: VecDeque<Ping>,
    last: u64,
}

struct Ping {
    n: u64,
    /// On the clock of all processes.
    at: u64,
    /// Of its answer.
    head: Option<u64>,
}

impl Pings {
    /// Returns `true` if the last ping was sent half a heartbeat ago or earlier.
    fn are_due(&self) -> bool {
        self.last != 0 && clock::now() - self.last > HEARTBEAT.as_nanos() as u64 / 2
    }

    /// The next one, as a frame.
    fn ping(&mut self) -> String {
        self.last = clock::now();
        let n = self.sent.back().map_or(0, |ping| ping.n).max(self.last) + 1;
        self.sent.push_back(Ping {
            n,
            at: self.last,
            head: None,
        });
        format!(r#"{{"ping":{{"n":{n}}}}}"#)
    }

    /// Records an answer, for its own ping and all earlier ones without an answer.
    fn answered(&mut self, pong: &Pong) {
        for ping in self.sent.iter_mut().take_while(|ping| ping.n <= pong.n) {
            ping.head.get_or_insert(pong.head);
        }
    }

    /// Returns the time of the newest ping that this position proves, and forgets that ping and earlier ones.
    fn proved(&mut self, seq: u64) -> Option<u64> {
        let is_proved = |ping: &Ping| ping.head.is_some_and(|head| head <= seq);
        let newest = self.sent.iter().rposition(is_proved)?;
        self.sent.drain(..=newest).next_back().map(|ping| ping.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_proved_by_the_head_of_its_answer() {
        let mut pings = Pings::default();
        assert!(!pings.are_due());
        for _ in 0..3 {
            pings.ping();
        }
        let [first, second, third] = [0, 1, 2].map(|at| (pings.sent[at].n, pings.sent[at].at));
        assert!(first.0 < second.0 && second.0 < third.0);
        assert_eq!(pings.proved(100), None, "there is no answer");
        pings.answered(&Pong {
            n: second.0,
            head: 5,
        });
        assert_eq!(pings.proved(4), None);
        assert_eq!(pings.proved(5), Some(second.1));
        pings.answered(&Pong {
            n: third.0,
            head: 6,
        });
        assert_eq!(pings.proved(7), Some(third.1));
        assert_eq!(pings.proved(7), None);
    }
}
