//! The digest of a table changes whenever its records do, and depends on nothing else.

mod support;

use hotread_proto::{
    Category, Condition, Digest, Hasher, ItemHash, Key, Note, Op, Put, Replace, Timestamp, Txn,
    TxnId, Value,
};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, HashSet};
use support::{Secret, config, hasher, item_hash, secret};

/// Sequence number and value by key.
type Content = BTreeMap<String, (u64, Vec<u8>)>;

fn key() -> impl Strategy<Value = String> {
    prop::string::string_regex("[a-c]{1,3}|[ -~]{1,20}|[^\\p{Cc}]{1,10}").unwrap()
}

fn fields() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let seq = prop_oneof![0..4_u64, any::<u64>()];
    (seq, prop::collection::vec(any::<u8>(), 0..80))
}

fn content(least: usize) -> impl Strategy<Value = Content> {
    prop::collection::btree_map(key(), fields(), least..12)
}

fn items(hasher: &Hasher, content: &Content) -> Vec<ItemHash> {
    let item = |(key, (seq, value)): (&String, &(u64, Vec<u8>))| hasher.item(key, *seq, value);
    content.iter().map(item).collect()
}

fn digest(hasher: &Hasher, content: &Content) -> Digest {
    items(hasher, content).into_iter().collect()
}

/// Computes the digest independently of the crate, as it is specified.
fn sum(secret: &Secret, content: &Content) -> u128 {
    content
        .iter()
        .map(|(key, (seq, value))| item_hash(secret, key, *seq, value))
        .fold(0, u128::wrapping_add)
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn an_item_hash_is_what_the_specification_says(
        secret in secret(),
        key in key(),
        (seq, value) in fields(),
        times in 1..40_usize,
    ) {
        // Includes values longer than the block size of XXH3.
        let value = value.repeat(times);
        let hash = hasher(&secret).item(&key, seq, &value);
        prop_assert_eq!(hash.0, item_hash(&secret, &key, seq, &value));
    }

    #[test]
    fn the_order_of_records_does_not_matter(
        secret in secret(),
        (content, order) in content(0)
            .prop_flat_map(|content| (Just(content.clone()), prop::collection::vec(any::<u32>(), content.len()))),
    ) {
        let hasher = hasher(&secret);
        let mut shuffled: Vec<_> = items(&hasher, &content).into_iter().zip(order).collect();
        shuffled.sort_by_key(|(_, place)| *place);
        let shuffled: Digest = shuffled.into_iter().map(|(item, _)| item).collect();
        prop_assert_eq!(shuffled, digest(&hasher, &content));
        prop_assert_eq!(shuffled.0, sum(&secret, &content));
    }

    #[test]
    fn a_lost_extra_or_altered_record_shows(
        secret in secret(),
        content in content(1),
        which in any::<Index>(),
        bit in any::<Index>(),
        (extra, fields) in (key(), fields()),
    ) {
        let hasher = hasher(&secret);
        let whole = digest(&hasher, &content);
        let items = items(&hasher, &content);
        let (key, (seq, value)) = content.iter().nth(which.index(content.len())).unwrap();
        let rest = whole.without(hasher.item(key, *seq, value));

        prop_assert_ne!(rest, whole, "lost");
        prop_assert_ne!(whole.with(items[which.index(items.len())]), whole, "twice");
        if !content.contains_key(&extra) {
            prop_assert_ne!(whole.with(hasher.item(&extra, fields.0, &fields.1)), whole, "extra");
            prop_assert_ne!(rest.with(hasher.item(&extra, *seq, value)), whole, "other key");
        }
        let other_seq = seq ^ (1 << bit.index(64));
        prop_assert_ne!(rest.with(hasher.item(key, other_seq, value)), whole, "bit of seq");
        if !value.is_empty() {
            let mut other = value.clone();
            flip(&mut other, bit.index(value.len() * 8));
            prop_assert_ne!(rest.with(hasher.item(key, *seq, &other)), whole, "bit of value");
        }
        // Only changes that leave the key valid UTF-8.
        let mut other = key.clone().into_bytes();
        flip(&mut other, bit.index(key.len() * 8));
        if let Ok(other) = String::from_utf8(other) {
            prop_assert_ne!(rest.with(hasher.item(&other, *seq, value)), whole, "bit of key");
        }
    }

    #[test]
    fn where_a_field_ends_shows(secret in secret(), key in key(), (seq, value) in fields()) {
        // The same bytes except the length: the end of the key moves into the next field.
        let hasher = hasher(&secret);
        let mut bytes = key.clone().into_bytes();
        bytes.extend_from_slice(&seq.to_le_bytes());
        bytes.extend_from_slice(&value);
        for (cut, _) in key.char_indices().skip(1) {
            let next = u64::from_le_bytes(bytes[cut..cut + 8].try_into().unwrap());
            let other = hasher.item(&key[..cut], next, &bytes[cut + 8..]);
            prop_assert_ne!(other, hasher.item(&key, seq, &value));
        }
    }

    #[test]
    fn records_that_exchange_what_they_have_show(
        secret in secret(),
        (one, other) in (key(), key()),
        (fields, other_fields) in (fields(), fields()),
    ) {
        prop_assume!(one != other);
        let hasher = hasher(&secret);
        let of = |pairs: [(&String, u64, &Vec<u8>); 2]| -> Digest {
            pairs.into_iter().map(|(key, seq, value)| hasher.item(key, seq, value)).collect()
        };
        let (seq, value) = &fields;
        let (other_seq, other_value) = &other_fields;
        let right = of([(&one, *seq, value), (&other, *other_seq, other_value)]);
        if value != other_value {
            prop_assert_ne!(of([(&one, *seq, other_value), (&other, *other_seq, value)]), right);
        }
        if seq != other_seq {
            prop_assert_ne!(of([(&one, *other_seq, value), (&other, *seq, other_value)]), right);
        }
    }

    #[test]
    fn step_by_step_gives_what_the_whole_gives(
        secret in secret(),
        steps in prop::collection::vec((key(), prop::option::of(fields())), 0..30),
    ) {
        let hasher = hasher(&secret);
        let mut content = Content::new();
        let mut running = Digest::EMPTY;
        for (key, fields) in steps {
            if let Some((seq, value)) = content.remove(&key) {
                running = running.without(hasher.item(&key, seq, &value));
            }
            if let Some((seq, value)) = fields {
                running = running.with(hasher.item(&key, seq, &value));
                content.insert(key, (seq, value));
            }
            prop_assert_eq!(running.0, sum(&secret, &content));
        }
        for item in items(&hasher, &content) {
            running = running.without(item);
        }
        prop_assert_eq!(running, Digest::EMPTY);
    }

    #[test]
    fn another_key_gives_another_digest(
        content in content(1),
        one in any::<[u8; 32]>(),
        bit in 0..256_usize,
    ) {
        let mut other = one;
        flip(&mut other, bit);
        let with = |secret| digest(&hasher(&secret), &content);
        prop_assert_ne!(with(Some(one)), with(Some(other)));
        prop_assert_ne!(with(Some(one)), with(None));
    }

    #[test]
    fn a_body_hash_shows_every_part_of_a_body_but_id_and_note(
        secret in secret(),
        txn in support::txn(),
        (id, note) in (support::txn_id(), support::note()),
        which in any::<Index>(),
        seq in any::<u64>(),
    ) {
        let hasher = hasher(&secret);
        let hash = txn.body_hash(&hasher);
        prop_assert_eq!(txn.clone().id(id).body_hash(&hasher), hash);
        let said = txn.clone().note(note.clone());
        prop_assert_eq!(said.body_hash(&hasher), hash);
        let unsaid = txn.note.as_ref().map_or(0, |note| note.as_str().len());
        prop_assert_eq!(said.size() + unsaid, txn.size() + note.as_str().len());

        let mut others = Vec::new();
        let mut other = |change: &dyn Fn(&mut Txn)| {
            let mut changed = txn.clone();
            change(&mut changed);
            others.push(changed);
        };
        if !txn.ops.is_empty() {
            let at = which.index(txn.ops.len());
            other(&|txn| drop(txn.ops.remove(at)));
            other(&|txn| txn.ops.push(txn.ops[at].clone()));
            other(&|txn| txn.ops.swap(0, at));
            other(&|txn| txn.ops[at] = Op::Delete { key: txn.ops[at].key().clone() });
            if let Op::Put(put) = &txn.ops[at] {
                let value = Value::serialize(&[put.value.as_str()]).unwrap();
                other(&|txn| txn.ops[at] = Op::Put(Put { value: value.clone(), ..put.clone() }));
                let category = Category::new("another").unwrap();
                other(&|txn| txn.ops[at] = Op::Put(Put { category: category.clone(), ..put.clone() }));
                let expires_at = put.expires_at.is_none().then_some(Timestamp::EPOCH);
                other(&|txn| txn.ops[at] = Op::Put(Put { expires_at, ..put.clone() }));
            }
        }
        if !txn.preconditions.is_empty() {
            let at = which.index(txn.preconditions.len());
            other(&|txn| drop(txn.preconditions.remove(at)));
            other(&|txn| txn.preconditions.push(txn.preconditions[at].clone()));
            other(&|txn| txn.preconditions.swap(0, at));
            other(&|txn| txn.preconditions[at].condition = Condition::Absent);
            other(&|txn| txn.preconditions[at].condition = Condition::Present);
            other(&|txn| txn.preconditions[at].condition = Condition::Seq(seq));
        }
        for other in others {
            // Some of the changes have no effect.
            let same = other.ops == txn.ops && other.preconditions == txn.preconditions;
            prop_assert_eq!(other.body_hash(&hasher) == hash, same, "{:?}", other);
        }
    }

    #[test]
    fn digests_are_read_as_they_are_written(number in any::<u128>(), text in "[0-9a-f]{31,33}|[0-9a-f]{30}[A-F]{2}|[+x][0-9a-f]{31}") {
        let digest = Digest(number);
        prop_assert_eq!(digest.to_string(), format!("{number:032x}"));
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        let written = text.len() == 32 && text.chars().all(|c| "0123456789abcdef".contains(c));
        prop_assert_eq!(text.parse::<Digest>().is_ok(), written);
    }
}

#[test]
fn bodies_that_differ_hash_differently() {
    let key = |text| Key::new(text).unwrap();
    let put = |name, json: &str| Put::new(key(name), Value::parse(json.as_bytes()).unwrap());
    let txns = [
        Txn::new().put(put("a", "1")),
        Txn::new().put(put("a", "1.0")),
        Txn::new().put(put("a1", "1")),
        Txn::new().put(put("a", "1")).put(put("a", "1")),
        Txn::new().delete(key("a")),
        Txn::new().put(put("a", "1")).if_absent(key("a")),
        Txn::new().put(put("a", "1")).if_present(key("a")),
        Txn::new().put(put("a", "1")).if_seq(key("a"), 0),
    ];
    let plain = Replace::new(vec![put("a", "1")]);
    let replacements = [
        plain.clone().if_seq(1),
        plain.clone().if_seq(2),
        plain.clone().unguarded(),
        Replace {
            max_delete_percent: Some(5),
            ..plain.clone()
        },
        Replace {
            allow_empty: true,
            ..plain.clone()
        },
        Replace::default(),
        plain.clone(),
    ];
    let hasher = Hasher::PLAIN;
    let txns = txns.iter().map(|txn| txn.body_hash(&hasher));
    let hashes = txns.chain(replacements.iter().map(|new| new.body_hash(&hasher)));
    let hashes: Vec<_> = hashes.collect();
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());

    let note = Note::new("n").unwrap();
    let said = Replace {
        id: Some(TxnId::new("x").unwrap()),
        ..plain.clone().note(note)
    };
    assert_eq!(said.body_hash(&hasher), plain.body_hash(&hasher));
    assert_eq!(said.size(), plain.size() + 1);
}
