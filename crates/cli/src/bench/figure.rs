//! Figures: a median over rounds, how far it spread, and what it is compared with.

use serde::Serialize;

/// One figure, as in `bench.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// Median over the rounds, with Taproot.
    pub(super) value: f64,
    /// The same without Taproot; none where there is no such thing.
    pub(super) baseline: Option<f64>,
    /// Median of each round's value through its baseline.
    pub(super) ratio: Option<f64>,
    pub(super) rounds: usize,
    /// Lowest and highest round: of the ratio where there is one, else of the value.
    pub(super) spread: [f64; 2],
    /// How far the baseline alone goes from round to round, as a share of itself.
    pub(super) noise: Option<f64>,
    /// Most that is allowed.
    pub(super) target: Option<f64>,
    /// Whether it is kept: the value for a target (the ratio, where it is of that), the
    /// ratio for noise.
    pub(super) kept: Option<bool>,
    /// BPF programs only: runs per request, nanoseconds a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runs_per_request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ns_per_run: Option<f64>,
}

impl Figure {
    /// A quantity that only exists with Taproot. One value a round, at least one.
    pub(super) fn alone(name: impl Into<String>, unit: &'static str, values: &[f64]) -> Self {
        Self {
            name: name.into(),
            unit,
            value: median(values),
            baseline: None,
            ratio: None,
            rounds: values.len(),
            spread: range(values),
            noise: None,
            target: None,
            kept: None,
            runs_per_request: None,
            ns_per_run: None,
        }
    }

    /// A quantity with and without Taproot, pairs of one round each.
    pub(super) fn compared(
        name: impl Into<String>,
        unit: &'static str,
        pairs: &[(f64, f64)],
    ) -> Self {
        let (with, without): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let ratios: Vec<f64> = pairs.iter().map(|(with, without)| with / without).collect();
        let baseline = median(&without);
        let [low, high] = range(&without);
        Self {
            baseline: Some(baseline),
            ratio: Some(median(&ratios)),
            spread: range(&ratios),
            noise: Some((high - low) / baseline),
            ..Self::alone(name, unit, &with)
        }
    }

    /// Judges the value.
    pub(super) fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self.kept = Some(self.value <= target);
        self
    }

    /// Judges the ratio.
    pub(super) fn ratio_at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self.kept = self.ratio.map(|ratio| ratio <= target);
        self
    }

    /// Judges the ratio: may the difference be noise?
    pub(super) fn within_noise(mut self) -> Self {
        self.kept = self.ratio.zip(self.noise).map(|(ratio, noise)| (ratio - 1.0).abs() <= noise);
        self
    }
}

/// The middle of the values; the mean of the middle two where they are even in number.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn range(values: &[f64]) -> [f64; 2] {
    let low = values.iter().copied().min_by(f64::total_cmp);
    let high = values.iter().copied().max_by(f64::total_cmp);
    [low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN)]
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median(&[3.0, 900.0, 1.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(range(&[3.0, 900.0, 1.0]), [1.0, 900.0]);
    }

    #[test]
    fn ratios_are_of_pairs_not_of_medians() {
        // The machine got twice as slow after the first round, Taproot cost nothing.
        let figure = Figure::compared("x", "us", &[(10.0, 10.0), (20.0, 20.0), (20.0, 20.0)]);
        assert_eq!((figure.ratio, figure.baseline), (Some(1.0), Some(20.0)));
        assert_eq!(figure.noise, Some(0.5));
        assert_eq!(figure.within_noise().kept, Some(true));
    }

    #[test]
    fn a_difference_beyond_the_noise_is_told() {
        let figure = Figure::compared("x", "us", &[(13.0, 10.0), (13.0, 10.1)]).within_noise();
        assert_eq!(figure.kept, Some(false));
        let figure = Figure::compared("x", "us", &[(13.0, 10.0)]);
        assert_eq!(figure.clone().ratio_at_most(1.2).kept, Some(false));
        assert_eq!(figure.ratio_at_most(1.3).kept, Some(true));
        assert_eq!(Figure::alone("x", "us", &[5.5]).at_most(5.0).kept, Some(false));
        assert_eq!(Figure::alone("x", "us", &[5.0]).at_most(5.0).kept, Some(true));
    }
}
