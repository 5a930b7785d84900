//! Status of a replica: all that can be queried at any time.

use super::Follow;
use crate::position::Position;
use crate::session::following::{Refused, Status, Target};
use std::time::Duration;

impl<T: Target> Follow<T> {
    /// Returns the current status of the replica.
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

    /// Returns the position of the last batch that was handed to the caller.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.content.position()
    }

    /// Returns the last known transaction of the table.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Returns the latest time at which the content is known to have equalled the table's; `None`
    /// if there is no such time.
    #[must_use]
    pub fn fresh_at(&self) -> Option<Duration> {
        self.fresh.fresh_at
    }

    /// Returns the position of the last received transaction. It is ahead of
    /// [`position`](Self::position) while transactions are withheld because a value is refused.
    #[must_use]
    pub fn received(&self) -> Option<Position> {
        self.content.received.map(|head| head.position)
    }

    /// Returns the number of records that are left out of the state because of
    /// [`skip_bad_keys`](crate::session::FollowConfig::skip_bad_keys).
    #[must_use]
    pub fn skipped_count(&self) -> usize {
        self.content.skipped.len()
    }

    /// Returns the records that are left out, oldest first. The reasons of the first thousand are
    /// kept.
    pub fn skipped(&self) -> impl Iterator<Item = Refused> {
        self.content.skipped.iter()
    }

    /// Returns `true` if there is no connection because the server of the last one failed, so that the next
    /// connection should be to another server, if there are several: the connection was lost or could not be
    /// opened, or the server fell silent, violated the protocol, stopped, or reported a transient error.
    #[must_use]
    pub fn server_failed(&self) -> bool {
        self.link.is_down() && self.link.server_failed
    }

    /// Returns `true` while a session with the server is established.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Returns the longest silence of the server before a session counts as lost. A replica that
    /// follows proves its age more often than that.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.link.patience()
    }

    /// Returns the bytes of keys, categories and values of the records that the replica has
    /// received.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.content.bytes()
    }

    /// Returns `true` while a snapshot is being received. Frames are then large, and the last one
    /// takes long to process.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.staging.is_some()
    }

    /// Returns the reason for the end of the last connection, if it ended with one.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Returns `true` if the table is sealed. Its content must then not be written to disk.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.content.sealed
    }
}
