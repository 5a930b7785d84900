//! What becomes of the connections over which replicas and streams of events follow their tables, and
//! who is told.

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
    /// There is no session. It is tried again until there is one; told again if the reason changes.
    Down {
        /// Why it ended, or could not begin.
        why: Arc<str>,
    },
}

/// Called with each change.
pub(crate) type OnConnection = Arc<dyn Fn(&TableName, &ConnectionEvent) + Send + Sync>;

/// Tells of a table's connection what was not told yet.
pub(crate) struct Announcer<'a> {
    table: &'a TableName,
    callback: Option<&'a OnConnection>,
    last: Option<ConnectionEvent>,
}

impl<'a> Announcer<'a> {
    pub(crate) fn new(table: &'a TableName, callback: Option<&'a OnConnection>) -> Self {
        Self {
            table,
            callback,
            last: None,
        }
    }

    /// Looks how the session is.
    pub(crate) fn look<T: Target>(&mut self, follow: &Follow<T>) {
        let same = match &self.last {
            Some(ConnectionEvent::Up) => follow.is_up(),
            Some(ConnectionEvent::Down { why }) => {
                !follow.is_up() && follow.trouble() == Some(why.as_ref())
            }
            None => !follow.is_up() && follow.trouble().is_none(),
        };
        if same {
            return;
        }
        let event = match follow.trouble() {
            Some(why) if !follow.is_up() => ConnectionEvent::Down { why: why.into() },
            _ => ConnectionEvent::Up,
        };
        let table = self.table;
        match &event {
            // As expected.
            ConnectionEvent::Up if self.last.is_none() => tracing::debug!(%table, "connected"),
            ConnectionEvent::Up => tracing::info!(%table, "the server is back"),
            ConnectionEvent::Down { why } => {
                tracing::warn!(%table, why = why.as_ref(), "waiting for the server");
            }
        }
        if let Some(callback) = self.callback {
            // It is not the replica's code, which goes on without it.
            let told = catch_unwind(AssertUnwindSafe(|| callback(table, &event)));
            if told.is_err() {
                tracing::error!(%table, "the callback for connections panicked");
            }
        }
        self.last = Some(event);
    }
}
