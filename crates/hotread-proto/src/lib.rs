//! Shared vocabulary of HotRead's durable and replicated tables: records, the transactions that
//! change them, the positions that name a state, and the digest that checks one.
//!
//! The crate has no I/O, clock or randomness; the caller passes in everything that depends on them.
//! Applying the same entries in the same order therefore gives the same table everywhere. The only
//! threads are those of callbacks ([`OnChange`]).
//!
//! | | |
//! |---|---|
//! | [`TableName`], [`Key`], [`Category`], [`TxnId`] | names, checked on construction |
//! | [`Value`] | JSON, compacted once and opaque afterwards |
//! | [`Record`] | a key with its value and metadata, in one allocation |
//! | [`Txn`], [`Replace`] | atomic changes to a table |
//! | [`Compared`] | a replacement and its differences from a table |
//! | [`evaluate`] | decides what an [`Entry`] does to a table |
//! | [`Change`] | the effect of a committed transaction; the unit that is stored, sent and applied |
//! | [`Records`] | a table in memory: the state behind a [`HotRead`](hotread::HotRead) |
//! | [`Scan`], [`Search`], [`Changes`] | requests to read a table; [`Page`] and [`Found`] are the answers |
//! | [`Replicated`], [`TypedTable`], [`OnChange`] | a table as a state of a program's own type: the state, its calls, its callbacks |
//! | [`TableOptions`], [`TableInfo`] | options and description of a table |
//! | [`TokenInfo`], [`Role`] | description of a token and the access it grants |
//! | [`Position`], [`Digest`] | identity and checksum of a state |
//! | [`session`] | replication of a table: both ends, as state machines |
//! | [`http`] | bodies of requests and answers |
//! | [`Code`], [`ErrorBody`], [`Success`] | outcome of a request |
//!
//! # Costs
//!
//! A record of a plain table takes 43 bytes of header, its key, category and value, and the overhead
//! of the allocator and of [`Arc`](std::sync::Arc): one allocation, shared by both copies of a live
//! table. The tree of each copy takes another 16 bytes per record. Hashing runs at memory speed,
//! except for sealed tables, where the hash is HMAC-SHA256.
//!
//! The exact bytes that are hashed, with test vectors, are in `docs/wire.md`.

#![warn(missing_docs)]

mod calls;
mod compare;
mod digest;
mod evaluate;
pub mod http;
mod name;
mod on_change;
mod options;
mod position;
mod record;
mod record_set;
mod records;
mod refusal;
mod replicated;
mod response;
pub mod session;
mod strict;
mod table_txn;
mod time;
mod token;
mod txn;
mod typed_table;
mod typed_table_calls;
mod value;
mod view;

pub use calls::{Changes, Found, MAX_CHANGES, Page, Replaced, Scan, Search};
pub use compare::Compared;
pub use digest::{Digest, Hasher, ItemHash, ParseDigestError};
pub use evaluate::{Body, Change, ChangeOp, Entry, Outcome, Removal, evaluate};
pub use name::{Actor, Category, InvalidName, Key, Note, TableName, TxnId};
pub use on_change::{CallbackPanics, Callbacks, Entries, MAX_CHANGES_BEHIND, OnChange};
pub use options::{Alter, History, TableInfo, TableOptions};
pub use position::{Epoch, ParsePositionError, Position};
pub use record::Record;
pub use record_set::{RecordSet, RecordUpdate};
pub use records::Records;
pub use refusal::Refusal;
pub use replicated::{Decoder, Replicated, ReplicatedKey, check_value, panic_message};
pub use response::{Code, ErrorBody, Success};
pub use strict::{Object, given};
pub use table_txn::{Commit, InvalidInput, PutOptions, TableTxn};
pub use time::{InvalidTimestamp, Timestamp};
pub use token::{NewToken, ParseRoleError, Role, TokenInfo};
pub use txn::{Condition, Op, Precondition, Put, Replace, Txn, TxnTooLarge};
pub use typed_table::TypedTable;
pub use typed_table_calls::read_value;
pub use value::{InvalidValue, Value};
pub use view::{Committed, Existing, Head, Remembered, TableView};

/// Limits of the vocabulary, each with its unit.
pub mod limits {
    pub use crate::name::{
        MAX_ACTOR_BYTES, MAX_CATEGORY_BYTES, MAX_KEY_BYTES, MAX_NOTE_BYTES, MAX_TABLE_NAME_BYTES,
        MAX_TXN_ID_BYTES,
    };
    pub use crate::txn::{
        DEFAULT_MAX_DELETE_PERCENT, FREE_DELETIONS, MAX_REPLACE_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS,
    };
    pub use crate::value::{MAX_VALUE_BYTES, MAX_VALUE_DEPTH};
}
