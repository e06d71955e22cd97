use serde::{Deserialize, Serialize};

/// Resolution of every latency histogram: OTLP's exponential scale, base `2^(1/8)`.
///
/// A bucket is 9% wide, so a quantile read at its middle is within 4.5%.
pub const SCALE: u32 = 3;

const PER_OCTAVE: u64 = 1 << SCALE;

/// Upper bounds of the eight buckets of one octave, `2^(j/8)` as 32-bit fixed
/// point fractions of the octave's lower end. The BPF programs hold the same table.
const MANTISSA: [u64; 7] = [
    388_727_752,
    812_638_371,
    1_274_916_179,
    1_779_033_704,
    2_328_777_763,
    2_928_277_910,
    3_582_037_456,
];

/// A mergeable latency histogram with exact counts (OTLP `ExponentialHistogram`, scale 3).
///
/// Values are nanoseconds. Buckets are sparse and sorted by index; merging two
/// histograms adds buckets, so percentiles merge over pods, nodes and time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    buckets: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
}

/// The bucket of a value: octave times eight plus the eighth within it.
fn index(value: u64) -> u16 {
    let value = value.max(1);
    let octave = value.ilog2();
    let fraction = if octave >= 32 {
        (value >> (octave - 32)) & 0xffff_ffff
    } else {
        (value << (32 - octave)) & 0xffff_ffff
    };
    let eighth = MANTISSA.iter().take_while(|&&bound| fraction >= bound).count();
    (u64::from(octave) * PER_OCTAVE + eighth as u64) as u16
}

/// Lower bound of a bucket in nanoseconds.
fn lower(index: u16) -> f64 {
    (f64::from(index) / PER_OCTAVE as f64).exp2()
}

impl Histogram {
    /// A histogram out of `(bucket index, count)` pairs and a sum of nanoseconds.
    ///
    /// Indices are `8 * octave + eighth`, as the BPF side counts them. Pairs may
    /// come in any order; zero counts are dropped.
    pub fn from_buckets(pairs: impl IntoIterator<Item = (u16, u64)>, sum: u64) -> Self {
        let mut out = Self { sum, ..Self::default() };
        for (bucket, n) in pairs {
            out.bump(bucket, n);
        }
        out
    }

    /// Adds one value in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        self.bump(index(nanos), 1);
        self.sum = self.sum.saturating_add(nanos);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, n) in &other.buckets {
            self.bump(bucket, n);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    fn bump(&mut self, bucket: u16, n: u64) {
        if n == 0 {
            return;
        }
        match self.buckets.binary_search_by_key(&bucket, |b| b.0) {
            Ok(at) => self.buckets[at].1 += n,
            Err(at) => self.buckets.insert(at, (bucket, n)),
        }
        self.count += n;
    }

    /// How many values it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of all values, nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Mean in nanoseconds; `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The `q` quantile (0 to 1) in nanoseconds, interpolated inside its bucket.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0.0;
        for &(bucket, n) in &self.buckets {
            let n = n as f64;
            if below + n >= rank {
                let inside = ((rank - below) / n).clamp(0.0, 1.0);
                return Some(lower(bucket) * (inside / PER_OCTAVE as f64).exp2());
            }
            below += n;
        }
        self.buckets.last().map(|b| lower(b.0 + 1))
    }

    /// Number of values of at least `nanos`, to the resolution of a bucket.
    pub fn count_at_least(&self, nanos: u64) -> u64 {
        let from = index(nanos);
        self.buckets.iter().filter(|b| b.0 >= from).map(|b| b.1).sum()
    }

    /// The occupied buckets as `(index, count)`, sorted by index.
    pub fn buckets(&self) -> &[(u16, u64)] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mantissa_table_is_powers_of_two_to_the_eighths() {
        for (j, &bound) in MANTISSA.iter().enumerate() {
            let exact = ((j as f64 + 1.0) / 8.0).exp2() - 1.0;
            let fixed = bound as f64 / 4_294_967_296.0;
            assert!((exact - fixed).abs() < 1e-6, "entry {j}: {fixed} is not {exact}");
        }
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let mut h = Histogram::default();
        for v in 1..=10_000u64 {
            h.record(v * 1000);
        }
        for q in [0.5, 0.9, 0.99] {
            let got = h.quantile(q).unwrap();
            let want = q * 10_000_000.0;
            assert!((got / want - 1.0).abs() < 0.05, "q{q}: {got} against {want}");
        }
        assert_eq!(h.count(), 10_000);
    }

    #[test]
    fn merging_equals_recording_together() {
        let (mut a, mut b, mut both) = <(Histogram, Histogram, Histogram)>::default();
        for v in [1, 5, 70_000, 1 << 40] {
            a.record(v);
            both.record(v);
        }
        for v in [3, 5, 1_000_000] {
            b.record(v);
            both.record(v);
        }
        a.merge(&b);
        assert_eq!(a, both);
    }

    #[test]
    fn empty_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
