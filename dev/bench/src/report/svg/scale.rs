//! From numbers to places on an axis, linear from zero or logarithmic.

/// An axis from `low` to `high`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear { high: f64 },
    Log { low: f64, high: f64 },
}

impl Scale {
    /// Logarithmic if the numbers span more than `span`, else linear from zero. A logarithmic axis
    /// starts at the smallest number divided by `room`.
    pub(super) fn for_values(
        values: impl Iterator<Item = f64> + Clone,
        span: f64,
        room: f64,
    ) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let low = positive.clone().fold(f64::INFINITY, f64::min);
        let high = positive.fold(0.0, f64::max);
        if high == 0.0 {
            Scale::Linear { high: 1.0 }
        } else if high / low > span {
            Scale::Log {
                low: low / room,
                high: high * 1.15,
            }
        } else {
            Scale::Linear { high: high * 1.05 }
        }
    }

    /// Where a number lies, from 0 to 1.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { high } => value / high,
            Scale::Log { low, high } => (value.max(low) / low).ln() / (high / low).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Numbers worth a grid line.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear { high } => {
                let rough = high / 4.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|factor| factor * power)
                    .into_iter()
                    .find(|step| *step >= rough)
                    .unwrap_or(power * 10.0);
                let count = (high / step).floor() as usize;
                (0..=count).map(|index| index as f64 * step).collect()
            }
            Scale::Log { low, high } => {
                let from = low.log10().floor() as i32;
                let to = high.log10().ceil() as i32;
                let step = ((to - from + 4) / 6).max(1) as usize;
                let decades = (from..=to).step_by(step).map(|power| 10f64.powi(power));
                let between: &[f64] = match (high / low).log10() {
                    decades if decades < 1.2 => &[1.0, 2.0, 5.0],
                    decades if decades < 2.2 => &[1.0, 3.0],
                    _ => &[1.0],
                };
                decades
                    .flat_map(|decade| between.iter().map(move |factor| factor * decade))
                    .filter(|tick| (low..=high).contains(tick))
                    .collect()
            }
        }
    }

    pub(super) fn is_log(self) -> bool {
        matches!(self, Scale::Log { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_span_is_linear_from_zero() {
        let scale = Scale::for_values([3.0, 10.0].into_iter(), 20.0, 2.0);
        assert!(!scale.is_log());
        assert_eq!(scale.place(0.0), 0.0);
        assert!(scale.place(10.0) > 0.9);
        assert_eq!(scale.ticks(), [0.0, 5.0, 10.0]);
    }

    #[test]
    fn a_wide_span_is_logarithmic() {
        let scale = Scale::for_values([0.5, f64::NAN, 0.0, 800.0].into_iter(), 20.0, 2.0);
        assert!(scale.is_log());
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0]);
        assert!(scale.place(10.0) > scale.place(1.0));
        assert_eq!(scale.place(0.0), 0.0);
    }

    #[test]
    fn an_axis_has_few_ticks_but_never_none() {
        for (low, high) in [
            (1.0, 30.0),
            (3.0, 90.0),
            (0.2, 900.0),
            (1.0, 1e9),
            (5.0, 3e7),
        ] {
            let ticks = Scale::for_values([low, high].into_iter(), 8.0, 1.5).ticks();
            assert!((2..=7).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
        }
    }

    #[test]
    fn nothing_to_show_is_no_panic() {
        let scale = Scale::for_values(std::iter::empty(), 20.0, 2.0);
        assert_eq!(scale.place(5.0), 1.0);
    }
}
