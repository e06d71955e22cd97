//! The table to explain, and how far each of its leaves moved.

use std::collections::HashMap;

use crate::stats;

/// Most dimensions of a table: all their subsets are scanned.
pub const MAX_DIMENSIONS: usize = 8;

/// Relative noise that every sum is granted.
const LEAST_NOISE: f64 = 1e-3;
/// Events of a typical leaf by which the ratio of a small one is drawn to the whole.
const PRIOR_EVENTS: f64 = 20.0;

/// What the values of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Amounts that add up (bytes, seconds); noise in proportion to the amount.
    Sum,
    /// Numbers of events; as a sum, and the noise of counting.
    Count,
    /// Numbers of events out of numbers of events (errors of requests).
    Share,
    /// Amounts over numbers of events (time of requests: a mean latency).
    Mean,
}

impl Measure {
    /// Whether the value is one amount over another.
    pub fn is_ratio(self) -> bool {
        matches!(self, Self::Share | Self::Mean)
    }
}

/// What was seen and what was expected under one combination of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Leaf {
    /// Seen.
    pub now: f64,
    /// Out of how many events; ignored by a sum and a count.
    pub now_of: f64,
    /// Expected: a forecast, or the past. The past of a ratio may be of any length.
    pub expected: f64,
    /// Out of how many events.
    pub expected_of: f64,
}

impl Leaf {
    fn is_finite(&self) -> bool {
        [self.now, self.now_of, self.expected, self.expected_of].iter().all(|v| v.is_finite())
    }
}

/// What is wrong with a table or a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// Too many dimensions.
    #[error("a table has 1 to {MAX_DIMENSIONS} dimensions, not {0}")]
    Dimensions(usize),
    /// Too few or too many labels.
    #[error("a row has {found} labels where the table has {expected} dimensions")]
    Labels {
        /// Of the row.
        found: usize,
        /// Of the table.
        expected: usize,
    },
    /// NaN or infinite.
    #[error("a row holds a value that is not a finite number")]
    NotFinite,
}

/// Leaves by their labels.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) measure: Measure,
    pub(super) dimensions: Vec<String>,
    /// By dimension: the text of each value.
    pub(super) values: Vec<Vec<String>>,
    /// By dimension: the value of each leaf.
    pub(super) codes: Vec<Vec<u32>>,
    pub(super) leaves: Vec<Leaf>,
    known: Vec<HashMap<String, u32>>,
    /// Variance that one event adds to a mean's sum, where it is known.
    noise: Option<f64>,
}

impl Table {
    /// An empty table.
    pub fn new<S: Into<String>>(
        measure: Measure,
        dimensions: impl IntoIterator<Item = S>,
    ) -> Result<Self, AttributeError> {
        let dimensions: Vec<String> = dimensions.into_iter().map(Into::into).collect();
        let n = dimensions.len();
        if n == 0 || n > MAX_DIMENSIONS {
            return Err(AttributeError::Dimensions(n));
        }
        Ok(Self {
            measure,
            dimensions,
            values: vec![Vec::new(); n],
            codes: vec![Vec::new(); n],
            leaves: Vec::new(),
            known: vec![HashMap::new(); n],
            noise: None,
        })
    }

    /// Tells how much the amounts of single events vary, as a variance in the square of
    /// their unit. Without it the variance of a mean is taken from how the leaves
    /// differ, for which a table of few leaves is too small. Of no use to other measures.
    pub fn noise(&mut self, per_event: f64) {
        self.noise = Some(per_event).filter(|v| v.is_finite() && *v > 0.0);
    }

    /// Adds a leaf: one label for each dimension.
    pub fn push<S: AsRef<str>>(&mut self, labels: &[S], leaf: Leaf) -> Result<(), AttributeError> {
        if labels.len() != self.dimensions.len() {
            let expected = self.dimensions.len();
            return Err(AttributeError::Labels { found: labels.len(), expected });
        }
        if !leaf.is_finite() {
            return Err(AttributeError::NotFinite);
        }
        for (dimension, label) in labels.iter().map(AsRef::as_ref).enumerate() {
            let code = if let Some(code) = self.known[dimension].get(label) {
                *code
            } else {
                let code = self.values[dimension].len() as u32;
                self.values[dimension].push(label.to_owned());
                self.known[dimension].insert(label.to_owned(), code);
                code
            };
            self.codes[dimension].push(code);
        }
        self.leaves.push(leaf);
        Ok(())
    }

    /// Number of leaves.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// How far each leaf moved; the noise is that of the leaves of which `live` is true.
    pub(super) fn shifts(&self, live: &[bool]) -> Vec<Shift> {
        match self.measure {
            Measure::Sum | Measure::Count => self.relative_shifts(live),
            Measure::Share | Measure::Mean => self.ratio_shifts(live),
        }
    }

    /// Shifts in proportion: twice the difference over the sum, which is bounded.
    fn relative_shifts(&self, live: &[bool]) -> Vec<Shift> {
        let moved: Vec<Option<f64>> = self.leaves.iter().map(relative).collect();
        let sizes: Vec<f64> = moved
            .iter()
            .zip(live)
            .filter_map(|(m, live)| m.filter(|_| *live))
            .map(f64::abs)
            .collect();
        let noise = (stats::median(&sizes).unwrap_or(0.0) / QUARTILE).max(LEAST_NOISE);
        let counting = |leaf: &Leaf| match self.measure {
            Measure::Count => 4.0 / (leaf.now.abs() + leaf.expected.abs()),
            _ => 0.0,
        };
        let shift = |(leaf, moved): (&Leaf, &Option<f64>)| {
            moved.map_or(Shift::default(), |moved| {
                let weight = 1.0 / (noise * noise + counting(leaf));
                Shift { moved: moved * weight, weight }
            })
        };
        self.leaves.iter().zip(&moved).map(shift).collect()
    }

    /// Shifts of a ratio: what was added per event, weighed by events.
    fn ratio_shifts(&self, live: &[bool]) -> Vec<Shift> {
        let sum = |of: fn(&Leaf) -> f64| self.leaves.iter().map(of).sum::<f64>();
        let whole = sum(|l| l.expected) / sum(|l| l.expected_of).max(f64::MIN_POSITIVE);
        let usual = |l: &Leaf| {
            l.now_of * (l.expected + PRIOR_EVENTS * whole) / (l.expected_of + PRIOR_EVENTS)
        };
        let added: Vec<f64> = self.leaves.iter().map(|l| l.now - usual(l)).collect();
        let noise = match self.measure {
            Measure::Share => whole,
            _ => self.noise.unwrap_or_else(|| self.noise_per_event(&added, live)),
        };
        let least = sum(|l| l.now.abs()) / sum(|l| l.now_of).max(f64::MIN_POSITIVE) * LEAST_NOISE;
        let noise = noise.max(least * if self.measure == Measure::Mean { least } else { 1.0 });
        let shift = |(leaf, added): (&Leaf, &f64)| {
            if leaf.now_of <= 0.0 || noise <= 0.0 {
                return Shift::default();
            }
            Shift { moved: added / noise, weight: leaf.now_of / noise }
        };
        self.leaves.iter().zip(&added).map(shift).collect()
    }

    /// Variance that one event adds to the sum of a leaf.
    fn noise_per_event(&self, added: &[f64], live: &[bool]) -> f64 {
        let leaves = self.leaves.iter().zip(added).zip(live);
        let squares: Vec<f64> = leaves
            .filter(|((leaf, _), live)| **live && leaf.now_of > 0.0)
            .map(|((leaf, added), _)| added * added / leaf.now_of)
            .collect();
        stats::median(&squares).unwrap_or(0.0) / (QUARTILE * QUARTILE)
    }
}

/// Third quartile of the normal distribution: the median of its absolute value.
const QUARTILE: f64 = 0.6745;

fn relative(leaf: &Leaf) -> Option<f64> {
    let size = leaf.now.abs() + leaf.expected.abs();
    (size > 0.0).then(|| 2.0 * ((leaf.now - leaf.expected) / size))
}

/// Evidence of a leaf or of a slice; slices add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shift {
    /// Shift over variance.
    pub(super) moved: f64,
    /// One over variance.
    pub(super) weight: f64,
}

impl Shift {
    /// The likelihood ratio (logarithm) of one common shift against none.
    pub(super) fn gain(self) -> f64 {
        if self.weight > 0.0 { self.moved * self.moved / (2.0 * self.weight) } else { 0.0 }
    }

    /// The common shift.
    pub(super) fn effect(self) -> f64 {
        if self.weight > 0.0 { self.moved / self.weight } else { 0.0 }
    }
}

impl std::ops::AddAssign for Shift {
    fn add_assign(&mut self, other: Self) {
        self.moved += other.moved;
        self.weight += other.weight;
    }
}

impl<'a> std::iter::Sum<&'a Shift> for Shift {
    fn sum<I: Iterator<Item = &'a Shift>>(shifts: I) -> Self {
        shifts.fold(Self::default(), |mut sum, shift| {
            sum += *shift;
            sum
        })
    }
}
