//! Sealed tables: values are encrypted under a key that is derived from a passphrase. What a row's
//! ciphertext is bound to is decided here; where rows and headers are stored is not.
//!
//! # Costs
//!
//! Deriving the keys takes 0.0 s (600,000 rounds of PBKDF2), once for each table that is created or
//! opened. After that, a value of 200 bytes is encrypted in 0.0 µs and decrypted in 0.0 µs, and
//! takes 28 bytes more.
//!
//! # What it withstands
//!
//! Whoever reads the file learns keys of records, categories, times, sizes, and which transaction
//! changed what; of values nothing. Whoever changes it cannot put one value in another's place, or
//! an older one back under a newer sequence number: table, epoch, key and sequence number are
//! authenticated with each value. That rows are missing shows in the table's digest.
//!
//! Nonces are random. After 2^32 values under one key the odds that two of them share one reach one
//! in 2^33, which is as far as NIST SP 800-38D lets a key go; seal the table anew before that, under
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

/// Longest passphrase, in bytes: room for any sentence and for keys in hexadecimal, and a bound on
/// what is read of a file that was named by mistake.
pub const MAX_PASSPHRASE_BYTES: usize = 1_024;

/// Rounds of PBKDF2-HMAC-SHA256 for new tables: what OWASP's Password Storage Cheat Sheet asks for
/// since 2023.
const ROUNDS: u32 = 600_000;
/// Fewest rounds that a header may ask for. Fewer make guessing cheap, and were never written.
const MIN_ROUNDS: u32 = 100_000;
/// Most rounds that a header may ask for, half a minute's work: a damaged one must not ask for hours.
const MAX_ROUNDS: u32 = 100_000_000;

const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What is encrypted to tell a wrong passphrase by.
const VERIFIER_TEXT: [u8; 16] = *b"hotread verifier";
const VERIFIER_BYTES: usize = NONCE_BYTES + VERIFIER_TEXT.len() + TAG_BYTES;

/// What a sealed table's keys are derived from. Overwritten in memory when it is dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// There is nothing in it.
    #[error("the passphrase is empty; give at least one character, better six words")]
    Empty,
    /// It is longer than [`MAX_PASSPHRASE_BYTES`].
    #[error("the passphrase has more than {MAX_PASSPHRASE_BYTES} bytes; is this the right file?")]
    TooLong,
    /// The file that should hold it cannot be read.
    #[error("cannot read the passphrase from {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Passphrase {
    /// A text, or bytes from elsewhere, taken as they are. The same text in another Unicode normal
    /// form is another passphrase.
    ///
    /// # Errors
    /// If it is empty or longer than [`MAX_PASSPHRASE_BYTES`].
    pub fn new(passphrase: impl Into<Vec<u8>>) -> Result<Self, PassphraseError> {
        let passphrase = Zeroizing::new(passphrase.into());
        match passphrase.len() {
            0 => Err(PassphraseError::Empty),
            bytes if bytes > MAX_PASSPHRASE_BYTES => Err(PassphraseError::TooLong),
            _ => Ok(Self(passphrase)),
        }
    }

    /// The first line of a file, without the LF or CRLF that ends it; what comes after it is not
    /// looked at. White space belongs to it.
    ///
    /// # Errors
    /// If the file cannot be read, or its first line is empty or longer than
    /// [`MAX_PASSPHRASE_BYTES`].
    pub fn read_file(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |source| PassphraseError::File {
            path: path.to_owned(),
            source,
        };
        // As much as is ever needed from the start: a Vec that grows leaves copies behind.
        let most = MAX_PASSPHRASE_BYTES + "\r\n".len();
        let mut text = Zeroizing::new(Vec::with_capacity(most));
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut limited = file.take(most as u64);
        while text.len() < most && !text.contains(&b'\n') {
            let mut byte = Zeroizing::new([0; 64]);
            match limited.read(&mut byte[..]) {
                Ok(0) => break,
                Ok(bytes) => text.extend_from_slice(&byte[..bytes]),
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

/// Shows nothing of it.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Why a sealed table cannot be opened, read or written. Shows no key and no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The table is sealed, and the store was opened without a passphrase.
    #[error("it is sealed; give its passphrase (`--passphrase-file FILE`)")]
    NoPassphrase,
    /// The passphrase is not the one that the table was sealed with, or the header is damaged in a
    /// way that cannot be told from that.
    #[error("the passphrase is not the table's; give the one that it was sealed with")]
    WrongPassphrase,
    /// The header has another length than it should.
    #[error(
        "the seal's header has {bytes} bytes instead of {}; restore it from a backup",
        SealHeader::BYTES
    )]
    HeaderLength {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// The header is of a version that is not known here.
    #[error(
        "the seal's header is of version {version}, and only {VERSION} is known; use a newer HotRead, or restore it from a backup"
    )]
    HeaderVersion {
        /// Its version.
        version: u8,
    },
    /// The header asks for a number of rounds that was never written.
    #[error(
        "the seal's header asks for {rounds} rounds, which is not between {MIN_ROUNDS} and {MAX_ROUNDS}; restore it from a backup"
    )]
    HeaderRounds {
        /// How many.
        rounds: u32,
    },
    /// A stored value is not what was stored there.
    #[error(
        "the value of {key:?} at seq {seq} of the sealed table {table} is damaged; restore it from a backup"
    )]
    Damaged {
        /// The table.
        table: TableName,
        /// The record's key.
        key: String,
        /// The transaction that it belongs to.
        seq: u64,
    },
    /// The operating system gave no random numbers.
    #[error("no random numbers: {reason}; try again")]
    Random {
        /// What it said.
        reason: String,
    },
}

impl SealError {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoPassphrase => Code::Sealed,
            Self::WrongPassphrase => Code::WrongPassphrase,
            Self::HeaderLength { .. }
            | Self::HeaderVersion { .. }
            | Self::HeaderRounds { .. }
            | Self::Damaged { .. } => Code::Corrupt,
            Self::Random { .. } => Code::StorageError,
        }
    }
}

/// What is stored with a table to derive its keys again, and to tell a wrong passphrase before a row
/// is read. There is nothing secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealHeader {
    rounds: u32,
    salt: [u8; SALT_BYTES],
    verifier: [u8; VERIFIER_BYTES],
}

impl SealHeader {
    /// Length as it is stored.
    pub(crate) const BYTES: usize = Self::DERIVATION_BYTES + VERIFIER_BYTES;
    /// Of this, what stands before the verifier, and is authenticated by it.
    const DERIVATION_BYTES: usize = 1 + 4 + SALT_BYTES;

    /// As it is stored: version 1 | rounds 4 | salt 16 | verifier (nonce 12 | ciphertext 16 | tag 16);
    /// numbers are little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.derivation().to_vec();
        bytes.extend_from_slice(&self.verifier);
        bytes
    }

    /// From what was stored.
    ///
    /// # Errors
    /// If that is no header of a known version, or asks for more or less work than is reasonable.
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
    /// Keys for a new table, under a new salt, and what to store to derive them again.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub(crate) fn create(passphrase: &Passphrase) -> Result<(Self, SealHeader), SealError> {
        Self::create_with(passphrase, ROUNDS)
    }

    fn create_with(passphrase: &Passphrase, rounds: u32) -> Result<(Self, SealHeader), SealError> {
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

    /// The keys of a table that is there.
    ///
    /// # Errors
    /// If the passphrase is not the table's.
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

    /// What is stored of a value: nonce 12 | ciphertext, as long as the value | tag 16.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub(crate) fn encrypt(
        &self,
        table: &TableName,
        epoch: Epoch,
        key: &str,
        seq: u64,
        value: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        self.lock(value, &row(table, epoch, key, seq))
    }

    /// The value that was stored for this table, epoch, key and sequence number.
    ///
    /// # Errors
    /// If it was stored for another, or is not what was stored.
    pub(crate) fn decrypt(
        &self,
        table: &TableName,
        epoch: Epoch,
        key: &str,
        seq: u64,
        stored: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.unlock(stored, &row(table, epoch, key, seq))
            .ok_or_else(|| SealError::Damaged {
                table: table.clone(),
                key: key.to_owned(),
                seq,
            })
    }

    /// What hashes the table's records.
    pub(crate) fn hasher(&self) -> Hasher {
        Hasher::keyed(self.digest_key.clone())
    }

    fn lock(&self, text: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        // All of it from the start: a Vec that grows would leave the text behind.
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

fn row(table: &TableName, epoch: Epoch, key: &str, seq: u64) -> Vec<u8> {
    associated_data(
        b"hotread seal v1 row",
        &[
            table.as_str().as_bytes(),
            &epoch.0.to_le_bytes(),
            key.as_bytes(),
            &seq.to_le_bytes(),
        ],
    )
}

/// What for, and for what, each with its length before it as 4 bytes, little-endian.
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
    getrandom::fill(&mut bytes).map_err(|e| SealError::Random {
        reason: e.to_string(),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    const TEXT: &str = "correct horse battery staple";

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text).unwrap()
    }

    /// With as few rounds as can be, and once for all tests.
    fn sealed() -> &'static (Seal, SealHeader) {
        static SEALED: OnceLock<(Seal, SealHeader)> = OnceLock::new();
        SEALED.get_or_init(|| Seal::create_with(&passphrase(TEXT), MIN_ROUNDS).unwrap())
    }

    fn table(name: &str) -> TableName {
        TableName::new(name).unwrap()
    }

    #[test]
    fn a_value_comes_back_only_where_it_was_put() {
        let (seal, _) = sealed();
        let (name, epoch) = (table("oui"), Epoch(7));
        for value in [&b""[..], b"1", b"\"secret\"", &[b'x'; 100_000]] {
            let stored = seal.encrypt(&name, epoch, "k", 3, value).unwrap();
            assert_eq!(stored.len(), value.len() + NONCE_BYTES + TAG_BYTES);
            assert!(value.len() < 4 || !stored.windows(value.len()).any(|part| part == value));
            assert_eq!(
                seal.decrypt(&name, epoch, "k", 3, &stored).unwrap()[..],
                *value
            );

            let damaged = |result: Result<_, _>| {
                assert!(matches!(result, Err(SealError::Damaged { .. })));
            };
            damaged(seal.decrypt(&table("oui2"), epoch, "k", 3, &stored));
            damaged(seal.decrypt(&name, Epoch(8), "k", 3, &stored));
            damaged(seal.decrypt(&name, epoch, "l", 3, &stored));
            damaged(seal.decrypt(&name, epoch, "k", 4, &stored));
            damaged(seal.decrypt(&table("ou"), epoch, "ik", 3, &stored));
        }
    }

    #[test]
    fn each_bit_counts() {
        let (seal, _) = sealed();
        let (name, epoch) = (table("oui"), Epoch(7));
        let mut stored = seal.encrypt(&name, epoch, "k", 3, b"\"secret\"").unwrap();
        for bit in 0..stored.len() * 8 {
            stored[bit / 8] ^= 1 << (bit % 8);
            let error = seal.decrypt(&name, epoch, "k", 3, &stored).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(
                text.contains("damaged") && !text.contains("secret"),
                "{text}"
            );
            stored[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..stored.len() {
            assert!(
                seal.decrypt(&name, epoch, "k", 3, &stored[..length])
                    .is_err()
            );
        }
    }

    #[test]
    fn the_same_value_is_stored_differently_each_time() {
        let (seal, _) = sealed();
        let store = || seal.encrypt(&table("oui"), Epoch(7), "k", 3, b"1").unwrap();
        assert_ne!(store(), store());
    }

    #[test]
    fn only_the_passphrase_opens() {
        let (seal, header) = sealed();
        let again = Seal::open(&passphrase(TEXT), header).unwrap();
        let stored = seal.encrypt(&table("oui"), Epoch(7), "k", 3, b"1").unwrap();
        let read = again.decrypt(&table("oui"), Epoch(7), "k", 3, &stored);
        assert_eq!(read.unwrap()[..], *b"1");
        assert_eq!(
            again.hasher().item("k", 3, b"1"),
            seal.hasher().item("k", 3, b"1")
        );
        assert!(seal.hasher().is_keyed());

        let wrong = Seal::open(&passphrase("correct horse battery stable"), header);
        assert_eq!(wrong.unwrap_err(), SealError::WrongPassphrase);
        for change in [
            |header: &mut SealHeader| header.rounds += 1,
            |header: &mut SealHeader| header.salt[0] ^= 1,
            |header: &mut SealHeader| header.verifier[VERIFIER_BYTES - 1] ^= 1,
        ] {
            let mut header = header.clone();
            change(&mut header);
            let result = Seal::open(&passphrase(TEXT), &header);
            assert_eq!(result.unwrap_err(), SealError::WrongPassphrase);
        }
    }

    /// Against `hashlib.pbkdf2_hmac` and `hmac` of Python.
    #[test]
    fn keys_are_derived_as_documented() {
        const MASTER: &str = "ef177144eec9420cbc1093d2a8b344a92bc506d0d4ec9c028dd19f8324d8c1e6";
        const ENCRYPT: &str = "80cbb3b61a1565d5187f5b480a54abeb3bb255f7b75508ac20b09aa463045da7";
        const DIGEST: &str = "406d5a671c9220881a13ea66ac84f1a2596d42c57f48aa386750a14db7fb4312";
        let bytes = |hex: &str| -> [u8; KEY_BYTES] {
            std::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
        };

        let master = bytes(MASTER);
        assert_eq!(subkey(&master, b"hotread seal v1 encrypt"), bytes(ENCRYPT));
        let header = SealHeader {
            rounds: 600_000,
            salt: std::array::from_fn(|n| u8::try_from(n).unwrap()),
            verifier: [0; VERIFIER_BYTES],
        };
        let seal = Seal::derive(&passphrase(TEXT), &header);
        assert_eq!(*seal.digest_key, bytes(DIGEST));
        let other = Seal {
            cipher: Aes256Gcm::new((&bytes(ENCRYPT)).into()),
            digest_key: Zeroizing::new(bytes(DIGEST)),
        };
        let stored = seal.encrypt(&table("oui"), Epoch(7), "k", 3, b"1").unwrap();
        assert!(
            other
                .decrypt(&table("oui"), Epoch(7), "k", 3, &stored)
                .is_ok()
        );
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        let good = sealed().1.encode();
        assert_eq!(good.len(), SealHeader::BYTES);
        assert_eq!(SealHeader::decode(&good).as_ref(), Ok(&sealed().1));
        for length in 0..good.len() {
            let error = SealHeader::decode(&good[..length]);
            assert_eq!(error, Err(SealError::HeaderLength { bytes: length }));
        }
        let with = |at: usize, new: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            SealHeader::decode(&bytes)
        };
        assert_eq!(with(0, &[2]), Err(SealError::HeaderVersion { version: 2 }));
        for rounds in [0, MIN_ROUNDS - 1, MAX_ROUNDS + 1, u32::MAX] {
            let error = with(1, &rounds.to_le_bytes());
            assert_eq!(error, Err(SealError::HeaderRounds { rounds }));
        }
        assert!(with(1, &MAX_ROUNDS.to_le_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn headers_are_read_as_they_are_written(
            rounds in MIN_ROUNDS..=MAX_ROUNDS,
            salt: [u8; SALT_BYTES],
            verifier in prop::collection::vec(any::<u8>(), VERIFIER_BYTES),
        ) {
            let verifier = verifier.try_into().unwrap();
            let header = SealHeader { rounds, salt, verifier };
            prop_assert_eq!(SealHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_are_a_header_or_an_error(
            version in 0..3_u8,
            rest in prop::collection::vec(any::<u8>(), 0..2 * SealHeader::BYTES),
        ) {
            let bytes = [vec![version], rest].concat();
            if let Ok(header) = SealHeader::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |content: &str| {
            std::fs::write(file.path(), content).unwrap();
            Passphrase::read_file(file.path())
        };
        let longest = "x".repeat(MAX_PASSPHRASE_BYTES);
        for (content, expected) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\nmore\n", "secret"),
            (" a b \n", " a b "),
            ("a\rb", "a\rb"),
            (&longest, &longest),
            (&format!("{longest}\r\n"), &longest),
            (&format!("a\n{longest}{longest}"), "a"),
        ] {
            assert_eq!(&*read(content).unwrap().0, expected.as_bytes());
        }
        for content in ["", "\n", "\r\n", "\nsecret\n"] {
            assert!(matches!(read(content), Err(PassphraseError::Empty)));
        }
        for content in [format!("{longest}x"), format!("{longest}x\n")] {
            assert!(matches!(read(&content), Err(PassphraseError::TooLong)));
        }
        let error = Passphrase::read_file(Path::new("/no/such/file")).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"));
    }

    #[test]
    fn nothing_secret_shows() {
        let (seal, _) = sealed();
        let shown = format!("{:?} {seal:?} {:?}", passphrase(TEXT), seal.hasher());
        assert_eq!(shown, "Passphrase Seal HMAC-SHA256");
    }

    /// Figures for the documentation: `cargo test --release -- --ignored --nocapture cost`.
    #[test]
    #[ignore = "measures, and checks nothing"]
    fn cost() {
        let time = |what: &str, rounds: u32, work: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            (0..rounds).for_each(|_| work());
            println!("{what}: {:?}", start.elapsed() / rounds);
        };
        let mut seal = None;
        time("create", 3, &mut || {
            seal = Some(Seal::create(&passphrase(TEXT)).unwrap().0)
        });
        let (seal, name) = (seal.unwrap(), table("oui"));
        for bytes in [200, 4_096] {
            let value = vec![b'x'; bytes];
            let mut stored = Vec::new();
            time("encrypt", 100_000, &mut || {
                stored = seal.encrypt(&name, Epoch(7), "a key", 3, &value).unwrap();
            });
            time("decrypt", 100_000, &mut || {
                seal.decrypt(&name, Epoch(7), "a key", 3, &stored).unwrap();
            });
        }
    }
}
