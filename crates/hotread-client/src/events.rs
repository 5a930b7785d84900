//! A table's transactions, one by one.

use crate::drive::{self, Publish};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::replica::{Task, in_time};
use futures_util::Stream;
use hotread_proto::session::{Batch, Follow, Mode, Status, Target};
use hotread_proto::{Actor, ChangeOp, ErrorBody, Head, Note, Position, Record, TableName};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// Transactions that are received ahead of whoever reads them. Beyond it the server is kept waiting;
/// if that takes long, the session is resumed afterwards.
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

/// A table's transactions, one by one, without gaps: a stream that ends only with an error.
///
/// Dropping it ends the session.
#[derive(Debug)]
pub struct Events {
    from: Position,
    coming: mpsc::Receiver<Result<Event, Error>>,
    _task: Task,
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

pub(crate) async fn start(
    endpoint: &Arc<Endpoint>,
    table: TableName,
    from: Option<Position>,
) -> Result<Events, Error> {
    let (sender, coming) = mpsc::channel(AHEAD);
    let (begun, begins) = oneshot::channel();
    let trouble = Trouble::default();
    let mut outlet = Outlet {
        sender,
        begun: Some(begun),
        trouble: trouble.clone(),
    };
    let its_endpoint = endpoint.clone();
    let task = tokio::spawn(async move {
        let (endpoint, began) = (its_endpoint, Instant::now());
        let config = drive::config(&endpoint, Mode::Events { from }, true);
        let follow = Follow::new(Nothing, config, began.elapsed());
        let body = drive::drive(follow, &mut outlet, &endpoint, &table, began).await;
        let error = Error::session(body);
        match outlet.begun.take() {
            // Whoever waited, or read, may have gone.
            Some(begun) => drop(begun.send(Err(error))),
            None => drop(outlet.sender.send(Err(error)).await),
        }
    });
    let task = Task(task.abort_handle());
    let from = in_time(endpoint, begins, || trouble.get()).await?;
    Ok(Events {
        from,
        coming,
        _task: task,
    })
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

/// What keeps the session from beginning.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn get(&self) -> Option<String> {
        let trouble = self.0.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: &str) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(trouble.to_owned());
    }
}

/// Hands events on.
struct Outlet {
    sender: mpsc::Sender<Result<Event, Error>>,
    /// `None`: the session began.
    begun: Option<oneshot::Sender<Result<Position, Error>>>,
    trouble: Trouble,
}

impl Publish<Nothing> for Outlet {
    async fn apply(&mut self, batch: Batch<()>) -> Result<bool, ErrorBody> {
        let event = Event {
            head: batch.head,
            ops: batch.ops,
            actor: batch.actor,
            note: batch.note,
        };
        // There is room: a frame that was read brings one at most. Only whoever reads may have gone,
        // and this task is ended then.
        let _ = self.sender.try_send(Ok(event));
        Ok(true)
    }

    fn has_room(&self) -> bool {
        self.sender.capacity() > 0
    }

    fn keeps_time(&self) -> bool {
        self.has_room()
    }

    async fn progress(&mut self) -> Result<Option<Position>, ErrorBody> {
        if self.has_room() {
            return std::future::pending().await;
        }
        // An error means that nobody reads any more, and this task is ended.
        drop(self.sender.reserve().await);
        Ok(None)
    }

    fn report(&mut self, follow: &Follow<Nothing>) {
        if let (Some(_), Some(trouble)) = (&self.begun, follow.trouble()) {
            self.trouble.set(trouble);
        }
        let (Status::Live, Some(position)) = (follow.status(), follow.position()) else {
            return;
        };
        if let Some(begun) = self.begun.take() {
            // Whoever waited may have gone; then the task is being ended.
            let _ = begun.send(Ok(position));
        }
    }
}
