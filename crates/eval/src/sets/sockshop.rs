//! Sock Shop, metrics only: `SERVICE-FAULT/RUN/{normal,anomalous}.csv`.
//!
//! The clocks of the two files do not agree; rows are a second apart and the fault
//! begins at the first row of the second file, so time is the number of the row.

use std::collections::BTreeMap;
use std::path::Path;

use taproot_diagnosis::locate::{Located, Observed, Question, Series, locate};

use super::located::{self, Truth};
use crate::adapter::{Adapter, Marks};
use crate::error::EvalError;
use crate::files::{self, Table};
use crate::mode::Mode;
use crate::ranking;
use crate::reliability::Claim;

/// The set.
#[derive(Debug)]
pub(super) struct SockShop;

/// Service and fault, from the name of a folder.
fn fault(case: &str) -> Option<(&str, &str)> {
    case.split('/').next()?.rsplit_once('-')
}

impl Adapter for SockShop {
    type Case = (Observed, Question);
    type Answer = Located;
    type Truth = Truth;

    fn name(&self) -> &'static str {
        "sockshop1"
    }

    fn about(&self) -> &'static str {
        "metrics of a shop under CPU or memory stress: service and metric AC@1, Avg@5"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let mut cases = Vec::new();
        for fault in files::folders(folder)? {
            for run in files::folders(&folder.join(&fault))? {
                cases.push(format!("{fault}/{run}"));
            }
        }
        Ok(cases)
    }

    fn read(&self, folder: &Path, case: &str, mode: Mode) -> Result<Self::Case, EvalError> {
        let normal = files::csv(&folder.join(case).join("normal.csv"))?;
        let anomalous = files::csv(&folder.join(case).join("anomalous.csv"))?;
        if normal.header != anomalous.header {
            return Err(EvalError::content(
                &anomalous.path,
                "its columns are not those of normal.csv",
            ));
        }
        let begins = normal.rows.len() as f64;
        let question = Question { noticed: mode.hint(begins), ..Question::default() };
        Ok((observed(&normal, &anomalous), question))
    }

    fn answer(&self, (observed, question): &Self::Case) -> Located {
        locate(observed, question)
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Truth>, EvalError> {
        let truth = |case: String| {
            let (entity, metric) = fault(&case).ok_or_else(|| {
                EvalError::content(&folder.join(&case), "its name is not SERVICE-FAULT")
            })?;
            let (entity, metric) = (entity.to_owned(), Some(metric.to_owned()));
            Ok((case, Truth { entity, group: metric.clone().unwrap_or_default(), metric }))
        };
        self.cases(folder)?.into_iter().map(truth).collect()
    }

    fn group(&self, truth: &Truth) -> String {
        truth.group.clone()
    }

    fn score(&self, answer: &Located, truth: &Truth) -> Marks {
        let rank = located::rank(answer, &truth.entity);
        let first = answer.culprits.first();
        let right_metric = first.is_some_and(|first| {
            first.entity == truth.entity && first.metric == truth.metric && rank == Some(1)
        });
        Marks::from([
            ("service AC@1", ranking::within(rank, 1)),
            ("service Avg@5", ranking::average(rank, 5)),
            ("metric AC@1", f64::from(u8::from(right_metric))),
        ])
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

/// Columns are `service_metric`.
fn observed(normal: &Table, anomalous: &Table) -> Observed {
    let mut observed = Observed::default();
    for (column, name) in normal.header.iter().enumerate() {
        let Some((service, metric)) = name.split_once('_') else { continue };
        let entity = observed.entity(service);
        let rows = normal.rows.iter().chain(&anomalous.rows).enumerate();
        let points =
            rows.filter_map(|(at, row)| Some((at as f64, Table::number(row, column)?))).collect();
        observed.series.push(Series { entity, metric: metric.to_owned(), points });
    }
    observed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, rows: impl Iterator<Item = String>) {
        let text: Vec<String> = rows.collect();
        std::fs::write(folder.join(name), format!("time,a_cpu,a_mem,b_cpu\n{}\n", text.join("\n")))
            .unwrap();
    }

    #[test]
    fn a_made_up_case_is_read_answered_and_scored() {
        let folder = tempfile::tempdir().unwrap();
        let case = folder.path().join("a-cpu").join("1");
        std::fs::create_dir_all(&case).unwrap();
        write(&case, "normal.csv", (0..60).map(|i| format!("{i},{},100,2", 1 + i % 3)));
        write(&case, "anomalous.csv", (0..60).map(|i| format!("{i},{},100,nan", 50 + i % 3)));
        for mode in [Mode::Blind, Mode::Given { late: 0 }, Mode::Given { late: 20 }] {
            let read = SockShop.read(folder.path(), "a-cpu/1", mode).unwrap();
            let answer = SockShop.answer(&read);
            let truths = SockShop.truths(folder.path()).unwrap();
            let marks = SockShop.score(&answer, &truths["a-cpu/1"]);
            assert!(
                marks.values().all(|v| (v - 1.0).abs() < 1e-12),
                "{mode}: {marks:?} {answer:?}"
            );
            assert!((answer.onset.unwrap().at - 60.0).abs() < 1.5, "{mode}: {answer:?}");
        }
    }

    #[test]
    fn columns_that_differ_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let case = folder.path().join("a-cpu").join("1");
        std::fs::create_dir_all(&case).unwrap();
        write(&case, "normal.csv", std::iter::once("0,1,1,1".to_owned()));
        std::fs::write(case.join("anomalous.csv"), "time,a_cpu\n0,1\n").unwrap();
        let error = SockShop.read(folder.path(), "a-cpu/1", Mode::Blind).unwrap_err();
        assert!(error.to_string().contains("columns"), "{error}");
    }
}
