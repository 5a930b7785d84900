//! What waits for the committer. Bounded: a caller that finds it full waits as long as it likes to, and then
//! gives up with nothing done.

use super::Committer;
use crate::error::CommitError;
use crate::table::OpenTable;
use crate::ticket::Reply;
use hotread_proto::{Actor, Body, Timestamp};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most transactions that wait. The group that is being committed does not count.
pub(crate) const MAX_WAITING: usize = 1_024;
/// Bytes that an operation counts for in addition to its own: it takes the time and the memory of as many more.
pub(crate) const OP_BYTES: usize = 128;
/// Most bytes of keys, values and operations that wait; one larger transaction may wait alone.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;
/// Most transactions in a group: what one fsync is shared by, and what one failure takes along.
const MAX_GROUP: usize = 512;
/// Most bytes in a group, which takes less than a second; a larger transaction is one alone.
const MAX_GROUP_BYTES: usize = 16 << 20;
/// A request of more bytes than this is a group alone, and what else waits may go before the next one: so
/// that writers of other tables wait for one large commit at most, however many there are.
const LARGE_BYTES: usize = 1 << 20;
/// How long a caller waits for room before it is told that the store is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Something to be decided and committed.
pub(crate) struct Request {
    pub(crate) table: Arc<OpenTable>,
    pub(crate) at: Timestamp,
    pub(crate) actor: Option<Actor>,
    pub(crate) body: Body,
    /// Bytes of keys, values, operations and note.
    pub(crate) size: usize,
    pub(crate) reply: Reply,
}

/// Work that is done between groups, with the committer to itself.
pub(crate) type Job = Box<dyn FnOnce(&mut Committer) + Send>;

pub(crate) enum Work {
    Request(Request),
    Job(Job),
}

/// What the committer is to do next.
pub(crate) enum Next {
    Group(Vec<Request>),
    Job(Job),
    /// Nothing came in time.
    Idle,
    /// Everything is done, and nothing more will come.
    Closed,
}

#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// The committer waits here for work.
    filled: Condvar,
    /// Callers wait here for room.
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    bytes: usize,
    /// The last group was a large request.
    was_large: bool,
    closed: bool,
}

impl Waiting {
    /// The requests that are committed next. A large one is alone. After it, smaller ones pass those that
    /// are as large, but none of its own table, and no job.
    fn group(&mut self) -> Vec<Request> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        let mut passed: Vec<Work> = Vec::new();
        let may_pass = std::mem::take(&mut self.was_large);
        while let Some(work) = self.work.pop_front() {
            let Work::Request(request) = work else {
                self.work.push_front(work);
                break;
            };
            let is_large = request.size > LARGE_BYTES;
            let fits = group.len() < MAX_GROUP && bytes + request.size <= MAX_GROUP_BYTES;
            let is_behind = passed.iter().any(
                |work| matches!(work, Work::Request(other) if other.table.id == request.table.id),
            );
            if !is_large && !is_behind && fits {
                bytes += request.size;
                group.push(request);
            } else if may_pass && fits {
                passed.push(Work::Request(request));
            } else {
                self.work.push_front(Work::Request(request));
                break;
            }
        }
        for work in passed.into_iter().rev() {
            self.work.push_front(work);
        }
        if group.is_empty()
            && let Some(Work::Request(request)) = self
                .work
                .pop_front_if(|work| matches!(work, Work::Request(_)))
        {
            self.was_large = request.size > LARGE_BYTES;
            bytes = request.size;
            group.push(request);
        }
        self.bytes -= bytes;
        group
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing here panics half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room as long as `patience`.
    pub(crate) fn push(&self, work: Work, patience: Duration) -> Result<(), CommitError> {
        let size = match &work {
            Work::Request(request) => request.size,
            Work::Job(_) => 0,
        };
        let deadline = Instant::now() + patience;
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return Err(CommitError::Closed);
            }
            let fits =
                waiting.work.len() < MAX_WAITING && waiting.bytes + size <= MAX_WAITING_BYTES;
            if fits || waiting.work.is_empty() {
                break;
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                let waiting = waiting.work.len();
                return Err(CommitError::Busy { waiting });
            }
            let waited = self.room.wait_timeout(waiting, patience);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.bytes += size;
        waiting.work.push_back(work);
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Whatever waits, as far as it makes a group; waits for something to come.
    pub(crate) fn next(&self, patience: Duration) -> Next {
        let mut waiting = self.lock();
        if waiting.work.is_empty() && !waiting.closed {
            let waited = self.filled.wait_timeout(waiting, patience);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let is_job = |work: &mut Work| matches!(work, Work::Job(_));
        if let Some(Work::Job(job)) = waiting.work.pop_front_if(is_job) {
            drop(waiting);
            self.room.notify_all();
            return Next::Job(job);
        }
        let group = waiting.group();
        let closed = waiting.closed;
        drop(waiting);
        match (group.is_empty(), closed) {
            (false, _) => {
                self.room.notify_all();
                Next::Group(group)
            }
            (true, true) => Next::Closed,
            (true, false) => Next::Idle,
        }
    }

    /// Nothing more comes in; what is there is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.room.notify_all();
    }

    /// What is there is not done either: the committer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        let work = std::mem::take(&mut self.lock().work);
        for work in work {
            if let Work::Request(request) = work {
                request.reply.send(Err(CommitError::Closed));
            }
        }
    }

    /// Transactions and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.work.len(), waiting.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::ticket;
    use crate::{Store, TableOptions};
    use hotread_proto::{TableName, Txn};

    /// A request for one of two tables.
    fn request(table: &Arc<OpenTable>, size: usize) -> Work {
        Work::Request(Request {
            table: table.clone(),
            at: Timestamp::EPOCH,
            actor: None,
            body: Body::Txn(Txn::new()),
            size,
            reply: ticket().1,
        })
    }

    fn sizes(queue: &Queue) -> Vec<usize> {
        match queue.next(Duration::ZERO) {
            Next::Group(group) => group.iter().map(|request| request.size).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn small_requests_wait_for_one_large_one_and_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("test.db")).unwrap();
        let [a, b] = ["a", "b"].map(|name| {
            let name = TableName::new(name).unwrap();
            store.create_table(&name, TableOptions::default()).unwrap();
            store.0.registry.get(&name).unwrap()
        });
        let queue = Queue::default();
        let large = LARGE_BYTES + 1;
        for (table, size) in [
            (&a, large),
            (&a, large + 1),
            (&b, 1),
            (&a, 2),
            (&a, large + 2),
            (&b, 3),
        ] {
            queue.push(request(table, size), Duration::ZERO).unwrap();
        }
        assert_eq!(sizes(&queue), [large]);
        assert_eq!(sizes(&queue), [1, 3], "those of the other table");
        assert_eq!(sizes(&queue), [large + 1]);
        assert_eq!(sizes(&queue), [2], "behind the large one of its table");
        assert_eq!(sizes(&queue), [large + 2]);
        assert_eq!(queue.depth(), (0, 0));

        // None passes a job.
        let job = Work::Job(Box::new(|_| ()));
        for work in [request(&a, large), request(&a, large), job, request(&b, 1)] {
            queue.push(work, Duration::ZERO).unwrap();
        }
        assert_eq!(sizes(&queue), [large]);
        assert_eq!(sizes(&queue), [large]);
        assert!(matches!(queue.next(Duration::ZERO), Next::Job(_)));
        assert_eq!(sizes(&queue), [1]);
    }
}
