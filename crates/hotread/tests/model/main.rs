//! Any sequence of calls on one thread behaves like a plain list of batches: see `run.rs` for the
//! calls and the checks, and `world.rs` for the user code that runs in between.

mod run;
mod world;

use proptest::prelude::*;
use run::Run;
use world::{Kind, world};

#[derive(Debug, Clone)]
enum Op {
    CreateHandle,
    CloneHandle(usize),
    Refresh(usize),
    Current(usize),
    Quiescent(usize),
    DropHandle(usize),
    ForgetHandle(usize),
    Queue(Kind),
    Batch(Vec<Kind>),
    TryQueue(Vec<Kind>),
    Replace,
    Maintain,
    Settle {
        quiescent: bool,
    },
    Wait(u64),
    Snapshot,
    CloneOrDropHotRead(usize),
    /// The n-th next clone or drop panics.
    ArmClone(u32),
    ArmStateDrop(u32),
    ArmActionDrop(u32),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        12 => Just(Kind::Push),
        3 => (1_u32..4).prop_map(Kind::PanicAt),
        1 => Just(Kind::PanicOwned),
        2 => Just(Kind::Nest),
        1 => Just(Kind::Inside),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let choice = any::<usize>;
    prop_oneof![
        4 => Just(Op::CreateHandle),
        1 => choice().prop_map(Op::CloneHandle),
        10 => choice().prop_map(Op::Refresh),
        10 => choice().prop_map(Op::Current),
        6 => choice().prop_map(Op::Quiescent),
        3 => choice().prop_map(Op::DropHandle),
        1 => choice().prop_map(Op::ForgetHandle),
        16 => kind().prop_map(Op::Queue),
        6 => prop::collection::vec(kind(), 0..5).prop_map(Op::Batch),
        4 => prop::collection::vec(kind(), 0..5).prop_map(Op::TryQueue),
        3 => Just(Op::Replace),
        8 => Just(Op::Maintain),
        2 => any::<bool>().prop_map(|quiescent| Op::Settle { quiescent }),
        3 => any::<u64>().prop_map(Op::Wait),
        1 => Just(Op::Snapshot),
        2 => choice().prop_map(Op::CloneOrDropHotRead),
        1 => (1_u32..4).prop_map(Op::ArmClone),
        1 => (1_u32..4).prop_map(Op::ArmStateDrop),
        1 => (1_u32..4).prop_map(Op::ArmActionDrop),
    ]
}

fn step(run: &mut Run, op: &Op) {
    match op {
        Op::CreateHandle => run.create_handle(),
        Op::CloneHandle(choice) => run.clone_handle(*choice),
        Op::Refresh(choice) => run.move_forward(*choice, false),
        Op::Current(choice) => run.move_forward(*choice, true),
        Op::Quiescent(choice) => run.go_quiescent(*choice),
        Op::DropHandle(choice) => run.drop_handle(*choice),
        Op::ForgetHandle(choice) => run.forget_handle(*choice),
        Op::Queue(kind) => run.queue(&[*kind], false),
        Op::Batch(kinds) => run.queue(kinds, true),
        Op::TryQueue(kinds) => run.try_queue(kinds),
        Op::Replace => run.replace(),
        Op::Maintain => run.maintain(),
        Op::Settle { quiescent } => run.settle(*quiescent),
        Op::Wait(choice) => run.wait(*choice),
        Op::Snapshot => run.snapshot(),
        Op::CloneOrDropHotRead(choice) => run.clone_hot(*choice),
        Op::ArmClone(n) => world(|w| w.clone_fuse.set(*n)),
        Op::ArmStateDrop(n) => world(|w| w.state_drop_fuse.set(*n)),
        Op::ArmActionDrop(n) => world(|w| w.action_drop_fuse.set(*n)),
    }
    run.check();
}

/// Configuration of the cases; `PROPTEST_CASES` raises their number.
const CASES: u32 = 2_000;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        default.cases
    } else {
        CASES
    };
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_of_calls_behaves_like_a_list_of_batches(
        max_copies in 2_usize..=5,
        max_pending in prop::option::of(0_usize..6),
        ops in prop::collection::vec(op(), 1..80),
        handles_first: bool,
    ) {
        let mut run = Run::new(max_copies, max_pending);
        run.check();
        for op in &ops {
            step(&mut run, op);
        }
        run.end(handles_first);
    }
}

/// A batch was rejected, the copy could not be cloned again, and a replacement superseded the
/// batches to be published before that one. Later batches were nevertheless published in two parts,
/// and readers of the first part blocked the second.
#[test]
fn what_follows_a_superseded_rejection_is_published_at_once() {
    let mut run = Run::new(2, None);
    for op in [
        Op::CreateHandle,
        Op::CreateHandle,
        Op::Settle { quiescent: false },
        Op::Replace,
        Op::Queue(Kind::PanicOwned),
        Op::Queue(Kind::PanicOwned),
        Op::Refresh(0),
        Op::ArmClone(2),
        Op::Refresh(1),
        Op::Batch(vec![Kind::PanicAt(1)]),
        Op::Replace,
        Op::Queue(Kind::Push),
        Op::Refresh(0),
        Op::Queue(Kind::Push),
        Op::Quiescent(1),
        Op::Maintain,
    ] {
        step(&mut run, &op);
    }
    run.end(false);
}
