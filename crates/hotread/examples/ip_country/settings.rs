//! The command line.

use std::thread;

const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/data/geoip-sample.csv"
);

pub const USAGE: &str = "\
usage: ip_country [FILE] [--threads N] [--seconds S] [--rate R] [--copies C]

  FILE         lines of start,end,country; addresses as decimal numbers or dotted,
               # starts a comment (default: a sample of 4,104 ranges)
  --threads N  threads that look up addresses, 1 to 256 (default: one for each CPU, at least 2)
  --seconds S  how long, 1 to 3600 (default: 3)
  --rate R     ranges replaced each second; 0: as many as possible (default: 1000)
  --copies C   copies of the table that may exist, 2 to 16 (default: 3)";

pub struct Settings {
    pub file: String,
    pub threads: usize,
    pub seconds: u64,
    pub rate: u64,
    pub copies: usize,
}

impl Settings {
    /// `None`: help was asked for.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let cpus = thread::available_parallelism().map_or(2, |cpus| cpus.get());
        let mut settings = Self {
            file: SAMPLE.to_owned(),
            threads: cpus.clamp(2, 256),
            seconds: 3,
            rate: 1_000,
            copies: 3,
        };
        let mut file = None;
        while let Some(arg) = args.next() {
            let mut number = |low, high| {
                let text = args.next().unwrap_or_default();
                let number = text
                    .parse()
                    .ok()
                    .filter(|number| (low..=high).contains(number));
                number.ok_or_else(|| {
                    format!("{arg} takes a number from {low} to {high}, not {text:?}")
                })
            };
            match arg.as_str() {
                "--threads" => settings.threads = number(1, 256)? as usize,
                "--seconds" => settings.seconds = number(1, 3600)?,
                "--rate" => settings.rate = number(0, 100_000_000)?,
                "--copies" => settings.copies = number(2, 16)? as usize,
                "--help" | "-h" => return Ok(None),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}; try --help"));
                }
                _ if file.is_some() => {
                    return Err(format!("one file only, but {arg} is a second"));
                }
                _ => file = Some(arg),
            }
        }
        settings.file = file.unwrap_or(settings.file);
        Ok(Some(settings))
    }

    pub fn readers(&self) -> String {
        match self.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        }
    }
}
