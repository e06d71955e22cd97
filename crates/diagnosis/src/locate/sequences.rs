//! Code that took another way: what follows what in the logs of a flow.
//!
//! Within a flow, each line has a successor, and the first and last line have the
//! edges of the flow. A service whose code fails or returns early shows successors
//! that were rare before. The share of a successor is compared with its share in
//! the whole past and in the oldest part of it, whichever is higher: so neither a
//! branch that depends on data nor the end of an earlier trouble counts as new.
//! What a callee shows in the same requests explains what its caller shows. The idea of
//! comparing event sequences is Nezha's (Yu et al., FSE 2023).

use std::collections::{BTreeMap, HashMap};

use super::explained::{Parents, explained};
use super::observed::{Call, Entity, Line};

/// Template of the edges of a flow.
const EDGE: u32 = u32::MAX;
/// Fewest times that a line must have been seen, in the past and now.
const FEWEST: f64 = 2.0;
/// What is left of a surprise that is explained: enough to rank after all others.
const LEFT: f64 = 0.1;

/// The successor that surprises most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Surprise {
    /// How much; 0 is nothing.
    pub(super) amount: f64,
    /// After which template; `None` for the beginning of a flow.
    pub(super) after: Option<u32>,
    /// Which follows; `None` for the end of a flow.
    pub(super) next: Option<u32>,
    /// Its share now, at least.
    pub(super) now: f64,
    /// Its share before, at most.
    pub(super) before: f64,
}

/// Counts of successors, by entity and line.
type Successors = HashMap<(Entity, u32), BTreeMap<u32, f64>>;

fn successors(lines: &mut Vec<&Line>) -> Successors {
    lines.sort_by(|a, b| (a.entity, a.flow).cmp(&(b.entity, b.flow)).then(a.at.total_cmp(&b.at)));
    let mut counts = Successors::new();
    let mut add = |entity, from, to| {
        *counts.entry((entity, from)).or_default().entry(to).or_default() += 1.0;
    };
    for flow in lines.chunk_by(|a, b| (a.entity, a.flow) == (b.entity, b.flow)) {
        let Some((first, last)) = flow.first().zip(flow.last()) else { continue };
        add(first.entity, EDGE, first.template);
        flow.windows(2).for_each(|pair| add(pair[0].entity, pair[0].template, pair[1].template));
        add(last.entity, last.template, EDGE);
    }
    counts
}

/// Shares are taken at the near end of this many standard errors.
const DOUBT: f64 = 1.3;

/// Bounds of the share of a successor (Agresti and Coull 1998), and how often the
/// line was seen.
fn share(counts: Option<&BTreeMap<u32, f64>>, of: u32) -> (f64, f64, f64) {
    let all: f64 = counts.map_or(0.0, |counts| counts.values().sum());
    let some = counts.and_then(|counts| counts.get(&of)).copied().unwrap_or(0.0);
    let weight = all + DOUBT * DOUBT;
    let middle = (some + DOUBT * DOUBT / 2.0) / weight;
    let error = DOUBT * (middle * (1.0 - middle) / weight).sqrt();
    ((middle - error).max(0.0), (middle + error).min(1.0), all)
}

/// What surprises most in each entity, less where a callee explains it.
pub(super) fn surprises(
    lines: &[Line],
    calls: &[Call],
    parents: &Parents,
    from: f64,
) -> BTreeMap<Entity, Surprise> {
    let side =
        |after: bool| lines.iter().filter(move |l| (l.at >= from) == after && l.at.is_finite());
    let oldest = side(false).map(|l| l.at).fold(f64::INFINITY, f64::min);
    let newest = side(true).map(|l| l.at).fold(from, f64::max);
    let mut asked: Vec<&Line> = side(true).collect();
    let now = successors(&mut asked);
    let past = successors(&mut side(false).collect());
    let until = oldest + (newest - from);
    let first = successors(&mut side(false).filter(|l| l.at <= until).collect());
    let mut most: BTreeMap<Entity, Surprise> = BTreeMap::new();
    for (place, nexts) in &now {
        let Some(before) = past.get(place) else { continue };
        let seen: f64 = nexts.values().sum();
        for (next, count) in nexts {
            let (_, usual, often) = share(Some(before), *next);
            if seen < FEWEST || often < FEWEST {
                continue;
            }
            let at_first = first.get(place).map_or(0.0, |nexts| {
                nexts.get(next).copied().unwrap_or(0.0) / nexts.values().sum::<f64>()
            });
            let (now, _, _) = share(Some(nexts), *next);
            let before = usual.max(at_first);
            let amount = (now - before) * count.ln_1p();
            let named = |template: u32| (template != EDGE).then_some(template);
            let (after, next) = (named(place.1), named(*next));
            let found = Surprise { amount, after, next, now, before };
            let best = most.entry(place.0).or_insert(found);
            // Equal amounts are told apart by the templates, not by the order of a hash table.
            let key = |s: &Surprise| (s.after, s.next);
            let better = found.amount.total_cmp(&best.amount).then(key(best).cmp(&key(&found)));
            if better.is_gt() {
                *best = found;
            }
        }
    }
    for entity in explained(&asked, &most, calls, parents) {
        if let Some(surprise) = most.get_mut(&entity) {
            surprise.amount *= LEFT;
        }
    }
    most.retain(|_, surprise| surprise.amount > 0.0);
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows of one entity: the templates of each.
    fn lines(entity: Entity, at: f64, flows: &[&[u32]]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (flow, templates) in flows.iter().enumerate() {
            for (place, template) in templates.iter().enumerate() {
                let at = at + flow as f64 + place as f64 * 0.01;
                lines.push(Line {
                    entity,
                    at,
                    flow: flow as u64 + at as u64 * 1000,
                    template: *template,
                });
            }
        }
        lines
    }

    #[test]
    fn an_early_return_surprises_and_explains_its_caller() {
        let mut all = lines(0, 0.0, &[&[1, 2, 3][..]; 8]);
        all.extend(lines(1, 0.0, &[&[5, 6, 7][..]; 8]));
        all.extend(lines(0, 100.0, &[&[1, 2, 4][..]; 8]));
        all.extend(lines(1, 100.0, &[&[5, 7][..]; 8]));
        let found = surprises(&all, &[Call { caller: 0, callee: 1 }], &Parents::new(), 100.0);
        assert_eq!(found[&1].after, Some(5));
        assert_eq!(found[&1].next, Some(7));
        assert!(found[&1].amount > 1.0);
        assert!(found.get(&0).is_none_or(|s| s.amount < 0.3), "{found:?}");
    }

    #[test]
    fn what_was_always_so_does_not_surprise() {
        let mut all = lines(0, 0.0, &[&[1, 2], &[1, 3], &[1, 2], &[1, 3]]);
        all.extend(lines(0, 100.0, &[&[1, 3], &[1, 2], &[1, 3], &[1, 2]]));
        let found = surprises(&all, &[], &Parents::new(), 100.0);
        assert!(found.values().all(|s| s.amount < 0.2), "{found:?}");
    }

    #[test]
    fn empty_and_one_sided_logs_do_no_harm() {
        assert!(surprises(&[], &[], &Parents::new(), 0.0).is_empty());
        assert!(surprises(&lines(0, 0.0, &[&[1, 2]]), &[], &Parents::new(), 100.0).is_empty());
        assert!(surprises(&lines(0, 100.0, &[&[1, 2]]), &[], &Parents::new(), 0.0).is_empty());
        let odd = [Line { at: f64::NAN, ..Line::default() }];
        assert!(surprises(&odd, &[], &Parents::new(), 0.0).is_empty());
    }
}
