//! Verdicts of `taproot lab run -o json`: how often they are right, and how sure they are.
//!
//! Each line of each `.jsonl` file is one fault that was really injected, and what a live
//! diagnosis said of it. The score was given then; the confidence is made of it now.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use taproot_diagnosis::{Class, confidence};

use crate::adapter::{Adapter, Marks};
use crate::error::EvalError;
use crate::mode::Mode;
use crate::reliability::Claim;

/// Verdicts on faults of the lab.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabRuns;

/// A line. The summary at the end of a run, which has no fault, is left out.
#[derive(Debug, Deserialize)]
struct Line {
    fault: Option<String>,
    class: Option<String>,
    culprit: Option<String>,
    score: Option<f64>,
    class_right: Option<bool>,
    culprit_right: Option<bool>,
}

/// What was said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    class: Class,
    culprit: Option<String>,
    score: f64,
}

/// What is said now.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    class: &'static str,
    culprit: Option<String>,
    confidence: f64,
}

/// What was injected, and whether the verdict said so.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    fault: String,
    class_right: bool,
    culprit_right: bool,
}

/// The lines with a fault of all files, by case: `FILE:LINE`.
fn lines(folder: &Path) -> Result<Vec<(String, Line)>, EvalError> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(EvalError::read(folder))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(EvalError::read(folder))?;
    files.retain(|file| file.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    let mut out = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(EvalError::read(&file))?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let wrong = |e| EvalError::content(&file, format!("line {}: {e}", at + 1));
            let line: Line = serde_json::from_str(line).map_err(wrong)?;
            if line.fault.is_some() {
                out.push((format!("{stem}:{}", at + 1), line));
            }
        }
    }
    if out.is_empty() {
        return Err(EvalError::content(folder, "no run of the lab in any .jsonl file"));
    }
    Ok(out)
}

impl LabRuns {
    fn line(folder: &Path, case: &str) -> Result<Line, EvalError> {
        let found = lines(folder)?.into_iter().find(|(name, _)| name == case);
        found.map(|f| f.1).ok_or_else(|| EvalError::content(folder, format!("no case {case}")))
    }
}

impl Adapter for LabRuns {
    type Case = Said;
    type Answer = Verdict;
    type Truth = Truth;

    fn name(&self) -> &'static str {
        "lab"
    }

    fn about(&self) -> &'static str {
        "verdicts of `taproot lab run -o json`: right class and culprit, and the confidence in them"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        Ok(lines(folder)?.into_iter().map(|(case, _)| case).collect())
    }

    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Said, EvalError> {
        let line = Self::line(folder, case)?;
        let missing = |what: &str| EvalError::content(folder, format!("{case} has no {what}"));
        let id = line.class.ok_or_else(|| missing("class"))?;
        let class = Class::ALL.into_iter().find(|c| c.id() == id);
        let score = line.score.filter(|s| (0.0..=1.0).contains(s));
        Ok(Said {
            class: class.ok_or_else(|| missing("class that is known"))?,
            culprit: line.culprit,
            score: score.ok_or_else(|| missing("score from 0 to 1"))?,
        })
    }

    fn answer(&self, case: &Said) -> Verdict {
        Verdict {
            class: case.class.id(),
            culprit: case.culprit.clone(),
            confidence: confidence(case.class, case.score),
        }
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Truth>, EvalError> {
        let truth = |(case, line): (String, Line)| {
            let right = line.class_right.zip(line.culprit_right);
            let (class_right, culprit_right) = right.ok_or_else(|| {
                EvalError::content(folder, format!("{case} does not say whether it was right"))
            })?;
            let fault = line.fault.unwrap_or_default();
            Ok((case, Truth { fault, class_right, culprit_right }))
        };
        lines(folder)?.into_iter().map(truth).collect()
    }

    fn group(&self, truth: &Truth) -> String {
        truth.fault.clone()
    }

    fn score(&self, _: &Verdict, truth: &Truth) -> Marks {
        let one = |right: bool| f64::from(u8::from(right));
        let both = truth.class_right && truth.culprit_right;
        Marks::from([("class", one(truth.class_right)), ("class and culprit", one(both))])
    }

    fn claim(&self, answer: &Verdict, truth: &Truth) -> Option<Claim> {
        let claims = answer.class != Class::Unknown.id();
        let right = truth.class_right && truth.culprit_right;
        claims.then_some(Claim { confidence: answer.confidence, right })
    }

    fn brief(&self, answer: &Verdict) -> String {
        let culprit = answer.culprit.as_deref().unwrap_or("nobody");
        format!("{} {culprit} {:.2}", answer.class, answer.confidence)
    }

    fn brief_truth(&self, truth: &Truth) -> String {
        truth.fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(text: &str) -> Result<crate::Outcome, EvalError> {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("lab");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("runs.jsonl"), text).expect("a file");
        crate::run("lab", dir.path(), Mode::Blind).map(|found| found.0)
    }

    const RIGHT: &str = r#"{"fault":"crash","class":"crash","culprit":"a","score":0.8,"class_right":true,"culprit_right":true}"#;
    const OPEN: &str = r#"{"fault":"crash","class":"unknown","culprit":null,"score":0.3,"class_right":false,"culprit_right":false}"#;

    #[test]
    fn verdicts_are_scored_and_what_claims_nothing_is_no_claim() {
        let found = scored(&format!("{RIGHT}\n{OPEN}\n{{\"summary\":true}}\n")).expect("two runs");
        let claims: Vec<Claim> = found.rows.iter().filter_map(|row| row.claim).collect();
        assert_eq!((found.rows.len(), claims.len()), (2, 1));
        assert!(claims[0].right && claims[0].confidence > 0.9, "{claims:?}");
    }

    #[test]
    fn spoilt_lines_are_named() {
        for text in [
            "",
            "{\"fault\"",
            &RIGHT.replace("0.8", "7"),
            &RIGHT.replace("\"crash\",\"cu", "\"x\",\"cu"),
        ] {
            assert!(scored(text).is_err(), "{text}");
        }
    }
}
