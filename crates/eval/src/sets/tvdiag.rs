//! The sets of `TVDiag`: what others noticed of metrics, logs and traces, by incident.
//!
//! There are no series and no times: an incident is a list of notices. The other
//! incidents of the set stand for the past, without their labels. Instances are ranked
//! by HR@1 and HR@3; the type is scored as the authors do, by the F1 of weighted
//! precision and recall.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use taproot_diagnosis::locate::{Kind, Located, Notice, Observed, Question, What, locate};

use super::located::{self, Truth};
use crate::adapter::{Adapter, Judged, Marks, mean_by_group};
use crate::error::EvalError;
use crate::files;
use crate::mode::Mode;
use crate::outcome::{ALL, Measure};
use crate::ranking;
use crate::reliability::Claim;

/// One of the sets.
#[derive(Debug)]
pub(super) struct TvDiag {
    name: &'static str,
    about: &'static str,
    /// What the set's types are in the engine's terms: only for the scorer.
    types: &'static [(&'static str, Kind)],
}

/// A shop with two replicas of most services.
pub(super) const SOCK_SHOP: TvDiag = TvDiag {
    name: "tvdiag_sockshop",
    about: "notices of a shop's incidents: instance HR@1, HR@3, fault type F1",
    types: &[
        ("pod-failure", Kind::Stopped),
        ("pod-kill", Kind::Restarted),
        ("network-corrupt", Kind::Cut),
        ("network-loss", Kind::Lossy),
        ("network-delay", Kind::Slow),
        ("memory", Kind::Memory),
        ("cpu", Kind::Cpu),
    ],
};
/// Five services of two replicas.
pub(super) const GAIA: TvDiag = TvDiag {
    name: "tvdiag_gaia",
    about: "notices of incidents in a login system: instance HR@1, HR@3, fault type F1",
    types: &[
        ("[memory_anomalies]", Kind::Memory),
        ("[login failure]", Kind::Failing),
        ("[file moving program]", Kind::Disk),
    ],
};

/// Rows of an incident, by its number.
type Rows = BTreeMap<String, Vec<Vec<String>>>;

/// All incidents of a set.
struct Incidents {
    metrics: Rows,
    logs: Rows,
    traces: Rows,
}

impl Incidents {
    fn read(folder: &Path) -> Result<Self, EvalError> {
        let read = |name: &str| files::json(&folder.join(name));
        Ok(Self {
            metrics: read("metrics.json")?,
            logs: read("logs.json")?,
            traces: read("traces.json")?,
        })
    }

    fn notices(&self, incident: &str, observed: &mut Observed) -> Vec<Notice> {
        let mut notices = Vec::new();
        let of = |rows: &Rows| rows.get(incident).cloned().unwrap_or_default();
        for row in of(&self.metrics) {
            // Some sets tell the instance's address between its name and the metric.
            let [instance, .., name, direction] = row.as_slice() else { continue };
            let what = What::Metric { name: name.clone(), up: direction == "up" };
            notices.push(Notice { entity: observed.entity(instance), what });
        }
        for row in of(&self.logs) {
            let [instance, template] = row.as_slice() else { continue };
            // A template's name may begin with its instance's; replicas write the same lines.
            let own = template.strip_prefix(instance.as_str()).unwrap_or(template);
            let what = What::Log { template: own.trim_start_matches('-').to_owned() };
            notices.push(Notice { entity: observed.entity(instance), what });
        }
        for row in of(&self.traces) {
            let [caller, callee, operation, state] = row.as_slice() else { continue };
            let what = What::Call {
                callee: observed.entity(callee),
                operation: path(operation).to_owned(),
                // PD is degraded performance; all else is a status of a failure.
                failed: state != "PD",
            };
            notices.push(Notice { entity: observed.entity(caller), what });
        }
        notices
    }
}

/// An operation without the host that serves it.
fn path(operation: &str) -> &str {
    let after_scheme = operation.split_once("://").map(|(_, rest)| rest);
    after_scheme.and_then(|rest| rest.split_once('/')).map_or(operation, |(_, path)| path)
}

impl Adapter for TvDiag {
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
        let nodes: BTreeMap<String, Vec<String>> = files::json(&folder.join("nodes.json"))?;
        Ok(nodes.into_keys().collect())
    }

    /// All modes are alike: nothing here has a time.
    fn read(&self, folder: &Path, case: &str, _: Mode) -> Result<Self::Case, EvalError> {
        let nodes: BTreeMap<String, Vec<String>> = files::json(&folder.join("nodes.json"))?;
        let incidents = Incidents::read(folder)?;
        let mut observed = Observed::default();
        observed.notices = incidents.notices(case, &mut observed);
        for other in nodes.keys().filter(|other| *other != case) {
            let notices = incidents.notices(other, &mut observed);
            observed.earlier.push(notices);
        }
        // Callers from outside have a name of their own, and are no instance.
        let instances: BTreeSet<&String> = nodes.values().flatten().collect();
        let names = observed.entities.iter().enumerate();
        let outside = names.filter(|(_, name)| !instances.contains(name)).map(|(at, _)| at);
        observed.outsiders = outside.collect();
        Ok((observed, Question::default()))
    }

    fn answer(&self, (observed, question): &Self::Case) -> Located {
        locate(observed, question)
    }

    fn truths(&self, folder: &Path) -> Result<BTreeMap<String, Truth>, EvalError> {
        let table = files::csv(&folder.join("label.csv"))?;
        let [case, entity, group] = ["index", "instance", "anomaly_type"].map(|c| table.column(c));
        let (case, entity, group) = (case?, entity?, group?);
        let truth = |row: &csv::StringRecord| {
            let (entity, group) = (row[entity].to_owned(), row[group].to_owned());
            (row[case].to_owned(), Truth { entity, metric: None, group })
        };
        Ok(table.rows.iter().map(truth).collect())
    }

    fn group(&self, truth: &Truth) -> String {
        truth.group.clone()
    }

    fn score(&self, answer: &Located, truth: &Truth) -> Marks {
        let rank = located::rank(answer, &truth.entity);
        let right = self.kind(answer) == Some(truth.group.as_str());
        Marks::from([
            ("HR@1", ranking::within(rank, 1)),
            ("HR@3", ranking::within(rank, 3)),
            ("type", f64::from(u8::from(right))),
        ])
    }

    fn claim(&self, answer: &Located, truth: &Truth) -> Option<Claim> {
        located::claim(answer, truth)
    }

    fn brief(&self, answer: &Located) -> String {
        format!("{}; {}", self.kind(answer).unwrap_or("no type"), located::brief(answer))
    }

    fn brief_truth(&self, truth: &Truth) -> String {
        located::brief_truth(truth)
    }

    fn summary(&self, cases: &[Judged<Self>]) -> Vec<Measure> {
        let mut table = mean_by_group(cases.iter().map(|c| (c.group.as_str(), &c.marks)));
        let types: Vec<_> =
            cases.iter().map(|c| (c.group.as_str(), self.kind(&c.answer))).collect();
        let f1 = f1(&types);
        table.push(Measure {
            group: ALL.into(),
            name: "type F1".into(),
            value: f1,
            cases: cases.len(),
        });
        table
    }
}

impl TvDiag {
    /// The likeliest kind of the first culprit that this set has a name for.
    fn kind(&self, answer: &Located) -> Option<&'static str> {
        let kinds = &answer.culprits.first()?.kinds;
        let name =
            |kind: &Kind| self.types.iter().find(|(_, of)| of == kind).map(|(name, _)| *name);
        kinds.iter().find_map(name)
    }
}

/// F1 of precision and recall, each the mean over the true types by their number.
fn f1(types: &[(&str, Option<&str>)]) -> f64 {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for (truth, _) in types {
        *counts.entry(truth).or_default() += 1.0;
    }
    let (mut precision, mut recall) = (0.0, 0.0);
    for (name, of) in &counts {
        let named = types.iter().filter(|(_, said)| *said == Some(*name));
        let said = named.clone().count() as f64;
        let right = named.filter(|(truth, _)| truth == name).count() as f64;
        precision += of * right / f64::max(said, 1.0) / types.len() as f64;
        recall += right / types.len() as f64;
    }
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replica_that_differs_is_found_with_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("nodes.json", r#"{"0": ["cart-0", "cart-1"], "1": ["cart-0", "cart-1"]}"#);
        write(
            "metrics.json",
            r#"{"0": [["cart-0", "cpu_usage", "up"], ["cart-1", "dest_qps", "down"], ["odd"]],
                "1": [["cart-1", "10.0.0.1", "dest_qps", "down"]]}"#,
        );
        write("logs.json", r#"{"0": [["cart-1", "cart-1-7"]], "1": [["cart-1", "cart-1-7"]]}"#);
        write("traces.json", r#"{"0": [["-1", "cart-0", "http://10.0.0.1:80/get", "PD"]]}"#);
        write("label.csv", "index,instance,anomaly_type,split\n0,cart-0,cpu,train\n");
        let truths = SOCK_SHOP.truths(folder.path()).unwrap();
        let answer = SOCK_SHOP.answer(&SOCK_SHOP.read(folder.path(), "0", Mode::Blind).unwrap());
        let marks = SOCK_SHOP.score(&answer, &truths["0"]);
        assert!(marks.values().all(|v| (v - 1.0).abs() < 1e-12), "{answer:?}");
    }

    #[test]
    fn f1_is_of_weighted_means() {
        let types = [("a", Some("a")), ("a", Some("b")), ("b", Some("b")), ("b", None)];
        // Precision 1 and 1/2, recall 1/2 and 1/2, both types equally often.
        assert!((f1(&types) - 0.6).abs() < 1e-12);
        assert!(f1(&[("a", None)]).abs() < 1e-12 && f1(&[]).abs() < 1e-12);
    }

    #[test]
    fn operations_lose_their_host() {
        assert_eq!(path("http://0.0.0.2:9387/get_value"), "get_value");
        assert_eq!(path("/carts/items"), "/carts/items");
    }
}
