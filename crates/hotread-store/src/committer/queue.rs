//! The bounded queue of work for the committer. A caller that finds it full waits for a time of its
//! choice, and then fails with nothing done.

use super::Committer;
use crate::error::CommitError;
use crate::table::OpenTable;
use crate::ticket::Reply;
use hotread_proto::{Actor, Body, Timestamp};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of transactions that wait. The group that is being committed does not count.
pub(crate) const MAX_WAITING: usize = 1_024;
/// Bytes that each operation counts for in addition to its own: the equivalent of its time and memory.
pub(crate) const OP_BYTES: usize = 128;
/// Maximum number of bytes of keys, values and operations that wait; a single larger transaction may wait
/// alone.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;
/// Maximum number of transactions of a group, which share one fsync and fail together.
const MAX_GROUP: usize = 512;
/// Maximum number of bytes of a group, which takes less than a second; a larger transaction is a group of its
/// own.
const MAX_GROUP_BYTES: usize = 16 << 20;
/// A request of more bytes than this is a group of its own, and smaller requests may pass the next such
/// one. Writers of other tables therefore wait for one large commit at most, regardless of the number of
/// large requests.
const LARGE_BYTES: usize = 1 << 20;
/// Time for which a caller waits for room before it gets [`CommitError::Busy`].
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A transaction to be decided and committed.
pub(crate) struct Request {
    pub(crate) table: Arc<OpenTable>,
    pub(crate) at: Timestamp,
    pub(crate) actor: Option<Actor>,
    pub(crate) body: Body,
    /// Bytes of keys, values, operations and note.
    pub(crate) size: usize,
    pub(crate) reply: Reply,
}

/// Work between groups, with exclusive use of the committer.
pub(crate) type Job = Box<dyn FnOnce(&mut Committer) + Send>;

pub(crate) enum Work {
    Request(Request),
    Job(Job),
}

/// The committer's next work.
pub(crate) enum Next {
    Group(Vec<Request>),
    Job(Job),
    /// No work arrived in time.
    Idle,
    /// All work is done, and no more will arrive.
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
    /// Set if the last group was a large request.
    was_large: bool,
    closed: bool,
}

impl Waiting {
    /// Removes the requests that are committed next. A large one is a group of its own. After it,
    /// smaller requests pass the next large ones, but neither those of their own table nor a job.
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
        // No code under this lock panics in the middle of a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds work, waiting for room for at most `patience`.
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

    /// Returns the next group or job, waiting for work for at most `patience`.
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

    /// Refuses further work. Work in the queue is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.room.notify_all();
    }

    /// Refuses further work, and fails the work in the queue, because the committer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        let work = std::mem::take(&mut self.lock().work);
        for work in work {
            if let Work::Request(request) = work {
                request.reply.send(Err(CommitError::Closed));
            }
        }
    }

    /// Returns the number of waiting transactions, and their bytes.
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

    /// Returns a request of this size for the table.
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
        assert_eq!(sizes(&queue), [1, 3], "the requests of the other table");
        assert_eq!(sizes(&queue), [large + 1]);
        assert_eq!(sizes(&queue), [2], "behind the large one of its table");
        assert_eq!(sizes(&queue), [large + 2]);
        assert_eq!(queue.depth(), (0, 0));

        // No request passes a job.
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
