//! The table of parts.

use serde::Serialize;

use super::search::Slice;
use super::table::{Measure, Table};

/// One label of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Label {
    /// Dimension.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One slice and what it accounts for. A leaf counts for one part only.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Its labels; none for everything.
    pub labels: Vec<Label>,
    /// Evidence: logarithm of the likelihood of "moved" over "did not".
    pub score: f64,
    /// Figures.
    #[serde(flatten)]
    pub figures: Rest,
}

/// Figures of a set of leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rest {
    /// Number of leaves.
    pub leaves: usize,
    /// Expected value of these leaves: a sum, or a ratio.
    pub expected: f64,
    /// Value seen.
    pub now: f64,
    /// What they add to the change of the whole, in its unit: the parts and the rest
    /// add up to it.
    pub change: f64,
    /// How much of `change` comes from their share of the events, not from their own
    /// ratio (Kitagawa 1955); zero for sums.
    pub mix: f64,
}

/// An explained change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Attribution {
    /// Expected value of the whole.
    pub expected: f64,
    /// Value seen of the whole.
    pub now: f64,
    /// Slices that moved, strongest first.
    pub parts: Vec<Part>,
    /// All other leaves.
    pub rest: Rest,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    now: f64,
    now_of: f64,
    expected: f64,
    expected_of: f64,
}

impl Totals {
    fn of(table: &Table, leaves: impl Iterator<Item = usize>) -> Self {
        leaves.fold(Self::default(), |t, leaf| {
            let leaf = table.leaves[leaf];
            Self {
                now: t.now + leaf.now,
                now_of: t.now_of + leaf.now_of,
                expected: t.expected + leaf.expected,
                expected_of: t.expected_of + leaf.expected_of,
            }
        })
    }
}

fn ratio(value: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| value / of)
}

/// Figures of a group of leaves of a ratio. A group without events on one side is
/// given the ratio of the other, so that all its change is mix.
fn ratio_figures(group: Totals, whole: Totals, leaves: usize) -> Rest {
    let seen = ratio(group.now, group.now_of);
    let usual = ratio(group.expected, group.expected_of);
    let now = seen.or(usual).unwrap_or(0.0);
    let expected = usual.unwrap_or(now);
    let share = ratio(group.now_of, whole.now_of).unwrap_or(0.0);
    let usual_share = ratio(group.expected_of, whole.expected_of).unwrap_or(0.0);
    let level = f64::midpoint(
        ratio(whole.now, whole.now_of).unwrap_or(0.0),
        ratio(whole.expected, whole.expected_of).unwrap_or(0.0),
    );
    let own = (now - expected) * f64::midpoint(share, usual_share);
    let mix = (share - usual_share) * (f64::midpoint(now, expected) - level);
    Rest { leaves, expected, now, change: own + mix, mix }
}

fn figures(measure: Measure, group: Totals, whole: Totals, leaves: usize) -> Rest {
    if measure.is_ratio() {
        return ratio_figures(group, whole, leaves);
    }
    let (expected, now) = (group.expected, group.now);
    Rest { leaves, expected, now, change: now - expected, mix: 0.0 }
}

/// The parts that slices stand for, and what is left.
pub(super) fn add_up(table: &Table, slices: Vec<Slice>) -> Attribution {
    let whole = Totals::of(table, 0..table.len());
    let all = figures(table.measure, whole, whole, table.len());
    let mut left = vec![true; table.len()];
    let part = |slice: Slice| {
        for leaf in &slice.leaves {
            left[*leaf] = false;
        }
        let group = Totals::of(table, slice.leaves.iter().copied());
        let label = |dimension: usize| Label {
            name: table.dimensions[dimension].clone(),
            value: table.values[dimension][table.codes[dimension][slice.leaves[0]] as usize]
                .clone(),
        };
        let chosen = (0..table.dimensions.len()).filter(|d| slice.mask >> d & 1 == 1);
        Part {
            labels: chosen.map(label).collect(),
            score: slice.gain,
            figures: figures(table.measure, group, whole, slice.leaves.len()),
        }
    };
    let parts = slices.into_iter().map(part).collect();
    let others: Vec<usize> = (0..table.len()).filter(|leaf| left[*leaf]).collect();
    let rest = Totals::of(table, others.iter().copied());
    let rest = figures(table.measure, rest, whole, others.len());
    Attribution { expected: all.expected, now: all.now, parts, rest }
}
