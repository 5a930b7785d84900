//! The machine and the date of a run.

use std::fs;
use std::process::Command;

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
    /// Description of the clock.
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
        Self {
            cpu: model.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", std::env::consts::OS, kernel.trim()),
            rustc: env!("HOTREAD_BENCH_RUSTC"),
            date: today().unwrap_or_default(),
            clock: crate::clock::describe(),
        }
    }
}

/// The day in UTC, from the system's `date`.
fn today() -> Option<String> {
    let output = Command::new("date").args(["-u", "+%F"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let machine = Machine::here();
        assert!(machine.cores >= 1);
        assert!(machine.rustc.starts_with("rustc "));
        assert!(!machine.cpu.is_empty());
        assert_eq!(machine.date.len(), "2000-02-29".len());
    }
}
