//! Sealed tables: values and notes are encrypted under a key that is derived from a passphrase. This
//! module decides what a ciphertext is bound to, and not where rows and headers are stored.
//!
//! # Costs
//!
//! Deriving the keys (600,000 rounds of PBKDF2) takes 0.07 s on a processor with instructions for
//! SHA-256, once for each table that is created or opened. A value of 200 bytes is encrypted in 0.6 µs,
//! most of it for the random nonce, and decrypted in 0.3 µs; one of 4 KiB in 1.6 µs and 1.8 µs. A
//! stored value is 28 bytes longer.
//!
//! # Limits
//!
//! A reader of the file learns keys of records, categories, times, sizes, which transaction changed
//! which records, and its actor, but nothing of values and notes. A writer cannot move a value to
//! another place, nor store an older one under a newer sequence number: table, epoch, key and sequence
//! number are authenticated with each value. Missing rows are detected by the table's digest.
//!
//! Nonces are random. After 2^32 values under one key the odds that two of them share one reach one
//! in 2^33, which is as far as NIST SP 800-38D lets a key go; rekey the table before that, under
//! a new salt and with it a new key, even if the passphrase stays the same. At a thousand writes per
//! second that is after 49 days, at ten after thirteen years.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use hotread_proto::{Code, Epoch, Hasher, TableName};
use sha2::Sha256;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Longest passphrase, in bytes: enough for any sentence and for keys in hexadecimal, and a bound on
/// the bytes that are read from a file that was named by mistake.
pub(crate) const MAX_PASSPHRASE_BYTES: usize = 1_024;

/// Rounds of PBKDF2-HMAC-SHA256 for new tables: OWASP's figure since 2023.
pub(crate) const ROUNDS: u32 = 600_000;
/// Fewest rounds that a header may have. Fewer make guessing cheap, and were never written.
pub(crate) const MIN_ROUNDS: u32 = 100_000;
/// Maximum number of rounds that a header may have, half a minute's work: a damaged header must not cost
/// hours.
const MAX_ROUNDS: u32 = 100_000_000;

const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// The plaintext by which a wrong passphrase is detected.
const VERIFIER_TEXT: [u8; 16] = *b"hotread verifier";
const VERIFIER_BYTES: usize = NONCE_BYTES + VERIFIER_TEXT.len() + TAG_BYTES;

/// Passphrases with fewer bytes cause a warning: with 600,000 rounds for each guess, words and dates of
/// this length are found in days.
pub const SHORT_PASSPHRASE_BYTES: usize = 12;

/// The secret from which a sealed table's keys are derived. Overwritten in memory when it is dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// The reason a passphrase is not available.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// It is empty.
    #[error("the passphrase is empty; give at least one character, preferably six words")]
    Empty,
    /// It is longer than 1,024 bytes.
    #[error(
        "the passphrase has more than {MAX_PASSPHRASE_BYTES} bytes; check that this is the right file"
    )]
    TooLong,
    /// The file with the passphrase cannot be read.
    #[error("cannot read the passphrase from {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Passphrase {
    /// Returns a passphrase of a text, or of bytes from elsewhere, unchanged. The same text in another
    /// Unicode normal form is another passphrase.
    ///
    /// # Errors
    /// If it is empty or longer than 1,024 bytes.
    pub fn new(passphrase: impl Into<Vec<u8>>) -> Result<Self, PassphraseError> {
        let passphrase = Zeroizing::new(passphrase.into());
        match passphrase.len() {
            0 => Err(PassphraseError::Empty),
            bytes if bytes > MAX_PASSPHRASE_BYTES => Err(PassphraseError::TooLong),
            _ => Ok(Self(passphrase)),
        }
    }

    /// Returns `true` if it is the same as the other one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }

    /// Returns `true` if it has fewer than [`SHORT_PASSPHRASE_BYTES`]: an attacker with a copy of the
    /// file can try all common passphrases of this length.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < SHORT_PASSPHRASE_BYTES
    }

    /// Reads the first line of a file, without the LF or CRLF at its end. Later lines are ignored.
    /// White space is part of the passphrase.
    ///
    /// # Errors
    /// If the file cannot be read, or its first line is empty or longer than 1,024
    /// bytes.
    pub fn read_file(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::File {
            path: path.to_owned(),
            source,
        };
        // All memory is reserved first, because a growing Vec leaves copies behind.
        let most = MAX_PASSPHRASE_BYTES + "\r\n".len();
        let mut text = Zeroizing::new(Vec::with_capacity(most));
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut limited = file.take(most as u64);
        while text.len() < most && !text.contains(&b'\n') {
            let mut part = Zeroizing::new([0; 64]);
            match limited.read(&mut part[..]) {
                Ok(0) => break,
                Ok(bytes) => text.extend_from_slice(&part[..bytes]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
        if let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            text.truncate(end);
            if text.last() == Some(&b'\r') {
                text.truncate(end - 1);
            }
        }
        Self::new(std::mem::take(&mut *text))
    }
}

/// Shows nothing of the passphrase.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// The reason a sealed table cannot be opened, read or written. Shows no key and no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The table is sealed, and the store was opened without a passphrase.
    #[error("it is sealed; give its passphrase")]
    NoPassphrase,
    /// The table was sealed with another passphrase, or its header is damaged in a way that looks the
    /// same.
    #[error("the passphrase is not the table's; give the one that it was sealed with")]
    WrongPassphrase,
    /// The length of the header is wrong.
    #[error(
        "the seal's header has {bytes} bytes instead of {}; restore it from a backup",
        SealHeader::BYTES
    )]
    HeaderLength {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// The version of the header is unknown.
    #[error(
        "the seal's header has version {version}, but only {VERSION} is supported; use a newer HotRead, or restore it from a backup"
    )]
    HeaderVersion {
        /// Its version.
        version: u8,
    },
    /// The number of rounds in the header is outside the permitted range.
    #[error(
        "the seal's header asks for {rounds} rounds, which is not between {MIN_ROUNDS} and {MAX_ROUNDS}; restore it from a backup"
    )]
    HeaderRounds {
        /// The number of rounds.
        rounds: u32,
    },
    /// A stored value is damaged, or was moved here from another place.
    #[error(
        "the value of {key:?} at seq {seq} of the sealed table {table} is damaged; restore it from a backup"
    )]
    Damaged {
        /// The table.
        table: TableName,
        /// The record's key.
        key: String,
        /// The transaction that wrote it.
        seq: u64,
    },
    /// A stored note is damaged, or was moved here from another place.
    #[error(
        "the note of seq {seq} of the sealed table {table} is damaged; restore it from a backup"
    )]
    DamagedNote {
        /// The table.
        table: TableName,
        /// The transaction that it belongs to.
        seq: u64,
    },
    /// The operating system returned no random numbers.
    #[error("no random numbers: {reason}; try again")]
    Random {
        /// The system's error.
        reason: String,
    },
}

impl From<getrandom::Error> for SealError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random {
            reason: error.to_string(),
        }
    }
}

impl SealError {
    /// Returns the error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoPassphrase => Code::Sealed,
            Self::WrongPassphrase => Code::WrongPassphrase,
            Self::HeaderLength { .. }
            | Self::HeaderVersion { .. }
            | Self::HeaderRounds { .. }
            | Self::Damaged { .. }
            | Self::DamagedNote { .. } => Code::Corrupt,
            Self::Random { .. } => Code::StorageError,
        }
    }
}

/// Data that is stored with a table to derive its keys and to detect a wrong passphrase. Not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealHeader {
    rounds: u32,
    salt: [u8; SALT_BYTES],
    verifier: [u8; VERIFIER_BYTES],
}

impl SealHeader {
    /// The length of the encoding.
    pub(crate) const BYTES: usize = Self::DERIVATION_BYTES + VERIFIER_BYTES;
    /// The length of the part before the verifier, which the verifier authenticates.
    const DERIVATION_BYTES: usize = 1 + 4 + SALT_BYTES;

    /// Encodes as version 1 | rounds 4 | salt 16 | verifier (nonce 12 | ciphertext 16 | tag 16);
    /// numbers are little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.derivation().to_vec();
        bytes.extend_from_slice(&self.verifier);
        bytes
    }

    /// Decodes the stored header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        let mut rest = bytes;
        let mut field = |length| rest.split_off(..length);
        let wrong_length = || SealError::HeaderLength { bytes: bytes.len() };
        let version = field(1).ok_or_else(wrong_length)?[0];
        if version != VERSION {
            return Err(SealError::HeaderVersion { version });
        }
        let header = (|| {
            Some(Self {
                rounds: u32::from_le_bytes(field(4)?.try_into().ok()?),
                salt: field(SALT_BYTES)?.try_into().ok()?,
                verifier: field(VERIFIER_BYTES)?.try_into().ok()?,
            })
        })();
        let header = header
            .filter(|_| rest.is_empty())
            .ok_or_else(wrong_length)?;
        let rounds = header.rounds;
        if !(MIN_ROUNDS..=MAX_ROUNDS).contains(&rounds) {
            return Err(SealError::HeaderRounds { rounds });
        }
        Ok(header)
    }

    fn derivation(&self) -> [u8; Self::DERIVATION_BYTES] {
        let mut bytes = [0; Self::DERIVATION_BYTES];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&self.rounds.to_le_bytes());
        bytes[5..].copy_from_slice(&self.salt);
        bytes
    }

    fn associated_data(&self) -> Vec<u8> {
        associated_data(b"hotread seal v1 verifier", &[&self.derivation()])
    }
}

/// A sealed table's keys. Overwritten in memory when dropped; share it instead of cloning it.
pub(crate) struct Seal {
    cipher: Aes256Gcm,
    digest_key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Shows nothing of the keys.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// Derives keys for a new table, under a new salt, and returns the header to derive them again.
    pub(crate) fn create(
        passphrase: &Passphrase,
        rounds: u32,
    ) -> Result<(Self, SealHeader), SealError> {
        let mut header = SealHeader {
            rounds,
            salt: random()?,
            verifier: [0; VERIFIER_BYTES],
        };
        let seal = Self::derive(passphrase, &header);
        let verifier = seal.lock(&VERIFIER_TEXT, &header.associated_data())?;
        header.verifier.copy_from_slice(&verifier);
        Ok((seal, header))
    }

    /// Derives the keys of an existing table.
    pub(crate) fn open(passphrase: &Passphrase, header: &SealHeader) -> Result<Self, SealError> {
        let seal = Self::derive(passphrase, header);
        match seal.unlock(&header.verifier, &header.associated_data()) {
            Some(text) if text[..] == VERIFIER_TEXT => Ok(seal),
            _ => Err(SealError::WrongPassphrase),
        }
    }

    fn derive(passphrase: &Passphrase, header: &SealHeader) -> Self {
        let mut master = Zeroizing::new([0; KEY_BYTES]);
        pbkdf2::pbkdf2_hmac::<Sha256>(&passphrase.0, &header.salt, header.rounds, &mut *master);
        let encryption_key = Zeroizing::new(subkey(&master, b"hotread seal v1 encrypt"));
        Self {
            cipher: Aes256Gcm::new((&*encryption_key).into()),
            digest_key: Zeroizing::new(subkey(&master, b"hotread seal v1 digest")),
        }
    }

    /// Encrypts a value or note to nonce 12 | ciphertext, as long as the text | tag 16.
    pub(crate) fn encrypt(&self, place: Place<'_>, text: &[u8]) -> Result<Vec<u8>, SealError> {
        self.lock(text, &place.associated_data())
    }

    /// Decrypts a value or note. Fails if it was stored for another place.
    pub(crate) fn decrypt(
        &self,
        place: Place<'_>,
        stored: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.unlock(stored, &place.associated_data())
            .ok_or_else(|| place.damaged())
    }

    /// Returns the hasher of the table's records.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher::keyed(self.digest_key.clone())
    }

    fn lock(&self, text: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        // All memory is reserved first, because a growing Vec would leave the text behind.
        let mut locked = Vec::with_capacity(NONCE_BYTES + text.len() + TAG_BYTES);
        locked.extend_from_slice(&nonce);
        locked.extend_from_slice(text);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                (&nonce).into(),
                associated_data,
                InOutBuf::from(&mut locked[NONCE_BYTES..]),
            )
            .expect("values are far below the 64 GiB that the cipher is limited to");
        locked.extend_from_slice(&tag);
        Ok(locked)
    }

    fn unlock(&self, locked: &[u8], associated_data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = locked.split_first_chunk::<NONCE_BYTES>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut text = Zeroizing::new(text.to_vec());
        self.cipher
            .decrypt_inout_detached(
                nonce.into(),
                associated_data,
                InOutBuf::from(&mut text[..]),
                tag.into(),
            )
            .ok()?;
        Some(text)
    }
}

/// The place to which a ciphertext is bound.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) epoch: Epoch,
    /// The record whose value it is; `None` for the transaction's note.
    pub(crate) key: Option<&'a str>,
    pub(crate) seq: u64,
}

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let (epoch, seq) = (self.epoch.0.to_le_bytes(), self.seq.to_le_bytes());
        let table = self.table.as_str().as_bytes();
        match self.key {
            Some(key) => associated_data(
                b"hotread seal v1 row",
                &[table, &epoch, key.as_bytes(), &seq],
            ),
            None => associated_data(b"hotread seal v1 note", &[table, &epoch, &seq]),
        }
    }

    fn damaged(&self) -> SealError {
        let (table, seq) = (self.table.clone(), self.seq);
        match self.key.map(str::to_owned) {
            Some(key) => SealError::Damaged { table, key, seq },
            None => SealError::DamagedNote { table, seq },
        }
    }
}

/// Encodes the purpose and the parts, each after its length as 4 bytes, little-endian.
fn associated_data(purpose: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let all = || std::iter::once(&purpose).chain(parts);
    let mut data = Vec::with_capacity(all().map(|part| 4 + part.len()).sum());
    for part in all() {
        let length = u32::try_from(part.len()).expect("names are limited to far less");
        data.extend_from_slice(&length.to_le_bytes());
        data.extend_from_slice(part);
    }
    data
}

fn subkey(master: &[u8; KEY_BYTES], purpose: &[u8]) -> [u8; KEY_BYTES] {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(master).expect("HMAC takes keys of any length");
    mac.update(purpose);
    let mut full = mac.finalize().into_bytes();
    let key = full.into();
    full.zeroize();
    key
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
