//! The sync sessions that there are, for those who ask how a fleet is doing.

use crate::fair::Fair;
use crate::fanout::Fanouts;
use dashmap::DashMap;
use hotread_proto::session::frame::Nack;
use hotread_proto::{Key, TableName, Timestamp};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Most snapshots that are sent at a time; further sessions wait for their turn. Each holds about two
/// frames of a megabyte, and each table that has some a cache of parts.
const MAX_SNAPSHOTS: usize = 32;
/// And those of one caller: three that read nothing leave turns to a fourth.
const MAX_SNAPSHOTS_OF_CALLER: usize = 8;

/// The sessions, and what they share.
pub(crate) struct Registry {
    next: AtomicU64,
    sessions: DashMap<u64, Arc<Session>>,
    /// The tables that are followed.
    pub(crate) tables: Fanouts,
    /// Turns at loading a table.
    pub(crate) snapshots: Arc<Fair>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(1),
            sessions: DashMap::new(),
            tables: Fanouts::default(),
            snapshots: Fair::new(MAX_SNAPSHOTS, MAX_SNAPSHOTS_OF_CALLER),
        }
    }
}

/// What is known of a session.
pub(crate) struct Session {
    id: u64,
    peer: SocketAddr,
    table: TableName,
    since: Timestamp,
    /// The last transaction that was sent, and the last one that was acknowledged.
    sent: AtomicU64,
    acked: AtomicU64,
    told: Mutex<Told>,
}

/// What the client has said of itself.
#[derive(Default)]
struct Told {
    name: String,
    mode: &'static str,
    last_nack: Option<NackInfo>,
}

/// A value that a client's type refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NackInfo {
    key: Key,
    seq: u64,
    reason: String,
}

/// A session, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SessionInfo {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer: String,
    pub(crate) table: TableName,
    /// `resume` or `snapshot`: how it began; empty before that.
    pub(crate) mode: &'static str,
    /// The last transaction that was sent.
    pub(crate) position: u64,
    /// The last transaction that the client gives out to its readers.
    pub(crate) acked: u64,
    pub(crate) since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_nack: Option<NackInfo>,
}

impl Session {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Each change is one assignment.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begun(&self, name: Option<String>, mode: &'static str) {
        let mut told = self.told();
        told.name = name.unwrap_or_default();
        told.mode = mode;
    }

    // ORDERING: the numbers are for people; each stands for itself.
    pub(crate) fn sent(&self, seq: u64) {
        self.sent.store(seq, Ordering::Relaxed);
    }

    /// The client has reached a transaction. If it had refused a value, that is past.
    pub(crate) fn acked(&self, seq: u64) {
        self.acked.store(seq, Ordering::Relaxed);
        let mut told = self.told();
        if told.last_nack.as_ref().is_some_and(|nack| nack.seq <= seq) {
            told.last_nack = None;
        }
    }

    pub(crate) fn nacked(&self, nack: Nack) {
        let Nack { seq, key, reason } = nack;
        self.told().last_nack = Some(NackInfo { key, seq, reason });
    }

    fn info(&self) -> SessionInfo {
        let told = self.told();
        SessionInfo {
            id: self.id,
            name: told.name.clone(),
            peer: self.peer.to_string(),
            table: self.table.clone(),
            mode: told.mode,
            position: self.sent.load(Ordering::Relaxed),
            acked: self.acked.load(Ordering::Relaxed),
            since: self.since,
            last_nack: told.last_nack.clone(),
        }
    }

    /// For logs: who it is about.
    pub(crate) fn who(&self) -> String {
        let told = self.told();
        match told.name.as_str() {
            "" => format!("session {} from {}", self.id, self.peer),
            name => format!("{name}, session {} from {}", self.id, self.peer),
        }
    }
}

impl Registry {
    /// A session has begun. It is listed until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr, table: &TableName) -> Listed {
        // ORDERING: only that no number comes twice.
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session {
            id,
            peer,
            table: table.clone(),
            since: SystemTime::now().into(),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            told: Mutex::default(),
        });
        self.sessions.insert(id, session.clone());
        Listed {
            registry: self.clone(),
            session,
        }
    }

    /// All sessions, oldest first.
    pub(crate) fn list(&self) -> Vec<SessionInfo> {
        let mut list: Vec<_> = self.sessions.iter().map(|entry| entry.info()).collect();
        list.sort_unstable_by_key(|session| session.id);
        list
    }
}

/// A session's place in the list.
pub(crate) struct Listed {
    registry: Arc<Registry>,
    session: Arc<Session>,
}

impl std::ops::Deref for Listed {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.sessions.remove(&self.session.id);
    }
}
