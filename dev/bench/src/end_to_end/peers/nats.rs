//! NATS JetStream: a key-value bucket with its defaults (files, one message kept for each key), put
//! by publishing and waiting for the acknowledgement, watched by an ordered push consumer.
//!
//! JetStream's files are synced every two minutes; an acknowledged put survives the end of the
//! server's process.

use std::path::Path;
use std::sync::Arc;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, kv};
use futures_util::StreamExt;
use futures_util::future::try_join_all;

use super::super::samples::Seen;
use super::super::system::{Class, Doing, System, Watching, Writer};
use super::program;
use super::watched::{Watched, ended};
use crate::process::Process;

/// Debian: `nats-server`.
pub(super) const PROGRAM: &str = "nats-server";

/// A key-value bucket of NATS JetStream with its defaults: synced every two minutes.
pub(super) const SYSTEM: System = System {
    name: super::JETSTREAM,
    class: Class::Normal,
    program: Some(PROGRAM),
    start,
    writer,
    watcher,
};

const BUCKET: &str = "accounts";

fn start(folder: &Path) -> (Process, String) {
    let port = program::free_port();
    let mut command = program::command(PROGRAM);
    command
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .args(["--jetstream", "--store_dir"])
        .arg(folder);
    let process = program::start(PROGRAM, &mut command, port);
    (process, format!("127.0.0.1:{port}"))
}

/// The stream of a bucket with defaults. The client's own `create_key_value` sends a request
/// that Debian's 2.9 does not answer; this is the stream that it would create.
fn stream() -> Config {
    Config {
        name: format!("KV_{BUCKET}"),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        num_replicas: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..Default::default()
    }
}

struct Bucket(kv::Store);

fn writer(address: &str) -> Doing<'_, Box<dyn Writer>> {
    Box::pin(async move {
        let context = jetstream::new(async_nats::connect(address).await?);
        let bucket = match context.get_key_value(BUCKET).await {
            Ok(bucket) => bucket,
            Err(_) => {
                context.create_stream(stream()).await?;
                context.get_key_value(BUCKET).await?
            }
        };
        Ok(Box::new(Bucket(bucket)) as Box<dyn Writer>)
    })
}

impl Writer for Bucket {
    fn put<'a>(&'a self, key: &'a str, value: String) -> Doing<'a, ()> {
        Box::pin(async move {
            self.0.put(key, value.into()).await?;
            Ok(())
        })
    }

    /// Publishes all values at once; each is acknowledged individually, since there are no transactions.
    fn batch<'a>(&'a self, puts: &'a [(String, String)]) -> Doing<'a, ()> {
        Box::pin(async move {
            let puts = puts.iter();
            try_join_all(puts.map(|(key, value)| self.0.put(key, value.clone().into()))).await?;
            Ok(())
        })
    }
}

fn watcher(address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
    Box::pin(async move {
        let context = jetstream::new(async_nats::connect(address).await?);
        let bucket = context.get_key_value(BUCKET).await?;
        let mut watch = bucket.watch_all().await?;
        let watched = Watched::new(seen);
        Ok(Box::pin(async move {
            // Keeps the client alive as long as its watch.
            let _context = context;
            while let Some(entry) = watch.next().await {
                let entry = entry?;
                watched.put(&entry.key, &entry.value)?;
            }
            Err(ended())
        }) as Watching)
    })
}
