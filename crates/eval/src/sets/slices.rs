//! Tables whose slices changed: `RiskLoc`'s made-up sums (S and L) and RS, real
//! ratios. F1 over exact slices, summed over cases; RS counts one slice a case.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use taproot_diagnosis::attribute::{Attribution, Leaf, Measure, Settings, Table, attribute};

use crate::adapter::{Adapter, Judged, Marks};
use crate::error::EvalError;
use crate::files;
use crate::mode::Mode;
use crate::outcome::{self, ALL};
use crate::sets::slices_rs;

/// Slices, each as `a=1&b=2` with its labels in order.
pub(super) type Slices = BTreeSet<String>;

/// A slice as text from `name=value` texts in any order.
pub(super) fn slice<S: AsRef<str>>(labels: impl IntoIterator<Item = S>) -> String {
    let labels: BTreeSet<String> =
        labels.into_iter().map(|label| label.as_ref().trim().to_owned()).collect();
    labels.into_iter().collect::<Vec<_>>().join("&")
}

fn said(answer: &Attribution, most: usize) -> Slices {
    let parts = answer.parts.iter().take(most);
    parts.map(|p| slice(p.labels.iter().map(|l| format!("{}={}", l.name, l.value)))).collect()
}

fn marks(said: &Slices, truth: &Slices) -> Marks {
    let right = said.intersection(truth).count();
    Marks::from([
        ("right", right as f64),
        ("wrong", (said.len() - right) as f64),
        ("missed", (truth.len() - right) as f64),
    ])
}

/// F1, precision and recall of all cases together, and how many slices there were.
fn summary<A: Adapter>(cases: &[Judged<A>]) -> Vec<outcome::Measure> {
    let sum = |name: &str| cases.iter().filter_map(|c| c.marks.get(name)).sum::<f64>();
    let (right, wrong, missed) = (sum("right"), sum("wrong"), sum("missed"));
    let over = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let figures = [
        ("F1", over(2.0 * right, 2.0 * right + wrong + missed)),
        ("precision", over(right, right + wrong)),
        ("recall", over(right, right + missed)),
        ("right", right),
        ("wrong", wrong),
        ("missed", missed),
    ];
    let measure = |(name, value): (&str, f64)| outcome::Measure {
        group: ALL.into(),
        name: name.into(),
        value,
        cases: cases.len(),
    };
    figures.into_iter().map(measure).collect()
}

fn brief(slices: &Slices) -> String {
    if slices.is_empty() {
        return "nothing".into();
    }
    slices.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
}

/// Refuses a row as an error of its file.
fn push(table: &mut Table, path: &Path, labels: &[&str], leaf: Leaf) -> Result<(), EvalError> {
    table.push(labels, leaf).map_err(|error| EvalError::content(path, error))
}

/// `RiskLoc`'s generated sets.
#[derive(Debug)]
pub(super) struct RiskLoc {
    /// Name of the set.
    pub(super) name: &'static str,
}

const LABELS: &str = "injection_info.csv";
const PACKED: &str = ".csv.gz";

impl RiskLoc {
    /// The folder of the tables: the set's own or the only one in it.
    fn tables(folder: &Path) -> Result<PathBuf, EvalError> {
        if folder.join(LABELS).is_file() {
            return Ok(folder.to_owned());
        }
        let inner = files::folders(folder)?;
        let holds = |name: &&String| folder.join(name).join(LABELS).is_file();
        let name = inner.iter().find(holds);
        let name = name.ok_or_else(|| EvalError::content(folder, format!("no {LABELS}")))?;
        Ok(folder.join(name))
    }
}

impl Adapter for RiskLoc {
    type Case = Table;
    type Answer = Attribution;
    type Truth = Slices;

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "made-up sums by labels: F1 over the exact slices that changed"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let names = files::names(&Self::tables(folder)?)?;
        Ok(names.iter().filter_map(|n| n.strip_suffix(PACKED)).map(ToOwned::to_owned).collect())
    }

    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Table, EvalError> {
        let path = Self::tables(folder)?.join(format!("{case}{PACKED}"));
        let rows = files::csv_gz(&path)?;
        let (now, expected) = (rows.column("real")?, rows.column("predict")?);
        let labels: Vec<usize> =
            (0..rows.header.len()).filter(|c| *c != now && *c != expected).collect();
        let names = labels.iter().map(|c| rows.header[*c].as_str());
        let mut table =
            Table::new(Measure::Sum, names).map_err(|error| EvalError::content(&path, error))?;
        for row in &rows.rows {
            let values: Vec<&str> = labels.iter().map(|c| &row[*c]).collect();
            let number = |column| {
                files::Table::number(row, column)
                    .ok_or_else(|| EvalError::content(&path, "a value is not a number"))
            };
            let leaf = Leaf { now: number(now)?, expected: number(expected)?, ..Leaf::default() };
            push(&mut table, &path, &values, leaf)?;
        }
        Ok(table)
    }

    fn answer(&self, table: &Table) -> Attribution {
        attribute(table, &Settings::default())
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Slices>, EvalError> {
        let rows = files::csv(&Self::tables(folder)?.join(LABELS))?;
        let (case, set) = (rows.column("timestamp")?, rows.column("set")?);
        let slices = |text: &str| text.split(';').map(|s| slice(s.split('&'))).collect();
        Ok(rows.rows.iter().map(|row| (row[case].to_owned(), slices(&row[set]))).collect())
    }

    fn group(&self, _: &Slices) -> String {
        ALL.into()
    }

    fn score(&self, answer: &Attribution, truth: &Slices) -> Marks {
        marks(&said(answer, usize::MAX), truth)
    }

    fn brief(&self, answer: &Attribution) -> String {
        brief(&said(answer, usize::MAX))
    }

    fn brief_truth(&self, truth: &Slices) -> String {
        brief(truth)
    }

    fn summary(&self, cases: &[Judged<Self>]) -> Vec<outcome::Measure> {
        summary(cases)
    }
}

/// RS: events of a live video service out of views, by minute.
#[derive(Debug)]
pub(super) struct Rs;

const FACTS: &str = "anomaly.yaml";

/// Value and number of views of each minute of a leaf.
type Minutes = BTreeMap<i64, (f64, f64)>;

/// A recording: what was seen each minute.
#[derive(Debug)]
pub(super) struct Recording {
    names: Vec<String>,
    leaves: BTreeMap<Vec<String>, Minutes>,
    /// The minute to explain, where it is given.
    at: Option<i64>,
}

impl Recording {
    /// The table of one minute against all before it.
    fn table(&self, at: i64) -> Option<Table> {
        let mut table = Table::new(Measure::Share, self.names.iter().map(String::as_str)).ok()?;
        for (labels, minutes) in &self.leaves {
            let (now, now_of) = minutes.get(&at).copied().unwrap_or_default();
            let past = minutes.range(..at).map(|(_, v)| *v);
            let (expected, expected_of) = past.fold((0.0, 0.0), |s, v| (s.0 + v.0, s.1 + v.1));
            table.push(labels, Leaf { now, now_of, expected, expected_of }).ok()?;
        }
        Some(table)
    }

    /// Minutes that have enough past to compare with.
    fn candidates(&self) -> Vec<i64> {
        const LEAST_PAST: usize = 5;
        let all: BTreeSet<i64> = self.leaves.values().flat_map(|m| m.keys().copied()).collect();
        self.at.map_or_else(|| all.into_iter().skip(LEAST_PAST).collect(), |at| vec![at])
    }
}

impl Adapter for Rs {
    type Case = Recording;
    type Answer = Attribution;
    type Truth = Slices;

    fn name(&self) -> &'static str {
        "RS"
    }

    fn about(&self) -> &'static str {
        "real ratios by labels: F1 over exact slices, one a case"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let names = files::names(folder)?;
        Ok(names.iter().filter_map(|n| n.strip_suffix(".csv")).map(ToOwned::to_owned).collect())
    }

    fn read(&self, folder: &Path, case: &str, mode: Mode) -> Result<Recording, EvalError> {
        let path = folder.join(format!("{case}.csv"));
        let rows = files::csv(&path)?;
        let (minute, value, of) = (rows.column("min")?, rows.column("value")?, rows.column("cnt")?);
        let labels: Vec<usize> =
            (0..rows.header.len()).filter(|c| ![minute, value, of].contains(c)).collect();
        let mut leaves: BTreeMap<Vec<String>, Minutes> = BTreeMap::new();
        for row in &rows.rows {
            let number = |column| {
                files::Table::number(row, column)
                    .ok_or_else(|| EvalError::content(&path, "a value is not a number"))
            };
            let key = labels.iter().map(|c| row[*c].to_owned()).collect();
            let cell = leaves.entry(key).or_default().entry(number(minute)? as i64).or_default();
            cell.0 += number(value)?;
            cell.1 += number(of)?;
        }
        let times = match mode {
            Mode::Blind => BTreeMap::new(),
            Mode::Given { .. } => slices_rs::times(&folder.join(FACTS))?,
        };
        let at = times.get(case).and_then(|at| mode.hint(*at as f64)).map(|at| at as i64 / 60 * 60);
        Ok(Recording {
            names: labels.iter().map(|c| rows.header[*c].clone()).collect(),
            leaves,
            at,
        })
    }

    fn answer(&self, case: &Recording) -> Attribution {
        let explain = |at| case.table(at).map(|table| attribute(&table, &Settings::default()));
        let score = |a: &Attribution| a.parts.first().map_or(0.0, |part| part.score);
        let all = case.candidates().into_iter().filter_map(explain);
        all.reduce(|best, other| if score(&other) > score(&best) { other } else { best })
            .unwrap_or_default()
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Slices>, EvalError> {
        slices_rs::causes(&folder.join(FACTS))
    }

    fn group(&self, _: &Slices) -> String {
        ALL.into()
    }

    fn score(&self, answer: &Attribution, truth: &Slices) -> Marks {
        marks(&said(answer, 1), truth)
    }

    fn brief(&self, answer: &Attribution) -> String {
        brief(&said(answer, 1))
    }

    fn brief_truth(&self, truth: &Slices) -> String {
        brief(truth)
    }

    fn summary(&self, cases: &[Judged<Self>]) -> Vec<outcome::Measure> {
        summary(cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_labels_does_not_matter() {
        assert_eq!(slice(["b=2", "a=1"]), slice(["a=1", " b=2"]));
    }

    #[test]
    fn only_exact_slices_count() {
        let set = |slices: &[&str]| slices.iter().map(ToString::to_string).collect::<Slices>();
        let marks = marks(&set(&["a=1", "b=2&c=3"]), &set(&["a=1", "b=2"]));
        assert_eq!(marks, Marks::from([("right", 1.0), ("wrong", 1.0), ("missed", 1.0)]));
    }

    #[test]
    fn a_minute_is_compared_with_those_before() {
        let rows = [(0, (1.0, 100.0)), (60, (1.0, 100.0)), (120, (50.0, 100.0))];
        let minutes = Minutes::from(rows);
        let case = Recording {
            names: vec!["cdn".into()],
            leaves: BTreeMap::from([(vec!["3".into()], minutes)]),
            at: Some(120),
        };
        let answer = Rs.answer(&case);
        assert!((answer.now - 0.5).abs() < 1e-12 && (answer.expected - 0.01).abs() < 1e-12);
    }
}
