//! How a replica is doing, and what becomes of waiting for it.

use hotread_proto::session::Refused;
use hotread_proto::{CallbackPanics, ErrorBody, Position, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Current status of a replica, decided at the moment of the question: a replica whose process was
/// stopped, or whose task gets no turn, is not [`Live`](Self::Live) when it is asked next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It follows, and its content was proved to be the table's within three of the server's heartbeats
    /// (6 s, unless the server is told otherwise). [`Replica::age`](crate::Replica::age) is more exact.
    Live,
    /// As `Live`, and it leaves records out that its type refuses, as it was told to
    /// ([`skip_bad_keys`](crate::ReplicaBuilder::skip_bad_keys)).
    Partial {
        /// How many.
        left_out: usize,
        /// The one that was written first. [`Replica::left_out`](crate::Replica::left_out) has more.
        first: Refused,
    },
    /// As `Live`, and a callback of [`on_change`](crate::Replica::on_change) has panicked. Told until its guard
    /// is dropped.
    CallbackPanicked(CallbackPanics),
    /// It has not heard from the server, or its content has not been proved to be the table's, since
    /// then. It keeps what it has.
    Stale {
        /// When it last heard from the server, or was last known to have what the table had.
        since: Instant,
    },
    /// Readers hold old copies of the state, so that nothing newer can be made visible: the task or
    /// thread that has this reader must ask for the current state, or drop the reader.
    Blocked {
        /// The [name](crate::Replica::named_reader) of the reader that has been in the way for the
        /// longest time; `None`: it has no name.
        reader: Option<Arc<str>>,
        /// How many readers are in the way.
        readers: usize,
        /// Since when an update has waited for them.
        since: Instant,
    },
    /// It began with the copy on disk ([`cache_dir`](crate::ClientBuilder::cache_dir)), and has not
    /// been known to have what the table has since.
    Offline {
        /// When that copy was written, by the clock of the machine that did. The content is at least
        /// that old.
        saved_at: Timestamp,
    },
    /// Its type refuses a value, and it keeps what was before that.
    Rejected(Refused),
    /// The table grew beyond [`max_table_bytes`](crate::ReplicaBuilder::max_table_bytes), and it keeps
    /// what was before that. It goes on when the table is small enough again.
    TooLarge {
        /// Bytes of the table's keys, categories and values.
        bytes: usize,
        /// Most that it may have.
        max: usize,
    },
    /// The process was forked, and the task that follows the table is in the other process. Make another
    /// client and another replica, and ask this one for nothing but its status and its readers' states.
    Forked {
        /// The process that it was made in.
        from: u32,
    },
    /// It is over, and it keeps what it has: the state's own code panicked, or the runtime was shut
    /// down. Make another replica.
    Failed(ErrorBody),
}

/// A replica's content may be older than what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}, and at most {max:?} was asked for", match .age {
    Some(age) => format!("the replica's content may be {age:?} old"),
    None => "how old the replica's content is is not known yet".to_owned(),
})]
pub struct TooStale {
    /// How old it is at most; `None`: that is not known, since it began with a copy on disk.
    pub age: Option<Duration>,
    /// How old it may be.
    pub max: Duration,
}

impl TooStale {
    /// Is something of this age fresh enough?
    pub(crate) fn check(age: Option<Duration>, max: Duration) -> Result<(), Self> {
        match age {
            Some(age) if age <= max => Ok(()),
            age => Err(Self { age, max }),
        }
    }
}

/// Why a replica did not come to a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitForError {
    /// It has the position, but readers hold old copies, so that it cannot be made visible.
    #[error("readers hold old copies of the replica's state; let them ask for the current one")]
    Blocked,
    /// Its type refuses a value on the way there.
    #[error("{0}")]
    Rejected(Refused),
    /// The table is too large from there on, or from before.
    #[error(
        "the table has {bytes} bytes of keys and values, and {max} are allowed; allow more, or delete records"
    )]
    TooLarge {
        /// Bytes of the table's keys, categories and values.
        bytes: usize,
        /// Most that it may have.
        max: usize,
    },
    /// The position is of another incarnation of the table.
    #[error("the table began anew, and the position is of another incarnation; read it again")]
    EpochChanged,
    /// It did not come there in time.
    #[error("the replica did not come to the position in time; its status says how it is doing")]
    Timeout,
    /// It is over.
    #[error("the replica has ended: {0}")]
    Failed(ErrorBody),
}

/// What the replica's task saw last. The status follows from this and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Now {
    /// The status of the session. `Live` is `Stale` after a time, and `Partial` if something is left out.
    pub(crate) session: Status,
    /// When it became `Live`, if it is.
    pub(crate) live_since: Instant,
    /// Where readers are.
    pub(crate) visible: Option<Position>,
    /// Where the state stands that was queued last.
    pub(crate) queued: Option<Position>,
    /// What was received, though it may be held back.
    pub(crate) received: Option<Position>,
    /// The table's last transaction, as far as is known.
    pub(crate) head: u64,
    pub(crate) fresh_at: Option<Instant>,
    /// A replica that follows its table is never older than this.
    pub(crate) patience: Duration,
    /// Since when readers keep something from being visible.
    pub(crate) blocked_since: Option<Instant>,
    /// Bytes of the table's keys, categories and values.
    pub(crate) bytes: usize,
    /// Records that are left out: how many, and the first ones of them.
    pub(crate) left_out_count: usize,
    pub(crate) left_out: Arc<[Refused]>,
    /// Why the last connection ended.
    pub(crate) trouble: Option<Arc<str>>,
}

impl Now {
    /// Of a replica that has nothing yet.
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
            trouble: None,
        }
    }

    /// The status at this moment, apart from what readers keep from being visible.
    pub(crate) fn status(&self) -> Status {
        if self.session != Status::Live {
            return self.session.clone();
        }
        // The first state is as old as the session at most.
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

/// Why readers did not come to `at` in time.
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

/// Whether readers come to `at`; `None`: that cannot be said yet.
pub(crate) fn decide(now: &Now, at: Position, asked: Instant) -> Option<Result<(), WaitForError>> {
    let visible = now.visible?;
    if visible.has_reached(at) {
        return Some(Ok(()));
    }
    let same = |position: Position| position.epoch == at.epoch;
    match &now.session {
        Status::Failed(body) => return Some(Err(WaitForError::Failed(body.clone()))),
        // If it was refused before, its fix may be on its way.
        Status::Rejected(refused) if refused.seq == at.seq && now.received.is_some_and(same) => {
            return Some(Err(WaitForError::Rejected(refused.clone())));
        }
        _ => {}
    }
    // What had been committed before this was asked is there, and it is of another incarnation.
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

    /// Readers are at 1:4; 1:7 was received, and what 5 wrote is refused.
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
        // The same number, of another incarnation.
        assert_eq!(decide(&now, at(2, 5), asked), None);
        assert_eq!(too_late(&now, at(2, 5)), WaitForError::EpochChanged);
    }
}
