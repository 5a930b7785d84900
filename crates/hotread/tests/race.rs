//! The stress of `threads.rs` in a form that ThreadSanitizer can judge: no test harness, plain
//! spawn and join. Built with `--cfg hotread_tsan` it runs for longer; see `docs/testing.md`.

#[path = "support/stress.rs"]
mod stress;

use stress::Stress;

const UPDATES: u64 = if cfg!(hotread_tsan) { 4_000 } else { 1_000 };

fn main() {
    for max_copies in [2, 3, 4] {
        for readers in [1, 3] {
            for maintainer in [false, true] {
                Stress {
                    max_copies,
                    updates: UPDATES,
                    readers,
                    maintainer,
                }
                .run();
            }
        }
    }
    println!("race: no race was found");
}
