//! Replicas of HotRead tables inside the process that reads them, and calls to change the tables.
//!
//! A service reads routes, flags, prices or limits on every request, and elsewhere somebody changes
//! them now and then. A [`Replica`] is the table as a Rust value of your own type: reading it costs
//! one load, one compare and the look-up, without a network, a lock or a parser in between.
//!
//! # What it costs
//!
//! - **Memory**: two copies of the state (more while readers hold old ones, up to four), and a table
//!   with the hash of each record. Its keys are shared with the state.
//! - **Staleness**: about a round trip behind the server. [`Replica::age`] proves how old the content
//!   is at most. If the server goes away, readers keep what they have.
//! - **CPU**: a task on the caller's runtime, which parses each changed record once. While it loads a
//!   large table it keeps a thread of the runtime busy.
//!
//! # Example
//!
//! ```no_run
//! use hotread_client::Client;
//! use std::{collections::HashMap, sync::Arc, time::Duration};
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! struct Flag {
//!     percent: u8,
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:7400").connect().await?;
//! let flags = client.replica::<HashMap<Arc<str>, Flag>>("flags").await?;
//!
//! let mut reader = flags.create_handle(); // one for each worker
//! let on = reader.current().get("checkout-v2").is_some_and(|flag| flag.percent > 0);
//!
//! let at = client.put("flags", "checkout-v2", &Flag { percent: 5 }).await?;
//! flags.wait_for(at, Duration::from_secs(1)).await?; // read your own write
//! assert_eq!(reader.current()["checkout-v2"].percent, 5);
//! # let _ = on;
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! - Readers see states that the table had, whole transactions, each checked against the server's
//!   digest, and never an older one after a newer.
//! - A value that the state's type cannot have is refused: the replica stays before it, tells the
//!   server, and goes on when the record is changed. See [`Status::Rejected`].
//! - Every write has a random id and is repeated with it, so that it is done once or not at all.
//! - All queues are bounded. If readers do not let go of old copies, the replica stops reading from
//!   the server, and catches up afterwards.
//!
//! There is no TLS. Use a tunnel or a local proxy where the network is not private.

mod address;
mod api;
pub mod blocking;
mod builder;
mod cache;
mod cell;
mod client;
mod drive;
mod error;
mod events;
mod heavy;
mod http;
mod model;
mod publish;
mod reader;
mod record_set;
mod replica;
mod replica_builder;
mod replicated;
mod socket;
mod status;

pub use builder::ClientBuilder;
pub use cache::SaveError;
pub use client::Client;
pub use error::Error;
pub use events::{Event, Events};
pub use hotread::{HotRead, HotReadHandle, HotReadState, MapUpdate};
pub use hotread_proto::session::Refused;
pub use hotread_proto::{
    ChangeOp, Code, Committed, Condition, ErrorBody, Head, Key, NewToken, Op, ParseRoleError,
    Position, Precondition, Put, Record, Replace, Role, TableInfo, TableName, TableOptions,
    Timestamp, TokenInfo, Txn, TxnId, Value,
};
pub use model::{Changes, Found, Page, PastTxn, Replaced, Scan};
pub use reader::Reader;
pub use record_set::{RecordSet, RecordUpdate};
pub use replica::Replica;
pub use replica_builder::ReplicaBuilder;
pub use replicated::Replicated;
pub use status::{Status, TooStale, WaitForError};
