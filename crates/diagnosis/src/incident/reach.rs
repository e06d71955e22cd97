//! Which services left their range, when, and where it began.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Incident, Step};
use crate::bound::{self, Direction, Sensitivity};
use crate::locate::{Aspect, Entity};

/// Words of work that a caller gave up: the trouble is the caller's.
const GIVEN_UP: [&str; 3] = ["cancel", "client disconnected", "broken pipe"];
/// What the alarm counts in the search for where it began.
const ALARM: f64 = 0.25;
/// Seconds within which services left their range together.
const TOGETHER: f64 = 120.0;
/// What leaving it first counts.
const FIRST: f64 = 0.5;

/// What was reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reach {
    /// When the first figure of where it began left its range.
    pub(super) onset: Option<f64>,
    /// Where it began.
    pub(super) first: Option<Entity>,
    /// The other services whose figures left their range for the worse.
    pub(super) affected: Vec<Entity>,
}

/// An excursion of a series in its own time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Left {
    pub(super) from: f64,
    pub(super) normal: f64,
    pub(super) level: f64,
}

/// Whether a text tells of work that its caller gave up.
pub(super) fn is_given_up(text: &str) -> bool {
    let lower = text.to_lowercase();
    GIVEN_UP.iter().any(|words| lower.contains(words))
}

/// The latest excursion of a series whose points may come in any order.
pub(super) fn excursion(points: &[(f64, f64)]) -> Option<Left> {
    let mut points: Vec<(f64, f64)> =
        points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let values: Vec<Option<f64>> = points.iter().map(|p| Some(p.1)).collect();
    let found = bound::bound(&values, Direction::Both, &Sensitivity::default())?;
    let from = points.get(found.from)?.0;
    Some(Left { from, normal: found.normal, level: found.level })
}

/// Whether a shift of a metric is trouble that users feel. A resource in use, and more
/// requests, are none by themselves; a figure of no known meaning is, either way.
fn is_worse(metric: &str, left: &Left) -> bool {
    let rose = left.level > left.normal;
    match Aspect::of(metric) {
        Aspect::Latency | Aspect::Errors | Aspect::Queue => rose,
        Aspect::Success | Aspect::Traffic => !rose,
        Aspect::Cpu | Aspect::Memory | Aspect::Disk | Aspect::Network => false,
        Aspect::Other => !is_given_up(metric),
    }
}

/// Failing steps that no failing step below explains, and that nobody gave up: the
/// ends of failing traces.
pub(super) fn origins(steps: &[Step]) -> Vec<&Step> {
    let fails = |s: &&Step| s.failed && !is_given_up(&s.error);
    let explained: BTreeSet<u64> = steps.iter().filter(fails).filter_map(|s| s.parent).collect();
    steps.iter().filter(fails).filter(|s| !explained.contains(&s.id)).collect()
}

/// Reads an incident's figures.
pub(super) fn reach(incident: &Incident) -> Reach {
    let mut left: BTreeMap<Entity, f64> = BTreeMap::new();
    for series in &incident.observed.series {
        let found = excursion(&series.points).filter(|found| is_worse(&series.metric, found));
        if let Some(found) = found {
            let first = left.entry(series.entity).or_insert(found.from);
            *first = first.min(found.from);
        }
    }
    let first = beginning(incident, &left);
    let onset = first
        .and_then(|first| left.get(&first).copied())
        .or_else(|| left.values().copied().reduce(f64::min));
    let affected = left.keys().copied().filter(|entity| Some(*entity) != first).collect();
    Reach { onset, first, affected }
}

/// The service that most speaks for: the lines it adds, the failing traces that end in
/// it, leaving its range first, the alarm.
fn beginning(incident: &Incident, left: &BTreeMap<Entity, f64>) -> Option<Entity> {
    let mut votes: BTreeMap<Entity, f64> = left.keys().map(|entity| (*entity, 0.0)).collect();
    let mut vote = |entity: Entity, weight: f64| *votes.entry(entity).or_default() += weight;
    let bad =
        || incident.patterns.iter().filter(|p| p.bad && p.added > 0.0 && !is_given_up(&p.text));
    let lines: f64 = bad().map(|p| p.added).sum();
    for pattern in bad() {
        vote(pattern.entity, pattern.added / lines);
    }
    let origins = origins(&incident.steps);
    for step in &origins {
        vote(step.entity, 1.0 / origins.len() as f64);
    }
    if let Some(earliest) = left.values().copied().reduce(f64::min) {
        let soon = |at: &f64| *at <= earliest + TOGETHER;
        let together: Vec<Entity> =
            left.iter().filter(|(_, at)| soon(at)).map(|(entity, _)| *entity).collect();
        for entity in &together {
            vote(*entity, FIRST / together.len() as f64);
        }
    }
    if let Some(alarmed) = incident.alarmed {
        vote(alarmed, ALARM);
    }
    let best = votes.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)))?;
    Some(*best.0)
}

/// Entities by name, for what names services in words.
pub(super) fn by_name(names: &[String]) -> HashMap<&str, Entity> {
    names.iter().enumerate().map(|(entity, name)| (name.as_str(), entity)).collect()
}
