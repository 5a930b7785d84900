//! A forked child may read through the handles that its thread owned. It does nothing else, and
//! ends by `_exit`. A file of its own, so that no other test runs while it forks.

#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use hotread::{HotRead, HotReadHandle, HotReadState};

/// An array of equal numbers, unless a thread writes while another reads.
#[derive(Clone)]
struct Equal([u64; 64]);

impl HotReadState for Equal {
    type Action = u64;
    fn apply_update(&mut self, update: &u64) {
        for number in &mut self.0 {
            *number = *update;
        }
    }
}

fn consistent(state: &Equal) -> bool {
    state.0.iter().all(|&number| number == state.0[0])
}

/// Runs in the child; the result is its exit status. Must not allocate, lock or panic.
fn child(
    held: &mut HotReadHandle<Equal>,
    quiescent: &mut HotReadHandle<Equal>,
    before: u64,
) -> i32 {
    if held
        .get()
        .is_none_or(|state| !consistent(state) || state.0[0] != before)
    {
        return 1;
    }
    if !consistent(held.current()) || held.current().0[0] < before {
        return 2;
    }
    let generation = held.generation();
    for _ in 0..1_000 {
        // The parent continues to publish, but no thread does so here.
        if !consistent(quiescent.current()) || quiescent.generation() != generation {
            return 3;
        }
        quiescent.quiescent();
        if held.refresh() || !held.is_latest() {
            return 4;
        }
    }
    0
}

#[test]
fn a_child_reads_the_state_as_it_was_when_it_was_forked() {
    let hot = HotRead::builder(Equal([0; 64])).max_copies(3).build();
    let mut held = hot.create_handle();
    let mut quiescent = hot.create_handle();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (hot, stop) = (hot.clone(), Arc::clone(&stop));
        move || {
            let mut number = 0;
            while !stop.load(Relaxed) {
                number += 1;
                hot.queue_update(number);
            }
        }
    });
    for _ in 0..30 {
        let before = held.current().0[0];
        // SAFETY: the child runs `child`, which reads memory and does atomic operations, and ends
        // without destructors.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let status = child(&mut held, &mut quiescent, before);
            // SAFETY: ends the process immediately.
            unsafe { libc::_exit(status) };
        }
        assert!(pid > 0, "fork failed");
        let mut status = 0;
        // SAFETY: waits for a child of this process.
        let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
        assert_eq!((waited, status), (pid, 0), "the child failed or died");
    }
    stop.store(true, Relaxed);
    writer.join().unwrap();
    assert!(consistent(held.current()));
    held.quiescent();
    hot.maintain();
    assert_eq!(hot.queued_update_count(), 0, "the parent is none the worse");
}
