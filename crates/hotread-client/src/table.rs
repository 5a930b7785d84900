//! Typed tables of a server: a replica, and the calls that change its table.

use crate::client::Client;
use crate::error::Error;
use crate::replica::Replica;
use hotread_proto::session::Refused;
use hotread_proto::{
    Change, Code, Commit, Committed, InvalidInput, MAX_CHANGES, Position, Put, Replace, Replaced,
    Replicated, TableTxn, Timestamp, Txn, check_value, read_value, typed_table_calls,
};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest wait of an acknowledged commit until readers of the same table see it.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// A table of a server as a state `S` in this process, `HashMap<Arc<str>, V>` by default, with the calls
/// that change the table. Values are decoded once for each change, never for a read.
///
/// Created by [`Client::table`] and [`Client::table_as`]. It dereferences to its [`Replica`], with readers,
/// status and age. A table in a file of this process (`hotread_store::Table`) has the same calls, without
/// `.await`.
///
/// ```no_run
/// # async fn run() -> Result<(), hotread_client::Error> {
/// use hotread_client::Client;
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Flag {
///     on: bool,
///     percent: u8,
/// }
///
/// let client = Client::new("http://127.0.0.1:7400")?;
/// let flags = client.table::<Flag>("flags").await?; // created if it does not exist
/// let mut reader = flags.reader(); // one for each thread or task
/// flags.put("checkout-v2", &Flag { on: true, percent: 5 }).await?; // on disk, and visible to `reader`
/// assert!(reader.current()["checkout-v2"].on);
/// # Ok(())
/// # }
/// ```
pub struct Table<V, S: Replicated = HashMap<Arc<str>, V>> {
    client: Client,
    replica: Replica<S>,
    /// `true` if errors must not quote values; also without a server, while that is unknown.
    sealed: bool,
    value: PhantomData<fn(V) -> V>,
}

impl Client {
    /// Returns a client of the server at this address, with the default settings. The first call opens a
    /// connection.
    ///
    /// # Errors
    /// If the address is invalid.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Returns the table of this name as a `HashMap<Arc<str>, V>`, created with the default options if the
    /// server does not have it. See [`Table`]; it waits as [`replica`](Self::replica) does.
    ///
    /// # Errors
    /// Same as [`replica`](Self::replica); also if the table cannot be created.
    pub async fn table<V>(&self, name: &str) -> Result<Table<V>, Error>
    where
        HashMap<Arc<str>, V>: Replicated<Value = V>,
    {
        self.table_as(name).await
    }

    /// Returns the table of this name as a state of any type that can follow a table; otherwise the same as
    /// [`table`](Self::table).
    ///
    /// # Errors
    /// Same as [`table`](Self::table).
    pub async fn table_as<S: Replicated>(&self, name: &str) -> Result<Table<S::Value, S>, Error> {
        let replica = match self.replica(name).await {
            Err(error) if error.code() == Code::UnknownTable => {
                match self.create_table(name, &Default::default()).await {
                    // Another caller was faster.
                    Err(error) if error.code() == Code::TableExists => {}
                    other => drop(other?),
                }
                self.replica(name).await?
            }
            other => other?,
        };
        let info = self.table_info(name).await;
        Ok(Table {
            client: self.clone(),
            replica,
            sealed: info.map_or(true, |info| info.options.sealed),
            value: PhantomData,
        })
    }
}

typed_table_calls! {
    [async] [.await] |table| table.client, table.table().as_str();
    "Readers see it as well, unless that takes longer than a second, or the type refuses a value."
}

impl<V, S: Replicated> Table<V, S> {
    /// Returns an empty transaction.
    pub fn txn(&self) -> TableTxn<'_, Self, V> {
        TableTxn::new(self)
    }

    /// Replaces the table's content, with the limits and conditions of `new`.
    ///
    /// # Errors
    /// Same as [`Client::replace`].
    pub async fn replace_with(&self, new: Replace) -> Result<Replaced, Error> {
        TableTxn::<Self, V>::check(self, &new.records)?;
        let replaced = self.client.replace(self.table().as_str(), new).await?;
        self.show(replaced.committed.position).await;
        Ok(replaced)
    }

    /// Waits until readers see a position, unless that takes too long or is impossible.
    async fn show(&self, position: Position) {
        // The status has the reason if readers do not see it.
        let _ = self.replica.wait_for(position, SHOWN_WITHIN).await;
    }

    /// Returns the value of a record as the server has it now. On the hot path, use a reader instead.
    ///
    /// # Errors
    /// If the key is malformed, the server cannot be asked, or the type refuses the value.
    pub async fn get(&self, key: &str) -> Result<Option<V>, Error>
    where
        V: DeserializeOwned,
    {
        let record = self.client.get(self.table().as_str(), key).await?;
        let value = record.map(|record| read_value(&record, self.sealed));
        let unreadable = |Refused { key, reason, .. }| InvalidInput::Unreadable { key, reason };
        Ok(value.transpose().map_err(unreadable)?)
    }

    /// Returns the changes after `from`, oldest first, at most `limit` and [`MAX_CHANGES`].
    ///
    /// # Errors
    /// Same as [`Client::changes`].
    pub async fn changes(&self, from: Position, limit: usize) -> Result<Vec<Change>, Error> {
        let limit = Some(limit.min(MAX_CHANGES));
        let answer = self
            .client
            .changes(self.table().as_str(), from, limit)
            .await?;
        Ok(answer.changes)
    }

    /// Streams every change after `from`, in order and without a gap.
    ///
    /// # Errors
    /// Same as [`Client::events`].
    pub async fn subscribe(&self, from: Position) -> Result<crate::Events, Error> {
        self.client.events(self.table().as_str(), Some(from)).await
    }
}

impl<V, S: Replicated> Commit for Table<V, S> {
    type Error = Error;
    type Answer<'a>
        = Pin<Box<dyn Future<Output = Result<Committed, Error>> + Send + 'a>>
    where
        Self: 'a;

    fn check(&self, put: &Put) -> Result<(), String> {
        check_value::<S>(put, self.sealed)
    }

    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn commit(&self, txn: Txn) -> Self::Answer<'_> {
        Box::pin(async move {
            let committed = self.client.txn(self.table().as_str(), txn).await?;
            self.show(committed.position).await;
            Ok(committed)
        })
    }
}

/// Dereferences to the replica, for readers, status, age and position.
impl<V, S: Replicated> Deref for Table<V, S> {
    type Target = Replica<S>;

    fn deref(&self) -> &Replica<S> {
        &self.replica
    }
}

impl<V, S: Replicated> Clone for Table<V, S> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            replica: self.replica.clone(),
            sealed: self.sealed,
            value: PhantomData,
        }
    }
}

impl<V, S: Replicated> fmt::Debug for Table<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("table", self.replica.table())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
