//! Where time is added along traces: in an entity, or on the links around it.
//!
//! What a caller waits beyond what its callee worked is the gap of that link. What
//! a span took beyond its children is its entity's own time. Each is compared with
//! its past; excess times calls is what it costs.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::observed::{Entity, Observed, Span};
use super::shift;
use crate::stats;

/// Shift, in spreads, from which a link or an operation counts as slower.
const SLOWER: f64 = 3.0;
/// Excess that nobody would notice, in seconds.
const UNNOTICED: f64 = 0.002;

/// Excess seconds of one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Added {
    /// Its own time.
    pub(super) own: f64,
    /// On the links around it.
    pub(super) links: f64,
    /// Share of its calls, in and out, that go over such links.
    pub(super) around: f64,
}

/// What was added, and all time that was spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// By entity.
    pub(super) added: BTreeMap<Entity, Added>,
    /// Sum of the time of all roots asked about, in seconds.
    pub(super) total: f64,
}

/// Values before and after, and how many there are after.
#[derive(Default)]
struct Sides {
    before: Vec<f64>,
    after: Vec<f64>,
}

impl Sides {
    fn add(&mut self, after: bool, value: f64) {
        if after { &mut self.after } else { &mut self.before }.push(value);
    }

    /// Excess of all values after, if they are slower.
    fn excess(&self) -> Option<f64> {
        let normal = shift::normal(&self.before)?;
        let value = stats::quantile(&self.after, 0.5)?;
        let high = stats::quantile(&self.after, 0.75)?;
        let slower = (high - normal.level) >= SLOWER * normal.spread.max(UNNOTICED / SLOWER);
        let mean = f64::midpoint(value, high) - normal.level;
        (slower && mean > 0.0).then_some(mean * self.after.len() as f64)
    }
}

/// What each entity adds.
pub(super) fn added(observed: &Observed, from: f64) -> Found {
    let spans: HashMap<u64, &Span> = observed.spans.iter().map(|s| (s.id, s)).collect();
    let mut children: HashMap<u64, f64> = HashMap::new();
    let mut links: BTreeMap<(Entity, Entity), Sides> = BTreeMap::new();
    let sound = |s: &&Span| s.start.is_finite() && s.duration.is_finite() && s.duration >= 0.0;
    for span in observed.spans.iter().filter(sound) {
        let Some(parent) = span.parent.and_then(|id| spans.get(&id)) else { continue };
        *children.entry(parent.id).or_default() += span.duration;
        if parent.entity != span.entity {
            let gap = (parent.duration - span.duration).max(0.0);
            links.entry((parent.entity, span.entity)).or_default().add(span.start >= from, gap);
        }
    }
    let mut own: BTreeMap<(Entity, u32), Sides> = BTreeMap::new();
    let remote: HashSet<u64> = observed
        .spans
        .iter()
        .filter_map(|s| {
            let parent = spans.get(&s.parent?)?;
            (parent.entity != s.entity).then_some(parent.id)
        })
        .collect();
    // A span that waits for another entity is a link's end, not work of its own.
    for span in observed.spans.iter().filter(sound).filter(|s| !remote.contains(&s.id)) {
        let below = children.get(&span.id).copied().unwrap_or(0.0);
        let time = (span.duration - below).max(0.0);
        own.entry((span.entity, span.operation)).or_default().add(span.start >= from, time);
    }
    let mut added: BTreeMap<Entity, Added> = BTreeMap::new();
    for ((entity, _), sides) in &own {
        added.entry(*entity).or_default().own += sides.excess().unwrap_or(0.0);
    }
    let mut calls: BTreeMap<Entity, (f64, f64)> = BTreeMap::new();
    for ((client, server), sides) in &links {
        let excess = sides.excess();
        for entity in [client, server] {
            let count = calls.entry(*entity).or_default();
            count.0 += sides.after.len() as f64;
            if let Some(excess) = excess {
                count.1 += sides.after.len() as f64;
                added.entry(*entity).or_default().links += excess;
            }
        }
    }
    for (entity, (all, slow)) in calls {
        added.entry(entity).or_default().around = slow / all.max(1.0);
    }
    let roots = observed
        .spans
        .iter()
        .filter(sound)
        .filter(|s| s.start >= from && s.parent.is_none_or(|id| !spans.contains_key(&id)));
    Found { added, total: roots.map(|s| s.duration).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls from 0 to 1 and 2 and from 3 to 1; each takes 10 ms of work, plus what is asked.
    fn calls(at: f64, gap: f64, work: f64, ids: &mut u64) -> Vec<Span> {
        let mut spans = Vec::new();
        for round in 0..10 {
            for (client, server) in [(0, 1), (0, 2), (3, 1)] {
                let (gap, work) = if server == 1 { (gap, work) } else { (0.001, 0.01) };
                let start = at + f64::from(round);
                let duration = work + gap;
                *ids += 2;
                let client = Span { entity: client, id: *ids, start, duration, ..Span::default() };
                spans.push(client);
                spans.push(Span {
                    entity: server,
                    id: *ids + 1,
                    parent: Some(*ids),
                    start,
                    duration: work,
                    operation: 1,
                });
            }
        }
        spans
    }

    fn observed(gap: f64, work: f64) -> Observed {
        let mut ids = 0;
        let mut spans = calls(0.0, 0.001, 0.01, &mut ids);
        spans.extend(calls(100.0, gap, work, &mut ids));
        Observed { spans, ..Observed::default() }
    }

    #[test]
    fn a_slow_link_points_at_the_end_all_of_whose_links_are_slow() {
        let found = added(&observed(0.2, 0.01), 100.0).added;
        assert!(found[&1].links > 3.0 && (found[&1].around - 1.0).abs() < 1e-9, "{found:?}");
        assert!(found[&0].around < 0.6 && found[&1].own < 1e-9);
    }

    #[test]
    fn a_slow_server_adds_time_of_its_own() {
        let found = added(&observed(0.001, 0.3), 100.0).added;
        assert!(found[&1].own > 4.0 && found[&1].links < 1e-9, "{found:?}");
    }

    #[test]
    fn broken_spans_do_no_harm() {
        let odd = Span { id: 1, parent: Some(1), duration: f64::NAN, ..Span::default() };
        let own_parent = Span { id: 2, parent: Some(2), duration: 1.0, ..Span::default() };
        let observed = Observed { spans: vec![odd, own_parent], ..Observed::default() };
        assert!(added(&observed, 0.0).added.values().all(|a| a.own.abs() < 1e-9));
        assert_eq!(added(&Observed::default(), 0.0), Found::default());
    }
}
