//! `PetShop`: issues of a call graph at five-minute resolution, and fault-free time.
//!
//! An issue's own metrics are what is asked about, the fault-free metrics are the
//! past; they were recorded at another time, so the past is moved to end one step
//! before the issue. Fault-free cases split the fault-free time as the authors'
//! `evaluate_specificity` does, for each alarm that any issue has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use taproot_diagnosis::locate::{Alarm, Aspect, Call, Located, Observed, Question, Series, locate};

use super::located::{self, Truth};
use crate::adapter::{Adapter, Marks};
use crate::error::EvalError;
use crate::files::{self, Table};
use crate::mode::Mode;
use crate::ranking;
use crate::reliability::Claim;

/// The set.
#[derive(Debug)]
pub(super) struct PetShop;

/// Seconds between two values.
const STEP: f64 = 300.0;
/// Group and name of what has no culprit.
const NO_FAULT: &str = "fault-free";

/// The part of `target.json` that an engine may see.
#[derive(Debug, Deserialize)]
struct Asked {
    target: Target,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    node: String,
    metric: String,
    timestamp: f64,
}

/// The part that it may not.
#[derive(Debug, Deserialize)]
struct Label {
    root_cause: RootCause,
    target: Target,
}

#[derive(Debug, Deserialize)]
struct RootCause {
    node: String,
    metric: Option<String>,
}

/// Rows of a metrics file by column: node, `metric.statistic`, time and value.
struct Metrics {
    columns: Vec<(String, String)>,
    times: Vec<f64>,
    values: Vec<Vec<Option<f64>>>,
}

impl Metrics {
    /// A file has three header rows (node, metric, statistic), then a row that names the index.
    fn read(path: &Path) -> Result<Self, EvalError> {
        let table = files::csv(path)?;
        let [metrics, statistics, rows @ ..] = table.rows.as_slice() else {
            return Err(EvalError::content(path, "it has no three header rows"));
        };
        let nodes = table.header.iter().zip(metrics).zip(statistics).skip(1);
        let columns =
            nodes.map(|((node, metric), stat)| (node.clone(), format!("{metric}.{stat}")));
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for row in rows {
            if let Some(time) = Table::number(row, 0) {
                times.push(time);
                values.push((1..row.len()).map(|column| Table::number(row, column)).collect());
            }
        }
        if times.is_empty() {
            return Err(EvalError::content(path, "it has no values"));
        }
        Ok(Self { columns: columns.collect(), times, values })
    }

    /// Adds rows to what was observed, with their times moved.
    fn add(&self, rows: std::ops::Range<usize>, moved: f64, to: &mut Observed) {
        for (column, (node, metric)) in self.columns.iter().enumerate() {
            let entity = to.entity(node);
            let points = rows.clone().filter_map(|row| {
                Some((self.times[row] + moved, (*self.values[row].get(column)?)?))
            });
            let known = to.series.iter_mut().find(|s| s.entity == entity && s.metric == *metric);
            if let Some(series) = known {
                series.points.extend(points);
            } else {
                let points = points.collect();
                to.series.push(Series { entity, metric: metric.clone(), points });
            }
        }
    }
}

fn calls(path: &Path, observed: &mut Observed) -> Result<(), EvalError> {
    let graph = files::csv(path)?;
    for row in &graph.rows {
        let caller = observed.entity(&row[0]);
        for (column, callee) in graph.header.iter().enumerate().skip(1) {
            if Table::number(row, column).is_some_and(|weight| weight > 0.0) {
                let callee = observed.entity(callee);
                observed.calls.push(Call { caller, callee });
            }
        }
    }
    Ok(())
}

/// An alarm on a node; the set's two kinds are times and shares of success.
fn alarm(observed: &mut Observed, target: &Target) -> Alarm {
    Alarm { entity: observed.entity(&target.node), aspect: Aspect::of(&target.metric) }
}

/// Folders of issues of one scenario.
fn issues(folder: &Path, scenario: &str) -> Result<Vec<String>, EvalError> {
    let mut issues = Vec::new();
    for part in ["train", "test"] {
        let part = format!("{scenario}/{part}");
        if folder.join(&part).is_dir() {
            issues
                .extend(files::folders(&folder.join(&part))?.iter().map(|i| format!("{part}/{i}")));
        }
    }
    Ok(issues)
}

/// Where the fault-free time of `rows` rows is split.
fn splits(rows: usize) -> impl Iterator<Item = usize> {
    (rows / 2..rows.saturating_sub(3)).step_by((rows / 10).max(1))
}

/// A case: `scenario/part/issue_N`, or `scenario/fault-free/ISSUE/ROW`, where the
/// alarm is that of the issue.
fn fault_free(case: &str) -> Option<(&str, String, usize)> {
    let (scenario, rest) = case.split_once(&format!("/{NO_FAULT}/"))?;
    let (issue, row) = rest.rsplit_once('/')?;
    Some((scenario, format!("{scenario}/{issue}"), row.parse().ok()?))
}

impl Adapter for PetShop {
    type Case = (Observed, Question);
    type Answer = Located;
    type Truth = Truth;

    fn name(&self) -> &'static str {
        "petshop"
    }

    fn about(&self) -> &'static str {
        "issues of a call graph every five minutes: node top-1 and top-3, specificity"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let mut cases = Vec::new();
        for scenario in files::folders(folder)? {
            let rows =
                Metrics::read(&folder.join(&scenario).join("noissue/metrics.csv"))?.times.len();
            let mut alarms = BTreeSet::new();
            let mut healthy = Vec::new();
            for issue in issues(folder, &scenario)? {
                let asked: Asked = files::json(&folder.join(&issue).join("target.json"))?;
                if alarms.insert((asked.target.node, asked.target.metric)) {
                    let within = issue.trim_start_matches(&format!("{scenario}/")).to_owned();
                    healthy.extend(
                        splits(rows).map(|row| format!("{scenario}/{NO_FAULT}/{within}/{row}")),
                    );
                }
                cases.push(issue);
            }
            cases.extend(healthy);
        }
        Ok(cases)
    }

    fn read(&self, folder: &Path, case: &str, mode: Mode) -> Result<Self::Case, EvalError> {
        let scenario = folder.join(case.split('/').next().unwrap_or_default());
        let past = Metrics::read(&scenario.join("noissue/metrics.csv"))?;
        let mut observed = Observed::default();
        calls(&scenario.join("graph.csv"), &mut observed)?;
        let all = past.times.len();
        let last = past.times[all - 1];
        let (target, window, noticed) = if let Some((_, issue, row)) = fault_free(case) {
            let asked: Asked = files::json(&folder.join(issue).join("target.json"))?;
            past.add(0..all, 0.0, &mut observed);
            (asked.target, (past.times[row], last), mode.hint(past.times[row]))
        } else {
            let asked: Asked = files::json(&folder.join(case).join("target.json"))?;
            let issue = Metrics::read(&folder.join(case).join("metrics.csv"))?;
            let (first, end) = (issue.times[0], issue.times[issue.times.len() - 1]);
            past.add(0..all, first - STEP - last, &mut observed);
            issue.add(0..issue.times.len(), 0.0, &mut observed);
            let noticed = mode.hint(asked.target.timestamp);
            (asked.target, (first, end), noticed)
        };
        let alarm = Some(alarm(&mut observed, &target));
        Ok((observed, Question { alarm, window: Some(window), noticed }))
    }

    fn answer(&self, (observed, question): &Self::Case) -> Located {
        locate(observed, question)
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Truth>, EvalError> {
        let truth = |case: String| {
            if let Some((_, issue, _)) = fault_free(&case) {
                let asked: Asked = files::json(&folder.join(issue).join("target.json"))?;
                let group = format!("{NO_FAULT} {}", asked.target.metric);
                return Ok((case, Truth { entity: String::new(), metric: None, group }));
            }
            let label: Label = files::json(&folder.join(&case).join("target.json"))?;
            let RootCause { node, metric } = label.root_cause;
            Ok((case, Truth { entity: node, metric, group: label.target.metric }))
        };
        self.cases(folder)?.into_iter().map(truth).collect()
    }

    fn group(&self, truth: &Truth) -> String {
        truth.group.clone()
    }

    fn score(&self, answer: &Located, truth: &Truth) -> Marks {
        if truth.entity.is_empty() {
            let empty = answer.culprits.is_empty();
            return Marks::from([("specificity", f64::from(u8::from(empty)))]);
        }
        let rank = located::rank(answer, &truth.entity);
        Marks::from([("top-1", ranking::within(rank, 1)), ("top-3", ranking::within(rank, 3))])
    }

    fn claim(&self, answer: &Located, truth: &Truth) -> Option<Claim> {
        located::claim(answer, truth)
    }

    fn brief(&self, answer: &Located) -> String {
        located::brief(answer)
    }

    fn brief_truth(&self, truth: &Truth) -> String {
        located::brief_truth(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway that calls a database which turns slow in the issue.
    fn made_up(folder: &Path) {
        let scenario = folder.join("low");
        let issue = scenario.join("test/issue_0");
        for place in [&issue, &scenario.join("noissue")] {
            std::fs::create_dir_all(place).unwrap();
        }
        let head = "microservice,web,db,web,db\nmetric,latency,latency,requests,requests\n\
                    statistic,Average,Average,Sum,Sum\nunix_timestamp,,,,\n";
        let rows = |count: u32, start: u32, web: &str, db: &str| -> String {
            let row =
                |i: u32| format!("{}.0,{web}{},{db}{},100,100\n", start + i * 300, i % 3, i % 3);
            (0..count).map(row).collect()
        };
        let healthy = head.to_owned() + &rows(40, 900_000, "0.10", "0.01");
        std::fs::write(scenario.join("noissue/metrics.csv"), healthy).unwrap();
        let ill = head.to_owned() + &rows(5, 1_000, "0.40", "0.31");
        std::fs::write(issue.join("metrics.csv"), ill).unwrap();
        std::fs::write(scenario.join("graph.csv"), ",web,db\nweb,0,1\ndb,0,0\n").unwrap();
        std::fs::write(
            issue.join("target.json"),
            r#"{"target": {"node": "web", "metric": "latency", "agg": "Average", "timestamp": 1400},
                "root_cause": {"node": "db", "metric": null}}"#,
        )
        .unwrap();
    }

    #[test]
    fn the_callee_is_found_and_fault_free_time_has_no_culprit() {
        let folder = tempfile::tempdir().unwrap();
        made_up(folder.path());
        let truths = PetShop.truths(folder.path()).unwrap();
        let cases = PetShop.cases(folder.path()).unwrap();
        assert_eq!(cases.len(), 1 + splits(40).count());
        for (case, truth) in &truths {
            let answer = PetShop.answer(&PetShop.read(folder.path(), case, Mode::Blind).unwrap());
            let marks = PetShop.score(&answer, truth);
            assert!(marks.values().all(|v| (v - 1.0).abs() < 1e-12), "{case}: {answer:?}");
        }
    }

    #[test]
    fn a_file_without_values_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        std::fs::write(&path, "microservice,a\nmetric,latency\nstatistic,Average\n").unwrap();
        assert!(Metrics::read(&path).is_err());
        std::fs::write(&path, "microservice,a\n").unwrap();
        assert!(Metrics::read(&path).is_err());
    }
}
