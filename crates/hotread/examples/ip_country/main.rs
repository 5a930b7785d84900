//! IP address to country: several threads look up addresses while ranges are replaced under them.
//!
//! Shows a state of your own (ranges in a `BTreeMap`), batches that readers see whole or not at
//! all, a handle for each thread, and a maintainer that completes blocked publications. Prints
//! lookups and updates per second, and how stale the readers were; checks that no lookup found the
//! gap of a half-replaced range.
//!
//! ```sh
//! cargo run --release -p hotread --example ip_country
//! # All of IPv4, on Debian after `apt-get install tor-geoipdb`:
//! cargo run --release -p hotread --example ip_country -- /usr/share/tor/geoip --threads 4
//! ```

mod measure;
mod settings;
mod table;

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use hotread::{HotRead, HotReadHandle, HotReadState};

use measure::{Histogram, QueuedAt, Random, duration, thousands};
use settings::{Settings, USAGE};
use table::{Change, Countries, Country, Range, parse_address};

// ---- the readers ----

/// Results of one reading thread.
#[derive(Default)]
struct Looked {
    /// Lookups that found no range. Every address looked up has one, so the number must be 0.
    gaps: u64,
    /// Times from queueing a batch to this thread's first look at a table that has it.
    staleness: Histogram,
}

/// Looks addresses up in the hot loop of a reader: `current()` before each lookup costs a load and
/// a compare.
fn look_up(
    mut reader: HotReadHandle<Countries>,
    addresses: &[u32],
    queued_at: &QueuedAt,
    lookups: &AtomicU64,
    running: &AtomicBool,
) -> Looked {
    let mut looked = Looked::default();
    let mut batches = 0;
    while running.load(Relaxed) {
        for some in addresses.chunks(1024) {
            for &address in some {
                if reader.current().country_of(address).is_none() {
                    looked.gaps += 1;
                }
                // Only to measure: the batches that are new in this table.
                let table = reader.current();
                if table.batches != batches {
                    for age in queued_at.ages(batches..table.batches) {
                        looked.staleness.record(age);
                    }
                    batches = table.batches;
                }
            }
            lookups.fetch_add(some.len() as u64, Relaxed);
        }
    }
    looked
}

// ---- the writer ----

/// Results of the writer.
#[derive(Default)]
struct Wrote {
    replaced: u64,
    /// Batches that were not visible immediately, because a reader still held the other copy.
    held_up: u64,
}

/// Splits ranges in two and joins them again, `rate` of them each second.
///
/// `own` is the writer's private copy, with which the table is compared at the end.
fn replace_ranges(
    table: &HotRead<Countries>,
    own: &mut Countries,
    rate: u64,
    queued_at: &QueuedAt,
    replaced: &AtomicU64,
    running: &AtomicBool,
) -> Wrote {
    let loaded: Vec<(u32, Range)> = own.ranges.iter().map(|(&k, &v)| (k, v)).collect();
    let mut random = Random(1);
    let mut wrote = Wrote::default();
    let start = Instant::now();
    while running.load(Relaxed) {
        if let Some(due_ns) = (wrote.replaced * 1_000_000_000).checked_div(rate) {
            let due = Duration::from_nanos(due_ns);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let (first, whole) = loaded[random.below(loaded.len())];
        let (_, other) = loaded[random.below(loaded.len())];
        let batch = split_or_join(own, first, whole, other.country);
        batch.iter().for_each(|change| own.apply_update(change));

        queued_at.set(wrote.replaced);
        let result = table.queue_updates(batch);
        wrote.replaced += 1;
        wrote.held_up += u64::from(result.blocked_by_workers);
        replaced.fetch_add(1, Relaxed);
    }
    wrote
}

/// Assigns the second half of a whole range to another country, or joins the halves again.
///
/// The updates are one batch: no reader finds the gap between them.
fn split_or_join(own: &Countries, first: u32, whole: Range, other: Country) -> [Change; 3] {
    let now = own.ranges[&first];
    if now.last < whole.last {
        [
            Change::Remove(now.last + 1),
            Change::Set(first, whole),
            Change::EndOfBatch,
        ]
    } else {
        let middle = first + (whole.last - first) / 2;
        let (mut left, mut right) = (whole, whole);
        left.last = middle;
        right.country = other;
        [
            // A range of a single address has no second half.
            Change::Set(whole.last.min(middle.saturating_add(1)), right),
            Change::Set(first, left),
            Change::EndOfBatch,
        ]
    }
}

// ---- the program ----

fn run(settings: &Settings) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    let start = Instant::now();
    let loaded = Countries::load(&settings.file)?;
    introduce(&mut out, settings, &loaded, start.elapsed())?;

    let mut own = loaded.clone();
    let addresses = random_addresses(&loaded, 1 << 16);
    let table = HotRead::builder(loaded).max_copies(settings.copies).build();
    // Completes a publication as soon as the reader that blocks it has let go. Without it, the next
    // `queue_updates` would do so: good enough for a steady stream of updates.
    let _maintainer = table.spawn_maintainer();

    let running = AtomicBool::new(true);
    let queued_at = QueuedAt::new();
    let (lookups, replaced) = (AtomicU64::new(0), AtomicU64::new(0));
    let (seconds, looked, wrote) = thread::scope(|scope| {
        let readers: Vec<_> = (0..settings.threads)
            .map(|index| {
                let reader = table.create_named_handle(format!("reader {index}"));
                let (addresses, queued_at) = (&addresses, &queued_at);
                let (lookups, running) = (&lookups, &running);
                scope.spawn(move || look_up(reader, addresses, queued_at, lookups, running))
            })
            .collect();
        let (table, own) = (&table, &mut own);
        let writer = scope
            .spawn(|| replace_ranges(table, own, settings.rate, &queued_at, &replaced, &running));

        let start = Instant::now();
        let shown = show_progress(&mut out, settings.seconds, &lookups, &replaced);
        let seconds = start.elapsed().as_secs_f64();
        running.store(false, Relaxed);
        let looked: Result<Vec<Looked>, _> = readers.into_iter().map(|r| r.join()).collect();
        let wrote = writer.join();
        shown.map(|()| (seconds, looked, wrote))
    })?;
    let wrote = wrote.map_err(|_| "check failed: the writer panicked")?;
    let looked = looked.map_err(|_| "check failed: a reader panicked")?;

    // Every reader is gone, so queued updates cannot be blocked.
    table.wait_published(table.latest_seq(), Duration::from_secs(10))?;
    let lookups = lookups.into_inner();
    report(
        &mut out,
        settings,
        seconds,
        lookups,
        &looked,
        &wrote,
        table.generation(),
    )?;
    if looked.iter().any(|looked| looked.gaps > 0) {
        return Err("check failed: a lookup met a half-replaced range".into());
    }
    if table.read(|table| table.ranges != own.ranges) {
        return Err("check failed: the table differs from what the writer queued".into());
    }
    Ok(())
}

fn introduce(
    out: &mut impl Write,
    settings: &Settings,
    loaded: &Countries,
    load_time: Duration,
) -> io::Result<()> {
    let countries: BTreeSet<_> = loaded.ranges.values().map(|range| range.country).collect();
    writeln!(
        out,
        "{} ranges of {} countries, read from {} in {load_time:.0?}",
        thousands(loaded.ranges.len() as u64),
        countries.len(),
        settings.file.rsplit('/').next().unwrap_or(&settings.file),
    )?;
    for address in ["1.1.1.1", "41.0.0.1", "88.1.2.3", "201.7.0.1"] {
        let country = parse_address(address)
            .ok()
            .and_then(|address| loaded.country_of(address));
        let country = country.map_or("-".to_owned(), |country| country.to_string());
        writeln!(out, "  {address:<12}{country}")?;
    }
    let ranges = match settings.rate {
        0 => "as many ranges as possible".to_owned(),
        rate => format!("{} ranges a second", thousands(rate)),
    };
    writeln!(
        out,
        "Looking up addresses on {} for {} s, while {ranges} are replaced:\n",
        settings.readers(),
        settings.seconds,
    )
}

fn report(
    out: &mut impl Write,
    settings: &Settings,
    seconds: f64,
    lookups: u64,
    looked: &[Looked],
    wrote: &Wrote,
    publications: u64,
) -> io::Result<()> {
    let mut staleness = Histogram::default();
    looked
        .iter()
        .for_each(|looked| staleness.merge(&looked.staleness));
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| duration(staleness.quantile(q)));
    let held_up = 100.0 * wrote.held_up as f64 / wrote.replaced.max(1) as f64;
    writeln!(
        out,
        "
lookups    {:>13} /s    {}, {:.0} ns each
updates    {:>13} /s    {} ranges replaced, in {} publications
staleness  {p50:>13} p50   {p99} p99, {max} max, from queueing to a reader's first look
held up    {held_up:>13.1} %     of the updates: a reader was still on the older copy
gaps       {:>13}       lookups that met a half-replaced range",
        thousands((lookups as f64 / seconds) as u64),
        settings.readers(),
        settings.threads as f64 * seconds * 1e9 / lookups as f64,
        thousands((wrote.replaced as f64 / seconds) as u64),
        thousands(wrote.replaced),
        thousands(publications),
        thousands(looked.iter().map(|looked| looked.gaps).sum()),
    )?;
    if held_up > 5.0 {
        writeln!(
            out,
            "
A reader that the system puts off its CPU keeps its copy meanwhile, and so holds up updates once
all {} copies are in use: fewer --threads or more --copies help.",
            settings.copies
        )?;
    }
    Ok(())
}

fn show_progress(
    out: &mut impl Write,
    seconds: u64,
    lookups: &AtomicU64,
    replaced: &AtomicU64,
) -> io::Result<()> {
    let (mut lookups_before, mut replaced_before) = (0, 0);
    for second in 1..=seconds {
        thread::sleep(Duration::from_secs(1));
        let (lookups_now, replaced_now) = (lookups.load(Relaxed), replaced.load(Relaxed));
        writeln!(
            out,
            "{second:>4} s  {:>12} lookups  {:>10} ranges replaced",
            thousands(lookups_now - lookups_before),
            thousands(replaced_now - replaced_before),
        )?;
        (lookups_before, replaced_before) = (lookups_now, replaced_now);
    }
    Ok(())
}

/// Draws addresses that have a range, so that a lookup without a result reveals a defect.
fn random_addresses(countries: &Countries, count: usize) -> Vec<u32> {
    let ranges: Vec<_> = countries.ranges.iter().collect();
    let mut random = Random(2);
    let mut address = || {
        let (first, range) = ranges[random.below(ranges.len())];
        first + random.below((range.last - first) as usize + 1) as u32
    };
    (0..count).map(|_| address()).collect()
}

fn main() -> ExitCode {
    let args = env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let settings = match Settings::parse(args.skip(1)) {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("ip_country: {message}");
            return ExitCode::from(2);
        }
    };
    let outcome = match settings {
        Some(settings) => run(&settings),
        None => writeln!(io::stdout(), "{USAGE}").map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ip_country: {error}");
            ExitCode::FAILURE
        }
    }
}
