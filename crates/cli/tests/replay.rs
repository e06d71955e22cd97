//! Recorded runs of the lab, asked again: a change of the diagnosis that loses one
//! is seen in seconds, without a kernel.
//!
//! Made by `taproot lab run --all --record DIR`; one of each family is kept.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::{Path, PathBuf};

use common::{run, text};
use taproot_lab::Fault;
use taproot_lab::state::Culprit;

/// The recordings beside this file, each named after its fault.
fn recordings() -> Vec<(Fault, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            (
                Fault::parse(stem.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()))
                    .unwrap(),
                path,
            )
        })
        .collect()
}

/// Asks about the service that raised the alarm.
fn verdict(fault: Fault, path: &Path) -> serde_json::Value {
    let symptom = fault.describe().symptom.map(|service| format!("shop/{service}"));
    let path = path.to_string_lossy();
    let mut args = vec!["diagnose"];
    args.extend(symptom.as_deref());
    args.extend(["--replay", &path, "-o", "json"]);
    let (stdout, stderr) = text(&run(&args));
    let report: serde_json::Value =
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{path}: {e}: {stdout}{stderr}"));
    report["verdict"].clone()
}

fn culprit_is(verdict: &serde_json::Value, truth: &Culprit) -> bool {
    let blamed = &verdict["culprit"];
    let is = |value: &serde_json::Value, name: &str| {
        value.as_str().is_some_and(|text| text == name || text.ends_with(&format!("/{name}")))
    };
    match truth {
        Culprit::None => blamed.is_null(),
        Culprit::Pod { name } | Culprit::Node { name } => {
            is(&blamed["instance"], name) || is(&blamed["service"], name)
        }
        Culprit::Link { from, to } => {
            is(&verdict["place"]["client"], from) && is(&verdict["place"]["server"], to)
        }
    }
}

#[test]
fn recorded_faults_are_named_again() {
    let all = recordings();
    assert!(all.len() >= 6, "only {} recordings", all.len());
    for (fault, path) in all {
        let verdict = verdict(fault, &path);
        let truth = fault.describe();
        let shown = path.display();
        assert_eq!(verdict["class"], truth.class, "{shown}: {verdict:#}");
        assert!(culprit_is(&verdict, &truth.culprit), "{shown}: {verdict:#}");
    }
}
