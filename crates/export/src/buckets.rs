//! The buckets of a latency histogram in the forms that others read.

use std::cmp::Ordering;
use taproot_model::{HISTOGRAM_SCALE, Histogram};

const PER_OCTAVE: f64 = (1 << HISTOGRAM_SCALE) as f64;

/// `log2` of a second in nanoseconds, in buckets: how far the buckets move when the
/// unit becomes the second. Not a whole number: bounds in seconds are off by less than
/// half a bucket's width, which is 4.5%.
const NANOS_TO_SECONDS: i32 = 239;

/// Counts per bucket: one up to each bound (seconds, ascending), one beyond the last.
///
/// A bucket that a bound divides is divided in the same place of its logarithmic width,
/// rounded down, so that a count up to a bound never shrinks while values are added.
pub(crate) fn explicit(histogram: &Histogram, bounds: &[f64]) -> Vec<u64> {
    let mut counts: Vec<u64> = Vec::with_capacity(bounds.len() + 1);
    let mut before = 0;
    for bound in bounds {
        let up_to = count_up_to(histogram, bound * 1e9);
        counts.push(up_to - before);
        before = up_to;
    }
    counts.push(histogram.count() - before);
    counts
}

fn count_up_to(histogram: &Histogram, nanos: f64) -> u64 {
    let place = nanos.log2() * PER_OCTAVE;
    let (divided, part) = (place.floor() as i32, place.fract());
    let below = |&(index, n): &(u16, u64)| match i32::from(index).cmp(&divided) {
        Ordering::Less => n,
        Ordering::Equal => (n as f64 * part) as u64,
        Ordering::Greater => 0,
    };
    histogram.buckets().iter().map(below).sum()
}

/// The buckets of an OTLP exponential histogram in seconds, of scale
/// [`HISTOGRAM_SCALE`]: the index of the first, and the count of each from there on.
pub(crate) fn exponential(histogram: &Histogram) -> (i32, Vec<u64>) {
    let buckets = histogram.buckets();
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else {
        return (0, Vec::new());
    };
    let mut counts = vec![0; usize::from(last.0 - first.0) + 1];
    for &(index, n) in buckets {
        counts[usize::from(index - first.0)] = n;
    }
    (i32::from(first.0) - NANOS_TO_SECONDS, counts)
}

/// The sum in seconds.
pub(crate) fn sum(histogram: &Histogram) -> f64 {
    histogram.sum() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|ms| histogram.record(ms * 1_000_000));
        histogram
    }

    #[test]
    fn values_far_from_a_bound_are_counted_exactly() {
        let histogram = milliseconds([1, 1, 7, 30, 30, 30, 20_000]);
        assert_eq!(explicit(&histogram, &[0.005, 0.01, 0.1, 10.0]), [2, 1, 3, 0, 1]);
        assert_eq!(explicit(&Histogram::default(), &[0.005]), [0, 0]);
    }

    #[test]
    fn counts_up_to_a_bound_only_grow_and_are_near_the_truth() {
        let bounds = [0.005, 0.0075, 0.01];
        let mut histogram = Histogram::default();
        let mut before = vec![0; bounds.len()];
        for ms in (1..=2_000_u64).map(|n| n * 7 % 20) {
            histogram.record(ms * 1_000_000 + 500_000);
            let counts = explicit(&histogram, &bounds);
            let up_to: Vec<u64> = (1..=bounds.len()).map(|n| counts[..n].iter().sum()).collect();
            assert!(up_to.iter().zip(&before).all(|(now, before)| now >= before));
            assert_eq!(counts.iter().sum::<u64>(), histogram.count());
            before = up_to;
        }
        // A twentieth of the values lies in each millisecond.
        for (found, truth) in before.iter().zip([500.0, 700.0, 1000.0]) {
            assert!((*found as f64 - truth).abs() <= 110.0, "{found} for {truth}");
        }
    }

    #[test]
    fn exponential_buckets_hold_their_values_in_seconds() {
        for ms in [1, 3, 10, 250, 4_000] {
            let histogram = milliseconds([ms]);
            let (offset, counts) = exponential(&histogram);
            assert_eq!(counts, [1]);
            let lower = (f64::from(offset) / PER_OCTAVE).exp2();
            let upper = (f64::from(offset + 1) / PER_OCTAVE).exp2();
            let seconds = ms as f64 / 1e3;
            assert!(lower / 1.05 <= seconds && seconds <= upper * 1.05, "{ms}: {lower}..{upper}");
        }
        assert_eq!(exponential(&milliseconds([1, 2])).1.iter().sum::<u64>(), 2);
        assert_eq!(exponential(&Histogram::default()), (0, Vec::new()));
    }
}
