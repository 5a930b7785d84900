//! Userspace RCU, QSBR flavour, through its C interface (feature `liburcu`).
//!
//! A read passes through a quiescent state and then dereferences the pointer: the promise of
//! `HotReadHandle::current`. The quiescent state is liburcu's own inline fast path (compare the
//! global counter with the thread's), with the library's function behind it. An update copies the
//! state, exchanges the pointer and hands the old one to `call_rcu`.

use std::cell::Cell;
use std::ffi::c_ulong;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use hotread::HotReadState;

use super::{Locked, Read, Share, Write};

const _: () = assert!(size_of::<c_ulong>() == size_of::<AtomicU64>());

unsafe extern "C" {
    fn urcu_qsbr_register_thread();
    fn urcu_qsbr_unregister_thread();
    fn urcu_qsbr_quiescent_state();
    fn urcu_qsbr_call_rcu(head: *mut RcuHead, free: unsafe extern "C" fn(*mut RcuHead));
    fn urcu_qsbr_barrier();
    fn hotread_bench_urcu_gp_counter() -> *const AtomicU64;
    fn hotread_bench_urcu_thread_counter() -> *const AtomicU64;
}

/// `struct rcu_head`: two words, checked by the shim at compile time.
#[repr(C)]
struct RcuHead([usize; 2]);

#[repr(C)]
struct Node<S> {
    head: RcuHead,
    state: S,
}

impl<S> Node<S> {
    fn new(state: S) -> *mut Self {
        Box::into_raw(Box::new(Self {
            head: RcuHead([0; 2]),
            state,
        }))
    }

    unsafe extern "C" fn free(head: *mut RcuHead) {
        // SAFETY: `head` is the first field of a node that `new` made and that no thread can reach
        // any more, since its grace period is over.
        drop(unsafe { Box::from_raw(head.cast::<Self>()) });
    }
}

thread_local! {
    /// Number of attached readers and writers of this thread; liburcu wants the thread registered once.
    static ATTACHED: Cell<usize> = const { Cell::new(0) };
}

fn attach_thread() {
    if ATTACHED.replace(ATTACHED.get() + 1) == 0 {
        // SAFETY: the thread is not registered, because none of its readers and writers is attached.
        unsafe { urcu_qsbr_register_thread() };
    }
}

fn detach_thread() {
    ATTACHED.set(ATTACHED.get() - 1);
    if ATTACHED.get() == 0 {
        // SAFETY: the thread was registered when the count left zero.
        unsafe { urcu_qsbr_unregister_thread() };
    }
}

struct Shared<S>(AtomicPtr<Node<S>>);

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        // SAFETY: waits for callbacks; registered callers are taken offline by the function itself.
        unsafe { urcu_qsbr_barrier() };
        // SAFETY: the last owner drops; the current node is reachable from nowhere else.
        drop(unsafe { Box::from_raw(*self.0.get_mut()) });
    }
}

/// liburcu's QSBR flavour.
pub struct Qsbr<S>(Arc<Shared<S>>);

/// A reader; registers its thread in `attach`.
pub struct QsbrReader<S> {
    shared: Arc<Shared<S>>,
    /// The global and the thread's counter, valid while attached.
    counters: Option<(NonNull<AtomicU64>, NonNull<AtomicU64>)>,
}

// SAFETY: the counters are set by `attach` on the thread that reads, and cleared by `detach`;
// a reader moves between threads only while it has none.
unsafe impl<S: Send + Sync> Send for QsbrReader<S> {}

/// The single writer.
pub struct QsbrWriter<S>(Arc<Shared<S>>);

impl<S: HotReadState> Share<S> for Qsbr<S> {
    const NAME: &'static str = "liburcu QSBR";
    type Reader = QsbrReader<S>;
    locked_writer!(QsbrWriter<S>);

    fn build(initial: S) -> (Self, Self::Writer) {
        let shared = Arc::new(Shared(AtomicPtr::new(Node::new(initial))));
        (Self(Arc::clone(&shared)), QsbrWriter(shared))
    }

    fn reader(&self) -> Self::Reader {
        QsbrReader {
            shared: Arc::clone(&self.0),
            counters: None,
        }
    }
}

impl<S: HotReadState> Read<S> for QsbrReader<S> {
    fn attach(&mut self) {
        attach_thread();
        // SAFETY: the shim returns the address of a global and of a thread-local variable.
        unsafe {
            let global = hotread_bench_urcu_gp_counter().cast_mut();
            let thread = hotread_bench_urcu_thread_counter().cast_mut();
            self.counters = NonNull::new(global).zip(NonNull::new(thread));
        }
    }

    fn detach(&mut self) {
        self.counters = None;
        detach_thread();
    }

    #[inline]
    fn read<R>(&mut self, f: impl FnOnce(&S) -> R) -> R {
        let Some((global, thread)) = self.counters else {
            unreachable!("a reader attaches before it reads")
        };
        // SAFETY: both counters live while the thread is registered, and C accesses them with
        // single loads and stores, as these atomics do. The function is for registered threads.
        unsafe {
            let global = global.as_ref().load(Ordering::Relaxed);
            if global != thread.as_ref().load(Ordering::Relaxed) {
                urcu_qsbr_quiescent_state();
            }
        }
        let node = self.shared.0.load(Ordering::Acquire);
        // SAFETY: the node was current after this thread's last quiescent state, so its grace
        // period cannot end before the next one, which comes after `f`.
        f(unsafe { &(*node).state })
    }
}

impl<S: HotReadState> QsbrWriter<S> {
    fn publish(&mut self, change: impl FnOnce(&mut S)) {
        // SAFETY: only this writer replaces the node, so the current one is not freed meanwhile.
        let mut state = unsafe { (*self.0.0.load(Ordering::Relaxed)).state.clone() };
        change(&mut state);
        let old = self.0.0.swap(Node::new(state), Ordering::AcqRel);
        // SAFETY: `old` is unreachable for new readers and is freed once, after a grace period;
        // `head` is its first field. This thread is registered (see `attach`) and holds nothing.
        unsafe {
            urcu_qsbr_call_rcu(old.cast(), Node::<S>::free);
            urcu_qsbr_quiescent_state();
        }
    }
}

impl<S: HotReadState> Write<S> for QsbrWriter<S> {
    fn attach(&mut self) {
        attach_thread();
    }

    fn detach(&mut self) {
        detach_thread();
    }

    fn update(&mut self, update: S::Action) -> bool {
        self.publish(|state| state.apply_owned(update));
        true
    }

    fn update_all(&mut self, updates: impl Iterator<Item = S::Action>) -> bool {
        self.publish(|state| updates.for_each(|update| state.apply_owned(update)));
        true
    }
}
