//! The sync session, which keeps a replica up to date: both ends as state machines without sockets,
//! clocks or randomness. Text and times go in (`handle_*`), text and decisions come out (`poll_*`),
//! so the same code runs in servers, clients, simulations and fuzzers.
//!
//! | | |
//! |---|---|
//! | [`frame`] | the frames: one JSON object each |
//! | [`Encoded`], [`Part`] | a change, and a part of a snapshot, encoded once for all sessions |
//! | [`Serve`] | the server's end of one connection |
//! | [`Follow`] | the replica's end, over all its connections |
//!
//! `docs/wire.md` is the specification; both ends implement exactly that.
//!
//! # Guarantees
//!
//! - A replica publishes only states that the table had, in whole transactions, unless it is
//!   configured to skip values that its type refuses.
//! - A state is published only after its digest was compared with the server's.
//! - A session resumes only if the server has the same digest at the same position. Otherwise the
//!   replica loads a snapshot and reports the reason.
//! - A replica never goes back, except to the content of a table that has a new epoch.
//! - A session that cannot continue ends with a reason; nothing is left out silently.

mod content;
mod encode;
mod fold;
mod follow;
mod following;
pub mod frame;
mod freshness;
mod held;
mod index;
mod link;
mod pieces;
mod refusals;
mod serve;
mod serving;
mod staging;
mod trouble;

pub use encode::{Encoded, Part};
pub use follow::Follow;
pub use following::{
    Batch, Cause, FollowConfig, Mode, Output, Refused, SEALED_REASON, Status, Target,
};
pub use serve::Serve;
pub use serving::{Answer, End, Event, ServeConfig, Want};

use std::time::Duration;

/// WebSocket subprotocol that both ends must name.
pub const SUBPROTOCOL: &str = "hotread.v1+json";
/// Newest version of the protocol, and the only one so far. A server of version N also speaks N −
/// 1.
pub const VERSION: u32 = 1;

/// Largest frame that a server sends, in bytes: the largest record, whose key may be escaped, and
/// room for the members around it.
pub const MAX_SERVER_FRAME_BYTES: usize = 2 << 20;
/// Largest frame that a client sends, in bytes: the longest key and reason with all escapes.
pub const MAX_CLIENT_FRAME_BYTES: usize = 8 << 10;
/// Bytes of keys and values that end a frame of records: few enough that other frames on the
/// connection are not delayed, many enough that the cost per frame is negligible.
pub const PART_BYTES: usize = 512 << 10;
/// Number of records that ends a frame of records: small values have comparatively much text around
/// them.
pub const PART_RECORDS: usize = 4_096;
/// Shortest time between heartbeats, and between pings of a client.
pub const MIN_HEARTBEAT: Duration = Duration::from_millis(10);
/// Longest name of a client, in bytes; allowed characters: `A-Z a-z 0-9 . _ -`.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest reason that is sent, in bytes; longer reasons are cut.
pub const MAX_REASON_BYTES: usize = 512;

/// Returns `true` if `name` is a valid client name: 1 to [`MAX_NAME_BYTES`] of `A-Z a-z 0-9 . _ -`.
#[must_use]
pub fn is_client_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

/// Cuts a text to [`MAX_REASON_BYTES`] between characters, and replaces control characters.
fn one_line(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(MAX_REASON_BYTES)];
    cut.replace(char::is_control, " ")
}
