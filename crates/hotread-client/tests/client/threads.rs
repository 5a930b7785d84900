//! Clients in a process whose system refuses further threads. The library that acts as the system is the
//! one of the server's tests, compiled here with the system's C compiler and preloaded.

#![cfg(target_os = "linux")]

use crate::common::HANG;
use crate::common::server::Api;
use hotread_client::{Client, TableOptions};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Variable with the file whose presence makes the system refuse threads.
const NO_THREADS: &str = "HOTREAD_NO_THREADS";
/// Larger than what is read on the runtime's own thread.
const LARGE: usize = 200_000;

type Texts = HashMap<Arc<str>, String>;

/// Runs the process that gets no threads.
fn without_threads(url: &str) {
    // Tokio's blocking threads end immediately.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_millis(1))
        .enable_all()
        .build()
        .unwrap();
    let followed = runtime.block_on(async { timeout(HANG, follow(url)).await });
    followed.unwrap();
    let refused = Client::builder(url).build_blocking();
    let error = refused.map(drop).unwrap_err().to_string();
    assert!(error.contains("refuses to start a thread"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let refused = hotread_store::Store::open(dir.path().join("test.db"));
    let error = refused.map(drop).unwrap_err();
    let expected = matches!(error, hotread_store::OpenError::Thread(_));
    assert!(expected, "{error}");
}

async fn follow(url: &str) {
    let client = Client::builder(url).build().unwrap();
    let begun = client.replica::<Texts>("t").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(std::env::var_os(NO_THREADS).unwrap(), "").unwrap();
    // A large transaction for an existing replica, and a large snapshot for a new one.
    let text = "x".repeat(LARGE);
    let at = client.put("t", "large", &text).await.unwrap();
    begun.wait_for(at, HANG).await.unwrap();
    assert_eq!(begun.reader().current()["large"], text);
    let begins = client.replica::<Texts>("t").await.unwrap();
    assert_eq!(begins.reader().current()["large"], text);
    // A name cannot be looked up, which is an error like any of the network.
    let named = url.replace("127.0.0.1", "localhost");
    let named = Client::builder(&named).build().unwrap();
    let error = named.table_info("t").await.unwrap_err().to_string();
    assert!(error.contains("refuses to start a thread"), "{error}");
}

fn run_without_threads(test: &str, url: &str, dir: &Path) -> (bool, String) {
    let library = dir.join("faults.so");
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../hotread-server/tests/server/preload/faults.c"
    );
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .status();
    assert!(compiled.expect("there is a C compiler").success());
    let ran = hotread_testkit::process(test, url)
        // The first thread of the harness runs the test, because a second one could not start.
        .arg("--test-threads=1")
        .env("LD_PRELOAD", &library)
        .env(NO_THREADS, dir.join("file"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&ran.stderr).into_owned() + &String::from_utf8_lossy(&ran.stdout);
    (ran.status.success(), said)
}

#[test]
fn without_further_threads_large_frames_are_read_in_place() {
    if let Some(url) = hotread_testkit::part() {
        return without_threads(&url);
    }
    let test = hotread_testkit::this_test();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(Api::with_table(&TableOptions::default()));
    let dir = tempfile::tempdir().unwrap();
    let (succeeded, said) = run_without_threads(&test, &api.url(), dir.path());
    assert!(succeeded && !said.contains("panicked"), "{said}");
    drop(api);
}
