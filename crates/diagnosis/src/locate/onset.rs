//! When the trouble began, bounded from all series together.
//!
//! Each series is bounded by [`bound`], as the live golden signals are. Excursions vote
//! for their beginning with the logarithm of their height times their length, and
//! neighbouring votes support each other.

use serde::Serialize;

use super::observed::{Question, Series};
use crate::bound::{self, Direction, Sensitivity};

/// Most that the height of an excursion counts, in spreads: many points decide, not
/// one high point.
const MOST: f64 = 10.0;
/// Votes within this share of the time support each other.
const NEIGHBOURHOOD: f64 = 0.02;
/// How far before the noticed time the beginning may lie, as a share of the time before it.
const BEFORE_NOTICED: f64 = 0.35;

/// The beginning of the trouble, in the time of the series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Onset {
    /// Most likely.
    pub at: f64,
    /// Not before.
    pub earliest: f64,
    /// Not after.
    pub latest: f64,
}

struct Vote {
    at: f64,
    weight: f64,
}

/// Bounds the beginning; `None` when nothing left its normal range.
pub(super) fn bound(series: &[Series], question: &Question) -> Option<Onset> {
    let (start, end) = span(series)?;
    let window = match (question.window, question.noticed) {
        (Some((from, to)), noticed) => from..=noticed.unwrap_or(to).max(from),
        (None, None) => start..=end,
        (None, Some(noticed)) => {
            let noticed = noticed.clamp(start, end);
            let early = noticed - BEFORE_NOTICED * (noticed - start);
            early..=noticed
        }
    };
    let mut votes: Vec<Vote> = series.iter().filter_map(|one| excursion(&one.points)).collect();
    votes.retain(|vote| window.contains(&vote.at));
    let near = NEIGHBOURHOOD * (end - start);
    let support = |at: f64| -> f64 {
        votes.iter().filter(|v| (v.at - at).abs() <= near).map(|v| v.weight).sum()
    };
    let best = votes
        .iter()
        .max_by(|a, b| support(a.at).total_cmp(&support(b.at)).then(b.at.total_cmp(&a.at)))?;
    let mut near: Vec<&Vote> = votes.iter().filter(|v| (v.at - best.at).abs() <= near).collect();
    near.sort_by(|a, b| a.at.total_cmp(&b.at));
    let half = near.iter().map(|v| v.weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let middle = near.iter().find(|v| {
        sum += v.weight;
        sum >= half
    })?;
    Some(Onset { at: middle.at, earliest: near.first()?.at, latest: near.last()?.at })
}

/// First and last time of any series.
fn span(series: &[Series]) -> Option<(f64, f64)> {
    let times = series.iter().flat_map(|s| &s.points).map(|p| p.0).filter(|t| t.is_finite());
    times.fold(None, |span, t| {
        let (start, end) = span.unwrap_or((t, t));
        Some((start.min(t), end.max(t)))
    })
}

fn excursion(points: &[(f64, f64)]) -> Option<Vote> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let mut points: Vec<(f64, f64)> = points.iter().filter(finite).copied().collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let values: Vec<Option<f64>> = points.iter().map(|p| Some(p.1)).collect();
    let how = Sensitivity { relative: 0.0, ..Sensitivity::default() };
    let found = bound::bound(&values, Direction::Both, &how)?;
    let lasted = found.to.unwrap_or(points.len()) - found.from;
    let weight = (found.score.min(MOST) * lasted as f64).ln();
    Some(Vote { at: points.get(found.from)?.0, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: usize, height: f64) -> Series {
        let value = |i: usize| 10.0 + (i * 7 % 5) as f64 * 0.2 + if i >= at { height } else { 0.0 };
        Series { points: (0..100).map(|i| (i as f64, value(i))).collect(), ..Series::default() }
    }

    #[test]
    fn many_series_bound_one_beginning() {
        let series = [step(60, 20.0), step(61, -8.0), step(60, 5.0), step(20, 0.0)];
        let found = bound(&series, &Question::default()).unwrap();
        assert!((59.0..=61.0).contains(&found.at), "{found:?}");
        assert!(found.earliest <= found.at && found.at <= found.latest);
    }

    #[test]
    fn a_late_notice_still_finds_the_beginning() {
        let question = Question { noticed: Some(80.0), ..Question::default() };
        let found = bound(&[step(60, 20.0), step(61, 9.0)], &question).unwrap();
        assert!((59.0..=61.0).contains(&found.at), "{found:?}");
    }

    #[test]
    fn nothing_moves_nothing_begins() {
        assert_eq!(bound(&[], &Question::default()), None);
        assert_eq!(bound(&[step(200, 0.0)], &Question::default()), None);
        let odd = Series { points: vec![(1.0, 1.0), (f64::NAN, 2.0)], ..Series::default() };
        assert_eq!(bound(&[odd], &Question::default()), None);
    }
}
