//! What waits for the committer. Bounded: whoever finds it full waits as long as it likes to, and then
//! gives up with nothing done.

use crate::committer::Committer;
use crate::error::CommitError;
use crate::table::Table;
use crate::ticket::Reply;
use hotread_proto::{Body, Timestamp};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most transactions that wait. The group that is being committed does not count.
pub(crate) const MAX_WAITING: usize = 1_024;
/// Most bytes of keys and values that wait; one larger transaction may wait alone.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;
/// Most transactions in a group: what one fsync is shared by, and what one failure takes along.
const MAX_GROUP: usize = 512;
/// Most bytes of keys and values in a group; one larger transaction may be a group alone.
const MAX_GROUP_BYTES: usize = 32 << 20;
/// How long a caller waits for room before it is told that the store is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Something to be decided and committed.
pub(crate) struct Request {
    pub(crate) table: Arc<Table>,
    pub(crate) at: Timestamp,
    pub(crate) body: Body,
    /// Bytes of keys and values.
    pub(crate) size: usize,
    pub(crate) reply: Reply,
}

/// Work that is done between groups, with the committer to itself. It answers by a way of its own.
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
    closed: bool,
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
            let fits = waiting.work.is_empty()
                || (waiting.work.len() < MAX_WAITING && waiting.bytes + size <= MAX_WAITING_BYTES);
            if fits {
                break;
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(CommitError::Busy {
                    waiting: waiting.work.len(),
                });
            }
            waiting = self
                .room
                .wait_timeout(waiting, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
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
            waiting = self
                .filled
                .wait_timeout(waiting, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(work) = waiting.work.pop_front() {
            match work {
                Work::Job(job) if group.is_empty() => {
                    drop(waiting);
                    self.room.notify_all();
                    return Next::Job(job);
                }
                Work::Request(request)
                    if group.is_empty()
                        || (group.len() < MAX_GROUP && bytes + request.size <= MAX_GROUP_BYTES) =>
                {
                    bytes += request.size;
                    waiting.bytes -= request.size;
                    group.push(request);
                }
                later => {
                    waiting.work.push_front(later);
                    break;
                }
            }
        }
        let closed = waiting.closed;
        drop(waiting);
        if !group.is_empty() {
            self.room.notify_all();
            Next::Group(group)
        } else if closed {
            Next::Closed
        } else {
            Next::Idle
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
            // Nothing was done for those that were still waiting.
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
