//! The present sync sessions, for reports about a fleet.

use crate::clock::millis;
use dashmap::DashMap;
use hotread_proto::http::{AtRisk, SessionStatus};
use hotread_proto::session::frame::Nack;
use hotread_proto::{TableName, Timestamp};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Time without an acknowledgement after which a session that owes one counts as stuck: a client
/// acknowledges within a second of publishing, and its readers hold old copies for milliseconds.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// The present sessions.
#[derive(Default)]
pub(crate) struct Registry {
    /// Number of the last session.
    last: AtomicU64,
    sessions: DashMap<u64, Arc<Session>>,
}

/// Knowledge about a session.
pub(crate) struct Session {
    id: u64,
    peer: SocketAddr,
    table: TableName,
    since: Timestamp,
    /// Last transaction sent, and last one acknowledged.
    sent: AtomicU64,
    acked: AtomicU64,
    began: Instant,
    /// Milliseconds after `began` since which the client has been behind without progress; 0: it is not
    /// behind.
    still_since: AtomicU64,
    told: Mutex<Told>,
}

/// Information from the client about itself.
#[derive(Default)]
struct Told {
    name: String,
    mode: &'static str,
    last_nack: Option<Nack>,
}

impl Session {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Each change is one assignment, so the value is intact even after a panic.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begun(&self, name: Option<String>, mode: &'static str) {
        let mut told = self.told();
        told.name = name.unwrap_or_default();
        told.mode = mode;
    }

    // ORDERING: the numbers only inform operators, and independent of each other.
    pub(crate) fn sent(&self, seq: u64) {
        self.sent.store(seq, Ordering::Relaxed);
        // A client that never acknowledges, because it keeps no records, is not stuck.
        let acked = self.acked.load(Ordering::Relaxed);
        if acked > 0 && acked < seq && self.still_since.load(Ordering::Relaxed) == 0 {
            self.still_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Returns the milliseconds since the beginning, at least 1.
    fn now(&self) -> u64 {
        millis(self.began.elapsed()).max(1)
    }

    /// Records that the client has reached a transaction, which also ends an earlier refusal.
    pub(crate) fn acked(&self, seq: u64) {
        let before = self.acked.swap(seq, Ordering::Relaxed);
        if seq >= self.sent.load(Ordering::Relaxed) {
            self.still_since.store(0, Ordering::Relaxed);
        } else if seq != before {
            self.still_since.store(self.now(), Ordering::Relaxed);
        }
        let mut told = self.told();
        if told.last_nack.as_ref().is_some_and(|nack| nack.seq <= seq) {
            told.last_nack = None;
        }
    }

    pub(crate) fn nacked(&self, nack: Nack) {
        self.told().last_nack = Some(nack);
    }

    /// Returns the status, except for the lag, which depends on the table's head.
    fn status(&self) -> SessionStatus {
        let told = self.told();
        SessionStatus {
            id: self.id,
            name: told.name.clone(),
            peer: self.peer.to_string(),
            table: self.table.clone(),
            mode: told.mode.to_owned(),
            position: self.sent.load(Ordering::Relaxed),
            acked: self.acked.load(Ordering::Relaxed),
            lag: 0,
            since: self.since,
            last_nack: told.last_nack.clone(),
        }
    }

    /// Returns the reason the client differs from its table, if that has lasted or will last.
    fn at_risk(&self, stuck_after: Duration) -> Option<AtRisk> {
        let told = self.told();
        let since = self.still_since.load(Ordering::Relaxed);
        let still = Duration::from_millis(self.now().saturating_sub(since));
        let (key, reason) = match &told.last_nack {
            Some(nack) => (Some(nack.key.clone()), nack.reason.clone()),
            None if since > 0 && still >= stuck_after => {
                let reason = format!("it has acknowledged nothing for {} s", still.as_secs());
                (None, reason)
            }
            None => return None,
        };
        Some(AtRisk {
            session: self.id,
            name: told.name.clone(),
            peer: self.peer.to_string(),
            table: self.table.clone(),
            acked: self.acked.load(Ordering::Relaxed),
            key,
            reason,
        })
    }

    /// Returns a name of the client for logs.
    pub(crate) fn who(&self) -> String {
        let told = self.told();
        match told.name.as_str() {
            "" => format!("session {} from {}", self.id, self.peer),
            name => format!("{name}, session {} from {}", self.id, self.peer),
        }
    }
}

impl Registry {
    /// Adds a session. It is listed until the returned value is dropped.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr, table: &TableName) -> Listed {
        // ORDERING: no number may occur twice, and nothing else depends on it.
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Arc::new(Session {
            id,
            peer,
            table: table.clone(),
            since: SystemTime::now().into(),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            began: Instant::now(),
            still_since: AtomicU64::new(0),
            told: Mutex::default(),
        });
        self.sessions.insert(id, session.clone());
        let registry = self.clone();
        Listed { registry, session }
    }

    /// Returns all sessions, oldest first, without their lag.
    pub(crate) fn list(&self) -> Vec<SessionStatus> {
        let mut list: Vec<_> = self.sessions.iter().map(|entry| entry.status()).collect();
        list.sort_unstable_by_key(|session| session.id);
        list
    }

    /// Returns the sessions whose clients refuse a value of their table, or are stuck, oldest first.
    pub(crate) fn at_risk(&self) -> Vec<AtRisk> {
        let at_risk = self
            .sessions
            .iter()
            .filter_map(|entry| entry.at_risk(STUCK_AFTER));
        let mut list: Vec<_> = at_risk.collect();
        list.sort_unstable_by_key(|risk| risk.session);
        list
    }
}

/// Entry of a session in the list, removed when this is dropped.
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

#[cfg(test)]
mod tests {
    use super::*;
    use hotread_proto::Key;

    #[test]
    fn clients_that_refuse_or_stand_still_are_at_risk_until_they_go_on() {
        let registry = Arc::<Registry>::default();
        let table = TableName::new("t").unwrap();
        let listed = registry.enter("127.0.0.1:1".parse().unwrap(), &table);
        let reason = |after| {
            let risk = listed.at_risk(after)?;
            Some((risk.acked, risk.key, risk.reason))
        };
        let (at_once, later) = (Duration::ZERO, STUCK_AFTER);
        listed.sent(3);
        assert_eq!(reason(at_once), None, "it may be one that keeps no records");
        listed.acked(2);
        assert_eq!(reason(later), None, "it has just moved");
        let (acked, key, why) = reason(at_once).unwrap();
        assert_eq!((acked, key), (2, None));
        assert!(why.starts_with("it has acknowledged nothing for"), "{why}");
        listed.acked(3);
        assert_eq!(reason(at_once), None);

        let key = Key::new("k").unwrap();
        listed.sent(4);
        listed.nacked(Nack {
            seq: 4,
            key: key.clone(),
            reason: "no".to_owned(),
        });
        assert_eq!(reason(later), Some((3, Some(key), "no".to_owned())));
        assert_eq!(registry.at_risk().len(), 1);
        listed.acked(4);
        assert_eq!(reason(at_once), None);
        drop(listed);
        assert!(registry.at_risk().is_empty());
    }
}
