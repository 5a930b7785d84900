//! A request that has passed all checks, as handlers get it, and its body.

use super::answer::{self, Answer};
use super::blame;
use super::etag::Condition;
use super::request::{self, Query, Takes};
use crate::caller::Caller;
use crate::error::Failure;
use crate::limits::{Budget, Held};
use crate::socket::Wire;
use crate::state::AppState;
use crate::work::Unit;
use axum::body::Body;
use axum::http::request::Parts;
use hotread_proto::{Key, TableName, TxnId};
use hotread_store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// A request that may be served.
pub(crate) struct Call {
    pub(crate) state: Arc<AppState>,
    pub(crate) caller: Caller,
    pub(crate) query: Query,
    pub(crate) condition: Condition,
    /// `Idempotency-Key`.
    pub(crate) id: Option<TxnId>,
    pub(crate) parts: Parts,
    /// Body that the route takes.
    pub(super) takes: Takes,
    pub(super) names: Names,
    pub(super) body: Body,
}

/// Names in the path.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) table: Option<TableName>,
    pub(super) key: Option<Key>,
    pub(super) id: Option<String>,
}

impl Call {
    /// Returns the table in the path.
    pub(crate) fn table(&self) -> Result<TableName, Failure> {
        self.names.table.clone().ok_or_else(Failure::internal)
    }

    /// Returns the key in the path.
    pub(super) fn key(&self) -> Result<Key, Failure> {
        self.names.key.clone().ok_or_else(Failure::internal)
    }

    /// Runs blocking work on behalf of the caller, as a unit of work on the table in the path. Reads take
    /// at most [`Options::max_read_ms`](crate::Options::max_read_ms).
    pub(crate) fn blocking<R, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<R, Failure>> + Send + use<R, W>
    where
        R: Send + 'static,
        W: FnOnce(&Store) -> R + Send + 'static,
    {
        let (state, unit) = (self.state.clone(), self.unit());
        async move { state.blocking(unit, work).await }
    }

    /// Answers with the result of a read, which runs as in [`blocking`](Self::blocking). For large results,
    /// `memory` bytes are taken before the read, and then as much as the answer needs until it is sent.
    pub(super) fn answer<T, R>(
        &self,
        memory: usize,
        read: R,
    ) -> impl Future<Output = Answer> + Send + use<T, R>
    where
        T: Serialize,
        R: FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    {
        let budget = self.budget();
        let answer = self.blocking(move |store| answer::large(budget.take(memory)?, &read(store)?));
        async move { answer.await? }
    }

    /// Returns a unit of work on behalf of the caller.
    pub(crate) fn unit(&self) -> Unit {
        let limit = Duration::from_millis(self.state.settings().options.max_read_ms);
        let unit = Unit::of(self.caller.who()).within(limit);
        match &self.names.table {
            Some(table) => unit.on(table),
            None => unit,
        }
    }

    /// Returns the caller's memory budget.
    pub(crate) fn budget(&self) -> Budget {
        self.state.budgets.of(self.caller.who())
    }

    /// Returns the id in the path.
    pub(super) fn path_id(&self) -> Result<String, Failure> {
        self.names.id.clone().ok_or_else(Failure::internal)
    }

    /// Parses the body, if there is one, and returns it with its memory.
    pub(super) async fn body<T>(&mut self) -> Result<Option<(T, Held)>, Failure>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let max = self.takes.most(&self.state.settings().options);
        let body = std::mem::take(&mut self.body);
        let (bytes, mut held) = request::receive(&self.budget(), body, max).await?;
        if let Some(wire) = self.parts.extensions.get::<Arc<Wire>>() {
            wire.set_unread(false);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        // The parser would accept an array as the members in their order.
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if first.is_some_and(|byte| *byte != b'{') {
            return Err(Failure::bad_request("the body is not a JSON object"));
        }
        let small = bytes.len() <= request::INLINE;
        let takes = self.takes;
        let read = move || {
            held.resize(bytes.len() + request::parsed(&bytes, takes))?;
            let body = serde_json::from_slice(&bytes);
            let body = body.map_err(|error| blame::failure(&bytes, &error))?;
            Ok(Some((body, held)))
        };
        match small {
            true => read(),
            false => self.blocking(move |_| read()).await?,
        }
    }

    /// Parses a required body.
    pub(super) async fn needed_body<T>(&mut self) -> Result<(T, Held), Failure>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let body = self.body().await?;
        body.ok_or_else(Failure::missing_body)
    }
}
