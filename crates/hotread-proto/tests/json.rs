//! What is written as JSON is read as what it was.

mod support;

use hotread_proto::{
    Code, Committed, Epoch, ErrorBody, Op, Position, Record, Replace, Success, Txn,
};
use proptest::prelude::*;
use support::{config, hasher, key, note, put, secret, timestamp, txn, txn_id};

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn transactions(txn in txn()) {
        let json = serde_json::to_string(&txn).unwrap();
        prop_assert_eq!(serde_json::from_str::<Txn>(&json).unwrap(), txn.clone());
        // White space between the parts is nothing.
        let pretty = serde_json::to_string_pretty(&txn).unwrap();
        prop_assert_eq!(serde_json::from_str::<Txn>(&pretty).unwrap(), txn);
    }

    #[test]
    fn replacements(
        id in prop::option::of(txn_id()), records in prop::collection::vec(put(), 0..5),
        if_seq in any::<Option<u64>>(), max_delete_percent in any::<Option<u8>>(), allow_empty in any::<bool>(),
        note in prop::option::of(note()),
    ) {
        let replace = Replace { id, records, if_seq, max_delete_percent, allow_empty, note };
        let json = serde_json::to_string(&replace).unwrap();
        prop_assert_eq!(serde_json::from_str::<Replace>(&json).unwrap(), replace);
    }

    #[test]
    fn records_show_every_field(secret in secret(), put in put(), seq in any::<u64>(), at in timestamp()) {
        let hasher = hasher(&secret);
        let record = Record::new(&put.key, &put.value, &put.category, seq, at, put.expires_at, &hasher);
        let json = serde_json::to_string(&record).unwrap();
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let expires_at = put.expires_at.map_or_else(String::new, |at| format!(",\"expires_at\":\"{at}\""));
        let expected = format!(
            r#"{{"key":{},"value":{},"category":{},"seq":{seq},"updated_at":"{at}"{expires_at},"h":"{:032x}"}}"#,
            text(put.key.as_str()),
            put.value.as_str(),
            text(put.category.as_str()),
            support::item_hash(&secret, put.key.as_str(), seq, put.value.as_bytes()),
        );
        prop_assert_eq!(json, expected);
    }

    #[test]
    fn answers(
        (epoch, seq) in any::<(u64, u64)>(),
        at in timestamp(),
        code in prop::sample::select(Code::ALL),
        message in any::<String>(),
        key in prop::option::of(key()),
        actual in any::<Option<u64>>(),
    ) {
        let position = Position { epoch: Epoch(epoch), seq };
        let success = Success::new(Committed { position, at });
        let json = serde_json::to_string(&success).unwrap();
        prop_assert_eq!(serde_json::from_str::<Success<Committed>>(&json).unwrap(), success);
        let error = ErrorBody { code, message, key, seq: actual };
        let json = serde_json::to_string(&error).unwrap();
        prop_assert_eq!(serde_json::from_str::<ErrorBody>(&json).unwrap(), error);
    }
}

#[test]
fn what_is_asked_is_read_strictly() {
    for json in [
        // A field that is not specified, at each level.
        r#"{"ops":[],"preconditions":[]}"#,
        r#"{"ops":[{"put":{"key":"a","value":1,"seq":1}}]}"#,
        r#"{"ops":[{"put":{"key":"a","value":1},"if_seq":1}]}"#,
        r#"{"ops":[{"delete":{"key":"a","value":1}}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_absent":true,"if_none":true}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_absent":true,"if_seq":1}]}"#,
        // A field that stands twice.
        r#"{"ops":[],"ops":[]}"#,
        r#"{"ops":[{"put":{"key":"a","key":"b","value":1}}]}"#,
        r#"{"ops":[{"delete":{"key":"a"},"delete":{"key":"b"}}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":1,"if_seq":2}]}"#,
        // One that is missing, null or of another type.
        r#"{}"#,
        r#"{"ops":null}"#,
        r#"{"ops":[],"if":null}"#,
        r#"{"ops":[{"put":{"key":"a"}}]}"#,
        r#"{"ops":[{"put":{"key":"a","value":1,"category":null}}]}"#,
        r#"{"ops":[{"put":{"key":null,"value":1}}]}"#,
        r#"{"id":null,"ops":[]}"#,
        r#"{"ops":[{"put":{"key":"a","value":1,"expires_at":null}}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":1,"if_absent":null}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":null,"if_absent":true}]}"#,
        r#"{"ops":[],"if":[null]}"#,
        r#"{"ops":[],"if":[{"key":"a"}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_absent":false}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":1.0}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":1e2}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":-1}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":18446744073709551616}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":"1"}]}"#,
    ] {
        assert!(serde_json::from_str::<Txn>(json).is_err(), "{json}");
    }
    for json in [
        r#"{}"#,
        r#"{"records":null}"#,
        r#"{"records":[],"allow_empty":null}"#,
        r#"{"records":[],"max_delete_percent":256}"#,
        r#"{"records":[],"max_delete_percent":-1}"#,
        r#"{"records":[],"if_seq":"7"}"#,
        r#"{"records":[],"if":[]}"#,
        r#"{"records":[{"put":{"key":"a","value":1}}]}"#,
        r#"{"id":null,"records":[]}"#,
        r#"{"records":[["a",1]]}"#,
    ] {
        assert!(serde_json::from_str::<Replace>(json).is_err(), "{json}");
    }
}

#[test]
fn only_a_value_may_be_null() {
    let txn = r#"{"ops":[{"put":{"key":"a","value":null}}]}"#;
    let txn = serde_json::from_str::<Txn>(txn).unwrap();
    assert!(matches!(&txn.ops[..], [Op::Put(put)] if put.value.as_str() == "null"));
}

#[test]
fn what_is_answered_may_have_more_fields() {
    let json = r#"{"epoch":"0000000000000001","seq":2,"more":true}"#;
    assert_eq!(serde_json::from_str::<Position>(json).unwrap().seq, 2);
    let json = r#"{"code":"BUSY","message":"","retry_after_ms":5}"#;
    assert_eq!(
        serde_json::from_str::<ErrorBody>(json).unwrap().code,
        Code::Busy
    );
}
