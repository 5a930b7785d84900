//! The tokens in memory and on disk, by the hashes of their secrets, and the committer's jobs that
//! change them.

use super::{Last, MAX_TOKENS, TokenError, TokenInfo, is_full_admin};
use crate::committer::Committer;
use crate::error::{CommitError, StorageError};
use crate::read::{self, Pool};
use crate::rows;
use hotread_proto::session::is_client_name;
use hotread_proto::{TableName, Timestamp};
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// What secrets begin with, so that they can be told from others, and found where they do not belong.
const PREFIX: &str = "hr_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 8;

/// SHA-256 of a secret. A secret has 256 random bits, so that there is nothing to slow down: whoever
/// has the hash cannot find it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of the text of a secret, if it has the form of one.
    fn of(secret: &str) -> Option<Self> {
        let digits = secret.strip_prefix(PREFIX)?;
        (digits.len() == 2 * SECRET_BYTES && is_hex(digits))
            .then(|| Self(Sha256::digest(secret).into()))
    }
}

/// The tokens in memory: those on disk, as of the last COMMIT that is known to have succeeded.
#[derive(Default)]
pub(crate) struct Tokens {
    by_hash: RwLock<Known>,
    /// How often they have changed.
    generation: AtomicU64,
}

type Known = HashMap<SecretHash, Arc<TokenInfo>>;

// ORDERING: the generation moves, releasing, after the tokens have: whoever acquires the new one finds
// the new tokens. Whoever has the old one may find either, and sees it move later.
impl Tokens {
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn read<R>(&self, read: impl FnOnce(&Known) -> R) -> R {
        read(&self.by_hash.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is on disk may be other than what is known.
    pub(crate) fn reload(&self, db: &Connection) -> Result<(), StorageError> {
        let on_disk: Known = read_all(db)?.into_iter().collect();
        if self.read(|known| *known != on_disk) {
            self.change(|known| *known = on_disk);
        }
        Ok(())
    }

    /// The token that has this secret. That the time this takes depends on the hash tells nothing of
    /// the secret.
    pub(super) fn find(&self, secret: &str) -> Option<Arc<TokenInfo>> {
        let hash = SecretHash::of(secret)?;
        self.read(|known| known.get(&hash).cloned())
    }

    pub(super) fn count(&self) -> usize {
        self.read(Known::len)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn all(&self) -> Vec<TokenInfo> {
        sorted(self.read(|known| known.values().map(|info| (**info).clone()).collect()))
    }
}

fn sorted(mut tokens: Vec<TokenInfo>) -> Vec<TokenInfo> {
    tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    tokens
}

/// All tokens on disk.
fn read_all(db: &Connection) -> Result<Vec<(SecretHash, Arc<TokenInfo>)>, StorageError> {
    let damaged = |what: &str| StorageError::corrupt(format!("a token's row: {what}"));
    let mut statement =
        db.prepare("SELECT id, name, role, tables, created_at, hash, expires_at FROM tokens")?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let name: String = row.get(1)?;
        if id.len() != ID_DIGITS || !is_hex(&id) || !is_client_name(&name) {
            return Err(damaged("its id or name"));
        }
        let role: String = row.get(2)?;
        let role = role.parse().map_err(|_| damaged("its role"))?;
        let tables: Option<String> = row.get(3)?;
        let tables = tables.map(|tables| serde_json::from_str(&tables));
        let hash = row.get_ref(5)?.as_blob().map_err(|_| damaged("its hash"))?;
        let info = TokenInfo {
            id,
            name,
            role,
            tables: tables.transpose().map_err(|_| damaged("its tables"))?,
            created_at: rows::read_time(row, 4)?,
            expires_at: match row.get::<_, Option<i64>>(6)? {
                Some(_) => Some(rows::read_time(row, 6)?),
                None => None,
            },
        };
        let hash = hash.try_into().map_err(|_| damaged("its hash"))?;
        tokens.push((SecretHash(hash), Arc::new(info)));
    }
    Ok(tokens)
}

/// All tokens on disk, of a store that only reads.
pub(super) fn read_infos(pool: &Pool) -> Result<Vec<TokenInfo>, StorageError> {
    let tokens = read_all(&*read::connection(pool)?)?;
    Ok(sorted(
        tokens.iter().map(|(_, info)| (**info).clone()).collect(),
    ))
}

/// Do the rows of all tokens have the form that is written here?
pub(crate) fn check(db: &Connection) -> Result<(), StorageError> {
    read_all(db).map(|_| ())
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, StorageError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes)?;
    Ok(bytes)
}

/// A new secret, and its hash.
pub(super) fn new_secret() -> Result<(String, SecretHash), StorageError> {
    let mut secret = String::with_capacity(PREFIX.len() + 2 * SECRET_BYTES);
    secret.push_str(PREFIX);
    hex(&*random::<SECRET_BYTES>()?, &mut secret);
    let hash = SecretHash::of(&secret).expect("it has the form");
    Ok((secret, hash))
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(digit.into(), 16).expect("four bits"));
        }
    }
}

impl Committer {
    pub(super) fn create_token(
        &mut self,
        hash: SecretHash,
        mut info: TokenInfo,
    ) -> Result<TokenInfo, TokenError> {
        // First of all finds out, if that is open, what tokens there are.
        self.db()?;
        let known = self.tokens.count();
        if known >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        info.created_at = self.now();
        if known == 0 && !is_full_admin(&info) {
            return Err(TokenError::FirstNotAdmin);
        }
        let is_taken = |id: &str| {
            self.tokens
                .read(|known| known.values().any(|other| other.id == id))
        };
        while info.id.is_empty() || is_taken(&info.id) {
            info.id.clear();
            hex(&*random::<{ ID_DIGITS / 2 }>()?, &mut info.id);
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
            // Only this call has the secret, so whether it is there is found out now, if it can be.
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

    /// Takes tokens back whose time is over: at once from memory, so that what goes on by them ends, and
    /// from disk as soon as that can be written.
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

    pub(super) fn revoke_token(&mut self, id: &str, last: Last) -> Result<TokenInfo, TokenError> {
        self.db()?;
        let mut others = self.tokens.all();
        let at = others.iter().position(|token| token.id == id);
        let at = at.ok_or_else(|| TokenError::Unknown {
            id: id.escape_debug().take(2 * ID_DIGITS).collect(),
        })?;
        let revoked = others.remove(at);
        if !others.iter().any(is_full_admin) {
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
