//! HotRead compared with its peers, in one run.
//!
//! `cargo bench -p hotread-bench` measures and writes `docs/benchmarks/`: the target `inprocess` the
//! figures of reads and updates in one process (`figures`), the target `store` those of durable
//! tables (`store`), the target `end_to_end` those of server, client and other systems (`end_to_end`), the
//! target `abuse` those of a server under attack (`end_to_end::abuse`). The question and the method of a figure
//! are at the top of its module; all figures follow these rules:
//!
//! - All peers of a figure run in one process (measurements of a whole process, in
//!   processes of one run), on the same data, interleaved: round after round,
//!   each round starting with another peer, every peer rebuilt in every round so that no peer keeps
//!   a lucky or unlucky place in memory.
//! - A number is the median over the rounds. A ratio is the median of the ratios of each round, so
//!   that a machine that slows down for a while slows both sides.
//! - Peers in one process are generic parameters (`peers::Share`, `peers::Kv`), so measured loops are
//!   compiled for each; no measured path has a virtual call.
//! - Time is the processor's time stamp counter where there is one, calibrated against
//!   [`std::time::Instant`]; see [`clock`].
//! - All maps of a figure share one hasher: clones of one `std` `RandomState`.

#![cfg_attr(
    not(any(feature = "in-process", feature = "store")),
    allow(
        dead_code,
        unused_mut,
        reason = "the hot path alone needs little of the harness"
    )
)]

#[cfg(feature = "in-process")]
pub mod alloc;
pub mod clock;
#[cfg(all(feature = "end-to-end", target_os = "linux"))]
pub mod end_to_end;
#[cfg(feature = "in-process")]
pub mod figures;
pub mod options;
#[cfg(feature = "hot-path")]
pub mod peers;
#[cfg(feature = "store")]
#[cfg_attr(
    not(feature = "end-to-end"),
    expect(dead_code, reason = "the store alone needs one role")
)]
pub mod process;
pub mod report;
pub mod rounds;
#[cfg(feature = "hot-path")]
pub mod states;
pub mod stats;
#[cfg(feature = "store")]
pub mod store;
pub mod target;
#[cfg_attr(
    not(any(feature = "in-process", feature = "end-to-end")),
    expect(dead_code, reason = "the store alone times no calls")
)]
mod timing;
#[cfg(feature = "in-process")]
pub mod workload;

/// Names of the figures of all bench targets.
pub fn known() -> Vec<&'static str> {
    let mut names = Vec::new();
    #[cfg(feature = "in-process")]
    names.extend(figures::ALL.iter().map(|figure| figure.id));
    #[cfg(feature = "store")]
    names.extend(store::ALL.iter().map(|figure| figure.id));
    #[cfg(all(feature = "end-to-end", target_os = "linux"))]
    for all in [&end_to_end::ALL[..], &end_to_end::abuse::ALL] {
        names.extend(all.iter().map(|figure| figure.id));
    }
    names
}

/// The programs of a page of the guide, which need HotRead's peers.
#[cfg(all(doctest, feature = "in-process"))]
#[doc = include_str!("../../../docs/guide/migrating.md")]
struct GuideToMigrating;
