//! What is shown, one part after the other, and what they share.

mod outage;
mod poison;
mod proof;
mod reads;
mod updates;

pub(super) use outage::outage;
pub(super) use poison::poison;
pub(super) use proof::proof;
pub(super) use reads::reads;
pub(super) use updates::updates;

use super::dataset::Source;
use super::display::Display;
use super::fleet::Fleet;
use super::server::Server;
use super::verdict::Facts;
use super::writers::Writers;
use hotread_client::Client;
use std::time::Duration;

/// All that a part needs.
pub(super) struct Stage<'a> {
    pub(super) display: Display<'a>,
    pub(super) source: Source,
    /// How long each part is measured.
    pub(super) time: Duration,
    pub(super) fleet: Fleet,
    pub(super) server: Server,
    pub(super) client: Client,
    pub(super) writers: Writers,
    /// Where the table stood when everything was imported.
    pub(super) first: u64,
    pub(super) facts: Facts,
}

/// The value below which a share of all lie, by the nearest rank. Sorts them.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    let at = rank.saturating_sub(1).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0.0)
}

/// Milliseconds.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// For questions.
fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), 50.0);
        assert_eq!(quantile(&mut values, 0.99), 99.0);
        assert_eq!(quantile(&mut values, 1.0), 100.0);
        assert_eq!(quantile(&mut [7.0], 0.5), 7.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
