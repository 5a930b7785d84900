//! Events of the connections over which tables are followed.

use hotread_proto::TableName;
use hotread_proto::session::{Follow, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A change of the connection over which a table is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A session with the server began.
    Up,
    /// There is no session. The client retries until there is one; the event is repeated if the reason
    /// changes.
    Down {
        /// Reason the session ended, or did not begin.
        why: Arc<str>,
    },
}

/// A callback for each change.
pub(crate) type OnConnection = Arc<dyn Fn(&TableName, &ConnectionEvent) + Send + Sync>;

/// Reports changes of a table's connection, each once.
pub(crate) struct Announcer<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) callback: Option<&'a OnConnection>,
    pub(crate) last: Option<ConnectionEvent>,
}

impl Announcer<'_> {
    /// Reports the session's current state, if it changed.
    pub(crate) fn look<T: Target>(&mut self, follow: &Follow<T>, server: &str) {
        let event = match follow.trouble() {
            _ if follow.is_up() => ConnectionEvent::Up,
            Some(why) => ConnectionEvent::Down { why: why.into() },
            // No attempt has been made yet.
            None => return,
        };
        if self.last.as_ref() == Some(&event) {
            return;
        }
        let table = self.table;
        match &event {
            // The first connection is expected.
            ConnectionEvent::Up if self.last.is_none() => {
                tracing::debug!(%table, server, "connected")
            }
            ConnectionEvent::Up => tracing::info!(%table, server, "the server is back"),
            ConnectionEvent::Down { why } => {
                tracing::warn!(%table, server, why = why.as_ref(), "waiting for the server");
            }
        }
        if let Some(callback) = self.callback {
            // The callback is not part of the replica, which continues without it.
            let told = catch_unwind(AssertUnwindSafe(|| callback(table, &event)));
            if told.is_err() {
                tracing::error!(%table, "the callback for connections panicked");
            }
        }
        self.last = Some(event);
    }
}
