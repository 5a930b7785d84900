//! Medians, percentiles, and a histogram for latencies.

/// The median; `NaN` for no numbers. Values that are `NaN` do not take part.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The `p`-th percentile (0 to 100), interpolated between neighbours; `NaN` for no numbers.
pub fn percentile(values: &[f64], p: f64) -> f64 {
    percentiles(values, [p])[0]
}

/// Several percentiles of the same numbers.
pub fn percentiles<const N: usize>(values: &[f64], percentiles: [f64; N]) -> [f64; N] {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    percentiles.map(|p| {
        if sorted.is_empty() {
            return f64::NAN;
        }
        let at = (p / 100.0).clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    })
}

/// The mean without the lowest and the highest tenth; `NaN` for no numbers.
///
/// For single calls timed by a clock that advances in coarse steps: their median is a step, their
/// mean is not.
pub fn trimmed_mean(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let tenth = sorted.len() / 10;
    let middle = &sorted[tenth..sorted.len() - tenth];
    if middle.is_empty() {
        return f64::NAN;
    }
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// The median of `over[i] / under[i]`: a ratio that survives a machine that slows down in between.
pub fn median_ratio(over: &[f64], under: &[f64]) -> f64 {
    let ratios: Vec<f64> = over.iter().zip(under).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// Bits of a value that a [`Histogram`] keeps in addition to its magnitude: buckets are 1.6 % wide.
const PRECISION_BITS: u32 = 6;

/// Counts of values in buckets of constant relative width (1.6 %), from 0 to `u64::MAX`.
///
/// Recording takes no allocation and a few instructions; the maximum is exact.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    /// An empty histogram (30 KiB).
    fn default() -> Self {
        let buckets = ((64 - PRECISION_BITS) as usize + 1) << PRECISION_BITS;
        Self {
            counts: vec![0; buckets],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    #[inline]
    fn bucket(value: u64) -> usize {
        if value < 1 << PRECISION_BITS {
            return value as usize;
        }
        let magnitude = 63 - value.leading_zeros();
        let shift = magnitude - PRECISION_BITS;
        let mantissa = (value >> shift) as usize & ((1 << PRECISION_BITS) - 1);
        (((shift + 1) as usize) << PRECISION_BITS) + mantissa
    }

    /// The middle of a bucket, in the unit of the values.
    fn middle(bucket: usize) -> f64 {
        let (row, mantissa) = (
            bucket >> PRECISION_BITS,
            bucket & ((1 << PRECISION_BITS) - 1),
        );
        if row == 0 {
            return mantissa as f64;
        }
        let width = 2f64.powi(row as i32 - 1);
        ((1 << PRECISION_BITS) + mantissa) as f64 * width + (width - 1.0) / 2.0
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.record_weighted(value, 1);
    }

    /// Counts one value `weight` times.
    #[inline]
    pub fn record_weighted(&mut self, value: u64, weight: u64) {
        self.counts[Self::bucket(value)] += weight;
        self.total += weight;
        self.max = self.max.max(value);
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Returns `true` if no value was recorded.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The value below which `p` percent of the recorded values are, within 1.6 %, and the maximum
    /// exactly; `NaN` when empty.
    pub fn percentile(&self, p: f64) -> f64 {
        if self.total == 0 {
            return f64::NAN;
        }
        if p >= 100.0 {
            return self.max as f64;
        }
        let rank = ((p / 100.0 * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::middle(bucket).min(self.max as f64);
            }
        }
        unreachable!("the counts add up to the total")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_value_whatever_the_order() {
        assert_eq!(median(&[5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn missing_values_take_no_part() {
        assert_eq!(median(&[f64::NAN, 2.0, f64::NAN]), 2.0);
        assert!(median(&[f64::NAN]).is_nan());
    }

    #[test]
    fn percentiles_interpolate_between_neighbours() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.0), 0.0);
        assert_eq!(percentile(&values, 99.0), 99.0);
        assert_eq!(percentile(&values, 100.0), 100.0);
        assert_eq!(percentile(&[0.0, 10.0], 25.0), 2.5);
    }

    #[test]
    fn trimmed_means_leave_the_extremes_out() {
        let mut values = vec![4.0, 6.0];
        values.resize(18, 5.0);
        values.extend([-1e9, 1e9]);
        assert_eq!(trimmed_mean(&values), 5.0);
        assert_eq!(trimmed_mean(&[3.0]), 3.0);
        assert!(trimmed_mean(&[]).is_nan());
    }

    #[test]
    fn paired_ratios_ignore_a_slow_phase_that_hits_both_sides() {
        let a = [2.0, 20.0, 2.0];
        let b = [1.0, 10.0, 1.0];
        assert_eq!(median_ratio(&a, &b), 2.0);
    }

    #[test]
    fn histogram_percentiles_are_within_a_bucket_of_the_exact_ones() {
        let mut histogram = Histogram::default();
        let mut values = Vec::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..50_000 {
            let value = 1u64 << rng.u32(0..40);
            let value = value + rng.u64(0..value);
            histogram.record(value);
            values.push(value as f64);
        }
        for p in [1.0, 25.0, 50.0, 90.0, 99.0, 99.9] {
            let (exact, bucketed) = (percentile(&values, p), histogram.percentile(p));
            assert!(
                (bucketed / exact - 1.0).abs() < 0.02,
                "p{p}: exact {exact}, histogram {bucketed}"
            );
        }
        assert_eq!(histogram.percentile(100.0), percentile(&values, 100.0));
    }

    #[test]
    fn histogram_is_exact_for_small_values_and_covers_the_largest() {
        let mut histogram = Histogram::default();
        for value in 0..64 {
            histogram.record(value);
        }
        assert_eq!(histogram.percentile(50.0), 31.0);
        assert_eq!(histogram.percentile(100.0), 63.0);
        histogram.record(u64::MAX);
        assert_eq!(histogram.percentile(100.0), u64::MAX as f64);
    }

    #[test]
    fn weights_count_as_often() {
        let (mut weighted, mut repeated) = (Histogram::default(), Histogram::default());
        weighted.record_weighted(10, 3);
        weighted.record_weighted(20, 1);
        [10, 10, 10, 20]
            .iter()
            .for_each(|value| repeated.record(*value));
        assert_eq!(weighted.counts, repeated.counts);
        assert_eq!(weighted.percentile(75.0), 10.0);
        assert_eq!(weighted.percentile(76.0), 20.0);
    }

    #[test]
    fn merging_equals_recording_in_one() {
        let (mut a, mut b, mut both) = (
            Histogram::default(),
            Histogram::default(),
            Histogram::default(),
        );
        for value in [3, 900, 17, 1 << 33] {
            a.record(value);
            both.record(value);
        }
        for value in [5, 70_000] {
            b.record(value);
            both.record(value);
        }
        a.merge(&b);
        assert_eq!(a.counts, both.counts);
        assert_eq!((a.total, a.max), (both.total, both.max));
    }
}
