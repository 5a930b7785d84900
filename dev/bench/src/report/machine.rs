//! Where and when a run took place.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, the compiler and the date.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Compiler version.
    pub rustc: &'static str,
    /// Day of the run, UTC.
    pub date: String,
    /// How intervals were timed.
    pub clock: String,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown processor", |(_, model)| model.trim());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let days = now.map_or(0, |now| now.as_secs() / 86_400);
        Self {
            cpu: model.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", std::env::consts::OS, kernel.trim()),
            rustc: env!("HOTREAD_BENCH_RUSTC"),
            date: date(days),
            clock: crate::clock::describe(),
        }
    }
}

/// The civil date of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> String {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_453), "2025-12-31");
        assert_eq!(date(20_454), "2026-01-01");
    }

    #[test]
    fn the_machine_is_described() {
        let machine = Machine::here();
        assert!(machine.cores >= 1);
        assert!(machine.rustc.starts_with("rustc "));
        assert!(!machine.cpu.is_empty());
    }
}
