//! Writers that find another thread applying: the work of one call is bounded, as is the number of
//! updates queued ahead of a caller, and the right to apply is handed on. Counted rather than
//! timed.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hotread::{HotRead, Outcome, QueueResult};
use support::sum::{Add, Sum, blocked, sum};
use support::{FOREVER, Gate, Probe, Step, finishes, probe, push, run, seen, settle};

/// Updates of other running writers that may be queued ahead of a caller.
const ROOM: usize = 128;
/// Updates of others after which a call hands the right to apply on.
const HELP: usize = 512;
/// Updates that the second copy may receive together with the next publication.
const DEFERRED: usize = 64;
/// Updates that one call takes on at most: it checks its work before it takes all queued updates,
/// twice if no caller waits at the first check.
const TAKEN_ON: usize = HELP + 2 * ROOM;

/// Applications that one call makes at most, for a batch of its own: to both copies.
fn most_applications(own: usize) -> usize {
    2 * (own + TAKEN_ON + DEFERRED)
}

/// Returns a state whose right to apply is held by a thread inside the update 0, until the gate
/// opens.
fn occupied() -> (HotRead<Probe>, Gate, JoinHandle<QueueResult>) {
    let (hot, _care) = probe();
    let gate = Gate::default();
    let step = gate.step(0);
    let holder = spawn(&hot, move |hot| hot.queue_update(step));
    gate.arrived();
    (hot, gate, holder)
}

fn spawn<R: Send + 'static>(
    hot: &HotRead<Probe>,
    code: impl FnOnce(&HotRead<Probe>) -> R + Send + 'static,
) -> JoinHandle<R> {
    let hot = hot.clone();
    thread::spawn(move || code(&hot))
}

/// Fills the queue behind the thread that applies.
fn fill(hot: &HotRead<Probe>) {
    for _ in 0..ROOM {
        assert_eq!(hot.queue_update(push(1)).outcome(), Outcome::Pending);
    }
}

/// Callers that wait for room, each with an update of this number.
fn waiting_callers(
    hot: &HotRead<Probe>,
    callers: usize,
    number: u64,
) -> Vec<JoinHandle<QueueResult>> {
    let latest = hot.latest_seq();
    let callers: Vec<_> = (0..callers)
        .map(|_| spawn(hot, move |hot| hot.queue_update(push(number))))
        .collect();
    // Long enough for them to queue, if they could.
    thread::sleep(Duration::from_millis(30));
    assert!(callers.iter().all(|caller| !caller.is_finished()));
    assert_eq!(hot.latest_seq(), latest, "who waits has no number yet");
    callers
}

fn join<R>(threads: Vec<JoinHandle<R>>) -> Vec<R> {
    let joined = threads.into_iter().map(|thread| thread.join().unwrap());
    joined.collect()
}

// ---- flat out ----

/// Extremes that one writer has observed.
#[derive(Default)]
struct Extremes {
    backlog: usize,
    applied: usize,
}

/// Queues this number of batches, and checks the state after each call.
fn write(hot: &HotRead<Sum>, batches: usize, batch: usize) -> Extremes {
    let mut extremes = Extremes::default();
    for _ in 0..batches {
        let result = match batch {
            1 => hot.queue_update(Add(1)),
            _ => hot.queue_updates((0..batch).map(|_| Add(1))),
        };
        assert!(!result.blocked_by_workers, "there is no reader");
        extremes.applied = extremes.applied.max(result.applied_updates);
        extremes.backlog = extremes.backlog.max(hot.queued_update_count());
    }
    extremes
}

fn flat_out(writers: usize, batches: usize, batch: usize) {
    let (hot, care) = sum(2);
    let start = Arc::new(Barrier::new(writers));
    let threads: Vec<_> = (0..writers)
        .map(|_| {
            let (hot, start) = (hot.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                write(&hot, batches, batch)
            })
        })
        .collect();
    // One queue fills while another is being applied, and each writer has a batch of its own.
    let backlog = 2 * (ROOM + batch) + DEFERRED + writers * batch;
    for extremes in join(threads) {
        assert!(extremes.backlog <= backlog, "{} queued", extremes.backlog);
        let applied = most_applications(3 * batch);
        assert!(extremes.applied <= applied, "{} applied", extremes.applied);
    }
    let total = (writers * batches * batch) as u64;
    assert_eq!((hot.latest_seq(), hot.published_seq()), (total, total));
    hot.read(|state| assert_eq!((state.count, state.sum), (total, total)));
    while hot.maintain().busy {}
    assert_eq!(hot.queued_update_count(), 0);
    assert_eq!(care.applications.load(SeqCst) as u64, 2 * total);
}

#[test]
fn writers_flat_out_keep_to_the_bounds_on_work_and_memory() {
    finishes(|| flat_out(8, 20_000, 1));
}

#[test]
fn writers_of_batches_keep_to_the_bounds_as_well() {
    finishes(|| flat_out(8, 500, 100));
}

#[test]
fn a_light_writer_gets_through_with_four_flat_out() {
    finishes(|| {
        let (hot, _care) = sum(2);
        let stop = Arc::new(AtomicBool::new(false));
        let heavy: Vec<_> = (0..4)
            .map(|_| {
                let (hot, stop) = (hot.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    while !stop.load(SeqCst) {
                        hot.queue_update(Add(1));
                    }
                })
            })
            .collect();
        for _ in 0..300 {
            let result = hot.queue_update(Add(1));
            assert!(result.applied_updates <= most_applications(1));
            assert_eq!(hot.wait_published(result.last_seq, FOREVER), Ok(()));
        }
        stop.store(true, SeqCst);
        join(heavy);
        assert_eq!(hot.published_seq(), hot.latest_seq());
        hot.read(|state| assert_eq!(state.count, hot.latest_seq()));
    });
}

#[test]
fn maintain_returns_though_writers_go_on() {
    finishes(|| {
        let (hot, _care) = sum(2);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (hot, stop) = (hot.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    while !stop.load(SeqCst) {
                        hot.queue_update(Add(1));
                    }
                })
            })
            .collect();
        for _ in 0..300 {
            let result = hot.maintain();
            let pieces = 4 * most_applications(0);
            assert!(result.applied_updates <= pieces, "{result:?}");
        }
        stop.store(true, SeqCst);
        join(writers);
        assert_eq!(hot.published_seq(), hot.latest_seq());
    });
}

/// Two pieces, one for each copy, and the updates that a call takes on without a backlog.
#[test]
fn a_call_takes_one_piece_of_a_released_backlog_among_others() {
    const BACKLOG: usize = 400_000;
    const PIECE: usize = 16_384;
    finishes(|| {
        let (hot, handle, _care) = blocked(BACKLOG);
        let start = Arc::new(Barrier::new(4));
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let (hot, start) = (hot.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    let mut most = 0;
                    while hot.published_seq() < BACKLOG as u64 {
                        most = most.max(hot.queue_update(Add(1)).applied_updates);
                    }
                    most
                })
            })
            .collect();
        drop(handle);
        for most in join(writers) {
            let bound = 2 * PIECE + most_applications(1);
            assert!(most <= bound, "{most} applied, more than {bound}");
        }
    });
}

// ---- room ----

#[test]
fn a_caller_waits_when_128_updates_are_ahead() {
    finishes(|| {
        let (hot, gate, holder) = occupied();
        fill(&hot);
        let callers = waiting_callers(&hot, 3, 2);
        gate.open();
        let results = join(callers);
        assert!(results.iter().all(|result| result.queued_updates == 1));
        assert_eq!(holder.join().unwrap().outcome(), Outcome::Visible);
        let total = ROOM as u64 + 4;
        assert_eq!((hot.latest_seq(), hot.published_seq()), (total, total));
        let seen = seen(&hot);
        assert_eq!(seen[0], 0);
        assert!(seen[1..=ROOM].iter().all(|&number| number == 1));
        assert_eq!(seen[ROOM + 1..], [2; 3], "who waited comes later");
        settle(&hot);
    });
}

#[test]
fn try_queue_updates_refuses_where_queue_update_would_wait() {
    finishes(|| {
        let (hot, gate, holder) = occupied();
        fill(&hot);
        let latest = hot.latest_seq();
        let full = hot.try_queue_updates(vec![push(2), push(3)]).unwrap_err();
        assert_eq!((full.pending, full.max_pending), (ROOM + 1, ROOM));
        assert!(full.updates.iter().map(|step| step.number).eq([2, 3]));
        assert!(full.to_string().contains("try again"), "{full}");
        assert_eq!(hot.latest_seq(), latest, "it uses up no numbers");
        gate.open();
        holder.join().unwrap();
        let result = hot.try_queue_updates(full.updates).unwrap();
        assert_eq!(result.outcome(), Outcome::Visible);
        settle(&hot);
    });
}

#[test]
fn maintain_and_observers_do_not_wait_for_room() {
    finishes(|| {
        let (hot, gate, holder) = occupied();
        fill(&hot);
        let callers = waiting_callers(&hot, 1, 2);
        let result = hot.maintain();
        assert!(result.busy && !result.published && result.applied_updates == 0);
        assert!(hot.queued_update_count() >= ROOM);
        assert_eq!((hot.published_seq(), hot.generation()), (0, 0));
        assert!(hot.create_handle().current().seen.is_empty());
        gate.open();
        holder.join().unwrap();
        join(callers);
        settle(&hot);
    });
}

/// The update that stops queues another one while there is no room.
#[test]
fn an_update_queued_from_inside_an_update_waits_for_no_room() {
    finishes(|| {
        let (hot, _care) = probe();
        let gate = Gate::default();
        let (sender, answers) = mpsc::channel();
        let step = run(0, {
            let (weak, gate) = (hot.downgrade(), gate.clone());
            move |application| {
                if application.nth == 1 {
                    gate.stop();
                    let hot = weak.upgrade().unwrap();
                    sender.send(hot.queue_update(push(2))).unwrap();
                    gate.stop();
                }
            }
        });
        let holder = spawn(&hot, move |hot| hot.queue_update(step));
        gate.arrived();
        fill(&hot);
        gate.open();
        let result = answers.recv().unwrap();
        assert_eq!(result.last_seq as usize, ROOM + 2);
        assert_eq!(result.outcome(), Outcome::Pending);
        gate.arrived();
        gate.open();
        holder.join().unwrap();
        assert_eq!(seen(&hot).last(), Some(&2));
        settle(&hot);
    });
}

#[test]
fn an_update_queued_inside_another_states_update_waits_for_no_room() {
    finishes(|| {
        let (hot, gate, holder) = occupied();
        fill(&hot);
        let (other, _care) = probe();
        let (sender, answers) = mpsc::channel();
        other.queue_update(run(1, {
            let weak = hot.downgrade();
            move |application| {
                if application.nth == 1 {
                    let hot = weak.upgrade().unwrap();
                    sender.send(hot.queue_update(push(2))).unwrap();
                }
            }
        }));
        assert_eq!(answers.recv().unwrap().outcome(), Outcome::Pending);
        assert_eq!(seen(&other), [1]);
        gate.open();
        holder.join().unwrap();
        assert_eq!(seen(&hot).last(), Some(&2));
        settle(&hot);
    });
}

#[test]
fn two_states_that_queue_into_each_other_do_not_deadlock() {
    /// Stops, then queues into the other state.
    fn crossing(to: &HotRead<Probe>, gate: &Gate) -> Step {
        let (weak, gate) = (to.downgrade(), gate.clone());
        run(0, move |application| {
            if application.nth == 1 {
                gate.stop();
                let to = weak.upgrade().unwrap();
                assert_eq!(to.queue_update(push(2)).outcome(), Outcome::Pending);
                gate.stop();
            }
        })
    }
    finishes(|| {
        let states = [probe().0, probe().0];
        let gates = [Gate::default(), Gate::default()];
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let step = crossing(&states[1 - index], &gates[index]);
                spawn(&states[index], move |hot| hot.queue_update(step))
            })
            .collect();
        gates.iter().for_each(Gate::arrived);
        states.iter().for_each(fill);
        // Both threads are inside an update, and neither state has room for the other's. Twice:
        // each has queued when it stops again.
        for _ in 0..2 {
            gates.iter().for_each(Gate::open);
            gates.iter().for_each(Gate::arrived);
            if states.iter().all(|hot| hot.latest_seq() == ROOM as u64 + 2) {
                break;
            }
        }
        gates.iter().for_each(Gate::open);
        join(threads);
        for hot in &states {
            assert_eq!(seen(hot).len(), ROOM + 2);
            assert_eq!(seen(hot).last(), Some(&2));
            settle(hot);
        }
    });
}

// ---- the right is handed on ----

/// Stops the holder when it has taken on more than its share, and returns its gate. Callers that
/// wait for room afterwards come next.
fn overworked() -> (HotRead<Probe>, Gate, JoinHandle<QueueResult>) {
    let (hot, gate, holder) = occupied();
    let second = gate.step(0);
    let batch = (0..HELP as u64).map(|_| push(1)).chain([second]);
    assert_eq!(hot.queue_updates(batch).outcome(), Outcome::Pending);
    gate.open();
    gate.arrived();
    (hot, gate, holder)
}

#[test]
fn a_holder_that_has_done_its_share_hands_the_right_on() {
    finishes(|| {
        let (hot, gate, holder) = overworked();
        fill(&hot);
        let callers = waiting_callers(&hot, 3, 2);
        gate.open();
        let holder = holder.join().unwrap();
        // Its own update and the batch, and perhaps both again for the second copy.
        assert!((HELP + 2..=2 * (HELP + 2)).contains(&holder.applied_updates));
        let results = join(callers);
        let took_over = results.iter().filter(|r| r.applied_updates > ROOM);
        assert_eq!(took_over.count(), 1, "{results:?}");
        let total = (1 + HELP + 1 + ROOM + 3) as u64;
        assert_eq!((hot.latest_seq(), hot.published_seq()), (total, total));
        assert_eq!(seen(&hot)[total as usize - 3..], [2; 3]);
        settle(&hot);
    });
}

#[test]
fn maintain_waits_for_its_turn_behind_an_overworked_holder() {
    finishes(|| {
        let (hot, gate, holder) = overworked();
        // Without a caller in line the holder goes on, and admits no further batch in the meantime.
        let third = gate.step(3);
        assert_eq!(hot.queue_update(third).outcome(), Outcome::Pending);
        gate.open();
        gate.arrived();
        let caller = waiting_callers(&hot, 1, 4);
        let maintainer = spawn(&hot, HotRead::maintain);
        thread::sleep(Duration::from_millis(30));
        assert!(!maintainer.is_finished(), "its turn comes");
        gate.open();
        holder.join().unwrap();
        let result = maintainer.join().unwrap();
        assert!(!result.blocked_by_workers);
        join(caller);
        assert_eq!(seen(&hot)[HELP + 2..], [3, 4]);
        assert_eq!(hot.published_seq(), hot.latest_seq());
        settle(&hot);
    });
}

#[test]
fn try_queue_updates_does_not_wait_for_an_overworked_holder() {
    finishes(|| {
        let (hot, gate, holder) = overworked();
        hot.queue_update(gate.step(3));
        gate.open();
        gate.arrived();
        // No update is ahead, but the holder admits none until it has handed the right on.
        let full = hot.try_queue_updates(vec![push(4)]).unwrap_err();
        assert_eq!(full.updates.len(), 1);
        gate.open();
        holder.join().unwrap();
        let result = hot.try_queue_updates(full.updates).unwrap();
        assert_eq!(result.outcome(), Outcome::Visible);
        settle(&hot);
    });
}

/// Every caller in line is served, whichever of them takes the right over.
#[test]
fn a_long_line_of_callers_is_served_to_the_last() {
    finishes(|| {
        let served = Arc::new(AtomicUsize::new(0));
        let (hot, gate, holder) = overworked();
        fill(&hot);
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let served = Arc::clone(&served);
                spawn(&hot, move |hot| {
                    for _ in 0..20 {
                        hot.queue_update(push(2));
                    }
                    served.fetch_add(1, SeqCst);
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(30));
        assert_eq!(served.load(SeqCst), 0);
        gate.open();
        holder.join().unwrap();
        join(callers);
        assert_eq!(hot.published_seq(), hot.latest_seq());
        let twos = seen(&hot).iter().filter(|&&number| number == 2).count();
        assert_eq!(twos, 50 * 20);
        settle(&hot);
    });
}
