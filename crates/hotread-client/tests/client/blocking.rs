//! The blocking interface for programs without a runtime.

use crate::common::{Fake, HANG};
use hotread_client::blocking::Client;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_program_without_a_runtime_follows_a_table() {
    // The server's own runtime.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Fake::start());
    let first = server.put("a", "1");
    let client = Client::builder(&server.url()).build_blocking().unwrap();
    let mut events = client.events("t", None).unwrap();
    let replica = client.replica::<BTreeMap<Arc<str>, u64>>("t").unwrap();
    // The replica and the events keep the objects that they need.
    drop(client);
    assert_eq!((replica.position(), events.from()), (first, first));
    assert!(events.next_within(Duration::from_millis(20)).is_none());

    let at = server.put("a", "2");
    replica.wait_for(at, HANG).unwrap();
    assert_eq!(replica.create_handle().current()["a"], 2);
    assert_eq!(events.next().unwrap().unwrap().head.position, at);
}
