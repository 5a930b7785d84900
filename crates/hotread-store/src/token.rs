//! Who may do what over the network: tokens, in memory and on disk, by the hashes of their secrets. The
//! store keeps and finds them; whoever serves it asks for them.

use crate::error::{CommitError, StorageError};
use crate::read::{self, Pool};
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

/// SHA-256 of a secret. A secret has 256 random bits, so that there is nothing to slow down: whoever
/// has the hash cannot find it.
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

// ORDERING: the generation moves, releasing, after the tokens have: whoever acquires the new one finds
// the new tokens. Whoever has the old one may find either, and sees it move later.
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
        let on_disk: Known = read_all(db)?.into_iter().collect();
        if self.read(|known| *known != on_disk) {
            self.change(|known| *known = on_disk);
        }
        Ok(())
    }

    /// The token that has this secret. That the time this takes depends on the hash tells nothing of
    /// the secret.
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
pub(crate) fn read_infos(pool: &Pool) -> Result<Vec<TokenInfo>, StorageError> {
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
pub(crate) fn new_secret() -> Result<(String, SecretHash), StorageError> {
    let mut secret = String::with_capacity(PREFIX.len() + 2 * SECRET_BYTES);
    secret.push_str(PREFIX);
    hex(&*random::<SECRET_BYTES>()?, &mut secret);
    let hash = SecretHash::of(&secret).expect("it has the form");
    Ok((secret, hash))
}

/// A new id, which another token may have.
pub(crate) fn new_id() -> Result<String, StorageError> {
    let mut id = String::with_capacity(ID_DIGITS);
    hex(&*random::<{ ID_DIGITS / 2 }>()?, &mut id);
    Ok(id)
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

impl From<rusqlite::Error> for TokenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Commit(error.into())
    }
}

impl From<StorageError> for TokenError {
    fn from(error: StorageError) -> Self {
        Self::Commit(error.into())
    }
}
