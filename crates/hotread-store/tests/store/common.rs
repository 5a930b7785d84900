//! Helpers shared by the tests of this crate.

use hotread_proto::{Category, Key, Put, TableName, Value};
use hotread_store::Store;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time after which a call counts as hung.
pub const HANG: Duration = Duration::from_secs(120);

/// A directory for a database, removed at the end of the test: in memory, if there is room.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(hotread_testkit::folder())
    }

    /// Creates the directory on the disk of temporary files.
    pub fn on_disk() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.file("test.db")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn open(&self) -> Store {
        Store::open(self.path()).unwrap()
    }
}

pub fn name(text: &str) -> TableName {
    TableName::new(text).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub fn category(text: &str) -> Category {
    Category::new(text).unwrap()
}

pub fn value(json: &str) -> Value {
    Value::parse(json.as_bytes()).unwrap()
}

pub fn put(name: &str, json: &str) -> Put {
    Put::new(key(name), value(json))
}

/// Returns the files of a directory, by name. Not for a directory in which this process has a database
/// open: closing a file releases the locks that SQLite holds on it.
pub fn files(of: &std::path::Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(of)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Pseudo-random numbers, the same in each run. Any number can be the seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A mounted file system, which needs root; unmounted at the end of the test.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a file system of `kib` KiB in memory. `None`: this process may not mount.
    pub fn tmpfs(at: &std::path::Path, kib: u64) -> Option<Self> {
        Self::mount(at, &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
    }

    /// Mounts the directory itself read-only.
    pub fn read_only(at: &std::path::Path) -> Option<Self> {
        let mounted = Self::mount(at, &["--bind", at.to_str().unwrap()])?;
        Self::run(at, &["-o", "remount,ro,bind"]).then_some(mounted)
    }

    /// Mounts a file over an existing file, as a second name.
    pub fn file(file: &std::path::Path, at: &std::path::Path) -> Option<Self> {
        Self::mount(at, &["--bind", file.to_str().unwrap()])
    }

    /// Grows a file system in memory.
    pub fn grow(&self, kib: u64) {
        assert!(Self::run(&self.0, &["-o", &format!("remount,size={kib}k")]));
    }

    fn mount(at: &std::path::Path, options: &[&str]) -> Option<Self> {
        if Self::run(at, options) {
            return Some(Self(at.to_owned()));
        }
        println!("skipped: this process may not mount file systems");
        None
    }

    fn run(at: &std::path::Path, options: &[&str]) -> bool {
        let mut mount = std::process::Command::new("mount");
        mount.args(options).arg(at);
        mount.output().is_ok_and(|done| done.status.success())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that another test is starting has all files open for a moment, and keeps the system busy.
        let began = std::time::Instant::now();
        let unmounted = || {
            let mut umount = std::process::Command::new("umount");
            let done = umount.arg(&self.0).output();
            done.is_ok_and(|done| done.status.success())
        };
        while !unmounted() && !std::thread::panicking() {
            assert!(began.elapsed() < HANG, "{} stays in use", self.0.display());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Runs a future on this thread, which sleeps until it is woken.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park_timeout(HANG);
        assert!(begun.elapsed() < HANG, "no waker wakes the task");
    }
}

/// A waker that records that it was woken.
#[derive(Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns `true` if it was woken since the last call.
    pub fn was_woken(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until `so` holds, by the work of another thread.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < HANG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
