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

/// Transactions that are received ahead of their reader. Beyond it the server waits; if that takes long,
/// the session is resumed afterwards.
const AHEAD: usize = 16;

/// What a transaction did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// Where the table stood after it, and when it was committed.
    pub head: Head,
    /// What became of each record that it touched, each key at most once.
    pub ops: Vec<ChangeOp>,
    /// The author, if one is known.
    pub actor: Option<Actor>,
    /// The reason, if one was given.
    pub note: Option<Note>,
}

/// A table's transactions, one by one, without gaps: a stream that ends only with an error. Dropping it
/// ends the session.
#[derive(Debug)]
pub struct Events {
    from: Position,
    coming: mpsc::Receiver<Result<Event, Error>>,
    /// Ends with this.
    _task: JoinSet<()>,
}

impl Events {
    /// The position after which it began. The events after it are all there.
    #[must_use]
    pub fn from(&self) -> Position {
        self.from
    }

    /// The next transaction. Waits as long as there is none, over lost connections. `None`: the error
    /// that ended it was told before. May be dropped and called again; nothing is lost then.
    ///
    /// # Errors
    /// If the events between cannot be told any more (`GONE`, `EPOCH_CHANGED`), or the server refuses.
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
    /// The transactions of a table, one by one: those after `from`, or after where the table stands
    /// now. Lost connections are made up for. Waits for the server as [`replica`](Self::replica) does.
    ///
    /// # Errors
    /// If the server refuses, or it takes longer than it may. `GONE` and `EPOCH_CHANGED`: it does not have
    /// all that came after `from` any more.
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
                // The caller, or the reader, may have gone.
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

/// Keeps nothing.
#[derive(Debug)]
struct Nothing;

impl Target for Nothing {
    type Action = ();

    fn put(&mut self, _: &Arc<str>, _: &Record) -> Result<(), String> {
        Ok(())
    }

    fn delete(&mut self, _: &Arc<str>) {}
}

/// Hands events on.
struct Outlet {
    sender: mpsc::Sender<Result<Event, Error>>,
    /// The channel was full after the last event. The reader makes room at any time, so only this task's own
    /// note of it is the same for `has_room` and for the `progress` after it.
    full: bool,
    /// `None`: the session began.
    begun: Option<oneshot::Sender<Result<Position, Error>>>,
    /// What keeps the session from beginning.
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
        // There is room: a frame that was read brings one at most. If the reader has gone, this task ends.
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
        // An error means that nobody reads any more, and this task is ended.
        drop(self.sender.reserve().await);
        self.full = false;
        Ok(None)
    }

    fn report(&mut self, follow: &Follow<Nothing>) {
        if let (Some(_), Some(trouble)) = (&self.begun, follow.trouble()) {
            self.trouble.send_replace(Some(trouble.to_owned()));
        }
        if let (Status::Live, Some(position)) = (follow.status(), follow.position())
            && let Some(begun) = self.begun.take()
        {
            // The caller may have gone; then the task is being ended.
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
