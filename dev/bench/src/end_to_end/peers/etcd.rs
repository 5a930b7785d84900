//! etcd, one member, with its defaults: each put is in its write-ahead log and synced before it is
//! acknowledged. Watchers have a watch of the prefix, each on a connection of its own.
//!
//! The client is gRPC by tonic, like `etcd-client`, which needs `protoc` to build;
//! the few messages are written out here.

use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Streaming};
use tonic_prost::ProstCodec;

use super::super::samples::Seen;
use super::super::system::{Class, Doing, System, Watching, Writer};
use super::program;
use super::watched::{Watched, ended};
use crate::process::{Failure, Process};

/// Debian: `etcd-server`.
pub(super) const PROGRAM: &str = "etcd";

/// etcd with its defaults: an fsync for each write, or group of them.
pub(super) const SYSTEM: System = System {
    name: "etcd",
    class: Class::Full,
    program: Some(PROGRAM),
    start,
    writer,
    watcher,
};

/// Before the key.
const PREFIX: &str = "accounts/";
/// A key without the prefix, put to check that the server accepts writes.
const READY: &str = "ready";
/// The first key that does not begin with the prefix.
const END: &str = "accounts0";

fn start(folder: &Path) -> (Process, String) {
    let (port, peers) = (program::free_port(), program::free_port());
    let (clients, peers) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peers}"),
    );
    let mut command = program::command(PROGRAM);
    command
        .args(["--listen-client-urls", &clients])
        .args(["--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers])
        .args(["--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .args(["--logger", "zap", "--log-level", "error", "--data-dir"])
        .arg(folder);
    let process = program::start(PROGRAM, &mut command, port);
    (process, clients)
}

// The messages, with the fields that are used; the tags are those of etcd's `rpc.proto`.

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Txn {
    /// Operations to apply when all preconditions hold; there are none.
    #[prost(message, repeated, tag = "2")]
    success: Vec<Op>,
}

#[derive(Clone, PartialEq, Message)]
struct Op {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, Message)]
struct Watch {
    #[prost(message, optional, tag = "1")]
    create: Option<CreateWatch>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateWatch {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    end: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Changes {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(message, optional, tag = "2")]
    pair: Option<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

async fn connect(address: &str) -> Result<Channel, Failure> {
    Ok(Endpoint::from_shared(address.to_owned())?.connect().await?)
}

struct Client(Channel);

impl Client {
    async fn call<M>(&self, path: &'static str, message: M) -> Result<(), Failure>
    where
        M: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await?;
        // The fields of the answer are not used.
        let codec = ProstCodec::<M, ()>::default();
        let path = PathAndQuery::from_static(path);
        grpc.unary(message.into_request(), path, codec).await?;
        Ok(())
    }
}

const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

fn put(key: &str, value: &str) -> Put {
    Put {
        key: format!("{PREFIX}{key}").into_bytes(),
        value: value.as_bytes().to_vec(),
    }
}

fn writer(address: &str) -> Doing<'_, Box<dyn Writer>> {
    Box::pin(async move {
        let client = Client(connect(address).await?);
        // The server answers once it has elected itself.
        let ready = Put {
            key: READY.into(),
            value: Vec::new(),
        };
        client.call(PUT, ready).await?;
        Ok(Box::new(client) as Box<dyn Writer>)
    })
}

impl Writer for Client {
    fn put<'a>(&'a self, key: &'a str, value: String) -> Doing<'a, ()> {
        Box::pin(self.call(PUT, put(key, &value)))
    }

    fn batch<'a>(&'a self, puts: &'a [(String, String)]) -> Doing<'a, ()> {
        let puts = puts.iter();
        let success = puts.map(|(key, value)| Op {
            put: Some(put(key, value)),
        });
        let success = success.collect();
        Box::pin(self.call(TXN, Txn { success }))
    }
}

fn watcher(address: &str, seen: Arc<Seen>) -> Doing<'_, Watching> {
    Box::pin(async move {
        let mut grpc = Grpc::new(connect(address).await?);
        grpc.ready().await?;
        let create = Watch {
            create: Some(CreateWatch {
                key: PREFIX.into(),
                end: END.into(),
            }),
        };
        // The stream of requests stays open: its end would end the watch.
        let requests = stream::once(async { create }).chain(stream::pending());
        let codec = ProstCodec::<Watch, Changes>::default();
        let path = PathAndQuery::from_static(WATCH);
        let answers = grpc.streaming(requests.into_request(), path, codec).await?;
        let mut answers: Streaming<Changes> = answers.into_inner();
        let created = answers.message().await?.is_some_and(|first| first.created);
        if !created {
            return Err("etcd refused a watch".into());
        }
        let watched = Watched::new(seen);
        Ok(Box::pin(async move {
            while let Some(answer) = answers.message().await? {
                for pair in answer.events.into_iter().filter_map(|event| event.pair) {
                    let key = str::from_utf8(&pair.key)?;
                    let key = key.strip_prefix(PREFIX).unwrap_or(key);
                    watched.put(key, &pair.value)?;
                }
            }
            Err(ended())
        }) as Watching)
    })
}
