//! What the tests of several crates share: folders for databases, and further processes.
//!
//! A further process of a test, such as one that is killed, is the test's own program, started again to run
//! the same test, which then plays another part:
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

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// File system in memory, where Linux has one.
const MEMORY: &str = "/dev/shm";
/// Room that it must have, in bytes: for the largest databases of tests that run at a time, and to spare.
/// Containers often have 64 MB.
const ROOM_BYTES: u64 = 2 << 30;

/// The variable that tells a process its part.
const PART: &str = "HOTREAD_TEST_PART";

/// Part of this process, if a test started it by [`process`].
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Name of the test that runs on this thread.
///
/// # Panics
/// On a thread that the test harness did not start.
pub fn this_test() -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    name.expect("the thread of a test").to_owned()
}

/// Command that runs a test of this program in a process of its own, which plays a part. What it prints comes
/// among lines of the harness.
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

/// Folder for databases, removed when it is dropped: in memory if there is room, where a commit does not wait
/// for a disk. What disks do is for the tests on the simulated one.
///
/// # Panics
/// If no folder can be made.
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
