//! Replicas of HotRead tables inside the process that reads them, and calls to change the tables.
//!
//! A service reads routes, flags, prices or limits on every request, while they change only occasionally. A
//! [`Replica`] is a table as a Rust value of your own type. A read costs one load, one compare and the look-up,
//! without a network, a lock or a parser in between.
//!
//! # What it costs
//!
//! - **Memory**: two copies of the state (up to four while readers refer to old ones), and in addition about 70
//!   bytes for each record, including its key, which is shared with the state. While the table is loaded, and
//!   always with a [`cache_dir`](ClientBuilder::cache_dir), the records are in memory a second time.
//! - **Staleness**: about a round trip behind the server. [`Replica::age`] returns a proved upper bound of the
//!   content's age. If the server goes away, readers keep the last state.
//! - **CPU**: a task on the caller's runtime, which parses each changed record once. Large frames and large
//!   updates are handled on threads of their own, or by the task if the system refuses to start a thread.
//!   When readers refer to old copies of a large table, the task's thread makes another copy.
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
//! let mut reader = flags.named_reader("worker-1"); // one for each thread or task
//! let _on = reader.current().get("checkout-v2").is_some_and(|flag| flag.percent > 0);
//! match reader.fresh(Duration::from_secs(30)) {
//!     Ok(flags) => println!("{} flags", flags.len()),
//!     Err(stale) => eprintln!("{stale}"), // use a safe default
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
//! // Records without decoding; leaving out values that the type refuses; limits.
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
//! // Each transaction individually, without gaps.
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
//! Programs without an async runtime use [`blocking`]. A type of your own follows a table by implementing
//! [`Replicated`].
//!
//! # Several servers
//!
//! A client takes several addresses, separated by commas: `https://a:7400,https://b:7400`. **They must lead to one
//! server, by several names or through several proxies, or to servers that share a log**, with the same epochs,
//! positions and transaction ids: a client takes what one of them says for what all of them say, and repeats a
//! write at another one.
//!
//! - Each client draws an order of its own, so that the clients of a fleet are spread over the servers. Its calls,
//!   replicas and event streams share the choice ([`Client::server`], [`Replica::server`]).
//! - A server is left when it cannot be reached, falls silent, stops, or answers 503, and when something else
//!   answers in its place. The next one is tried at once; a client waits only when all of them have failed one
//!   after the other, and then as long as with one server.
//! - A client stays with a server that works, also when an earlier one is back. A move is logged once, with its
//!   reason. Sessions stay with their server until they are lost.
//! - A replica or event stream that moves resumes from its position, without a snapshot. At a server of another
//!   database, a replica loads the table from there, logs the reason, and shows nothing of both at once; an event
//!   stream ends with `EPOCH_CHANGED`.
//! - A write is repeated at the next server with its id, and applied once. A change without an id goes to the next
//!   server only if no server has received it.
//!
//! # Guarantees
//!
//! - Readers see states that the table had, with whole transactions, each checked against the server's
//!   digest. They never see an older state after a newer one. A replica that [leaves
//!   out](ReplicaBuilder::skip_bad_keys) refused values gives up the first of these.
//! - [`Replica::status`] is determined when it is called. After the process was stopped, or while the
//!   replica's task does not get to run, the status is [`Stale`](Status::Stale) and not
//!   [`Live`](Status::Live); in a fork it is [`Forked`](Status::Forked). [`Replica::age`] uses the
//!   monotonic clock, which on Linux does not count time in which the machine sleeps.
//! - A value that the state's type cannot represent is refused: a running replica keeps the state before
//!   that value, informs the server, and continues once the record is changed. See [`Status::Rejected`]. A
//!   program that **starts while such a value is present** chooses what happens: see [`Error::Rejected`].
//! - **A record's expiry is a deletion by the server. A replica that is cut off from its server continues
//!   to show records that have expired.** Where that is not acceptable, hide them by this machine's clock
//!   ([`hide_expired`](ReplicaBuilder::hide_expired)), or ask readers for a state that is
//!   [fresh](Reader::fresh).
//! - A replica never stops silently. When the state's own code panics or the runtime is shut down, its
//!   status is [`Status::Failed`], and readers keep the last state.
//! - Every write has a random id and is repeated with it, so that it is applied once or not at all. Only
//!   the answer of a HotRead server counts: the answer of a proxy in its place (504, a page of HTML) leads
//!   to another attempt, and finally to [`Error::CommitUnknown`], which carries the id: retry with it.
//!   Changes without an id (creating and dropping tables, tokens) are sent once, which may take several
//!   attempts to connect; if the answer is lost, they fail with [`Error::OutcomeUnknown`]. The key of a returned record is compared with the requested
//!   one.
//! - With an address that begins with `https` or `wss`, every byte goes over TLS, and the server's certificate is
//!   verified: by the system's authorities, or by those of a file ([`tls_ca`](ClientBuilder::tls_ca)). A
//!   certificate that is not accepted fails a call at once, with a [`TlsError`] that says what to do; a replica
//!   retries, with that reason as its [`trouble`](Replica::trouble). Nothing ever falls back to plaintext.
//! - Tokens can be replaced while the program runs: see [`token_file`](ClientBuilder::token_file).
//! - All queues are bounded. If readers do not release old copies, the replica stops reading from the
//!   server, and catches up afterwards.
//!
//! # Limits
//!
//! | limit | value | |
//! |---|---|---|
//! | table of a replica | 64 GiB of keys and values | [`ReplicaBuilder::max_table_bytes`], at the start and later; a warning is logged at 80 % |
//! | saved table, in [`cache_dir`](ClientBuilder::cache_dir) | 4 GiB of keys and values | larger ones are not saved |
//! | time between writes of a saved table | 10 s | [`ClientBuilder::save_every`]; at most a twentieth of the time is spent writing |
//! | wait for the server when there is a saved table | 2 s | or until the first failed attempt |
//! | copies of the state | 4 | while readers refer to old ones |
//! | updates blocked by readers | 65,536 | then nothing more is read from the server |
//! | pending while a value is refused, or the table is too large | 64 MiB beyond a snapshot | beyond it the table is reloaded afterwards |
//! | report of an update blocked by readers | after 1 s | [`Status::Blocked`], and the log |
//! | changes that wait for a callback | 65,536 | then it gets the difference: see [`Replica::on_change`] |
//! | time to begin to follow a table | unlimited | [`ClientBuilder::start_within`], [`ClientBuilder::wait_for_tables`] |
//! | wait before another attempt at a table that was too large | 60 s | |
//! | refused values reported to the server | 8 a second | |
//! | records that are left out, with reasons | 64 | [`Replica::left_out`]; all are counted |
//! | events received ahead | 16 | then the server waits |
//! | time between pings | 1 s | [`ClientBuilder::ping_every`], at least 10 ms |
//! | servers of a client | 16 | |
//! | connecting | 5 s for a request, 10 s for a session with its TLS handshake | addresses of a name in parallel, 250 ms apart |
//! | TLS handshake | 5 s for a request | |
//! | answer to a request | 30 s in which nothing moves ([`max_silence`](ClientBuilder::max_silence)), and 4 KiB a second on average | and a second for each MiB sent |
//! | size of an answer | 1 GiB | |
//! | attempts of a request | 6 at each server | 0.05 s to 1.6 s apart, growing; up to 3 s if the server asks |
//! | wait before another attempt at a session | 0 to 5 s | growing from 0.25 s; up to 60 s if the server asks |

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
mod servers;
mod socket;
mod status;
mod stream;
mod table;
mod tls;

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
pub use tls::TlsError;

/// Tests of the examples in both READMEs. The project's README is tested here, because this crate depends
/// on the others.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;

/// The programs of pages of the guide, which need a store and a server.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/testing.md")]
#[doc = include_str!("../../../docs/guide/deployment.md")]
struct Guide;
