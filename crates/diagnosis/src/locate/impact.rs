//! Horizontal: which node of the call graph adds the time or the failures itself.
//!
//! The mass of a node is what it costs its callers beyond the normal: excess
//! latency, or excess failures, times requests, summed over the time asked about.
//! What a node's callees cost is taken off: what is left is its own. Only nodes
//! that the alarmed one reaches through the graph can have hurt it. No graph is
//! learned: what calls what is observed.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{Alarm, Entity, Observed, Series};
use super::shift;
use super::words::Aspect;

/// What a node costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mass {
    /// With all that it calls.
    pub(super) whole: f64,
    /// Without.
    pub(super) own: f64,
}

/// Words of a metric that averages, which sums best, before any percentile.
const MEAN: [&str; 3] = ["average", "mean", "avg"];

/// The masses of all nodes that could have hurt the alarmed one.
pub(super) fn masses(observed: &Observed, alarm: Alarm, from: f64) -> BTreeMap<Entity, Mass> {
    let reachable = reachable(observed, alarm.entity);
    let whole: BTreeMap<Entity, f64> = reachable
        .iter()
        .filter_map(|entity| Some((*entity, mass(observed, *entity, alarm.aspect, from)?)))
        .filter(|(_, mass)| *mass > 0.0)
        .collect();
    let own = |(entity, mass): (&Entity, &f64)| {
        let callees = observed.calls.iter().filter(|c| c.caller == *entity && c.callee != *entity);
        let explained: f64 = callees.filter_map(|call| whole.get(&call.callee)).sum();
        (*entity, Mass { whole: *mass, own: (mass - explained).max(0.0) })
    };
    whole.iter().map(own).collect()
}

/// All that a node calls, directly or not, and itself. Cycles do no harm.
pub(super) fn reachable(observed: &Observed, from: Entity) -> BTreeSet<Entity> {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for call in observed.calls.iter().filter(|call| call.caller == node) {
            if seen.insert(call.callee) {
                open.push(call.callee);
            }
        }
    }
    seen
}

/// The series of an entity that tells an aspect best: a mean before a percentile.
pub(super) fn series(observed: &Observed, entity: Entity, aspect: Aspect) -> Option<&Series> {
    let of = |s: &&Series| s.entity == entity && Aspect::of(&s.metric) == aspect;
    let is_mean = |s: &&Series| {
        let name = s.metric.to_lowercase();
        MEAN.iter().any(|word| name.contains(word))
    };
    let mut all = observed.series.iter().filter(of);
    let first = all.next()?;
    Some(std::iter::once(first).chain(all).find(is_mean).unwrap_or(first))
}

fn mass(observed: &Observed, entity: Entity, aspect: Aspect, from: f64) -> Option<f64> {
    let symptom = series(observed, entity, aspect)?;
    let before: Vec<f64> = symptom.points.iter().filter(|p| p.0 < from).map(|p| p.1).collect();
    let normal = shift::normal(&before)?;
    let sign = if aspect == Aspect::Success { -1.0 } else { 1.0 };
    let requests = series(observed, entity, Aspect::Traffic);
    let weight = |at: f64| -> f64 {
        let same = requests.and_then(|s| s.points.iter().find(|p| p.0.total_cmp(&at).is_eq()));
        same.map_or(1.0, |p| p.1)
    };
    let after = symptom.points.iter().filter(|p| p.0 >= from && p.1.is_finite());
    Some(after.map(|p| sign * (p.1 - normal.level) * weight(p.0)).sum())
}

/// Share of normal values that lie beyond the limit of what is normal.
const UNUSUAL: f64 = 0.1;
/// Share of the values asked about that must lie beyond it.
const LASTING: f64 = 0.35;

/// Whether what an alarm complains of is unusual for a good part of the time asked
/// about. What was bad for a moment of a long time is over, and no reason to search.
pub(super) fn is_troubled(series: &Series, aspect: Aspect, from: f64) -> bool {
    let sign = if aspect == Aspect::Success { -1.0 } else { 1.0 };
    let side = |after: bool| -> Vec<f64> {
        let of = |p: &&(f64, f64)| p.1.is_finite() && (p.0 >= from) == after;
        series.points.iter().filter(of).map(|p| sign * p.1).collect()
    };
    let (before, after) = (side(false), side(true));
    let Some(limit) = crate::stats::quantile(&before, 1.0 - UNUSUAL) else { return true };
    let beyond = after.iter().filter(|v| **v > limit).count();
    beyond >= 2 && beyond as f64 >= LASTING * after.len() as f64
}

/// How many times the greatest excess of the past counts as never seen.
const NEVER_SEEN: f64 = 2.0;
/// Fewest values from which one can tell what was never seen.
const LONG: usize = 20;

/// Whether, below an alarmed node, something happens that a long past never showed, for
/// a good part of the time asked about. A node that serves few of the alarmed one's
/// requests can be ill without moving the alarmed one's mean.
pub(super) fn is_unheard_of_below(observed: &Observed, alarm: Alarm, from: f64) -> bool {
    let ill = |entity: &Entity| {
        let series = series(observed, *entity, alarm.aspect);
        series.is_some_and(|series| is_unheard_of(series, alarm.aspect, from))
    };
    reachable(observed, alarm.entity).iter().filter(|entity| **entity != alarm.entity).any(ill)
}

fn is_unheard_of(series: &Series, aspect: Aspect, from: f64) -> bool {
    let sign = if aspect == Aspect::Success { -1.0 } else { 1.0 };
    let side = |after: bool| -> Vec<f64> {
        let of = |p: &&(f64, f64)| p.1.is_finite() && (p.0 >= from) == after;
        series.points.iter().filter(of).map(|p| sign * p.1).collect()
    };
    let (before, after) = (side(false), side(true));
    let Some(level) = crate::stats::median(&before).filter(|_| before.len() >= LONG) else {
        return false;
    };
    let most = before.iter().fold(level, |most, v| v.max(most));
    let beyond = after.iter().filter(|v| **v - level > NEVER_SEEN * (most - level)).count();
    beyond >= 2 && beyond as f64 >= LASTING * after.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::observed::Call;

    /// Twenty normal minutes, then five in which latency is `after`.
    fn shop(nodes: &[(&str, f64, f64)], calls: &[(usize, usize)]) -> Observed {
        let mut shop = Observed::default();
        for (name, before, after) in nodes {
            let entity = shop.entity(name);
            let value = |i: u32| if i < 20 { *before } else { *after };
            let points = (0..25).map(|i| (f64::from(i), value(i))).collect();
            shop.series.push(Series { entity, metric: "latency.mean".into(), points });
            let points = (0..25).map(|i| (f64::from(i), 100.0)).collect();
            shop.series.push(Series { entity, metric: "requests".into(), points });
        }
        shop.calls = calls.iter().map(|(a, b)| Call { caller: *a, callee: *b }).collect();
        shop
    }

    const ALARM: Alarm = Alarm { entity: 0, aspect: Aspect::Latency };

    #[test]
    fn a_callee_explains_its_callers() {
        let nodes = [("web", 0.1, 0.5), ("cart", 0.05, 0.45), ("db", 0.01, 0.41)];
        let masses = masses(&shop(&nodes, &[(0, 1), (1, 2)]), ALARM, 20.0);
        assert!(masses[&2].own > 100.0 && masses[&1].own < 1.0 && masses[&0].own < 1.0);
    }

    #[test]
    fn who_is_not_called_is_not_blamed_and_cycles_end() {
        let nodes = [("web", 0.1, 0.5), ("cart", 0.05, 0.45), ("batch", 0.1, 9.0)];
        let masses = masses(&shop(&nodes, &[(0, 1), (1, 0), (2, 1)]), ALARM, 20.0);
        assert!(!masses.contains_key(&2) && masses.contains_key(&1));
    }

    #[test]
    fn a_node_alone_and_a_node_without_series_do_no_harm() {
        let alone = masses(&shop(&[("web", 0.1, 0.5)], &[(0, 0), (0, 7)]), ALARM, 20.0);
        assert_eq!(alone.len(), 1);
        assert!(alone[&0].own > 100.0);
    }

    #[test]
    fn trouble_has_to_last() {
        let series = |bad: &[usize]| {
            let value = |i: usize| if bad.contains(&i) { 9.0 } else { 1.0 + (i % 5) as f64 * 0.1 };
            Series { points: (0..80).map(|i| (i as f64, value(i))).collect(), ..Series::default() }
        };
        assert!(is_troubled(&series(&[75, 76, 77, 78]), Aspect::Latency, 74.0));
        assert!(!is_troubled(&series(&[75]), Aspect::Latency, 70.0));
        assert!(!is_troubled(&series(&[45, 46]), Aspect::Latency, 40.0));
    }

    #[test]
    fn what_a_long_past_never_showed_below_a_healthy_node_is_trouble() {
        let nodes = |search: f64| [("web", 0.1, 0.1), ("search", 0.006, search), ("job", 0.1, 9.0)];
        let calls = [(0, 1)];
        assert!(is_unheard_of_below(&shop(&nodes(0.02), &calls), ALARM, 20.0));
        assert!(!is_unheard_of_below(&shop(&nodes(0.006), &calls), ALARM, 20.0));
        assert!(!is_unheard_of_below(&shop(&nodes(0.02), &calls), ALARM, 10.0), "a short past");
    }
}
