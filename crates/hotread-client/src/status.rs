//! The status of a replica, and the outcome of waiting for a position.

use hotread_proto::session::Refused;
use hotread_proto::{CallbackPanics, ErrorBody, Position, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Current status of a replica, determined when it is asked for: a replica whose process was stopped, or
/// whose task does not get to run, is not [`Live`](Self::Live) at the next call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The replica follows the table, and its content was proved to be the table's within three of the
    /// server's heartbeats (6 s by default). [`Replica::age`](crate::Replica::age) is more precise.
    Live,
    /// The replica is live, and leaves out records that its type refuses, because
    /// [`skip_bad_keys`](crate::ReplicaBuilder::skip_bad_keys) is set.
    Partial {
        /// Number of records that are left out.
        left_out: usize,
        /// The left-out record that was written first; [`Replica::left_out`](crate::Replica::left_out) has
        /// more.
        first: Refused,
    },
    /// The replica is live, and a callback of [`on_change`](crate::Replica::on_change) has panicked. The
    /// status remains until the callback's guard is dropped.
    CallbackPanicked(CallbackPanics),
    /// The replica has not heard from the server, or its content has not been proved to be the table's,
    /// since then. Readers keep the last state.
    Stale {
        /// Time at which it last heard from the server, or was last known to equal the table.
        since: Instant,
    },
    /// Readers refer to old copies of the state, so that nothing newer can be published: the task or thread
    /// with this reader must ask for the current state, or drop the reader.
    Blocked {
        /// The [name](crate::Replica::named_reader) of the reader that has blocked an update for the
        /// longest time; `None`: that reader has no name.
        reader: Option<Arc<str>>,
        /// Number of readers that block it.
        readers: usize,
        /// Time since which an update has waited for the readers.
        since: Instant,
    },
    /// The replica started from the copy on disk ([`cache_dir`](crate::ClientBuilder::cache_dir)), and has
    /// not been known to equal the table since.
    Offline {
        /// Time at which that copy was written, by the clock of the machine that wrote it. The content is
        /// at least that old.
        saved_at: Timestamp,
    },
    /// The replica's type refuses a value. Readers keep the state before that value.
    Rejected(Refused),
    /// The table grew beyond [`max_table_bytes`](crate::ReplicaBuilder::max_table_bytes), and the replica
    /// keeps the state before that. It continues once the table is small enough again.
    TooLarge {
        /// Bytes of the table's keys, categories and values.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The process was forked, and the task that follows the table is in the other process. Create another
    /// client and another replica, and use this one for nothing but its status and its readers' states.
    Forked {
        /// Id of the process that created it.
        from: u32,
    },
    /// The replica has ended: the state's own code panicked, or the runtime was shut down. Readers keep the
    /// last state. Create another replica.
    Failed(ErrorBody),
}

/// A replica's content may be older than the caller allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}, but at most {max:?} is allowed", match .age {
    Some(age) => format!("the replica's content may be {age:?} old"),
    None => "the age of the replica's content is still unknown".to_owned(),
})]
pub struct TooStale {
    /// Upper bound of the content's age; `None`: it is unknown, because the replica started from a copy on
    /// disk.
    pub age: Option<Duration>,
    /// Limit that the caller set.
    pub max: Duration,
}

impl TooStale {
    /// Checks that content of this age is fresh enough.
    pub(crate) fn check(age: Option<Duration>, max: Duration) -> Result<(), Self> {
        match age {
            Some(age) if age <= max => Ok(()),
            age => Err(Self { age, max }),
        }
    }
}

/// Reason a replica did not reach a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitForError {
    /// The replica has the position, but readers refer to old copies, so that the position cannot be
    /// published.
    #[error("readers hold old copies of the replica's state; let them ask for the current one")]
    Blocked,
    /// The replica's type refuses a value of the position, or one before it.
    #[error("{0}")]
    Rejected(Refused),
    /// The table became too large at the position, or before it.
    #[error(
        "the table has {bytes} bytes of keys and values, but at most {max} are allowed; raise the limit, or delete records"
    )]
    TooLarge {
        /// Bytes of the table's keys, categories and values.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The position belongs to another incarnation of the table.
    #[error(
        "the table was re-created or restored, and the position belongs to another incarnation; read the table again"
    )]
    EpochChanged,
    /// The replica did not reach the position in time.
    #[error("the replica did not reach the position in time; its status says why")]
    Timeout,
    /// The replica has ended.
    #[error("the replica has ended: {0}")]
    Failed(ErrorBody),
}

/// Latest report of the replica's task. The status follows from the report and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Now {
    /// Status of the session. `Live` turns into `Stale` after a time, and into `Partial` if records are
    /// left out.
    pub(crate) session: Status,
    /// Time at which the session became `Live`, if it is.
    pub(crate) live_since: Instant,
    /// Position that is visible to readers.
    pub(crate) visible: Option<Position>,
    /// Position of the last queued state.
    pub(crate) queued: Option<Position>,
    /// Position that was received, though its batch may be pending.
    pub(crate) received: Option<Position>,
    /// Last known head of the table.
    pub(crate) head: u64,
    pub(crate) fresh_at: Option<Instant>,
    /// Age beyond which a replica counts as stale.
    pub(crate) patience: Duration,
    /// Time since which readers have blocked an update.
    pub(crate) blocked_since: Option<Instant>,
    /// Bytes of the table's keys, categories and values.
    pub(crate) bytes: usize,
    /// Number of left-out records, of which `left_out` has the first.
    pub(crate) left_out_count: usize,
    pub(crate) left_out: Arc<[Refused]>,
    /// Server of the present session.
    pub(crate) server: Option<Arc<str>>,
    /// Reason for the end of the last connection.
    pub(crate) trouble: Option<Arc<str>>,
}

impl Now {
    /// Returns the report of a replica without a state.
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            session: Status::Stale { since: began },
            live_since: began,
            visible: None,
            queued: None,
            received: None,
            head: 0,
            fresh_at: None,
            patience: Duration::ZERO,
            blocked_since: None,
            bytes: 0,
            left_out_count: 0,
            left_out: Arc::from([]),
            server: None,
            trouble: None,
        }
    }

    /// Returns the status at this moment, apart from blocking readers.
    pub(crate) fn status(&self) -> Status {
        if self.session != Status::Live {
            return self.session.clone();
        }
        // The first state is at most as old as the session.
        let proved = self.fresh_at.unwrap_or(self.live_since);
        if proved.elapsed() > self.patience {
            return Status::Stale { since: proved };
        }
        match self.left_out.first() {
            Some(first) => Status::Partial {
                left_out: self.left_out_count,
                first: first.clone(),
            },
            None => Status::Live,
        }
    }
}

/// Returns the reason readers did not reach `at` in time.
pub(crate) fn too_late(now: &Now, at: Position) -> WaitForError {
    let reached = |position: Option<Position>| position.is_some_and(|there| there.has_reached(at));
    match (&now.session, now.visible) {
        _ if reached(now.queued) => WaitForError::Blocked,
        (Status::Rejected(refused), _) if reached(now.received) && refused.seq <= at.seq => {
            WaitForError::Rejected(refused.clone())
        }
        (&Status::TooLarge { bytes, max }, _) if reached(now.received) => {
            WaitForError::TooLarge { bytes, max }
        }
        (_, Some(visible)) if visible.epoch != at.epoch => WaitForError::EpochChanged,
        _ => WaitForError::Timeout,
    }
}

/// Returns whether readers will reach `at`; `None`: that is not decided yet.
pub(crate) fn decide(now: &Now, at: Position, asked: Instant) -> Option<Result<(), WaitForError>> {
    let visible = now.visible?;
    if visible.has_reached(at) {
        return Some(Ok(()));
    }
    let same = |position: Position| position.epoch == at.epoch;
    match &now.session {
        Status::Failed(body) => return Some(Err(WaitForError::Failed(body.clone()))),
        // If the refusal is an earlier one, its correction may be on its way.
        Status::Rejected(refused) if refused.seq == at.seq && now.received.is_some_and(same) => {
            return Some(Err(WaitForError::Rejected(refused.clone())));
        }
        _ => {}
    }
    // The replica has everything committed before the call, and belongs to another incarnation.
    let proved = now.fresh_at.is_some_and(|fresh| fresh >= asked);
    (!same(visible) && proved).then_some(Err(WaitForError::EpochChanged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::{Epoch, Key};

    fn at(epoch: u64, seq: u64) -> Position {
        let epoch = Epoch(epoch);
        Position { epoch, seq }
    }

    /// Returns the report of a replica whose readers are at 1:4; 1:7 was received, and the value of 5 is
    /// refused.
    fn held() -> Now {
        let refused = Refused {
            key: Key::new("a").unwrap(),
            seq: 5,
            reason: String::new(),
        };
        Now {
            session: Status::Rejected(refused),
            visible: Some(at(1, 4)),
            queued: Some(at(1, 4)),
            received: Some(at(1, 7)),
            ..Now::new(Instant::now())
        }
    }

    #[test]
    fn a_refused_value_is_blamed_for_what_it_holds_back_only() {
        let (now, asked) = (held(), Instant::now());
        let rejected = |error: &WaitForError| matches!(error, WaitForError::Rejected(_));
        assert!(matches!(decide(&now, at(1, 5), asked), Some(Err(error)) if rejected(&error)));
        assert_eq!(decide(&now, at(1, 4), asked), Some(Ok(())));
        for (seq, to_blame) in [(5, true), (7, true), (8, false)] {
            assert_eq!(rejected(&too_late(&now, at(1, seq))), to_blame, "{seq}");
        }
        // The same number in another incarnation.
        assert_eq!(decide(&now, at(2, 5), asked), None);
        assert_eq!(too_late(&now, at(2, 5)), WaitForError::EpochChanged);
    }
}
