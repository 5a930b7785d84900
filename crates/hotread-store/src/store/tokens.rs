//! Calls that create, list, revoke and look up tokens. The calls of this crate themselves need no
//! token.

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

/// Checks the name and the tables of a token to be created, and sorts the tables.
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
    /// Creates a token. The answer contains its secret, of which the store keeps only the SHA-256.
    ///
    /// From the first token on, a server of the store requires one. So that further tokens can be
    /// created then, the first one must be an admin without a limit to tables. It is valid until it is
    /// revoked.
    ///
    /// # Errors
    /// If the name is not valid, `tables` is empty or too long, it is the first token and not such an
    /// admin, there are [`MAX_TOKENS`](crate::MAX_TOKENS) already, or the database cannot be written.
    /// After [`CommitError::Unknown`](crate::CommitError::Unknown), which only a disk that keeps
    /// failing causes, the token may exist although its secret is lost: look for it in
    /// [`tokens`](Self::tokens), and revoke it.
    pub fn create_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
    ) -> Result<NewToken, TokenError> {
        self.make_token(name, role, tables, None)
    }

    /// Like [`create_token`](Self::create_token), but the token admits no request from that time on, by
    /// this computer's clock. About a second later it is removed from the list, and what it had
    /// admitted ends.
    ///
    /// # Errors
    /// Same as [`create_token`](Self::create_token); also if that time has passed.
    pub fn create_expiring_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Timestamp,
    ) -> Result<NewToken, TokenError> {
        self.make_token(name, role, tables, Some(expires_at))
    }

    /// Checks a token like [`create_token`](Self::create_token) and
    /// [`create_expiring_token`](Self::create_expiring_token), where it would be the first one, before there is
    /// a store.
    ///
    /// # Errors
    /// If the name or the time is not valid, `tables` is empty or too long, or the token cannot be the first.
    pub fn check_first_token(
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Option<Timestamp>,
    ) -> Result<(), TokenError> {
        match token::is_full_admin(&new_info(name, role, tables, expires_at)?) {
            true => Ok(()),
            false => Err(TokenError::FirstNotAdmin),
        }
    }

    fn make_token(
        &self,
        name: &str,
        role: Role,
        tables: Option<Vec<TableName>>,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, TokenError> {
        let info = new_info(name, role, tables, expires_at)?;
        let (secret, hash) = token::new_secret()?;
        let info = self.job(move |committer| committer.create_token(hash, info))?;
        Ok(NewToken { info, secret })
    }

    /// Returns all tokens, the oldest first, and by id where the times are equal. From memory; in a
    /// store that only reads, from disk.
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

    /// Revokes the token with this id: it admits no request from now on. After the last one the store
    /// has no tokens, as before the first; a server that runs over the store stays closed then, until a
    /// token is created or the server is restarted. For a server that takes such requests itself there
    /// is [`revoke_token_but_last`](Self::revoke_token_but_last).
    ///
    /// # Errors
    /// If there is no token with this id, if the remaining tokens would lack an admin without a limit
    /// to tables, or if the database cannot be written. After
    /// [`CommitError::Unknown`](crate::CommitError::Unknown) try again: [`TokenError::Unknown`] then
    /// means that the token is gone.
    pub fn revoke_token(&self, id: &str) -> Result<TokenInfo, TokenError> {
        let id = id.to_owned();
        self.job(move |committer| committer.revoke_token(&id, Last::MayGo))
    }

    /// Like [`revoke_token`](Self::revoke_token), but keeps at least one admin of all tables: for
    /// requests over the network, which must not shut out all others.
    ///
    /// # Errors
    /// Same as [`revoke_token`](Self::revoke_token); also [`TokenError::LastWhileServed`].
    pub fn revoke_token_but_last(&self, id: &str) -> Result<TokenInfo, TokenError> {
        let id = id.to_owned();
        self.job(move |committer| committer.revoke_token(&id, Last::Stays))
    }

    /// Returns the token with this secret, if it exists and has not expired: a hash and a look-up in
    /// memory. In a store that only reads, always `None`.
    ///
    /// A session that outlives the call remembers the [`token_generation`](Self::token_generation) that
    /// it read before the call, and authenticates again when that has changed.
    #[must_use]
    pub fn authenticate(&self, secret: &str) -> Option<Arc<TokenInfo>> {
        let token = self.0.writer.as_ref()?.shared.tokens.find(secret)?;
        let now = Timestamp::from(SystemTime::now());
        (!token.is_expired(now)).then_some(token)
    }

    /// Returns `true` if there are tokens, so that a server requires one. A store that only reads does
    /// not load the tokens, and returns `true`.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        let writer = self.0.writer.as_ref();
        writer.is_none_or(|writer| writer.shared.tokens.count() > 0)
    }

    /// Returns a number that changes when a token is created or revoked, or expires.
    #[must_use]
    pub fn token_generation(&self) -> u64 {
        let writer = self.0.writer.as_ref();
        writer.map_or(0, |writer| writer.shared.tokens.generation())
    }
}

/// Returns a valid token. The committer sets the id and the time.
fn new_info(
    name: &str,
    role: Role,
    tables: Option<Vec<TableName>>,
    expires_at: Option<Timestamp>,
) -> Result<TokenInfo, TokenError> {
    match expires_at {
        Some(at) if at <= Timestamp::from(SystemTime::now()) => {
            return Err(TokenError::Expired { at });
        }
        _ => {}
    }
    Ok(TokenInfo {
        id: String::new(),
        created_at: Timestamp::EPOCH,
        tables: check_new(name, tables)?,
        name: name.to_owned(),
        role,
        expires_at,
    })
}
