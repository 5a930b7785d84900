//! Rules of `evaluate`, one at a time: limits, ids, notes, expiry, replacements and comparisons.

use crate::support::view::MapView;
use hotread::HotReadState;
use hotread_proto::limits::{MAX_TXN_BYTES, MAX_TXN_OPS};
use hotread_proto::{
    Actor, Body, Change, Compared, Entry, Key, Note, Op, Outcome, Put, Records, Refusal, Replace,
    Timestamp, Txn, TxnId, TxnTooLarge, Value, evaluate,
};
use std::sync::Arc;

fn plain_put(name: &str, json: &str) -> Put {
    Put::new(
        Key::new(name).unwrap(),
        Value::parse(json.as_bytes()).unwrap(),
    )
}

/// Evaluates an entry without an author.
fn asked(view: &mut MapView, body: Body) -> Outcome {
    let entry = Entry {
        at: Timestamp::EPOCH,
        actor: None,
        body,
    };
    evaluate(view, &entry).unwrap()
}

fn commit(view: &mut MapView, body: Body) -> Change {
    match asked(view, body) {
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
    let ask = |view: &mut MapView, txn: Txn| asked(view, Body::Txn(txn));

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
    assert!(matches!(
        asked(&mut view, body),
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
    assert!(matches!(asked(&mut view, body), Outcome::Nothing));
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
    let ask = |view: &mut MapView, new: Replace| asked(view, Body::Replace(new));
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
    assert!(matches!(
        asked(&mut view, Body::Replace(new)),
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
    match asked(&mut view, body) {
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
    match asked(&mut view, Body::Replace(new)) {
        Outcome::Repeated(committed) => assert_eq!(committed, first.committed()),
        other => panic!("{other:?}"),
    }
}
