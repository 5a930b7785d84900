//! What travels in a session: text frames, each a JSON object with one member, whose name says what
//! kind of frame it is. Kinds and members that are not known are passed over.

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

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientFrame {
    /// The first frame of a connection.
    Hello(Hello),
    /// The state after this transaction is what the client gives out now.
    Ack {
        /// The transaction.
        seq: u64,
    },
    /// The client's type refuses a value.
    Nack(Nack),
    /// Asks for a pong.
    Ping {
        /// Comes back with it.
        n: u64,
    },
    /// Of a kind that this version does not know.
    #[serde(skip)]
    Unknown,
}

/// Who follows, and from where on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version of the protocol that the client speaks.
    pub v: u32,
    /// What the server shows of the client.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the client has; absent if it has nothing.
    #[serde(default, deserialize_with = "given_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Has>,
    /// May several transactions come as one, if the client is slow?
    #[serde(default)]
    pub coalesce: bool,
    /// Send a snapshot if the session cannot resume? If not, that is an error, and a client that has
    /// nothing begins at the head.
    #[serde(default = "yes")]
    pub snapshot: bool,
}

fn yes() -> bool {
    true
}

/// A state that a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Has {
    /// The incarnation of the table.
    pub epoch: Epoch,
    /// The last transaction that it has.
    pub seq: u64,
    /// The digest there. Only a client that keeps no records may leave it out, and then is not told
    /// if the table's past has become another.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A value that a client's type refuses. The client stays before that transaction until the record is
/// changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// The transaction that wrote it.
    pub seq: u64,
    /// The record's key.
    pub key: Key,
    /// Why, in one line.
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
}

/// What a server sends.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerFrame<'a> {
    /// The answer to hello.
    Welcome(Welcome),
    /// Some records of a snapshot.
    Snapshot(Snapshot<'a>),
    /// The snapshot is complete.
    SnapshotEnd(SnapshotEnd),
    /// What one transaction did, or several.
    Txn(Txn<'a>),
    /// The connection is alive, and this was the last transaction sent on it.
    Heartbeat(Heartbeat),
    /// The answer to a ping.
    Pong(Pong),
    /// The session cannot go on; a new one can.
    Reset(Reset),
    /// The server is about to go away.
    Goodbye(Goodbye),
    /// The session cannot go on, nor would a new one.
    Error(ErrorBody),
    /// Of a kind that this version does not know.
    #[serde(skip)]
    Unknown,
}

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// Records come first.
    Snapshot,
    /// The transactions after the client's come.
    Resume,
}

/// The answer to hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both ends speak from now on.
    pub v: u32,
    /// What comes.
    pub mode: Begin,
    /// The incarnation of the table.
    pub epoch: Epoch,
    /// The last transaction of the table.
    pub head: u64,
    /// The first transaction that the history keeps.
    pub floor: u64,
    /// For a resumption, the last transaction that the client has: the next one comes next.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// A heartbeat comes at least so often.
    pub heartbeat_ms: u64,
    /// Are the hashes keyed, so that the client can add but not check them?
    #[serde(default)]
    pub sealed: bool,
    /// Why there is a snapshot, if the client had something.
    #[serde(default, deserialize_with = "given_line")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Some records, in the order of their keys' bytes, behind those of the part before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot<'a> {
    /// 1, 2, 3, …
    pub part: u32,
    /// At least one, unless the table is empty.
    pub records: Cow<'a, [Record]>,
}

/// What the records sent so far, changed by the transactions sent so far, must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEnd {
    /// The last transaction that they contain.
    pub at: u64,
    /// How many records there are.
    pub count: u64,
    /// Their digest.
    pub digest: Digest,
    /// When that transaction was committed.
    pub time: Timestamp,
}

/// What became of each record that was touched, from the state before `from` to that after `to`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Txn<'a> {
    /// The first transaction.
    pub from: u64,
    /// The last one; another than the first only if the client lets transactions be folded.
    pub to: u64,
    /// When that one was committed.
    pub at: Timestamp,
    /// The digest after it.
    pub digest: Digest,
    /// How many records there are after it.
    pub count: u64,
    /// The author of the one transaction, if one is known; several that were folded have no author.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The reason for the one transaction, if one was given.
    #[serde(default, deserialize_with = "given")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
    /// Each key at most once, over all pieces.
    pub ops: Cow<'a, [ChangeOp]>,
    /// Is this a piece, with more to come? Nothing is applied before the last one.
    #[serde(default)]
    pub more: bool,
}

impl Txn<'_> {
    /// A change, whole.
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

    /// The piece that begins with the operation `at`: as many as make a frame, at least one if there is
    /// one. Each piece has the actor and the note.
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

/// Where this session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The last transaction sent on it.
    pub at: u64,
    /// The digest there.
    pub digest: Digest,
    /// The last transaction of the table.
    pub head: u64,
}

/// The answer to a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's number.
    pub n: u64,
    /// The last transaction of the table when the ping came: whoever has reached it is as fresh as
    /// the ping.
    pub head: u64,
}

/// The session cannot go on; a new one can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Why, in one line.
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
    /// How long to wait at least.
    #[serde(default)]
    pub retry_after_ms: u64,
}

/// The server is about to go away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why, in one line.
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
    /// Clients come back at random times within this span.
    #[serde(default)]
    pub spread_ms: u64,
}

impl ClientFrame {
    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a client's frame has no maps and no foreign JSON")
    }

    /// # Errors
    /// If it is not JSON, or not one object, or a member has another form than it should.
    pub fn decode(text: &str) -> Result<Self, BadFrame> {
        serde_json::from_str(text).map_err(BadFrame::from)
    }
}

impl ServerFrame<'_> {
    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self)
            .expect("the values of records are JSON, and nothing else can fail")
    }
}

impl ServerFrame<'static> {
    /// # Errors
    /// If it is not JSON, or not one object, or a member has another form than it should.
    pub fn decode(text: &str) -> Result<Self, BadFrame> {
        serde_json::from_str(text).map_err(BadFrame::from)
    }
}

/// A frame that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of {}: {reason}", super::SUBPROTOCOL)]
#[non_exhaustive]
pub struct BadFrame {
    /// What the parser found, with its place. It does not quote values.
    pub reason: String,
}

impl From<serde_json::Error> for BadFrame {
    fn from(error: serde_json::Error) -> Self {
        // The parser's own words name fields and types; where it would quote, it is cut.
        Self {
            reason: super::one_line(&error.to_string()),
        }
    }
}

impl BadFrame {
    /// As it is told to the other end.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody::new(Code::ProtocolError, self)
    }
}

/// Reads an object's first member with a known name, and passes over the others.
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

/// A reason as it may be shown, whatever the other end sent.
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
