//! This machine's times for the parts of every system: an fsync on the file system
//! of all databases, and a round trip between two processes by a bare WebSocket; both at the rate
//! of the propagation figure, between whose ticks the machine rests, and flat out.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::echo::{Echo, FRAME_BYTES};
use super::log::{Log, PAGE_BYTES};
use super::pace::Pace;
use super::{clock, runtime};
use crate::process::Failure;
use crate::report::Figure;
use crate::rounds::{Rounds, Unit};
use crate::stats::percentiles;
use crate::store::scratch::Plan;

/// Operations a second, where they are paced.
const RATE: u32 = 250;
const APPEND: &str = "bare fsync, appending";
const OVERWRITE: &str = "bare fsync, overwriting";
const TRIP: &str = "bare WebSocket round trip";
const COLUMNS: [&str; 6] = ["paced: p50", "p99", "max", "flat out: p50", "p99", "max"];

pub(super) fn run(plan: &Plan) -> Figure {
    let mut rounds = Rounds::new("The parts", Unit::Ns.of(COLUMNS));
    for (column, rate) in [(0, Some(RATE)), (3, None)] {
        let time = plan.millis(1_000, 200);
        rounds.add(APPEND, column, move || fsyncs(false, rate, time));
        rounds.add(OVERWRITE, column, move || fsyncs(true, rate, time));
        rounds.add(TRIP, column, move || trips(rate, time));
    }
    let all = rounds.run(plan.pick(5, 1));
    Figure::new(
        "The parts",
        format!(
            "`fdatasync` after a write of {PAGE_BYTES} bytes at the end of a file, which then has \
             a new length, as SQLite's log does until its first checkpoint; and in the middle of a \
             file that is long enough, as it does afterwards. A text message of {FRAME_BYTES} \
             bytes to another process and back by tokio-tungstenite. {RATE} times a second, and \
             one after another."
        ),
    )
    .notes(["Paced operations find caches cold and cores asleep, as the updates of a table do."])
    .tables([all])
}

fn fsyncs(overwrite: bool, rate: Option<u32>, time: Duration) -> Vec<f64> {
    /// Pages that are overwritten in turn.
    const PAGES: u64 = 1_024;

    let fsyncs = async {
        let mut log = Log::new()?;
        if overwrite {
            let pages = vec![0; PAGE_BYTES * PAGES as usize];
            log.file.write_all_at(&pages, 0)?;
            log.file.sync_all()?;
        }
        let mut samples = Samples::new(rate, time);
        let mut page = 0;
        while let Some(started) = samples.next().await {
            if overwrite {
                log.write(page % PAGES * PAGE_BYTES as u64)?;
                page += 1;
            } else {
                log.append()?;
            }
            samples.add(started);
        }
        Ok::<_, Failure>(samples.columns())
    };
    runtime().block_on(fsyncs).expect("files can be written")
}

fn trips(rate: Option<u32>, time: Duration) -> Vec<f64> {
    let trips = async {
        let mut echo = Echo::start().await?;
        let mut samples = Samples::new(rate, time);
        while let Some(started) = samples.next().await {
            echo.round_trip().await?;
            samples.add(started);
        }
        Ok::<_, Failure>(samples.columns())
    };
    runtime().block_on(trips).expect("sockets work")
}

/// Timed operations, paced or not.
struct Samples {
    pace: Option<Pace>,
    end: u64,
    taken: Vec<f64>,
}

impl Samples {
    fn new(rate: Option<u32>, time: Duration) -> Self {
        Self {
            pace: rate.map(Pace::new),
            end: clock::now() + time.as_nanos() as u64,
            taken: Vec::new(),
        }
    }

    /// Start of the next operation; `None` when the time is over.
    async fn next(&mut self) -> Option<u64> {
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        let now = clock::now();
        (now < self.end).then_some(now)
    }

    fn add(&mut self, started: u64) {
        self.taken.push((clock::now() - started) as f64);
    }

    fn columns(&self) -> Vec<f64> {
        percentiles(&self.taken, [50.0, 99.0, 100.0]).to_vec()
    }
}
