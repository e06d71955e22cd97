//! Whether what surprises in an entity is explained further down the same requests.
//!
//! A callee that takes another way makes its caller take another way, in the same
//! request. Where spans tell which request a flow belongs to, that is looked up; where
//! they do not, a callee that surprises about as much is taken for the explanation.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::observed::{Call, Entity, Line};
use super::sequences::Surprise;

/// The flow that caused a flow, by their ids: the parents of spans.
pub(super) type Parents = HashMap<u64, u64>;

/// Share of the odd requests of a caller in which something odd must happen below it.
const SAME_REQUESTS: f64 = 0.5;
/// How many times as often as in its other requests it must happen: what happens in most
/// requests anyway explains none of them,
const MORE_OFTEN: f64 = 2.0;
/// unless it surprises by this part as much. That alone decides without spans.
const AS_MUCH: f64 = 0.75;
/// Deepest nesting of calls that is followed; broken parents may form rings.
const DEEPEST: usize = 64;

/// Entities whose surprise something below them explains. `lines` are those of the time
/// asked about, sorted by entity and flow.
pub(super) fn explained(
    lines: &[&Line],
    most: &BTreeMap<Entity, Surprise>,
    calls: &[Call],
    parents: &Parents,
) -> HashSet<Entity> {
    let odd = odd_flows(lines, most);
    let above: BTreeMap<Entity, HashSet<u64>> =
        odd.iter().map(|(entity, flows)| (*entity, ancestors(flows, parents))).collect();
    // Flows that spans know, as parents or as children.
    let known: HashSet<u64> =
        parents.iter().flat_map(|(child, parent)| [*child, *parent]).collect();
    let all = flows(lines);
    let by_request = |entity: Entity| -> Option<bool> {
        let odd_here = odd.get(&entity)?;
        let (own, others): (Vec<u64>, Vec<u64>) = all
            .get(&entity)?
            .iter()
            .filter(|f| known.contains(f))
            .partition(|f| odd_here.contains(f));
        let amount = |entity: Entity| most.get(&entity).map_or(0.0, |found| found.amount);
        let explains = |(callee, below): (&Entity, &HashSet<u64>)| {
            let share = |flows: &[u64]| {
                let odd_below = flows.iter().filter(|flow| below.contains(flow)).count();
                odd_below as f64 / flows.len().max(1) as f64
            };
            let more_often = share(&own) >= MORE_OFTEN * share(&others);
            let as_much = amount(*callee) >= AS_MUCH * amount(entity);
            share(&own) >= SAME_REQUESTS && (more_often || as_much)
        };
        let mut callees = above.iter().filter(|(callee, _)| **callee != entity);
        (!own.is_empty()).then(|| callees.any(explains))
    };
    let by_strength = |entity: Entity, amount: f64| {
        let callees = calls.iter().filter(|c| c.caller == entity && c.callee != entity);
        let amounts = callees.filter_map(|c| most.get(&c.callee)).map(|s| s.amount);
        amounts.fold(0.0, f64::max) >= AS_MUCH * amount
    };
    most.iter()
        .filter(|(entity, found)| {
            by_request(**entity).unwrap_or_else(|| by_strength(**entity, found.amount))
        })
        .map(|(entity, _)| *entity)
        .collect()
}

/// All flows of each entity.
fn flows(lines: &[&Line]) -> BTreeMap<Entity, Vec<u64>> {
    let mut all: BTreeMap<Entity, Vec<u64>> = BTreeMap::new();
    for flow in lines.chunk_by(|a, b| (a.entity, a.flow) == (b.entity, b.flow)) {
        if let Some(first) = flow.first() {
            all.entry(first.entity).or_default().push(first.flow);
        }
    }
    all
}

/// The flows of each entity that take its surprising turn.
fn odd_flows(lines: &[&Line], most: &BTreeMap<Entity, Surprise>) -> BTreeMap<Entity, HashSet<u64>> {
    let mut odd: BTreeMap<Entity, HashSet<u64>> = BTreeMap::new();
    for flow in lines.chunk_by(|a, b| (a.entity, a.flow) == (b.entity, b.flow)) {
        let Some(first) = flow.first() else { continue };
        let Some(found) = most.get(&first.entity).filter(|found| found.amount > 0.0) else {
            continue;
        };
        let way = std::iter::once(None)
            .chain(flow.iter().map(|line| Some(line.template)))
            .chain(std::iter::once(None));
        let turns = way.clone().zip(way.skip(1));
        if turns.clone().any(|turn| turn == (found.after, found.next)) {
            odd.entry(first.entity).or_default().insert(first.flow);
        }
    }
    odd
}

/// All flows above some flows.
fn ancestors(flows: &HashSet<u64>, parents: &Parents) -> HashSet<u64> {
    let mut found = HashSet::new();
    for flow in flows {
        let mut here = *flow;
        for _ in 0..DEEPEST {
            match parents.get(&here) {
                Some(parent) if found.insert(*parent) => here = *parent,
                _ => break,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entity 0 calls 1 in eight requests; both take a turn, in the same ones or not.
    fn explained_with(same: bool, parents: bool) -> HashSet<Entity> {
        let mut lines = Vec::new();
        for request in 0..8_u64 {
            let caller_is_odd = request < 4;
            let callee_is_odd = caller_is_odd == same;
            for (entity, odd) in [(0, caller_is_odd), (1, callee_is_odd)] {
                let flow = 100 + request * 2 + entity as u64;
                for template in if odd { vec![1, 3] } else { vec![1, 2] } {
                    lines.push(Line { entity, flow, template, at: 1.0 });
                }
            }
        }
        lines.sort_by_key(|l| (l.entity, l.flow));
        let turn =
            |amount| Surprise { amount, after: Some(1), next: Some(3), now: 0.5, before: 0.0 };
        let most = BTreeMap::from([(0, turn(2.0)), (1, turn(1.0))]);
        let links: Parents = if parents {
            (0..8).map(|request| (100 + request * 2 + 1, 100 + request * 2)).collect()
        } else {
            Parents::new()
        };
        let calls = [Call { caller: 0, callee: 1 }];
        explained(&lines.iter().collect::<Vec<_>>(), &most, &calls, &links)
    }

    #[test]
    fn a_callee_explains_the_requests_in_which_it_is_odd_itself() {
        assert_eq!(explained_with(true, true), HashSet::from([0]));
        assert!(explained_with(false, true).is_empty());
    }

    #[test]
    fn without_spans_strength_decides() {
        assert!(explained_with(true, false).is_empty(), "half as much is no explanation");
    }

    #[test]
    fn parents_that_form_a_ring_end() {
        let ring = Parents::from([(1, 2), (2, 1)]);
        assert_eq!(ancestors(&HashSet::from([1]), &ring), HashSet::from([1, 2]));
    }
}
