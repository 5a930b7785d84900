//! Tokens, which say who may do what over the network, in memory and on disk, by the hashes of their secrets. The
//! store keeps and finds them; a server of the store asks for them.

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

/// Most tokens of a store: one for each service of a large fleet. They are held in memory.
pub const MAX_TOKENS: usize = 10_000;
/// Most tables that a token is limited to.
pub const MAX_TOKEN_TABLES: usize = 256;
/// Longest name of a token, in bytes: that of a client, whose rule for names is that for tokens.
pub const MAX_TOKEN_NAME_BYTES: usize = MAX_NAME_BYTES;

/// What secrets begin with, so that they can be told from others, and found where they do not belong.
const PREFIX: &str = "hr_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Hexadecimal digits of an id.
pub(crate) const ID_DIGITS: usize = 8;

/// SHA-256 of a secret, whose 256 random bits cannot be found from it, however fast it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SecretHash(pub(crate) [u8; 32]);

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

pub(crate) type Known = HashMap<SecretHash, Arc<TokenInfo>>;

// ORDERING: the generation moves, releasing, after the tokens have: a thread that acquires the new one finds
// the new tokens. A thread that has the old one may find either, and sees it move later.
impl Tokens {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&Known) -> R) -> R {
        read(&self.by_hash.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is on disk may be other than what is known.
    pub(crate) fn reload(&self, db: &Connection) -> Result<(), StorageError> {
        let on_disk = read_all(db)?;
        if self.read(|known| *known != on_disk) {
            self.change(|known| *known = on_disk);
        }
        Ok(())
    }

    /// The token that has this secret. The time that this takes tells of its hash only.
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

/// The oldest first.
pub(crate) fn sorted(known: &Known) -> Vec<TokenInfo> {
    let mut tokens: Vec<_> = known.values().map(|info| (**info).clone()).collect();
    tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    tokens
}

/// All tokens on disk.
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

/// A new secret, and its hash.
pub(crate) fn new_secret() -> Result<(String, SecretHash), StorageError> {
    let secret = random_hex::<SECRET_BYTES>(PREFIX)?;
    let hash = SecretHash::of(&secret).expect("it has the form");
    Ok((secret, hash))
}

/// A new id, which another token may have.
pub(crate) fn new_id() -> Result<String, StorageError> {
    random_hex::<{ ID_DIGITS / 2 }>("")
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random bytes as hexadecimal digits. Room for all is made first: a text that grows leaves copies behind.
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

/// Why a token could not be made or revoked. Unless it is [`CommitError::Unknown`], nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The name does not have the form that it must have.
    #[error("a token's name is of the form [A-Za-z0-9._-]{{1,64}}; use only those characters")]
    InvalidName,
    /// The first token is not an admin, is limited to tables, or expires, so that none could make
    /// others.
    #[error(
        "the first token must be an admin that is not limited to tables and does not expire; make that one first"
    )]
    FirstNotAdmin,
    /// It was to be limited to no table at all.
    #[error("a token that is limited to no table allows nothing; name a table, or do not limit it")]
    NoTables,
    /// It was to be limited to too many tables.
    #[error(
        "a token may be limited to {MAX_TOKEN_TABLES} tables, and {given} were given; give it all tables, or make several tokens"
    )]
    TooManyTables {
        /// How many.
        given: usize,
    },
    /// It would be expired from the start.
    #[error("the token would expire at {at}, which is over; give a time to come")]
    Expired {
        /// The time that was given.
        at: Timestamp,
    },
    /// There are as many tokens as there may be.
    #[error(
        "there are {MAX_TOKENS} tokens, and there may not be more; revoke those that nobody uses"
    )]
    TooMany,
    /// There is no token with this id.
    #[error("there is no token {id}; look at the list for the ids of those that there are")]
    Unknown {
        /// The id that was given, cut after some characters.
        id: String,
    },
    /// The last admin would leave tokens behind that nobody can revoke.
    #[error(
        "this is the last admin that is not limited to tables and does not expire; make another one, or revoke the other tokens first"
    )]
    LastAdmin,
    /// The last admin would leave a running server without one.
    #[error(
        "this is the last admin that is not limited to tables and does not expire, and a running server keeps one; create another one first"
    )]
    LastWhileServed,
    /// What holds for transactions holds for tokens.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl TokenError {
    /// The error's stable code.
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
