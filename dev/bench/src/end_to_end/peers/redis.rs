//! Redis: values by SET, changes by PUBLISH, both in one MULTI, so that no watcher has what was not
//! stored. The channel names the key, the message is the value; watchers subscribe to the pattern.
//! (Keyspace notifications would make each watcher fetch the value by a second round trip; streams
//! keep changes for those that were away, at more work for each.)
//!
//! With `appendfsync always` an answer, and a message, leave the server after the fsync of their
//! write. With the defaults nothing is written but a snapshot now and then.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, Pipeline};

use super::super::process::{self, Process};
use super::super::samples::Seen;
use super::super::system::{Doing, Failure, Watching, Writer};
use super::program;
use super::watched::{Watched, ended};

/// Debian: `redis-server`.
pub(super) const PROGRAM: &str = "redis-server";

/// The options by which nothing acknowledged is lost with the power.
pub(super) const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Before the key in the names of channels.
const CHANNEL: &str = "accounts:";

pub(super) fn start(folder: &Path, options: &[&str]) -> (Process, String) {
    let port = program::free_port();
    let program = process::installed(PROGRAM).expect("only installed peers are started");
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(options)
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Process::start(&mut command).expect("an installed program can be run");
    program::wait_for_listener(PROGRAM, port);
    (process, format!("redis://127.0.0.1:{port}"))
}

fn client(address: &str) -> Result<Client, Failure> {
    let tcp = TcpSettings::default().set_nodelay(true);
    let info = address.into_connection_info()?.set_tcp_settings(tcp);
    Ok(Client::open(info)?)
}

struct Connection(MultiplexedConnection);

pub(super) fn writer(address: &str) -> Doing<'_, Box<dyn Writer>> {
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

pub(super) fn watcher(address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
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
