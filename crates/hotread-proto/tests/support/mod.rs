//! Helpers that the tests of this crate share: settings, generators, and independently computed
//! hashes. `view` has the table for evaluation, `model` the model of its outcome.

#![allow(dead_code, reason = "each test uses its part")]

pub mod model;
pub mod view;

use hotread_proto::{
    Category, Hasher, Key, Note, Op, Precondition, Put, Timestamp, Txn, TxnId, Value,
};
use proptest::prelude::*;
use proptest::string::string_regex;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use zeroize::Zeroizing;

/// Returns a configuration with this many cases, unless `PROPTEST_CASES` sets another number.
pub fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if asked { default.cases } else { cases },
        failure_persistence: None,
        ..default
    }
}

/// Key of a sealed table; `None` for a plain one.
pub type Secret = Option<[u8; 32]>;

pub fn secret() -> impl Strategy<Value = Secret> {
    prop_oneof![Just(None), any::<[u8; 32]>().prop_map(Some)]
}

pub fn hasher(secret: &Secret) -> Hasher {
    secret.map_or(Hasher::PLAIN, |key| Hasher::keyed(Zeroizing::new(key)))
}

/// Computes the item hash as `docs/wire.md` describes it: the bytes in one piece, HMAC by hand.
pub fn item_hash(secret: &Secret, key: &str, seq: u64, value: &[u8]) -> u128 {
    let mut bytes = u32::try_from(key.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(value);
    hash(secret, &bytes)
}

/// Hashes any bytes like records and bodies.
pub fn hash(secret: &Secret, bytes: &[u8]) -> u128 {
    let Some(secret) = secret else {
        return xxhash_rust::xxh3::xxh3_128(bytes);
    };
    let mut block = [0; 64];
    block[..32].copy_from_slice(secret);
    let inner = Sha256::new()
        .chain_update(block.map(|b| b ^ 0x36))
        .chain_update(bytes)
        .finalize();
    let full = Sha256::new()
        .chain_update(block.map(|b| b ^ 0x5c))
        .chain_update(inner)
        .finalize();
    full[..16]
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// Generates the parts of a JSON text, between which white space may be inserted.
pub fn json_parts() -> impl Strategy<Value = Vec<String>> {
    let number = r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,8})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![
        string_regex("null|true|false").unwrap(),
        string_regex(number).unwrap(),
        json_string(),
    ]
    .prop_map(|text| vec![text]);
    leaf.prop_recursive(5, 40, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..6);
        let members = prop::collection::vec((json_string(), inner), 0..6);
        prop_oneof![
            list.prop_map(|items| enclose("[", items, "]")),
            members.prop_map(|mut members| {
                // Each name once, however it is escaped.
                let mut names = HashSet::new();
                members.retain(|(name, _)| {
                    names.insert(serde_json::from_str::<String>(name).unwrap())
                });
                let member = |(name, value): (String, Vec<String>)| {
                    let mut parts = vec![name, ":".to_owned()];
                    parts.extend(value);
                    parts
                };
                enclose("{", members.into_iter().map(member).collect(), "}")
            }),
        ]
    })
}

fn json_string() -> impl Strategy<Value = String> {
    let form = r#""([^"\\\p{Cc}]|[ a-z]|\\(["\\/bfnrt]|u00[0-9a-fA-F]{2}|ud83d\\ude00)){0,8}""#;
    string_regex(form).unwrap()
}

fn enclose(open: &str, items: Vec<Vec<String>>, close: &str) -> Vec<String> {
    let mut parts = vec![open.to_owned()];
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            parts.push(",".to_owned());
        }
        parts.extend(item);
    }
    parts.push(close.to_owned());
    parts
}

pub fn value() -> impl Strategy<Value = Value> {
    json_parts().prop_map(|parts| Value::parse(parts.concat().as_bytes()).unwrap())
}

pub fn key() -> impl Strategy<Value = Key> {
    let text = string_regex(r"[^\p{Cc}]{1,20}|[a-c]{1,3}|\.{3,4}").unwrap();
    text.prop_filter_map("no key", |text| Key::new(&text).ok())
}

pub fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.millis()).prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

pub fn put() -> impl Strategy<Value = Put> {
    let category = string_regex(r"general|[^\p{Cc}]{1,12}").unwrap();
    let category = category.prop_map(|text| Category::new(&text).unwrap());
    let expires_at = prop::option::of(timestamp());
    (key(), value(), category, expires_at).prop_map(|(key, value, category, expires_at)| Put {
        key,
        value,
        category,
        expires_at,
    })
}

pub fn txn_id() -> impl Strategy<Value = TxnId> {
    let text = string_regex("[!-~]{1,64}").unwrap();
    text.prop_map(|text| TxnId::new(&text).unwrap())
}

pub fn note() -> impl Strategy<Value = Note> {
    let text = string_regex(r"[^\p{Cc}]{1,40}").unwrap();
    text.prop_map(|text| Note::new(&text).unwrap())
}

pub fn txn() -> impl Strategy<Value = Txn> {
    let op = prop_oneof![
        put().prop_map(Op::Put),
        key().prop_map(|key| Op::Delete { key }),
    ];
    let condition = prop_oneof![
        any::<u64>().prop_map(hotread_proto::Condition::Seq),
        Just(hotread_proto::Condition::Absent),
        Just(hotread_proto::Condition::Present),
    ];
    let precondition =
        (key(), condition).prop_map(|(key, condition)| Precondition { key, condition });
    let ops = prop::collection::vec(op, 0..5);
    let preconditions = prop::collection::vec(precondition, 0..4);
    let note = prop::option::of(note());
    let parts = (prop::option::of(txn_id()), ops, preconditions, note);
    parts.prop_map(|(id, ops, preconditions, note)| Txn {
        id,
        ops,
        preconditions,
        note,
    })
}
