//! Random keys and operations, drawn before the clock starts.

use fastrand::Rng;

use crate::states::Key;

/// Indices below `span`, all equally likely.
pub fn uniform(rng: &mut Rng, span: usize, count: usize) -> Vec<usize> {
    (0..count).map(|_| rng.usize(..span)).collect()
}

/// Zipf's distribution over `0..span`: index `i` is drawn with weight `1 / (i + 1)^exponent`.
pub struct Zipf {
    /// Cumulated weights, the last one is 1.
    cumulated: Vec<f64>,
}

impl Zipf {
    /// The distribution; takes `span` steps and 8 bytes for each.
    pub fn new(span: usize, exponent: f64) -> Self {
        assert!(span > 0, "a distribution needs something to draw");
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=span)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|weight| *weight /= sum);
        Self { cumulated }
    }

    /// Draws one index.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.f64();
        let index = self.cumulated.partition_point(|weight| *weight <= at);
        index.min(self.cumulated.len() - 1)
    }

    /// Draws many.
    pub fn draws(&self, rng: &mut Rng, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.draw(rng)).collect()
    }
}

/// The keys at these indices.
pub fn pick<K: Key>(keys: &[K], indices: &[usize]) -> Vec<K> {
    indices.iter().map(|index| keys[*index].clone()).collect()
}

/// One operation of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Look a key up.
    Read,
    /// Set a new key.
    Insert,
    /// Remove a key.
    Remove,
    /// Change a key that exists.
    Update,
}

/// Percentages of the four operations, as in conc-map-bench.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Name in conc-map-bench.
    pub name: &'static str,
    /// Percent of each operation.
    pub percent: [(Operation, usize); 4],
    /// Percent of the capacity that is filled before the run.
    pub prefill: usize,
}

/// conc-map-bench's three mixes, with its prefill.
pub const MIXES: [Mix; 3] = [
    Mix::new("ReadHeavy", [98, 1, 1, 0], 75),
    Mix::new("Exchange", [10, 40, 40, 10], 75),
    Mix::new("RapidGrow", [5, 80, 5, 10], 0),
];

impl Mix {
    const fn new(
        name: &'static str,
        [read, insert, remove, update]: [usize; 4],
        prefill: usize,
    ) -> Self {
        let percent = [
            (Operation::Read, read),
            (Operation::Insert, insert),
            (Operation::Remove, remove),
            (Operation::Update, update),
        ];
        Self {
            name,
            percent,
            prefill,
        }
    }

    /// A hundred operations in these proportions, shuffled.
    pub fn hundred(&self, rng: &mut Rng) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (operation, percent) in self.percent {
            operations.resize(operations.len() + percent, operation);
        }
        assert_eq!(operations.len(), 100, "percentages add up to 100");
        rng.shuffle(&mut operations);
        operations
    }

    /// One thread's operations with their keys, by bustle's rules: keys are inserted in
    /// order and removed in that order; reads and updates wander over all of them.
    ///
    /// `len` keys are the thread's own (a power of two); the first `prefilled` are in the map.
    pub fn stream(
        &self,
        rng: &mut Rng,
        len: usize,
        prefilled: usize,
        operations: usize,
    ) -> Vec<(Operation, usize)> {
        assert!(
            len.is_power_of_two() && len > 4,
            "the walk needs a power of two"
        );
        let hundred = self.hundred(rng);
        let (mut inserted, mut removed, mut walk) = (prefilled, 0, 0);
        let mut step = || {
            let at = walk;
            walk = (walk * (len / 2 + 1) + len / 4 - 1) & (len - 1);
            at
        };
        let mut one = |operation| match operation {
            Operation::Read | Operation::Update => (operation, step()),
            Operation::Insert => {
                inserted += 1;
                (operation, (inserted - 1) % len)
            }
            Operation::Remove if removed == inserted => (operation, step()),
            Operation::Remove => {
                removed += 1;
                (operation, (removed - 1) % len)
            }
        };
        let stream = hundred.iter().copied().cycle().take(operations);
        stream.map(&mut one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn uniform_draws_are_even() {
        let draws = uniform(&mut Rng::with_seed(3), 10, 100_000);
        for index in 0..10 {
            let count = draws.iter().filter(|draw| **draw == index).count();
            assert!((9_500..10_500).contains(&count), "{index}: {count}");
        }
    }

    #[test]
    fn zipf_draws_follow_the_power_law() {
        const DRAWS: usize = 400_000;
        let (span, exponent) = (10_000, 1.03);
        let zipf = Zipf::new(span, exponent);
        let mut counts = vec![0usize; span];
        for index in zipf.draws(&mut Rng::with_seed(5), DRAWS) {
            counts[index] += 1;
        }
        let norm: f64 = (1..=span).map(|rank| (rank as f64).powf(-exponent)).sum();
        for rank in [1usize, 2, 3, 10, 50] {
            let expected = (rank as f64).powf(-exponent) / norm * DRAWS as f64;
            let counted = counts[rank - 1] as f64;
            // Five standard deviations of a Poisson count.
            assert!(
                (counted - expected).abs() < 5.0 * expected.sqrt(),
                "rank {rank}: {counted} drawn, {expected:.0} expected"
            );
        }
        let tail: usize = counts[1_000..].iter().sum();
        let expected: f64 = (1_001..=span)
            .map(|rank| (rank as f64).powf(-exponent) / norm)
            .sum();
        assert!((tail as f64 / DRAWS as f64 / expected - 1.0).abs() < 0.02);
    }

    #[test]
    fn zipf_of_one_is_always_the_first_and_exponent_zero_is_even() {
        let mut rng = Rng::with_seed(1);
        assert!(
            Zipf::new(1, 1.03)
                .draws(&mut rng, 100)
                .iter()
                .all(|i| *i == 0)
        );
        let draws = Zipf::new(4, 0.0).draws(&mut rng, 40_000);
        for index in 0..4 {
            let count = draws.iter().filter(|draw| **draw == index).count();
            assert!((9_500..10_500).contains(&count), "{index}: {count}");
        }
    }

    #[test]
    fn mixes_hold_their_percentages() {
        for mix in MIXES {
            let hundred = mix.hundred(&mut Rng::with_seed(2));
            for (operation, percent) in mix.percent {
                let count = hundred.iter().filter(|op| **op == operation).count();
                assert_eq!(count, percent, "{}", mix.name);
            }
        }
    }

    #[test]
    fn a_stream_inserts_new_keys_and_removes_old_ones() {
        let (len, prefilled) = (1 << 12, 3_000);
        let stream = MIXES[1].stream(&mut Rng::with_seed(4), len, prefilled, 2_000);
        let mut present: HashSet<usize> = (0..prefilled).collect();
        for (operation, key) in stream {
            match operation {
                Operation::Insert => assert!(present.insert(key), "inserts are of new keys"),
                Operation::Remove => assert!(present.remove(&key), "removals are of old keys"),
                Operation::Read | Operation::Update => assert!(key < len),
            }
        }
        assert_eq!(present.len(), prefilled, "Exchange keeps the size");
    }

    #[test]
    fn reads_of_a_stream_wander_over_all_keys() {
        let len = 1 << 10;
        let stream = MIXES[0].stream(&mut Rng::with_seed(4), len, 768, 4 * len);
        let read: HashSet<usize> = stream
            .iter()
            .filter(|(operation, _)| *operation == Operation::Read)
            .map(|(_, key)| *key)
            .collect();
        assert!(read.len() > len * 9 / 10, "only {} keys read", read.len());
    }
}
