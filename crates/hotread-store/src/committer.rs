//! The one thread that writes. Whatever waits becomes one SQLite transaction, then one fsync, then
//! the answers: group commit. Nothing is visible to anyone before COMMIT has returned.
//!
//! What goes wrong, and for whom:
//!
//! - A transaction that is refused is decided before anything of it is written, so it takes nothing
//!   back and nobody along.
//! - An error of SQLite before COMMIT fails the whole group, of which nothing is applied; refusals,
//!   too, for they were decided on a state that never came to be.
//! - An error of COMMIT leaves unknown what is on disk. The group is told so; nothing more is
//!   written until the database was opened anew, its WAL brought to rest, and its heads compared.

use crate::error::{CommitError, StorageError};
use crate::house::{Sweep, trim};
use crate::migrate;
use crate::open::{self, Location};
use crate::options::Synchronous;
use crate::queue::{Next, Queue, Request};
use crate::replace;
use crate::rows::{signed, wide};
use crate::stats::Counters;
use crate::table::{self, OpenTable, Registry, Standing};
use crate::ticket::{Applied, Reply};
use crate::token::Tokens;
use crate::view::{View, WriteError, sql};
use hotread_proto::{Body, Change, ChangeOp, Entry, Outcome, Timestamp, evaluate};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use zeroize::Zeroize;

pub(crate) struct Committer {
    pub(crate) at: Location,
    pub(crate) synchronous: Synchronous,
    /// `None` between a failed COMMIT and the reopening.
    pub(crate) db: Option<Connection>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) standing: HashMap<i64, Standing>,
    pub(crate) halted: Option<Halted>,
    /// The database or its write-ahead log was moved or deleted.
    pub(crate) moved: bool,
    /// It was told that the write-ahead log grows.
    pub(crate) log_is_large: bool,
    pub(crate) swept: Instant,
    pub(crate) sweep: Sweep,
    /// The table at which the last sweep ended, by its id.
    pub(crate) swept_to: i64,
    pub(crate) aged: Instant,
    pub(crate) cooled: Instant,
    /// The latest time that the clock has shown.
    clock: Timestamp,
}

/// Writing has stopped, because it is not known what is on disk.
pub(crate) struct Halted {
    cause: StorageError,
    /// What the group that failed was to become, by table.
    changes: Changes,
    /// Keeps the WAL's index as it was before the COMMIT that failed. Were it built anew, frames of
    /// that COMMIT would count, which no later fsync may make durable.
    wreck: Option<Connection>,
}

/// Why a disk may be full.
pub(crate) const LOG_IS_HELD: &str =
    "a program with a read transaction on the database keeps its write-ahead log; end it";

/// The changes of a group, by table, in their order.
type Changes = Vec<(Arc<OpenTable>, Vec<Arc<Change>>)>;

/// What became of a request, to be told after COMMIT.
enum Decided {
    Applied(Applied),
    Refused(CommitError),
}

/// The records and the tables that a group touches.
struct Group {
    begun: Instant,
    decided: Vec<(Reply, Decided)>,
    changes: Changes,
    entries: u64,
}

impl Committer {
    pub(crate) fn new(
        at: Location,
        synchronous: Synchronous,
        db: Connection,
        queue: Arc<Queue>,
        registry: Arc<Registry>,
        counters: Arc<Counters>,
        tokens: Arc<Tokens>,
    ) -> Result<Self, StorageError> {
        tokens.reload(&db)?;
        let now = Instant::now();
        let mut committer = Self {
            at,
            synchronous,
            db: Some(db),
            queue,
            registry,
            counters,
            tokens,
            standing: HashMap::new(),
            halted: None,
            moved: false,
            log_is_large: false,
            swept: now,
            sweep: Sweep::Idle,
            swept_to: 0,
            aged: now,
            cooled: now,
            clock: Timestamp::EPOCH,
        };
        for row in committer.read_tables()? {
            committer.registry.insert(Arc::new(row.table));
        }
        Ok(committer)
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        /// However the thread ends, nobody waits for it in vain.
        struct Abandon(Arc<Queue>);
        impl Drop for Abandon {
            fn drop(&mut self) {
                self.0.abandon();
            }
        }

        let _abandon = Abandon(self.queue.clone());
        loop {
            match self.queue.next(self.idle_for()) {
                Next::Group(requests) => self.group(requests),
                Next::Job(job) => job(&mut self),
                Next::Idle => {}
                Next::Closed => return,
            }
            self.keep_house();
        }
    }

    /// The connection, unless writing has stopped.
    pub(crate) fn db(&mut self) -> Result<&mut Connection, StorageError> {
        self.reconcile()?;
        self.db.as_mut().ok_or_else(not_open)
    }

    pub(crate) fn standing(&self, table: &OpenTable) -> Option<Standing> {
        self.standing.get(&table.id).copied()
    }

    pub(crate) fn set_standing(&mut self, id: i64, standing: Standing) {
        self.standing.insert(id, standing);
    }

    pub(crate) fn forget_standing(&mut self, id: i64) {
        self.standing.remove(&id);
    }

    /// Reads anew where each table stands.
    pub(crate) fn read_tables(&mut self) -> Result<Vec<table::TableRow>, StorageError> {
        let db = self.db.as_ref().ok_or_else(not_open)?;
        let rows = table::read_all(db)?;
        self.standing = rows
            .iter()
            .map(|row| (row.table.id, row.standing))
            .collect();
        Ok(rows)
    }

    pub(crate) fn group(&mut self, requests: Vec<Request>) {
        if let Err(e) = self.reconcile() {
            fail(
                requests.into_iter().map(|request| request.reply),
                &CommitError::Storage(e),
            );
            return;
        }
        let bytes = requests.iter().map(|request| request.size as u64).sum();
        if let Err(e) = self.check_room(bytes) {
            let error = CommitError::Storage(e);
            fail(requests.into_iter().map(|request| request.reply), &error);
            return;
        }
        let mut group = Group::begin();
        match self.write(requests, &mut group) {
            Ok(()) => self.commit(group),
            Err((error, rest)) => {
                let error = match error {
                    CommitError::Storage(cause) => CommitError::Storage(self.explained(cause)),
                    other => other,
                };
                self.roll_back();
                let decided = group.decided.into_iter().map(|(reply, _)| reply);
                fail(decided.chain(rest), &error);
            }
        }
    }

    /// Everything up to COMMIT. On an error, with the requests that were not decided yet.
    fn write(
        &mut self,
        requests: Vec<Request>,
        group: &mut Group,
    ) -> Result<(), (CommitError, Vec<Reply>)> {
        let mut requests = requests.into_iter();
        let mut step = || -> Result<(), (CommitError, Option<Reply>)> {
            let before = |e: StorageError| (CommitError::Storage(e), None);
            let db = self.db.as_ref().ok_or_else(not_open).map_err(before)?;
            run(db, "BEGIN IMMEDIATE").map_err(|e| before(e.into()))?;
            for request in requests.by_ref() {
                group.entries += 1;
                let Request {
                    table,
                    at,
                    actor,
                    body,
                    reply,
                    ..
                } = request;
                if matches!(body, Body::Replace(_)) {
                    self.counters.whole_replacement();
                }
                let secret = table.is_sealed();
                let mut entry = Entry { at, actor, body };
                let decided = decide(db, &self.registry, &mut self.standing, &table, &mut entry);
                if secret {
                    wipe(&mut entry.body);
                }
                match decided {
                    Ok((decided, change)) => {
                        group.decided.push((reply, decided));
                        if let Some((table, change)) = change {
                            group.push(table, change);
                        }
                    }
                    Err(error) => return Err((error, Some(reply))),
                }
            }
            for (table, _) in &group.changes {
                let standing = self
                    .standing
                    .get_mut(&table.id)
                    .expect("it was just written");
                trim(db, table, standing).map_err(before)?;
                write_standing(db, table.id, standing).map_err(|e| before(e.into()))?;
            }
            if !group.changes.is_empty() {
                db.prepare_cached(sql::APPLIED)
                    .and_then(|mut statement| statement.execute([signed(group.entries)]))
                    .map_err(|e| before(e.into()))?;
            }
            Ok(())
        };
        step().map_err(|(error, reply)| {
            (
                error,
                reply
                    .into_iter()
                    .chain(requests.map(|request| request.reply))
                    .collect(),
            )
        })
    }

    fn commit(&mut self, group: Group) {
        if group.changes.is_empty() {
            // Refusals and repetitions only: there is nothing to write.
            self.roll_back_clean();
        } else {
            let written = Instant::now();
            let db = self.db.as_ref().expect("the group was written through it");
            if let Err(e) = run(db, "COMMIT") {
                let cause = self.explained(e.into());
                tracing::error!(%cause, "COMMIT failed; nothing is written until the database was opened anew");
                self.halt(cause.clone(), group.changes);
                let replies = group.decided.into_iter().map(|(reply, _)| reply);
                fail(replies, &CommitError::Unknown { cause });
                return;
            }
            let now = Instant::now();
            self.counters.group(
                group.changes.iter().map(|(_, changes)| changes.len()).sum(),
                now - group.begun,
                now - written,
            );
            publish(&group.changes, &self.standing);
        }
        answer(group.decided, &self.counters);
        // While the callers prepare what comes next.
        for (table, _) in &group.changes {
            table.live.maintain();
        }
    }

    /// With the reason why the disk is full, if it is known.
    fn explained(&self, cause: StorageError) -> StorageError {
        let is_full = matches!(cause, StorageError::Full { .. });
        if is_full && self.counters.is_wal_held() {
            return cause.within(LOG_IS_HELD);
        }
        cause
    }

    /// Nothing of the group was applied; where the tables stand is read anew.
    fn roll_back(&mut self) {
        self.roll_back_clean();
        self.counters.failed();
        if let Err(cause) = self.read_tables() {
            self.halt(cause, Vec::new());
        }
    }

    fn roll_back_clean(&mut self) {
        let Some(db) = &self.db else { return };
        // After some errors SQLite has rolled back by itself.
        if !db.is_autocommit()
            && let Err(e) = db.execute_batch("ROLLBACK")
        {
            self.halt(e.into(), Vec::new());
        }
    }

    /// Stops writing until [`reconcile`](Self::reconcile) has found out what is on disk.
    pub(crate) fn halt(&mut self, cause: StorageError, changes: Changes) {
        let earlier = self.halted.take().and_then(|halted| halted.wreck);
        let wreck = self.db.take().or(earlier).filter(|db| {
            // What is left of its transaction would keep the WAL from being brought to rest.
            let _ = db.execute_batch("ROLLBACK");
            db.is_autocommit()
        });
        self.counters.halted(Some(&cause));
        self.halted = Some(Halted {
            cause,
            changes,
            wreck,
        });
    }

    /// After a failed COMMIT: opens the database anew, brings its WAL to rest, and compares. Frames
    /// of the failed group that lie in the WAL beyond its end, where the next recovery might find
    /// them, are gone after the checkpoint, and durably so after the transaction that follows it; so
    /// from then on what is read is what there is, and stays so.
    pub(crate) fn reconcile(&mut self) -> Result<(), StorageError> {
        self.check_names()?;
        let Some(halted) = &self.halted else {
            return Ok(());
        };
        let still = |e: StorageError| {
            tracing::warn!(cause = %halted.cause, now = %e, "still not writing");
            e
        };
        let db = self
            .at
            .writer(Synchronous::Full)
            .map_err(|e| still(e.into()))?;
        // Without room the database cannot grow by what is in the WAL, and would take what little
        // there is. There is room in the WAL itself, or almost: the transaction below overwrites the
        // first of the failed group's frames, and without that one's checksum the others count for
        // nothing.
        let no_room = matches!(halted.cause, StorageError::Full { .. });
        let busy: i64 = if no_room && halted.wreck.is_some() {
            0
        } else {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                .map_err(|e| still(e.into()))?
        };
        if busy != 0 {
            let detail = "a reader keeps the WAL from being brought to rest".to_owned();
            return Err(still(StorageError::Locked { detail }));
        }
        migrate::settle(&db).map_err(|e| still(e.into()))?;
        open::set_synchronous(&db, self.synchronous).map_err(|e| still(e.into()))?;
        self.db = Some(db);
        let rows = self.read_tables()?;
        // A table may have been created, dropped or sealed anew by the COMMIT that failed, or a token
        // made or revoked.
        self.registry.follow(rows);
        let db = self.db.as_ref().ok_or_else(not_open)?;
        self.tokens.reload(db)?;
        let halted = self.halted.take().expect("it was there above");
        for (table, changes) in halted.changes {
            let (Some(last), Some(standing)) = (changes.last(), self.standing(&table)) else {
                continue;
            };
            if standing.head == last.head() {
                tracing::warn!(table = %table.name, "the group whose COMMIT failed is there");
                publish(&vec![(table, changes)], &self.standing);
            } else {
                tracing::warn!(table = %table.name, "the group whose COMMIT failed is not there");
            }
        }
        // A transaction that only trims may be there as well. After the heads, which no floor passes.
        for table in self.registry.all() {
            if let Some(standing) = self.standing(&table) {
                table.feed.set_floor(standing.floor);
            }
        }
        self.counters.halted(None);
        Ok(())
    }

    /// The system's clock.
    pub(crate) fn now(&mut self) -> Timestamp {
        let now = Timestamp::from(SystemTime::now());
        if now < self.clock {
            tracing::warn!(
                behind_ms = self.clock.millis() - now.millis(),
                "the clock went back; transactions keep the later time"
            );
        }
        self.clock = now;
        now
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let Some(db) = &self.db else { return };
        // Leaves the database with its statistics in order; a failure does no harm.
        let _ = db.execute_batch("PRAGMA optimize");
        // Closing it would do the same only if no other connection were open.
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy = db.query_row(sql, [], |row| row.get::<_, bool>(0));
        match busy {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "a reader keeps the write-ahead log from being moved into the database; the \
                 database is complete only together with it"
            ),
            Err(error) => tracing::warn!(
                %error,
                "the write-ahead log was not moved into the database, which is complete only \
                 together with it"
            ),
        }
    }
}

impl Group {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            decided: Vec::new(),
            changes: Vec::new(),
            entries: 0,
        }
    }

    fn push(&mut self, table: Arc<OpenTable>, change: Change) {
        let change = Arc::new(change);
        match self
            .changes
            .iter_mut()
            .find(|(other, _)| other.id == table.id)
        {
            Some((_, changes)) => changes.push(change),
            None => self.changes.push((table, vec![change])),
        }
    }
}

/// What a request comes to, and what it changes.
type Decision = (Decided, Option<(Arc<OpenTable>, Change)>);

/// One request against the state that the ones before it in the group leave.
fn decide(
    db: &Connection,
    registry: &Registry,
    standing: &mut HashMap<i64, Standing>,
    table: &Arc<OpenTable>,
    entry: &mut Entry,
) -> Result<Decision, CommitError> {
    // Sealed anew meanwhile, it is the same table; dropped, it is none, whatever has its name.
    let current = registry
        .get(&table.name)
        .filter(|current| current.id == table.id);
    let (Some(table), Some(standing)) = (current, standing.get_mut(&table.id)) else {
        let error = CommitError::UnknownTable {
            table: table.name.clone(),
        };
        return Ok((Decided::Refused(error), None));
    };
    if let Body::Compared(compared) = &mut entry.body {
        replace::finish(db, &table, standing.head, compared)?;
    }
    let mut view = View::new(db, &table, standing.head, entry.at)?;
    match evaluate(&mut view, entry)? {
        Outcome::Committed(change) => {
            let bytes = view.apply(&change).map_err(|e| match e {
                WriteError::Storage(e) => CommitError::Storage(e),
                WriteError::Seal(source) => CommitError::Seal {
                    table: table.name.clone(),
                    source,
                },
            })?;
            let grown = view.grows_by(&change);
            drop(view);
            standing.head = change.head();
            standing.history_bytes += bytes;
            let puts = change
                .ops
                .iter()
                .filter(|op| matches!(op, ChangeOp::Put(_)))
                .count();
            let applied = Applied {
                committed: change.committed(),
                written: puts as u64,
                deleted: (change.ops.len() - puts) as u64,
                grown,
            };
            Ok((Decided::Applied(applied), Some((table, change))))
        }
        Outcome::Repeated(committed) => {
            let applied = Applied {
                committed,
                written: 0,
                deleted: 0,
                grown: false,
            };
            Ok((Decided::Applied(applied), None))
        }
        Outcome::Nothing => {
            let committed = hotread_proto::Committed {
                position: standing.head.position,
                at: entry.at,
            };
            let applied = Applied {
                committed,
                written: 0,
                deleted: 0,
                grown: false,
            };
            Ok((Decided::Applied(applied), None))
        }
        Outcome::Refused(refusal) => Ok((Decided::Refused(refusal.into()), None)),
    }
}

fn wipe(body: &mut Body) {
    match body {
        Body::Txn(txn) => txn.zeroize(),
        Body::Replace(replace) => replace.zeroize(),
        // Overwritten when it is dropped.
        Body::Compared(_) | Body::Expire(_) => {}
    }
}

/// A statement without parameters or rows, parsed once for all groups.
fn run(db: &Connection, sql: &str) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// After COMMIT: into the live tables, and to the subscribers.
fn publish(changes: &Changes, standing: &HashMap<i64, Standing>) {
    for (table, changes) in changes {
        table.live.push(changes);
        let floor = standing.get(&table.id).map(|standing| standing.floor);
        let floor = floor.unwrap_or_else(|| table.feed.floor());
        table.feed.push(changes, floor);
    }
}

fn answer(decided: Vec<(Reply, Decided)>, counters: &Counters) {
    for (reply, decided) in decided {
        match decided {
            Decided::Applied(applied) => reply.send(Ok(applied)),
            Decided::Refused(error) => {
                counters.refused();
                reply.send(Err(error));
            }
        }
    }
}

fn fail(replies: impl IntoIterator<Item = Reply>, error: &CommitError) {
    for reply in replies {
        reply.send(Err(error.clone()));
    }
}

pub(crate) fn write_standing(
    db: &Connection,
    id: i64,
    standing: &Standing,
) -> rusqlite::Result<()> {
    let Standing {
        head,
        floor,
        history_bytes,
    } = standing;
    db.prepare_cached(sql::HEAD)?.execute(params![
        id,
        signed(head.position.seq),
        wide(head.digest.0),
        signed(head.records),
        head.at.millis(),
        signed(*floor),
        signed(*history_bytes),
    ])?;
    Ok(())
}

/// Between a failed COMMIT and the reopening.
pub(crate) fn not_open() -> StorageError {
    StorageError::Io {
        detail: "the database is not open".to_owned(),
    }
}
