//! Typed tables of a server, and the same calls on a store and on a server.

mod support;

use hotread_client::{
    Client, Code, Error, InvalidInput, PutOptions, RecordSet, Replace, Scan, Status, Table, Value,
    blocking,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use support::HANG;
use support::server::Api;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Flag {
    on: bool,
    percent: u8,
}

const ON: Flag = Flag {
    on: true,
    percent: 5,
};

#[tokio::test]
async fn readers_see_a_commit_when_it_returns() {
    let api = Api::start().await;
    let client = Client::new(&api.url()).unwrap();
    let flags = client.table::<Flag>("flags").await.unwrap();
    let mut reader = flags.reader();
    for n in 1..=50 {
        let flag = Flag { percent: n, ..ON };
        let at = flags.put("a", &flag).await.unwrap();
        assert_eq!(reader.current()["a"], flag);
        assert_eq!((flags.position(), at.seq), (at, u64::from(n)));
    }
    assert_eq!(flags.get("a").await.unwrap().unwrap().percent, 50);
    let txn = flags.txn().put("b", &ON).unwrap().delete("a").unwrap();
    txn.commit().await.unwrap();
    assert_eq!(*reader.current(), HashMap::from([("b".into(), ON)]));

    let new = PutOptions::new().category("beta").if_absent();
    flags.put_with("c", &ON, new.clone()).await.unwrap();
    let refused = flags.put_with("c", &ON, new).await.unwrap_err();
    assert_eq!(refused.code(), Code::PreconditionFailed);
    let page = flags.scan(&Scan::default()).await.unwrap();
    assert_eq!(page.records[1].category(), "beta");
    flags.replace([("x", &ON)]).await.unwrap();
    assert_eq!(reader.current().len(), 1);
    flags.delete("x").await.unwrap();
    assert!(reader.current().is_empty());
    assert_eq!(flags.info().await.unwrap().records, 0);
    assert_eq!(flags.status(), Status::Live);
}

#[tokio::test]
async fn values_that_the_type_cannot_have_are_told_apart() {
    let api = Api::start().await;
    let client = Client::new(&api.url()).unwrap();
    let numbers = client.table::<f64>("numbers").await.unwrap();
    let refused = numbers.put("a", &f64::NAN).await.unwrap_err();
    assert!(matches!(
        refused,
        Error::Input(InvalidInput::Unreadable { .. })
    ));
    assert!(numbers.put("\0", &1.0).await.is_err());
    assert_eq!(numbers.get("a").await.unwrap(), None);

    let raw = client.table_as::<RecordSet>("numbers").await.unwrap();
    let text = Value::string("x").unwrap();
    let at = raw.put("a", &text).await.unwrap();
    assert!(numbers.wait_for(at, HANG).await.is_err());
    assert!(numbers.get("a").await.is_err());
    let fixed = raw.put("a", &Value::serialize(&2).unwrap()).await.unwrap();
    numbers.wait_for(fixed, HANG).await.unwrap();
    assert_eq!(numbers.reader().current()["a"], 2.0);
}

#[test]
fn a_program_without_a_runtime_has_the_same_calls() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(Api::start());
    let client = blocking::Client::new(&api.url()).unwrap();
    let flags = client.table_as::<BTreeMap<String, Flag>>("flags").unwrap();
    flags.put("a", &ON).unwrap();
    assert_eq!(flags.reader().current()["a"], ON);
    flags
        .txn()
        .delete("a")
        .unwrap()
        .put("b", &ON)
        .unwrap()
        .commit()
        .unwrap();
    assert_eq!(flags.get("b").unwrap(), Some(ON));
    assert_eq!(flags.position().seq, 2);
    let mut events = flags.subscribe(None).unwrap();
    flags.replace([("c", &ON)]).unwrap();
    assert_eq!(events.next().unwrap().unwrap().head.position.seq, 3);
    assert_eq!(flags.scan(&Scan::default()).unwrap().records.len(), 1);
    flags
        .replace_with(Replace::new(Vec::new()).unguarded())
        .unwrap();
    assert!(flags.reader().current().is_empty());
}

/// A program's own code, which a macro lets run on each backend: the calls differ by `.await` alone.
macro_rules! program {
    ($table:expr $(, $await:ident)?) => {{
        let table = $table;
        let mut reader = table.reader();
        let first = table.put("a", &ON) $(.$await)? .unwrap();
        assert_eq!(reader.current()["a"], ON);
        table.put_with("b", &ON, PutOptions::new().if_absent()) $(.$await)? .unwrap();
        let txn = table.txn().put("a", &ON).unwrap().if_seq("a", first.seq).unwrap();
        let committed = txn.commit() $(.$await)? .unwrap();
        assert_eq!(table.position(), committed.position);
        assert_eq!(table.get("b") $(.$await)? .unwrap(), Some(ON));
        table.replace([("c", &ON)]) $(.$await)? .unwrap();
        let last = table.delete("c") $(.$await)? .unwrap();
        table.wait_for(last, HANG) $(.$await)? .unwrap();
        assert_eq!(table.info() $(.$await)? .unwrap().position, last);
        assert!(reader.current().is_empty());
        last.seq
    }};
}

#[tokio::test]
async fn the_same_program_runs_on_a_file_and_on_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = hotread_store::Store::open(dir.path().join("flags.db")).unwrap();
    let in_file = program!(store.table::<Flag>("flags").unwrap());

    let api = Api::start().await;
    let client = Client::new(&api.url()).unwrap();
    let table: Table<Flag> = client.table::<Flag>("flags").await.unwrap();
    assert_eq!(program!(table, await), in_file);

    // A program that serves its own file reads the same table as its clients.
    let keys: HashMap<Arc<str>, Flag> = client
        .table("flags")
        .await
        .unwrap()
        .reader()
        .current()
        .clone();
    assert!(keys.is_empty());
}
