//! Bad connections: many replicas that were cut off for longer than the history lasts, while the table
//! continues to change; and a link over which a frame takes longer than a connection may be silent.

use crate::common::proxy::Cable;
use crate::common::server::{Api, snapshots};
use crate::common::{HANG, until};
use hotread_client::{
    Client, ConnectionEvent, Key, Put, RecordSet, Replace, Replica, Status, TableOptions, Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const REPLICAS: u64 = 20;
const RECORDS: u64 = 2_000;
const HISTORY: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_behind_the_history_load_once_and_stay_live() {
    let mut options = TableOptions::default();
    options.history.max_changes = HISTORY;
    let api = Api::with_table(&options).await;
    let writer = api.client(None).await;
    let put = |n: u64| {
        let value = Value::serialize(&"x".repeat(100)).unwrap();
        Put::new(Key::new(&format!("{n:05}")).unwrap(), value)
    };
    let records = (0..RECORDS).map(put).collect();
    let new = Replace {
        records,
        ..Replace::default()
    };
    writer.replace("t", new).await.unwrap();

    let cable = Cable::to(api.address).await;
    let client = Client::builder(&format!("http://{}", cable.address));
    // Not more often: on a busy machine a healthy connection would be abandoned.
    let client = client
        .ping_every(Duration::from_millis(250))
        .build()
        .unwrap();
    let mut replicas: Vec<Replica<RecordSet>> = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(client.replica("t").await.unwrap());
    }
    assert_eq!(snapshots(api.address).await, REPLICAS);

    cable.plug(false);
    until("all are stale", || {
        let stale = |replica: &Replica<_>| matches!(replica.status(), Status::Stale { .. });
        replicas.iter().all(stale)
    })
    .await;
    for n in 0..4 * HISTORY {
        writer.put("t", "00000", &n).await.unwrap();
    }
    // The table continues to change while the replicas return.
    let ends = Arc::new(AtomicBool::new(false));
    let told = ends.clone();
    let writing = tokio::spawn(async move {
        let mut n = 0_u64;
        loop {
            let at = writer
                .put("t", &format!("{:05}", n % RECORDS), &n)
                .await
                .unwrap();
            n += 1;
            if told.load(Ordering::Relaxed) {
                return at;
            }
        }
    });
    cable.plug(true);
    let all_live = || {
        let live = |replica: &Replica<_>| replica.status() == Status::Live;
        replicas.iter().all(live)
    };
    until("all are live", all_live).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ends.store(true, Ordering::Relaxed);
    let last = writing.await.unwrap();
    for replica in &replicas {
        replica.wait_for(last, HANG).await.unwrap();
        assert_eq!(replica.create_handle().current().len() as u64, RECORDS);
    }
    assert_eq!(
        snapshots(api.address).await,
        2 * REPLICAS,
        "each loaded once more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_long_in_coming_does_not_end_the_connection() {
    let api = Api::start().await;
    let writer = api.client(None).await;
    let value = "x".repeat(60_000);
    writer.put("t", "k", &value).await.unwrap();
    // Three seconds, five times as long as three heartbeats.
    let cable = Cable::slow(api.address, 20_000).await;
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::builder(&format!("http://{}", cable.address))
        .ping_every(Duration::from_millis(50))
        .on_connection(move |_, event| drop(told.send(event.clone())))
        .build()
        .unwrap();
    let mut loading = tokio::spawn(async move { client.replica::<RecordSet>("t").await });
    let replica = loop {
        tokio::select! {
            loaded = &mut loading => break loaded.unwrap().unwrap(),
            event = events.recv() => match event {
                Some(ConnectionEvent::Down { why }) => panic!("{why}"),
                _ => continue,
            },
        }
    };
    assert_eq!(replica.create_handle().current().len(), 1);
}
