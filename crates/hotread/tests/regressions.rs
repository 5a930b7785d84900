//! Regression tests. Each opens with the history of its defect.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use hotread::{HotRead, HotReadState};

/// Long enough for any machine; reached only when the test fails.
const FOREVER: Duration = Duration::from_secs(120);

/// A name with a NUL byte made it impossible to start the maintainer's thread: std panics on it,
/// after the maintainer had been counted, so that futures waited for a thread that did not exist.
#[test]
fn a_state_may_have_any_name() {
    let hot = HotRead::builder(Arc::new(0)).name("a\0b").build();
    assert!(hot.spawn_maintainer().is_ok());
    assert_eq!(
        (hot.panics(), hot.queue_update(Arc::new(1)).published),
        (0, true)
    );
}

/// A state whose `apply_update` may use up a wake-up: it parks, as scoped threads and channels do.
#[derive(Clone)]
struct Parks(u64);

impl HotReadState for Parks {
    type Action = u64;

    fn apply_update(&mut self, update: &u64) {
        self.0 = *update;
        thread::scope(|scope| {
            scope.spawn(|| std::hint::black_box(1));
        });
    }
}

/// A maintainer announced itself as a sleeper and looked once more. An update that it applied then
/// parked, which used up the wake-up meant for the maintainer, and it slept on although no reader
/// blocked.
#[test]
fn an_update_that_parks_does_not_swallow_a_wake_up() {
    let hot = HotRead::new(Parks(0));
    let _maintainer = hot.spawn_maintainer().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let (mut handle, stop) = (hot.create_handle(), Arc::clone(&stop));
        move || {
            for turn in 0_u32.. {
                if stop.load(SeqCst) {
                    break;
                }
                handle.current();
                for _ in 0..turn.wrapping_mul(2_654_435_761) >> 18 {
                    std::hint::spin_loop();
                }
                handle.quiescent();
            }
        }
    });
    for round in 0..300 {
        for update in 0..10 {
            hot.queue_update(round * 10 + update);
        }
        // Only the maintainer completes it: the test just watches.
        let watched = std::time::Instant::now();
        while hot.published_seq() < hot.latest_seq() {
            assert!(watched.elapsed() < FOREVER, "the maintainer sleeps on");
            thread::yield_now();
        }
    }
    stop.store(true, SeqCst);
    reader.join().unwrap();
}

/// A state whose clones can be made to fail.
struct Fragile {
    fail: Arc<AtomicBool>,
    inside: Arc<AtomicUsize>,
    go_on: Arc<AtomicBool>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        if self.fail.load(SeqCst) {
            self.inside.fetch_add(1, SeqCst);
            while !self.go_on.load(SeqCst) {
                thread::yield_now();
            }
            panic!("a planned panic");
        }
        Self {
            fail: Arc::clone(&self.fail),
            inside: Arc::clone(&self.inside),
            go_on: Arc::clone(&self.go_on),
        }
    }
}

impl HotReadState for Fragile {
    type Action = ();

    fn apply_update(&mut self, (): &()) {}
}

/// A thread that waits found another one applying, and slept. That one failed to clone and left,
/// without a copy and without waking any thread.
#[test]
fn who_waits_for_a_holder_that_fails_to_clone_is_woken() {
    let (fail, go_on) = (Arc::default(), Arc::default());
    let inside = Arc::new(AtomicUsize::new(0));
    let hot = HotRead::builder(Fragile {
        fail: Arc::clone(&fail),
        inside: Arc::clone(&inside),
        go_on: Arc::clone(&go_on),
    })
    .max_copies(3)
    .build();
    let mut handle = hot.create_handle();
    handle.current();
    assert!(hot.queue_update(()).published);
    fail.store(true, SeqCst);
    let writer = thread::spawn({
        let hot = hot.clone();
        move || hot.queue_update(())
    });
    while inside.load(SeqCst) == 0 {
        thread::yield_now();
    }
    let waiter = thread::spawn({
        let hot = hot.clone();
        move || hot.wait_published(2, FOREVER)
    });
    // Let the waiter find the writer at work in most runs.
    thread::sleep(Duration::from_millis(50));
    fail.store(false, SeqCst);
    go_on.store(true, SeqCst);
    let result = writer.join().expect("a clone's panic is caught");
    assert!(!result.blocked_by_workers && hot.panics() >= 1);
    assert_eq!(waiter.join().unwrap(), Ok(()));
}

/// `process::exit` inside a `read` destroyed the thread's storage while its slot named a copy, which
/// tripped an assertion in a destructor and aborted the process.
#[test]
fn a_process_may_exit_inside_a_read() {
    const CHILD: &str = "HOTREAD_EXIT_INSIDE_READ";
    if std::env::var_os(CHILD).is_some() {
        let hot = HotRead::new(Arc::new(1));
        hot.read(|_| std::process::exit(7));
    }
    let program = std::env::current_exe().unwrap();
    let status = Command::new(program)
        .args(["--exact", "a_process_may_exit_inside_a_read", "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
}
