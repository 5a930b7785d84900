//! Both ends of the sync session: a simulated world with all kinds of failures, and the rules that
//! the simulation does not cover.
//!
//! `HOTREAD_SEEDS=2000` runs 2,000 seeds, `HOTREAD_SEED=7` runs that one.

mod client;
mod damage;
mod frames;
mod limits;
mod link;
mod rng;
mod rules;
mod seen;
mod table;
mod trouble;
mod world;

use seen::Seen;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::World;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number of seeds, or a seed"))
}

#[test]
fn replicas_follow_their_table_through_all_that_goes_wrong() {
    let seeds = match number("HOTREAD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HOTREAD_SEEDS").unwrap_or(50),
    };
    let many = seeds.end - seeds.start >= 50;
    let mut seen = Seen::default();
    for seed in seeds {
        let mut world = World::new(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
            eprintln!("that was seed {seed}: HOTREAD_SEED={seed} runs it again");
            resume_unwind(panic);
        }
        seen += world.seen;
    }
    eprintln!("{seen:?}");
    let missing = seen.missing();
    assert!(
        !many || missing.is_empty(),
        "it never happened: {missing:?}"
    );
}
