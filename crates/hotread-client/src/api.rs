//! The calls of a client, one for each request that a server answers.

use crate::client::Client;
use crate::error::Error;
use crate::http::{Call, random_id};
use hotread_proto::http::{OneRecord, ServerStatus, Tables, TokenRequest, Tokens, escape};
use hotread_proto::{
    Alter, Changes, Code, Committed, Condition, Found, Key, NewToken, Page, Position, Precondition,
    Put, Record, Replace, Replaced, Role, Scan, Search, TableInfo, TableName, TableOptions,
    Timestamp, TokenInfo, Txn, TxnTooLarge, Value,
};
use hyper::Method;
use serde::Serialize;
use serde::de::IgnoredAny;

/// # Tables
impl Client {
    /// Returns the tables that this client may read.
    ///
    /// # Errors
    /// Any [`Error`], as all calls.
    pub async fn tables(&self) -> Result<Vec<TableInfo>, Error> {
        let answer: Tables = self.0.call(Call::get("/v1/tables")).await?;
        Ok(answer.tables)
    }

    /// Returns a table's position and options.
    ///
    /// # Errors
    /// `UNKNOWN_TABLE`, or an error that any call may return.
    pub async fn table_info(&self, table: &str) -> Result<TableInfo, Error> {
        self.0.call(Call::get(path(table, "")?)).await
    }

    /// Creates a table. Not repeated if the answer is lost.
    ///
    /// # Errors
    /// `TABLE_EXISTS`, `INVALID_OPTIONS`, [`OutcomeUnknown`](Error::OutcomeUnknown), or the error of any
    /// call.
    pub async fn create_table(
        &self,
        table: &str,
        options: &TableOptions,
    ) -> Result<TableInfo, Error> {
        let doubt = "it is unknown whether the table was created; check whether it exists";
        let call = Call::change(Method::PUT, path(table, "")?, doubt);
        self.0.call(call.json(options)?).await
    }

    /// Changes the options of a table, whose position, history and readers stay. A new schema is checked
    /// against every record. Not repeated if the answer is lost.
    ///
    /// # Errors
    /// `UNKNOWN_TABLE`, `INVALID_OPTIONS`, `SCHEMA_VIOLATION` with the key of a record that does not fit,
    /// [`OutcomeUnknown`](Error::OutcomeUnknown), or an error that any call may return. A refused change
    /// leaves the table as it was.
    pub async fn alter(&self, table: &str, alter: &Alter) -> Result<TableInfo, Error> {
        let doubt = "it is unknown whether the table was altered; alter it again";
        let call = Call::change(Method::PATCH, path(table, "")?, doubt);
        self.0.call(call.json(alter)?).await
    }

    /// Drops a table with all its records. Not repeated if the answer is lost.
    ///
    /// # Errors
    /// `UNKNOWN_TABLE`, [`OutcomeUnknown`](Error::OutcomeUnknown), or an error that any call may return.
    pub async fn drop_table(&self, table: &str) -> Result<(), Error> {
        let doubt = "it is unknown whether the table was dropped; check whether it still exists";
        let call = Call::change(Method::DELETE, path(table, "")?, doubt);
        self.0.call::<IgnoredAny>(call).await?;
        Ok(())
    }
}

/// # Reading
impl Client {
    /// Returns a record; `None`: there is no record with this key.
    ///
    /// # Errors
    /// `UNKNOWN_TABLE`, or an error that any call may return.
    pub async fn get(&self, table: &str, key: &str) -> Result<Option<Record>, Error> {
        let key = Key::new(key)?;
        let key = key.as_str();
        let record = if survives_in_a_path(key) {
            let path = path(table, &format!("/records/{}", escape(key)))?;
            match self.0.call::<OneRecord>(Call::get(path)).await {
                Ok(found) => Some(found.record),
                Err(error) if error.code() == Code::NotFound => None,
                Err(error) => return Err(error),
            }
        } else {
            // Proxies forward a query unchanged. The first of all keys with a key as their prefix is that
            // key.
            let scan = Scan {
                prefix: key.to_owned(),
                limit: 1,
                ..Scan::default()
            };
            let mut page = self.scan(table, &scan).await?;
            let first = page.records.pop();
            first.filter(|record| record.key() == key || !record.key().starts_with(key))
        };
        match record {
            Some(record) if record.key() != key => Err(Error::Protocol(format!(
                "the record {key:?} was requested, but {:?} was returned",
                record.key()
            ))),
            record => Ok(record),
        }
    }

    /// Returns a page of records, by key. Each page is of one state, whose position it names.
    ///
    /// # Errors
    /// `UNKNOWN_TABLE`, `EPOCH_CHANGED` if the table's epoch is no longer [`Scan::epoch`], or the error of
    /// any call.
    pub async fn scan(&self, table: &str, scan: &Scan) -> Result<Page, Error> {
        let prefix = Some(&scan.prefix).filter(|prefix| !prefix.is_empty());
        let call = Call::get(path(table, "/records")?)
            .query("prefix", prefix)
            .query("after", scan.after.as_ref())
            .query("category", scan.category.as_ref())
            .query("limit", limit(scan.limit))
            .query("epoch", scan.epoch);
        self.0.call(call).await
    }

    /// Returns the records whose keys or values contain these words, the best matches first. The table must
    /// have been created with `search`.
    ///
    /// # Errors
    /// `NO_SEARCH`, `UNKNOWN_TABLE`, or an error that any call may return.
    pub async fn search(&self, table: &str, search: &Search) -> Result<Found, Error> {
        let call = Call::get(path(table, "/search")?)
            .query("q", Some(&search.query))
            .query("category", search.category.as_ref())
            .query("limit", limit(search.limit));
        self.0.call(call).await
    }

    /// Returns the transactions after a position, oldest first, from those that the history keeps.
    ///
    /// # Errors
    /// `GONE` if the history does not reach back that far, `EPOCH_CHANGED` if the position belongs to another
    /// incarnation of the table, or an error that any call may return.
    pub async fn changes(
        &self,
        table: &str,
        from: Position,
        limit: Option<usize>,
    ) -> Result<Changes, Error> {
        let call = Call::get(path(table, "/changes")?)
            .query("from", Some(from))
            .query("limit", limit);
        self.0.call(call).await
    }
}

/// # Writing
///
/// Each write has a random id, unless the caller gives one. It is repeated with that id if the answer is
/// lost, a proxy answers in the server's place, or the server is busy, and is thus applied once or not at
/// all. If no attempt is answered, [`CommitUnknown`](Error::CommitUnknown) carries its id: retry with it
/// to find out.
impl Client {
    /// Writes a record of the category `general` that does not expire. Records are written whole, so this
    /// also replaces an earlier category and expiry. Use [`put_record`](Self::put_record) for others.
    ///
    /// # Errors
    /// `INVALID_NAME`, `INVALID_VALUE`, `SCHEMA_VIOLATION`, `TOO_LARGE`, or an error that any call may
    /// return.
    pub async fn put<V: Serialize + ?Sized>(
        &self,
        table: &str,
        key: &str,
        value: &V,
    ) -> Result<Position, Error> {
        let put = Put::new(Key::new(key)?, Value::serialize(value)?);
        Ok(self.put_record(table, put, None).await?.position)
    }

    /// Writes a record whole, with category and expiry, if the condition holds for its key.
    ///
    /// # Errors
    /// Same as [`put`](Self::put); also `PRECONDITION_FAILED`.
    pub async fn put_record(
        &self,
        table: &str,
        put: Put,
        condition: Option<Condition>,
    ) -> Result<Committed, Error> {
        let key = put.key.clone();
        self.txn(table, conditional(Txn::new().put(put), key, condition))
            .await
    }

    /// Deletes a record. Deleting an absent one is not an error.
    ///
    /// # Errors
    /// Errors that any call may return.
    pub async fn delete(&self, table: &str, key: &str) -> Result<Position, Error> {
        Ok(self.delete_record(table, key, None).await?.position)
    }

    /// Deletes a record if the condition holds.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED`, or an error that any call may return.
    pub async fn delete_record(
        &self,
        table: &str,
        key: &str,
        condition: Option<Condition>,
    ) -> Result<Committed, Error> {
        let key = Key::new(key)?;
        let txn = Txn::new().delete(key.clone());
        self.txn(table, conditional(txn, key, condition)).await
    }

    /// Commits several operations, all of them or none.
    ///
    /// # Errors
    /// `PRECONDITION_FAILED`, `SCHEMA_VIOLATION`, `TOO_LARGE`, `TXN_ID_REUSED`, or an error that any call may
    /// return.
    pub async fn txn(&self, table: &str, mut txn: Txn) -> Result<Committed, Error> {
        txn.check().map_err(|error| match error {
            TxnTooLarge::Empty => Error::invalid(Code::BadRequest, error),
            _ => Error::invalid(Code::TooLarge, error),
        })?;
        let id = txn.id.take().map_or_else(random_id, Ok)?;
        txn.id = Some(id.clone());
        let call = Call::once(path(table, "/txn")?, &txn, &id)?;
        self.0.call(call).await
    }

    /// Replaces a table's whole content in one visible step. Unchanged records keep their sequence number.
    /// Takes the memory of the records as JSON.
    ///
    /// # Errors
    /// `SCHEMA_VIOLATION`, `TOO_LARGE`, `TXN_ID_REUSED`, or an error that any call may return.
    pub async fn replace(&self, table: &str, mut new: Replace) -> Result<Replaced, Error> {
        let id = new.id.take().map_or_else(random_id, Ok)?;
        new.id = Some(id.clone());
        let call = Call::once(path(table, "/replace")?, &new, &id)?;
        drop(new);
        self.0.call(call).await
    }
}

/// # The server
impl Client {
    /// Returns the server's status: its tables, the sessions that follow them, and figures of the store.
    ///
    /// # Errors
    /// Errors that any call may return.
    pub async fn status(&self) -> Result<ServerStatus, Error> {
        self.0.call(Call::get("/v1/status")).await
    }

    /// Returns all tokens, without their secrets.
    ///
    /// # Errors
    /// Errors that any call may return.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, Error> {
        let answer: Tokens = self.0.call(Call::get("/v1/tokens")).await?;
        Ok(answer.tokens)
    }

    /// Creates a token that is valid until it is revoked. Not repeated if the answer is lost: look for it
    /// among the [`tokens`](Self::tokens) then, and revoke it.
    ///
    /// # Errors
    /// [`OutcomeUnknown`](Error::OutcomeUnknown), or an error that any call may return.
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<&[TableName]>,
    ) -> Result<NewToken, Error> {
        self.make_token(name, role, tables, None).await
    }

    /// Creates a token that expires at the given time by the server's clock; otherwise the same as
    /// [`create_token`](Self::create_token).
    ///
    /// # Errors
    /// `BAD_REQUEST` if that time is past, or an error that any call may return.
    pub async fn create_expiring_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<&[TableName]>,
        expires_at: Timestamp,
    ) -> Result<NewToken, Error> {
        self.make_token(name, role, tables, Some(expires_at)).await
    }

    async fn make_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<&[TableName]>,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        let doubt = "it is unknown whether the token was created; if its name is among the tokens, \
                     revoke it, since its secret is lost";
        let call = Call::change(Method::POST, "/v1/tokens", doubt).json(&TokenRequest {
            name: name.to_owned(),
            role,
            tables: tables.map(<[TableName]>::to_vec),
            expires_at,
        })?;
        self.0.call(call).await
    }

    /// Revokes a token, and ends the sessions that it began. Not repeated if the answer is lost.
    ///
    /// # Errors
    /// `UNKNOWN_TOKEN`, [`OutcomeUnknown`](Error::OutcomeUnknown), or an error that any call may return.
    pub async fn revoke_token(&self, id: &str) -> Result<TokenInfo, Error> {
        let path = format!("/v1/tokens/{}", segment(id)?);
        let doubt = "it is unknown whether the token was revoked; check whether it still exists";
        let call = Call::change(Method::DELETE, path, doubt);
        self.0.call(call).await
    }
}

/// Returns the parameter of a limit; `None` means the server's own.
fn limit(limit: usize) -> Option<usize> {
    (limit > 0).then_some(limit)
}

/// Returns a path below a table's.
fn path(table: &str, rest: &str) -> Result<String, Error> {
    Ok(format!("/v1/tables/{}{rest}", TableName::new(table)?))
}

/// Returns `true` if every proxy forwards the key unchanged as a segment of a path. Many decode `%2F`,
/// merge slashes and resolve `..`, and so does this client's own library with `%2E%2E`.
fn survives_in_a_path(key: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    key.bytes().all(|byte| unreserved(byte) || byte == b'.') && !matches!(key, "." | "..")
}

/// Checks an id that has to be a segment of a path.
fn segment(id: &str) -> Result<&str, Error> {
    if !id.is_empty() && survives_in_a_path(id) {
        return Ok(id);
    }
    let message = format!("no token has the id {id:?}");
    Err(Error::invalid(Code::UnknownToken, message))
}

fn conditional(mut txn: Txn, key: Key, condition: Option<Condition>) -> Txn {
    let condition = condition.map(|condition| Precondition { key, condition });
    txn.preconditions.extend(condition);
    txn
}
