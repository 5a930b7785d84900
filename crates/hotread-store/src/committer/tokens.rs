//! Creating and revoking tokens, and deleting expired ones: jobs that the committer runs between
//! groups.

use super::Committer;
use crate::error::CommitError;
use crate::token::{self, ID_DIGITS, MAX_TOKENS, SecretHash, TokenError};
use hotread_proto::{TableName, Timestamp, TokenInfo};
use rusqlite::params;
use std::sync::Arc;

/// Rule for the last token that is an admin of all tables.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Last {
    /// It can be revoked if it is the only token.
    MayGo,
    /// It cannot be revoked.
    Stays,
}

impl Committer {
    pub(crate) fn create_token(
        &mut self,
        hash: SecretHash,
        mut info: TokenInfo,
    ) -> Result<TokenInfo, TokenError> {
        // If a COMMIT has failed, determines first which tokens exist.
        self.db()?;
        let known = self.tokens.count();
        if known >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        info.created_at = self.now();
        if known == 0 && !token::is_full_admin(&info) {
            return Err(TokenError::FirstNotAdmin);
        }
        let is_taken = |id: &str| {
            self.tokens
                .read(|known| known.values().any(|other| other.id == id))
        };
        while info.id.is_empty() || is_taken(&info.id) {
            info.id = token::new_id()?;
        }
        let tables = info.tables.as_ref().map(|tables| {
            let names = tables.iter().map(TableName::as_str).collect::<Vec<_>>();
            serde_json::json!(names).to_string()
        });
        let made = self.transaction::<_, TokenError>(|txn| {
            txn.execute(
                "INSERT INTO tokens (id, name, role, tables, created_at, hash, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    info.id,
                    info.name,
                    info.role.as_str(),
                    tables,
                    info.created_at.millis(),
                    hash.0,
                    info.expires_at.map(Timestamp::millis),
                ],
            )?;
            Ok(())
        });
        match made {
            // Only this call has the secret, so it determines immediately, if possible, whether the token
            // exists.
            Err(TokenError::Commit(CommitError::Unknown { cause })) => {
                if self.reconcile().is_err() {
                    return Err(CommitError::Unknown { cause }.into());
                }
                if !self.tokens.read(|known| known.contains_key(&hash)) {
                    return Err(CommitError::Storage(cause).into());
                }
            }
            made => {
                made?;
                let entry = Arc::new(info.clone());
                self.tokens.change(|known| {
                    known.insert(hash, entry);
                });
            }
        }
        Ok(info)
    }

    /// Removes expired tokens: from memory immediately, and from disk as soon as it can be written.
    pub(crate) fn expire_tokens(&mut self, now: Timestamp) -> Result<(), TokenError> {
        let is_over = |token: &Arc<TokenInfo>| token.is_expired(now);
        if !self.tokens.read(|known| known.values().any(is_over)) {
            return Ok(());
        }
        self.tokens
            .change(|known| known.retain(|_, token| !is_over(token)));
        self.db()?;
        self.transaction::<_, TokenError>(|txn| {
            txn.execute("DELETE FROM tokens WHERE expires_at <= ?1", [now.millis()])?;
            Ok(())
        })
    }

    pub(crate) fn revoke_token(&mut self, id: &str, last: Last) -> Result<TokenInfo, TokenError> {
        self.db()?;
        let mut others = self.tokens.all();
        let at = others.iter().position(|token| token.id == id);
        let at = at.ok_or_else(|| TokenError::Unknown {
            id: id.escape_debug().take(2 * ID_DIGITS).collect(),
        })?;
        let revoked = others.remove(at);
        if !others.iter().any(token::is_full_admin) {
            match last {
                Last::MayGo if others.is_empty() => {}
                Last::MayGo => return Err(TokenError::LastAdmin),
                Last::Stays => return Err(TokenError::LastWhileServed),
            }
        }
        self.transaction::<_, TokenError>(|txn| {
            txn.execute("DELETE FROM tokens WHERE id = ?1", [id])?;
            Ok(())
        })?;
        self.tokens
            .change(|known| known.retain(|_, token| token.id != id));
        Ok(revoked)
    }
}
