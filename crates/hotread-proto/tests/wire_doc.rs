//! Checks of `docs/wire.md` against the crate: limits, codes, examples and test vectors.

#[path = "support/document.rs"]
mod document;
mod support;

use document::Item;
use hotread_proto::limits::{
    DEFAULT_MAX_DELETE_PERCENT, FREE_DELETIONS, MAX_ACTOR_BYTES, MAX_CATEGORY_BYTES, MAX_KEY_BYTES,
    MAX_NOTE_BYTES, MAX_REPLACE_BYTES, MAX_TABLE_NAME_BYTES, MAX_TXN_BYTES, MAX_TXN_ID_BYTES,
    MAX_TXN_OPS, MAX_VALUE_BYTES, MAX_VALUE_DEPTH,
};
use hotread_proto::{
    Body, Category, Code, Committed, Condition, Digest, Entry, ErrorBody, Hasher, ItemHash, Key,
    Op, Outcome, Position, Precondition, Put, Record, Refusal, Replace, Success, Timestamp, Txn,
    Value, evaluate,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use support::view::MapView;
use zeroize::Zeroizing;

/// Returns the JSON blocks, each with its kind.
fn blocks() -> Vec<(String, String)> {
    let json = |item| match item {
        Item::Block(kind, text) => Some((kind.strip_prefix("json ")?.to_owned(), text)),
        _ => None,
    };
    document::items().into_iter().filter_map(json).collect()
}

/// Reads an example, and checks that it survives a round trip.
fn example<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &str) -> T {
    let read: T = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<T>(&again).unwrap(), read);
    read
}

/// Checks that the crate writes what the document shows.
fn as_shown<T: Serialize>(given: &T, shown: &str) {
    let shown = Value::parse(shown.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(given).unwrap(), shown.as_str());
}

/// The fields as the document lists them; the crate writes such records but does not read them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordExample {
    key: Key,
    value: Value,
    category: Category,
    seq: u64,
    updated_at: Timestamp,
    expires_at: Option<Timestamp>,
    h: ItemHash,
}

#[test]
fn every_example_is_read_and_written_as_it_stands() {
    let mut kinds = BTreeSet::new();
    for (kind, json) in blocks() {
        match kind.as_str() {
            "txn" => {
                let txn: Txn = example(&json);
                assert_eq!(txn.check(), Ok(()));
                assert_eq!((txn.ops.len(), txn.preconditions.len()), (3, 3));
            }
            "replace" => assert_eq!(example::<Replace>(&json).records.len(), 2),
            "replace-guarded" => {
                let guarded: Replace = example(&json);
                assert_eq!(
                    (guarded.if_seq, guarded.max_delete_percent),
                    (Some(42), Some(5))
                );
            }
            "position" => as_shown(&example::<Position>(&json), &json),
            "committed" => as_shown(&example::<Committed>(&json), &json),
            "success" => as_shown(&example::<Success<Committed>>(&json), &json),
            "error" => {
                let error: ErrorBody = example(&json);
                as_shown(&error, &json);
                let refusal = Refusal::Precondition {
                    key: error.key.unwrap(),
                    condition: Condition::Seq(41),
                    actual: error.seq,
                };
                assert_eq!(error.message, refusal.to_string());
            }
            "record" => {
                let shown: RecordExample = serde_json::from_str(&json).unwrap();
                let record = Record::new(
                    &shown.key,
                    &shown.value,
                    &shown.category,
                    shown.seq,
                    shown.updated_at,
                    shown.expires_at,
                    &Hasher::PLAIN,
                );
                assert_eq!(record.hash(), shown.h);
                as_shown(&record, &json);
            }
            "vectors" => {}
            // Other tests check frames of sessions and the bodies of the HTTP interface.
            "client" | "client-short" | "server" => continue,
            http if http.starts_with("http") => continue,
            other => panic!("nothing checks the example {other:?}: {json}"),
        }
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[test]
fn every_link_within_the_document_leads_somewhere() {
    let mut anchors = BTreeSet::new();
    for item in document::items() {
        if let Item::Heading(heading) = item {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let anchor: String = heading.to_lowercase().chars().filter(kept).collect();
            assert!(anchors.insert(anchor.replace(' ', "-")), "twice: {heading}");
        }
    }
    let text = document::text();
    let links = text.split("](#").skip(1);
    let links: BTreeSet<_> = links.filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20);
    for link in links {
        assert!(anchors.contains(link), "#{link}");
    }
}

#[test]
fn every_code_is_in_the_table_in_its_place() {
    let rows = document::rows(&["code", "status", "when"]);
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let codes: Vec<String> = Code::ALL.iter().map(|code| format!("`{code}`")).collect();
    assert_eq!(listed, codes);
    for row in rows {
        let status: Option<u16> = row[1].parse().ok();
        let answered = status.is_some_and(|status| (400..600).contains(&status));
        assert!(answered || row[1] == "–", "{row:?}");
    }
}

#[test]
fn every_limit_is_in_the_table_with_its_value() {
    let limits = [
        ("MAX_TABLE_NAME_BYTES", MAX_TABLE_NAME_BYTES),
        ("MAX_KEY_BYTES", MAX_KEY_BYTES),
        ("MAX_CATEGORY_BYTES", MAX_CATEGORY_BYTES),
        ("MAX_TXN_ID_BYTES", MAX_TXN_ID_BYTES),
        ("MAX_ACTOR_BYTES", MAX_ACTOR_BYTES),
        ("MAX_NOTE_BYTES", MAX_NOTE_BYTES),
        ("MAX_VALUE_BYTES", MAX_VALUE_BYTES),
        ("MAX_VALUE_DEPTH", MAX_VALUE_DEPTH),
        ("MAX_TXN_OPS", MAX_TXN_OPS),
        ("MAX_TXN_BYTES", MAX_TXN_BYTES),
        ("MAX_REPLACE_BYTES", MAX_REPLACE_BYTES),
        (
            "DEFAULT_MAX_DELETE_PERCENT",
            DEFAULT_MAX_DELETE_PERCENT.into(),
        ),
        ("FREE_DELETIONS", FREE_DELETIONS as usize),
    ]
    .map(|(name, limit)| [format!("`{name}`"), limit.to_string()]);
    let rows = document::rows(&["limit", "value", "of what"]);
    let listed: Vec<_> = rows
        .iter()
        .take(limits.len())
        .map(|row| &row[..2])
        .collect();
    assert_eq!(listed, limits);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    secret: String,
    records: Vec<RecordVector>,
    digest: Hashes<Digest>,
    changes: Vec<ChangeVector>,
    bodies: Vec<BodyVector>,
    values: Vec<ValueVector>,
    times: Vec<TimeVector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hashes<T> {
    plain: T,
    keyed: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordVector {
    key: Key,
    seq: u64,
    value_text: String,
    bytes: Option<String>,
    plain: ItemHash,
    keyed: ItemHash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutVector {
    key: Key,
    value_text: String,
    #[serde(default)]
    category: Category,
    expires_at_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeVector {
    seq: u64,
    put: Vec<PutVector>,
    delete: Vec<Key>,
    records: u64,
    plain: Digest,
    keyed: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpVector {
    Put(PutVector),
    Delete(Key),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyVector {
    ops: Option<Vec<OpVector>>,
    #[serde(default, rename = "if")]
    preconditions: Vec<Precondition>,
    records: Option<Vec<PutVector>>,
    plain: String,
    keyed: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueVector {
    given: String,
    value_text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeVector {
    given: String,
    millis: i64,
    written: String,
}

/// Parses a value that is compact already.
fn value(text: &str) -> Value {
    let value = Value::parse(text.as_bytes()).unwrap();
    assert_eq!(value.as_str(), text);
    value
}

fn put(given: PutVector) -> Put {
    Put {
        key: given.key,
        value: value(&given.value_text),
        category: given.category,
        expires_at: given
            .expires_at_ms
            .map(|millis| Timestamp::from_millis(millis).unwrap()),
    }
}

fn vectors() -> (Vectors, [u8; 32]) {
    let blocks: BTreeMap<String, String> = blocks().into_iter().collect();
    let vectors: Vectors = serde_json::from_str(&blocks["vectors"]).unwrap();
    assert_eq!(vectors.secret.len(), 64);
    let secret = std::array::from_fn(|at| {
        u8::from_str_radix(&vectors.secret[2 * at..2 * at + 2], 16).unwrap()
    });
    (vectors, secret)
}

#[test]
fn item_hashes_and_their_sum_are_as_given() {
    let (vectors, secret) = vectors();
    let keyed = Hasher::keyed(Zeroizing::new(secret));
    let mut sums = [Digest::EMPTY; 2];
    for given in &vectors.records {
        let value = value(&given.value_text);
        let item = |hasher: &Hasher| hasher.item(given.key.as_str(), given.seq, value.as_bytes());
        assert_eq!(item(&Hasher::PLAIN), given.plain, "{}", given.key);
        assert_eq!(item(&keyed), given.keyed, "{}", given.key);
        sums = [sums[0].with(given.plain), sums[1].with(given.keyed)];
        if let Some(bytes) = &given.bytes {
            let bytes: Vec<u8> = (0..bytes.len() / 2)
                .map(|at| u8::from_str_radix(&bytes[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            assert_eq!(support::hash(&None, &bytes), given.plain.0, "{}", given.key);
        }
    }
    assert_eq!(sums, [vectors.digest.plain, vectors.digest.keyed]);
    assert!(vectors.records.len() > 5);
}

#[test]
fn running_digests_are_as_given() {
    let (vectors, secret) = vectors();
    let mut views = [MapView::new(&None), MapView::new(&Some(secret))];
    assert!(vectors.changes.len() > 3);
    for given in vectors.changes {
        let mut ops: Vec<Op> = given.put.into_iter().map(|p| Op::Put(put(p))).collect();
        ops.extend(given.delete.into_iter().map(|key| Op::Delete { key }));
        if ops.is_empty() {
            // A transaction that changes nothing.
            let key = Key::new("not there").unwrap();
            ops.push(Op::Delete { key });
        }
        for (view, digest) in views.iter_mut().zip([given.plain, given.keyed]) {
            let ops = ops.clone();
            let body = Body::Txn(Txn { ops, ..Txn::new() });
            let at = Timestamp::EPOCH;
            let Outcome::Committed(change) = evaluate(
                view,
                &Entry {
                    at,
                    actor: None,
                    body,
                },
            )
            .unwrap() else {
                panic!("seq {} is not committed", given.seq);
            };
            assert_eq!(change.position.seq, given.seq);
            assert_eq!(change.records, given.records, "seq {}", given.seq);
            assert_eq!(change.digest, digest, "seq {}", given.seq);
            view.apply(&change);
        }
    }
}

#[test]
fn body_hashes_are_as_given() {
    let (vectors, secret) = vectors();
    let keyed = Hasher::keyed(Zeroizing::new(secret));
    assert!(vectors.bodies.len() > 3);
    for given in vectors.bodies {
        let hashes = match (given.ops, given.records) {
            (Some(ops), None) => {
                let op = |op| match op {
                    OpVector::Put(given) => Op::Put(put(given)),
                    OpVector::Delete(key) => Op::Delete { key },
                };
                let txn = Txn {
                    id: None,
                    ops: ops.into_iter().map(op).collect(),
                    preconditions: given.preconditions,
                    note: None,
                };
                [txn.body_hash(&Hasher::PLAIN), txn.body_hash(&keyed)]
            }
            (None, Some(records)) => {
                let records = records.into_iter().map(put).collect();
                let replace = Replace::new(records);
                [replace.body_hash(&Hasher::PLAIN), replace.body_hash(&keyed)]
            }
            _ => panic!("a body has either ops or records"),
        };
        let hashes = hashes.map(|hash| format!("{hash:032x}"));
        assert_eq!(hashes, [given.plain, given.keyed]);
    }
}

#[test]
fn compact_texts_and_times_are_as_given() {
    let (vectors, _) = vectors();
    assert!(!vectors.values.is_empty() && !vectors.times.is_empty());
    for given in vectors.values {
        let value = Value::parse(given.given.as_bytes()).unwrap();
        assert_eq!(value.as_str(), given.value_text);
    }
    for given in vectors.times {
        let at: Timestamp = given.given.parse().unwrap();
        assert_eq!(at.millis(), given.millis, "{}", given.given);
        assert_eq!(at.to_string(), given.written);
    }
}
