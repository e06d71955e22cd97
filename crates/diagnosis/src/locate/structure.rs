//! Code that took another way, as its spans tell: what a span calls after what.
//!
//! A span is read as a flow: it begins, calls one operation after another, and ends.
//! A handler that returns early or throws calls less, or ends where it never did. The
//! flows are compared as those of log lines are. Lines say more than calls, so this
//! speaks only for entities whose lines cannot be compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::observed::{Call, Entity, Line, Observed, Span};
use super::sequences::{self, Surprise};

/// An operation of an entity: each is compared on its own, as how often it is asked for
/// is its callers' doing.
type Handler = (Entity, u32);

/// What surprises most in each entity that cannot be judged by its log.
pub(super) fn surprises(observed: &Observed, from: f64) -> BTreeMap<Entity, Surprise> {
    let side = |after: bool| -> BTreeSet<Entity> {
        observed.lines.iter().filter(|l| (l.at >= from) == after).map(|l| l.entity).collect()
    };
    let (past, now) = (side(false), side(true));
    let writes = |entity: Entity| past.contains(&entity) && now.contains(&entity);
    let mut handlers: BTreeMap<Handler, usize> = BTreeMap::new();
    for span in &observed.spans {
        let next = handlers.len();
        handlers.entry((span.entity, span.operation)).or_insert(next);
    }
    let place = |span: &Span| handlers.get(&(span.entity, span.operation)).copied();
    let spans: HashMap<u64, &Span> = observed.spans.iter().map(|s| (s.id, s)).collect();
    let mut flows = Vec::new();
    let mut calls = BTreeSet::new();
    for span in observed.spans.iter().filter(|span| span.start.is_finite()) {
        let Some(own) = place(span) else { continue };
        let line = |entity, flow, at| Line { entity, at, flow, template: own as u32 };
        flows.push(line(own, span.id, span.start));
        let parent = span.parent.and_then(|id| spans.get(&id)).filter(|p| p.id != span.id);
        if let Some((parent, caller)) = parent.and_then(|p| Some((p, place(p)?))) {
            // Clocks differ between machines: no call comes before its caller's beginning.
            flows.push(line(caller, parent.id, span.start.max(parent.start)));
            calls.insert(Call { caller, callee: own });
        }
    }
    let calls: Vec<Call> = calls.into_iter().collect();
    let found = sequences::surprises(&flows, &calls, &observed.parents(), from);
    let mut most: BTreeMap<Entity, Surprise> = BTreeMap::new();
    for ((entity, _), handler) in handlers.iter().filter(|((entity, _), _)| !writes(*entity)) {
        let Some(surprise) = found.get(handler) else { continue };
        let best = most.entry(*entity).or_insert(*surprise);
        if surprise.amount > best.amount {
            *best = *surprise;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests to entity 0, which calls 1 and, unless it is `ill`, 2.
    fn requests(at: f64, ill: bool, ids: &mut u64) -> Vec<Span> {
        let mut spans = Vec::new();
        for request in 0..10 {
            let start = at + f64::from(request);
            *ids += 10;
            let root = Span { id: *ids, start, duration: 0.5, ..Span::default() };
            spans.push(root);
            for callee in 1..if ill { 2 } else { 3 } {
                spans.push(Span {
                    entity: callee,
                    id: *ids + callee as u64,
                    parent: Some(*ids),
                    operation: callee as u32,
                    start: start + callee as f64 * 0.1,
                    duration: 0.05,
                });
            }
        }
        spans
    }

    fn observed(ill: bool) -> Observed {
        let mut ids = 0;
        let mut spans = requests(0.0, false, &mut ids);
        spans.extend(requests(100.0, ill, &mut ids));
        Observed { spans, ..Observed::default() }
    }

    #[test]
    fn a_handler_that_ends_early_surprises() {
        let found = surprises(&observed(true), 100.0);
        assert!(found[&0].amount > 1.0 && !found.contains_key(&1), "{found:?}");
        assert!(surprises(&observed(false), 100.0).is_empty());
    }

    #[test]
    fn who_writes_a_log_is_judged_by_it() {
        let mut ill = observed(true);
        ill.lines = [1.0, 101.0].map(|at| Line { at, ..Line::default() }).to_vec();
        assert!(surprises(&ill, 100.0).is_empty());
    }

    #[test]
    fn broken_spans_do_no_harm() {
        let own_parent = Span { id: 2, parent: Some(2), start: f64::NAN, ..Span::default() };
        let observed = Observed { spans: vec![own_parent; 3], ..Observed::default() };
        assert!(surprises(&observed, 0.0).is_empty());
    }
}
