//! Replicas of HotRead tables inside the process that reads them, and calls to change the tables.
//!
//! A service reads routes, flags, prices or limits on every request, and they change now and then. A
//! [`Replica`] is the table as a Rust value of your own type: reading it costs one load, one compare and
//! the look-up, without a network, a lock or a parser in between.
//!
//! # What it costs
//!
//! - **Memory**: two copies of the state (more while readers hold old ones, up to four), and about 70
//!   bytes for each record, with its key, which is shared with the state. While it is loaded, and with a
//!   [`cache_dir`](ClientBuilder::cache_dir) always, the records themselves once more.
//! - **Staleness**: about a round trip behind the server. [`Replica::age`] proves how old the content
//!   is at most. If the server goes away, readers keep what they have.
//! - **CPU**: a task on the caller's runtime, which parses each changed record once. Large frames and
//!   large updates are handled on threads of their own, or by the task if the system gives none. When
//!   readers hold old copies of a large table, another copy is made on the task's thread.
//!
//! # Example
//!
//! ```no_run
//! use hotread_client::{Client, Code, Error, RecordSet, Scan, Status, TableOptions, Txn, WaitForError};
//! use hotread_client::{Key, Put, Value};
//! use std::{collections::HashMap, sync::Arc, time::Duration};
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Flag {
//!     percent: u8,
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:7400")
//!     .name("api-7") // what the server shows
//!     .token("hr_…") // if the server wants one
//!     .cache_dir("/var/cache/api") // to start without the server
//!     .build()?;
//!
//! // A table in this process.
//! let flags = client.replica::<HashMap<Arc<str>, Flag>>("flags").await?;
//! let mut reader = flags.named_reader("worker-1"); // one for each worker
//! let _on = reader.current().get("checkout-v2").is_some_and(|flag| flag.percent > 0);
//! match reader.fresh(Duration::from_secs(30)) {
//!     Ok(flags) => println!("{} flags", flags.len()),
//!     Err(stale) => eprintln!("{stale}"), // do what is safe without them
//! }
//!
//! // Writing, and reading one's own write.
//! let at = client.put("flags", "checkout-v2", &Flag { percent: 5 }).await?;
//! match flags.wait_for(at, Duration::from_secs(1)).await {
//!     Ok(()) => assert_eq!(reader.current()["checkout-v2"].percent, 5),
//!     Err(WaitForError::Rejected(refused)) => eprintln!("{refused}"),
//!     Err(other) => eprintln!("{other}"),
//! }
//!
//! // For a health check.
//! match flags.status() {
//!     Status::Live => println!("{:?} old, {} behind", flags.age(), flags.lag()),
//!     Status::Stale { since } => eprintln!("nothing proved for {:?}", since.elapsed()),
//!     other => eprintln!("{other:?}: {:?}", flags.trouble()),
//! }
//!
//! // Records as they are; leaving out what the type refuses; limits.
//! let builder = client.replica_builder("routes").max_table_bytes(1 << 30);
//! let routes = builder.skip_bad_keys(true).start::<RecordSet>().await?;
//! println!("{} are left out", routes.left_out().len());
//!
//! // Tables over HTTP.
//! client.create_table("prices", &TableOptions::default()).await?;
//! let put = Put::new(Key::new("tea")?, Value::serialize(&3)?);
//! let committed = client.txn("prices", Txn::new().put(put).delete(Key::new("coffee")?)).await?;
//! let page = client.scan("prices", &Scan::default()).await?;
//! println!("{} at {}", page.records.len(), committed.at);
//! if let Err(Error::Api { body, .. }) = client.get("no-such-table", "tea").await {
//!     assert_eq!(body.code, Code::UnknownTable);
//! }
//!
//! // Each transaction, none lost or folded.
//! let mut events = client.events("prices", Some(committed.position)).await?;
//! while let Some(event) = events.next().await {
//!     for op in event?.ops {
//!         println!("{}", op.key());
//!     }
//! }
//!
//! flags.save().await?; // before the program ends, if it has a cache_dir
//! # Ok(())
//! # }
//! ```
//!
//! Programs without an async runtime use [`blocking`]. A state of your own follows a table by
//! [`Replicated`].
//!
//! # What holds
//!
//! - Readers see states that the table had, whole transactions, each checked against the server's
//!   digest, and never an older one after a newer; unless the replica was told to
//!   [leave out](ReplicaBuilder::skip_bad_keys) what its type refuses.
//! - [`Replica::status`] is decided when it is asked: after the process was stopped, or while the
//!   replica's task gets no turn, it is [`Stale`](Status::Stale) and not [`Live`](Status::Live); in a
//!   fork it is [`Forked`](Status::Forked). [`Replica::age`] is by the monotonic clock, which on Linux
//!   does not count time in which the machine sleeps.
//! - A value that the state's type cannot have is refused: a replica that runs stays before it, tells the
//!   server, and goes on when the record is changed. See [`Status::Rejected`]. What happens **when the
//!   program starts while such a value is there** is the program's choice: see [`Error::Rejected`].
//! - **A record's expiry is a deletion by the server. A replica that is cut off from its server goes on to
//!   show records that have expired.** Where that must not be, hide them by this machine's clock
//!   ([`hide_expired`](ReplicaBuilder::hide_expired)), or ask readers for a state that is
//!   [fresh](Reader::fresh).
//! - A replica never stops silently. When the state's own code panics or the runtime is shut down,
//!   its status is [`Status::Failed`], and readers keep what they have.
//! - Every write has a random id and is repeated with it, so that it is done once or not at all. Only
//!   what a HotRead server says is an answer: what a proxy says in its place (504, a page of HTML) leads
//!   to another attempt, and in the end to [`Error::CommitUnknown`] with the id to find out with. Changes
//!   without an id (creating and dropping tables, tokens) are sent once, and end with
//!   [`Error::OutcomeUnknown`]. The key of a record that comes is compared with the one asked for.
//! - Tokens can be changed while the program runs: see [`token_file`](ClientBuilder::token_file).
//! - All queues are bounded. If readers do not let go of old copies, the replica stops reading from
//!   the server, and catches up afterwards.
//!
//! # Limits
//!
//! | limit | value | |
//! |---|---|---|
//! | table of a replica | 64 GiB of keys and values | [`ReplicaBuilder::max_table_bytes`], at the start and later; a warning at 80 % |
//! | table that is kept on disk | 4 GiB of keys and values | larger ones are not kept |
//! | time between copies on disk | 10 s | [`ClientBuilder::save_every`]; at most a twentieth of the time is spent writing |
//! | wait for the server when there is a copy | 2 s | or the first attempt that fails |
//! | copies of the state | 4 | while readers hold old ones |
//! | updates that readers keep from being published | 65,536 | then nothing more is read from the server |
//! | held back while a value is refused, or the table is too large | 64 MiB beyond a snapshot | then the table is loaded again afterwards |
//! | an update that readers block is told | after 1 s | [`Status::Blocked`], and the log |
//! | changes that wait for a callback | 65,536 | then it gets the difference: [`Replica::on_change`] |
//! | beginning to follow a table | as long as it takes | [`ClientBuilder::start_within`], [`ClientBuilder::wait_for_tables`] |
//! | wait before a table is tried again that was too large | 60 s | |
//! | refused values told to the server | 8 a second | |
//! | records that are left out, with reasons | 64 | [`Replica::left_out`]; their number is told of all |
//! | events received ahead | 16 | then the server waits |
//! | time between pings | 1 s | [`ClientBuilder::ping_every`], at least 10 ms |
//! | connecting | 5 s for a request, 10 s for a session | addresses of a name side by side, 250 ms apart |
//! | answer to a request | 30 s in which nothing moves ([`max_silence`](ClientBuilder::max_silence)), and 4 KiB a second on average | and a second for each MiB sent |
//! | answer's size | 1 GiB | |
//! | attempts of a request | 6 | 0.1 s to 3 s apart |
//! | wait before a session is tried again | 0 to 5 s | growing from 0.25 s; up to 60 s if the server asks |
//!
//! There is no TLS. Use a tunnel or a local proxy where the network is not private.

#![warn(missing_docs)]

mod address;
mod api;
pub mod blocking;
mod cache;
mod cell;
mod client;
mod connect;
mod connection;
mod credentials;
mod drive;
mod endpoint;
mod error;
mod events;
mod expiry;
mod heavy;
mod http;
mod lent;
mod progress;
mod publish;
mod reader;
mod replica;
mod replica_builder;
mod socket;
mod status;
mod table;

pub use cache::SaveError;
pub use client::{Client, ClientBuilder};
pub use connection::ConnectionEvent;
pub use error::Error;
pub use events::{Event, Events};
pub use hotread::{HotRead, HotReadHandle, HotReadState, MapUpdate};
pub use hotread_proto::http::{AtRisk, Histogram, ServerStatus, SessionStatus, Stats, TableStatus};
pub use hotread_proto::session::Refused;
pub use hotread_proto::{
    Actor, Alter, CallbackPanics, Change, ChangeOp, Changes, Code, Committed, Condition, Entries,
    ErrorBody, Found, Head, InvalidInput, Key, MAX_CHANGES, NewToken, Note, OnChange, Op, Page,
    ParseRoleError, Position, Precondition, Put, PutOptions, Record, RecordSet, RecordUpdate,
    Removal, Replace, Replaced, Replicated, ReplicatedKey, Role, Scan, Search, TableInfo,
    TableName, TableOptions, Timestamp, TokenInfo, Txn, TxnId, TypedTable, Value,
};
pub use reader::Reader;
pub use replica::Replica;
pub use replica_builder::ReplicaBuilder;
pub use status::{Status, TooStale, WaitForError};
pub use table::Table;

/// The examples of both READMEs are tests: of the project's here, since this crate depends on the others.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;

/// The programs of a page of the guide, which need a store and a server.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/testing.md")]
struct GuideToTesting;
