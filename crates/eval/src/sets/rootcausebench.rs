//! root-cause bench: incidents with metrics, traces, log patterns, deploys, commits and
//! what providers say of themselves.
//!
//! Scored are the first failing service, the culprit (a commit, or "none"), the services
//! reached (as a set, and by F1), the class of remedy, and whether a change was blamed
//! that is known for innocent. Nothing here tells the time of the fault: modes are alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use serde::Deserialize;
use taproot_diagnosis::incident::{
    Cause, Commit, Deploy, Explained, Incident, Outage, Pattern, Remedy, Step, explain,
};
use taproot_diagnosis::locate::Series;

use crate::adapter::{Adapter, Marks};
use crate::error::EvalError;
use crate::files::{self, Table};
use crate::mode::Mode;

/// The set.
#[derive(Debug)]
pub(super) struct RootCauseBench;

/// What an answer says where no change is to blame.
const NONE: &str = "none";
/// Status of a provider's event that is none.
const WELL: &str = "operating-normally";

#[derive(Debug, Deserialize)]
struct Alert {
    service: String,
    #[serde(default)]
    metric: String,
    #[serde(default)]
    summary: String,
}

#[derive(Debug, Deserialize)]
struct SpanRow {
    trace_id: String,
    span_id: String,
    parent_id: Option<String>,
    service: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    error: Option<String>,
    status_message: Option<String>,
    #[serde(rename = "peer.service")]
    peer: Option<String>,
}

#[derive(Debug, Deserialize)]
struct PatternRow {
    signature: String,
    service: String,
    #[serde(default)]
    delta_vs_baseline: String,
    #[serde(default)]
    sentiment: String,
}

#[derive(Debug, Deserialize)]
struct CommitRow {
    sha: String,
    timestamp: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    files_changed: Vec<String>,
    diff: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeployRow {
    timestamp: String,
    service: String,
    commit_sha: String,
}

#[derive(Debug, Default, Deserialize)]
struct Feed {
    #[serde(default)]
    events: Vec<EventRow>,
}

#[derive(Debug, Deserialize)]
struct EventRow {
    service: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    status: String,
    started_at: String,
    resolved_at: Option<String>,
}

/// What is true of an incident.
#[derive(Debug, Deserialize)]
pub(super) struct Truth {
    root_cause_commit: String,
    first_failing_service: String,
    blast_radius: BTreeSet<String>,
    remediation: String,
    decoy_deploy_commits: BTreeSet<String>,
}

fn seconds(path: &Path, time: &str) -> Result<f64, EvalError> {
    let parsed = DateTime::parse_from_rfc3339(time);
    let parsed = parsed.map_err(|error| EvalError::content(path, format!("{time:?}: {error}")))?;
    Ok(parsed.timestamp_millis() as f64 / 1e3)
}

/// Reads a JSON file; what a case does not have is empty.
fn optional<T: Default + serde::de::DeserializeOwned>(path: &Path) -> Result<T, EvalError> {
    if path.is_file() { files::json(path) } else { Ok(T::default()) }
}

fn metrics(path: &Path, incident: &mut Incident) -> Result<(), EvalError> {
    let table = files::csv(path)?;
    let [time, service, metric, value] =
        ["timestamp", "service", "metric", "value"].map(|name| table.column(name));
    let (time, service, metric, value) = (time?, service?, metric?, value?);
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for row in &table.rows {
        let Some(value) = Table::number(row, value) else { continue };
        let key = (row[service].to_owned(), row[metric].to_owned());
        let observed = &mut incident.observed;
        let place = *places.entry(key).or_insert_with(|| {
            let entity = observed.entity(&row[service]);
            let metric = row[metric].to_owned();
            observed.series.push(Series { entity, metric, points: Vec::new() });
            observed.series.len() - 1
        });
        let at = seconds(path, &row[time])?;
        observed.series[place].points.push((at, value));
    }
    Ok(())
}

fn steps(path: &Path, incident: &mut Incident) -> Result<(), EvalError> {
    let rows: Vec<SpanRow> = optional(path)?;
    // A trace may be told in pieces under several ids; ids of spans still tell it.
    let place = |trace: &str, span: &str| {
        let own = rows.iter().position(|r| r.trace_id == trace && r.span_id == span);
        own.or_else(|| rows.iter().position(|r| r.span_id == span)).map(|at| at as u64)
    };
    for (at, row) in rows.iter().enumerate() {
        let entity = incident.observed.entity(&row.service);
        incident.steps.push(Step {
            entity,
            id: at as u64,
            parent: row.parent_id.as_ref().and_then(|parent| place(&row.trace_id, parent)),
            name: row.name.clone(),
            failed: row.status.eq_ignore_ascii_case("error"),
            error: row.error.clone().or(row.status_message.clone()).unwrap_or_default(),
            outside: row.peer.clone().filter(|peer| rows.iter().all(|r| r.service != *peer)),
        });
    }
    Ok(())
}

fn patterns(path: &Path, incident: &mut Incident) -> Result<(), EvalError> {
    let rows: Vec<PatternRow> = optional(path)?;
    for row in rows {
        let entity = incident.observed.entity(&row.service);
        let added = row.delta_vs_baseline.trim_start_matches('+').parse().unwrap_or(0.0);
        let bad = row.sentiment == "negative";
        incident.patterns.push(Pattern { entity, text: row.signature, added, bad });
    }
    Ok(())
}

fn changes(folder: &Path, incident: &mut Incident) -> Result<(), EvalError> {
    let path = folder.join("commits.json");
    for row in optional::<Vec<CommitRow>>(&path)? {
        incident.commits.push(Commit {
            at: seconds(&path, &row.timestamp)?,
            id: row.sha,
            message: row.message,
            files: row.files_changed,
            diff: row.diff,
        });
    }
    let path = folder.join("deploys.json");
    for row in optional::<Vec<DeployRow>>(&path)? {
        let at = seconds(&path, &row.timestamp)?;
        incident.deploys.push(Deploy { service: row.service, at, commit: row.commit_sha });
    }
    Ok(())
}

fn outages(path: &Path, incident: &mut Incident) -> Result<(), EvalError> {
    for event in optional::<Feed>(path)?.events.into_iter().filter(|e| e.status != WELL) {
        let to = event.resolved_at.map(|to| seconds(path, &to)).transpose()?;
        let who = format!("{} {}", event.service, event.region).trim_end().to_owned();
        incident.outages.push(Outage { who, from: seconds(path, &event.started_at)?, to });
    }
    Ok(())
}

fn data(folder: &Path, case: &str) -> PathBuf {
    folder.join(case).join("environment/data")
}

/// The culprit as the set writes it.
fn culprit(answer: &Explained) -> &str {
    match &answer.cause {
        Cause::Change { id } => id,
        Cause::Load | Cause::Outside { .. } | Cause::Unknown => NONE,
    }
}

/// The remedy as the set writes it.
fn remedy(answer: &Explained) -> &'static str {
    match answer.remedy {
        Remedy::Rollback => "rollback",
        Remedy::Scale => "scale",
        Remedy::Failover => "failover",
        Remedy::Investigate => "investigate",
    }
}

fn f1(said: &BTreeSet<String>, truth: &BTreeSet<String>) -> f64 {
    let right = said.intersection(truth).count() as f64;
    let all = (said.len() + truth.len()) as f64;
    if all > 0.0 { 2.0 * right / all } else { 1.0 }
}

impl Adapter for RootCauseBench {
    type Case = Incident;
    type Answer = Explained;
    type Truth = Truth;

    fn name(&self) -> &'static str {
        "rootcausebench"
    }

    fn about(&self) -> &'static str {
        "incidents with changes: first failing service, culprit or none, reach, remedy, decoys"
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        files::folders(folder)
    }

    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Incident, EvalError> {
        let data = data(folder, case);
        let mut incident = Incident::default();
        metrics(&data.join("metrics.csv"), &mut incident)?;
        steps(&data.join("traces.json"), &mut incident)?;
        patterns(&data.join("patterns.json"), &mut incident)?;
        changes(&data.join("context"), &mut incident)?;
        outages(&data.join("status_feed.json"), &mut incident)?;
        let alert: Alert = files::json(&data.join("alert.json"))?;
        incident.alarmed = Some(incident.observed.entity(&alert.service));
        incident.complaint = format!("{} {}", alert.metric, alert.summary);
        Ok(incident)
    }

    fn answer(&self, case: &Incident) -> Explained {
        explain(case)
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Truth>, EvalError> {
        let truth = |case: String| {
            let truth = files::json(&folder.join(&case).join("tests/ground_truth.json"))?;
            Ok((case, truth))
        };
        self.cases(folder)?.into_iter().map(truth).collect()
    }

    fn group(&self, truth: &Truth) -> String {
        truth.remediation.clone()
    }

    fn score(&self, answer: &Explained, truth: &Truth) -> Marks {
        let reached: BTreeSet<String> = answer.reached.iter().cloned().collect();
        let one = |right: bool| f64::from(u8::from(right));
        let first = one(answer.first.as_ref() == Some(&truth.first_failing_service));
        let right = one(culprit(answer) == truth.root_cause_commit);
        let reach = one(reached == truth.blast_radius);
        let cure = one(remedy(answer) == truth.remediation);
        let refused = one(!truth.decoy_deploy_commits.contains(culprit(answer)));
        Marks::from([
            ("first", first),
            ("culprit", right),
            ("reach", reach),
            ("reach F1", f1(&reached, &truth.blast_radius)),
            ("remedy", cure),
            ("decoys refused", refused),
            ("all right", first * right * reach * cure * refused),
        ])
    }

    fn brief(&self, answer: &Explained) -> String {
        let first = answer.first.as_deref().unwrap_or("nobody");
        let (culprit, remedy) = (culprit(answer), remedy(answer));
        format!("{first}, {culprit:.8}, {remedy}, reached {}", answer.reached.join(" "))
    }

    fn brief_truth(&self, truth: &Truth) -> String {
        let reached: Vec<&str> = truth.blast_radius.iter().map(String::as_str).collect();
        format!(
            "{}, {:.8}, {}, reached {}",
            truth.first_failing_service,
            truth.root_cause_commit,
            truth.remediation,
            reached.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn made_up(folder: &Path) {
        let data = data(folder, "a");
        std::fs::create_dir_all(data.join("context")).unwrap();
        std::fs::create_dir_all(folder.join("a/tests")).unwrap();
        let mut rows = "timestamp,service,metric,value\n".to_owned();
        for minute in 0..60 {
            let (web, pay) = if minute < 40 { (0.001, 0.002) } else { (0.3, 0.6) };
            writeln!(rows, "2026-01-01T10:{minute:02}:00Z,web,error_rate,{web}").unwrap();
            writeln!(rows, "2026-01-01T10:{minute:02}:00Z,pay,error_rate,{pay}").unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(data.join(name), text).unwrap();
        write("metrics.csv", &rows);
        write("alert.json", r#"{"service": "web", "metric": "error_rate"}"#);
        write(
            "traces.json",
            r#"[{"trace_id": "t", "span_id": "a", "parent_id": null, "service": "web", "status": "ERROR"},
                {"trace_id": "t", "span_id": "b", "parent_id": "a", "service": "pay",
                 "status": "ERROR", "error": "ledger lock timed out"}]"#,
        );
        write(
            "patterns.json",
            r#"[{"signature": "ledger lock timed out", "service": "pay", "delta_vs_baseline": "+90",
                 "sentiment": "negative"}]"#,
        );
        write(
            "context/commits.json",
            r#"[{"sha": "c1", "timestamp": "2026-01-01T10:20:00Z", "message": "tidy",
                 "files_changed": ["pay/ledger.go"], "diff": "-\tlockTimeout = 30\n+\tlockTimeout = 1"},
                {"sha": "c2", "timestamp": "2026-01-01T10:35:00Z", "message": "ledger lock timed out",
                 "files_changed": ["pay/ledger_test.go"], "diff": "-\tlockTimeout = 30\n+\tlockTimeout = 1"}]"#,
        );
        write(
            "context/deploys.json",
            r#"[{"timestamp": "2026-01-01T10:30:00Z", "service": "pay", "commit_sha": "c1"},
                {"timestamp": "2026-01-01T10:39:00Z", "service": "pay", "commit_sha": "c2"}]"#,
        );
        std::fs::write(
            folder.join("a/tests/ground_truth.json"),
            r#"{"root_cause_commit": "c1", "first_failing_service": "pay", "blast_radius": ["web"],
                "remediation": "rollback", "decoy_deploy_commits": ["c2"]}"#,
        )
        .unwrap();
    }

    #[test]
    fn a_made_up_incident_is_read_answered_and_scored() {
        let folder = tempfile::tempdir().unwrap();
        made_up(folder.path());
        let case = RootCauseBench.read(folder.path(), "a", Mode::Blind).unwrap();
        let answer = RootCauseBench.answer(&case);
        let truths = RootCauseBench.truths(folder.path()).unwrap();
        let marks = RootCauseBench.score(&answer, &truths["a"]);
        assert!(marks.values().all(|v| (v - 1.0).abs() < 1e-12), "{marks:?} {answer:?}");
    }

    #[test]
    fn a_decoy_that_is_blamed_counts_against_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        made_up(folder.path());
        let case = RootCauseBench.read(folder.path(), "a", Mode::Blind).unwrap();
        let mut answer = RootCauseBench.answer(&case);
        answer.cause = Cause::Change { id: "c2".into() };
        let truths = RootCauseBench.truths(folder.path()).unwrap();
        let marks = RootCauseBench.score(&answer, &truths["a"]);
        assert!(marks["decoys refused"] < 1e-12 && marks["culprit"] < 1e-12);
    }

    #[test]
    fn times_that_are_none_are_an_error_and_missing_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        made_up(folder.path());
        let data = data(folder.path(), "a");
        std::fs::remove_file(data.join("traces.json")).unwrap();
        assert!(RootCauseBench.read(folder.path(), "a", Mode::Blind).is_ok());
        std::fs::write(data.join("metrics.csv"), "timestamp,service,metric,value\nsoon,a,b,1\n")
            .unwrap();
        let error = RootCauseBench.read(folder.path(), "a", Mode::Blind).unwrap_err();
        assert!(error.to_string().contains("soon"), "{error}");
    }
}
