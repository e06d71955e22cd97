//! Which change explains what fails.

use std::collections::BTreeSet;

use serde::Serialize;

use super::reach::{Reach, by_name, is_given_up, origins};
use super::words::{Rarity, words};
use super::{Commit, Incident, diff};

/// A change that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// How well it explains what fails, 0 to 1.
    pub strength: f64,
    /// What it does and what speaks against it.
    pub why: String,
}

/// Shared words, in words that nothing else mentions, at which a change has two thirds of all relevance.
const RELEVANT: f64 = 1.0;
/// What a shared word counts that the change says of itself, against one that it changes.
const SAID: f64 = 0.4;
/// What is left of a change that no deploy carries: code that others use may have gone
/// live with them, code of one service has not.
const CARRIED: f64 = 0.8;
const NOT_LIVE: f64 = 0.25;
/// What is left of a change of a service that has nothing to do with the incident.
const ELSEWHERE: f64 = 0.4;
/// Seconds after which a change that did no harm so far is half as likely.
const OLD: f64 = 7200.0;
/// Folders of code that several services use.
const SHARED: [&str; 6] = ["pkg/", "lib/", "libs/", "shared/", "common/", "internal/"];

/// All changes, the likeliest first.
pub(super) fn judge(incident: &Incident, reach: &Reach) -> Vec<Refused> {
    let failure = failure(incident);
    let said: Vec<BTreeSet<String>> = incident.commits.iter().map(said).collect();
    let rarity = Rarity::new(said.iter());
    let mut judged: Vec<Refused> = incident
        .commits
        .iter()
        .zip(&said)
        .map(|(commit, said)| judge_one(incident, reach, commit, said, &failure, &rarity))
        .collect();
    judged.sort_by(|a, b| b.strength.total_cmp(&a.strength).then_with(|| a.id.cmp(&b.id)));
    judged
}

/// Words of what fails: bad patterns, errors of failing traces, the complaint.
fn failure(incident: &Incident) -> BTreeSet<String> {
    let patterns = incident.patterns.iter().filter(|p| p.bad && p.added > 0.0);
    let patterns = patterns.filter(|p| !is_given_up(&p.text)).map(|p| p.text.as_str());
    let ends = origins(&incident.steps);
    let ends = ends.iter().flat_map(|step| [step.error.as_str(), step.name.as_str()]);
    let mut found: BTreeSet<String> =
        patterns.chain(ends).chain([incident.complaint.as_str()]).flat_map(words).collect();
    // A service's name says where, not what.
    for name in incident.observed.entities.iter().flat_map(|name| words(name)) {
        found.remove(&name);
    }
    found
}

/// Words of a change's message and files.
fn said(commit: &Commit) -> BTreeSet<String> {
    commit.files.iter().chain([&commit.message]).flat_map(|text| words(text)).collect()
}

fn judge_one(
    incident: &Incident,
    reach: &Reach,
    commit: &Commit,
    said: &BTreeSet<String>,
    failure: &BTreeSet<String>,
    rarity: &Rarity,
) -> Refused {
    let effect = diff::effect(&commit.files, commit.diff.as_deref());
    let told = |words: &BTreeSet<String>| -> f64 {
        words.intersection(failure).map(|word| rarity.of(word)).sum()
    };
    let shared = told(&effect.words) + SAID * told(said);
    let relevance = 1.0 - (-shared / RELEVANT).exp();
    let (live, at, how) = live(incident, reach, commit);
    let recent = reach
        .onset
        .map_or(1.0, |onset| if at > onset { 0.0 } else { 1.0 / (1.0 + (onset - at) / OLD) });
    let late = if recent <= 0.0 { "; it came after the beginning" } else { "" };
    Refused {
        id: commit.id.clone(),
        strength: effect.strength * relevance * live * recent,
        why: format!(
            "{}; it shares {:.0} % of what can be shared with what fails; {how}{late}",
            effect.why,
            relevance * 100.0
        ),
    }
}

/// How surely a change ran where it hurts, since when, and how that is known.
fn live(incident: &Incident, reach: &Reach, commit: &Commit) -> (f64, f64, &'static str) {
    let names = by_name(&incident.observed.entities);
    let near = |service: &str| {
        let entity = names.get(service).copied();
        entity.is_some_and(|e| reach.first == Some(e) || reach.affected.contains(&e))
    };
    let own = incident.deploys.iter().filter(|d| d.commit == commit.id);
    if let Some(first) = own.min_by(|a, b| a.at.total_cmp(&b.at)) {
        return if near(&first.service) {
            (1.0, first.at, "it went live where it hurts")
        } else {
            (ELSEWHERE, first.at, "it went live elsewhere")
        };
    }
    let shared = commit.files.iter().any(|f| SHARED.iter().any(|s| f.contains(s)));
    let later = |d: &&super::Deploy| d.at >= commit.at && reach.onset.is_none_or(|o| d.at <= o);
    let carrier = incident.deploys.iter().filter(later).min_by(|a, b| a.at.total_cmp(&b.at));
    match carrier.filter(|_| shared) {
        Some(carrier) => (CARRIED, carrier.at, "others use it and were deployed since"),
        None => (NOT_LIVE, commit.at, "no deploy carries it"),
    }
}
