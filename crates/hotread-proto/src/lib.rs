//! The vocabulary that every part of HotRead beyond one process shares: tables of records, the
//! transactions that change them, the positions that name a state, and the digest that checks one.
//!
//! There is no I/O here, no clock and no randomness: whatever depends on them is handed in. So the
//! same entries, applied in the same order anywhere, give the same table. The only threads are those of
//! callbacks ([`OnChange`]).
//!
//! | | |
//! |---|---|
//! | [`TableName`], [`Key`], [`Category`], [`TxnId`] | names, checked when they are made |
//! | [`Value`] | JSON, compacted once and opaque after that |
//! | [`Record`] | a key with its value and metadata, in one allocation |
//! | [`Txn`], [`Replace`] | what changes a table, whole or not at all |
//! | [`Compared`] | a replacement, and what it changes of a table |
//! | [`evaluate`] | decides what an [`Entry`] does to a table |
//! | [`Change`] | what a committed transaction did; the unit that is stored, sent and applied |
//! | [`Records`] | a table in memory: the state behind a [`HotRead`](hotread::HotRead) |
//! | [`Scan`], [`Search`], [`Changes`] | what is asked of a table, and with [`Page`] and [`Found`] what is answered |
//! | [`Replicated`], [`TypedTable`], [`OnChange`] | a table as a state of a program's own type: the state, its calls, its callbacks |
//! | [`TableOptions`], [`TableInfo`] | how a table is made, and what can be said of it |
//! | [`TokenInfo`], [`Role`] | what tokens allow, and what is known of them |
//! | [`Position`], [`Digest`] | which state this is, and whether it is what it should be |
//! | [`session`] | how a replica follows a table: both ends, as state machines |
//! | [`http`] | bodies of requests and answers |
//! | [`Code`], [`ErrorBody`], [`Success`] | how an answer says how it went |
//!
//! # Costs
//!
//! A record of a plain table takes 43 bytes of header, its key, category and value, and the
//! allocator's and [`Arc`](std::sync::Arc)'s overhead: one allocation, shared by both copies of a
//! live table, whose trees hold 16 bytes for it each. Hashing runs at memory speed, except for
//! sealed tables, where it is HMAC-SHA256.
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

/// The limits of the vocabulary, each with its unit.
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
