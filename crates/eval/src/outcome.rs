//! Rows, table, text.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use crate::adapter::Marks;
use crate::mode::Mode;
use crate::reliability::Claim;

/// Version of the JSON.
pub const SCHEMA_VERSION: u32 = 1;
/// The group that all cases belong to.
pub const ALL: &str = "all";

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the case.
    pub case: String,
    /// Where it is listed, such as its type of fault.
    pub group: String,
    /// Figures.
    pub marks: Marks,
    /// The first claim, where the engine says how sure it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What is true, in a few words.
    pub truth: String,
    /// What the engine said, in a few words.
    #[serde(skip)]
    pub brief: String,
    /// What the engine said, whole.
    pub answer: serde_json::Value,
}

/// One figure of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// [`ALL`] or a group.
    pub group: String,
    /// Name of the measure.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Over how many cases.
    pub cases: usize,
}

/// What a run says. Equal, byte for byte, in each run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Version of this form.
    pub schema_version: u32,
    /// Name of the set.
    pub set: &'static str,
    /// What the engine was told, as on the command line.
    pub mode: String,
    /// The table.
    pub table: Vec<Measure>,
    /// The cases.
    pub rows: Vec<Row>,
}

impl Outcome {
    /// An outcome of this version.
    pub fn new(set: &'static str, mode: Mode, rows: Vec<Row>, table: Vec<Measure>) -> Self {
        Self { schema_version: SCHEMA_VERSION, set, mode: mode.to_string(), table, rows }
    }

    /// A figure over all cases.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.table.iter().find(|m| m.group == ALL && m.name == name).map(|m| m.value)
    }

    /// The rows, one a line: case, figures, truth, answer.
    pub fn rows_text(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let marks: Vec<_> =
                row.marks.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
            let _ = writeln!(
                out,
                "{}  {}  true {}  said {}",
                row.case,
                marks.join("  "),
                row.truth,
                row.brief
            );
        }
        out
    }

    /// The table: a line a group, a column a measure.
    pub fn table_text(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for measure in &self.table {
            if !names.contains(&measure.name.as_str()) {
                names.push(&measure.name);
            }
        }
        let mut groups: Vec<&str> = self.table.iter().map(|m| m.group.as_str()).collect();
        let mut seen = BTreeSet::new();
        groups.retain(|group| seen.insert(*group));
        let first = groups.iter().map(|g| g.chars().count()).max().unwrap_or(0).max(8);
        let width = |name: &str| name.chars().count().max(7) + 2;
        let mut out = format!("{} ({})\n{:<first$}{:>7}", self.set, self.mode, "", "cases");
        for name in &names {
            let _ = write!(out, "{name:>width$}", width = width(name));
        }
        out.push('\n');
        for group in groups {
            let cells: Vec<_> = self.table.iter().filter(|m| m.group == group).collect();
            let cases = cells.iter().map(|m| m.cases).max().unwrap_or(0);
            let _ = write!(out, "{group:<first$}{cases:>7}");
            for name in &names {
                let cell = cells.iter().find(|m| m.name == *name);
                let text = cell.map_or("-".into(), |m| format!("{:.3}", m.value));
                let _ = write!(out, "{text:>width$}", width = width(name));
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(group: &str, name: &str, value: f64) -> Measure {
        Measure { group: group.into(), name: name.into(), value, cases: 2 }
    }

    #[test]
    fn a_table_has_a_line_a_group_and_a_column_a_measure() {
        let table =
            vec![measure(ALL, "AC@1", 0.5), measure(ALL, "AC@3", 1.0), measure("cpu", "AC@3", 1.0)];
        let outcome = Outcome::new("made-up", Mode::Blind, Vec::new(), table);
        assert_eq!(
            outcome.table_text(),
            "made-up (blind)\n          cases     AC@1     AC@3\n\
             all           2    0.500    1.000\ncpu           2        -    1.000\n"
        );
        assert_eq!(outcome.value("AC@3"), Some(1.0));
        assert_eq!(outcome.value("F1"), None);
    }
}
