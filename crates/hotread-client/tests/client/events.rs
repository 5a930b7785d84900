//! Events against a server that does what the test wants.

use crate::common::{Fake, until};
use futures_util::StreamExt;
use hotread_client::{ChangeOp, Client, Code, Position};
use hotread_proto::Epoch;

async fn client(server: &Fake) -> Client {
    Client::builder(&server.url()).build().unwrap()
}

#[tokio::test]
async fn each_transaction_is_told_once_over_lost_connections() {
    let server = Fake::start().await;
    let first = server.put("a", "1");
    let mut events = client(&server).await.events("t", None).await.unwrap();
    assert_eq!(events.from(), first);
    for n in 2..=30 {
        let at = server.commit(&[("a", Some(&n.to_string())), ("b", None)]);
        if n % 5 == 0 {
            server.cut();
        }
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.head.position, at);
        assert!(
            matches!(&event.ops[..], [ChangeOp::Put(record), ChangeOp::Delete { .. }]
            if record.value() == n.to_string().as_bytes())
        );
    }
}

#[tokio::test]
async fn the_past_is_told_from_a_position_on() {
    let server = Fake::start().await;
    let first = server.put("a", "1");
    let count = 100;
    for n in 0..count {
        server.put("a", &n.to_string());
    }
    // More than is received ahead.
    let events = client(&server)
        .await
        .events("t", Some(first))
        .await
        .unwrap();
    let seqs = events
        .take(count)
        .map(|event| event.unwrap().head.position.seq);
    let expected: Vec<_> = (2..).take(count).collect();
    assert_eq!(seqs.collect::<Vec<_>>().await, expected);
}

#[tokio::test]
async fn what_cannot_be_told_without_a_gap_is_an_error() {
    let server = Fake::start().await;
    server.put("a", "1");
    let from = Position {
        epoch: Epoch(77),
        seq: 1,
    };
    let client = client(&server).await;
    let refused = client.events("t", Some(from)).await.unwrap_err();
    assert_eq!(refused.code(), Code::EpochChanged);

    let mut events = client.events("t", None).await.unwrap();
    server.recreate(2);
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::EpochChanged);
    assert!(events.next().await.is_none());
    drop(events);
    until("the session ends", || server.sessions() == 0).await;
}
