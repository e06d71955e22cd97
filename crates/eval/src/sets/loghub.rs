//! Loghub-2k, corrected truth: lines to templates, one configuration for all systems.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;
use taproot_patterns::miner::{Config, Miner};

use crate::adapter::{Adapter, Judged, Marks, mean_by_group};
use crate::error::EvalError;
use crate::files;
use crate::mode::Mode;
use crate::outcome::{ALL, Measure};

/// The set.
#[derive(Debug)]
pub(super) struct Loghub;

/// The template of each line.
#[derive(Debug, Serialize)]
pub(super) struct Mined {
    templates: Vec<String>,
    /// Place in `templates` for each line.
    lines: Vec<usize>,
}

fn table(folder: &Path, system: &str) -> Result<files::Table, EvalError> {
    files::csv(&folder.join(system).join(format!("{system}_2k.log_structured_corrected.csv")))
}

fn column(folder: &Path, system: &str, name: &str) -> Result<Vec<String>, EvalError> {
    let table = table(folder, system)?;
    let at = table.column(name)?;
    Ok(table.rows.iter().map(|row| row[at].to_owned()).collect())
}

impl Adapter for Loghub {
    type Case = Vec<String>;
    type Answer = Mined;
    type Truth = Vec<String>;

    fn name(&self) -> &'static str {
        "loghub_2k"
    }

    fn about(&self) -> &'static str {
        "log templates of eight systems, one configuration: GA, FGA, PA, FTA"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        files::folders(folder)
    }

    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Vec<String>, EvalError> {
        column(folder, case, "Content")
    }

    fn answer(&self, lines: &Vec<String>) -> Mined {
        let mut miner = Miner::new(Config::default());
        let added: Vec<_> =
            (0..).zip(lines).map(|(at, line)| miner.add(line, at).template_id).collect();
        let mut places = HashMap::new();
        let mut mined = Mined { templates: Vec::new(), lines: Vec::with_capacity(lines.len()) };
        for id in added {
            let id = miner.resolve(id);
            let place = *places.entry(id).or_insert_with(|| {
                mined.templates.push(miner.template(id).unwrap_or_default());
                mined.templates.len() - 1
            });
            mined.lines.push(place);
        }
        mined
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Vec<String>>, EvalError> {
        let cases = self.cases(folder)?;
        cases
            .into_iter()
            .map(|case| Ok((case.clone(), column(folder, &case, "EventTemplate")?)))
            .collect()
    }

    fn group(&self, _: &Vec<String>) -> String {
        ALL.into()
    }

    fn score(&self, mined: &Mined, truth: &Vec<String>) -> Marks {
        let (found, wanted) = (groups(&mined.lines), groups(truth));
        let text = |line: usize| mined.templates[mined.lines[line]].as_str();
        let (mut lines, mut grouped, mut exact) = (0, 0, 0);
        for members in found.values() {
            let first = members.iter().next().copied().unwrap_or_default();
            if wanted[&truth[first]] == *members {
                lines += members.len();
                grouped += 1;
                exact += usize::from(text(first) == truth[first]);
            }
        }
        let same = (0..truth.len()).filter(|line| text(*line) == truth[*line]).count();
        let f1 = |right: usize| {
            2.0 * f64::from(right as u32) / (found.len() + wanted.len()).max(1) as f64
        };
        let share = |count: usize| count as f64 / truth.len().max(1) as f64;
        Marks::from([
            ("GA", share(lines)),
            ("FGA", f1(grouped)),
            ("PA", share(same)),
            ("FTA", f1(exact)),
        ])
    }

    fn brief(&self, mined: &Mined) -> String {
        format!("{} templates", mined.templates.len())
    }

    fn brief_truth(&self, truth: &Vec<String>) -> String {
        format!("{} templates", groups(truth).len())
    }

    fn summary(&self, cases: &[Judged<Self>]) -> Vec<Measure> {
        mean_by_group(cases.iter().map(|case| (case.case.as_str(), &case.marks)))
    }
}

/// Lines by label.
fn groups<L: Eq + std::hash::Hash>(labels: &[L]) -> HashMap<&L, HashSet<usize>> {
    let mut groups: HashMap<&L, HashSet<usize>> = HashMap::new();
    for (line, label) in labels.iter().enumerate() {
        groups.entry(label).or_default().insert(line);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn right_groups_with_wrong_words_count_for_grouping_only() {
        let lines = owned(&["retry 1", "retry 2", "stopped"]);
        let mined = Loghub.answer(&lines);
        let right = Loghub.score(&mined, &owned(&["retry <*>", "retry <*>", "stopped"]));
        assert!(right.values().all(|v| (v - 1.0).abs() < 1e-12), "{right:?}");
        let other = Loghub.score(&mined, &owned(&["try <*>", "try <*>", "stopped"]));
        assert!((other["GA"] - 1.0).abs() < 1e-12);
        assert!((other["PA"] - 1.0 / 3.0).abs() < 1e-12);
        assert!((other["FTA"] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_split_group_counts_for_nothing() {
        let mined = Loghub.answer(&owned(&["retry 1", "retry 2", "stopped"]));
        let split = Loghub.score(&mined, &owned(&["retry 1", "retry 2", "stopped"]));
        assert!((split["GA"] - 1.0 / 3.0).abs() < 1e-12);
        assert!((split["FGA"] - 0.4).abs() < 1e-12);
    }

    #[test]
    fn no_lines_no_templates() {
        let mined = Loghub.answer(&Vec::new());
        assert!(mined.templates.is_empty() && mined.lines.is_empty());
        assert!(Loghub.score(&mined, &Vec::new()).values().all(|v| v.abs() < 1e-12));
    }
}
