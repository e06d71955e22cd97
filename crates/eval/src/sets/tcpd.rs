//! TCPD (Turing change point data set): F1 with a margin of five points and covering,
//! against several annotators, as van den Burg and Williams (2020) define them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use taproot_diagnosis::series::changes::changes;

use crate::adapter::{Adapter, Judged, Marks, mean_by_group};
use crate::error::EvalError;
use crate::files;
use crate::mode::Mode;
use crate::outcome::{ALL, Measure};

/// The set.
#[derive(Debug)]
pub(super) struct Tcpd;

const LABELS: &str = "annotations.json";
/// How far off a change point may be.
const MARGIN: usize = 5;

/// What annotators marked, and how long the series is.
#[derive(Debug)]
pub(super) struct Marked {
    annotators: Vec<BTreeSet<usize>>,
    points: usize,
}

#[derive(Deserialize)]
struct Series {
    series: Vec<Channel>,
}

#[derive(Deserialize)]
struct Channel {
    raw: Vec<Option<f64>>,
}

fn read(folder: &Path, case: &str) -> Result<Vec<Option<f64>>, EvalError> {
    let path = folder.join(format!("{case}.json"));
    let file: Series = files::json(&path)?;
    let first = file.series.into_iter().next();
    first.map(|c| c.raw).ok_or_else(|| EvalError::content(&path, "it has no series"))
}

/// With the first point, which counts as a change point for everybody.
fn with_first<'a>(points: impl IntoIterator<Item = &'a usize>) -> BTreeSet<usize> {
    points.into_iter().copied().chain([0]).collect()
}

/// How many of `wanted` were found, each found point used once.
fn found(wanted: &BTreeSet<usize>, said: &BTreeSet<usize>) -> usize {
    let mut left = said.clone();
    let mut count = 0;
    for point in wanted {
        let near = left.iter().copied().min_by_key(|s| (s.abs_diff(*point), *s));
        if let Some(near) = near.filter(|s| s.abs_diff(*point) <= MARGIN) {
            left.remove(&near);
            count += 1;
        }
    }
    count
}

/// Precision against all annotators together, recall averaged over them.
fn f1(said: &BTreeSet<usize>, annotators: &[BTreeSet<usize>]) -> f64 {
    let all: BTreeSet<usize> = annotators.iter().flatten().copied().collect();
    let precision = found(&all, said) as f64 / said.len() as f64;
    let recall = |wanted: &BTreeSet<usize>| found(wanted, said) as f64 / wanted.len() as f64;
    let recall = annotators.iter().map(recall).sum::<f64>() / annotators.len().max(1) as f64;
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// The parts that change points cut a series into.
fn parts(points: &BTreeSet<usize>, end: usize) -> Vec<(usize, usize)> {
    let inner = points.iter().copied().filter(|p| *p > 0 && *p < end);
    let bounds: Vec<usize> = std::iter::once(0).chain(inner).chain([end]).collect();
    bounds.windows(2).map(|w| (w[0], w[1])).collect()
}

/// Mean over annotators of the best overlap (Jaccard) of each part, by its length.
fn covering(said: &BTreeSet<usize>, truth: &Marked) -> f64 {
    let ours = parts(said, truth.points);
    let overlap = |a: (usize, usize), b: (usize, usize)| {
        let both = a.1.min(b.1).saturating_sub(a.0.max(b.0));
        both as f64 / (a.1 - a.0 + b.1 - b.0 - both).max(1) as f64
    };
    let one = |annotator: &BTreeSet<usize>| {
        let part = |p: (usize, usize)| {
            let best = ours.iter().map(|o| overlap(p, *o)).fold(0.0, f64::max);
            (p.1 - p.0) as f64 * best
        };
        parts(annotator, truth.points).into_iter().map(part).sum::<f64>()
            / truth.points.max(1) as f64
    };
    truth.annotators.iter().map(one).sum::<f64>() / truth.annotators.len().max(1) as f64
}

fn brief(points: &BTreeSet<usize>) -> String {
    let points: Vec<_> = points.iter().filter(|p| **p > 0).map(ToString::to_string).collect();
    if points.is_empty() { "no change".into() } else { points.join(" ") }
}

impl Adapter for Tcpd {
    type Case = Vec<Option<f64>>;
    type Answer = Vec<usize>;
    type Truth = Marked;

    fn name(&self) -> &'static str {
        "TCPD"
    }

    fn about(&self) -> &'static str {
        "change points of single series, several annotators: F1 (margin 5) and covering"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let names = files::names(folder)?;
        let names = names.iter().filter(|name| *name != LABELS);
        Ok(names.filter_map(|n| n.strip_suffix(".json")).map(ToOwned::to_owned).collect())
    }

    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Self::Case, EvalError> {
        read(folder, case)
    }

    fn answer(&self, values: &Self::Case) -> Vec<usize> {
        changes(values)
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Marked>, EvalError> {
        let all: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
            files::json(&folder.join(LABELS))?;
        let cases = self.cases(folder)?;
        let marked = |case: String| {
            let by = all.get(&case);
            let annotators = by.into_iter().flat_map(BTreeMap::values).map(with_first).collect();
            let points = read(folder, &case)?.len();
            Ok((case, Marked { annotators, points }))
        };
        cases.into_iter().map(marked).collect()
    }

    fn group(&self, _: &Marked) -> String {
        ALL.into()
    }

    fn score(&self, said: &Vec<usize>, truth: &Marked) -> Marks {
        let said = with_first(said);
        Marks::from([("F1", f1(&said, &truth.annotators)), ("cover", covering(&said, truth))])
    }

    fn brief(&self, said: &Vec<usize>) -> String {
        brief(&with_first(said))
    }

    fn brief_truth(&self, truth: &Marked) -> String {
        truth.annotators.iter().map(brief).collect::<Vec<_>>().join(" | ")
    }

    fn summary(&self, cases: &[Judged<Self>]) -> Vec<Measure> {
        mean_by_group(cases.iter().map(|case| (case.case.as_str(), &case.marks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(annotators: &[&[usize]]) -> Marked {
        Marked { annotators: annotators.iter().map(|a| with_first(*a)).collect(), points: 100 }
    }

    #[test]
    fn the_truth_of_one_annotator_is_perfect() {
        let marks = Tcpd.score(&vec![40, 70], &marked(&[&[40, 70]]));
        assert!(marks.values().all(|v| (v - 1.0).abs() < 1e-12), "{marks:?}");
    }

    #[test]
    fn near_is_near_enough_but_only_once() {
        let marks = Tcpd.score(&vec![43, 45], &marked(&[&[40]]));
        assert!((marks["F1"] - 2.0 * (2.0 / 3.0) / (2.0 / 3.0 + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn no_change_covers_what_one_part_covers() {
        let marks = Tcpd.score(&Vec::new(), &marked(&[&[50], &[]]));
        assert!((marks["cover"] - f64::midpoint(0.5, 1.0)).abs() < 1e-12);
        assert!((marks["F1"] - 2.0 * 0.75 / 1.75).abs() < 1e-12);
    }
}
