//! Robust statistics of small samples.

/// The `q` quantile (0 to 1) by linear interpolation; `None` when empty.
/// Values that are not finite are left out.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let rank = q.clamp(0.0, 1.0) * finite.len().checked_sub(1)? as f64;
    let (_, below, rest) = finite.select_nth_unstable_by(rank.floor() as usize, f64::total_cmp);
    let below = *below;
    let above = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(below);
    Some(below + (above - below) * (rank - rank.floor()))
}

/// As [`quantile`], of values that are sorted and finite.
fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Some(below + (above - below) * (rank - rank.floor()))
}

/// The median; `None` when empty.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Spread as a standard deviation would be for a normal distribution: the
/// largest of 1.4826 times the median absolute deviation, the interquartile
/// range over 1.349, and the 5 % to 95 % range over 3.29. The latter two keep
/// series that sit on one value most of the time from having no spread at all.
pub fn spread(values: &[f64]) -> f64 {
    median_and_spread(values).map_or(0.0, |(_, spread)| spread)
}

/// [`median`] and [`spread`] for the price of one sort; `None` when empty.
pub fn median_and_spread(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |q| quantile_of_sorted(&sorted, q);
    let centre = at(0.5)?;
    let range = |low, high| at(high).unwrap_or(0.0) - at(low).unwrap_or(0.0);
    let broad = (range(0.25, 0.75) / 1.349).max(range(0.05, 0.95) / 3.29);
    let deviations: Vec<f64> = sorted.iter().map(|v| (v - centre).abs()).collect();
    let mad = median(&deviations).unwrap_or(0.0) * 1.4826;
    Some((centre, mad.max(broad)))
}

/// Theil-Sen slope (median of the slopes of all pairs) of `(x, y)` points, and
/// the share of pairs that rise minus the share that fall (Kendall's tau).
/// `None` with fewer than four points. At most 200 points are used, evenly picked.
pub fn trend(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    const MOST: usize = 200;
    if points.len() < 4 {
        return None;
    }
    let step = points.len().div_ceil(MOST);
    let picked: Vec<_> = points.iter().step_by(step).collect();
    let mut slopes = Vec::with_capacity(picked.len() * picked.len() / 2);
    let mut sign = 0.0;
    for (i, a) in picked.iter().enumerate() {
        for b in &picked[i + 1..] {
            if b.0 > a.0 {
                let slope = (b.1 - a.1) / (b.0 - a.0);
                sign += if slope == 0.0 { 0.0 } else { slope.signum() };
                slopes.push(slope);
            }
        }
    }
    let pairs = slopes.len().max(1) as f64;
    Some((median(&slopes)?, sign / pairs))
}

/// Combines independent pieces of evidence, each 0 to 1, as "at least one is
/// right" (noisy or): `1 - (1-a)(1-b)...`.
pub fn any_of(strengths: impl IntoIterator<Item = f64>) -> f64 {
    1.0 - strengths.into_iter().fold(1.0, |left, s| left * (1.0 - s.clamp(0.0, 1.0)))
}

/// Where `value` lies between `low` (0) and `high` (1), on a logarithmic scale.
pub fn grade(value: f64, low: f64, high: f64) -> f64 {
    if value <= low {
        return 0.0;
    }
    ((value / low).ln() / (high / low).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn quantiles_interpolate() {
        assert!(near(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5).unwrap(), 2.5));
        assert!(near(quantile(&[1.0, f64::NAN, 3.0], 1.0).unwrap(), 3.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn trend_ignores_an_outlier() {
        let mut points: Vec<_> = (0..30).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        points[7].1 = 1e6;
        let (slope, tau) = trend(&points).unwrap();
        assert!((slope - 2.0).abs() < 0.1, "{slope}");
        assert!(tau > 0.8, "{tau}");
    }

    #[test]
    fn evidence_adds_up_but_never_beyond_one() {
        assert!(near(any_of([0.5, 0.5]), 0.75));
        assert!(near(any_of([]), 0.0));
        assert!(any_of([1.0, 0.3]) <= 1.0);
    }

    #[test]
    fn grades_are_bounded() {
        assert!(near(grade(0.01, 0.1, 1.0), 0.0));
        assert!(near(grade(10.0, 0.1, 1.0), 1.0));
        assert!((grade(0.316, 0.1, 1.0) - 0.5).abs() < 0.01);
    }
}
