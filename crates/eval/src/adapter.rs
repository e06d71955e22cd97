//! What a set has to say about itself, and the runner.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::cost::{self, Cost};
use crate::error::EvalError;
use crate::mode::Mode;
use crate::outcome::{self, Measure, Outcome, Row};
use crate::reliability::Claim;

/// Figures of one case or one group, by the name of the measure.
pub type Marks = BTreeMap<&'static str, f64>;

/// One public data set.
///
/// The runner calls, in this order: [`Adapter::cases`]; for each case
/// [`Adapter::read`] and [`Adapter::answer`]; only then [`Adapter::truths`]; for
/// each case [`Adapter::score`]; [`Adapter::summary`]. Everything before `truths`
/// must read no label.
pub trait Adapter {
    /// What the engine sees of a case.
    type Case;
    /// What the engine says.
    type Answer: Serialize;
    /// What is true.
    type Truth;

    /// Name on the command line, and of the archive.
    fn name(&self) -> &'static str;
    /// One line on what it is and how it is scored.
    fn about(&self) -> &'static str;
    /// Names of the cases, in the order of the rows.
    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError>;
    /// Reads the evidence of a case.
    fn read(&self, folder: &Path, case: &str, mode: Mode) -> Result<Self::Case, EvalError>;
    /// Asks the engine. Only this is timed.
    fn answer(&self, case: &Self::Case) -> Self::Answer;
    /// Reads all labels, by case.
    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Self::Truth>, EvalError>;
    /// The group (such as the type of fault) that a case is listed under.
    fn group(&self, truth: &Self::Truth) -> String;
    /// Figures of one case. Ties count at the worst rank; what is absent is a miss.
    fn score(&self, answer: &Self::Answer, truth: &Self::Truth) -> Marks;
    /// The first claim of an answer and whether it is right, where the engine says how
    /// sure it is and the set can tell.
    fn claim(&self, _answer: &Self::Answer, _truth: &Self::Truth) -> Option<Claim> {
        None
    }
    /// The answer in a few words, for the rows.
    fn brief(&self, answer: &Self::Answer) -> String;
    /// The truth in a few words, for the rows.
    fn brief_truth(&self, truth: &Self::Truth) -> String;
    /// The table: by default the mean of each figure, for all and for each group.
    fn summary(&self, cases: &[Judged<Self>]) -> Vec<Measure> {
        mean_by_group(cases.iter().map(|case| (case.group.as_str(), &case.marks)))
    }
}

/// A case with its answer, its truth and its figures.
#[derive(Debug)]
pub struct Judged<A: Adapter + ?Sized> {
    /// Name of the case.
    pub case: String,
    /// Where it is listed.
    pub group: String,
    /// What the engine said.
    pub answer: A::Answer,
    /// What is true.
    pub truth: A::Truth,
    /// Figures.
    pub marks: Marks,
}

/// The mean of each figure over all cases (group `all`), then for each group.
pub fn mean_by_group<'a>(cases: impl Iterator<Item = (&'a str, &'a Marks)>) -> Vec<Measure> {
    let mut sums: BTreeMap<(&str, &'static str), (f64, usize)> = BTreeMap::new();
    for (group, marks) in cases {
        for (name, value) in marks {
            for group in [outcome::ALL, group] {
                let sum = sums.entry((group, name)).or_default();
                sum.0 += value;
                sum.1 += 1;
            }
        }
    }
    let measure = |((group, name), (sum, cases)): (&(&str, &'static str), &(f64, usize))| Measure {
        group: (*group).to_owned(),
        name: (*name).to_owned(),
        value: sum / *cases as f64,
        cases: *cases,
    };
    let (all, groups): (Vec<_>, Vec<_>) =
        sums.iter().partition(|((group, _), _)| *group == outcome::ALL);
    all.into_iter().chain(groups).map(measure).collect()
}

/// A set whose types are hidden, so that sets can be listed.
pub trait DataSet {
    /// Name on the command line, and of the archive.
    fn name(&self) -> &'static str;
    /// One line on what it is and how it is scored.
    fn about(&self) -> &'static str;
    /// Answers and scores every case.
    fn run(&self, folder: &Path, mode: Mode) -> Result<(Outcome, Cost), EvalError>;
}

impl<A: Adapter> DataSet for A {
    fn name(&self) -> &'static str {
        Adapter::name(self)
    }

    fn about(&self) -> &'static str {
        Adapter::about(self)
    }

    fn run(&self, folder: &Path, mode: Mode) -> Result<(Outcome, Cost), EvalError> {
        let started = cost::cpu_time();
        let mut cost = Cost::default();
        let mut answers = Vec::new();
        for case in self.cases(folder)? {
            let evidence = self.read(folder, &case, mode)?;
            let before = cost::cpu_time();
            let answer = self.answer(&evidence);
            cost.engine.push(cost::cpu_time().saturating_sub(before));
            answers.push((case, answer));
        }
        let mut truths = self.truths(folder)?;
        let judge = |(case, answer): (String, A::Answer)| {
            let truth = truths.remove(&case).ok_or_else(|| {
                EvalError::content(folder, format!("the case {case} has no label"))
            })?;
            let marks = self.score(&answer, &truth);
            Ok(Judged { group: self.group(&truth), case, answer, truth, marks })
        };
        let judged: Vec<Judged<A>> =
            answers.into_iter().map(judge).collect::<Result<_, EvalError>>()?;
        let table = self.summary(&judged);
        let rows = judged.into_iter().map(|case| row(self, case)).collect::<Result<_, _>>()?;
        cost.total = cost::cpu_time().saturating_sub(started);
        cost.peak_memory = cost::peak_memory();
        Ok((Outcome::new(Adapter::name(self), mode, rows, table), cost))
    }
}

fn row<A: Adapter>(adapter: &A, case: Judged<A>) -> Result<Row, EvalError> {
    Ok(Row {
        claim: adapter.claim(&case.answer, &case.truth),
        truth: adapter.brief_truth(&case.truth),
        brief: adapter.brief(&case.answer),
        answer: serde_json::to_value(&case.answer)?,
        case: case.case,
        group: case.group,
        marks: case.marks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_all_and_of_each_group() {
        let marks = |value: f64| Marks::from([("AC@1", value)]);
        let (right, wrong) = (marks(1.0), marks(0.0));
        let table = mean_by_group([("cpu", &right), ("cpu", &wrong), ("mem", &right)].into_iter());
        let found: Vec<_> = table.iter().map(|m| (m.group.as_str(), m.cases)).collect();
        assert_eq!(found, [("all", 3), ("cpu", 2), ("mem", 1)]);
        assert!((table[0].value - 2.0 / 3.0).abs() < 1e-12);
        assert!((table[1].value - 0.5).abs() < 1e-12);
    }
}
