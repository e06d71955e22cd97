//! What changed in the patterns of a log between two windows of time.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::line::Severity;
use crate::miner::{Snapshot, TemplateId};

/// How often each pattern came in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Length of the window in nanoseconds.
    pub duration: u64,
    /// Lines by pattern.
    pub counts: HashMap<TemplateId, u64>,
}

impl Window {
    /// The window between two snapshots of one miner, `duration` nanoseconds
    /// apart. Templates that merged meanwhile are counted under their new names.
    pub fn between(earlier: &Snapshot, later: &Snapshot, duration: u64) -> Self {
        let names: HashMap<TemplateId, TemplateId> = later.merged.iter().copied().collect();
        let mut counts: HashMap<_, _> =
            later.patterns.iter().map(|pattern| (pattern.id, pattern.count)).collect();
        for pattern in &earlier.patterns {
            if let Some(count) = counts.get_mut(&present(&names, pattern.id)) {
                *count = count.saturating_sub(pattern.count);
            }
        }
        counts.retain(|_, count| *count > 0);
        Self { duration, counts }
    }

    /// The same with the names of `later`, for a window that was taken before.
    #[must_use]
    pub fn renamed(&self, later: &Snapshot) -> Self {
        let names: HashMap<TemplateId, TemplateId> = later.merged.iter().copied().collect();
        let mut counts = HashMap::new();
        for (id, count) in &self.counts {
            *counts.entry(present(&names, *id)).or_default() += count;
        }
        Self { duration: self.duration, counts }
    }
}

/// Merges point from younger to older names, so the chain ends.
fn present(names: &HashMap<TemplateId, TemplateId>, id: TemplateId) -> TemplateId {
    let mut id = id;
    while let Some(next) = names.get(&id).filter(|next| **next < id) {
        id = *next;
    }
    id
}

/// How a pattern changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Came only after.
    New,
    /// Came much more often after.
    Bursting,
    /// Came only before, often enough that its absence is no chance.
    Vanished,
}

/// A pattern that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatternChange {
    /// Its name.
    pub id: TemplateId,
    /// Its text, `<*>` for values.
    pub template: String,
    /// The severity it states.
    pub severity: Option<Severity>,
    /// How it changed.
    pub kind: ChangeKind,
    /// Lines in the window before.
    pub before: u64,
    /// Lines in the window after.
    pub after: u64,
    /// Log-likelihood ratio (G) of the two rates; above about 11 chance is out of
    /// the question for a single pattern.
    pub score: f64,
}

/// Rate ratio from which on a pattern bursts.
const BURST: f64 = 3.0;
/// Critical value of G with one degree of freedom at p = 0.001.
const CRITICAL: f64 = 10.83;

/// Compares two windows of one miner; the most telling change first: severity,
/// then score. `names` holds the text of both windows' patterns (a snapshot taken
/// at or after the end of the later one).
///
/// Rates are compared by the G test for two Poisson counts (Dunning 1993), with
/// the critical value raised for the number of patterns compared.
pub fn compare(before: &Window, after: &Window, names: &Snapshot) -> Vec<PatternChange> {
    let before = before.renamed(names);
    let known = names.patterns.len().max(1) as f64;
    let critical = CRITICAL + 2.0 * known.ln();
    let mut changes = Vec::new();
    for pattern in &names.patterns {
        let count = |window: &Window| window.counts.get(&pattern.id).copied().unwrap_or(0);
        let (old, new) = (count(&before), count(after));
        let score = likelihood_ratio(old, before.duration, new, after.duration);
        if let Some(kind) = kind(old, new, score, critical, &before, after) {
            changes.push(PatternChange {
                id: pattern.id,
                template: pattern.template.clone(),
                severity: pattern.severity,
                kind,
                before: old,
                after: new,
                score,
            });
        }
    }
    let bad = |change: &PatternChange| change.severity.filter(|found| *found >= Severity::Warn);
    changes.sort_by(|a, b| {
        bad(b).cmp(&bad(a)).then(b.score.total_cmp(&a.score)).then(a.id.cmp(&b.id))
    });
    changes
}

fn kind(
    old: u64,
    new: u64,
    score: f64,
    critical: f64,
    before: &Window,
    after: &Window,
) -> Option<ChangeKind> {
    let ratio = (new as f64 * before.duration as f64) / (old as f64 * after.duration as f64);
    match (old, new) {
        (0, 0) => None,
        (0, _) => Some(ChangeKind::New),
        (_, 0) => (score >= critical).then_some(ChangeKind::Vanished),
        _ => (ratio >= BURST && score >= critical).then_some(ChangeKind::Bursting),
    }
}

/// `2 * sum(observed * ln(observed / expected))` where both windows share one rate.
fn likelihood_ratio(old: u64, before: u64, new: u64, after: u64) -> f64 {
    let total = (old + new) as f64;
    let time = before as f64 + after as f64;
    if total == 0.0 || time == 0.0 {
        return 0.0;
    }
    let part = |count: u64, duration: u64| {
        let expected = total * duration as f64 / time;
        if count == 0 { 0.0 } else { count as f64 * (count as f64 / expected).ln() }
    };
    (2.0 * (part(old, before) + part(new, after))).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::{Config, Miner};

    const MINUTE: u64 = 60_000_000_000;

    fn mine(miner: &mut Miner, lines: &[(&str, usize)]) -> Snapshot {
        for (line, times) in lines {
            (0..*times).for_each(|_| {
                miner.add(line, 0);
            });
        }
        miner.snapshot()
    }

    fn changes(first: &[(&str, usize)], second: &[(&str, usize)]) -> Vec<(ChangeKind, String)> {
        let mut miner = Miner::new(Config::default());
        let start = miner.snapshot();
        let middle = mine(&mut miner, first);
        let end = mine(&mut miner, second);
        let before = Window::between(&start, &middle, 10 * MINUTE);
        let after = Window::between(&middle, &end, MINUTE);
        compare(&before, &after, &end)
            .into_iter()
            .map(|found| (found.kind, found.template))
            .collect()
    }

    #[test]
    fn new_bursting_and_vanished() {
        let found = changes(
            &[
                ("request served in 3 ms", 1000),
                ("heartbeat from peer", 600),
                ("retry now please", 10),
            ],
            &[
                ("request served in 9 ms", 100),
                ("ERROR cannot open file", 1),
                ("retry now please", 40),
            ],
        );
        assert_eq!(
            found,
            [
                (ChangeKind::New, "ERROR cannot open file".to_owned()),
                (ChangeKind::Bursting, "retry now please".to_owned()),
                (ChangeKind::Vanished, "heartbeat from peer".to_owned()),
            ]
        );
    }

    #[test]
    fn equal_rates_are_no_change() {
        let found =
            changes(&[("a steady line here", 100), ("rare one", 1)], &[("a steady line here", 12)]);
        assert_eq!(found, []);
    }

    #[test]
    fn a_merge_between_windows_is_not_news() {
        let lines = |from: u8, to: u8| -> Vec<String> {
            (from..to)
                .map(|at| format!("the quick brown {}fox jumps over", char::from(b'a' + at)))
                .collect()
        };
        let (first, second) = (lines(0, 3), lines(3, 8));
        let pairs = |lines: &'static [String]| -> Vec<(&'static str, usize)> {
            lines.iter().map(|line| (line.as_str(), 5)).collect()
        };
        let found = changes(&pairs(first.leak()), &pairs(second.leak()));
        assert!(found.iter().all(|(kind, _)| *kind != ChangeKind::New), "{found:?}");
    }

    #[test]
    fn the_ratio_is_symmetric_and_zero_for_equal_rates() {
        assert!(likelihood_ratio(10, 5, 10, 5).abs() < 1e-9);
        let there = likelihood_ratio(1, 7, 50, 7);
        assert!((there - likelihood_ratio(50, 7, 1, 7)).abs() < 1e-9);
        assert!(likelihood_ratio(0, 0, 0, 0).abs() < 1e-9);
    }
}
