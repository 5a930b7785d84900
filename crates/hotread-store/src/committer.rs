//! The one thread that writes. Waiting requests are committed in groups (group commit): one SQLite
//! transaction, one fsync, then the answers. Nothing is visible before COMMIT has returned.
//!
//! - A refused transaction is decided before anything of it is written.
//! - An error of SQLite before COMMIT fails the whole group and applies nothing of it. Refusals fail as
//!   well, since they were decided on a state that was rolled back.
//! - An error of COMMIT leaves the content of the disk unknown. The group is answered so, and nothing
//!   more is written until the database was reopened, its WAL was checkpointed, and its heads were
//!   compared.

mod admin;
pub(crate) mod alter;
mod clear;
mod expired;
mod house;
pub(crate) mod queue;
mod reconcile;
pub(crate) mod tokens;

use self::house::{SWEEP_EVERY, trim};
use self::queue::{Next, Queue, Request};
use self::reconcile::Halted;
use crate::error::{CommitError, StorageError};
use crate::location::Location;
use crate::options::Synchronous;
use crate::replace::{self, MAX_REST_BYTES};
use crate::rows::{self, signed, wide};
use crate::stats::Counters;
use crate::table::{self, OpenTable, Registry, Standing};
use crate::ticket::{Answer, Applied, Reply};
use crate::token::Tokens;
use crate::view::{View, sql};
use hotread_proto::{
    Body, Change, ChangeOp, Committed, Entry, Op, Outcome, Refusal, Timestamp, evaluate,
};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
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
    /// Set while the database or its write-ahead log is moved or deleted.
    pub(crate) moved: bool,
    /// Set once the log has warned that the write-ahead log grows.
    pub(crate) log_is_large: bool,
    pub(crate) swept: Instant,
    /// Time from one sweep to the next: zero while there is more to delete.
    pub(crate) sweep_after: Duration,
    /// The id of the table at which the last sweep ended.
    pub(crate) swept_to: i64,
    pub(crate) aged: Instant,
    pub(crate) cooled: Instant,
    /// The latest time that the clock has shown.
    clock: Timestamp,
}

/// A possible reason for a full disk.
pub(crate) const LOG_IS_HELD: &str =
    "a program with a read transaction on the database keeps its write-ahead log; end it";

/// The changes of a group by table, in order of commit.
type Changes = Vec<(Arc<OpenTable>, Vec<Arc<Change>>)>;

/// The parts of the committer that its callers share.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) queue: Arc<Queue>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tokens: Arc<Tokens>,
}

/// Transactions that are committed together.
struct Group {
    begun: Instant,
    /// Decided answers, to be sent after COMMIT.
    decided: Vec<(Reply, Answer)>,
    changes: Changes,
}

impl Committer {
    pub(crate) fn new(
        at: Location,
        synchronous: Synchronous,
        db: Connection,
        shared: Shared,
    ) -> Result<Self, StorageError> {
        shared.tokens.reload(&db)?;
        let now = Instant::now();
        let mut committer = Self {
            at,
            synchronous,
            db: Some(db),
            queue: shared.queue,
            registry: shared.registry,
            counters: shared.counters,
            tokens: shared.tokens,
            standing: HashMap::new(),
            halted: None,
            moved: false,
            log_is_large: false,
            swept: now,
            sweep_after: SWEEP_EVERY,
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
        /// Answers the waiting callers, however the thread ends.
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

    /// Returns the connection, unless writing has stopped.
    pub(crate) fn db(&mut self) -> Result<&mut Connection, StorageError> {
        self.reconcile()?;
        self.db.as_mut().ok_or_else(not_open)
    }

    pub(crate) fn standing(&self, table: &OpenTable) -> Option<Standing> {
        self.standing.get(&table.id).copied()
    }

    /// Reads the head and floor of each table again.
    pub(crate) fn read_tables(&mut self) -> Result<Vec<table::TableRow>, StorageError> {
        let db = self.db.as_ref().ok_or_else(not_open)?;
        let rows = table::read_all(db)?;
        let standing = rows.iter().map(|row| (row.table.id, row.standing));
        self.standing = standing.collect();
        Ok(rows)
    }

    pub(crate) fn group(&mut self, requests: Vec<Request>) {
        let bytes = requests.iter().map(|request| request.size as u64).sum();
        let mut requests = requests.into_iter();
        let ready = self.reconcile();
        if let Err(e) = ready.and_then(|()| self.check_room(bytes)) {
            let replies = requests.map(|request| request.reply);
            return fail(replies, &CommitError::Storage(e));
        }
        let mut group = Group {
            begun: Instant::now(),
            decided: Vec::new(),
            changes: Vec::new(),
        };
        match self.write(&mut requests, &mut group) {
            Ok(()) => self.commit(group),
            Err(error) => {
                let error = match error {
                    CommitError::Storage(cause) => CommitError::Storage(self.explained(cause)),
                    other => other,
                };
                self.roll_back();
                let decided = group.decided.into_iter().map(|(reply, _)| reply);
                let rest = requests.map(|request| request.reply);
                fail(decided.chain(rest), &error);
            }
        }
    }

    /// Does everything up to COMMIT. An error applies to all requests, including those not yet decided.
    fn write(
        &mut self,
        requests: &mut impl Iterator<Item = Request>,
        group: &mut Group,
    ) -> Result<(), CommitError> {
        let db = self.db.as_ref().ok_or_else(not_open)?;
        rows::execute(db, "BEGIN IMMEDIATE", [])?;
        for request in requests {
            let Request {
                table,
                at,
                actor,
                body,
                reply,
                ..
            } = request;
            if matches!(body, Body::Replace(_)) {
                self.counters.whole_replacements.add(1);
            }
            let secret = table.is_sealed();
            let mut entry = Entry { at, actor, body };
            let decided = decide(db, &self.registry, &mut self.standing, &table, &mut entry);
            if secret {
                wipe(&mut entry.body);
            }
            match decided {
                Ok((answer, change)) => {
                    group.decided.push((reply, answer));
                    if let Some((table, change)) = change {
                        group.push(table, change);
                    }
                }
                Err(error) => {
                    group.decided.push((reply, Err(error.clone())));
                    return Err(error);
                }
            }
        }
        for (table, _) in &group.changes {
            let standing = self.standing.get_mut(&table.id);
            let standing = standing.expect("it was just written");
            trim(db, table, standing)?;
            write_standing(db, table.id, standing)?;
        }
        if !group.changes.is_empty() {
            rows::execute(db, sql::APPLIED, [group.decided.len() as i64])?;
        }
        Ok(())
    }

    fn commit(&mut self, group: Group) {
        if group.changes.is_empty() {
            // Only refusals and repetitions: there is nothing to write.
            self.roll_back_clean();
        } else {
            let written = Instant::now();
            let db = self.db.as_ref().expect("the group was written through it");
            if let Err(e) = rows::execute(db, "COMMIT", []) {
                let cause = self.explained(e.into());
                tracing::error!(%cause, "COMMIT failed; nothing is written until the database is reopened");
                self.halt(cause.clone(), group.changes);
                let replies = group.decided.into_iter().map(|(reply, _)| reply);
                fail(replies, &CommitError::Unknown { cause });
                return;
            }
            let now = Instant::now();
            let transactions = group.changes.iter().map(|(_, changes)| changes.len());
            self.counters
                .group(transactions.sum(), now - group.begun, now - written);
            publish(&group.changes, &self.standing);
        }
        answer(group.decided, &self.counters);
        // Runs while the callers prepare their next requests.
        for (table, _) in &group.changes {
            table.live.maintain();
        }
    }

    /// Adds the reason for a full disk, if it is known.
    fn explained(&self, cause: StorageError) -> StorageError {
        match cause {
            StorageError::Full { .. } if self.counters.is_wal_held() => cause.within(LOG_IS_HELD),
            cause => cause,
        }
    }

    /// Rolls the group back, of which nothing was applied, and reads the heads of the tables again.
    fn roll_back(&mut self) {
        self.roll_back_clean();
        self.counters.failed.add(1);
        if let Err(cause) = self.read_tables() {
            self.halt(cause, Vec::new());
        }
    }

    fn roll_back_clean(&mut self) {
        let Some(db) = &self.db else { return };
        // After some errors SQLite has rolled back on its own.
        if !db.is_autocommit()
            && let Err(e) = db.execute_batch("ROLLBACK")
        {
            self.halt(e.into(), Vec::new());
        }
    }

    /// Returns the time of the system's clock, or the last one if the clock was set back.
    pub(crate) fn now(&mut self) -> Timestamp {
        let now = Timestamp::from(SystemTime::now());
        if now < self.clock {
            tracing::warn!(
                behind_ms = self.clock.millis() - now.millis(),
                "the clock was set back; transactions keep the later time"
            );
        }
        self.clock = now;
        now
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let Some(db) = &self.db else { return };
        // Updates the statistics of the database; a failure is harmless.
        let _ = db.execute_batch("PRAGMA optimize");
        // Closing the connection would do the same only if no other connection were open.
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

/// The answer to a request, and its change.
type Decision = (Answer, Option<(Arc<OpenTable>, Change)>);

/// Decides one request against the state that the earlier ones of the group leave.
fn decide(
    db: &Connection,
    registry: &Registry,
    standing: &mut HashMap<i64, Standing>,
    table: &Arc<OpenTable>,
    entry: &mut Entry,
) -> Result<Decision, CommitError> {
    // A table that was rekeyed or altered meanwhile is still this table; another one that has taken the
    // name of a dropped table is not.
    let current = registry
        .get(&table.name)
        .filter(|current| current.id == table.id);
    let (Some(current), Some(standing)) = (current, standing.get_mut(&table.id)) else {
        return Ok((Err(CommitError::unknown(&table.name)), None));
    };
    if current.options.schema != table.options.schema
        && let Err(error) = check_altered(&current, &entry.body)
    {
        return Ok((Err(error), None));
    }
    let table = current;
    if let Body::Compared(compared) = &mut entry.body {
        // A comparison that is still outdated after this little work is refused during evaluation.
        replace::catch_up(db, &table, standing.head, compared, MAX_REST_BYTES)?;
    }
    let mut view = View::new(db, &table, standing.head, entry.at)?;
    let committed = match evaluate(&mut view, entry)? {
        Outcome::Committed(change) => {
            let bytes = view.apply(&change)?;
            let grown = view.grows_by(&change);
            drop(view);
            standing.head = change.head();
            standing.history_bytes += bytes;
            let puts = change.ops.iter();
            let puts = puts.filter(|op| matches!(op, ChangeOp::Put(_))).count();
            let applied = Applied {
                committed: change.committed(),
                written: puts as u64,
                deleted: (change.ops.len() - puts) as u64,
                grown,
            };
            return Ok((Ok(applied), Some((table, change))));
        }
        Outcome::Refused(refusal) => return Ok((Err(refusal.into()), None)),
        Outcome::Repeated(committed) => committed,
        Outcome::Nothing => Committed {
            position: standing.head.position,
            at: entry.at,
        },
    };
    Ok((Ok(Applied::nothing(committed)), None))
}

/// Checks the values of a request against a schema that the table has received since the submission.
fn check_altered(table: &OpenTable, body: &Body) -> Result<(), CommitError> {
    match body {
        Body::Txn(txn) => txn.ops.iter().try_for_each(|op| match op {
            Op::Put(put) => table.check_schema(&put.key, &put.value),
            Op::Delete { .. } => Ok(()),
        }),
        // There may be millions of values, which are not checked on the writer's thread.
        Body::Replace(_) | Body::Compared(_) => Err(Refusal::Outdated.into()),
        Body::Expire(_) => Ok(()),
    }
}

fn wipe(body: &mut Body) {
    match body {
        Body::Txn(txn) => txn.zeroize(),
        Body::Replace(replace) => replace.zeroize(),
        // Overwritten on drop.
        Body::Compared(_) | Body::Expire(_) => {}
    }
}

/// Publishes a committed group to the live tables and to the subscribers.
fn publish(changes: &Changes, standing: &HashMap<i64, Standing>) {
    for (table, changes) in changes {
        table.live.push(changes);
        let standing = standing.get(&table.id);
        let floor = standing.map_or_else(|| table.feed.floor(), |standing| standing.floor);
        table.feed.push(changes, floor);
    }
}

fn answer(decided: Vec<(Reply, Answer)>, counters: &Counters) {
    for (reply, answer) in decided {
        if answer.is_err() {
            counters.refused.add(1);
        }
        reply.send(answer);
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
    let head = standing.head;
    let row = params![
        id,
        signed(head.position.seq),
        wide(head.digest.0),
        signed(head.records),
        head.at.millis(),
        signed(standing.floor),
        signed(standing.history_bytes),
    ];
    rows::execute(db, sql::HEAD, row).map(drop)
}

/// Returns the error between a failed COMMIT and the reopening.
pub(crate) fn not_open() -> StorageError {
    StorageError::io("the database is not open")
}
