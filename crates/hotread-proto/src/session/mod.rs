//! The sync session: how a replica follows a table. Both ends as state machines, without sockets,
//! clocks or randomness: text and times go in (`handle_*`), text and decisions come out (`poll_*`).
//! So the same code runs in servers, clients, simulations and fuzzers.
//!
//! | | |
//! |---|---|
//! | [`frame`] | what travels: one JSON object a frame |
//! | [`Encoded`], [`Part`] | a change, and a part of a snapshot, encoded once for all sessions |
//! | [`Serve`] | the server's end of one connection |
//! | [`Follow`] | the replica's end, over all its connections |
//!
//! `docs/wire.md` is the specification; both ends here follow it and no more.
//!
//! # What holds
//!
//! - What a replica gives out is a state that the table had, whole transactions only, unless it was
//!   told to skip what its type refuses.
//! - It is given out only after its digest was compared with the server's.
//! - It resumes only where the server has the same digest at the same position; otherwise it takes a
//!   snapshot, and is told why.
//! - It never goes back, except to the content of a table that itself began anew.
//! - A session that cannot go on ends with a reason. Nothing is left out silently.

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

/// The WebSocket subprotocol that both ends must name.
pub const SUBPROTOCOL: &str = "hotread.v1+json";
/// The newest version of the protocol, and the only one so far. A server of version N also speaks
/// N − 1.
pub const VERSION: u32 = 1;

/// Largest frame that a server sends, in bytes: the largest record, whose key may be escaped, and
/// room for what is around it.
pub const MAX_SERVER_FRAME_BYTES: usize = 2 << 20;
/// Largest frame that a client sends, in bytes: the longest key and reason with all escapes.
pub const MAX_CLIENT_FRAME_BYTES: usize = 8 << 10;
/// A frame with records ends once it has so many bytes of keys and values: small enough that others
/// on the connection are not kept waiting, large enough that frames cost nothing.
pub const PART_BYTES: usize = 512 << 10;
/// And once it has so many records: those with small values are long around them.
pub const PART_RECORDS: usize = 4_096;
/// Shortest time between heartbeats, and between a client's pings.
pub const MIN_HEARTBEAT: Duration = Duration::from_millis(10);
/// Longest name of a client, in bytes. Its characters are `A-Z a-z 0-9 . _ -`.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest reason that is sent, in bytes; what is longer is cut.
pub const MAX_REASON_BYTES: usize = 512;

/// Is it a client's name: 1 to [`MAX_NAME_BYTES`] of `A-Z a-z 0-9 . _ -`?
#[must_use]
pub fn is_client_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

/// Cut to [`MAX_REASON_BYTES`], between characters, control characters replaced.
fn one_line(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(MAX_REASON_BYTES)];
    cut.replace(char::is_control, " ")
}
