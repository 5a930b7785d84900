//! Redis: values by SET, changes by PUBLISH, both in one MULTI, so that no watcher has a value that was not
//! stored. The channel names the key, the message is the value; watchers subscribe to the pattern.
//! (Keyspace notifications would make each watcher fetch the value by a second round trip; streams
//! keep changes for absent watchers, at a higher cost of each change.)
//!
//! With `appendfsync always` an answer, and a message, leave the server after the fsync of their
//! write. With the defaults the server only writes an occasional snapshot.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, Pipeline};

use super::super::samples::Seen;
use super::super::system::{Class, Doing, System, Watching, Writer};
use super::program;
use super::watched::{Watched, ended};
use crate::process::{Failure, Process};

/// Debian: `redis-server`.
pub(super) const PROGRAM: &str = "redis-server";

/// Redis with `appendfsync always`, where acknowledged writes survive a power failure.
pub(super) const ALWAYS: System = System {
    name: "Redis, appendfsync always",
    class: Class::Full,
    start: |folder| start(folder, &["--appendonly", "yes", "--appendfsync", "always"]),
    ..PUBSUB
};

/// Redis with its defaults: an occasional snapshot.
pub(super) const PUBSUB: System = System {
    name: "Redis pub/sub",
    class: Class::Normal,
    program: Some(PROGRAM),
    start: |folder| start(folder, &[]),
    writer,
    watcher,
};

/// Before the key in the names of channels.
const CHANNEL: &str = "accounts:";

fn start(folder: &Path, options: &[&str]) -> (Process, String) {
    let port = program::free_port();
    let mut command = program::command(PROGRAM);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(options)
        .arg("--dir")
        .arg(folder);
    let process = program::start(PROGRAM, &mut command, port);
    (process, format!("redis://127.0.0.1:{port}"))
}

fn client(address: &str) -> Result<Client, Failure> {
    let tcp = TcpSettings::default().set_nodelay(true);
    let info = address.into_connection_info()?.set_tcp_settings(tcp);
    Ok(Client::open(info)?)
}

struct Connection(MultiplexedConnection);

fn writer(address: &str) -> Doing<'_, Box<dyn Writer>> {
    Box::pin(async move {
        let connection = client(address)?.get_multiplexed_async_connection().await?;
        Ok(Box::new(Connection(connection)) as Box<dyn Writer>)
    })
}

fn put(transaction: &mut Pipeline, key: &str, value: &str) {
    let key = format!("{CHANNEL}{key}");
    transaction.set(&key, value).ignore();
    transaction.publish(&key, value).ignore();
}

impl Writer for Connection {
    fn put<'a>(&'a self, key: &'a str, value: String) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut transaction = redis::pipe();
            put(transaction.atomic(), key, &value);
            Ok(transaction.query_async(&mut self.0.clone()).await?)
        })
    }

    fn batch<'a>(&'a self, puts: &'a [(String, String)]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut transaction = redis::pipe();
            transaction.atomic();
            for (key, value) in puts {
                put(&mut transaction, key, value);
            }
            Ok(transaction.query_async(&mut self.0.clone()).await?)
        })
    }
}

fn watcher(address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
    Box::pin(async move {
        let mut subscription = client(address)?.get_async_pubsub().await?;
        subscription.psubscribe(format!("{CHANNEL}*")).await?;
        let watched = Watched::new(seen);
        Ok(Box::pin(async move {
            let mut messages = subscription.on_message();
            while let Some(message) = messages.next().await {
                let channel = message.get_channel_name();
                let key = channel.strip_prefix(CHANNEL).unwrap_or(channel);
                watched.put(key, message.get_payload_bytes())?;
            }
            Err(ended())
        }) as Watching)
    })
}
