//! Copies on disk: starting without the server, and refusing damaged copies.

use crate::common::{Fake, HANG, until};
use hotread_client::{
    Client, ClientBuilder, Code, Position, RecordSet, Replica, SaveError, Status, TooStale,
};
use hotread_proto::session::frame::Begin;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

type Numbers = HashMap<Arc<str>, u64>;

fn builder(url: &str, dir: &Path) -> ClientBuilder {
    let often = Duration::from_millis(20);
    Client::builder(url)
        .ping_every(often)
        .save_every(often)
        .cache_dir(dir)
}

async fn replica(url: &str, dir: &Path) -> Replica<Numbers> {
    let client = builder(url, dir).build().unwrap();
    client.replica("t").await.unwrap()
}

/// Returns the files with this extension.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .collect()
}

fn copy(dir: &Path) -> PathBuf {
    let [copy] = &files(dir, "copy")[..] else {
        panic!("{:?}", files(dir, "copy"))
    };
    copy.clone()
}

fn content(replica: &Replica<Numbers>) -> Vec<(String, u64)> {
    let mut handle = replica.create_handle();
    let pairs = handle.current().iter();
    let mut pairs: Vec<_> = pairs.map(|(k, v)| (k.to_string(), *v)).collect();
    pairs.sort();
    pairs
}

/// Returns a server that is away, and a directory with a copy of its table, which has `a` = 1 and `b` = 2.
async fn offline() -> (Fake, TempDir) {
    let dir = TempDir::new().unwrap();
    let mut server = Fake::start().await;
    server.put("a", "1");
    let at = server.put("b", "2");
    let replica = replica(&server.url(), dir.path()).await;
    assert_eq!(replica.save().await, Ok(at));
    drop(replica);
    server.stop().await;
    (server, dir)
}

#[tokio::test]
async fn a_replica_starts_without_its_server_and_resumes_when_that_is_back() {
    let (mut server, dir) = offline().await;
    let replica = replica(&server.url(), dir.path()).await;
    assert_eq!(
        content(&replica),
        [("a".to_owned(), 1), ("b".to_owned(), 2)]
    );
    assert!(matches!(replica.status(), Status::Offline { saved_at } if saved_at.millis() > 0));
    assert_eq!(replica.age(), None);
    let max = HANG;
    assert_eq!(replica.fresh(max), Err(TooStale { age: None, max }));
    assert!(replica.trouble().is_some());

    let at = server.commit(&[("a", None), ("c", Some("3"))]);
    server.restart().await;
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(
        content(&replica),
        [("b".to_owned(), 2), ("c".to_owned(), 3)]
    );
    until("it is live", || replica.status() == Status::Live).await;
    until("its age is known", || replica.reader().fresh(HANG).is_ok()).await;
    let begun = server.begun();
    assert_eq!(begun.last().unwrap().0, Begin::Resume, "{begun:?}");
}

#[tokio::test]
async fn a_replica_whose_server_is_there_starts_with_what_the_table_is_now() {
    let (mut server, dir) = offline().await;
    server.put("a", "9");
    server.restart().await;
    let replica = replica(&server.url(), dir.path()).await;
    assert_eq!(content(&replica)[0], ("a".to_owned(), 9));
    assert_eq!(replica.status(), Status::Live);
    assert!(
        server
            .begun()
            .iter()
            .all(|begun| begun.0 == Begin::Resume || begun.1.is_none())
    );
}

#[tokio::test]
async fn another_table_of_the_same_name_replaces_the_copy() {
    let (mut server, dir) = offline().await;
    server.recreate(77);
    let at = server.put("new", "5");
    server.restart().await;
    let replica = replica(&server.url(), dir.path()).await;
    replica.wait_for(at, HANG).await.unwrap();
    assert_eq!(content(&replica), [("new".to_owned(), 5)]);
    assert_eq!(replica.save().await, Ok(at));
}

#[tokio::test]
async fn what_came_last_is_written_when_the_replica_goes() {
    let dir = TempDir::new().unwrap();
    let server = Fake::start().await;
    let client = builder(&server.url(), dir.path()).save_every(HANG);
    let client = client.build().unwrap();
    let replica: Replica<RecordSet> = client.replica("t").await.unwrap();
    replica.save().await.unwrap();
    let at = server.put("late", "7");
    replica.wait_for(at, HANG).await.unwrap();
    assert!(
        !fs::read_to_string(copy(dir.path()))
            .unwrap()
            .contains("late")
    );
    drop(replica);
    let written = || fs::read_to_string(copy(dir.path())).unwrap();
    until("it is written", || written().contains("late")).await;
}

/// Checks that a replica without its server does not start from a damaged copy.
async fn is_set_aside(damage: impl Fn(Vec<u8>) -> Vec<u8>, what: &str) {
    let (mut server, dir) = offline().await;
    let path = copy(dir.path());
    fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
    let url = server.url();
    let mut starting = Box::pin(replica(&url, dir.path()));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut starting).await;
    assert!(waited.is_err(), "{what} was trusted");
    assert_eq!(files(dir.path(), "set-aside").len(), 1, "{what}");
    server.restart().await;
    let replica = starting.await;
    assert_eq!(content(&replica).len(), 2, "{what}");
    let begun = server.begun();
    assert_eq!(begun.last().unwrap().0, Begin::Snapshot, "{what}");
    replica.save().await.unwrap();
    assert!(fs::exists(&path).unwrap(), "{what}");
}

fn swap(bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[tokio::test]
async fn a_damaged_copy_is_set_aside() {
    is_set_aside(|_| Vec::new(), "an empty file").await;
    is_set_aside(|_| b"\x7fELF\0\0\0\n".to_vec(), "a foreign file").await;
    is_set_aside(
        |bytes| swap(bytes, "\"value\":1", "\"value\":3"),
        "another value",
    )
    .await;
    is_set_aside(
        |bytes| swap(bytes, "general", "gemeral"),
        "another category",
    )
    .await;
    is_set_aside(
        |bytes| [&bytes[..], b"{}\n"].concat(),
        "more than it should",
    )
    .await;
}

#[tokio::test]
async fn a_truncated_copy_is_set_aside() {
    is_set_aside(|bytes| bytes[..bytes.len() - 1].to_vec(), "a byte less").await;
    is_set_aside(|bytes| bytes[..bytes.len() / 2].to_vec(), "half a file").await;
    let without_end = |bytes: Vec<u8>| {
        let end = bytes[..bytes.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n');
        bytes[..=end.unwrap()].to_vec()
    };
    is_set_aside(without_end, "no checksum").await;
}

#[tokio::test]
async fn a_copy_of_a_newer_version_or_another_server_is_set_aside() {
    let newer = |bytes| swap(bytes, "\"hotread_cache\":1", "\"hotread_cache\":2");
    is_set_aside(newer, "a newer form").await;
    is_set_aside(
        |bytes| swap(bytes, "127.0.0.1", "127.0.0.2"),
        "another server",
    )
    .await;
    is_set_aside(
        |bytes| swap(bytes, "\"table\":\"t\"", "\"table\":\"u\""),
        "another table",
    )
    .await;
}

#[tokio::test]
async fn a_sealed_table_is_not_kept_and_what_was_kept_goes() {
    let (mut server, dir) = offline().await;
    server.seal();
    let at = server.put("secret", "8");
    server.restart().await;
    let replica = replica(&server.url(), dir.path()).await;
    replica.wait_for(at, HANG).await.unwrap();
    assert!(matches!(replica.save().await, Err(SaveError::NotKept(_))));
    until("the copy is gone", || files(dir.path(), "copy").is_empty()).await;
    drop(replica);
    for file in fs::read_dir(dir.path()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_copy_that_the_type_refuses_is_not_used_and_stays() {
    let (server, dir) = offline().await;
    let client = builder(&server.url(), dir.path()).build().unwrap();
    let mut texts = Box::pin(client.replica::<HashMap<Arc<str>, String>>("t"));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut texts).await;
    assert!(waited.is_err());
    drop(texts);
    let replica = replica(&server.url(), dir.path()).await;
    assert_eq!(content(&replica).len(), 2);
}

#[tokio::test]
async fn a_poisoned_table_is_started_from_the_last_good_copy() {
    let (mut server, dir) = offline().await;
    let bad = server.put("b", r#""no number""#);
    server.restart().await;
    let url = server.url();
    let replica = replica(&url, dir.path()).await;
    let good = [("a".to_owned(), 1), ("b".to_owned(), 2)];
    assert_eq!(content(&replica), good);
    until("it says why", || {
        matches!(replica.status(), Status::Rejected(refused)
            if refused.key.as_str() == "b" && refused.seq == bad.seq)
    })
    .await;
    // Without a copy there is no state to start from.
    let bare = Client::builder(&url).build().unwrap();
    let refused = bare.replica::<Numbers>("t").await.unwrap_err();
    assert_eq!(refused.code(), Code::Rejected);
    // The copy remains the last good one, however often a replica starts.
    drop(replica);
    let replica = self::replica(&url, dir.path()).await;
    assert_eq!(content(&replica), good);
    let fixed = server.put("b", "3");
    replica.wait_for(fixed, HANG).await.unwrap();
    assert_eq!(content(&replica)[1], ("b".to_owned(), 3));
}

#[tokio::test]
async fn without_a_directory_there_is_no_copy() {
    let server = Fake::start().await;
    let client = Client::builder(&server.url()).build().unwrap();
    let replica: Replica<Numbers> = client.replica("t").await.unwrap();
    assert_eq!(replica.save().await, Err(SaveError::NoCacheDir));
}

#[tokio::test]
async fn a_replica_works_without_a_writable_cache_directory() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let server = Fake::start().await;
    let replica = replica(&server.url(), &file).await;
    assert!(matches!(replica.save().await, Err(SaveError::Io(_))));
    let at = server.put("a", "1");
    replica.wait_for(at, HANG).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn copies_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("a/b");
    let server = Fake::start().await;
    server.put("a", "1");
    let replica = replica(&server.url(), &deep).await;
    replica.save().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&copy(&deep)), 0o600);
}

#[tokio::test]
async fn two_replicas_may_share_a_directory() {
    let dir = TempDir::new().unwrap();
    let server = Fake::start().await;
    let one = replica(&server.url(), dir.path()).await;
    let two = replica(&server.url(), dir.path()).await;
    for n in 0..20 {
        let at = server.put("a", &n.to_string());
        for replica in [&one, &two] {
            replica.wait_for(at, HANG).await.unwrap();
        }
        let (first, second) = tokio::join!(one.save(), two.save());
        assert_eq!((first, second), (Ok(at), Ok(at)));
    }
    drop((one, two));
    let third = replica(&server.url(), dir.path()).await;
    assert_eq!(content(&third), [("a".to_owned(), 19)]);
    assert!(server.begun().last().unwrap().0 == Begin::Resume);
}

/// Runs the other process: it follows a server and saves, until it is killed.
async fn save_until_killed(url: &str) {
    let dir = std::env::var("CACHE_DIR").unwrap();
    let replica = replica(url, Path::new(&dir)).await;
    loop {
        let _: Result<Position, _> = replica.save().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_while_it_writes_leaves_a_whole_copy() {
    if let Some(url) = hotread_testkit::part() {
        return save_until_killed(&url).await;
    }
    let dir = TempDir::new().unwrap();
    let mut server = Fake::start().await;
    let large: Vec<String> = (0..3_000).map(|n| format!("key-{n:05}")).collect();
    let puts: Vec<_> = large.iter().map(|key| (&**key, Some("1"))).collect();
    server.commit(&puts);
    for round in 0..8 {
        let mut child = hotread_testkit::process(&hotread_testkit::this_test(), &server.url())
            .env("CACHE_DIR", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("it has written", || !files(dir.path(), "copy").is_empty()).await;
        for n in 0..20 + 7 * round {
            server.put("last", &n.to_string());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    server.stop().await;
    let replica = replica(&server.url(), dir.path()).await;
    assert!(matches!(replica.status(), Status::Offline { .. }));
    assert!(content(&replica).len() >= large.len());
    assert!(files(dir.path(), "set-aside").is_empty());
    // Unfinished files do not accumulate.
    assert!(fs::read_dir(dir.path()).unwrap().count() <= 3);
}
