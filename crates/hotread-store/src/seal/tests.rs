//! Tests of the separation of ciphertexts, and of the derivation of keys.

use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

const TEXT: &str = "correct horse battery staple";

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

/// Keys with the fewest rounds, derived once for all tests.
fn sealed() -> &'static (Seal, SealHeader) {
    static SEALED: OnceLock<(Seal, SealHeader)> = OnceLock::new();
    SEALED.get_or_init(|| Seal::create(&passphrase(TEXT), MIN_ROUNDS).unwrap())
}

/// The place of a record's value in epoch 7 at seq 3.
fn place<'a>(table: &'a TableName, key: &'a str) -> Place<'a> {
    let (epoch, key, seq) = (Epoch(7), Some(key), 3);
    Place {
        table,
        epoch,
        key,
        seq,
    }
}

fn table(name: &str) -> TableName {
    TableName::new(name).unwrap()
}

#[test]
fn a_value_comes_back_only_where_it_was_put() {
    let (seal, _) = sealed();
    let [name, longer, shorter] = ["oui", "oui2", "ou"].map(table);
    let here = place(&name, "k");
    for value in [&b""[..], b"1", b"\"secret\"", &[b'x'; 100_000]] {
        let stored = seal.encrypt(here, value).unwrap();
        assert_eq!(stored.len(), value.len() + NONCE_BYTES + TAG_BYTES);
        assert!(value.len() < 4 || !stored.windows(value.len()).any(|part| part == value));
        assert_eq!(seal.decrypt(here, &stored).unwrap()[..], *value);
        let (epoch, seq) = (Epoch(8), 4);
        for elsewhere in [
            place(&longer, "k"),
            Place { epoch, ..here },
            place(&name, "l"),
            Place { seq, ..here },
            place(&shorter, "ik"),
        ] {
            let result = seal.decrypt(elsewhere, &stored);
            assert!(matches!(result, Err(SealError::Damaged { .. })));
        }
    }
}

#[test]
fn each_bit_counts() {
    let (seal, _) = sealed();
    let name = table("oui");
    let here = place(&name, "k");
    let mut stored = seal.encrypt(here, b"\"secret\"").unwrap();
    for bit in 0..stored.len() * 8 {
        stored[bit / 8] ^= 1 << (bit % 8);
        let error = seal.decrypt(here, &stored).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("damaged") && !text.contains("secret"),
            "{text}"
        );
        stored[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..stored.len() {
        assert!(seal.decrypt(here, &stored[..length]).is_err());
    }
}

#[test]
fn the_same_value_is_stored_differently_each_time() {
    let ((seal, _), name) = (sealed(), table("oui"));
    let store = || seal.encrypt(place(&name, "k"), b"1").unwrap();
    assert_ne!(store(), store());
}

#[test]
fn only_the_passphrase_opens() {
    let (seal, header) = sealed();
    let again = Seal::open(&passphrase(TEXT), header).unwrap();
    let name = table("oui");
    let stored = seal.encrypt(place(&name, "k"), b"1").unwrap();
    let read = again.decrypt(place(&name, "k"), &stored);
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

/// Compared with `hashlib.pbkdf2_hmac` and `hmac` of Python.
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
    let name = table("oui");
    let stored = seal.encrypt(place(&name, "k"), b"1").unwrap();
    assert!(other.decrypt(place(&name, "k"), &stored).is_ok());
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
