//! Beginning of a session: the client's state is compared with the table.

use super::{Asked, Phase, Serve};
use crate::digest::Digest;
use crate::position::Position;
use crate::response::{Code, ErrorBody};
use crate::session::frame::{Begin, Hello, ServerFrame, Welcome};
use crate::session::serving::{Event, Want};
use crate::session::{VERSION, is_client_name};
use crate::view::Head;

impl Serve {
    pub(super) fn greet(&mut self, hello: Hello) {
        if hello.v < VERSION {
            let message = format!(
                "version {} of the protocol is no longer supported here; upgrade the client to one that supports {VERSION}",
                hello.v
            );
            return self.fail(ErrorBody::new(Code::UnsupportedVersion, message));
        }
        if !hello.name.as_deref().is_none_or(is_client_name) {
            let message = "a client's name has 1 to 64 of the characters A-Z a-z 0-9 . _ -";
            return self.fail(ErrorBody::new(Code::InvalidName, message));
        }
        self.coalesce = hello.coalesce;
        let Some(has) = hello.from else {
            if hello.snapshot {
                return self.begin_snapshot(hello, None);
            }
            return self.resume(hello, self.head);
        };
        if has.digest.is_none() && hello.snapshot {
            return self.protocol_error("a client that keeps records must say their digest");
        }
        let Head { position, .. } = self.head;
        let seq = has.seq;
        if has.epoch != position.epoch {
            self.begin_anew(hello, Code::EpochChanged, "the table has a new epoch");
        } else if seq > position.seq {
            let reason = format!("the table has not reached {seq} yet: its history was replaced");
            self.begin_anew(hello, Code::EpochChanged, &reason);
        } else if seq + 1 < self.floor {
            let reason = format!("the history begins with {}, after {seq}", self.floor);
            self.begin_anew(hello, Code::Gone, &reason);
        } else {
            self.phase = Phase::Comparing { hello, has };
            if seq == position.seq {
                return self.compared(Some(self.head.digest));
            }
            let at = Position { seq, ..position };
            self.asked = Asked::Next(Want::Digest { at });
        }
    }

    pub(super) fn compared(&mut self, digest: Option<Digest>) {
        let Phase::Comparing { hello, has } = std::mem::replace(&mut self.phase, Phase::Waiting)
        else {
            return;
        };
        let seq = has.seq;
        match digest {
            // At sequence number 0 both the history and the table are empty.
            None if seq != 0 => {
                let reason = format!("the history no longer has {seq}");
                self.begin_anew(hello, Code::Gone, &reason);
            }
            there => {
                let digest = there.unwrap_or(Digest::EMPTY);
                if has.digest.is_some_and(|has| has != digest) {
                    let reason = format!("the digest at {seq} differs: its history was replaced");
                    return self.begin_anew(hello, Code::EpochChanged, &reason);
                }
                let epoch = has.epoch;
                let at = Head {
                    position: Position { epoch, seq },
                    digest,
                    ..self.head
                };
                self.resume(hello, at);
            }
        }
    }

    fn begin_anew(&mut self, hello: Hello, code: Code, reason: &str) {
        if hello.snapshot {
            return self.begin_snapshot(hello, Some(reason.to_owned()));
        }
        let message = format!("{reason}; changes in between are unavailable, read the whole table");
        self.fail(ErrorBody::new(code, message));
    }

    fn resume(&mut self, hello: Hello, at: Head) {
        self.sent = at;
        self.phase = Phase::Following;
        self.welcome(hello, Begin::Resume, Some(at.position.seq), None);
    }

    fn begin_snapshot(&mut self, hello: Hello, reason: Option<String>) {
        self.phase = Phase::Parts {
            number: 1,
            after: None,
            reads: None,
        };
        self.welcome(hello, Begin::Snapshot, None, reason);
    }

    fn welcome(&mut self, hello: Hello, mode: Begin, seq: Option<u64>, reason: Option<String>) {
        let welcome = Welcome {
            v: VERSION,
            mode,
            epoch: self.head.position.epoch,
            head: self.head.position.seq,
            floor: self.floor,
            seq,
            heartbeat_ms: self.config.heartbeat.as_millis() as u64,
            sealed: self.config.sealed,
            reason: reason.clone(),
        };
        self.send(&ServerFrame::Welcome(welcome));
        self.events.push_back(Event::Begun {
            name: hello.name,
            mode,
            reason,
        });
    }
}
