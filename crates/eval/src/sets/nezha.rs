//! Nezha: logs, traces and pod metrics around faults, and one fault-free minute.
//!
//! What is asked about are the three minutes recorded around a fault; the past is
//! the fault-free minute and what was recorded in the hour before, other faults
//! included, as nobody tells an operator which of it was healthy.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde::Deserialize;
use taproot_diagnosis::locate::{
    Call, Line, Link, Located, Observed, Question, Series, Span, locate, statement,
};
use taproot_patterns::line::message;
use taproot_patterns::miner::{Config, Miner, TemplateId};

use super::located::{self, Truth};
use crate::adapter::{Adapter, Marks};
use crate::error::EvalError;
use crate::files::{self, Table};
use crate::mode::Mode;
use crate::ranking;
use crate::reliability::Claim;

/// One of the two systems.
#[derive(Debug)]
pub(super) struct Nezha {
    name: &'static str,
    about: &'static str,
}

/// The ticket shop, all signals.
pub(super) const TRAIN_TICKET: Nezha = Nezha {
    name: "nezha_trainticket",
    about: "logs, traces, metrics of a ticket shop: pod AS@1, AS@3, ties at the worst rank",
};
/// The boutique, partial data.
pub(super) const ONLINE_BOUTIQUE: Nezha = Nezha {
    name: "nezha_onlineboutique",
    about: "traces and metrics of a boutique, in part missing: pod AS@1, AS@3",
};

/// How much of the past is read, in seconds.
const PAST: f64 = 3600.0;
/// Minutes recorded around a fault.
const MINUTES: f64 = 3.0;
/// Seconds of a file that its name does not tell: they begin up to a minute before.
const EARLY: f64 = 60.0;

/// The part of `fault_list.json` that an engine may see.
#[derive(Debug, Deserialize)]
struct Asked {
    inject_time: String,
}

/// The part that it may not.
#[derive(Debug, Deserialize)]
struct Label {
    inject_pod: String,
    inject_type: String,
}

fn seconds(time: NaiveDateTime) -> f64 {
    time.and_utc().timestamp() as f64
}

/// A case is `DAY/NUMBER`.
fn place(folder: &Path, case: &str) -> Result<(PathBuf, usize), EvalError> {
    let bad = || EvalError::content(folder, format!("{case} is no case"));
    let (day, number) = case.split_once('/').ok_or_else(bad)?;
    Ok((folder.join(day), number.parse().map_err(|_| bad())?))
}

/// Files `HH_MM_kind.csv` of a folder whose minute lies in a span of time.
fn minutes(day: &Path, kind: &str, from: f64, to: f64) -> Result<Vec<PathBuf>, EvalError> {
    let folder = day.join(kind);
    let date = day.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d")
        .map_err(|error| EvalError::content(day, error))?;
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let within = |name: &String| {
        let minute = NaiveTime::parse_from_str(name.get(..5)?, "%H_%M").ok()?;
        let at = seconds(date.and_time(minute));
        (from..to).contains(&at).then(|| folder.join(name))
    };
    Ok(files::names(&folder)?.iter().filter_map(within).collect())
}

/// Series of a table by the name of their column.
fn pairs(path: &Path, to: f64) -> Result<BTreeMap<String, Vec<(f64, f64)>>, EvalError> {
    let table = files::ragged_csv(path)?;
    let at = table.column("timestamp")?;
    let series = |column: usize| {
        let point = |row: &csv::StringRecord| {
            let at = Table::number(row, at).filter(|at| *at <= to)?;
            Some((at, Table::number(row, column)?))
        };
        table.rows.iter().filter_map(point).collect()
    };
    let columns = table.header.iter().enumerate().skip(at + 1);
    Ok(columns.map(|(column, name)| (name.clone(), series(column))).collect())
}

fn id(of: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn nanoseconds(row: &csv::StringRecord, column: usize) -> Option<f64> {
    Some(row.get(column)?.parse::<u64>().ok()? as f64 / 1e9)
}

/// Gathers a case.
struct Reader {
    observed: Observed,
    pods: BTreeMap<String, usize>,
    operations: BTreeMap<String, u32>,
    miner: Miner,
    written: Vec<(Line, Source)>,
}

/// What tells the statement that wrote a line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// The line does.
    Statement(String),
    /// Its template does.
    Mined(TemplateId),
}

impl Reader {
    fn new() -> Self {
        Self {
            observed: Observed::default(),
            pods: BTreeMap::new(),
            operations: BTreeMap::new(),
            miner: Miner::new(Config::default()),
            written: Vec::new(),
        }
    }

    fn pod(&mut self, name: &str) -> usize {
        if let Some(pod) = self.pods.get(name) {
            return *pod;
        }
        let pod = self.observed.entity(name);
        self.pods.insert(name.to_owned(), pod);
        pod
    }

    fn traces(&mut self, path: &Path) -> Result<(), EvalError> {
        let table = files::ragged_csv(path)?;
        let columns = ["TraceID", "SpanID", "ParentID", "PodName", "OperationName"];
        let [trace, span, parent, pod, operation] = columns.map(|name| table.column(name));
        let (trace, span, parent) = (trace?, span?, parent?);
        let (pod, operation) = (pod?, operation?);
        let (start, end) = (table.column("StartTimeUnixNano")?, table.column("EndTimeUnixNano")?);
        for row in &table.rows {
            let Some((start, end)) = nanoseconds(row, start).zip(nanoseconds(row, end)) else {
                continue;
            };
            let next = self.operations.len() as u32;
            let operation = *self.operations.entry(row[operation].to_owned()).or_insert(next);
            let entity = self.pod(&row[pod]);
            self.observed.spans.push(Span {
                entity,
                id: id(&[&row[trace], &row[span]]),
                parent: (&row[parent] != "root").then(|| id(&[&row[trace], &row[parent]])),
                operation,
                start,
                duration: end - start,
            });
        }
        Ok(())
    }

    fn logs(&mut self, path: &Path) -> Result<(), EvalError> {
        let table = files::ragged_csv(path)?;
        let [at, pod, trace, span, log] =
            ["TimeUnixNano", "PodName", "TraceID", "SpanID", "Log"].map(|name| table.column(name));
        let (at, pod, trace, span, log) = (at?, pod?, trace?, span?, log?);
        // Files are newest first; templates depend on the order, so time decides.
        let mut rows: Vec<_> =
            table.rows.iter().filter_map(|row| Some((nanoseconds(row, at)?, row))).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (at, row) in rows {
            let entity = self.pod(&row[pod]);
            let flow = id(&[&row[trace], &row[span]]);
            // The identifiers are fields of their own; in the text they only hide it.
            let ids = format!("TraceID: {} SpanID: {}", &row[trace], &row[span]);
            let text = row[log].replace(&ids, "");
            let message = message(&text);
            let source = match statement(&message.text) {
                Some(place) => Source::Statement(place.to_owned()),
                None => {
                    Source::Mined(self.miner.add(&*message.text, (at * 1e9) as u64).template_id)
                }
            };
            self.written.push((Line { entity, at, flow, template: 0 }, source));
        }
        Ok(())
    }

    fn metrics(&mut self, folder: &Path, to: f64) -> Result<(), EvalError> {
        if !folder.is_dir() {
            return Ok(());
        }
        for name in files::names(folder)?.iter().filter(|name| name.ends_with("_metric.csv")) {
            let table = files::ragged_csv(&folder.join(name))?;
            let (at, pod) = (table.column("TimeStamp")?, table.column("PodName")?);
            let Some(first) = table.rows.first() else { continue };
            let entity = self.pod(&first[pod]);
            for (column, metric) in table.header.iter().enumerate() {
                // What the node did is not the pod's doing.
                if column <= pod || metric.starts_with("Node") {
                    continue;
                }
                let point = |row: &csv::StringRecord| {
                    let at = Table::number(row, at).filter(|at| *at <= to)?;
                    Some((at, Table::number(row, column)?))
                };
                let points = table.rows.iter().filter_map(point).collect();
                self.observed.series.push(Series { entity, metric: metric.clone(), points });
            }
        }
        Ok(())
    }

    /// Median latency of each call, as callers and as callees tell it: a file a side,
    /// a column a pair of services. A service's pod is named after it.
    fn links(&mut self, folder: &Path, to: f64) -> Result<(), EvalError> {
        let (waited, worked) = (folder.join("source_50.csv"), folder.join("destination_50.csv"));
        if !waited.is_file() || !worked.is_file() {
            return Ok(());
        }
        let (waited, mut worked) = (pairs(&waited, to)?, pairs(&worked, to)?);
        for (pair, waited) in waited {
            let ends = pair.split_once('_');
            let Some((caller, callee)) = ends.and_then(|(a, b)| Some((self.of(a)?, self.of(b)?)))
            else {
                continue;
            };
            if let Some(worked) = worked.remove(&pair) {
                let call = Call { caller, callee };
                self.observed.links.push(Link { call, waited, worked });
            }
        }
        Ok(())
    }

    /// The pod of a service.
    fn of(&self, service: &str) -> Option<usize> {
        let named = |pod: &str| pod.strip_prefix(service).is_some_and(|rest| rest.starts_with('-'));
        self.pods.iter().find(|(pod, _)| named(pod)).map(|(_, entity)| *entity)
    }

    /// Templates that merged meanwhile become one.
    fn finish(mut self) -> Observed {
        let mut places: BTreeMap<Source, u32> = BTreeMap::new();
        for (mut line, source) in self.written {
            let source = match source {
                Source::Mined(id) => Source::Mined(self.miner.resolve(id)),
                statement @ Source::Statement(_) => statement,
            };
            let templates = &mut self.observed.templates;
            line.template = *places.entry(source).or_insert_with_key(|source| {
                templates.push(match source {
                    Source::Statement(place) => place.clone(),
                    Source::Mined(id) => self.miner.template(*id).unwrap_or_default(),
                });
                templates.len() as u32 - 1
            });
            self.observed.lines.push(line);
        }
        self.observed
    }
}

impl Adapter for Nezha {
    type Case = (Observed, Question);
    type Answer = Located;
    type Truth = Truth;

    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn cases(&self, folder: &Path) -> Result<Vec<String>, EvalError> {
        let mut cases = Vec::new();
        for day in files::folders(folder)? {
            let faults: Vec<Asked> = files::json(&folder.join(&day).join("fault_list.json"))?;
            cases.extend((0..faults.len()).map(|number| format!("{day}/{number:02}")));
        }
        Ok(cases)
    }

    fn read(&self, folder: &Path, case: &str, mode: Mode) -> Result<Self::Case, EvalError> {
        let (day, number) = place(folder, case)?;
        let list = day.join("fault_list.json");
        let faults: Vec<Asked> = files::json(&list)?;
        let injected =
            NaiveDateTime::parse_from_str(&faults[number].inject_time, "%Y-%m-%d %H:%M:%S")
                .map_err(|error| EvalError::content(&list, error))?;
        let injected = seconds(injected);
        let first = (injected / 60.0).floor() * 60.0;
        let end = first + MINUTES * 60.0;
        let mut reader = Reader::new();
        let healthy = day.join("faultfree");
        for (kind, read) in [
            ("log", Reader::logs as fn(&mut Reader, &Path) -> Result<(), EvalError>),
            ("trace", Reader::traces),
        ] {
            let faultless = healthy.join(kind);
            if faultless.is_dir() {
                for name in files::names(&faultless)? {
                    read(&mut reader, &faultless.join(name))?;
                }
            }
            for path in minutes(&day, kind, first - PAST, end)? {
                read(&mut reader, &path)?;
            }
        }
        reader.metrics(&day.join("metric"), end)?;
        reader.links(&day.join("metric"), end)?;
        let window = Some((first - EARLY, end));
        Ok((reader.finish(), Question { alarm: None, window, noticed: mode.hint(injected) }))
    }

    fn answer(&self, (observed, question): &Self::Case) -> Located {
        locate(observed, question)
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Truth>, EvalError> {
        let truth = |case: String| {
            let (day, number) = place(folder, &case)?;
            let labels: Vec<Label> = files::json(&day.join("fault_list.json"))?;
            let Label { inject_pod, inject_type } = &labels[number];
            let (entity, group) = (inject_pod.clone(), inject_type.clone());
            Ok((case, Truth { entity, metric: None, group }))
        };
        self.cases(folder)?.into_iter().map(truth).collect()
    }

    fn group(&self, truth: &Truth) -> String {
        truth.group.clone()
    }

    fn score(&self, answer: &Located, truth: &Truth) -> Marks {
        let rank = located::rank(answer, &truth.entity);
        Marks::from([
            ("AS@1", ranking::within(rank, 1)),
            ("AS@3", ranking::within(rank, 3)),
            ("AS@5", ranking::within(rank, 5)),
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// A minute of a shop whose payment service returns early when `ill`.
    fn minute(day: &Path, folder: &str, name: &str, start: u64, ill: bool) {
        let mut logs =
            "Timestamp,TimeUnixNano,Node,PodName,Container,TraceID,SpanID,Log\n".to_owned();
        let mut spans = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n".to_owned();
        for request in 0..12_u64 {
            let at = (start + request) * 1_000_000_000;
            let end = at + 10_000_000;
            writeln!(spans, "t{at},a,root,web-1,GET,{at},{end},10").unwrap();
            writeln!(spans, "t{at},b,a,pay-1,Pay,{at},{end},10").unwrap();
            let middle = if ill { 2 } else { 3 };
            for line in [1, middle, 4] {
                let written = at + line;
                writeln!(logs, "x,{written},n,pay-1,c,t{at},b,INFO Pay#{line} done").unwrap();
            }
        }
        for (kind, text) in [("log", logs), ("trace", spans)] {
            let folder = day.join(folder).join(kind);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}_{kind}.csv")), text).unwrap();
        }
    }

    #[test]
    fn an_early_return_is_found_without_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("2023-01-29");
        let at = |time: &str| {
            let text = format!("2023-01-29 {time}");
            seconds(NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").unwrap()) as u64
        };
        minute(&day, "faultfree", "08_50", at("08:50:00"), false);
        minute(&day, "", "09_01", at("09:01:00"), true);
        minute(&day, "", "09_02", at("09:02:00"), true);
        std::fs::write(
            day.join("fault_list.json"),
            r#"[{"inject_time": "2023-01-29 09:00:30", "inject_pod": "pay-1", "inject_type": "return"}]"#,
        )
        .unwrap();
        let cases = TRAIN_TICKET.cases(folder.path()).unwrap();
        let read = TRAIN_TICKET.read(folder.path(), &cases[0], Mode::Blind).unwrap();
        let answer = TRAIN_TICKET.answer(&read);
        let truths = TRAIN_TICKET.truths(folder.path()).unwrap();
        let marks = TRAIN_TICKET.score(&answer, &truths[&cases[0]]);
        assert!(marks.values().all(|v| (v - 1.0).abs() < 1e-12), "{answer:?}");
    }

    #[test]
    fn a_slow_link_is_found_by_what_both_its_ends_tell() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("2022-08-22");
        let metrics = day.join("metric");
        std::fs::create_dir_all(&metrics).unwrap();
        let start = 1_661_158_800_u64;
        let minutes = |row: &dyn Fn(u64, bool) -> String| -> String {
            (0..33).map(|minute| row(start + minute * 60, minute >= 30)).collect()
        };
        for pod in ["web-1", "pay-1"] {
            let rows = minutes(&|at, _| format!("x,{at},{pod},1\n"));
            let text = "Time,TimeStamp,PodName,CpuUsage(m)\n".to_owned() + &rows;
            std::fs::write(metrics.join(format!("{pod}_metric.csv")), text).unwrap();
        }
        for (side, slow) in [("source", 0.25), ("destination", 0.003)] {
            let rows = minutes(&|at, ill| {
                let pay = if ill { slow } else { 0.003 };
                format!("x,{at},{pay},0.003\n")
            });
            let text = "time,timestamp,web_pay,web_other\n".to_owned() + &rows;
            std::fs::write(metrics.join(format!("{side}_50.csv")), text).unwrap();
        }
        std::fs::write(
            day.join("fault_list.json"),
            r#"[{"inject_time": "2022-08-22 09:31:10", "inject_pod": "pay-1", "inject_type": "network_delay"}]"#,
        )
        .unwrap();
        let read = ONLINE_BOUTIQUE.read(folder.path(), "2022-08-22/00", Mode::Blind).unwrap();
        assert_eq!(read.0.links.len(), 1, "a service without a pod has no link");
        let answer = ONLINE_BOUTIQUE.answer(&read);
        assert!(answer.culprits[0].because[0].contains("callers wait"), "{answer:?}");
    }

    #[test]
    fn a_day_without_signals_has_an_empty_answer() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("2023-01-29");
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join("fault_list.json"), r#"[{"inject_time": "2023-01-29 09:00:30"}]"#)
            .unwrap();
        let read = TRAIN_TICKET.read(folder.path(), "2023-01-29/00", Mode::Blind).unwrap();
        assert!(TRAIN_TICKET.answer(&read).culprits.is_empty());
    }
}
