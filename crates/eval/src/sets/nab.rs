//! NAB (Numenta anomaly benchmark): the standard profile and the one that punishes
//! false alarms, in the benchmark's own scoring ([`super::nab_score`]).

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDateTime;
use serde::Serialize;
use taproot_diagnosis::series::detector::Detector;

use crate::adapter::{Adapter, Judged, Marks};
use crate::error::EvalError;
use crate::files;
use crate::mode::Mode;
use crate::outcome::{ALL, Measure};
use crate::sets::nab_score::{self, PROFILES, Scored};

/// The set.
#[derive(Debug)]
pub(super) struct Nab;

const DATA: &str = "data";
const LABELS: &str = "combined_windows.json";

/// Scores of the points that are surprising at all.
#[derive(Debug, Serialize)]
pub(super) struct Surprises {
    points: usize,
    /// Place of the point and its score.
    scores: Vec<(usize, f64)>,
}

/// First and last place of each window.
type Windows = Vec<(usize, usize)>;

fn time(text: &str) -> Option<i64> {
    let text = text.split('.').next()?;
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(time.and_utc().timestamp())
}

fn points(folder: &Path, case: &str) -> Result<Vec<(i64, f64)>, EvalError> {
    let path = folder.join(DATA).join(case);
    let table = files::csv(&path)?;
    let (at, value) = (table.column("timestamp")?, table.column("value")?);
    let point = |row| {
        let value = files::Table::number(row, value).unwrap_or(f64::NAN);
        Some((time(row.get(at)?)?, value))
    };
    let bad = || EvalError::content(&path, "a row has no time of the form Y-M-D H:M:S");
    table.rows.iter().map(|row| point(row).ok_or_else(bad)).collect()
}

fn windows(times: &[i64], labels: &[(String, String)]) -> Option<Windows> {
    let place = |(from, to): &(String, String)| {
        let (from, to) = (time(from)?, time(to)?);
        let first = times.iter().position(|t| *t >= from)?;
        let last = times.iter().rposition(|t| *t <= to)?;
        (first <= last).then_some((first, last))
    };
    labels.iter().map(place).collect()
}

impl Adapter for Nab {
    type Case = Vec<(i64, f64)>;
    type Answer = Surprises;
    type Truth = Windows;

    fn name(&self) -> &'static str {
        "NAB"
    }

    fn about(&self) -> &'static str {
        "anomalies in streams: NAB score, standard and low false positives"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let data = folder.join(DATA);
        let mut cases = Vec::new();
        for kind in files::folders(&data)? {
            let names = files::names(&data.join(&kind))?;
            let tables = names.iter().filter(|name| name.strip_suffix(".csv").is_some());
            cases.extend(tables.map(|name| format!("{kind}/{name}")));
        }
        Ok(cases)
    }

    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Self::Case, EvalError> {
        points(folder, case)
    }

    fn answer(&self, points: &Self::Case) -> Surprises {
        let mut detector = Detector::default();
        let score = |(at, point): (usize, &(i64, f64))| (at, detector.push(point.0, point.1).score);
        let scores = points.iter().enumerate().map(score).filter(|(_, s)| *s > 0.0).collect();
        Surprises { points: points.len(), scores }
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Windows>, EvalError> {
        let path = folder.join(LABELS);
        let all: BTreeMap<String, Vec<(String, String)>> = files::json(&path)?;
        let truth = |case: String| {
            let times: Vec<i64> = points(folder, &case)?.iter().map(|p| p.0).collect();
            let labels = all.get(&case).map(Vec::as_slice).unwrap_or_default();
            let windows = windows(&times, labels);
            let bad = || EvalError::content(&path, format!("a window of {case} has no point"));
            Ok((case.clone(), windows.ok_or_else(bad)?))
        };
        self.cases(folder)?.into_iter().map(truth).collect()
    }

    fn group(&self, _: &Windows) -> String {
        ALL.into()
    }

    fn score(&self, _: &Surprises, windows: &Windows) -> Marks {
        Marks::from([("windows", windows.len() as f64)])
    }

    fn brief(&self, said: &Surprises) -> String {
        let highest = said.scores.iter().map(|s| s.1).fold(0.0, f64::max);
        format!("{} surprises of up to {highest:.2}", said.scores.len())
    }

    fn brief_truth(&self, windows: &Windows) -> String {
        format!("{} windows", windows.len())
    }

    fn summary(&self, cases: &[Judged<Self>]) -> Vec<Measure> {
        let scored = |case: &'_ Judged<Self>| Scored {
            points: case.answer.points,
            scores: case.answer.scores.clone(),
            windows: case.truth.clone(),
        };
        let corpus: Vec<Scored> = cases.iter().map(scored).collect();
        let mut table = Vec::new();
        for profile in &PROFILES {
            let best = nab_score::best(&corpus, profile);
            let measure = |group: &str, name: &str, value, cases| Measure {
                group: group.to_owned(),
                name: name.to_owned(),
                value,
                cases,
            };
            table.push(measure(ALL, profile.name, best.score, cases.len()));
            // Where silence is best there is no threshold.
            if best.threshold.is_finite() {
                table.push(measure(ALL, profile.threshold, best.threshold, cases.len()));
            }
            let each = cases.iter().zip(&best.files);
            table.extend(each.map(|(case, value)| measure(&case.case, profile.name, *value, 1)));
        }
        table.sort_by_key(|m| m.group != ALL);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_has_no_threshold() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("NAB/data/a")).unwrap();
        let rows = "2014-01-01 00:00:00,1\n".repeat(9);
        let data = folder.path().join("NAB");
        std::fs::write(data.join("data/a/a.csv"), "timestamp,value\n".to_owned() + &rows).unwrap();
        std::fs::write(data.join(LABELS), "{}").unwrap();
        let (outcome, _) = crate::run("NAB", folder.path(), Mode::Blind).unwrap();
        assert!(outcome.table.iter().all(|m| m.value.is_finite()), "{outcome:?}");
    }

    #[test]
    fn windows_are_places_of_points() {
        let at = |text: &str| time(text).unwrap();
        let times =
            [at("2014-01-01 00:00:00"), at("2014-01-01 00:05:00"), at("2014-01-01 00:10:00")];
        let label = ("2014-01-01 00:05:00.000000".into(), "2014-01-01 00:10:00.000000".into());
        assert_eq!(windows(&times, &[label]), Some(vec![(1, 2)]));
        assert_eq!(windows(&times, &[("soon".into(), "later".into())]), None);
        let between = ("2014-01-01 00:01:00".into(), "2014-01-01 00:04:00".into());
        assert_eq!(windows(&times, &[between]), None, "no point lies in it");
    }
}
