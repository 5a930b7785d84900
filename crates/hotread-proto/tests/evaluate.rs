//! `evaluate` compared with an independent model: any sequence of transactions, replacements and
//! expiries, with clocks that go backwards, has the outcome of the model.

mod support;

use hotread::HotReadState;
use hotread::testing::check_contract;
use hotread_proto::limits::{MAX_TXN_BYTES, MAX_TXN_OPS};
use hotread_proto::{
    Actor, Body, Category, Change, ChangeOp, Compared, Condition, Entry, Key, Note, Op, Outcome,
    Precondition, Put, Record, Records, Refusal, Removal, Replace, Timestamp, Txn, TxnId,
    TxnTooLarge, Value, evaluate,
};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;
use std::sync::Arc;
use support::model::{Answer, Model, Row};
use support::view::MapView;
use support::{Secret, config, hasher, item_hash, secret};

/// Few keys, so that steps interact: prefixes of each other, and some whose order by bytes differs
/// from that of their characters in other encodings.
const KEYS: [&str; 6] = ["a", "aa", "a/b", "b", "\u{e9}", "\u{1f600}"];

/// Expectation of a step about a key.
#[derive(Debug, Clone)]
enum Seen {
    /// The actual sequence number.
    Right,
    Absent,
    Present,
    Seq(u64),
}

#[derive(Debug, Clone)]
struct Step {
    at: i64,
    id: Option<u8>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Txn(Vec<Op>, Vec<(Key, Seen)>),
    /// A replacement that keeps some records, before or after the new ones.
    Replace {
        new: Vec<Put>,
        keep: Vec<Key>,
        keep_first: bool,
    },
    Expire(Vec<(Key, Seen)>),
    /// Repetition of an earlier entry with an id.
    Again(Index),
    /// All ids are forgotten, as happens after some time.
    Forget,
}

fn key() -> impl Strategy<Value = Key> {
    prop::sample::select(&KEYS[..]).prop_map(|key| Key::new(key).unwrap())
}

fn put() -> impl Strategy<Value = Put> {
    let value = prop::sample::select(&["1", "1.0", "\"\\u0061\"", "{\"b\":[],\"a\":null}"][..]);
    let category = prop::sample::select(&["general", "c"][..]);
    let expires_at = prop::sample::select(&[None, Some(0), Some(500)][..]);
    (key(), value, category, expires_at).prop_map(|(key, value, category, expires_at)| Put {
        key,
        value: Value::parse(value.as_bytes()).unwrap(),
        category: Category::new(category).unwrap(),
        expires_at: expires_at.map(|millis| Timestamp::from_millis(millis).unwrap()),
    })
}

fn seen() -> impl Strategy<Value = (Key, Seen)> {
    let seen = prop_oneof![
        8 => Just(Seen::Right),
        1 => Just(Seen::Absent),
        1 => Just(Seen::Present),
        1 => (0..20_u64).prop_map(Seen::Seq),
    ];
    (key(), seen)
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        2 => put().prop_map(Op::Put),
        1 => key().prop_map(|key| Op::Delete { key }),
    ];
    let keys = || prop::collection::vec(seen(), 0..4);
    let txn = (prop::collection::vec(op, 0..6), keys());
    let replace = (
        prop::collection::vec(put(), 0..6),
        prop::collection::vec(key(), 0..5),
        any::<bool>(),
    );
    let what = prop_oneof![
        8 => txn.prop_map(|(ops, seen)| What::Txn(ops, seen)),
        3 => replace.prop_map(|(new, keep, keep_first)| What::Replace { new, keep, keep_first }),
        2 => keys().prop_map(What::Expire),
        2 => any::<Index>().prop_map(What::Again),
        1 => Just(What::Forget),
    ];
    let id = prop::option::of(0..4_u8);
    (0..1_000_i64, id, what).prop_map(|(at, id, what)| Step { at, id, what })
}

fn as_put(key: &str, row: &Row) -> Put {
    Put {
        key: Key::new(key).unwrap(),
        value: Value::parse(row.value.as_bytes()).unwrap(),
        category: Category::new(&row.category).unwrap(),
        expires_at: row
            .expires_at
            .map(|millis| Timestamp::from_millis(millis).unwrap()),
    }
}

impl Step {
    /// Converts the step into an entry for the model's state; `None` for a step that is not an
    /// entry.
    fn entry(self, model: &Model, earlier: &[Body]) -> Option<Entry> {
        let id = self.id.map(|id| TxnId::new(&format!("id-{id}")).unwrap());
        let actual = |key: &Key| model.rows.get(key.as_str()).map(|row| row.seq);
        let body = match self.what {
            What::Txn(ops, seen) => {
                let precondition = |(key, seen): (Key, Seen)| {
                    let condition = match seen {
                        Seen::Right => actual(&key).map_or(Condition::Absent, Condition::Seq),
                        Seen::Present => Condition::Present,
                        Seen::Absent => Condition::Absent,
                        Seen::Seq(seq) => Condition::Seq(seq),
                    };
                    Precondition { key, condition }
                };
                Body::Txn(Txn {
                    id,
                    ops,
                    preconditions: seen.into_iter().map(precondition).collect(),
                    note: None,
                })
            }
            What::Replace {
                new,
                keep,
                keep_first,
            } => {
                let kept = keep
                    .iter()
                    .filter_map(|key| Some(as_put(key.as_str(), model.rows.get(key.as_str())?)));
                let records = if keep_first {
                    kept.chain(new).collect()
                } else {
                    new.into_iter().chain(kept).collect()
                };
                Body::Replace(Replace {
                    id,
                    ..Replace::new(records).unguarded()
                })
            }
            What::Expire(keys) => {
                let seq = |(key, seen): (Key, Seen)| {
                    let seq = match seen {
                        Seen::Right => actual(&key).unwrap_or(1),
                        Seen::Absent | Seen::Present => 0,
                        Seen::Seq(seq) => seq,
                    };
                    (key, seq)
                };
                Body::Expire(keys.into_iter().map(seq).collect())
            }
            What::Again(_) if earlier.is_empty() => return None,
            What::Again(which) => earlier[which.index(earlier.len())].clone(),
            What::Forget => return None,
        };
        let at = Timestamp::from_millis(self.at).unwrap();
        Some(Entry {
            at,
            actor: None,
            body,
        })
    }
}

fn row(record: &Record) -> Row {
    Row {
        value: String::from_utf8(record.value().to_vec()).unwrap(),
        category: record.category().to_owned(),
        expires_at: record.expires_at().map(Timestamp::millis),
        seq: record.seq(),
        updated_at: record.updated_at().millis(),
    }
}

/// Describes an outcome completely, values included.
fn describe(outcome: &Outcome) -> String {
    let Outcome::Committed(change) = outcome else {
        return format!("{outcome:?}");
    };
    let ops: Vec<String> = change
        .ops
        .iter()
        .map(|op| match op {
            ChangeOp::Put(record) => serde_json::to_string(record).unwrap(),
            ChangeOp::Delete { key, cause } => format!("delete {key} {cause:?}"),
        })
        .collect();
    format!("{:?} {ops:?} {:?}", change.head(), change.id)
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Committed(_) => Answer::Committed,
        Outcome::Repeated(committed) => Answer::Repeated {
            seq: committed.position.seq,
            at: committed.at.millis(),
        },
        Outcome::Nothing => Answer::Nothing,
        Outcome::Refused(Refusal::Limit(_)) => Answer::Limit,
        Outcome::Refused(Refusal::Precondition { key, actual, .. }) => Answer::Precondition {
            key: key.to_string(),
            actual: *actual,
        },
        Outcome::Refused(Refusal::IdReused { seq, .. }) => Answer::IdReused { seq: *seq },
        Outcome::Refused(other) => panic!("{other:?}"),
    }
}

/// Checks that the change leads from the model's old state to its new one.
fn check_change(
    secret: &Secret,
    change: &Change,
    body: &Body,
    before: &Model,
    model: &Model,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(change.position.seq, before.seq + 1);
    prop_assert_eq!(change.position.seq, model.seq);
    prop_assert_eq!(change.at.millis(), model.at);
    prop_assert!(change.at.millis() >= before.at);
    let digest = model
        .rows
        .iter()
        .map(|(key, row)| item_hash(secret, key, row.seq, row.value.as_bytes()))
        .fold(0, u128::wrapping_add);
    prop_assert_eq!(change.digest.0, digest);
    prop_assert_eq!(change.records, model.rows.len() as u64);

    let keys: Vec<&str> = change.ops.iter().map(ChangeOp::key).collect();
    let distinct: BTreeSet<&str> = keys.iter().copied().collect();
    prop_assert_eq!(distinct.len(), keys.len(), "a key twice: {:?}", keys);
    let places: Vec<_> = match body {
        Body::Txn(txn) => {
            let last = |key: &&str| txn.ops.iter().rposition(|op| op.key().as_str() == *key);
            keys.iter().map(last).collect()
        }
        Body::Replace(_) | Body::Compared(_) => keys
            .iter()
            .map(|key| distinct.iter().position(|k| k == key))
            .collect(),
        Body::Expire(named) => {
            // A key may occur before with another sequence number, which has no effect.
            let first = |key: &&str| {
                let seq = before.rows[*key].seq;
                let mut named = named.iter();
                named.position(|named| named.0.as_str() == *key && named.1 == seq)
            };
            keys.iter().map(first).collect()
        }
    };
    prop_assert!(places.is_sorted(), "out of order: {:?}", keys);
    for op in &change.ops {
        match op {
            ChangeOp::Put(record) => {
                prop_assert_eq!(record.seq(), change.position.seq);
                prop_assert!(record.verify(&hasher(secret)));
                prop_assert_eq!(Some(&row(record)), model.rows.get(record.key()));
            }
            ChangeOp::Delete { key, cause } => {
                let expected = match body {
                    Body::Expire(_) => Removal::Expired,
                    Body::Txn(_) | Body::Replace(_) | Body::Compared(_) => Removal::Deleted,
                };
                prop_assert_eq!(*cause, expected);
                prop_assert!(before.rows.contains_key(key.as_str()));
                prop_assert!(!model.rows.contains_key(key.as_str()));
            }
        }
    }
    let size = |op: &ChangeOp| match op {
        ChangeOp::Put(record) => {
            record.key().len() + record.category().len() + record.value().len()
        }
        ChangeOp::Delete { key, .. } => key.as_str().len(),
    };
    prop_assert_eq!(change.size(), change.ops.iter().map(size).sum::<usize>());
    Ok(())
}

fn same_records(a: &Records, b: &Records) -> bool {
    let all = |records: &Records| -> Vec<(String, Row)> {
        records
            .iter()
            .map(|record| (record.key().to_owned(), row(record)))
            .collect()
    };
    a.head() == b.head() && all(a) == all(b)
}

/// Creates a replacement that was compared with the table before these changes.
fn compared(new: &Replace, then: &MapView, since: &[Arc<Change>]) -> Compared {
    let mut compared = Compared::new(&mut then.clone(), new.clone(), usize::MAX)
        .unwrap()
        .expect("nothing is guarded");
    if let Some(last) = since.last().filter(|_| compared.at().is_some()) {
        for op in since.iter().flat_map(|change| &change.ops) {
            compared.touch(Key::new(op.key()).unwrap());
        }
        compared.advance(last.position);
    }
    compared
}

fn run(secret: &Secret, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut view = MapView::new(secret);
    let mut twin = view.clone();
    let mut model = Model::default();
    let empty = Records::new(view.head, []);
    let mut records = empty.clone();
    let mut earlier = Vec::new();
    let mut changes: Vec<Arc<Change>> = Vec::new();
    // State of the twin after each change.
    let mut past = vec![twin.clone()];

    for step in steps {
        if matches!(step.what, What::Forget) {
            view.remembered.clear();
            twin.remembered.clear();
            model.answers.clear();
            past.iter_mut().for_each(|twin| twin.remembered.clear());
        }
        let ago = step.at.unsigned_abs() as usize % 4;
        let Some(entry) = step.entry(&model, &earlier) else {
            continue;
        };
        let before = model.clone();
        let expected = model.ask(entry.at.millis(), &entry.body);
        let outcome = evaluate(&mut view, &entry).unwrap();
        prop_assert_eq!(answer(&outcome), expected);
        let again = match &entry.body {
            // Compared with the table as it was some changes ago.
            Body::Replace(new) => {
                let then = past.len().saturating_sub(ago + 1);
                let body = Body::Compared(compared(new, &past[then], &changes[then..]));
                evaluate(
                    &mut twin,
                    &Entry {
                        at: entry.at,
                        actor: None,
                        body,
                    },
                )
                .unwrap()
            }
            _ => evaluate(&mut twin, &entry).unwrap(),
        };
        prop_assert_eq!(describe(&again), describe(&outcome));

        if let Outcome::Committed(change) = outcome {
            check_change(secret, &change, &entry.body, &before, &model)?;
            view.apply(&change);
            twin.apply(&change);
            let change = Arc::new(change);
            records.apply_update(&change);
            changes.push(change);
            past.push(twin.clone());
        } else {
            prop_assert_eq!(&model.rows, &before.rows);
        }
        // The whole content, including the records that the change must not affect.
        let content: Vec<_> = records
            .iter()
            .map(|record| (record.key().to_owned(), row(record)))
            .collect();
        let expected: Vec<_> = model.rows.clone().into_iter().collect();
        prop_assert_eq!(content, expected);
        prop_assert_eq!(records.head(), view.head);
        prop_assert!(records.verify(&hasher(secret)));
        if matches!(
            &entry.body,
            Body::Txn(Txn { id: Some(_), .. }) | Body::Replace(Replace { id: Some(_), .. })
        ) {
            earlier.push(entry.body);
        }
    }
    prop_assert_eq!(check_contract(empty, changes, same_records), Ok(()));
    Ok(())
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn entries_do_what_the_model_says(
        secret in secret(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        run(&secret, steps)?;
    }

    #[test]
    fn records_are_found_by_key_and_by_prefix(
        puts in prop::collection::vec(support::put(), 1..20),
        probe in prop_oneof![support::key(), key()],
    ) {
        let mut view = MapView::new(&None);
        let wanted: BTreeSet<String> = puts.iter().map(|put| put.key.to_string()).collect();
        let body = Body::Replace(Replace::new(puts).unguarded());
        let entry = Entry { at: Timestamp::EPOCH, actor: None, body };
        let Outcome::Committed(change) = evaluate(&mut view, &entry).unwrap() else {
            panic!("not committed");
        };
        let mut records = Records::new(view.head, []);
        records.apply_update(&Arc::new(change));
        let probe = probe.as_str();
        let first = probe.chars().next().unwrap().to_string();
        let key = |record: &Record| record.key().to_owned();

        prop_assert_eq!(records.get(probe).map(key), wanted.get(probe).cloned());
        for prefix in ["", probe, first.as_str()] {
            let found: Vec<String> = records.prefix(prefix).map(key).collect();
            let expected: Vec<String> =
                wanted.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
            prop_assert_eq!(found, expected);
        }
        let found: Vec<String> = records.after(probe).map(key).collect();
        let expected: Vec<String> = wanted.iter().filter(|key| key.as_str() > probe).cloned().collect();
        prop_assert_eq!(found, expected);
    }
}

fn plain_put(name: &str, json: &str) -> Put {
    Put::new(
        Key::new(name).unwrap(),
        Value::parse(json.as_bytes()).unwrap(),
    )
}

fn commit(view: &mut MapView, body: Body) -> Change {
    let entry = Entry {
        at: Timestamp::EPOCH,
        actor: None,
        body,
    };
    match evaluate(view, &entry).unwrap() {
        Outcome::Committed(change) => {
            view.apply(&change);
            change
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_come_before_ids_and_ids_before_preconditions() {
    let mut view = MapView::new(&None);
    let id = TxnId::new("once").unwrap();
    let first = Txn::new().id(id.clone()).put(plain_put("a", "1"));
    let first = first.if_absent(Key::new("a").unwrap());
    commit(&mut view, Body::Txn(first.clone()));
    let ask = |view: &mut MapView, txn: Txn| {
        let (at, body) = (Timestamp::EPOCH, Body::Txn(txn));
        evaluate(
            view,
            &Entry {
                at,
                actor: None,
                body,
            },
        )
        .unwrap()
    };

    // Its precondition does not hold any longer, which must not matter.
    assert!(matches!(
        ask(&mut view, first.clone()),
        Outcome::Repeated(_)
    ));
    let other = first.clone().put(plain_put("b", "1"));
    assert!(matches!(
        ask(&mut view, other),
        Outcome::Refused(Refusal::IdReused { seq: 1, .. })
    ));

    let empty = ask(&mut view, Txn::new());
    assert!(matches!(
        empty,
        Outcome::Refused(Refusal::Limit(TxnTooLarge::Empty))
    ));
    let mut many = Txn::new();
    many.ops = vec![first.ops[0].clone(); MAX_TXN_OPS];
    assert_eq!(many.check(), Ok(()));
    let mut many = first.clone();
    many.ops = vec![many.ops[0].clone(); MAX_TXN_OPS + 1];
    assert!(matches!(
        ask(&mut view, many),
        Outcome::Refused(Refusal::Limit(TxnTooLarge::Ops { .. }))
    ));
    let mut large = first.clone();
    let text = Value::string(&"x".repeat(MAX_TXN_BYTES / 10)).unwrap();
    large.ops = vec![Op::Put(Put::new(Key::new("a").unwrap(), text)); 10];
    assert!(matches!(
        ask(&mut view, large),
        Outcome::Refused(Refusal::Limit(TxnTooLarge::Bytes { .. }))
    ));
    let mut preconditions = first;
    preconditions.preconditions = vec![preconditions.preconditions[0].clone(); MAX_TXN_OPS + 1];
    assert!(matches!(
        ask(&mut view, preconditions),
        Outcome::Refused(Refusal::Limit(TxnTooLarge::Ops { .. }))
    ));
}

#[test]
fn a_transaction_and_a_replacement_with_one_id_are_two_bodies() {
    let mut view = MapView::new(&None);
    let id = TxnId::new("once").unwrap();
    commit(
        &mut view,
        Body::Txn(Txn::new().id(id.clone()).put(plain_put("a", "1"))),
    );
    let body = Body::Replace(Replace {
        id: Some(id),
        ..Replace::new(vec![plain_put("a", "1")])
    });
    let at = Timestamp::EPOCH;
    assert!(matches!(
        evaluate(
            &mut view,
            &Entry {
                at,
                actor: None,
                body
            }
        )
        .unwrap(),
        Outcome::Refused(Refusal::IdReused { seq: 1, .. })
    ));
}

/// Evaluates an entry of this actor, and applies its change.
fn said(view: &mut MapView, actor: &str, body: Body) -> Outcome {
    let entry = Entry {
        at: Timestamp::EPOCH,
        actor: Some(Actor::new(actor).unwrap()),
        body,
    };
    let outcome = evaluate(view, &entry).unwrap();
    if let Outcome::Committed(change) = &outcome {
        view.apply(change);
    }
    outcome
}

#[test]
fn a_change_carries_who_and_why_and_its_digest_does_not() {
    let (mut view, mut silent) = (MapView::new(&None), MapView::new(&None));
    let why = Note::new("because").unwrap();
    let bodies = || {
        let put = Txn::new().put(plain_put("a", "1"));
        let new = Replace::new(vec![plain_put("b", "2")]);
        [Body::Txn(put), Body::Replace(new)]
    };
    for (with, without) in bodies().into_iter().zip(bodies()) {
        let with = match with {
            Body::Txn(txn) => Body::Txn(txn.note(why.clone())),
            Body::Replace(new) => {
                let new = new.note(why.clone());
                Body::Compared(Compared::new(&mut view, new, 10).unwrap().unwrap())
            }
            other => other,
        };
        let Outcome::Committed(change) = said(&mut view, "ops", with) else {
            panic!("refused");
        };
        let quiet = commit(&mut silent, without);
        assert_eq!(change.actor.as_ref().map(Actor::as_str), Some("ops"));
        assert_eq!(change.note.as_ref(), Some(&why));
        assert_eq!((&quiet.actor, &quiet.note), (&None, &None));
        assert_eq!(change.head(), quiet.head());
        assert_eq!(change.size(), quiet.size() + "ops".len() + "because".len());
    }
}

#[test]
fn a_repetition_with_another_note_is_answered_as_the_first() {
    let mut view = MapView::new(&None);
    let txn = Txn::new().put(plain_put("a", "1"));
    let txn = txn.id(TxnId::new("once").unwrap());
    let note = |text| Note::new(text).unwrap();
    let first = said(&mut view, "ops", Body::Txn(txn.clone().note(note("first"))));
    let Outcome::Committed(first) = first else {
        panic!("refused");
    };
    for again in [txn.clone(), txn.note(note("second"))] {
        // The actor of a repetition must not matter either.
        let again = said(&mut view, "api", Body::Txn(again));
        assert!(
            matches!(again, Outcome::Repeated(committed) if committed == first.committed()),
            "{again:?}"
        );
    }
}

#[test]
fn what_changes_nothing_takes_a_number_unless_it_is_an_expiry() {
    let mut view = MapView::new(&None);
    commit(&mut view, Body::Txn(Txn::new().put(plain_put("a", "1"))));
    let digest = view.head.digest;

    let same = Replace::new(vec![plain_put("a", "1")]);
    let change = commit(&mut view, Body::Replace(same));
    assert_eq!((change.position.seq, change.ops.len()), (2, 0));
    let gone = Txn::new().delete(Key::new("b").unwrap());
    let change = commit(&mut view, Body::Txn(gone));
    assert_eq!((change.position.seq, change.ops.len()), (3, 0));
    assert_eq!(change.digest, digest);

    // A put of the same value changes the record nevertheless.
    let change = commit(&mut view, Body::Txn(Txn::new().put(plain_put("a", "1"))));
    assert_eq!((change.position.seq, change.ops.len()), (4, 1));
    assert_ne!(change.digest, digest);

    let body = Body::Expire(vec![(Key::new("a").unwrap(), 1)]);
    let at = Timestamp::EPOCH;
    assert!(matches!(
        evaluate(
            &mut view,
            &Entry {
                at,
                actor: None,
                body
            }
        )
        .unwrap(),
        Outcome::Nothing
    ));
}

#[test]
fn a_record_that_is_named_twice_expires_once() {
    let mut view = MapView::new(&None);
    commit(&mut view, Body::Txn(Txn::new().put(plain_put("a", "1"))));
    let name = Key::new("a").unwrap();
    let change = commit(&mut view, Body::Expire(vec![(name.clone(), 1), (name, 1)]));
    assert_eq!((change.ops.len(), change.records), (1, 0));
    assert_eq!(change.digest, hotread_proto::Digest::EMPTY);
}

#[test]
#[should_panic(expected = "one after another")]
fn a_table_refuses_a_change_that_is_not_its_next() {
    let mut view = MapView::new(&None);
    let mut records = Records::new(view.head, []);
    commit(&mut view, Body::Txn(Txn::new().put(plain_put("a", "1"))));
    let second = commit(&mut view, Body::Txn(Txn::new().put(plain_put("a", "2"))));
    records.apply_update(&Arc::new(second));
}

#[test]
fn a_replacement_is_refused_for_what_it_would_delete() {
    let mut view = MapView::new(&None);
    let records = |count: u32| (0..count).map(|n| plain_put(&n.to_string(), "1")).collect();
    commit(&mut view, Body::Replace(Replace::new(records(40))));
    let ask = |view: &mut MapView, new: Replace| {
        let entry = Entry {
            at: Timestamp::EPOCH,
            actor: None,
            body: Body::Replace(new),
        };
        evaluate(view, &entry).unwrap()
    };
    let refusal = |outcome| match outcome {
        Outcome::Refused(refusal) => Some(refusal),
        _ => None,
    };
    let too_many = |deleted, max| {
        Some(Refusal::TooManyDeletions {
            deleted,
            records: 40,
            max,
        })
    };
    assert_eq!(refusal(ask(&mut view, Replace::new(records(20)))), None);
    assert_eq!(
        refusal(ask(&mut view, Replace::new(records(19)))),
        too_many(21, 20)
    );
    let few = |max| Replace {
        max_delete_percent: Some(max),
        ..Replace::new(records(29))
    };
    assert_eq!(refusal(ask(&mut view, few(25))), too_many(11, 10));
    assert_eq!(refusal(ask(&mut view, few(28))), None);
    let empty = ask(&mut view, Replace::new(Vec::new()));
    assert_eq!(refusal(empty), Some(Refusal::EmptyReplacement));
    // For a replacement without records, `allow_empty` is sufficient.
    let empty = Replace {
        allow_empty: true,
        max_delete_percent: Some(0),
        ..Replace::default()
    };
    assert_eq!(refusal(ask(&mut view, empty)), None);
}

#[test]
fn a_replacement_of_an_older_state_is_refused() {
    let mut view = MapView::new(&None);
    let new = Replace::new(vec![plain_put("a", "1")]).if_seq(0);
    commit(&mut view, Body::Replace(new.clone()));
    let again = Entry {
        at: Timestamp::EPOCH,
        actor: None,
        body: Body::Replace(new),
    };
    assert!(matches!(
        evaluate(&mut view, &again).unwrap(),
        Outcome::Refused(Refusal::TableSeq {
            expected: 0,
            actual: 1
        })
    ));
}

#[test]
fn a_comparison_counts_what_changes_and_holds_for_its_state_only() {
    let mut view = MapView::new(&None);
    let records = |keys: &[&str]| keys.iter().map(|key| plain_put(key, "1")).collect();
    commit(&mut view, Body::Replace(Replace::new(records(&["a", "b"]))));
    let ask = |view: &mut MapView, keys: &[&str], max| {
        Compared::new(view, Replace::new(records(keys)), max).unwrap()
    };
    // One record is new and one is gone; the others do not count.
    let few = ask(&mut view, &["a", "c"], 2).unwrap();
    assert_eq!((few.changes(), few.at()), (2, Some(view.head.position)));
    let refused = ask(&mut view, &["a", "c", "d"], 2).unwrap_err();
    let wanted = Refusal::TooManyChanges { changed: 3, max: 2 };
    assert_eq!(refused, wanted);
    let stale = Replace::new(records(&["a"])).if_seq(0);
    let stale = Compared::new(&mut view, stale, 2).unwrap().unwrap_err();
    assert!(matches!(stale, Refusal::TableSeq { .. }), "{stale}");
    assert_eq!(
        ask(&mut view, &[], 2).unwrap_err(),
        Refusal::EmptyReplacement
    );

    commit(&mut view, Body::Txn(Txn::new().put(plain_put("b", "2"))));
    let body = Body::Compared(few);
    let at = Timestamp::EPOCH;
    match evaluate(
        &mut view,
        &Entry {
            at,
            actor: None,
            body,
        },
    )
    .unwrap()
    {
        Outcome::Refused(Refusal::Outdated) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeated_replacement_is_answered_before_its_condition() {
    let mut view = MapView::new(&None);
    let new = Replace {
        id: Some(TxnId::new("once").unwrap()),
        ..Replace::new(vec![plain_put("a", "1")]).if_seq(0)
    };
    let first = commit(&mut view, Body::Replace(new.clone()));
    let again = Entry {
        at: Timestamp::EPOCH,
        actor: None,
        body: Body::Replace(new),
    };
    match evaluate(&mut view, &again).unwrap() {
        Outcome::Repeated(committed) => assert_eq!(committed, first.committed()),
        other => panic!("{other:?}"),
    }
}
