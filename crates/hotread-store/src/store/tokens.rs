//! Calls that make, list, revoke and find tokens. The calls of this crate itself ask nobody for one.

use super::Store;
use crate::committer::tokens::Last;
use crate::error::ReadError;
use crate::read;
use crate::token::{self, MAX_TOKEN_TABLES, TokenError};
use hotread_proto::session::is_client_name;
use hotread_proto::{NewToken, Role, TableName, Timestamp, TokenInfo};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

/// Checks what a token is to be, and brings its tables into order.
fn check_new(
    name: &str,
    tables: Option<Vec<TableName>>,
) -> Result<Option<Vec<TableName>>, TokenError> {
    if !is_client_name(name) {
        return Err(TokenError::InvalidName);
    }
    let tables = tables.map(BTreeSet::from_iter);
    match tables.as_ref().map(BTreeSet::len) {
        Some(0) => Err(TokenError::NoTables),
        Some(given) if given > MAX_TOKEN_TABLES => Err(TokenError::TooManyTables { given }),
        _ => Ok(tables.map(Vec::from_iter)),
    }
}

impl Store {
    /// Makes a token. The secret is in the answer and nowhere else: only its SHA-256 is kept.
    ///
    /// From the first token on, a server of the store asks for one. So that others can be made then,
    /// the first one must be an admin that is not limited to tables. It is valid until it is revoked.
    ///
    /// # Errors
    /// If the name does not have its form, or there is something wrong with `tables`, or it is the
    /// first one and not such an admin, or there are [`MAX_TOKENS`](crate::MAX_TOKENS), or it cannot be written. After
    /// [`CommitError::Unknown`](crate::CommitError::Unknown), which only a disk that goes on failing
    /// leads to, it may be there, and nobody has its secret: look for it in
    /// [`tokens`](Self::tokens), and revoke it.
    pub fn create_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
    ) -> Result<NewToken, TokenError> {
        self.make_token(name, role, tables, None)
    }

    /// As [`create_token`](Self::create_token), but no request is let in by the token from that time on, by this
    /// computer's clock. About a second later it is taken from the list, and what goes on by it ends.
    ///
    /// # Errors
    /// As of [`create_token`](Self::create_token), and if that time is over already.
    pub fn create_expiring_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Timestamp,
    ) -> Result<NewToken, TokenError> {
        if expires_at <= Timestamp::from(SystemTime::now()) {
            return Err(TokenError::Expired { at: expires_at });
        }
        self.make_token(name, role, tables, Some(expires_at))
    }

    fn make_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, TokenError> {
        let info = TokenInfo {
            // The committer's to say.
            id: String::new(),
            created_at: Timestamp::EPOCH,
            tables: check_new(name, tables)?,
            name: name.to_owned(),
            role,
            expires_at,
        };
        let (secret, hash) = token::new_secret()?;
        let info = self.job(move |committer| committer.create_token(hash, info))?;
        Ok(NewToken { info, secret })
    }

    /// All tokens, the oldest first, and by id where the times are the same. From memory; of a store
    /// that only reads, from disk.
    ///
    /// # Errors
    /// If the store only reads, and the database cannot be read.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, ReadError> {
        match &self.0.writer {
            Some(writer) => Ok(writer.shared.tokens.all()),
            None => Ok(token::sorted(&token::read_all(&*read::connection(
                &self.pool(),
            )?)?)),
        }
    }

    /// Revokes a token, by its id: no request is let in by it from now on. After the last one the store has none, as
    /// before the first; a server that runs over the store stays closed then, until a token is created or the server
    /// is started again. A server that takes such requests itself uses
    /// [`revoke_token_but_last`](Self::revoke_token_but_last).
    ///
    /// # Errors
    /// If there is none with this id, or others would be left and none of them an admin that is not limited to
    /// tables, or it cannot be written. After [`CommitError::Unknown`](crate::CommitError::Unknown) try again:
    /// [`TokenError::Unknown`] says then that it is gone.
    pub fn revoke_token(&self, id: &str) -> Result<TokenInfo, TokenError> {
        let id = id.to_owned();
        self.job(move |committer| committer.revoke_token(&id, Last::MayGo))
    }

    /// As [`revoke_token`](Self::revoke_token), but keeps at least one admin of all tables: for
    /// requests over the network, none of which may shut out all others.
    ///
    /// # Errors
    /// As of [`revoke_token`](Self::revoke_token), and [`TokenError::LastWhileServed`].
    pub fn revoke_token_but_last(&self, id: &str) -> Result<TokenInfo, TokenError> {
        let id = id.to_owned();
        self.job(move |committer| committer.revoke_token(&id, Last::Stays))
    }

    /// The token that has this secret, if there is one that has not expired: a hash and a look-up in memory. A store
    /// that only reads finds none.
    ///
    /// A session that goes on remembers the [`token_generation`](Self::token_generation) that it asked for before
    /// this, and asks again when that has moved.
    #[must_use]
    pub fn authenticate(&self, secret: &str) -> Option<Arc<TokenInfo>> {
        let token = self.0.writer.as_ref()?.shared.tokens.find(secret)?;
        let now = Timestamp::from(SystemTime::now());
        (!token.is_expired(now)).then_some(token)
    }

    /// Whether there are tokens, so that a server asks for one. A store that only reads does not know, and says yes.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        let writer = self.0.writer.as_ref();
        writer.is_none_or(|writer| writer.shared.tokens.count() > 0)
    }

    /// A number that moves when tokens are made or revoked, or expire.
    #[must_use]
    pub fn token_generation(&self) -> u64 {
        let writer = self.0.writer.as_ref();
        writer.map_or(0, |writer| writer.shared.tokens.generation())
    }
}
