//! Tokens, which grant callers access over the network, in memory and on disk, by the hashes of their
//! secrets. The store keeps and finds tokens; a server of the store requires them.

use crate::error::{CommitError, StorageError, from_storage};
use crate::rows;
use hotread_proto::session::{MAX_NAME_BYTES, is_client_name};
use hotread_proto::{Code, Timestamp};
pub use hotread_proto::{NewToken, ParseRoleError, Role, TokenInfo};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// Maximum number of tokens of a store: one for each service of a large fleet. They are kept in memory.
pub const MAX_TOKENS: usize = 10_000;
/// Maximum number of tables to which a token can be limited.
pub const MAX_TOKEN_TABLES: usize = 256;
/// Longest name of a token, in bytes. The rule for names is the same as for clients.
pub const MAX_TOKEN_NAME_BYTES: usize = MAX_NAME_BYTES;

/// The beginning of each secret, by which secrets can be recognized, for example in logs.
const PREFIX: &str = "hr_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Hexadecimal digits of an id.
pub(crate) const ID_DIGITS: usize = 8;

/// SHA-256 of a secret. The fast hash is sufficient, because 256 random bits cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SecretHash(pub(crate) [u8; 32]);

impl SecretHash {
    /// Returns the hash of a secret, if the text has the form of one.
    fn of(secret: &str) -> Option<Self> {
        let digits = secret.strip_prefix(PREFIX)?;
        (digits.len() == 2 * SECRET_BYTES && is_hex(digits))
            .then(|| Self(Sha256::digest(secret).into()))
    }
}

/// The tokens in memory: those on disk as of the last COMMIT that is known to have succeeded.
#[derive(Default)]
pub(crate) struct Tokens {
    by_hash: RwLock<Known>,
    /// The number of changes.
    generation: AtomicU64,
}

pub(crate) type Known = HashMap<SecretHash, Arc<TokenInfo>>;

// ORDERING: the generation is incremented, with release, after the tokens have changed. A thread that
// acquires the new generation finds the new tokens. A thread with the old one may find either, and sees
// the change later.
impl Tokens {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&Known) -> R) -> R {
        read(&self.by_hash.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reconciles with the tokens on disk.
    pub(crate) fn reload(&self, db: &Connection) -> Result<(), StorageError> {
        let on_disk = read_all(db)?;
        if self.read(|known| *known != on_disk) {
            self.change(|known| *known = on_disk);
        }
        Ok(())
    }

    /// Returns the token with this secret. The time of the look-up depends only on the secret's hash.
    pub(crate) fn find(&self, secret: &str) -> Option<Arc<TokenInfo>> {
        let hash = SecretHash::of(secret)?;
        self.read(|known| known.get(&hash).cloned())
    }

    pub(crate) fn count(&self) -> usize {
        self.read(Known::len)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn all(&self) -> Vec<TokenInfo> {
        self.read(sorted)
    }
}

/// Returns the tokens, the oldest first.
pub(crate) fn sorted(known: &Known) -> Vec<TokenInfo> {
    let mut tokens: Vec<_> = known.values().map(|info| (**info).clone()).collect();
    tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    tokens
}

/// Returns all tokens on disk.
pub(crate) fn read_all(db: &Connection) -> Result<Known, StorageError> {
    let damaged = |what: &str| StorageError::corrupt(format!("a token's row: {what}"));
    let mut statement =
        db.prepare("SELECT id, name, role, tables, created_at, hash, expires_at FROM tokens")?;
    let mut rows = statement.query([])?;
    let mut tokens = Known::new();
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
            expires_at: rows::read_expiry(row, 6)?,
        };
        let hash = hash.try_into().map_err(|_| damaged("its hash"))?;
        tokens.insert(SecretHash(hash), Arc::new(info));
    }
    Ok(tokens)
}

/// Returns a new secret, and its hash.
pub(crate) fn new_secret() -> Result<(String, SecretHash), StorageError> {
    let secret = random_hex::<SECRET_BYTES>(PREFIX)?;
    let hash = SecretHash::of(&secret).expect("it has the form");
    Ok((secret, hash))
}

/// Returns a new id, which another token may have.
pub(crate) fn new_id() -> Result<String, StorageError> {
    random_hex::<{ ID_DIGITS / 2 }>("")
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns random bytes as hexadecimal digits. Reserves all memory first, because a growing text leaves
/// copies behind.
fn random_hex<const BYTES: usize>(prefix: &str) -> Result<String, StorageError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(&mut *bytes)?;
    let mut text = String::with_capacity(prefix.len() + 2 * BYTES);
    text.push_str(prefix);
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from_digit(digit.into(), 16).expect("four bits"));
    }
    Ok(text)
}

/// The reason a token could not be created or revoked. Unless it is [`CommitError::Unknown`],
/// nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The name is not valid.
    #[error("a token's name is of the form [A-Za-z0-9._-]{{1,64}}; use only those characters")]
    InvalidName,
    /// The first token is not an admin, is limited to tables, or expires, so that no further token
    /// could be created.
    #[error(
        "the first token must be an admin that is not limited to tables and does not expire; make that one first"
    )]
    FirstNotAdmin,
    /// The list of tables is empty.
    #[error("a token that is limited to no table allows nothing; name a table, or do not limit it")]
    NoTables,
    /// The list of tables is too long.
    #[error(
        "a token may be limited to {MAX_TOKEN_TABLES} tables, but {given} were given; give it all tables, or make several tokens"
    )]
    TooManyTables {
        /// Tables in the list.
        given: usize,
    },
    /// The time of expiry has passed.
    #[error("the token would expire at {at}, which has passed; give a later time")]
    Expired {
        /// The given time.
        at: Timestamp,
    },
    /// The store has the maximum number of tokens.
    #[error(
        "there are {MAX_TOKENS} tokens, the most that a store may have; revoke those that are not in use"
    )]
    TooMany,
    /// There is no token with this id.
    #[error("there is no token {id}; list the tokens to see their ids")]
    Unknown {
        /// The id that was given, cut after some characters.
        id: String,
    },
    /// Revoking the last admin would leave tokens that no caller can revoke.
    #[error(
        "this is the last admin that is not limited to tables and does not expire; make another one, or revoke the other tokens first"
    )]
    LastAdmin,
    /// Revoking the last admin would leave a running server without one.
    #[error(
        "this is the last admin token without a limit to tables and without an expiry, and a running server keeps one; create another one first"
    )]
    LastWhileServed,
    /// An error that transactions have as well.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl TokenError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidName => Code::InvalidName,
            Self::FirstNotAdmin
            | Self::NoTables
            | Self::TooManyTables { .. }
            | Self::Expired { .. }
            | Self::TooMany
            | Self::LastAdmin
            | Self::LastWhileServed => Code::BadRequest,
            Self::Unknown { .. } => Code::UnknownToken,
            Self::Commit(source) => source.code(),
        }
    }
}

from_storage! { TokenError::Commit from rusqlite::Error, StorageError; }

/// Returns `true` if the token permits everything everywhere, and does not expire.
pub(crate) fn is_full_admin(info: &TokenInfo) -> bool {
    info.allows(None, Role::Admin) && info.expires_at.is_none()
}
