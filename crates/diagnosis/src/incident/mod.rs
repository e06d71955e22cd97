//! From an incident with its context (deploys, commits, flags, what providers say) to
//! where it began, whom it reached, what caused it and what to do.
//!
//! Metrics, traces, log patterns and changes are read together; any may be missing.
//! Three causes compete: demand that outgrew the service, somebody outside who fails,
//! and a change. A change has to do something to a running program (`diff`), have to
//! do with what fails (`words`), be live, and have come before; so a deploy at the
//! right minute is not enough. Where nothing convinces, no cause is named.
//!
//! | module | question |
//! |---|---|
//! | `reach` | which services left their range, when, and where did it begin? |
//! | `diff` | what does a change do to a running program? |
//! | `changes` | which change explains what fails? |

mod changes;
mod diff;
mod reach;
mod words;

use serde::Serialize;

use crate::locate::{Aspect, Entity, Observed};
use crate::stats;

pub use changes::Refused;

/// A step of a trace, with what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Who worked.
    pub entity: Entity,
    /// Tells it apart within the incident.
    pub id: u64,
    /// The step that caused it; `None` for the root.
    pub parent: Option<u64>,
    /// What was done.
    pub name: String,
    /// Whether it failed.
    pub failed: bool,
    /// Why, as it says itself; empty if it does not.
    pub error: String,
    /// Who was called, if that is nobody of our own.
    pub outside: Option<String>,
}

/// A log pattern of the incident.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern {
    /// Who wrote it.
    pub entity: Entity,
    /// Its text.
    pub text: String,
    /// Lines more than usual; negative if fewer.
    pub added: f64,
    /// Whether it tells of trouble.
    pub bad: bool,
}

/// A change of code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// What tells it apart.
    pub id: String,
    /// When it was made, in the time of the series.
    pub at: f64,
    /// What its author says of it.
    pub message: String,
    /// The files it touches.
    pub files: Vec<String>,
    /// Its text as a unified diff; `None` where it is not known.
    pub diff: Option<String>,
}

/// A version that went live.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deploy {
    /// Of which service.
    pub service: String,
    /// When.
    pub at: f64,
    /// The commit it is built from.
    pub commit: String,
}

/// Somebody outside who says that they are not well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outage {
    /// Who.
    pub who: String,
    /// Since when.
    pub from: f64,
    /// Until when; `None` if it lasts.
    pub to: Option<f64>,
}

/// All that is known of an incident.
#[derive(Clone, Debug, Default)]
pub struct Incident {
    /// Entities, series and calls.
    pub observed: Observed,
    /// Who raised the alarm.
    pub alarmed: Option<Entity>,
    /// Of what, in words.
    pub complaint: String,
    /// Steps of traces.
    pub steps: Vec<Step>,
    /// Log patterns.
    pub patterns: Vec<Pattern>,
    /// Changes of code, in any order.
    pub commits: Vec<Commit>,
    /// Versions that went live.
    pub deploys: Vec<Deploy>,
    /// What providers say of themselves.
    pub outages: Vec<Outage>,
}

/// What caused an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// A change, by its id.
    Change {
        /// Its id.
        id: String,
    },
    /// Demand outgrew the service.
    Load,
    /// Somebody outside.
    Outside {
        /// Who.
        who: String,
    },
    /// Nothing convinces.
    Unknown,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Go back to the version before.
    Rollback,
    /// Add capacity.
    Scale,
    /// Use another provider, or another place of the same.
    Failover,
    /// Look further.
    Investigate,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// When it began, in the time of the series.
    pub onset: Option<f64>,
    /// Where it began.
    pub first: Option<String>,
    /// The other services whose own figures left their range for the worse.
    pub reached: Vec<String>,
    /// What caused it.
    pub cause: Cause,
    /// What to do.
    pub remedy: Remedy,
    /// How well the cause explains it, 0 to 1.
    pub strength: f64,
    /// What speaks for the cause.
    pub because: String,
    /// Changes that were looked at and are not it, with the reason, the likeliest first.
    pub refused: Vec<Refused>,
}

/// How much more load is growth, and how much is surely too much.
const GREW: (f64, f64) = (1.4, 3.0);
/// Seconds by which load may rise after what it causes: series are read step by step.
const SLACK: f64 = 180.0;
/// Seconds around the beginning in which a provider's trouble begins.
const SAME_TIME: f64 = 900.0;
/// What a provider's own word counts, and failing calls to somebody outside.
const SAYS_SO: f64 = 0.7;
const FAILS: f64 = 0.6;
/// Strength from which a cause is named.
const NAMED: f64 = 0.3;
/// Changes told as refused.
const MOST_REFUSED: usize = 8;

/// Explains an incident. Never fails: with nothing to go by nothing is named.
pub fn explain(incident: &Incident) -> Explained {
    let reach = reach::reach(incident);
    let onset = reach.onset;
    let load = (load(incident, reach.first, onset), Cause::Load, Remedy::Scale);
    let (outside, who, why_outside) = outside(incident, onset);
    let outside = (outside, Cause::Outside { who }, Remedy::Failover);
    let mut judged = changes::judge(incident, &reach);
    let change = judged.first().map(|c| (c.strength, c.id.clone(), c.why.clone()));
    let (strength, id, why_change) = change.unwrap_or_default();
    let change = (strength, Cause::Change { id }, Remedy::Rollback);
    let candidates = [
        (load, "requests grew with it, and no change or outage explains more".to_owned()),
        (outside, why_outside),
        (change, why_change),
    ];
    let best = candidates.into_iter().max_by(|a, b| a.0.0.total_cmp(&b.0.0));
    let none = || ((0.0, Cause::Unknown, Remedy::Investigate), String::new());
    let ((strength, cause, remedy), because) =
        best.filter(|((strength, ..), _)| *strength >= NAMED).unwrap_or_else(none);
    judged.retain(|c| cause != Cause::Change { id: c.id.clone() });
    judged.truncate(MOST_REFUSED);
    let name = |entity: &Entity| incident.observed.entities.get(*entity).cloned();
    Explained {
        onset,
        first: reach.first.as_ref().and_then(name),
        reached: reach.affected.iter().filter_map(name).collect(),
        cause,
        remedy,
        strength,
        because,
        refused: judged,
    }
}

/// How far the requests to where it began outgrew the past.
fn load(incident: &Incident, first: Option<Entity>, onset: Option<f64>) -> f64 {
    let (Some(first), Some(onset)) = (first, onset) else { return 0.0 };
    let own = incident.observed.series.iter();
    let own = own.filter(|s| s.entity == first && Aspect::of(&s.metric) == Aspect::Traffic);
    let grown = |series: &crate::locate::Series| {
        let found = reach::excursion(&series.points)?;
        let in_time = found.from <= onset + SLACK && found.level > found.normal;
        (in_time && found.normal > 0.0).then(|| found.level / found.normal)
    };
    // All of its traffic has to grow: one route may grow for another's loss.
    own.map(|series| grown(series).unwrap_or(1.0))
        .reduce(f64::min)
        .map_or(0.0, |times| stats::grade(times, GREW.0, GREW.1))
}

/// How far somebody outside explains it, who, and why.
fn outside(incident: &Incident, onset: Option<f64>) -> (f64, String, String) {
    let origins = reach::origins(&incident.steps);
    let called: Vec<&String> = origins.iter().filter_map(|s| s.outside.as_ref()).collect();
    let share = called.len() as f64 / origins.len().max(1) as f64;
    let lasting = |o: &&Outage| {
        onset.is_some_and(|at| (o.from - at).abs() <= SAME_TIME && o.to.is_none_or(|to| to > at))
    };
    let says = incident.outages.iter().find(lasting);
    let strength = stats::any_of([FAILS * share, if says.is_some() { SAYS_SO } else { 0.0 }]);
    let who = called.first().map(|w| (*w).clone()).or(says.map(|o| o.who.clone()));
    let mut why = Vec::new();
    if let Some(first) = called.first() {
        let (failing, all) = (called.len(), origins.len());
        why.push(format!("{failing} of {all} failing traces end in a call to {first}"));
    }
    why.extend(says.map(|o| format!("{} says it is degraded since then", o.who)));
    (strength, who.unwrap_or_default(), why.join("; "))
}

#[cfg(test)]
mod tests;
