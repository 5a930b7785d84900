//! How a replica's end is doing: what can be asked of it at any time.

use super::Follow;
use crate::position::Position;
use crate::session::following::{Refused, Status, Target};
use std::time::Duration;

impl<T: Target> Follow<T> {
    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        if let Some(body) = &self.failed {
            return Status::Failed(body.clone());
        }
        if let Some(refused) = self.content.refused() {
            return Status::Rejected(refused);
        }
        if self.content.is_too_large() {
            let (bytes, max) = (self.content.bytes(), self.config.max_bytes);
            return Status::TooLarge { bytes, max };
        }
        if self.live {
            return Status::Live;
        }
        match self.content.position() {
            None => Status::Connecting,
            Some(_) => Status::Stale {
                since: self.live_until,
            },
        }
    }

    /// Where the state stands that was given out last.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.content.position()
    }

    /// The last transaction of the table, as far as is known.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// When the replica's content was certainly the table's; `None`: never since it began.
    #[must_use]
    pub fn fresh_at(&self) -> Option<Duration> {
        self.fresh.fresh_at
    }

    /// The last transaction that it has received. It may be ahead of its [`position`](Self::position):
    /// by what is held back while a value is refused.
    #[must_use]
    pub fn received(&self) -> Option<Position> {
        self.content.received.map(|head| head.position)
    }

    /// How many records are left out of its state at present, with
    /// [`skip_bad_keys`](crate::session::FollowConfig::skip_bad_keys).
    #[must_use]
    pub fn skipped_count(&self) -> usize {
        self.content.skipped.len()
    }

    /// These records, oldest first. The reason is kept of the first thousand.
    pub fn skipped(&self) -> impl Iterator<Item = Refused> {
        self.content.skipped.iter()
    }

    /// A session with the server runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Time without a word from the server after which a session counts as lost. A replica that follows
    /// proves its age more often than that.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.link.patience()
    }

    /// Bytes of keys, categories and values of the records that it has received.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.content.bytes()
    }

    /// Is a snapshot being received? Then frames are large, and its last one takes long.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.staging.is_some()
    }

    /// Why the last connection ended, if it did not end well.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Is the table sealed? Then nothing of it may be kept on disk.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.content.sealed
    }
}
