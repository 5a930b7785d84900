//! Frames of a session: text messages, each a JSON object with one member, whose name is the kind
//! of the frame. Unknown kinds and members are ignored.

use super::{PART_BYTES, PART_RECORDS};
use crate::digest::Digest;
use crate::evaluate::{Change, ChangeOp};
use crate::name::{Actor, Key, Note, said_bytes};
use crate::position::Epoch;
use crate::record::Record;
use crate::response::{Code, ErrorBody};
use crate::strict::{Object, given, given_object};
use crate::time::Timestamp;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A frame sent by a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientFrame {
    /// The first frame of a connection.
    Hello(Hello),
    /// The client's readers see the state after this transaction.
    Ack {
        /// Transaction that readers have reached.
        seq: u64,
    },
    /// The client's type refuses a value.
    Nack(Nack),
    /// Asks for a pong.
    Ping {
        /// Number that the pong repeats.
        n: u64,
    },
    /// A frame of a kind unknown to this version.
    #[serde(skip)]
    Unknown,
}

/// The client's introduction: its version, its name and the state that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Newest version of the protocol that the client speaks.
    pub v: u32,
    /// Name of the client in the server's lists and logs.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// State that the client has received; absent if it has no state.
    #[serde(default, deserialize_with = "given_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Has>,
    /// Allows the server to send several transactions as one when the client is far behind.
    #[serde(default)]
    pub coalesce: bool,
    /// Requests a snapshot if the session cannot resume. Otherwise a failed resume is an error, and
    /// a client without a state begins at the head.
    #[serde(default = "yes")]
    pub snapshot: bool,
}

fn yes() -> bool {
    true
}

/// A state that a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Has {
    /// Epoch of the table.
    pub epoch: Epoch,
    /// Last transaction that the state contains.
    pub seq: u64,
    /// Digest of the state. Only a client that keeps no records may omit it; such a client cannot
    /// detect that the table's history was replaced.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A value that a client's type refuses. The client's readers keep the state before that
/// transaction until the record is changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// Transaction that wrote the value.
    pub seq: u64,
    /// Key of the record.
    pub key: Key,
    /// Reason for the refusal, in one line.
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
}

/// A frame sent by a server.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerFrame<'a> {
    /// Answer to `hello`.
    Welcome(Welcome),
    /// A part of a snapshot.
    Snapshot(Snapshot<'a>),
    /// End of a snapshot.
    SnapshotEnd(SnapshotEnd),
    /// Effect of one transaction, or of several coalesced ones.
    Txn(Txn<'a>),
    /// Sign of life, with the last transaction sent on the connection.
    Heartbeat(Heartbeat),
    /// Answer to a ping.
    Pong(Pong),
    /// End of a session; the client may open a new one.
    Reset(Reset),
    /// End of a session because the server is about to stop.
    Goodbye(Goodbye),
    /// End of a session with an error; a new session would fail as well, unless the code says
    /// otherwise.
    Error(ErrorBody),
    /// A frame of a kind unknown to this version.
    #[serde(skip)]
    Unknown,
}

/// First content of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// The records of a snapshot.
    Snapshot,
    /// The transactions after the client's position.
    Resume,
}

/// Answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version that both ends speak from now on.
    pub v: u32,
    /// First content of the session.
    pub mode: Begin,
    /// Epoch of the table.
    pub epoch: Epoch,
    /// Last transaction of the table.
    pub head: u64,
    /// First transaction that the history keeps.
    pub floor: u64,
    /// For a resume, the last transaction that the client has; the following one is sent next.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Longest time between two heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Set if the hashes are keyed, so that the client can add but not compute them.
    #[serde(default)]
    pub sealed: bool,
    /// Reason for a snapshot, if the client had a state.
    #[serde(default, deserialize_with = "given_line")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Records in the order of their keys' bytes, after those of the previous part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot<'a> {
    /// Number of the part: 1, 2, 3, …
    pub part: u32,
    /// Records of the part; empty only if the table is.
    pub records: Cow<'a, [Record]>,
}

/// Expected result of applying the transactions of a snapshot to its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEnd {
    /// Last transaction that the snapshot contains.
    pub at: u64,
    /// Number of records.
    pub count: u64,
    /// Digest of the records.
    pub digest: Digest,
    /// Commit time of transaction `at`.
    pub time: Timestamp,
}

/// Net effect of one or several transactions: each changed record as it is after `to`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Txn<'a> {
    /// First transaction.
    pub from: u64,
    /// Last transaction; equal to `from` unless the client allows coalescing.
    pub to: u64,
    /// Commit time of transaction `to`.
    pub at: Timestamp,
    /// Digest of the table after `to`.
    pub digest: Digest,
    /// Number of records after `to`.
    pub count: u64,
    /// Author of the transaction, if known; absent for coalesced transactions.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Reason for the transaction, if given; absent for coalesced transactions.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
    /// Operations, each key at most once over all pieces.
    pub ops: Cow<'a, [ChangeOp]>,
    /// Set if more pieces of the same transaction follow. The client applies them only after the
    /// last one.
    #[serde(default)]
    pub more: bool,
}

impl Txn<'_> {
    /// Creates the frame of a whole change.
    #[must_use]
    pub fn of(change: &Change) -> Txn<'_> {
        Txn {
            from: change.position.seq,
            to: change.position.seq,
            at: change.at,
            digest: change.digest,
            count: change.records,
            actor: change.actor.clone(),
            note: change.note.clone(),
            ops: Cow::Borrowed(&change.ops),
            more: false,
        }
    }

    /// Returns the piece that begins with operation `at`: as many operations as fit a frame, and at
    /// least one if any is left. Each piece has the actor and the note.
    #[must_use]
    pub fn piece(&self, at: usize) -> Txn<'_> {
        let rest = &self.ops[at..];
        let mut bytes = said_bytes(self.actor.as_ref(), self.note.as_ref());
        let fits = |(n, op): &(usize, &ChangeOp)| {
            bytes += op.size();
            *n == 0 || bytes <= PART_BYTES
        };
        let piece = rest.iter().take(PART_RECORDS).enumerate();
        let piece = &rest[..piece.take_while(fits).count()];
        Txn {
            actor: self.actor.clone(),
            note: self.note.clone(),
            ops: Cow::Borrowed(piece),
            more: piece.len() < rest.len(),
            ..*self
        }
    }
}

/// Position of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Last transaction sent in the session.
    pub at: u64,
    /// Digest after that transaction.
    pub digest: Digest,
    /// Last transaction of the table.
    pub head: u64,
}

/// Answer to a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Number of the ping.
    pub n: u64,
    /// Last transaction of the table when the ping arrived: a replica that has reached it is as
    /// fresh as the ping.
    pub head: u64,
}

/// End of a session; the client may open a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Reason, in one line.
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
    /// Shortest wait before the client reconnects, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: u64,
}

/// End of a session because the server is about to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Reason, in one line.
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
    /// Time span in which clients reconnect, each at a random moment, in milliseconds.
    #[serde(default)]
    pub spread_ms: u64,
}

impl ClientFrame {
    /// Returns the frame as JSON text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a client's frame has no maps and no foreign JSON")
    }

    /// Parses a frame.
    ///
    /// # Errors
    /// If the text is not one JSON object, or a member has the wrong form.
    pub fn decode(text: &str) -> Result<Self, BadFrame> {
        serde_json::from_str(text).map_err(BadFrame::from)
    }
}

impl ServerFrame<'_> {
    /// Returns the frame as JSON text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self)
            .expect("the values of records are JSON, and nothing else can fail")
    }
}

impl ServerFrame<'static> {
    /// Parses a frame.
    ///
    /// # Errors
    /// If the text is not one JSON object, or a member has the wrong form.
    pub fn decode(text: &str) -> Result<Self, BadFrame> {
        serde_json::from_str(text).map_err(BadFrame::from)
    }
}

/// A malformed frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of {}: {reason}", super::SUBPROTOCOL)]
#[non_exhaustive]
pub struct BadFrame {
    /// Complaint of the parser, with its place. It does not quote values.
    pub reason: String,
}

impl From<serde_json::Error> for BadFrame {
    fn from(error: serde_json::Error) -> Self {
        // The parser names fields and types; the cut bounds what it may quote.
        Self {
            reason: super::one_line(&error.to_string()),
        }
    }
}

impl BadFrame {
    /// Returns the error that the other end is sent.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(Code::ProtocolError, self)
    }
}

/// Reads the first member with a known name, and ignores unknown ones.
macro_rules! one_member {
    ($frame:ty, $($name:literal => $read:expr,)*) => {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Member;
            impl<'de> Visitor<'de> for Member {
                type Value = $frame;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object with one member, the frame")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut frame = None;
                    while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                        let known = match &*name {
                            $($name => {
                                if frame.is_some() {
                                    return Err(A::Error::custom("two frames in one"));
                                }
                                let Object(content) = map.next_value()?;
                                Some($read(content))
                            })*
                            _ => None,
                        };
                        if known.is_some() {
                            frame = known;
                        } else {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    Ok(frame.unwrap_or(<$frame>::Unknown))
                }
            }
            deserializer.deserialize_map(Member)
        }
    };
}

/// Reads a reason, made safe to display regardless of what the other end sent.
fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    Ok(super::one_line(&text))
}

fn given_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    one_line(deserializer).map(Some)
}

fn error(mut body: ErrorBody) -> ServerFrame<'static> {
    body.message = super::one_line(&body.message);
    ServerFrame::Error(body)
}

#[derive(Deserialize)]
struct Seq {
    seq: u64,
}

#[derive(Deserialize)]
struct Number {
    n: u64,
}

impl<'de> Deserialize<'de> for ClientFrame {
    one_member! { ClientFrame,
        "hello" => ClientFrame::Hello,
        "ack" => |Seq { seq }| ClientFrame::Ack { seq },
        "nack" => ClientFrame::Nack,
        "ping" => |Number { n }| ClientFrame::Ping { n },
    }
}

impl<'de> Deserialize<'de> for ServerFrame<'static> {
    one_member! { ServerFrame<'static>,
        "welcome" => ServerFrame::Welcome,
        "snapshot" => ServerFrame::Snapshot,
        "snapshot_end" => ServerFrame::SnapshotEnd,
        "txn" => ServerFrame::Txn,
        "heartbeat" => ServerFrame::Heartbeat,
        "pong" => ServerFrame::Pong,
        "reset" => ServerFrame::Reset,
        "goodbye" => ServerFrame::Goodbye,
        "error" => error,
    }
}
