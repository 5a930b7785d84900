//! Helpers shared by the tests of several crates: folders for databases, addresses that are reused,
//! certificates, and further processes.
//!
//! A further process of a test, such as one that is killed, is the test's own program, started
//! again to run the same test in another role:
//!
//! ```no_run
//! #[test]
//! fn a_killed_writer_leaves_what_it_acknowledged() {
//!     if let Some(part) = hotread_testkit::part() {
//!         return write_until_killed(&part);
//!     }
//!     let test = hotread_testkit::this_test();
//!     let mut writer = hotread_testkit::process(&test, "writer").spawn().unwrap();
//!     writer.kill().unwrap();
//! }
//! # fn write_until_killed(_: &str) {}
//! ```

pub mod certificates;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// File system in memory, where Linux has one.
const MEMORY: &str = "/dev/shm";
/// Free space required in it, in bytes: more than the largest databases of tests that run at the
/// same time need. Containers often have 64 MB.
const ROOM_BYTES: u64 = 2 << 30;

/// Time after which a connection attempt counts as ignored: the system answers on this machine at once.
const IGNORED_AFTER: Duration = Duration::from_millis(500);
/// Longest time for which an address may stay in use by other processes.
const IN_USE: Duration = Duration::from_secs(600);

/// Environment variable that gives a process its part.
const PART: &str = "HOTREAD_TEST_PART";

/// Returns the part of this process, if a test started it by [`process`].
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Returns the name of the test that runs on this thread.
///
/// # Panics
/// On a thread that the test harness did not start.
pub fn this_test() -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    name.expect("the thread of a test").to_owned()
}

/// Returns a command that runs a test of this program in a process of its own, with the given part.
/// Its output appears among lines of the harness.
///
/// # Panics
/// If the system does not know this program's file.
pub fn process(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the file of this program"));
    command
        .args(["--exact", test, "--nocapture"])
        .env(PART, part);
    command
}

/// Returns a listener, for an asynchronous runtime, at the address of one that is closed. Waits
/// while the address is in use: a process that another test is just starting has copies of all open
/// files, and a connection of another test may have got the port.
///
/// # Panics
/// If the address stays in use, or listening at it fails.
pub fn listen_again(address: SocketAddr) -> TcpListener {
    let began = Instant::now();
    let listener = loop {
        match TcpListener::bind(address) {
            Ok(listener) => break listener,
            Err(error) => assert!(began.elapsed() < IN_USE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let ready = listener.set_nonblocking(true);
    ready.expect("sockets can be asked for what is there");
    listener
}

/// An address at which connections are neither accepted nor refused: its listener's queue is full.
#[derive(Debug)]
pub struct BlackHole {
    /// Address of the listener.
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    /// Creates one on this machine, which takes half a second.
    ///
    /// # Panics
    /// If the system refuses a listener or a connection.
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        rustix::net::listen(&listener, 0).expect("a short queue");
        let address = listener.local_addr().expect("a bound listener");
        let mut queue = Vec::new();
        loop {
            match TcpStream::connect_timeout(&address, IGNORED_AFTER) {
                Ok(stream) => queue.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
                    break;
                }
            }
        }
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}

/// Creates a folder for databases, removed when it is dropped: in memory if there is space, where a
/// commit does not wait for a disk. The behavior of disks is left to the tests on the simulated
/// one.
///
/// # Panics
/// If no folder can be created.
pub fn folder() -> TempDir {
    let made = match room_bytes(Path::new(MEMORY)) {
        Some(ROOM_BYTES..) => tempfile::tempdir_in(MEMORY),
        _ => tempfile::tempdir(),
    };
    made.expect("temporary folders can be made")
}

#[cfg(target_os = "linux")]
fn room_bytes(path: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(path).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}

#[cfg(not(target_os = "linux"))]
fn room_bytes(_: &Path) -> Option<u64> {
    None
}
