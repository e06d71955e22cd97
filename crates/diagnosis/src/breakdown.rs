//! Which requests make the difference: the change of a golden signal of a service, as
//! parts by caller, instance, method and route that add up to it.

use crate::attribute::{self, Attribution, Leaf, Measure, Settings, Table};
use crate::evidence::Link;
use crate::scene::{Calls, Scene, Windows};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use taproot_model::{Histogram, Name, Span};
use taproot_world::Observer;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Mean latency, seconds.
    Latency,
    /// Share of requests that fail.
    Failures,
    /// Requests in the time of the change.
    Load,
}

/// The change of one golden signal of one service, by slices of its requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Breakdown {
    /// Whose requests.
    pub service: Name,
    /// What changed.
    pub changed: Changed,
    /// The slices; they and the rest add up to the change of the whole.
    #[serde(flatten)]
    pub attribution: Attribution,
}

const DIMENSIONS: [&str; 5] = ["caller", "calling instance", "instance", "method", "route"];
type Labels = [Name; DIMENSIONS.len()];

/// Totals of one slice in one window.
#[derive(Clone, Copy, Default)]
struct Totals {
    requests: f64,
    failed: f64,
    seconds: f64,
}

/// Requests by their labels, before and during.
type Rows = BTreeMap<Labels, [Totals; 2]>;

/// Explains a change of the requests to `service`; `None` without a past, and where no
/// slice stands out.
pub(crate) fn breakdown(
    scene: &Scene<'_>,
    service: &Name,
    changed: Changed,
    w: &Windows,
) -> Option<Breakdown> {
    let before = w.before?;
    let rows = rows(scene, service, [before, w.during]);
    let table = table(&rows, changed, [before, w.during], || usual_noise(scene, service, before))?;
    let attribution = without_a_name(attribute::attribute(&table, &Settings::default()));
    let told = attribution.parts.iter().any(|part| !part.labels.is_empty());
    told.then(|| Breakdown { service: service.clone(), changed, attribution })
}

/// A slice without labels is whatever no other slice holds: the rest.
fn without_a_name(mut found: Attribution) -> Attribution {
    let unnamed = found.parts.iter().position(|part| part.labels.is_empty());
    if let Some(at) = unnamed.filter(|_| found.rest.leaves == 0) {
        found.rest = found.parts.remove(at).figures;
    }
    found
}

/// The end of a link whose view is taken, the same in both windows.
fn observer(scene: &Scene<'_>, link: &Link) -> Observer {
    let seen = link.client_seen && scene.calls(link, Observer::Client, scene.span).requests > 0;
    if seen { Observer::Client } else { Observer::Merged }
}

fn rows(scene: &Scene<'_>, service: &str, windows: [Span; 2]) -> Rows {
    let mut rows = Rows::new();
    for link in scene.inbound(service) {
        let observer = observer(scene, link);
        for (side, window) in windows.into_iter().enumerate() {
            for (key, totals) in scene.evidence.requests(&link.key, observer, window) {
                let labels = [
                    link.client.clone(),
                    scene.called(&link.key.client),
                    scene.called(&link.key.server),
                    key.method.clone(),
                    key.route.clone(),
                ];
                let slot = &mut rows.entry(labels).or_default()[side];
                slot.requests += totals.count as f64;
                slot.failed += if key.failed() { totals.count as f64 } else { 0.0 };
                slot.seconds += totals.latency.sum() as f64 / 1e9;
            }
        }
    }
    rows
}

/// Dimensions that tell something: more than one value, and not the same parts as an
/// earlier dimension (the only instance of each caller says no more than the caller).
fn telling(rows: &Rows) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    for dimension in 0..DIMENSIONS.len() {
        let values: BTreeSet<&Name> = rows.keys().map(|labels| &labels[dimension]).collect();
        let repeats = |earlier: &usize| {
            let pairs: BTreeSet<_> = rows.keys().map(|l| (&l[*earlier], &l[dimension])).collect();
            let others: BTreeSet<_> = rows.keys().map(|l| &l[*earlier]).collect();
            pairs.len() == values.len() && pairs.len() == others.len()
        };
        if values.len() > 1 && !chosen.iter().any(repeats) {
            chosen.push(dimension);
        }
    }
    chosen
}

fn table(
    rows: &Rows,
    changed: Changed,
    windows: [Span; 2],
    noise: impl Fn() -> Option<f64>,
) -> Option<Table> {
    let chosen = telling(rows);
    let measure = match changed {
        Changed::Latency => Measure::Mean,
        Changed::Failures => Measure::Share,
        Changed::Load => Measure::Count,
    };
    let mut table = Table::new(measure, chosen.iter().map(|d| DIMENSIONS[*d])).ok()?;
    if let Some(noise) = noise().filter(|_| changed == Changed::Latency) {
        table.noise(noise);
    }
    let mut merged: BTreeMap<Vec<&str>, [Totals; 2]> = BTreeMap::new();
    for (labels, sides) in rows {
        let slot = merged.entry(chosen.iter().map(|d| labels[*d].as_str()).collect()).or_default();
        for (into, from) in slot.iter_mut().zip(sides) {
            into.requests += from.requests;
            into.failed += from.failed;
            into.seconds += from.seconds;
        }
    }
    let [before, during] = windows.map(|w| w.length().as_secs_f64().max(1e-9));
    for (labels, [usual, now]) in merged {
        table.push(&labels, leaf(changed, &usual, &now, during / before)).ok()?;
    }
    Some(table)
}

/// `longer` is the length of the trouble over that of the past.
fn leaf(changed: Changed, usual: &Totals, now: &Totals, longer: f64) -> Leaf {
    let ratio = |of: fn(&Totals) -> f64| Leaf {
        now: of(now),
        now_of: now.requests,
        expected: of(usual),
        expected_of: usual.requests,
    };
    match changed {
        Changed::Latency => ratio(|t| t.seconds),
        Changed::Failures => ratio(|t| t.failed),
        Changed::Load => {
            Leaf { now: now.requests, expected: usual.requests * longer, ..Leaf::default() }
        }
    }
}

/// Variance that one request adds to the sum of latencies, in normal times, seconds
/// squared: the spread of their histogram, its slow tail included.
fn usual_noise(scene: &Scene<'_>, service: &str, before: Span) -> Option<f64> {
    let mut calls = Calls::default();
    for link in scene.inbound(service) {
        calls.merge(&scene.felt(link, before));
    }
    let at = |q: f64| Histogram::quantile(&calls.latency, q).map(|ns| ns / 1e9);
    // The 5 % to 95 % range of a normal distribution is 3.29 standard deviations.
    let spread = (at(0.95)? - at(0.05)?) / 3.29;
    Some(spread * spread)
}
