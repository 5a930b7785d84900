//! In each system, a put and a batch reach a watcher.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hotread_store::Synchronous;

use super::samples::Seen;
use super::system::System;
use super::{hotread, row, runtime, systems};
use crate::process::{Failure, PATIENCE};

const BATCH: u64 = 3;

async fn reaches(system: &System, address: &str) -> Result<bool, Failure> {
    let (seen, mut rng) = (Arc::new(Seen::new(16)), Rng::with_seed(1));
    let writer = system.writer(address).await?;
    let start = Instant::now();
    let watching = (system.watcher)(address, Arc::clone(&seen)).await?;
    let all = 1 + BATCH as usize;
    let write = async {
        writer.put(&row::key(0), row::value(0, &mut rng)).await?;
        let batch = (1..=BATCH).map(|number| (row::key(number), row::value(number, &mut rng)));
        writer.batch(&batch.collect::<Vec<_>>()).await?;
        while !seen.has_all(all) && start.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(seen.has_all(all))
    };
    tokio::select! {
        failure = watching => failure.map(|never| match never {}),
        reached = write => reached,
    }
}

#[test]
fn names_of_children_are_unique_and_rows_within_a_class() {
    let names: HashSet<String> = systems().map(System::argument).collect();
    assert_eq!(names.len(), systems().count());
}

#[test]
#[cfg(feature = "peers")]
fn a_put_reaches_a_watcher_of_each_peer_that_is_installed() {
    for system in &super::peers::ALL {
        if let Some(program) = system.missing() {
            eprintln!("not tested: `{program}` is not installed");
            continue;
        }
        let folder = tempfile::tempdir().expect("the folder is writable");
        let server = system.start(folder.path());
        let reached = runtime().block_on(reaches(system, &server.address));
        assert!(reached.expect("it works"), "{}", system.name);
    }
}

#[test]
fn a_put_reaches_a_replica() {
    let folder = tempfile::tempdir().expect("the folder is writable");
    let database = folder.path().join("a.db");
    let (tell, told) = mpsc::channel();
    // The server runs until the tests end, like the measured one.
    std::thread::spawn(move || {
        hotread::serve(
            &database,
            Synchronous::Normal,
            "127.0.0.1:0",
            None,
            |address| {
                tell.send(address).expect("the test waits");
            },
        )
    });
    let address = told.recv_timeout(PATIENCE).expect("it listens");
    let reached = runtime().block_on(reaches(&hotread::NORMAL, &format!("http://{address}")));
    assert!(reached.expect("it works"));
}
