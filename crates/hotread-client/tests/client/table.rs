//! Typed tables of a server, and the same calls on a store and on a server.

use crate::common::server::Api;
use crate::common::{HANG, until};
use hotread_client::{
    Alter, Client, Code, Entries, Error, InvalidInput, PutOptions, RecordSet, Replace, Scan,
    Status, Table, TypedTable, Value, blocking,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Flag {
    on: bool,
    percent: u8,
}

const ON: Flag = Flag {
    on: true,
    percent: 5,
};
const OFF: Flag = Flag {
    on: false,
    percent: 0,
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
    let mut events = flags.subscribe(flags.position()).unwrap();
    flags.replace([("c", &ON)]).unwrap();
    assert_eq!(events.next().unwrap().unwrap().head.position.seq, 3);
    assert_eq!(flags.scan(&Scan::default()).unwrap().records.len(), 1);
    flags
        .replace_with(Replace::new(Vec::new()).unguarded())
        .unwrap();
    assert!(flags.reader().current().is_empty());
}

/// A program's own code, which a macro runs on each backend: the calls differ by `.await` only.
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
        let changes = table.changes(committed.position, 10) $(.$await)? .unwrap();
        assert_eq!(changes.last().unwrap().position, last);
        assert!(table.scan(&Scan::default()) $(.$await)? .unwrap().records.is_empty());
        let kept = table.alter(&Alter::new().max_changes(9)) $(.$await)? .unwrap().options.history;
        assert_eq!(kept.max_changes, 9);
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

/// Arguments of a callback: key, and the percents before and after.
type Told = (String, Option<u8>, Option<u8>);

fn told(key: &str, old: Option<u8>, new: Option<u8>) -> Told {
    (key.to_owned(), old, new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_once_with_old_and_new_value() {
    let api = Api::start().await;
    let client = Client::new(&api.url()).unwrap();
    let percents = client.table::<u8>("percents").await.unwrap();
    percents.put("before", &1).await.unwrap();
    let (tell, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let mut reader = percents.reader();
    let guard = percents
        .on_change(move |key, old, new| {
            let seen = reader.current().get(key).copied();
            reader.quiescent();
            let _ = tell.send((told(key, old.copied(), new.copied()), seen));
        })
        .unwrap();
    let mut next = async || tokio::time::timeout(HANG, hear.recv()).await.unwrap();
    // Written by another program.
    for n in 1..=100 {
        client.put("percents", "a", &n).await.unwrap();
    }
    percents.delete("before").await.unwrap();
    let mut last = None;
    while last != Some(100) {
        // Several transactions may be coalesced, with the last value of each key.
        let ((key, old, new), seen) = next().await.unwrap();
        assert_eq!((&*key, old), ("a", last));
        assert!(
            seen >= new,
            "{new:?} was reported while readers see {seen:?}"
        );
        last = new;
    }
    assert_eq!(next().await.unwrap().0, told("before", Some(1), None));
    // The content of a new table of this name is reported as the difference.
    client.drop_table("percents").await.unwrap();
    let new = Default::default();
    client.create_table("percents", &new).await.unwrap();
    client.put("percents", "b", &7).await.unwrap();
    let mut state = BTreeMap::from([("a".to_owned(), 100)]);
    while state != BTreeMap::from([("b".to_owned(), 7)]) {
        let ((key, old, new), _) = next().await.unwrap();
        assert_eq!(state.get(&key).copied(), old);
        match new {
            Some(new) => drop(state.insert(key, new)),
            None => drop(state.remove(&key)),
        }
    }
    // Changes are reported while the new table is still being compared with its digest.
    until("it is live", || percents.status() == Status::Live).await;
    drop(guard);
    assert_eq!(next().await, None, "the callback is dropped with its guard");
}

#[tokio::test]
async fn a_panic_of_a_callback_leaves_the_table_live() {
    let api = Api::start().await;
    let client = Client::new(&api.url()).unwrap();
    let percents = client.table::<u8>("percents").await.unwrap();
    let (tell, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let guard = percents.on_change(move |key, _, _| {
        assert_ne!(key, "bad", "cannot take {key}");
        let _ = tell.send(key.to_owned());
    });
    for key in ["bad", "good"] {
        percents.put(key, &1).await.unwrap();
    }
    let heard = tokio::time::timeout(HANG, hear.recv()).await.unwrap();
    assert_eq!(heard.as_deref(), Some("good"));
    assert_eq!(percents.reader().current().len(), 2);
    match percents.status() {
        Status::CallbackPanicked(panics) => assert_eq!(panics.count, 1),
        status => panic!("{status:?}"),
    }
    drop(guard);
    assert_eq!(percents.status(), Status::Live);
}

/// A program's own code, which runs on each backend.
fn checkout<T: TypedTable<Flag>>(flags: &T) -> Result<u64, T::Error>
where
    T::State: Entries,
{
    let (tell, hear) = std::sync::mpsc::channel();
    let guard = flags.on_change(move |key, _, new| {
        let _ = tell.send((key.to_owned(), new.cloned()));
    })?;
    let mut reader = flags.reader();
    let first = flags.put("a", &ON)?;
    assert_eq!(reader.current().entry_of("a"), Some(&ON));
    flags.put_with("b", &ON, PutOptions::new().if_absent())?;
    let txn = flags.txn().put("a", &OFF)?.if_seq("a", first.seq)?;
    let committed = txn.commit()?;
    assert_eq!(flags.position(), committed.position);
    assert_eq!(flags.get("a")?, Some(OFF));
    flags.replace([("c", &ON)])?;
    let last = flags.delete("c")?;
    flags.wait_for(last, HANG).unwrap();
    assert!(reader.current().all_entries().next().is_none());
    assert_eq!(flags.changes(committed.position, 10)?.len(), 2);
    assert!(flags.scan(&Scan::default())?.records.is_empty());
    flags.alter(&Alter::new().max_changes(9))?;
    assert_eq!(flags.info()?.options.history.max_changes, 9);
    reader.current();
    flags.put("d", &ON)?;
    assert_eq!(reader.wait_changed(HANG), Ok(true));
    let start = std::time::Instant::now();
    while flags.age().is_none_or(|age| age > HANG) {
        assert!(start.elapsed() < HANG, "the age is not known");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut state = BTreeMap::new();
    while state != BTreeMap::from([("d".to_owned(), ON)]) {
        match hear.recv_timeout(HANG).unwrap() {
            (key, Some(flag)) => drop(state.insert(key, flag)),
            (key, None) => drop(state.remove(&key)),
        }
    }
    drop(guard);
    Ok(last.seq)
}

#[test]
fn one_function_runs_on_a_temporary_store_and_a_server() {
    let store = hotread_store::Store::temporary().unwrap();
    let path = store.path().to_owned();
    let flags = store.table::<Flag>("flags").unwrap();
    let in_memory = checkout(&flags).unwrap();
    drop((flags, store));
    // The callback's thread is the last owner of the table.
    let start = std::time::Instant::now();
    while path.parent().unwrap().exists() {
        assert!(start.elapsed() < HANG, "{path:?} is left behind");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(Api::start());
    let client = blocking::Client::new(&api.url()).unwrap();
    let flags = client.table::<Flag>("flags").unwrap();
    assert_eq!(checkout(&flags).unwrap(), in_memory);
}

#[test]
fn a_guard_keeps_the_blocking_table_followed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(Api::start());
    let (tell, hear) = std::sync::mpsc::channel();
    let client = blocking::Client::new(&api.url()).unwrap();
    let percents = client.table::<u8>("percents").unwrap();
    let _guard = percents.on_change(move |key, _, _| {
        let _ = tell.send(key.to_owned());
    });
    drop((percents, client));
    let other = blocking::Client::new(&api.url()).unwrap();
    other.put("percents", "a", &1).unwrap();
    assert_eq!(hear.recv_timeout(HANG).as_deref(), Ok("a"));
}
