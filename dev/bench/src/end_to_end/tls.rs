//! The cost of encryption: the same server and the same sessions with TLS and in plaintext, interleaved. The
//! promise is NORMAL, where no fsync hides the difference.

use std::time::Duration;

use super::propagation::propagate;
use super::samples::PERCENTILES;
use super::system::System;
use super::{OURS, clock, hotread, runtime};
use crate::process::Failure;
use crate::report::{Figure, Goal};
use crate::rounds::{Rounds, Unit};
use crate::stats::percentiles;
use crate::store::scratch::Plan;
use crate::target;

/// Watching sessions, and writes a second, as in the figure of propagation.
const SIZES: [(usize, u32); 3] = [(1, 250), (100, 50), (1_000, 10)];
/// Duration of the writes of each cell in one round, in milliseconds.
const MILLIS: [u64; 3] = [3_000, 3_000, 3_000];
/// Columns of one size.
const STATISTICS: [&str; 2] = ["p50", "p99"];
const STRIDE: usize = STATISTICS.len();
/// The column of first calls.
const FIRST_CALL: usize = SIZES.len() * STRIDE;
/// Times the median of plaintext that a propagation may take.
const GOAL: f64 = 1.15;

pub(super) fn run(plan: &Plan) -> Figure {
    let columns = SIZES.iter().flat_map(|(sessions, _)| {
        let labels = STATISTICS.map(|name| format!("{sessions}: {name}"));
        Unit::Ns.of(labels)
    });
    let first = Unit::Ns.of(STATISTICS.map(|name| format!("first call: {name}")));
    let mut rounds = Rounds::new("From the call of the write", columns.chain(first));
    let systems: [&'static System; 2] = [&hotread::NORMAL, &hotread::TLS];
    for (index, (sessions, rate)) in SIZES.into_iter().enumerate() {
        let time = plan.millis(MILLIS[index], 400);
        for system in systems {
            rounds.add(system.name, index * STRIDE, move || {
                propagate(system, sessions, rate, time).from_call[..STRIDE].to_vec()
            });
        }
    }
    let calls = plan.pick(300, 10);
    for system in systems {
        rounds.add(system.name, FIRST_CALL, move || first_calls(system, calls));
    }
    let all = rounds.run(plan.pick(5, 1));
    let tls = hotread::TLS.name;
    let goals = SIZES.iter().enumerate().map(|(index, (sessions, _))| {
        let column = index * STRIDE;
        Goal::at_most(
            format!("p50 with {sessions} watching at NORMAL: with TLS / in plaintext"),
            GOAL,
            all.ratio((tls, column), (OURS, column)),
        )
    });
    let goals: Vec<_> = goals.collect();
    Figure::new(
        "TLS",
        format!(
            "Propagation as above, at {} writes a second to 1, 100 and 1,000 sessions, with TLS 1.3 and in \
             plaintext. A first call is that of a new client: it opens a connection, makes the handshake, and \
             asks for the tables; {calls} of them, one after another.",
            SIZES.map(|(_, rate)| rate.to_string()).join(", "),
        ),
    )
    .goals(goals)
    .notes([
        "Keys and certificates are of P-256; verification of the server's certificate is part of the \
         handshake. No session is resumed, since each client is new.",
    ])
    .tables([all])
}

/// Times of the first calls of new clients, of which the first few do not count.
fn first_calls(system: &System, calls: usize) -> Vec<f64> {
    const WARM_UP: usize = 5;

    let server = system.start(target::folder());
    let timed = async {
        drop(system.writer(&server.address).await?);
        let mut samples = Vec::with_capacity(calls);
        for _ in 0..calls + WARM_UP {
            let client = hotread::client(&server.address).await?;
            let start = clock::now();
            client.tables().await?;
            samples.push((clock::now() - start) as f64);
            // The server closes the connection of a client that is gone.
            drop(client);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Failure>(percentiles(&samples[WARM_UP..], PERCENTILES)[..STRIDE].to_vec())
    };
    runtime().block_on(timed).expect("the server answers")
}
