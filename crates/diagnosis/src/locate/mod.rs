//! From whatever was observed to a ranked list of culprits, with a bounded beginning.
//!
//! [`locate`] takes series, a call graph, and whatever else an [`Observed`] holds,
//! in any combination; what is missing is not held against anyone, and lowers the
//! confidence. It needs no time of injection: [`Question::noticed`] is a hint that
//! may be late, [`Question::window`] is what is asked about, and both may be left
//! out. There is one configuration for all systems, and a metric's meaning is read
//! from general words in its name ([`Aspect`]).
//!
//! | module | question |
//! |---|---|
//! | `onset` | when did it begin? |
//! | `impact` | which node of the call graph adds the time or the failures itself? |
//! | `resources` | which resource of an entity left its normal range? |

mod impact;
mod observed;
mod onset;
mod resources;
mod shift;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;

pub use observed::{Alarm, Call, Entity, Observed, Question, Series};
pub use onset::Onset;
pub use words::Aspect;

use crate::stats;

/// One that may be to blame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Culprit {
    /// Name of the entity.
    pub entity: String,
    /// Orders the list; equal means that nothing tells them apart.
    pub score: f64,
    /// 0 to 1: how much of all evidence speaks for it, and how strong that is.
    pub confidence: f64,
    /// The metric that moved farthest and is no mere symptom, if one did.
    pub metric: Option<String>,
    /// What that metric is about.
    pub aspect: Option<Aspect>,
    /// What speaks for it, strongest first.
    pub because: Vec<String>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Located {
    /// When it began; `None` when no series tells.
    pub onset: Option<Onset>,
    /// The most likely first; empty when nothing is wrong.
    pub culprits: Vec<Culprit>,
}

/// Shift, in spreads, from which a resource speaks at all, and where it speaks loudest.
const RESOURCE: (f64, f64) = (3.0, 300.0);
/// How much each kind of evidence counts, the strongest kind counting one.
const OWN_MASS: f64 = 1.0;
const RESOURCE_WEIGHT: f64 = 0.6;

/// What speaks for one entity.
#[derive(Clone, Debug, Default)]
struct Case {
    strengths: Vec<f64>,
    because: Vec<(f64, String)>,
    metric: Option<String>,
    aspect: Option<Aspect>,
}

impl Case {
    fn add(&mut self, strength: f64, why: String) {
        self.strengths.push(strength);
        self.because.push((strength, why));
    }
}

/// Ranks the culprits. Never fails: with nothing to go by the answer is empty.
pub fn locate(observed: &Observed, question: &Question) -> Located {
    let alarmed = question.alarm.map(|alarm| of_alarm(observed, alarm));
    let onset = onset::bound(alarmed.as_deref().unwrap_or(&observed.series), question);
    let from = question.window.map(|window| window.0).or(onset.map(|onset| onset.at));
    let Some(from) = from.or(question.noticed) else { return Located::default() };
    let mut cases: BTreeMap<Entity, Case> = BTreeMap::new();
    if let Some(alarm) = question.alarm {
        let symptom = impact::series(observed, alarm.entity, alarm.aspect);
        if symptom.is_some_and(|series| !impact::is_troubled(series, alarm.aspect, from)) {
            return Located { onset, culprits: Vec::new() };
        }
        blame_masses(observed, alarm, from, &mut cases);
    }
    let known: Vec<Entity> = match question.alarm {
        Some(alarm) if !observed.calls.is_empty() => {
            impact::reachable(observed, alarm.entity).into_iter().collect()
        }
        _ => (0..observed.entities.len()).collect(),
    };
    let began = onset.map_or(from, |onset| onset.at);
    blame_resources(observed, began, &known, &mut cases);
    Located { onset, culprits: ranked(observed, cases) }
}

/// The series of what an alarm complains of.
fn of_alarm(observed: &Observed, alarm: Alarm) -> Vec<Series> {
    impact::series(observed, alarm.entity, alarm.aspect).cloned().into_iter().collect()
}

fn blame_masses(observed: &Observed, alarm: Alarm, from: f64, cases: &mut BTreeMap<Entity, Case>) {
    let masses = impact::masses(observed, alarm, from);
    let most = masses.values().map(|mass| mass.own).fold(0.0, f64::max);
    for (entity, mass) in masses.iter().filter(|(_, mass)| mass.own > 0.0 && most > 0.0) {
        let what = if alarm.aspect == Aspect::Latency { "excess time" } else { "excess failures" };
        cases.entry(*entity).or_default().add(
            OWN_MASS * mass.own / most,
            format!("{what} of its own: {:.3} of {:.3}", mass.own, mass.whole),
        );
    }
}

fn blame_resources(
    observed: &Observed,
    onset: f64,
    known: &[Entity],
    cases: &mut BTreeMap<Entity, Case>,
) {
    for moved in resources::moved(observed, onset) {
        if !known.contains(&moved.entity) {
            continue;
        }
        let case = cases.entry(moved.entity).or_default();
        if case.metric.is_none() {
            (case.metric, case.aspect) = (Some(moved.metric.to_owned()), Some(moved.aspect));
        }
        if moved.aspect.is_symptom() {
            continue;
        }
        let strength = stats::grade(moved.shift.score.abs(), RESOURCE.0, RESOURCE.1);
        case.add(
            RESOURCE_WEIGHT * strength,
            format!(
                "{} from {:.4} to {:.4}, {:.1} spreads",
                moved.metric, moved.shift.normal.level, moved.shift.value, moved.shift.score
            ),
        );
    }
}

fn ranked(observed: &Observed, cases: BTreeMap<Entity, Case>) -> Vec<Culprit> {
    let mut culprits: Vec<Culprit> = cases
        .into_iter()
        .filter(|(_, case)| !case.strengths.is_empty())
        .map(|(entity, mut case)| {
            case.because.sort_by(|a, b| b.0.total_cmp(&a.0));
            let score = case.strengths.iter().copied().fold(0.0, f64::max)
                + 0.1 * stats::any_of(case.strengths.iter().copied());
            Culprit {
                entity: observed.entities.get(entity).cloned().unwrap_or_default(),
                score,
                confidence: 0.0,
                metric: case.metric,
                aspect: case.aspect,
                because: case.because.into_iter().map(|(_, why)| why).collect(),
            }
        })
        .collect();
    let all: f64 = culprits.iter().map(|culprit| culprit.score).sum();
    for culprit in &mut culprits {
        culprit.confidence = culprit.score.min(1.0) * culprit.score / all.max(f64::MIN_POSITIVE);
    }
    culprits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.entity.cmp(&b.entity)));
    culprits
}
