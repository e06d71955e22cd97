//! Where the level or the slope of a stretch of points changed.
//!
//! The best partition into straight lines, found exactly by dynamic programming with
//! the pruning of PELT (Killick, Fearnhead and Eckley 2012). What a further change
//! must save grows with the logarithm of the number of points and with a scale
//! between the noise from point to point and the spread of the whole: noise alone
//! takes slow swings for changes, spread alone is deaf to small ones.

use crate::stats;

/// Most points: cost grows with their square at worst.
pub const MOST_POINTS: usize = 8192;

/// How much a change must save.
const PRICE: f64 = 4.0;
/// Weight of the noise in the scale; the rest is that of the spread.
const NOISE: f64 = 0.25;
/// Fewest points between two changes.
const SHORTEST: usize = 5;
/// Share of the spread below which noise is not told from none.
const LEAST_NOISE: f64 = 1e-6;

/// The first point of each new stretch, as places in `values`.
///
/// `values` are evenly spaced; `None` and what is not finite are gaps. Of more than
/// [`MOST_POINTS`] values, the last ones are looked at.
pub fn changes(values: &[Option<f64>]) -> Vec<usize> {
    let from = values.len().saturating_sub(MOST_POINTS);
    let points: Vec<(usize, f64)> = (from..values.len())
        .filter_map(|i| values[i].filter(|v| v.is_finite()).map(|v| (i, v)))
        .collect();
    let Some((sums, noise)) = prepare(&points) else { return Vec::new() };
    let price = PRICE * (points.len() as f64).ln() * noise.powf(2.0 * NOISE);
    partition(points.len(), price, |i, j| sums.unexplained(i, j))
        .into_iter()
        .map(|i| points[i].0)
        .collect()
}

/// Sums of the points in units of their standard deviation, and their noise; `None`
/// for too few points and for constants.
fn prepare(points: &[(usize, f64)]) -> Option<(Sums, f64)> {
    if points.len() < 2 * SHORTEST {
        return None;
    }
    // In units of the largest, so that no difference overflows.
    let size = points.iter().map(|p| p.1.abs()).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let values: Vec<f64> = points.iter().map(|p| p.1 / size).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    if spread <= f64::EPSILON {
        return None;
    }
    let steps: Vec<f64> = values.windows(2).map(|w| (w[1] - w[0]) / spread).collect();
    let middle = stats::median(&steps)?;
    let sizes: Vec<f64> = steps.iter().map(|s| (s - middle).abs()).collect();
    let noise = 1.4826 * stats::median(&sizes)? / std::f64::consts::SQRT_2;
    let start = points.first()?.0;
    let scaled =
        points.iter().zip(&values).map(|(p, v)| ((p.0 - start) as f64, (v - mean) / spread));
    Some((Sums::new(scaled), noise.max(LEAST_NOISE)))
}

/// Running sums, so that a line is fitted in constant time.
struct Sums(Vec<[f64; 5]>);

impl Sums {
    fn new(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut all = vec![[0.0; 5]];
        let mut sum = [0.0; 5];
        for (x, y) in points {
            for (total, term) in sum.iter_mut().zip([x, y, x * x, x * y, y * y]) {
                *total += term;
            }
            all.push(sum);
        }
        Self(all)
    }

    /// Squares that the best line through the points `from..to` leaves.
    fn unexplained(&self, from: usize, to: usize) -> f64 {
        let [x, y, xx, xy, yy] = std::array::from_fn(|k| self.0[to][k] - self.0[from][k]);
        let n = (to - from) as f64;
        let (sxx, sxy, syy) = (xx - x * x / n, xy - x * y / n, yy - y * y / n);
        let explained = if sxx > 0.0 { sxy * sxy / sxx } else { 0.0 };
        (syy - explained).max(0.0)
    }
}

/// The partition with the least cost and price, as the first points of its parts
/// without the very first.
fn partition(n: usize, price: f64, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let mut best = vec![f64::INFINITY; n + 1];
    let mut start = vec![0; n + 1];
    best[0] = -price;
    let mut open = Vec::new();
    for end in SHORTEST..=n {
        let newest = end - SHORTEST;
        if best[newest].is_finite() {
            open.push(newest);
        }
        let costs: Vec<f64> = open.iter().map(|from| best[*from] + cost(*from, end)).collect();
        for (from, cost) in open.iter().zip(&costs) {
            if cost + price < best[end] {
                best[end] = cost + price;
                start[end] = *from;
            }
        }
        let mut costs = costs.into_iter();
        open.retain(|_| costs.next().is_some_and(|cost| cost <= best[end]));
    }
    let mut cuts = Vec::new();
    let mut at = start[n];
    while at > 0 {
        cuts.push(at);
        at = start[at];
    }
    cuts.reverse();
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn present(values: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
        values.into_iter().map(Some).collect()
    }

    /// Noise that repeats only after a long time.
    fn jitter(i: usize) -> f64 {
        ((i * 7919 + i * i * 31) % 101) as f64 / 101.0 - 0.5
    }

    #[test]
    fn a_step_and_a_bend_are_found_where_they_are() {
        let step = present((0..100).map(|i| if i < 60 { 0.0 } else { 8.0 } + jitter(i)));
        assert_eq!(changes(&step), [60]);
        let bend = present((0..100).map(|i| (i as f64 - 50.0).max(0.0) + jitter(i)));
        let found = changes(&bend);
        assert!(found.len() == 1 && found[0].abs_diff(50) <= 3, "{found:?}");
    }

    #[test]
    fn a_trend_noise_and_a_constant_do_not_change() {
        assert!(changes(&present((0..200).map(|i| i as f64 + jitter(i)))).is_empty());
        assert!(changes(&present((0..200).map(jitter))).is_empty());
        assert!(changes(&present([3.0; 50])).is_empty());
        assert!(changes(&present([1.0, 9.0, 1.0])).is_empty());
    }

    #[test]
    fn gaps_do_not_move_a_change() {
        let mut values = present((0..100).map(|i| if i < 60 { 0.0 } else { 8.0 } + jitter(i)));
        for i in [3, 20, 21, 22, 59, 80] {
            values[i] = None;
        }
        assert_eq!(changes(&values), [60]);
    }

    proptest! {
        #[test]
        fn any_values_give_rising_places_apart(
            values in prop::collection::vec(prop::option::of(prop::num::f64::ANY), 0..300),
        ) {
            let found = changes(&values);
            prop_assert!(found.windows(2).all(|w| w[1] >= w[0] + SHORTEST));
            prop_assert!(found.iter().all(|i| *i < values.len()));
        }

        #[test]
        fn unit_and_zero_do_not_matter(
            steps in prop::collection::vec(-8..8_i32, 2..6),
            power in -10..10_i32,
            shift in -100..100_i32,
        ) {
            let level = |i: usize| f64::from(steps[i / 30]) * 4.0 + jitter(i);
            let n = steps.len() * 30;
            let plain = present((0..n).map(level));
            let moved = present((0..n).map(|i| (level(i) + f64::from(shift)) * 2_f64.powi(power)));
            prop_assert_eq!(changes(&plain), changes(&moved));
        }
    }
}
