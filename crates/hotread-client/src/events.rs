//! A table's transactions, one by one.

use crate::client::Client;
use crate::drive::{self, Publish};
use crate::error::Error;
use crate::replica::in_time;
use futures_util::Stream;
use hotread_proto::session::{Batch, Follow, Mode, Status, Target};
use hotread_proto::{Actor, ChangeOp, ErrorBody, Head, Note, Position, Record, TableName};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Number of transactions received ahead of their reader. Beyond it the server has to wait; if the wait is
/// long, the session is lost and resumed afterwards.
const AHEAD: usize = 16;

/// The changes of one transaction.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// Head of the table after the transaction, and the time of the commit.
    pub head: Head,
    /// Final operation on each record of the transaction, each key at most once.
    pub ops: Vec<ChangeOp>,
    /// Author of the transaction, if known.
    pub actor: Option<Actor>,
    /// Reason for the transaction, if given.
    pub note: Option<Note>,
}

/// A table's transactions, one by one, without gaps: a stream that ends only with an error. Dropping it
/// ends the session.
#[derive(Debug)]
pub struct Events {
    from: Position,
    coming: mpsc::Receiver<Result<Event, Error>>,
    /// Task of the session, which ends when this is dropped.
    _task: JoinSet<()>,
}

impl Events {
    /// Returns the position after which the stream began. It has every transaction after that position.
    #[must_use]
    pub fn from(&self) -> Position {
        self.from
    }

    /// Waits for the next transaction, also across lost connections. Returns `None` after the error that
    /// ended the stream. Cancel safe: a dropped future loses no event.
    ///
    /// # Errors
    /// If the next events are no longer available (`GONE`, `EPOCH_CHANGED`), or the server refuses.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.coming.recv().await
    }
}

impl Stream for Events {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.coming.poll_recv(cx)
    }
}

impl Client {
    /// Streams the transactions of a table, one by one: those after `from`, or after the table's current
    /// position if that is `None`. Lost connections are resumed. Waits for the server as
    /// [`replica`](Self::replica) does.
    ///
    /// # Errors
    /// If the server refuses, or the call takes longer than
    /// [`start_within`](crate::ClientBuilder::start_within). `GONE` and `EPOCH_CHANGED`: the server no
    /// longer has all transactions after `from`.
    pub async fn events(&self, table: &str, from: Option<Position>) -> Result<Events, Error> {
        let table = TableName::new(table)?;
        let (sender, coming) = mpsc::channel(AHEAD);
        let (begun, begins) = oneshot::channel();
        let (trouble, last_trouble) = watch::channel(None);
        let mut outlet = Outlet {
            sender,
            full: false,
            begun: Some(begun),
            trouble,
        };
        let endpoint = self.0.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let began = Instant::now();
            let config = drive::config(&endpoint, Mode::Events { from }, true);
            let follow = Follow::new(Nothing, config, began.elapsed());
            let body = drive::drive(follow, &mut outlet, &endpoint, &table, began).await;
            let error = Error::session(body);
            match outlet.begun.take() {
                // The caller, or the reader, may be gone.
                Some(begun) => drop(begun.send(Err(error))),
                None => drop(outlet.sender.send(Err(error)).await),
            }
        });
        let from = in_time(&self.0, begins, || last_trouble.borrow().clone()).await?;
        Ok(Events {
            from,
            coming,
            _task: task,
        })
    }
}

/// A target that keeps no state.
#[derive(Debug)]
struct Nothing;

impl Target for Nothing {
    type Action = ();

    fn put(&mut self, _: &Arc<str>, _: &Record) -> Result<(), String> {
        Ok(())
    }

    fn delete(&mut self, _: &Arc<str>) {}
}

/// Sends events to their reader.
struct Outlet {
    sender: mpsc::Sender<Result<Event, Error>>,
    /// The channel was full after the last event. The reader makes room at any time, so `has_room` and the
    /// `progress` after it rely on this flag, which changes only in this task.
    full: bool,
    /// Sender of the position at which the session begins; `None`: it has begun.
    begun: Option<oneshot::Sender<Result<Position, Error>>>,
    /// Latest reason the session has not begun.
    trouble: watch::Sender<Option<String>>,
}

impl Publish<Nothing> for Outlet {
    const KEEPS_TIME: bool = false;

    async fn apply(&mut self, batch: Batch<()>) -> Result<bool, ErrorBody> {
        let event = Event {
            head: batch.head,
            ops: batch.ops,
            actor: batch.actor,
            note: batch.note,
        };
        // There is room, because each frame that is read brings at most one event. If the reader is gone,
        // this task ends.
        let _ = self.sender.try_send(Ok(event));
        self.full = self.sender.capacity() == 0;
        Ok(true)
    }

    fn has_room(&self) -> bool {
        !self.full
    }

    async fn progress(&mut self) -> Result<Option<Position>, ErrorBody> {
        if !self.full {
            return std::future::pending().await;
        }
        // An error means that the reader is gone, and this task is about to end.
        drop(self.sender.reserve().await);
        self.full = false;
        Ok(None)
    }

    fn report(&mut self, follow: &Follow<Nothing>, _: &Arc<str>) {
        if let (Some(_), Some(trouble)) = (&self.begun, follow.trouble()) {
            self.trouble.send_replace(Some(trouble.to_owned()));
        }
        if let (Status::Live, Some(position)) = (follow.status(), follow.position())
            && let Some(begun) = self.begun.take()
        {
            // The caller may be gone; then the task is about to end.
            let _ = begun.send(Ok(position));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use hotread_proto::session::Cause;
    use hotread_proto::{Digest, Timestamp};

    fn batch(seq: u64) -> Batch<()> {
        Batch {
            from: seq,
            head: Head {
                position: Position {
                    epoch: "00c0ffee00c0ffee".parse().unwrap(),
                    seq,
                },
                digest: Digest::EMPTY,
                records: seq,
                at: Timestamp::EPOCH,
            },
            actions: Vec::new(),
            ops: Vec::new(),
            cause: Cause::Txn,
            actor: None,
            note: None,
        }
    }

    #[test]
    fn room_is_noticed_whenever_the_reader_makes_it() {
        let (sender, mut coming) = mpsc::channel(AHEAD);
        let mut outlet = Outlet {
            sender,
            full: false,
            begun: None,
            trouble: watch::channel(None).0,
        };
        for seq in 1..=AHEAD as u64 {
            assert!(outlet.has_room());
            assert!(outlet.progress().now_or_never().is_none());
            let applied = outlet.apply(batch(seq)).now_or_never();
            assert!(applied.unwrap().unwrap());
        }
        assert!(!outlet.has_room());
        assert!(outlet.progress().now_or_never().is_none());
        // Between the two calls of one step: the step reads nothing, and `progress` ends it.
        assert!(!outlet.has_room());
        coming.try_recv().unwrap().unwrap();
        let made = outlet.progress().now_or_never();
        assert_eq!(made.expect("it resolves").unwrap(), None);
        assert!(outlet.has_room());
    }
}
