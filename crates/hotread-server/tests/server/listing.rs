//! Pages of a listing: each is one state of one incarnation of the table, whatever happens in the meantime.

use crate::common::{self, Api, Reply, blocking, table};
use hotread_proto::{Code, Key, Put, Txn, Value as Text};
use hotread_store::{Store, TableOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// More than any other read takes at once.
const RECORDS: usize = 300;

/// Writes all records of the table in one transaction.
fn rewrite(store: &Store, value: &str) {
    let value = Text::string(value).unwrap();
    let put = |n: usize| Put::new(Key::new(&format!("{n:03}")).unwrap(), value.clone());
    let txn = (0..RECORDS).map(put).fold(Txn::new(), Txn::put);
    store.commit(&table("t"), txn).unwrap();
}

/// Repeats an action until the returned value is dropped.
struct Meanwhile(Arc<AtomicBool>);

impl Meanwhile {
    fn repeat(api: &Api, mut work: impl FnMut(&Store, u64) + Send + 'static) -> Self {
        let (store, done) = (api.store.clone(), Arc::new(AtomicBool::new(false)));
        let over = done.clone();
        std::thread::spawn(move || {
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                work(&store, n);
            }
        });
        Self(done)
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the position, and the sequence numbers and values of a page's records.
fn page(reply: &Reply) -> (String, Vec<u64>, Vec<String>) {
    let json = reply.json();
    let records = json["records"].as_array().unwrap();
    let seqs = records.iter().map(|it| it["seq"].as_u64().unwrap());
    let values = records
        .iter()
        .map(|it| it["value"].as_str().unwrap().to_owned());
    (reply.position(), seqs.collect(), values.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_one_state_while_all_records_are_rewritten() {
    let api = Api::with_table("t").await;
    let store = api.store.clone();
    blocking(move || rewrite(&store, "first")).await;
    let _writer = Meanwhile::repeat(&api, |store, n| rewrite(store, &n.to_string()));
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let reply = api.get("/v1/tables/t/records?limit=1000").expect(200).await;
        let (position, seqs, _) = page(&reply);
        assert_eq!(seqs.len(), RECORDS);
        let seq = seqs[0];
        assert!(seqs.iter().all(|other| *other == seq), "{seqs:?}");
        assert!(position.ends_with(&format!(":{seq}")), "{position}: {seq}");
        if seen.last() != Some(&seq) {
            seen.push(seq);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_never_mixes_a_table_with_its_successor() {
    let api = Api::with_table("t").await;
    let store = api.store.clone();
    blocking(move || rewrite(&store, "first")).await;
    // Each incarnation has one transaction, and values of its own. They have different lifetimes.
    let writer = Meanwhile::repeat(&api, |store, n| {
        std::thread::sleep(Duration::from_millis(n % 3 * 20));
        store.drop_table(&table("t")).unwrap();
        store
            .create_table(&table("t"), TableOptions::default())
            .unwrap();
        rewrite(store, &n.to_string());
    });
    let mut changed = 0;
    while changed < 10 {
        changed += u32::from(!list(&api).await);
    }
    drop(writer);
    let whole = async { while !list(&api).await {} };
    common::hang(whole).await;
}

/// Lists the table, and checks that all pages are of one incarnation. Returns `true` if it reached the end.
async fn list(api: &Api) -> bool {
    let (mut after, mut epoch) = (String::new(), None::<String>);
    let (mut records, mut values) = (0, Vec::new());
    loop {
        let mut path = format!("/v1/tables/t/records?limit=40{after}");
        if let Some(epoch) = &epoch {
            path.push_str(&format!("&epoch={epoch}"));
        }
        let reply = api.get(&path).send().await;
        match (reply.status, reply.code().as_str()) {
            (200, _) => {}
            (410, "EPOCH_CHANGED") => {
                assert!(epoch.is_some());
                return false;
            }
            // Between the two incarnations.
            (404, "UNKNOWN_TABLE") => return false,
            other => panic!("{other:?}: {}", reply.text()),
        }
        let (position, seqs, mut of_page) = page(&reply);
        let now = position.split(':').next().unwrap().to_owned();
        assert_eq!(*epoch.get_or_insert(now.clone()), now, "one incarnation");
        records += seqs.len();
        values.append(&mut of_page);
        match reply.json()["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => {
                // All of it, unless it was still empty.
                let empty = position.ends_with(":0");
                assert_eq!(records, if empty { 0 } else { RECORDS }, "{position}");
                values.dedup();
                assert!(values.len() <= 1, "{values:?}");
                return !empty;
            }
        }
    }
}

#[tokio::test]
async fn pages_say_when_the_table_has_changed_between_them() {
    let api = Api::with_table("t").await;
    let store = api.store.clone();
    blocking(move || rewrite(&store, "first")).await;
    let first = api.get("/v1/tables/t/records?limit=10").expect(200).await;
    let path = "/v1/tables/t/records?limit=10&after=009";
    let second = api.get(path).expect(200).await;
    assert_eq!(first.position(), second.position());
    let store = api.store.clone();
    blocking(move || rewrite(&store, "second")).await;
    let second = api.get(path).expect(200).await;
    assert_ne!(first.position(), second.position());
    let epoch = first.json()["position"]["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    api.get(&format!("{path}&epoch={epoch}")).expect(200).await;
    for epoch in ["0", "00000000000000zz", ""] {
        let path = format!("{path}&epoch={epoch}");
        api.get(&path).refused(400, Code::BadRequest).await;
    }
    let other = format!("{path}&epoch=0000000000000000");
    let other = other.as_str();
    api.get(other).refused(410, Code::EpochChanged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_of_one_incarnation_with_their_position_and_floor() {
    let api = Api::with_table("t").await;
    let store = api.store.clone();
    blocking(move || rewrite(&store, "first")).await;
    let _writer = Meanwhile::repeat(&api, |store, n| {
        std::thread::sleep(Duration::from_millis(n % 3 * 20));
        store.drop_table(&table("t")).unwrap();
        store
            .create_table(&table("t"), TableOptions::default())
            .unwrap();
        rewrite(store, "again");
    });
    let (mut told, mut changed) = (0, 0);
    while told < 20 || changed < 5 {
        let now = api.get("/v1/tables/t").send().await;
        if now.status == 404 {
            continue;
        }
        let epoch = now.json()["epoch"].as_str().unwrap().to_owned();
        let path = format!("/v1/tables/t/changes?from={epoch}:0");
        let reply = api.get(&path).send().await;
        match reply.status {
            200 => {
                told += 1;
                let (position, json) = (reply.position(), reply.json());
                assert!(position.starts_with(&epoch), "{epoch}: {position}");
                assert_eq!(json["floor"], 1);
                assert!(json["changes"].as_array().unwrap().len() <= 1);
            }
            410 => changed += 1,
            404 => {}
            status => panic!("{status}: {}", reply.text()),
        }
    }
}
