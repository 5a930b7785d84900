//! JSON round trips.

mod support;

use hotread_proto::{
    Alter, Category, ChangeOp, Code, Committed, Digest, Epoch, ErrorBody, Key, Note, Object, Op,
    Position, Put, Record, Removal, Replace, Success, TableInfo, TableName, TableOptions,
    Timestamp, Txn, TxnId, Value,
};
use proptest::prelude::*;
use support::{config, hasher, key, note, put, secret, timestamp, txn, txn_id};

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn transactions(txn in txn()) {
        let json = serde_json::to_string(&txn).unwrap();
        prop_assert_eq!(serde_json::from_str::<Txn>(&json).unwrap(), txn.clone());
        // White space between the parts has no effect.
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
        // A duplicate field.
        r#"{"ops":[],"ops":[]}"#,
        r#"{"ops":[{"put":{"key":"a","key":"b","value":1}}]}"#,
        r#"{"ops":[{"delete":{"key":"a"},"delete":{"key":"b"}}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":1,"if_seq":2}]}"#,
        // A field that is missing, null or of another type.
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
        // An operation or a condition that does not exist, or is empty.
        r#"{"ops":[{"put":{"key":"a","value":1,"expire":1}}]}"#,
        r#"{"ops":[{"patch":{"key":"a"}}]}"#,
        r#"{"ops":[{}]}"#,
        r#"{"ops":["put"]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_present":false}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_present":true,"if_absent":true}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":7,"if_sec":8}]}"#,
        r#"{"ops":[],"if":[{"key":"a","if_seq":null}]}"#,
        // An array in place of an object.
        r#"{"ops":[{"put":["a",1]}]}"#,
        r#"{"ops":[{"delete":["a"]}]}"#,
        r#"{"ops":[],"if":[["a",7]]}"#,
    ] {
        assert!(serde_json::from_str::<Txn>(json).is_err(), "{json}");
    }
    for json in [r#"[null,[]]"#, "null", "7"] {
        assert!(serde_json::from_str::<Object<Txn>>(json).is_err(), "{json}");
    }
    for note in [
        r#""""#,
        "null",
        r#""a\nb""#,
        r#"["a"]"#,
        r#""a","note":"b""#,
        // The caller cannot choose the actor.
        r#""a","actor":"ops""#,
    ] {
        let json = format!(r#"{{"ops":[],"note":{note}}}"#);
        assert!(serde_json::from_str::<Txn>(&json).is_err(), "{json}");
        let json = format!(r#"{{"records":[],"note":{note}}}"#);
        assert!(serde_json::from_str::<Replace>(&json).is_err(), "{json}");
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

#[test]
fn a_transaction_has_this_form() {
    let key = |text| Key::new(text).unwrap();
    let txn = Txn::new()
        .id(TxnId::new("t-1").unwrap())
        .put(Put::new(key("a"), Value::parse(b"1.0").unwrap()))
        .delete(key("b"))
        .if_seq(key("a"), 7)
        .if_absent(key("c"))
        .if_present(key("d"))
        .note(Note::new("price of the \"day\"").unwrap());
    assert_eq!(
        serde_json::to_string(&txn).unwrap(),
        r#"{"id":"t-1","ops":[{"put":{"key":"a","value":1.0,"category":"general"}},{"delete":{"key":"b"}}],"if":[{"key":"a","if_seq":7},{"key":"c","if_absent":true},{"key":"d","if_present":true}],"note":"price of the \"day\""}"#
    );
}

#[test]
fn a_removal_carries_its_cause() {
    let read = |json: &str| match serde_json::from_str(json).unwrap() {
        ChangeOp::Delete { key, cause } => (key.to_string(), cause),
        ChangeOp::Put(_) => panic!("{json}"),
    };
    for (cause, json) in [
        (Removal::Deleted, r#"{"delete":{"key":"a"}}"#),
        (
            Removal::Expired,
            r#"{"delete":{"key":"a","cause":"expired"}}"#,
        ),
        (
            Removal::Unknown,
            r#"{"delete":{"key":"a","cause":"unknown"}}"#,
        ),
    ] {
        let key = Key::new("a").unwrap();
        let op = ChangeOp::Delete { key, cause };
        assert_eq!(serde_json::to_string(&op).unwrap(), json);
        assert_eq!(read(json), ("a".to_owned(), cause));
    }
    // Of a newer version.
    let later = r#"{"delete":{"by":[1],"cause":"evicted","key":"a"}}"#;
    assert_eq!(read(later), ("a".to_owned(), Removal::Unknown));
    let said = r#"{"delete":{"key":"a","cause":"deleted"}}"#;
    assert_eq!(read(said), ("a".to_owned(), Removal::Deleted));
    for json in [
        r#"{"delete":{"key":"a","cause":null}}"#,
        r#"{"delete":{"key":"a","cause":1}}"#,
        r#"{"delete":{"cause":"expired"}}"#,
    ] {
        assert!(serde_json::from_str::<ChangeOp>(json).is_err(), "{json}");
    }
}

#[test]
fn a_record_gives_back_what_it_was_made_of_and_is_checked_when_it_is_read() {
    assert_eq!(size_of::<Record>(), 16, "two words where it is held");
    let (key, value) = (Key::new("ключ").unwrap(), Value::parse(b"[1.0]").unwrap());
    let (category, at) = (
        Category::new("c").unwrap(),
        Timestamp::from_millis(5).unwrap(),
    );
    for (secret, expires_at) in [
        (None, None),
        (None, Some(Timestamp::EPOCH)),
        (Some([1; 32]), Some(Timestamp::MAX)),
    ] {
        let hasher = hasher(&secret);
        let record = Record::new(&key, &value, &category, 7, at, expires_at, &hasher);
        assert_eq!(
            (record.key(), record.category(), record.value()),
            ("ключ", "c", &b"[1.0]"[..])
        );
        assert_eq!(
            (record.seq(), record.updated_at(), record.expires_at()),
            (7, at, expires_at)
        );
        assert_eq!(record.is_secret(), hasher.is_keyed());
        assert!(record.verify(&hasher));

        let json = serde_json::to_string(&record).unwrap();
        let later = format!("{{\"later\":[1],{}", &json[1..]);
        for text in [&json, &later] {
            let read: Record = serde_json::from_slice(text.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            assert!(read.verify(&hasher));
        }
        for (good, bad) in [
            ("ключ", "."),
            (r#""key":"ключ","#, ""),
            (r#""c""#, r#""""#),
            (r#""seq":7"#, r#""seq":-7"#),
            (r#""h":""#, r#""h":"x"#),
            ("[1.0]", "[1.0"),
        ] {
            let json = json.replace(good, bad);
            assert!(serde_json::from_str::<Record>(&json).is_err(), "{json}");
        }
    }
}

#[test]
fn what_an_alteration_leaves_out_stays() {
    let schema = Value::parse(br#"{"type":"object"}"#).unwrap();
    let old = TableOptions {
        search: true,
        schema: Some(schema.clone()),
        ..TableOptions::default()
    };
    let alter = |json: &str| serde_json::from_str::<Alter>(json);
    assert_eq!(alter("{}").unwrap().of(&old), old);
    let shorter = alter(r#"{"history":{"max_changes":5}}"#).unwrap();
    assert_eq!(shorter, Alter::new().max_changes(5));
    assert_eq!(shorter.of(&old).history.max_changes, 5);
    assert_eq!(shorter.of(&old).history.max_bytes, old.history.max_bytes);
    assert_eq!(shorter.of(&old).schema, old.schema);
    let free = alter(r#"{"schema": null}"#).unwrap();
    assert_eq!(free, Alter::new().no_schema());
    assert_eq!(free.of(&old).schema, None);
    assert!(!Alter::new().search(false).of(&old).search);
    let renamed = Alter::new().rename(TableName::new("u").unwrap());
    assert_eq!(renamed.of(&old), old);
    let other = renamed
        .search(true)
        .schema(schema)
        .max_age_s(1)
        .max_bytes(2);
    let json = serde_json::to_string(&other).unwrap();
    assert_eq!(alter(&json).unwrap(), other);
    for wrong in [
        r#"{"sealed":true}"#,
        r#"{"history":null}"#,
        r#"{"history":{"max":1}}"#,
        r#"{"history":{"max_bytes":null}}"#,
        r#"{"search":null}"#,
        r#"{"name":""}"#,
    ] {
        assert!(alter(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_schema_keeps_its_text() {
    let read = |json: &str| serde_json::from_str::<TableOptions>(json).unwrap();
    // Stored before values were checked for duplicate members.
    let options = read(r#"{"schema":{"b": 1, "b": 2}}"#);
    assert_eq!(options.schema.unwrap().as_str(), r#"{"b":1,"b":2}"#);
    let (epoch, seq) = (Epoch(7), 9);
    let info = TableInfo {
        name: TableName::new("t").unwrap(),
        position: Position { epoch, seq },
        floor: 3,
        digest: Digest(5),
        records: 2,
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::MAX,
        options: read(r#"{"schema":{"maximum":1.0}}"#),
    };
    let json = serde_json::to_string(&info).unwrap();
    assert_eq!(serde_json::from_str::<TableInfo>(&json).unwrap(), info);
}

#[test]
fn codes_and_errors_have_this_form() {
    for &code in Code::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    let later = r#"{"code":"INVENTED_LATER","message":"m","more":1}"#;
    let body: ErrorBody = serde_json::from_str(later).unwrap();
    assert_eq!((body.code, body.message.as_str()), (Code::Unknown, "m"));
    let json = serde_json::to_string(&ErrorBody::new(Code::Busy, "try again")).unwrap();
    assert_eq!(json, r#"{"code":"BUSY","message":"try again"}"#);
    let (epoch, seq) = (Epoch(1), 2);
    let json = serde_json::to_string(&Success::new(Position { epoch, seq })).unwrap();
    assert_eq!(json, r#"{"ok":true,"epoch":"0000000000000001","seq":2}"#);
}
