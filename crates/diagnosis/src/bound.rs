//! Anomaly bounding: when a series left its normal range, how far, in which
//! direction, and when it came back. No injected time, no training, no unit.
//!
//! A series is cut into level segments by recursive splitting at the largest
//! standardised rank sum (Mann and Whitney 1947, in the manner of the
//! change-point tests of Pettitt 1979; ranks resist spikes). One segment is taken
//! as normal, and a run of segments that differ from it by more than its spread
//! and by more than a share of its level is an excursion. The spread has a floor
//! in proportion to the level, so that a constant or integer series is not scored
//! in its raw units.

use crate::stats;
use serde::Serialize;
use std::ops::Range;

/// How different is different. Ratios and multiples only: no units.
#[derive(Clone, Copy, Debug)]
pub struct Sensitivity {
    /// Standardised rank sum needed to split (a z value; chance grows with length).
    pub split: f64,
    /// Shift over spread needed.
    pub spreads: f64,
    /// Shift over the normal level needed.
    pub relative: f64,
    /// Shift needed in the unit of the series: what nobody would care about.
    pub absolute: f64,
    /// Points a segment must have.
    pub shortest: usize,
}

impl Default for Sensitivity {
    fn default() -> Self {
        Self { split: 3.4, spreads: 3.0, relative: 0.5, absolute: 0.0, shortest: 3 }
    }
}

/// Which way is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher than normal.
    Up,
    /// Lower than normal.
    Down,
    /// Either.
    Both,
}

/// An excursion from the normal range. Indices are those of the series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Excursion {
    /// First point outside.
    pub from: usize,
    /// First point back inside, if it came back.
    pub to: Option<usize>,
    /// Median of what is normal.
    pub normal: f64,
    /// Spread of what is normal.
    pub spread: f64,
    /// Median of the excursion.
    pub level: f64,
    /// Which way it went.
    pub direction: Direction,
    /// Shift over spread.
    pub score: f64,
}

/// A stretch of one level.
#[derive(Clone, Debug, PartialEq)]
struct Segment {
    range: Range<usize>,
    level: f64,
}

/// Ranks with ties shared, 1 to n, of the values of a range; `order` are its places by
/// their values.
fn ranks(values: &[f64], range: &Range<usize>, order: &[usize]) -> Vec<f64> {
    let mut out = vec![0.0; order.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..].iter().take_while(|&&i| values[i] <= values[order[start]]);
        let end = start + tied.count().max(1);
        let shared = (start + 1 + end) as f64 / 2.0;
        order[start..end].iter().for_each(|&i| out[i - range.start] = shared);
        start = end;
    }
    out
}

/// The best place to split and its standardised rank sum.
///
/// Ties shrink the variance of a rank sum; the sample variance of the ranks
/// accounts for them, so that a counter that is nearly always zero is not deaf.
fn best_split(ranks: &[f64], shortest: usize) -> Option<(usize, f64)> {
    let n = ranks.len();
    if n < 2 * shortest {
        return None;
    }
    let mean = f64::midpoint(n as f64, 1.0);
    let variance = ranks.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
    if variance <= 0.0 {
        return None;
    }
    let mut sum: f64 = ranks[..shortest].iter().map(|r| r - mean).sum();
    let mut best = (0, 0.0_f64);
    for (k, rank) in ranks.iter().enumerate().take(n - shortest + 1).skip(shortest) {
        let sides = k as f64 * (n - k) as f64 / n as f64;
        let z = sum.abs() / (variance * sides).sqrt();
        if z > best.1 {
            best = (k, z);
        }
        sum += rank - mean;
    }
    Some(best)
}

/// Most segments a series is cut into.
const MOST_SEGMENTS: usize = 12;

/// `order` are the places of the range by their values: sorted once for all ranges.
fn split(
    values: &[f64],
    range: Range<usize>,
    order: &[usize],
    how: &Sensitivity,
    out: &mut Vec<usize>,
) {
    if out.len() >= MOST_SEGMENTS {
        return;
    }
    if let Some((at, z)) = best_split(&ranks(values, &range, order), how.shortest)
        && z >= how.split
    {
        let at = range.start + at;
        let (before, after): (Vec<usize>, Vec<usize>) = order.iter().partition(|&&i| i < at);
        split(values, range.start..at, &before, how, out);
        out.push(at);
        split(values, at..range.end, &after, how, out);
    }
}

fn segments(values: &[f64], how: &Sensitivity) -> Vec<Segment> {
    let mut cuts = Vec::new();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    split(values, 0..values.len(), &order, how, &mut cuts);
    cuts.push(values.len());
    let mut start = 0;
    let segment = |end: usize| {
        let range = start..end;
        start = end;
        let level = stats::median(&values[range.clone()]).unwrap_or(0.0);
        Segment { range, level }
    };
    cuts.into_iter().map(segment).collect()
}

/// The segment taken as normal: the best one where the bad direction is known,
/// else the first. A short one is trusted only if nothing longer exists.
fn normal<'a>(segments: &'a [Segment], n: usize, bad: Direction) -> Option<&'a Segment> {
    let enough = (n / 20).max(3);
    let long = |s: &&Segment| s.range.len() >= enough;
    let pick = |from: &mut dyn Iterator<Item = &'a Segment>| match bad {
        Direction::Up => from.min_by(|a, b| a.level.total_cmp(&b.level)),
        Direction::Down => from.max_by(|a, b| a.level.total_cmp(&b.level)),
        Direction::Both => from.next(),
    };
    pick(&mut segments.iter().filter(long)).or_else(|| pick(&mut segments.iter()))
}

fn direction(shift: f64) -> Direction {
    if shift > 0.0 { Direction::Up } else { Direction::Down }
}

/// Moves the ends of an excursion to where the values cross the middle between
/// normal and not: ranks alone may take a high normal value for its beginning.
fn trim(values: &[f64], range: Range<usize>, normal: f64) -> Range<usize> {
    let level = stats::median(&values[range.clone()]).unwrap_or(normal);
    let inside = |v: f64| (v - normal).abs() > (v - level).abs();
    let most = range.len() / 4;
    let early = values[range.clone()].iter().take(most).take_while(|v| !inside(**v)).count();
    let late = values[range.clone()].iter().rev().take(most).take_while(|v| !inside(**v)).count();
    let start = range.start + early;
    let missed = values[..start].iter().rev().take_while(|v| inside(**v)).count();
    start - if early == 0 { missed } else { 0 }..range.end - late
}

/// The latest excursion of a series in the bad direction, or `None`.
///
/// `values` are evenly spaced; `None` is a gap and is skipped. Fewer than six
/// values bound nothing.
pub fn bound(values: &[Option<f64>], bad: Direction, how: &Sensitivity) -> Option<Excursion> {
    let present: Vec<(usize, f64)> = values
        .iter()
        .enumerate()
        .filter_map(|(i, v)| v.filter(|v| v.is_finite()).map(|v| (i, v)))
        .collect();
    let dense: Vec<f64> = present.iter().map(|p| p.1).collect();
    let segments = segments(&dense, how);
    let base = normal(&segments, dense.len(), bad)?.clone();
    let spread = stats::spread(&dense[base.range.clone()]).max(base.level.abs() * 0.05);
    let outside = |s: &Segment| {
        let shift = s.level - base.level;
        (bad == Direction::Both || direction(shift) == bad)
            && shift.abs() >= how.spreads * spread
            && shift.abs() >= how.relative * base.level.abs()
            && shift.abs() > how.absolute
    };
    let last = segments.iter().rposition(&outside)?;
    let first = segments[..=last].iter().rposition(|s| !outside(s)).map_or(0, |i| i + 1);
    let range = segments[first].range.start..segments[last].range.end;
    let range = trim(&dense, range, base.level);
    let level = stats::median(&dense[range.clone()])?;
    let shift = level - base.level;
    let tiny = f64::EPSILON.max(level.abs() * 0.01);
    Some(Excursion {
        from: present[range.start].0,
        to: present.get(range.end).map(|p| p.0),
        normal: base.level,
        spread,
        level,
        direction: direction(shift),
        score: shift.abs() / spread.max(tiny),
    })
}

#[cfg(test)]
mod tests;
