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
//! | `notices` | whose notices are rare, early, and not what its replicas show too? |
//! | `signs` | what is a notice to each entity it is about, and when was it raised? |
//! | `load` | whose load went to its replicas? |
//! | `kind` | what kind of fault do they look like? |
//! | `resources` | which resource of an entity left its normal range? |
//! | `links` | on which links does a caller wait longer than its callee works? |
//! | `spans` | where along the traces is time added: in an entity, on a link? |
//! | `sequences` | whose code took another way, as its log lines tell? |
//! | `explained` | ... and did it in requests in which nothing below it did? |
//! | `structure` | whose code took another way, as its spans tell? |

mod explained;
mod impact;
mod kind;
mod links;
mod load;
mod notices;
mod observed;
mod onset;
mod resources;
mod sequences;
mod shift;
mod signs;
mod spans;
mod statement;
mod structure;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;

pub use kind::Kind;
pub use observed::{
    Alarm, Call, Entity, Line, Link, Notice, Observed, Question, Series, Span, What,
};
pub use onset::Onset;
pub use statement::statement;
pub use words::Aspect;

use crate::{stats, units};

/// One that may be to blame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Culprit {
    /// Name of the entity.
    pub entity: String,
    /// Orders the list; equal means that nothing tells them apart.
    pub score: f64,
    /// 0 to 1: how often an answer like this is right, by how far it stands out from the
    /// others and how strong it is; calibrated over the public sets (decision 0049).
    pub confidence: f64,
    /// The metric that moved farthest and is no mere symptom, if one did.
    pub metric: Option<String>,
    /// What that metric is about.
    pub aspect: Option<Aspect>,
    /// Kinds of fault that its notices look like, the most likely first; empty where
    /// nothing was noticed.
    pub kinds: Vec<Kind>,
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
const RESOURCE: (f64, f64) = (3.0, 100.0);
/// Voice of a resource that is used up, however far it moved.
const FULL: f64 = 0.9;
/// What is left of the voice of a resource of which nine tenths are free.
const AT_EASE: f64 = 0.25;
/// How much each kind of evidence counts, the strongest kind counting one.
const OWN_MASS: f64 = 1.0;
const RESOURCE_WEIGHT: f64 = 0.9;
const OWN_TIME: f64 = 0.5;
const LINKS: f64 = 0.6;
/// Added waiting on links that both ends tell of, from which and up to which it speaks.
const GAP: (f64, f64) = (3.0, 100.0);
const GAP_WEIGHT: f64 = 0.9;
/// Share of all time in traces from which added time counts in full.
const MATTERS: f64 = 0.1;
/// Surprise of log sequences at which they speak with two thirds of their voice.
const SURPRISING: f64 = 1.5;

/// Amount of rare notices at which they speak with half of their voice.
const RARE: f64 = 10.0;
const NOTICES: f64 = 0.9;
/// How much more likely a culprit is for a higher score, as a power: the one that makes
/// confidence agree with how often it is right over all public sets together.
const SHARPNESS: i32 = 6;

/// What speaks for one entity.
#[derive(Clone, Debug, Default)]
struct Case {
    strengths: Vec<f64>,
    because: Vec<(f64, String)>,
    metric: Option<String>,
    aspect: Option<Aspect>,
    kinds: Vec<Kind>,
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
    let mut cases: BTreeMap<Entity, Case> = BTreeMap::new();
    blame_notices(observed, &mut cases);
    let Some(from) = from.or(question.noticed) else {
        return Located { onset: None, culprits: ranked(observed, cases) };
    };
    if let Some(alarm) = question.alarm {
        let symptom = impact::series(observed, alarm.entity, alarm.aspect);
        let healthy =
            symptom.is_some_and(|series| !impact::is_troubled(series, alarm.aspect, from));
        if healthy && !impact::is_unheard_of_below(observed, alarm, from) {
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
    blame_links(observed, from, &mut cases);
    blame_spans(observed, from, &mut cases);
    blame_sequences(observed, from, &mut cases);
    blame_structure(observed, from, &mut cases);
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
        let (what, words): (_, fn(f64) -> String) = match alarm.aspect {
            Aspect::Latency => ("excess time", units::time),
            _ => ("excess failures", units::number),
        };
        cases.entry(*entity).or_default().add(
            OWN_MASS * mass.own / most,
            format!("{what} of its own: {} of {}", words(mass.own), words(mass.whole)),
        );
    }
}

fn blame_notices(observed: &Observed, cases: &mut BTreeMap<Entity, Case>) {
    for (entity, found) in notices::unusual(observed) {
        let case = cases.entry(entity).or_default();
        case.kinds = found.kinds;
        case.add(
            NOTICES * found.amount / (found.amount + RARE),
            format!("{}, in {} of {} episodes", found.rarest, found.seen.0, found.seen.1),
        );
    }
}

fn blame_links(observed: &Observed, from: f64, cases: &mut BTreeMap<Entity, Case>) {
    for (entity, waits) in links::waits(&observed.links, from) {
        let far = stats::grade(waits.widest.score, GAP.0, GAP.1);
        cases.entry(entity).or_default().add(
            GAP_WEIGHT * far * waits.around * waits.explains.sqrt(),
            format!(
                "callers wait {} beyond the work, before {}, on {:.0} % of its links in or out",
                units::time(waits.widest.value),
                units::time(waits.widest.normal.level),
                waits.around * 100.0
            ),
        );
    }
}

fn blame_spans(observed: &Observed, from: f64, cases: &mut BTreeMap<Entity, Case>) {
    let spans::Found { added, total } = spans::added(observed, from);
    let sum = |what: fn(&spans::Added) -> f64| added.values().map(what).sum::<f64>();
    let (own, links) = (sum(|a| a.own), sum(|a| a.links));
    // Added time that is a small part of all time is nobody's trouble.
    let matters = |excess: f64| (excess / total.max(f64::MIN_POSITIVE) / MATTERS).min(1.0);
    for (entity, added) in added {
        let case = cases.entry(entity).or_default();
        if added.own > 0.0 {
            let why =
                format!("{} of own time added, of {}", units::time(added.own), units::time(own));
            case.add(OWN_TIME * matters(own) * added.own / own, why);
        }
        if added.links > 0.0 {
            let why = format!(
                "{} added on links around it, of {}; {:.0} % of its calls go over them",
                units::time(added.links),
                units::time(links),
                added.around * 100.0
            );
            let share = (added.links / links).sqrt() * added.around;
            case.add(LINKS * matters(links) * share, why);
        }
    }
}

fn blame_sequences(observed: &Observed, from: f64, cases: &mut BTreeMap<Entity, Case>) {
    let name = |at: Option<u32>, edge: &str| -> String {
        let Some(at) = at else { return edge.to_owned() };
        observed.templates.get(at as usize).cloned().unwrap_or_else(|| format!("#{at}"))
    };
    let (graph, parents) = (observed.graph(), observed.parents());
    for (entity, found) in sequences::surprises(&observed.lines, &graph, &parents, from) {
        cases.entry(entity).or_default().add(
            1.0 - (-found.amount / SURPRISING).exp(),
            format!(
                "in its log, {:?} follows {:?} in {:.0} % of cases, before in {:.0} %",
                name(found.next, "the end"),
                name(found.after, "the beginning"),
                found.now * 100.0,
                found.before * 100.0
            ),
        );
    }
}

fn blame_structure(observed: &Observed, from: f64, cases: &mut BTreeMap<Entity, Case>) {
    for (entity, found) in structure::surprises(observed, from) {
        cases.entry(entity).or_default().add(
            1.0 - (-found.amount / SURPRISING).exp(),
            format!(
                "a span of it {} in {:.0} % of cases, before in {:.0} %",
                if found.next.is_none() {
                    "ends after another call"
                } else {
                    "goes on to another call"
                },
                found.now * 100.0,
                found.before * 100.0
            ),
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
        if !moved.aspect.is_cause() {
            continue;
        }
        let moved_far = stats::grade(moved.shift.score.abs(), RESOURCE.0, RESOURCE.1);
        let strength = if moved.is_full() { moved_far.max(FULL) } else { moved_far };
        let strength = if moved.at_ease { AT_EASE * strength } else { strength };
        case.add(
            RESOURCE_WEIGHT * strength,
            format!(
                "{} {} instead of {}, {} times what it varies by",
                moved.metric,
                units::quantity(moved.metric, moved.shift.value),
                units::quantity(moved.metric, moved.shift.normal.level),
                units::number(moved.shift.score.abs())
            ),
        );
    }
}

fn ranked(observed: &Observed, cases: BTreeMap<Entity, Case>) -> Vec<Culprit> {
    let mut culprits: Vec<Culprit> = cases
        .into_iter()
        .filter(|(entity, case)| !case.strengths.is_empty() && !observed.outsiders.contains(entity))
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
                kinds: case.kinds,
                because: case.because.into_iter().map(|(_, why)| why).collect(),
            }
        })
        .collect();
    // In units of the best score, so that no power of a small one vanishes.
    let best = culprits.iter().map(|culprit| culprit.score).fold(f64::MIN_POSITIVE, f64::max);
    let voice = |culprit: &Culprit| (culprit.score / best).powi(SHARPNESS);
    let all: f64 = culprits.iter().map(voice).sum();
    for culprit in &mut culprits {
        culprit.confidence = culprit.score.clamp(0.0, 1.0).sqrt() * voice(culprit) / all;
    }
    culprits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.entity.cmp(&b.entity)));
    culprits
}

#[cfg(test)]
mod tests;
